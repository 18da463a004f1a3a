"""Tables of series as people have them: times, gaps, and one line for what cannot be used."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from lmu_hf.common.errors import InputError
from lmu_hf.data.forecasts import ForecastColumns, made_up_series, series_table
from lmu_hf.data.time_rules import find_season

HEADER = "date,a,b"


def rows(count: int = 60, **step: int) -> list[str]:
    start = datetime(2020, 1, 1)
    return [f"{start + i * timedelta(**(step or {'hours': 1}))},{i % 24},{i * 0.5}" for i in range(count)]


@pytest.fixture
def table(tmp_path):
    def write(lines: list[str], header: str = HEADER) -> Path:
        path = tmp_path / "series.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return path

    return write


def test_times_channels_and_season_are_found(table):
    series = series_table(table(rows()))
    assert (series.channels, series.step, series.season) == (("a", "b"), "1 hour", 24)
    assert series.values.shape == (60, 2) and series.observed.all()
    assert series.first == "2020-01-01 00:00:00" and series.values[3].tolist() == [3, 1.5]


@pytest.mark.parametrize(
    ("step", "words", "season"),
    [({"minutes": 15}, "15 minutes", 96), ({"days": 1}, "1 day", 7), ({"days": 7}, "7 days", 52)],
    ids=str,
)
def test_a_step_has_its_usual_season(table, step, words, season):
    series = series_table(table(rows(**step)))
    assert (series.step, series.season) == (words, season)


@pytest.mark.parametrize("day", ["", "-01"])
def test_months_are_a_steady_step(table, day):
    lines = [f"{1950 + i // 12}-{1 + i % 12:02d}{day},{i}" for i in range(36)]
    series = series_table(table(lines, "month,x"))
    assert (series.step, series.season, len(series)) == ("1 month", 12, 36)


def test_short_gaps_are_filled_by_straight_lines_and_marked(table):
    lines = rows()
    lines[10] = lines[10].rsplit(",", 1)[0] + ","
    lines[12] = lines[12].rsplit(",", 1)[0] + ",NaN"
    series = series_table(table([*lines[:20], *lines[23:]]))
    np.testing.assert_allclose(series.values[:, 1], np.arange(60) * 0.5)
    assert not series.observed[[10, 12], 1].any() and series.observed[[10, 12], 0].all()
    assert not series.observed[20:23].any() and series.notes == ("8 missing values filled by straight lines",)


def test_columns_are_named_and_left_out(table):
    columns = ForecastColumns("date", ("b",), ("a",))
    series = series_table(table(rows()), columns)
    assert series.channels == ("b",) and series.covariates.shape == (60, 1)
    assert series_table(table(rows()), ForecastColumns("none", ("b",))).step == "row"


def spoilt(index: int, line: str) -> list[str]:
    lines = rows()
    lines[index] = line
    return lines


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "holds no row"),
        (spoilt(30, "2020-01-02 06:00,x,1"), "line 32, 'a' must be a finite number or empty, got 'x'"),
        (spoilt(30, "2020-01-02 06:00,inf,1"), "line 32, 'a' must be a finite number or empty, got 'inf'"),
        (spoilt(30, "yesterday,1,1"), "line 32, 'date' must be a time, got 'yesterday'"),
        (spoilt(30, rows()[29]), "line 32, 'date' '2020-01-02 05:00:00' stands there twice"),
        (spoilt(30, rows()[2]), "line 32, 'date' '2020-01-01 02:00:00' goes back: sort the rows"),
        (spoilt(30, "2020-01-02 06:20,1,1"), "line 32, .* is off the step of 1 hour"),
        ([*rows()[:45], *rows()[49:]], "line 46: 'a' lacks 4 values in a row from here on, and at most 3 are filled"),
        ([*rows()[:20], *rows()[40:]], "lacks 20 of 60 steps of 1 hour"),
        ([line.rsplit(",", 1)[0] + "," for line in rows()], None),
    ],
    ids=["empty", "word", "infinite", "no time", "doubled", "unsorted", "off", "gap", "many gaps", "empty column"],
)
def test_what_cannot_be_used_is_told_in_one_line(table, lines, message):
    if message is None:  # a column without a number is none of numbers
        assert series_table(table(lines)).channels == ("a",)
        return
    with pytest.raises(InputError, match=message) as told:
        series_table(table(lines), longest_gap=3)
    assert "\n" not in str(told.value)


def test_a_column_that_is_not_there_is_named_with_its_flag(table):
    with pytest.raises(InputError, match=r"--target_columns: .* has no column 'z'; it has 'date', 'a', 'b'"):
        series_table(table(rows()), ForecastColumns(targets=("z",)))
    with pytest.raises(InputError, match="--covariate_columns"):
        series_table(table(rows()), ForecastColumns(covariates=("z",)))
    with pytest.raises(InputError, match="'a', which another flag names"):
        series_table(table(rows()), ForecastColumns(targets=("a",), covariates=("a",)))


def test_a_season_is_looked_for_where_the_step_says_nothing():
    t = np.arange(300)
    draw = np.random.default_rng(0)
    assert find_season((np.sin(2 * np.pi * t / 11) + 0.1 * draw.normal(size=300))[:, None]) == 11
    assert find_season(draw.normal(size=(300, 1))) == 1
    assert find_season(made_up_series().values) == 24
