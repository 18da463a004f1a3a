"""A table of series over time, as people have it: one row a time step, one column a channel; or a made-up one.

What a forecast needs and a table need not have is made sure of here, by one rule each: rows rise in time by a steady
step; steps that are missing, and cells that are empty, are filled by straight lines where the gap is short, marked as
not observed, and refused where it is long.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.errors import InputError
from .tables import PLACE, ReadOptions, place_of, read_table
from .time_rules import LONGEST_GAP, MOST_MISSING, find_season, regular, regular_times

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

MISSING = ("", "na", "n/a", "nan", "null", "none", "-")  # cells without a number
NO_TIME = "none"  # of --time_column: rows are steps, whatever they say
CYCLES_SEED, CYCLES_STEPS = 0, 4000


@dataclass(frozen=True)
class ForecastColumns:
    """Which columns of a table are what.

    Args:
        time: holds the time of each row; None to find it, ``"none"`` for rows that are steps.
        targets: to be forecast; None for every column of numbers that is not named otherwise.
        covariates: known in advance for every step of the horizon.
    """

    time: str | None = None
    targets: tuple[str, ...] | None = None
    covariates: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeriesTable:
    """Series side by side at a steady step.

    Args:
        name: what they are called.
        channels: the names of the columns.
        values: (T, channels), without gaps.
        observed: (T, channels), false where a value was filled in.
        season: steps after which they look alike; 1 where nothing says so.
        covariates: (T or more, covariates), known in advance.
        time: the column of times; None where rows are steps.
        step: the time between two rows, in words.
        first, last: when they begin and end, as written; empty where rows have no time.
        notes: what was done to them, a sentence each.
    """

    name: str
    channels: tuple[str, ...]
    values: np.ndarray
    observed: np.ndarray
    season: int = 1
    covariates: np.ndarray | None = None
    step: str = "row"
    first: str = ""
    last: str = ""
    time: str | None = None
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.values)

    def fingerprint(self) -> str:
        """Of every number."""
        digest = sha256(self.values.tobytes() + self.observed.tobytes())
        digest.update(b"" if self.covariates is None else self.covariates.tobytes())
        return digest.hexdigest()[:16]


def series_table(
    path: Path,
    columns: ForecastColumns = ForecastColumns(),
    options: ReadOptions | None = None,
    flag: str = "train_file",
    longest_gap: int = LONGEST_GAP,
    season: int | None = None,
    open_end: bool = False,
) -> SeriesTable:
    """The series of a file: any kind of table that :func:`~lmu_hf.data.tables.read_table` reads.

    Args:
        path: the file.
        columns: which are what.
        options: how it is read; None for as the file says itself.
        flag: that named it, for messages.
        longest_gap: missing steps in a row that a straight line may fill.
        season: steps a season; None to take it from the time step, or else from the autocorrelation.
        open_end: rows at the end whose series are all empty are steps to come, of which covariates alone are read.

    Raises:
        FileNotFoundError: it does not exist.
        InputError: it is no such table; the message names the line and the column.
    """
    rows = read_table(path, options or ReadOptions(), flag)
    time = _time_column(path, rows, columns)
    targets = _target_columns(path, rows, columns, time)
    names = (*targets, *columns.covariates)
    cells = np.stack([_numbers(path, rows, name) for name in names], axis=1)
    places, step, usual, first = _steps(path, rows, time)
    values = np.full((places[-1] + 1, len(names)), np.nan)
    values[places] = cells
    end, count = len(values), len(targets)
    if open_end:
        end = int(np.flatnonzero(np.isfinite(values[:, :count]).any(1))[-1]) + 1
    found, covariates = values[:end, :count], values[:, count:]
    observed = np.isfinite(found)
    filled = _fill(path, rows, found, targets, places, longest_gap)
    filled += _fill(path, rows, covariates, columns.covariates, places, longest_gap)
    last = "" if time is None else str(rows[int(np.searchsorted(places, end - 1))][time]).strip()
    return SeriesTable(
        name=path.name,
        channels=targets,
        values=found,
        observed=observed,
        season=season or usual or find_season(found),
        covariates=covariates if columns.covariates else None,
        step=step,
        first=first,
        last=last,
        time=time,
        notes=(f"{filled:,} missing values filled by straight lines",) if filled else (),
    )


def _time_column(path: Path, rows: "Dataset", columns: ForecastColumns) -> str | None:
    if columns.time == NO_TIME:
        return None
    if columns.time is not None:
        _check_column(path, rows, columns.time, "time_column")
        return columns.time
    named = {*(columns.targets or ()), *columns.covariates, PLACE}
    for name in (name for name in rows.column_names if name not in named):
        some = [cell for cell in rows[:20][name] if isinstance(cell, str)]
        if some and not any(map(_is_number, some)) and not _times(some).isna().any():
            return name
    return None


def _target_columns(path: Path, rows: "Dataset", columns: ForecastColumns, time: str | None) -> tuple[str, ...]:
    for name in columns.covariates:
        _check_column(path, rows, name, "covariate_columns")
    if columns.targets is not None:
        for name in columns.targets:
            _check_column(path, rows, name, "target_columns")
        if both := set(columns.targets) & {time, *columns.covariates}:
            raise InputError(f"--target_columns names {sorted(map(str, both))[0]!r}, which another flag names, too")
        return columns.targets
    others = [name for name in rows.column_names if name not in {time, PLACE, *columns.covariates}]
    # A column that begins with numbers is one of numbers: a later cell that is none is then an error with its line.
    targets = tuple(name for name in others if _begins_with_numbers(rows[:20][name]))
    if not targets:
        raise InputError(f"{path} has no column of numbers: name the series with --target_columns")
    return targets


def _check_column(path: Path, rows: "Dataset", name: str, flag: str) -> None:
    there = [column for column in rows.column_names if column != PLACE]
    if name not in there:
        raise InputError(f"--{flag}: {path} has no column {name!r}; it has {', '.join(map(repr, there))}")


def _begins_with_numbers(cells: Sequence[Any]) -> bool:
    said = [cell for cell in cells if isinstance(cell, str) and cell.strip().lower() not in MISSING]
    return bool(said) and all(map(_is_number, said))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(path: Path, rows: "Dataset", name: str) -> np.ndarray:
    """A column as float64, NaN where it is empty."""
    cells = rows[name][:]
    found = np.empty(len(cells))
    for index, cell in enumerate(cells):
        text = "" if cell is None else str(cell).strip()
        if text.lower() in MISSING:
            found[index] = np.nan
            continue
        try:
            found[index] = float(text)
        except ValueError:
            found[index] = np.inf
        if not np.isfinite(found[index]):
            raise InputError(
                f"{path}, {place_of(rows, index)}, {name!r} must be a finite number or empty, got {text!r}"
            )
    if not np.isfinite(found).any():
        raise InputError(f"{path}: the column {name!r} holds no number: leave it out of --target_columns")
    return found


def _times(cells: Sequence[str]) -> Any:
    import pandas

    return pandas.Series(pandas.to_datetime(pandas.Series(cells), errors="coerce", utc=True, format="mixed"))


def _steps(path: Path, rows: "Dataset", time: str | None) -> tuple[np.ndarray, str, int | None, str]:
    """On which step each row stands, the step in words, the season that is usual at it, and the first time.

    Raises:
        InputError: times are unreadable, fall, stand twice, or are off the step; the message names the line.
    """
    if time is None:
        return np.arange(len(rows)), "row", None, ""
    cells = [str(cell or "").strip() for cell in rows[time][:]]
    numbers = all(map(_is_number, cells))
    if numbers:
        at = np.array([float(cell) for cell in cells])
    else:
        stamps = _times(cells)
        if stamps.isna().any():
            index = int(stamps.isna().to_numpy().argmax())
            raise InputError(f"{path}, {place_of(rows, index)}, {time!r} must be a time, got {cells[index]!r}")
        at = stamps.astype("datetime64[ns, UTC]").astype("int64").to_numpy()
    between = np.diff(at)
    for wrong, said in ((between == 0, "stands there twice: keep one"), (between < 0, "goes back: sort the rows")):
        if wrong.any():
            index = int(wrong.argmax()) + 1
            raise InputError(f"{path}, {place_of(rows, index)}, {time!r} {cells[index]!r} {said}")
    if len(at) < 2:
        return np.arange(len(at)), "row", None, cells[0]
    places, step, usual = regular(at, between) if numbers else regular_times(stamps, at, between)
    off = ~np.isclose(places, np.round(places), atol=0.01)
    if off.any():
        index = int(off.argmax())
        raise InputError(
            f"{path}, {place_of(rows, index)}, {time!r} {cells[index]!r} is off the step of {step}: resample the "
            f"table, or count rows as steps with --time_column {NO_TIME}"
        )
    found = np.round(places).astype(int)
    if (lacking := found[-1] + 1 - len(found)) > MOST_MISSING * (found[-1] + 1):
        raise InputError(
            f"{path} lacks {lacking:,} of {found[-1] + 1:,} steps of {step}: fill them, or count rows as steps with "
            f"--time_column {NO_TIME}"
        )
    return found, step, usual, cells[0]


def _fill(
    path: Path, rows: "Dataset", values: np.ndarray, names: Sequence[str], places: np.ndarray, longest: int
) -> int:
    """Fill what is missing in place by straight lines, at the ends by the nearest value; how many values that were.

    Raises:
        InputError: a gap is longer than ``longest`` steps; the message names the row before it.
    """
    steps, filled = np.arange(len(values)), 0
    for column, name in zip(values.T, names, strict=True):
        there = np.isfinite(column)
        if there.all():
            continue
        known = steps[there]
        edges = np.concatenate([[-1], known, [len(values)]])
        gaps = np.diff(edges) - 1
        if (worst := int(gaps.max())) > longest:
            before = max(int(edges[gaps.argmax()]), 0)
            row = int(np.searchsorted(places, before, side="right")) - 1
            raise InputError(
                f"{path}, {place_of(rows, row)}: {name!r} lacks {worst:,} values in a row from here on, and at most "
                f"{longest} are filled: fill them, cut the table, or raise --longest_gap"
            )
        filled += int((~there).sum())
        column[~there] = np.interp(steps[~there], known, column[there])
    return filled


def made_up_series(steps: int = CYCLES_STEPS, seed: int = CYCLES_SEED) -> SeriesTable:
    """Three hourly channels with a day, a week, a slow drift and noise that lasts some hours.

    Args:
        steps: hours.
        seed: of the noise.
    """
    draw, hours = np.random.default_rng(seed), np.arange(steps)
    day, week = 2 * np.pi * hours / 24, 2 * np.pi * hours / 168
    noise = np.zeros((steps, 3))
    shocks = draw.normal(size=(steps, 3))
    for step in range(1, steps):
        noise[step] = 0.9 * noise[step - 1] + 0.3 * shocks[step]
    drift = np.cumsum(draw.normal(size=(steps, 3)), axis=0) * 0.02
    shapes = np.stack(
        [
            20 + 4 * np.sin(day) + 1.5 * np.sin(2 * day),
            300 + 60 * np.maximum(np.sin(day - 1), 0) * (1 + 0.5 * np.sin(week)),
            50 + 8 * np.sin(day + 2) + 5 * np.sin(week),
        ],
        axis=1,
    )
    values = shapes + (noise + drift) * np.array([1.0, 12.0, 3.0])
    channels = ("temperature", "load", "traffic")
    return SeriesTable("made-up days and weeks", channels, values, np.ones_like(values, dtype=bool), 24, step="1 hour")


def cut(series: SeriesTable, steps: int) -> SeriesTable:
    """The first steps of a series."""
    covariates = None if series.covariates is None else series.covariates[:steps]
    return replace(series, values=series.values[:steps], observed=series.observed[:steps], covariates=covariates)
