"""What a labelled row is: which columns it has, which classes its label may be of, and which split it belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .sources import SPLITS, list_columns

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

UNLABELLED = -1  # what data sets of the Hub give a row whose label is secret or in dispute


@dataclass(frozen=True)
class Columns:
    """Which columns hold the text, its pair and the label, if there are such."""

    text: str = "text"
    text_pair: str | None = None
    label: str | None = "label"

    @property
    def flags(self) -> dict[str, str]:
        """The column that each flag of the command line names."""
        named = {"text_column": self.text, "text_pair_column": self.text_pair, "label_column": self.label}
        return {flag: column for flag, column in named.items() if column is not None}


Classes = Sequence[str] | None  # of a saved model, none if it predicts numbers; or None: still to be found


@dataclass(frozen=True)
class LabelledText:
    """Splits of labelled text.

    Args:
        name: what the data is called in a run record.
        splits: rows with ``text``, perhaps ``text_pair``, and ``label``; for a choice of one class, an index of
            ``labels``.
        labels: the classes' names; None where a label is a number to predict.
        origin: what each split was called where it comes from.
        metrics: by which it is judged, the first of them deciding.
        dataset, dataset_config: the data set's name on the Hub and its configuration; None if it is not there.
    """

    name: str
    splits: dict[str, "Dataset"]
    labels: list[str] | None
    origin: dict[str, str]
    metrics: tuple[str, ...]
    dataset: str | None = None
    dataset_config: str | None = None

    @property
    def pairs(self) -> bool:
        """Whether a row holds two texts."""
        return "text_pair" in next(iter(self.splits.values())).column_names

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
    labels: Classes = None,
    metrics: tuple[str, ...] | None = None,
    promote: bool = True,
    validation_block: int = 1,
) -> LabelledText:
    """Rows of any source under one form: named columns, checked labels, three splits."""
    rows = {split: rename_columns(name, split, part, columns) for split, part in rows.items()}
    found, values = find_classes(name, rows["train"]) if labels is None else match_classes(name, rows, list(labels))
    kept = {split: number_labels(name, split, part, values) for split, part in rows.items()}
    splits = {split: part for split, part in kept.items() if part is not None}
    if "train" in splits:
        splits, origin = three_splits(splits, dict(origin), promote, validation_block)
    elif "train" in rows or not splits:
        raise ValueError(f"the {next(iter(rows))} split of {name} has no labelled row: there is nothing to learn from")
    default = ("pearson", "spearmanr") if found is None else ("accuracy",)
    return LabelledText(name, splits, found, origin, metrics or default)


def rename_columns(name: str, split: str, rows: "Dataset", columns: Columns) -> "Dataset":
    """Rows whose columns are called ``text``, ``text_pair`` and ``label``, without any other.

    Raises:
        ValueError: there are no rows, a column is not there, or a row lacks a value in it; the message says where.
    """
    from datasets import Value

    for flag, column in columns.flags.items():
        if column not in rows.column_names:
            there = list_columns(rows.column_names)
            raise ValueError(f"{name} has no column {column!r} in {split}: --{flag} must be one of {there}")
    if len(rows) == 0:
        raise ValueError(f"the {split} split of {name} holds no row")
    new = {column: flag.removesuffix("_column") for flag, column in columns.flags.items()}
    # Two flags that name one column share one entry of `new`.
    if len(new) < len(columns.flags):
        raise ValueError(
            f"text_column, text_pair_column and label_column must differ, got {list(columns.flags.values())}"
        )
    # Selected first: another column may have one of the new names already.
    rows = rows.select_columns(list(new)).rename_columns(new)
    for column in new.values():
        if missing := rows.data.column(column).null_count:
            raise ValueError(f"the {split} split of {name} has {missing} rows without {column!r}: fill or drop them")
        # Tokenizers take strings: numbers and large_string are cast.
        if column != "label" and rows.features[column] != Value("string"):
            rows = rows.cast_column(column, Value("string"))
    return rows


def find_classes(name: str, train: "Dataset") -> tuple[list[str] | None, dict[Any, int] | None]:
    """The classes' names, and the class of each value of a label; None and None where labels are numbers to predict."""
    from datasets import ClassLabel

    feature = train.features["label"]
    if isinstance(feature, ClassLabel):
        return list(feature.names), {number: number for number in range(feature.num_classes)}
    # Fractions are grades to predict. Whole numbers and words are classes.
    if feature.dtype.startswith("float"):
        return None, None
    # Sorted, so that a class has the same number in whatever order the rows stand.
    seen = sorted(train.unique("label"))
    if "" in seen:
        raise ValueError(f"the train split of {name} has rows with an empty label: fill or drop them")
    if len(seen) < 2:
        raise ValueError(f"the train split of {name} has only the label {seen[0]!r}: there is nothing to tell apart")
    return [str(value) for value in seen], {value: number for number, value in enumerate(seen)}


