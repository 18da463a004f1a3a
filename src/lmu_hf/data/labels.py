"""What a labelled row is: which columns it has, what its label may be, and which split it belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..checking import IGNORED
from ..common.errors import InputError
from .label_rules import (
    MULTI,
    REGRESSION,
    SINGLE,
    UNASKED,
    Asked,
    Column,
    Job,
    decide,
    to_classes,
    to_numbers,
    to_sets,
    truth,
)
from .sources import SPLITS, list_columns
from .tables import PLACE

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

Classes = Sequence[str] | None  # the tags of a saved model; or None: still to be found
METRICS = {
    SINGLE: ("accuracy", "macro_f1"),
    MULTI: ("macro_f1", "micro_f1", "subset_accuracy"),
    REGRESSION: ("r2", "mae", "rmse", "pearson", "spearmanr"),
}


@dataclass(frozen=True)
class Columns:
    """Which columns hold the text, its pair and the label, if there are such.

    Args:
        text, text_pair: their names.
        label: its name; or several, with commas between them, where each class has a column of zeros and ones.
    """

    text: str = "text"
    text_pair: str | None = None
    label: str | None = "label"

    @property
    def flags(self) -> dict[str, str]:
        """The column that each flag of the command line names."""
        named = {"text_column": self.text, "text_pair_column": self.text_pair, "label_column": self.label}
        return {flag: column for flag, column in named.items() if column is not None}

    def hot(self, there: Sequence[str]) -> tuple[str, ...]:
        """The columns of the classes, if each has one of its own; a column whose own name holds a comma is one."""
        if self.label is None or self.label in there or "," not in self.label:
            return ()
        return tuple(name.strip() for name in self.label.split(","))


@dataclass(frozen=True)
class LabelledText:
    """Splits of labelled text.

    Args:
        name: what the data is called in a run record.
        splits: rows with ``text``, perhaps ``text_pair``, and ``label``: for a choice of one class an index of
            ``labels``, for several a list of 0 or 1 for each of them, and else a number.
        labels: the classes' names; None where a label is a number to predict.
        origin: what each split was called where it comes from.
        metrics: by which it is judged, the first of them deciding.
        dataset, dataset_config: the data set's name on the Hub and its configuration; None if it is not there.
        problem_type: what is to be found, as a config has it.
        label_name: what the column of the labels was called.
        title: what runs on these rows are called; None for the name of their recipe.
        notes: what is odd about the labels, a few words each.
        held_out: whether the validation rows were held out of the training rows, and are no file or split of their own.
    """

    name: str
    splits: dict[str, "Dataset"]
    labels: list[str] | None
    origin: dict[str, str]
    metrics: tuple[str, ...]
    dataset: str | None = None
    dataset_config: str | None = None
    problem_type: str = SINGLE
    label_name: str = "label"
    title: str | None = None
    notes: tuple[str, ...] = ()
    held_out: bool = False

    @property
    def pairs(self) -> bool:
        """Whether a row holds two texts."""
        return "text_pair" in next(iter(self.splits.values())).column_names

    @property
    def job(self) -> Job:
        """What is to be found for a row."""
        return Job(REGRESSION) if self.labels is None else Job(self.problem_type, tuple(self.labels))

    def fingerprint(self) -> str:
        """Of every text and label, read a thousand rows at a time."""
        digest = sha256()
        for split, rows in self.splits.items():
            digest.update(split.encode())
            for batch in rows.iter(1000):
                digest.update(repr(sorted(batch.items())).encode())  # sorted: the order of columns does not count
        return digest.hexdigest()[:16]


def assemble(
    name: str,
    rows: dict[str, "Dataset"],
    columns: Columns,
    origin: dict[str, str],
    known: Job | None = None,
    metrics: tuple[str, ...] | None = None,
    promote: bool = True,
    validation_block: int = 1,
    asked: Asked = UNASKED,
    by_class: bool = False,
) -> LabelledText:
    """Rows of any source under one form: named columns, checked labels, three splits.

    Args:
        name: what the data is called.
        rows: of each split.
        columns: their names.
        origin: what each split was called.
        known: what a saved model finds; None to decide it by the training rows.
        metrics: by which it is judged; None for those of its problem type.
        promote, validation_block, by_class: as for :func:`three_splits`.
        asked: what the flags say of the labels.
    """
    columns, label_name = _with_classes(next(iter(rows.values())).column_names, columns, known), columns.label
    if hot := columns.hot(next(iter(rows.values())).column_names):
        asked = Asked(asked.problem_type or MULTI, asked.separator, hot)
        if asked.problem_type != MULTI:
            raise InputError(f"--label_column {columns.label} names several columns: --problem_type must be {MULTI}")
    rows = {split: rename_columns(name, split, part, columns) for split, part in rows.items()}
    job = find_job(name, rows["train"], asked) if known is None else known
    kept = {split: number_labels(name, split, part, job, asked) for split, part in rows.items()}
    splits = {split: part for split, part in kept.items() if part is not None}
    given = len(splits.get("train", ()))
    if "train" in splits:
        by_class = by_class and job.problem_type == SINGLE
        splits, origin = three_splits(splits, dict(origin), promote, validation_block, by_class)
    elif "train" in rows or not splits:
        raise ValueError(f"the {next(iter(rows))} split of {name} has no labelled row: there is nothing to learn from")
    return LabelledText(
        name,
        splits,
        None if job.problem_type == REGRESSION else list(job.classes),
        origin,
        metrics or METRICS[job.problem_type],
        problem_type=job.problem_type,
        label_name=str(label_name),
        notes=job.notes,
        held_out=len(splits.get("train", ())) < given,
    )


def _with_classes(there: Sequence[str], columns: Columns, known: Job | None) -> Columns:
    """The columns of a saved model's classes, where rows have them and not the one column that was named."""
    if known is None or known.problem_type != MULTI or columns.label in there or not set(known.classes) <= set(there):
        return columns
    return Columns(columns.text, columns.text_pair, ",".join(known.classes))


