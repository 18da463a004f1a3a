"""Files of series as people have them: ``.ts`` of the UCR and UEA archives, ``.npz``, tables long or wide, and folders.

Whatever the file, a series is (steps, channels) float32, NaN where a value is missing, with the word that is its label.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.errors import InputError, explained
from .dialects import find_dialect
from .label_rules import NUMBER
from .opening import DELIMITED, KINDS, check_file, kind_of, open_text
from .sources import list_columns
from .tables import PLACE, ReadOptions, read_table

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

MISSING = {"", "?", "nan", "na", "n/a", "null", "none"}  # what a value that is missing is written as
AS_IT_IS = ReadOptions()
ARRAYS = {"values": ("values", "x", "X"), "labels": ("labels", "y", "Y", "label"), "lengths": ("lengths",)}


@dataclass(frozen=True)
class SeriesColumns:
    """Which columns of a table hold what.

    Args:
        series: which series a row is a step of; a table without such a column has one series a row.
        time: when; None for rows that stand in order.
        label: the label.
        values: the channels, or of a wide table the steps; None for all that are left.
    """

    series: str = "id"
    time: str | None = None
    label: str = "label"
    values: tuple[str, ...] | None = None


@dataclass
class RawSeries:
    """What a file holds.

    Args:
        values: (steps, channels) float32 each, NaN where a value is missing.
        labels: a word each; None where the file has no labels.
        channels: their names.
        names: what each series is called, or where it stands.
        notes: what is odd about the file, a few words each.
    """

    values: list[np.ndarray] = field(default_factory=list)
    labels: list[str] | None = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, values: np.ndarray, label: str | None) -> None:
        """One more series."""
        self.names.append(name)
        self.values.append(values)
        if self.labels is not None:
            self.labels.append(str(label))


def read_series(
    path: Path,
    columns: SeriesColumns = SeriesColumns(),
    options: ReadOptions = AS_IT_IS,
    flag: str = "train_file",
    needs_labels: bool = True,
) -> RawSeries:
    """The series of a file, or of a folder that has a folder of files for each class.

    Args:
        path: the file or folder.
        columns: of tables.
        options: how tables are read.
        flag: the flag that named it, for messages.
        needs_labels: refuse a file without labels.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it cannot be read as series; the message names the place.
    """
    if path.is_dir():
        found = _read_folder(path, columns, options, flag, needs_labels)
    else:
        check_file(path, flag)
        kind = kind_of(path)
        if kind == ".ts":
            found = _read_ts(path, options.encoding, needs_labels)
        elif kind == ".npz":
            found = _read_npz(path, needs_labels)
        elif kind in KINDS:
            found = _read_table(path, columns, options, flag, needs_labels)
        else:
            raise InputError(f"{path} must end in .ts, .npz or one of {', '.join(KINDS)}: that says how it is read")
    if not found.values:
        raise InputError(f"{path} holds no series: --{flag} must hold some")
    _check_values(path, found)
    return found


def _check_values(path: Path, found: RawSeries) -> None:
    for name, values in zip(found.names, found.values, strict=True):
        if not len(values):
            raise InputError(f"{path}, {name}: a series of no step; leave it out")
        if np.isinf(values).any():
            step, channel = np.argwhere(np.isinf(values))[0]
            raise InputError(
                f"{path}, {name}, step {step + 1}: channel {found.channels[channel]!r} is infinite, or too large for "
                "float32: correct it, or leave it empty if it is missing"
            )
        if np.isnan(values).all():
            raise InputError(f"{path}, {name}: every value is missing; leave the series out")
    lengths = np.array([len(values) for values in found.values])
    if len(lengths) > 1 and np.median(lengths) == 1:
        raise InputError(
            f"{path}: most series have a single step: a table of steps needs the column that says which series a row "
            "is of (--id_column), and one of values alone is no series"
        )
    if short := int((lengths == 1).sum()):
        found.notes.append(f"{short} series of a single step, the first: {found.names[int((lengths == 1).argmax())]}")


def to_numbers(cells: Iterable[Any], where: str, places: Sequence[str] | None = None) -> np.ndarray:
    """Cells as float32, NaN where one is missing.

    Raises:
        InputError: a cell is no number; the message names the place.
    """
    numbers = []
    for index, cell in enumerate(cells):
        word = "" if cell is None else str(cell).strip()
        try:
            numbers.append(np.nan if word.lower() in MISSING else float(word))
        except ValueError as error:
            place = f"{places[index]}" if places is not None else f"value {index + 1}"
            raise InputError(
                f"{where}, {place}: {word!r} is no number; an empty cell, NaN or ? is a missing value"
            ) from error
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as such
        return np.asarray(numbers, dtype=np.float64).astype(np.float32)


def _read_ts(path: Path, encoding: str | None, needs_labels: bool) -> RawSeries:
    """The archive's own format: ``@`` lines, then a series a line, its channels and its label parted by colons."""
    found, said, begun = RawSeries(), dict[str, str](), False
    with open_text(path, encoding) as lines:
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line or line.startswith(("#", "%")):
                continue
            if begun:
                _add_ts_line(path, f"line {number}", line, found)
            elif line.startswith("@"):
                word, _, rest = line[1:].partition(" ")
                said[word.lower()] = rest.strip().lower()
                if begun := word.lower() == "data":
                    _check_ts_header(path, said, needs_labels, found)
            else:
                raise InputError(f"{path}, line {number}: a .ts file needs a line @data before its series")
    return found