def match_classes(
    name: str, rows: dict[str, "Dataset"], known: list[str]
) -> tuple[list[str] | None, dict[Any, int] | None]:
    """As :func:`find_classes`, for a saved model's classes, which are found in the rows by their names.

    Raises:
        ValueError: the rows have another class, or words where the model predicts numbers.
    """
    from datasets import ClassLabel

    feature = next(iter(rows.values())).features["label"]
    if isinstance(feature, ClassLabel):
        # Rows of a ClassLabel hold numbers. Their names are matched, since the model may order the classes otherwise.
        seen = dict(zip(feature.names, range(feature.num_classes), strict=True))
    else:
        seen = {str(value): value for part in rows.values() for value in part.unique("label")}
        # A model without classes predicts numbers; whole numbers in a file are numbers too.
        if not known and feature.dtype.startswith(("float", "int")):
            return None, None
    # −1 is no class but a row without a label, which `number_labels` drops.
    strange = [word for word in seen if word not in known and word != str(UNLABELLED)]
    if strange:
        classes = f"tells apart {', '.join(known[:10])}" if known else "predicts numbers"
        raise ValueError(f"{name} has the label {strange[0]!r}: the model {classes}")
    return known, {seen[word]: number for number, word in enumerate(known) if word in seen}


def number_labels(name: str, split: str, rows: "Dataset", values: dict[Any, int] | None) -> "Dataset | None":
    """A split's labelled rows, their labels numbered; None if it has none."""
    from datasets import Value

    if values is None:
        # Without [:] this is a lazy column and no array.
        numbers = rows.with_format("numpy")["label"][:].astype(np.float64)
        # A split of nothing but −1 has secret labels, as the test split of STS-B has. A single −1 may be a grade.
        if (numbers == UNLABELLED).all():
            return None
        if not np.isfinite(numbers).all():
            raise ValueError(f"the {split} split of {name} has a label that is not a finite number: fill or drop it")
        return rows.cast_column("label", Value("float32"))
    known = set(values)
    unknown = [value for value in rows.unique("label") if value not in known]
    if wrong := [value for value in unknown if value != UNLABELLED]:
        raise ValueError(
            f"the {split} split of {name} has the label {wrong[0]!r}, which is none of its classes: "
            f"{', '.join(map(repr, list(values)[:10]))}"
        )
    if unknown:
        rows = rows.filter(_has_class, input_columns=["label"], fn_kwargs={"known": known}, batched=True)
        if len(rows) == 0:
            return None
    return rows.map(
        _number, input_columns=["label"], fn_kwargs={"values": values}, batched=True, features=_numbered(rows)
    )


def _has_class(labels: list, known: set) -> list[bool]:
    return [label in known for label in labels]


def _number(labels: list, values: dict[Any, int]) -> dict[str, list[int]]:
    return {"label": [values[label] for label in labels]}


def _numbered(rows: "Dataset") -> Any:
    from datasets import Features, Value

    return Features({**rows.features, "label": Value("int64")})


def three_splits(
    splits: dict[str, "Dataset"], origin: dict[str, str], promote: bool, validation_block: int
) -> tuple[dict[str, "Dataset"], dict[str, str]]:
    """Train, validation, and perhaps test.

    Where there is no labelled test, the official validation split becomes the test (if ``promote``), so that what is
    reported was never chosen by; what validation then lacks is a tenth of the training rows, the same in every run.

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
        # A permutation is below blocks // 10 exactly that often, so a tenth of the blocks is held out.
        held = torch.randperm(blocks, generator=torch.Generator().manual_seed(0)) < blocks // 10
        held = held.repeat_interleave(validation_block)[: len(rows)]
        splits["train"] = rows.select(torch.nonzero(~held)[:, 0].tolist())
        splits["validation"] = rows.select(torch.nonzero(held)[:, 0].tolist())
        origin["validation"] = f"a tenth of {origin['train']}, drawn with seed 0{together}"
        origin["train"] = f"the rest of {origin['train']}"
    elif validation_block > 1:
        raise ValueError(
            f"validation_block={validation_block} says how to hold rows out, but {origin['validation']} validates "
            "already"
        )
    ordered = {split: splits[split] for split in SPLITS if split in splits}
    return ordered, {split: origin[split] for split in ordered}
