"""`lmu-hf forecast`: what comes behind a table, with its times, its quantiles and its covariates."""

import csv
import math
from pathlib import Path

import pytest

import lmu_hf
from lmu_hf.cli.forecasting import forecast
from lmu_hf.cli.verbs.forecast import parse_args
from lmu_hf.common.errors import InputError
from lmu_hf.data.forecasts import ForecastColumns, series_table
from lmu_hf.data.time_rules import times_after
from lmu_hf.training.recipes import get_recipe
from lmu_hf.training.recipes.forecasts import recipe_for
from lmu_hf.training.tasks.forecasts import ForecastTask

DAY = 24


def load_at(hour: int, shown: int) -> float:
    """What the made-up power station gives: a day's wave, and 5 more on a holiday."""
    return 100 + 20 * math.sin(2 * math.pi * hour / DAY) + 5 * shown


def is_holiday(hour: int) -> int:
    return int(hour // DAY % 6 == 2)


def write_table(path: Path, hours: int, ahead: int = 0) -> Path:
    lines = ["when,load,holiday"]
    for hour in range(hours + ahead):
        shown, stamp = is_holiday(hour), f"2024-03-{1 + hour // DAY:02d} {hour % DAY:02d}:00"
        lines.append(f"{stamp},{f'{load_at(hour, shown):.6f}' if hour < hours else ''},{shown}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def saved(folder: Path, table: Path, covariates: tuple[str, ...] = (), **options) -> str:
    series = series_table(table, ForecastColumns(targets=("load",), covariates=covariates))
    made = recipe_for(series, get_recipe("own-forecast"), prediction_length=12, context_length=48, **options)
    ForecastTask(series, **made.options).make_model(made.recipe.architecture).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def table(tmp_path) -> Path:
    return write_table(tmp_path / "power.csv", 20 * DAY)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_wave_goes_on_with_the_tables_own_times(tmp_path, table, capsys):
    model, written = saved(tmp_path / "model", table, ("holiday",)), tmp_path / "out" / "ahead.csv"
    known = write_table(tmp_path / "known.csv", 19 * DAY, ahead=DAY)
    words = [model, "--test_file", str(known), "--target_columns", "load", "--covariate_columns", "holiday"]
    forecast(parse_args([*words, "--steps", "20", "--output_file", str(written)]))
    rows = rows_of(written)
    assert list(rows[0]) == ["when", "load"] and len(rows) == 20
    assert [rows[0]["when"], rows[-1]["when"]] == ["2024-03-20 00:00", "2024-03-20 19:00"]
    for number, row in enumerate(rows):
        hour = 19 * DAY + number
        assert float(row["load"]) == pytest.approx(load_at(hour, is_holiday(hour)), abs=1.0)
    assert f"20 steps of 1 hour behind 2024-03-19 23:00 of {known}" in capsys.readouterr().out


def test_quantiles_are_of_the_horizon_and_empty_behind_it(tmp_path, table, capsys):
    model, written = saved(tmp_path / "model", table, quantiles=[0.1, 0.5, 0.9]), tmp_path / "ahead.csv"
    words = [model, "--test_file", str(table), "--target_columns", "load", "--figure", str(tmp_path / "ahead.png")]
    forecast(parse_args([*words, "--steps", "15", "--output_file", str(written)]))
    rows = rows_of(written)
    assert list(rows[0]) == ["when", "load", "load 0.1", "load 0.5", "load 0.9"]
    assert all(float(row["load 0.1"]) <= float(row["load"]) <= float(row["load 0.9"]) for row in rows[:12])
    assert [row["load 0.5"] for row in rows[12:]] == [""] * 3
    assert all(row["load"] for row in rows) and (tmp_path / "ahead.png").stat().st_size > 1000
    assert "quantiles are of the first 12 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, said",
    [
        ([], "reads 1 covariates, and --covariate_columns names 0"),
        (["--covariate_columns", "holiday", "--steps", "13"], "of 12 steps to come, and 24 are read for 13 steps"),
        (["--covariate_columns", "holiday", "--target_columns", "lode"], "has no column 'lode'"),
        (["--covariate_columns", "when", "--target_columns", "load,holiday"], "must be a finite number"),
    ],
)
def test_what_is_missing_is_named(tmp_path, table, change, said):
    model = saved(tmp_path / "model", table, ("holiday",))
    known = write_table(tmp_path / "known.csv", 10 * DAY, ahead=12)
    with pytest.raises(InputError, match=said):
        forecast(parse_args([model, "--test_file", str(known), "--target_columns", "load", *change]))
    assert not Path("forecast.csv").exists()


def test_a_table_that_is_shorter_than_a_context_is_refused(tmp_path, table):
    model, short = saved(tmp_path / "model", table), write_table(tmp_path / "short.csv", 30)
    with pytest.raises(InputError, match="has 30 steps with values, and the model reads 48"):
        forecast(parse_args([model, "--test_file", str(short), "--target_columns", "load"]))


def test_a_model_of_another_kind_is_told(tmp_path, table):
    with pytest.raises(InputError, match="is no forecaster but LMUForImageClassification"):
        forecast(parse_args([lmu_hf.pretrained("lmu-psmnist"), "--test_file", str(table)]))
    model = saved(tmp_path / "model", table)
    with pytest.raises(InputError, match=r"forecasts 1 series, and 2 \(load, holiday\) would be read"):
        forecast(parse_args([model, "--test_file", str(table), "--target_columns", "load,holiday"]))


@pytest.mark.parametrize(
    "last, step, first, third",
    [
        ("2024-02-28 23:00", "1 hour", "2024-02-29 00:00", "2024-02-29 02:00"),
        ("2024-02-28 23:00:00", "1 hour", "2024-02-29 00:00:00", "2024-02-29 02:00:00"),
        ("2024-02-28 23:00", "30 seconds", "2024-02-28 23:00:30", "2024-02-28 23:01:30"),
        ("2024-02-27", "1 day", "2024-02-28", "2024-03-01"),
        ("2024-04-30", "1 month (last day)", "2024-05-31", "2024-07-31"),
        ("2024-04-30", "1 month", "2024-05-30", "2024-07-30"),
        ("2023-11-30", "3 months (last day)", "2024-02-29", "2024-08-31"),
        ("2024-01-01T10:15:00+02:00", "15 minutes", "2024-01-01T10:30:00+02:00", "2024-01-01T11:00:00+02:00"),
        ("2024-01-01T10:15:00Z", "15 minutes", "2024-01-01T10:30:00Z", "2024-01-01T11:00:00Z"),
        ("2024-01-01 10:15Z", "1 hour", "2024-01-01 11:15Z", "2024-01-01 13:15Z"),
        ("2024-01-01 10:15+02:00", "1 hour", "2024-01-01 11:15+02:00", "2024-01-01 13:15+02:00"),
        ("7", "row", "8", "10"),
        ("2.5", "0.5", "3", "4"),
    ],
)
def test_times_go_on_as_they_are_written(last, step, first, third):
    found = times_after(last, step, 3)
    assert [found[0], found[2]] == [first, third]


def test_steps_below_a_second_have_no_written_time():
    with pytest.raises(InputError, match="cannot be written"):
        times_after("2024-01-01 00:00:00.5", "less than a second", 2)


def test_a_table_of_month_ends_says_so(tmp_path):
    path = tmp_path / "months.csv"
    ends = ("2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30")
    path.write_text("day,sales\n" + "".join(f"{day},{number}.5\n" for number, day in enumerate(ends)), encoding="utf-8")
    assert series_table(path).step == "1 month (last day)"