def _check_ts_header(path: Path, said: dict[str, str], needs_labels: bool, found: RawSeries) -> None:
    if said.get("timestamps", "false").startswith("true"):
        raise InputError(f"{path} has time stamps (@timeStamps true), which are not read: write the values alone")
    if said.get("targetlabel", "false").startswith("true"):
        raise InputError(f"{path} has numbers to predict (@targetLabel true): a classifier needs @classLabel true")
    if not said.get("classlabel", "true").startswith("true"):
        if needs_labels:
            raise InputError(f"{path} has no labels (@classLabel false): there is nothing to learn from")
        found.labels = None


def _add_ts_line(path: Path, place: str, line: str, found: RawSeries) -> None:
    *parts, last = line.split(":")
    parts, label = ([*parts, last], None) if found.labels is None else (parts, last.strip())
    if not parts:
        raise InputError(f"{path}, {place}: a series and its label are parted by a colon; here is none")
    where = f"{path}, {place}"
    channels = [to_numbers(part.split(","), f"{where}, channel {c + 1}") for c, part in enumerate(parts)]
    lengths = {len(channel) for channel in channels}
    if len(lengths) > 1:
        raise InputError(f"{where}: its channels have {min(lengths)} to {max(lengths)} steps: fill the rest with ?")
    if not found.channels:
        found.channels = [str(number + 1) for number in range(len(channels))]
    if len(channels) != len(found.channels):
        raise InputError(f"{where} has {len(channels)} channels, those above have {len(found.channels)}")
    found.add(place, np.stack(channels, axis=1), label)


def _read_npz(path: Path, needs_labels: bool) -> RawSeries:
    """Arrays ``values`` (series, steps) or (series, steps, channels), ``labels`` (series,), perhaps ``lengths``."""
    with explained(f"{path} cannot be read as .npz"), np.load(path, allow_pickle=False) as file:
        arrays = {
            name: next((file[word] for word in words if word in file.files), None) for name, words in ARRAYS.items()
        }
        there = ", ".join(file.files)
    values, labels, lengths = (arrays[name] for name in ARRAYS)
    if values is None or (labels is None and needs_labels):
        lacks = "values" if values is None else "labels"
        raise InputError(
            f"{path} has no array {lacks!r}: it needs values (series, steps, channels) and labels; {there}"
        )
    if values.ndim not in (2, 3) or values.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: values must be numbers (series, steps) or (series, steps, channels), got {values.dtype} "
            f"{values.shape}"
        )
    values = values[:, :, None] if values.ndim == 2 else values
    for name, array in {"labels": labels, "lengths": lengths}.items():
        if array is not None and array.shape != values.shape[:1]:
            raise InputError(f"{path}: {name} must be ({len(values)},), one for each series, got {array.shape}")
    ends = np.full(len(values), values.shape[1]) if lengths is None else lengths.astype(int)
    if ((ends < 0) | (ends > values.shape[1])).any():
        raise InputError(f"{path}: lengths must be from 1 to {values.shape[1]} steps")
    found = RawSeries(channels=[str(number + 1) for number in range(values.shape[2])])
    found.labels = None if labels is None else []
    for row, (series, end) in enumerate(zip(values, ends, strict=True)):
        found.add(f"series {row + 1}", series[:end].astype(np.float32), None if labels is None else str(labels[row]))
    return found


