"""Labelled series: splits of one form from whatever files they come in, and made-up ones that need none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..common.errors import InputError
from .label_rules import in_order
from .labels import tenth_of_classes
from .series_files import AS_IT_IS, RawSeries, SeriesColumns, read_series
from .sources import SPLITS, stem
from .tables import ReadOptions

FEWEST = 10  # training rows of which a tenth can be held out
SHOWN = 3  # names that a note lists
USUAL = SeriesColumns()
MADE_UP = "made-up waves"


@dataclass(frozen=True)
class SeriesSplit:
    """Series and their classes.

    Args:
        values: (steps, channels) float32 each, NaN where a value is missing.
        labels: (rows,) int64, which of the classes.
    """

    values: list[np.ndarray]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """One series and its class."""
        return self.values[index], int(self.labels[index])

    def select(self, rows: Sequence[int]) -> "SeriesSplit":
        """Some of the rows."""
        return SeriesSplit([self.values[row] for row in rows], self.labels[list(rows)])

    def joined(self, other: "SeriesSplit") -> "SeriesSplit":
        """These rows and others behind them."""
        return SeriesSplit([*self.values, *other.values], np.concatenate([self.labels, other.labels]))

    @property
    def lengths(self) -> np.ndarray:
        """(rows,) steps of each."""
        return np.array([len(values) for values in self.values])


@dataclass(frozen=True)
class LabelledSeries:
    """Splits of labelled series.

    Args:
        name: what the data is called in a run record.
        splits: the rows.
        labels: the classes' names.
        channels: the channels' names.
        origin: what each split was called where it comes from.
        title: what runs on these rows are called; None for the name of their recipe.
        held_out: whether the validation rows were held out of the training rows.
        notes: what is odd about the rows, a few words each.
    """

    name: str
    splits: dict[str, SeriesSplit]
    labels: list[str]
    channels: list[str]
    origin: dict[str, str]
    title: str | None = None
    held_out: bool = False
    notes: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """Of every value and label."""
        digest = sha256()
        for split, rows in self.splits.items():
            digest.update(split.encode())
            for values, label in zip(rows.values, rows.labels, strict=True):
                digest.update(repr(values.shape).encode() + values.tobytes() + self.labels[label].encode())
        return digest.hexdigest()[:16]


def series_files(
    files: dict[str, Path],
    columns: SeriesColumns = USUAL,
    options: ReadOptions = AS_IT_IS,
    classes: Sequence[str] | None = None,
) -> LabelledSeries:
    """Series of files or folders, one for each split.

    Without a file for validation a tenth of the training rows is held out, class by class. A split is only ever what
    its file holds: validation does not become the test.

    Args:
        files: by split.
        columns, options: how tables are read.
        classes: a saved model's; a file to train on may then be missing. None to find them in the training rows.

    Raises:
        FileNotFoundError: a file does not exist.
        InputError: a file cannot be read as labelled series, or its rows do not fit those of training.
    """
    raw = {split: read_series(path, columns, options, f"{split}_file") for split, path in files.items()}
    first = next(iter(files.values()))
    title = stem(first)
    rows = assemble(first.name, raw, {split: path.name for split, path in files.items()}, classes)
    return replace(rows, title=title.removesuffix("_TRAIN").removesuffix("_TEST"))


def archive_set(name: str, data_dir: Path, classes: Sequence[str] | None = None) -> LabelledSeries:
    """A set of the UCR or UEA archive as it is unpacked: ``DIR/NAME/NAME_TRAIN.ts`` and ``NAME_TEST.ts``.

    Raises:
        FileNotFoundError: the folder does not hold it.
        InputError: a file cannot be read.
    """
    folder = data_dir / name
    files = {split: folder / f"{name}_{split.upper()}.ts" for split in ("train", "test")}
    for path in files.values():
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no file {path}: --data_dir must hold NAME/NAME_TRAIN.ts and NAME_TEST.ts"
            )
    raw = {split: read_series(path, flag="data_dir") for split, path in files.items()}
    rows = assemble(name, raw, {split: path.name for split, path in files.items()}, classes)
    return replace(rows, title=name)


def assemble(
    name: str, raw: dict[str, RawSeries], origin: dict[str, str], classes: Sequence[str] | None = None
) -> LabelledSeries:
    """Splits under one form: numbered classes, equal channels, and rows to choose by.

    Args:
        name: what the data is called.
        raw: of each split what its file holds.
        origin: what each split was called.
        classes: a saved model's; None for those of the training rows.

    Raises:
        InputError: there are not two classes, a class is not one of training, or channels differ.
    """
    known = classes is not None
    labels = list(classes) if classes is not None else in_order(set(raw["train"].labels or ()))
    if len(labels) < 2:
        raise InputError(f"{name} has one class, {labels[0]!r}, in train: there is nothing to tell apart")
    channels = next(iter(raw.values())).channels
    splits = {split: _numbered(name, split, rows, labels, channels) for split, rows in raw.items()}
    held_out = "train" in splits and "validation" not in splits and not (known and len(splits["train"]) < FEWEST)
    notes = [f"{split}: {note}" for split, rows in raw.items() for note in rows.notes]
    if "train" in splits:
        notes += _oddities(splits["train"], channels)
    origin = dict(origin)
    if held_out:
        splits |= _held_out(name, splits["train"])
        origin["validation"] = f"a tenth of {origin['train']}, drawn with seed 0, class by class"
        origin["train"] = f"the rest of {origin['train']}"
    splits = {split: splits[split] for split in SPLITS if split in splits}
    return LabelledSeries(
        name,
        splits,
        labels,
        channels,
        {split: origin[split] for split in splits},
        held_out=held_out,
        notes=tuple(dict.fromkeys(notes)),
    )


def _numbered(name: str, split: str, rows: RawSeries, labels: list[str], channels: list[str]) -> SeriesSplit:
    if len(rows.channels) != len(channels):
        raise InputError(
            f"{name} has {len(rows.channels)} channels in {split} and {len(channels)} before: all splits need the same"
        )
    numbers = {label: number for number, label in enumerate(labels)}
    for place, label in zip(rows.names, rows.labels or (), strict=True):
        if label not in numbers:
            raise InputError(
                f"{name}, {split}, {place}: the class {label!r} is not one of {', '.join(labels[:SHOWN])}"
                f"{', …' * (len(labels) > SHOWN)}, which training has"
            )
    return SeriesSplit(rows.values, np.array([numbers[label] for label in rows.labels or ()], dtype=np.int64))


def _held_out(name: str, rows: SeriesSplit) -> dict[str, SeriesSplit]:
    if len(rows) < FEWEST:
        raise InputError(
            f"{name} has {len(rows)} training rows, too few to hold out a tenth of them: give a --validation_file"
        )
    held = tenth_of_classes(rows.labels)
    parts = {"train": ~held, "validation": held}
    return {split: rows.select(torch.nonzero(part)[:, 0].tolist()) for split, part in parts.items()}


def _oddities(rows: SeriesSplit, channels: list[str]) -> list[str]:
    """Channels that say nothing, and how much is missing."""
    notes = []
    together = np.concatenate(rows.values)
    missing = np.isnan(together)
    if missing.any():
        notes.append(f"{missing.mean():.1%} of the values are missing; each holds the last one that was observed")
    low, high = np.where(missing, np.inf, together).min(0), np.where(missing, -np.inf, together).max(0)
    silent = [f"{channels[at]} never observed" for at in np.flatnonzero(low > high)]
    silent += [f"{channels[at]} always {low[at]:g}" for at in np.flatnonzero(low == high)]
    if silent:
        more = f" and {len(silent) - SHOWN} more" if len(silent) > SHOWN else ""
        notes.append(f"channels that tell nothing: {', '.join(silent[:SHOWN])}{more}")
    # A clock goes by the same step through every series.
    moves = np.concatenate([np.diff(series, axis=0) for series in rows.values])
    ticks = [len(column) > 0 and column[0] > 0 and np.ptp(column) == 0 for column in moves.T]
    clocks = [channels[at] for at in np.flatnonzero(ticks)]
    if clocks:
        notes.append(f"{clocks[0]!r} counts the steps of every series: if it is their time, name it as --time_column")
    return notes


def pad_series(rows: list[tuple[np.ndarray, int]]) -> dict[str, Tensor]:
    """Series as a batch: values (b, n, channels), zero where there are none, which are there, and classes."""
    values = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(series) for series, _ in rows], batch_first=True)
    lengths = torch.tensor([len(series) for series, _ in rows])
    return {
        "input_values": values.nan_to_num(nan=0.0),
        "attention_mask": (torch.arange(values.shape[1]) < lengths[:, None]).long(),
        "observed_mask": ~values.isnan(),
        "labels": torch.tensor([label for _, label in rows]),
    }


def made_up_waves(rows: int = 240, seed: int = 0) -> LabelledSeries:
    """Noisy waves of three shapes, sine, square and sawtooth, of any period and phase, two channels, unequal lengths.

    Nothing is downloaded: what ``train series`` reads where no data is named. A tenth of the values is missing.

    Args:
        rows: half of them train, and a quarter each validates and tests.
        seed: of the draws.
    """
    draw = np.random.default_rng(seed)
    shapes = ("sawtooth", "sine", "square")
    raw = {split: RawSeries(channels=["wave", "slow copy"]) for split in SPLITS}
    for row in range(rows):
        split = ("train", "train", "validation", "test")[row % 4]
        shape = shapes[draw.integers(3)]
        steps, period, phase = draw.integers(60, 121), draw.uniform(12, 30), draw.uniform()
        turns = np.arange(steps) / period + phase
        waves = [_wave(shape, turns), _wave(shape, turns / 2)]
        values = np.stack(waves, 1) + 0.4 * draw.standard_normal((steps, 2))
        values[draw.random((steps, 2)) < 0.1] = np.nan
        raw[split].add(f"row {row + 1}", values.astype(np.float32), shape)
    origin = {split: f"drawn with seed {seed}" for split in SPLITS}
    return assemble(MADE_UP, raw, origin)


def _wave(shape: str, turns: np.ndarray) -> np.ndarray:
    part = turns % 1
    return {"sine": np.sin(2 * np.pi * part), "square": np.where(part < 0.5, 1.0, -1.0), "sawtooth": 2 * part - 1}[
        shape
    ]