def rename_columns(name: str, split: str, rows: "Dataset", columns: Columns) -> "Dataset":
    """Rows whose columns are called ``text``, ``text_pair`` and ``label``, without any other but a reader's places.

    Raises:
        ValueError: there are no rows, a column is not there, or a row lacks a value in it; the message says where.
    """
    from datasets import Value

    hot, there = columns.hot(rows.column_names), list_columns([c for c in rows.column_names if c != PLACE])
    named = [(flag, column) for flag, column in columns.flags.items() if not (hot and flag == "label_column")]
    for flag, column in [*named, *(("label_column", column) for column in hot)]:
        if column not in rows.column_names:
            raise ValueError(f"{name} has no column {column!r} in {split}: --{flag} must be one of {there}")
    if len(rows) == 0:
        raise ValueError(f"the {split} split of {name} holds no row")
    new = {column: flag.removesuffix("_column") for flag, column in named}
    # Two flags that name one column share one entry of `new`.
    if len(new) < len(named) or set(new) & set(hot):
        raise ValueError(
            f"text_column, text_pair_column and label_column must differ, got {list(columns.flags.values())}"
        )
    labels = _join_classes(f"the {split} split of {name}", rows, hot) if hot else None
    # Selected first: another column may have one of the new names already.
    place = [PLACE] if PLACE in rows.column_names else []
    rows = rows.select_columns([*new, *place]).rename_columns(new)
    for column in new.values():
        if missing := rows.data.column(column).null_count:
            raise ValueError(f"the {split} split of {name} has {missing} rows without {column!r}: fill or drop them")
        # Tokenizers take strings: numbers and large_string are cast.
        if column != "label" and rows.features[column] != Value("string"):
            rows = rows.cast_column(column, Value("string"))
    return rows if labels is None else rows.add_column("label", labels)


def _join_classes(where: str, rows: "Dataset", hot: tuple[str, ...]) -> list[list[str]]:
    """Of each row the classes that hold, from a column of zeros and ones for each class."""
    places = _places(rows)
    held = [truth(Column(f"{where} ({name!r})", rows[name][:], places)) for name in hot]
    return [[name for name, holds in zip(hot, row, strict=True) if holds] for row in zip(*held, strict=True)]


def _places(rows: "Dataset") -> list[str] | None:
    return rows[PLACE][:] if PLACE in rows.column_names else None


def label_column(name: str, split: str, rows: "Dataset") -> Column:
    """A split's labels as they are written; of rows whose classes have names, those."""
    from datasets import ClassLabel

    feature, values = rows.features["label"], rows["label"][:]
    inner = getattr(feature, "feature", None)
    if isinstance(feature, ClassLabel):
        # Names are matched and not numbers, since a saved model may order the classes otherwise.
        values = [_named(feature, value) for value in values]
    elif isinstance(inner, ClassLabel):
        values = [[_named(inner, value) for value in row] for row in values]
    return Column(f"the {split} split of {name}", values, _places(rows))


def _named(feature: Any, value: int) -> str:
    # −1 has no name, and a number that is too large is a fault of the file, which is told by that number.
    return feature.names[value] if 0 <= value < len(feature.names) else str(value)


def find_job(name: str, train: "Dataset", asked: Asked = UNASKED) -> Job:
    """What the training rows say is to be found for a row.

    Raises:
        InputError: they do not say it, or one label will not do.
    """
    from datasets import ClassLabel

    feature = train.features["label"]
    if isinstance(feature, ClassLabel) and asked.problem_type in (None, SINGLE):
        return Job(SINGLE, tuple(feature.names))
    inner = getattr(feature, "feature", None)
    if isinstance(inner, ClassLabel) and not asked.classes:
        asked = Asked(asked.problem_type, asked.separator, tuple(inner.names))
    if isinstance(feature, ClassLabel) and asked.problem_type == REGRESSION:
        raise InputError(f"{name} names classes: --problem_type {REGRESSION} needs numbers")
    return decide(label_column(name, "train", train), asked)