def _read_folder(path: Path, columns: SeriesColumns, options: ReadOptions, flag: str, needs_labels: bool) -> RawSeries:
    """A folder of each class's files, or without labels one of files: a series a file, a step a row."""
    found = RawSeries(labels=[] if needs_labels else None)
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if needs_labels and not folders:
        raise InputError(f"{path} holds no folders: --{flag} must hold a folder of files for each class")
    for folder in folders or [path]:
        for file in sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")):
            name = str(file.relative_to(path))
            names, values, notes = _steps_of_file(file, columns, options, flag)
            if found.channels and names != found.channels:
                raise InputError(f"{file} has the channels {', '.join(names)}; those before have {found.channels}")
            found.channels = names
            found.add(name, values, folder.name)
            found.notes += [note for note in notes if note not in found.notes]
    return found


def _steps_of_file(
    path: Path, columns: SeriesColumns, options: ReadOptions, flag: str
) -> tuple[list[str], np.ndarray, list[str]]:
    """One series: a row a step; of a file without a header the first row is a step, too."""
    rows = read_table(path, _with_names(path, options, "channel"), flag)
    names = _value_columns(path, rows, columns, {columns.time} if columns.time else set())
    notes = _check_times(f"{path}", rows, columns.time) if columns.time else []
    return names, _matrix(path, rows, names), notes


def _with_names(path: Path, options: ReadOptions, word: str) -> ReadOptions:
    """Names for the columns of a file whose first row is numbers, as UCR's ``.tsv`` files are."""
    if options.column_names is not None or kind_of(path) not in DELIMITED:
        return options
    dialect = find_dialect(path, options.encoding, options.delimiter)
    with open_text(path, options.encoding, newline="") as file:
        first = [cell.strip() for cell in next((record for _, record in dialect.records(file)), [])]
    if not all(NUMBER.fullmatch(cell) or cell.lower() in MISSING for cell in first):
        return options
    names = [f"{word}_{number}" for number in range(len(first))]
    if word == "step":  # UCR's tables begin with the label
        names[0] = "label"
    return ReadOptions(**{**vars(options), "column_names": tuple(names)})


def _value_columns(path: Path, rows: "Dataset", columns: SeriesColumns, others: set[str]) -> list[str]:
    there = [name for name in rows.column_names if name != PLACE]
    wanted = list(columns.values) if columns.values is not None else [name for name in there if name not in others]
    for name in (*wanted, *others):
        if name not in there:
            raise InputError(f"{path} has no column {name!r}: it has {list_columns(there)}")
    if not wanted:
        raise InputError(f"{path} has no column of values beside {', '.join(sorted(others))}")
    return wanted


def _matrix(path: Path, rows: "Dataset", names: list[str]) -> np.ndarray:
    places = rows[PLACE][:]
    return np.stack([to_numbers(rows[name][:], f"{path}, column {name!r}", places) for name in names], axis=1)


def _read_table(path: Path, columns: SeriesColumns, options: ReadOptions, flag: str, needs_labels: bool) -> RawSeries:
    """A long table, if it has a column that says which series a row is of; else a wide one."""
    rows = read_table(path, _with_names(path, options, "step"), flag)
    there = [name for name in rows.column_names if name != PLACE]
    labelled = columns.label in there
    if not labelled and needs_labels:
        raise InputError(f"{path} has no column {columns.label!r}: --label_column must be one of {list_columns(there)}")
    if columns.series in there:
        return _read_long(path, rows, columns, labelled and needs_labels)
    if columns.series != SeriesColumns.series or columns.time is not None:
        flags = "--id_column" if columns.series != SeriesColumns.series else "--time_column"
        raise InputError(f"{path} has no column {columns.series!r}, which {flags} needs: it has {list_columns(there)}")
    names = _value_columns(path, rows, columns, {columns.label} & set(there))
    values = _matrix(path, rows, names)
    found = RawSeries(channels=["1"], labels=[] if labelled and needs_labels else None)
    labels = rows[columns.label][:] if labelled else [None] * len(values)
    for place, series, label in zip(rows[PLACE][:], values, labels, strict=True):
        # Shorter rows of a wide table end in empty cells.
        end = len(series) - int(np.isnan(series[::-1]).cumprod().sum())
        found.add(place, series[: max(end, 1), None], label)
    return found


def _read_long(path: Path, rows: "Dataset", columns: SeriesColumns, labelled: bool) -> RawSeries:
    others = {columns.series, *filter(None, [columns.time])} | ({columns.label} & set(rows.column_names))
    names = _value_columns(path, rows, columns, others)
    values, series, places = _matrix(path, rows, names), np.asarray(rows[columns.series][:], dtype=str), rows[PLACE][:]
    found = RawSeries(channels=names, labels=[] if labelled else None)
    labels = np.asarray(rows[columns.label][:], dtype=str) if labelled else series
    number: dict[str, int] = {}
    for start in sorted(np.unique(series, return_index=True)[1]):
        number[str(series[start])] = len(number)
    of_row = np.array([number[str(name)] for name in series])
    order = np.argsort(of_row, kind="stable")
    times = _times(path, rows, columns.time, places) if columns.time else None
    for name, steps in zip(number, _runs(of_row[order], order), strict=True):
        if labelled and len(said := np.unique(labels[steps])) > 1:
            raise InputError(f"{path}: series {name!r} has the labels '{said[0]}' and '{said[1]}'; one series has one")
        if times is not None:
            found.notes += _check_rising(f"{path}, series {name!r}", times[steps], [places[i] for i in steps])
        found.add(f"series {name!r}", values[steps], labels[steps[0]])
    found.notes = list(dict.fromkeys(found.notes))
    return found


def _runs(keys: np.ndarray, order: np.ndarray) -> Iterator[np.ndarray]:
    yield from np.split(order, np.flatnonzero(np.diff(keys)) + 1)


def _check_times(where: str, rows: "Dataset", column: str) -> list[str]:
    places = rows[PLACE][:]
    return _check_rising(where, _times(Path(where), rows, column, places), places)


def _times(path: Path, rows: "Dataset", column: str, places: Sequence[str]) -> np.ndarray:
    """Times as numbers, or ISO dates as seconds.

    Raises:
        InputError: the column is not there, or a time is neither.
    """
    if column not in rows.column_names:
        raise InputError(
            f"{path} has no column {column!r}: --time_column must be one of {list_columns(rows.column_names)}"
        )
    times = []
    for place, cell in zip(places, rows[column][:], strict=True):
        word = str(cell or "").strip()
        try:
            times.append(float(word) if re.fullmatch(r"[-+.\deE]+", word) and word.count("-") < 2 else _seconds(word))
        except ValueError as error:
            raise InputError(
                f"{path}, {place}: the time {word!r} is neither a number nor a date as 2024-05-31 12:00:00"
            ) from error
    return np.asarray(times)


def _seconds(word: str) -> float:
    return (datetime.fromisoformat(word).replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()


def _check_rising(where: str, times: np.ndarray, places: Sequence[str]) -> list[str]:
    """Refuse times that do not rise; say where they are not evenly spaced."""
    gaps = np.diff(times)
    if len(wrong := np.flatnonzero(gaps <= 0)):
        step = int(wrong[0]) + 1
        what = "stands twice" if gaps[step - 1] == 0 else "comes after a later one"
        raise InputError(f"{where}, {places[step]}: its time {what}; a series needs rising times: sort or clean them")
    uneven = len(gaps) and (gaps.max() > 1.01 * gaps.min())
    return ["times are not evenly spaced, and are read as steps all the same"] if uneven else []