def number_labels(name: str, split: str, rows: "Dataset", job: Job, asked: Asked = UNASKED) -> "Dataset | None":
    """A split's labelled rows, with labels as a model takes them; None if it has none.

    Raises:
        InputError: a label is none that the job knows.
    """
    column = label_column(name, split, rows)
    labels: Any
    if job.problem_type == MULTI:
        labels = to_sets(column, job.classes, asked)
    elif job.problem_type == REGRESSION:
        # A split of nothing but −1 has secret labels, as the test split of STS-B has. A single −1 may be a number.
        numbers = np.asarray(to_numbers(column))
        if (numbers == -1).all():
            return None
        if not np.isfinite(labels := numbers.astype(np.float32)).all():
            raise column.refuse(int((~np.isfinite(labels)).argmax()), ", which float32 cannot hold: give another unit")
        # To every head −100 is no label, so a number that is that one is moved by the least that float32 knows.
        labels[labels == IGNORED] = np.nextafter(np.float32(IGNORED), np.float32(0))
    else:
        found = to_classes(column, job.classes)
        labelled = [row for row, label in enumerate(found) if label is not None]
        if not labelled:
            return None
        if len(labelled) < len(found):
            rows = rows.select(labelled)
        labels = np.asarray([found[row] for row in labelled], dtype=np.int64)
    extra = [column for column in (PLACE, "label") if column in rows.column_names]
    return rows.remove_columns(extra).add_column("label", labels)


def three_splits(
    splits: dict[str, "Dataset"],
    origin: dict[str, str],
    promote: bool,
    validation_block: int,
    by_class: bool = False,
    most: int | None = None,
) -> tuple[dict[str, "Dataset"], dict[str, str]]:
    """Train, validation, and perhaps test.

    Where there is no labelled test, the official validation split becomes the test (if ``promote``), so that what is
    reported was never chosen by; what validation then lacks is a tenth of the training rows, the same in every run.
    With ``by_class`` it is a tenth of each class, so that weights can be chosen by a rare one. ``most`` is
    the largest number of blocks that are held out, where rows take long to score.

    Raises:
        ValueError: a block is below 1, the training rows do not make ten, or a split validates already.
    """
    if validation_block < 1:
        raise ValueError(f"validation_block must be at least 1 row, got {validation_block}")
    splits = dict(splits)
    if promote and "test" not in splits and "validation" in splits:
        splits["test"], origin["test"] = splits.pop("validation"), f"all of {origin['validation']}"
    if "validation" not in splits:
        rows = splits["train"]
        blocks = -(-len(rows) // validation_block)  # rounded up: the last block may be shorter
        together = "" if validation_block == 1 else f", in runs of {validation_block}"
        if blocks < 10:
            raise ValueError(
                f"{len(rows)} training rows are too few to hold out a tenth of them for validation{together}"
            )
        if by_class and validation_block == 1:
            held, together = tenth_of_classes(np.asarray(rows["label"][:])), ", class by class"
        else:
            # A permutation is below blocks // 10 exactly that often, so a tenth of the blocks is held out.
            kept = blocks // 10 if most is None else min(most, blocks // 10)
            held = torch.randperm(blocks, generator=torch.Generator().manual_seed(0)) < kept
            held = held.repeat_interleave(validation_block)[: len(rows)]
        splits["train"] = rows.select(torch.nonzero(~held)[:, 0].tolist())
        splits["validation"] = rows.select(torch.nonzero(held)[:, 0].tolist())
        share = "a tenth" if most is None or len(splits["validation"]) < most else f"{most:,} rows"
        origin["validation"] = f"{share} of {origin['train']}, drawn with seed 0{together}"
        origin["train"] = f"the rest of {origin['train']}"
    elif validation_block > 1:
        raise ValueError(
            f"validation_block={validation_block} says how to hold rows out, but {origin['validation']} validates "
            "already"
        )
    ordered = {split: splits[split] for split in SPLITS if split in splits}
    return ordered, {split: origin[split] for split in ordered}


def tenth_of_classes(labels: np.ndarray) -> torch.Tensor:
    """Which rows to hold out: every tenth of the rows at random, class by class."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).numpy()
    order = order[np.argsort(labels[order], kind="stable")]
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[order[5::10]] = True
    classes, counts = np.unique(labels, return_counts=True)
    for label, count in zip(classes, counts, strict=True):
        # Where classes are few, a row of each costs little. Where nearly all are rare, it would cost half of the rows.
        if count > 1 and 20 * len(classes) <= len(labels) and not held[labels == label].any():
            held[order[labels[order] == label][0]] = True
    return held
