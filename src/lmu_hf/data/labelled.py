"""Labelled sentences and pairs of sentences: where they come from, which split is which, and what a label may be.

Whatever the source, a split is a memory-mapped `datasets.Dataset` with the columns ``text``, ``text_pair`` (of pairs)
and ``label``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .sentences import opinions, paraphrases
from .sources import SPLITS, list_columns, load_file, load_rows

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

UNLABELLED = -1  # what data sets of the Hub give a row whose label is secret or in dispute
GLUE = "nyu-mll/glue"
GLUE_COLUMNS: dict[str, tuple[str, str | None]] = {
    "cola": ("sentence", None),
    "mnli": ("premise", "hypothesis"),
    "mrpc": ("sentence1", "sentence2"),
    "qnli": ("question", "sentence"),
    "qqp": ("question1", "question2"),
    "rte": ("sentence1", "sentence2"),
    "sst2": ("sentence", None),
    "stsb": ("sentence1", "sentence2"),
    "wnli": ("sentence1", "sentence2"),
}
GLUE_METRICS = {"cola": ("matthews_correlation",), "mrpc": ("accuracy", "f1"), "qqp": ("accuracy", "f1")}


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
KNOWN_COLUMNS = {"stanfordnlp/snli": Columns("premise", "hypothesis")}


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
    """

    name: str
    splits: dict[str, "Dataset"]
    labels: list[str] | None
    origin: dict[str, str]
    metrics: tuple[str, ...]

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
                digest.update(repr(sorted(batch.items())).encode())
        return digest.hexdigest()[:16]


# --------------------------------------------------------------------------- sources


def glue(
    task_name: str, data_dir: Path | None = None, validation_block: int = 1, labels: Classes = None
) -> LabelledText:
    """A task of GLUE; ``"mnli-mm"`` is MNLI with its mismatched validation split in the matched one's place.

    Args:
        task_name: which one.
        data_dir, validation_block, labels: as for :func:`labelled_dataset`.

    Raises:
        ValueError: GLUE has no such task, or what is there will not do.
        FileNotFoundError: the folder does not hold it.
    """
    config = "mnli" if task_name == "mnli-mm" else task_name
    if config not in GLUE_COLUMNS:
        raise ValueError(f"task_name must be one of {', '.join(GLUE_COLUMNS)}, mnli-mm; got {task_name!r}")
    names = {"train": "train", "validation": "validation", "test": "test"}
    if config == "mnli":
        names |= {"validation": "validation_mismatched" if task_name == "mnli-mm" else "validation_matched"}
    rows = load_rows(GLUE, data_dir, needed=("train", names["validation"]), config=config)
    there = {split: rows[name] for split, name in names.items() if name in rows}
    columns, metrics = Columns(*GLUE_COLUMNS[config]), GLUE_METRICS.get(config)
    return _labelled(f"{GLUE} {task_name}", there, columns, names, labels, metrics, validation_block=validation_block)


def labelled_dataset(
    name: str,
    data_dir: Path | None = None,
    columns: Columns | None = None,
    config: str | None = None,
    validation_block: int = 1,
    labels: Classes = None,
) -> LabelledText:
    """Any data set of labelled text, by Hub name or from a folder of data sets.

    Args:
        name: of the data set.
        data_dir: a folder of data sets laid out as on the Hub; None for the Hub.
        columns: its columns; known for SNLI, else ``text`` and ``label``.
        config: which of its configurations.
        validation_block: without a validation split, training rows are held out in runs of so many neighbours. Where
            neighbours are about one thing, as IMDB's are about one film, single rows would be known to the rest.
        labels: the classes of a model that is there, in its order, whatever the rows hold; None to find them in the
            training rows.

    Raises:
        FileNotFoundError: the folder does not hold it.
        ValueError: it has no training split, lacks a column, or its labels will not do.
    """
    rows = load_rows(name, data_dir, config=config)
    there = {split: rows[split] for split in SPLITS if split in rows}
    columns = columns or KNOWN_COLUMNS.get(name, Columns())
    named, origin = name if config is None else f"{name} {config}", {split: split for split in SPLITS}
    return _labelled(named, there, columns, origin, labels, validation_block=validation_block)


def labelled_files(
    files: dict[str, Path], columns: Columns | None = None, validation_block: int = 1, labels: Classes = None
) -> LabelledText:
    """Files of rows, one per split: CSV, TSV, JSON lines or parquet; with ``labels``, one to train on can be missing.

    Without a file for validation, a tenth of the training rows is held out, in runs of ``validation_block``. A split is
    only ever what its file holds: validation does not become the test.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file is empty, not UTF-8 or of an unknown kind, lacks a column, or its labels will not do.
    """
    rows = {split: load_file(split, path) for split, path in files.items()}
    origin = {split: path.name for split, path in files.items()}
    name, columns = next(iter(files.values())).name, columns or Columns()
    return _labelled(name, rows, columns, origin, labels, promote=False, validation_block=validation_block)


def with_more(rows: LabelledText, path: Path) -> LabelledText:
    """The same splits with a file's rows, as ``label.py`` writes them, behind those to train on; none is held out.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it cannot be read, lacks a column, or has other classes.
    """
    from datasets import concatenate_datasets

    train = rows.splits["train"]
    more = _rename(
        path.name, "train", load_file("extra_train", path), Columns(text_pair="text_pair" if rows.pairs else None)
    )
    labels, values = _classes(path.name, more)
    if labels != rows.labels:
        raise ValueError(
            f"{path} has labels {labels or 'that are numbers'}; {rows.name} has {rows.labels or 'numbers'}"
        )
    labelled = _with_labels(path.name, "train", more, values)
    if labelled is None:
        raise ValueError(f"{path} has no labelled row")
    train = concatenate_datasets([train, labelled.select_columns(train.column_names).cast(train.features)])
    origin = rows.origin | {"train": f"{rows.origin['train']}, and {path.name}"}
    return replace(rows, splits=rows.splits | {"train": train}, origin=origin)


def unlabelled_file(path: Path, columns: Columns) -> "Dataset":
    """Texts of a file, labelled or not, as ``text`` and perhaps ``text_pair``.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it cannot be read, holds no row, or lacks a column or a text.
    """
    return _rename(path.name, "train", load_file("train", path), replace(columns, label=None))


def unlabelled_dataset(
    name: str, split: str, data_dir: Path | None, columns: Columns, config: str | None = None
) -> "Dataset":
    """Texts of one split of a data set, likewise; the other arguments as for :func:`labelled_dataset`.

    Raises:
        FileNotFoundError: the folder does not hold it.
        ValueError: it has no such split, or that holds no row, or lacks a column or a text.
    """
    rows = load_rows(name, data_dir, needed=(split,), config=config)[split]
    return _rename(name, split, rows, replace(columns, label=None))


def made_up(kind: str, rows: int = 3000) -> LabelledText:
    """Sentences made up by rule, a sixth of them to validate and a sixth to test: ``"opinions"`` or ``"paraphrases"``.

    Raises:
        ValueError: there is no such kind, or the rows are too few to split.
    """
    from datasets import Dataset

    makers = {
        "opinions": (opinions, ["negative", "positive"]),
        "paraphrases": (paraphrases, ["different", "same"]),
    }
    if kind not in makers:
        raise ValueError(f"made-up sentences must be one of {', '.join(makers)}, got {kind!r}")
    if rows < 12:
        raise ValueError(f"rows must be at least 12, to be split in three, got {rows}")
    make, labels = makers[kind]
    drawn, held = Dataset.from_list(make(rows)), rows // 6
    parts = {"train": range(2 * held, rows), "validation": range(held), "test": range(held, 2 * held)}
    splits = {split: drawn.select(part) for split, part in parts.items()}
    return LabelledText(f"{kind} by rule", splits, labels, {split: "made up" for split in splits}, ("accuracy",))


# --------------------------------------------------------------------------- columns, labels, splits


def _labelled(
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
    rows = {split: _rename(name, split, part, columns) for split, part in rows.items()}
    found, values = _classes(name, rows["train"]) if labels is None else _known_classes(name, rows, list(labels))
    kept = {split: _with_labels(name, split, part, values) for split, part in rows.items()}
    splits = {split: part for split, part in kept.items() if part is not None}
    if "train" in splits:
        splits, origin = _three_splits(splits, dict(origin), promote, validation_block)
    elif "train" in rows or not splits:
        raise ValueError(f"the {next(iter(rows))} split of {name} has no labelled row: there is nothing to learn from")
    default = ("pearson", "spearmanr") if found is None else ("accuracy",)
    return LabelledText(name, splits, found, origin, metrics or default)


def _rename(name: str, split: str, rows: "Dataset", columns: Columns) -> "Dataset":
    from datasets import Value

    for flag, column in columns.flags.items():
        if column not in rows.column_names:
            there = list_columns(rows.column_names)
            raise ValueError(f"{name} has no column {column!r} in {split}: --{flag} must be one of {there}")
    if len(rows) == 0:
        raise ValueError(f"the {split} split of {name} holds no row")
    new = {column: flag.removesuffix("_column") for flag, column in columns.flags.items()}
    if len(new) < len(columns.flags):
        raise ValueError(
            f"text_column, text_pair_column and label_column must differ, got {list(columns.flags.values())}"
        )
    rows = rows.select_columns(list(new)).rename_columns(new)
    for column in new.values():
        if missing := rows.data.column(column).null_count:
            raise ValueError(f"the {split} split of {name} has {missing} rows without {column!r}: fill or drop them")
        if column != "label" and rows.features[column] != Value("string"):
            rows = rows.cast_column(column, Value("string"))
    return rows


def _classes(name: str, train: "Dataset") -> tuple[list[str] | None, dict[Any, int] | None]:
    """The classes' names, and the class of each value of a label; None and None where labels are numbers to predict."""
    from datasets import ClassLabel

    feature = train.features["label"]
    if isinstance(feature, ClassLabel):
        return list(feature.names), {number: number for number in range(feature.num_classes)}
    if feature.dtype.startswith("float"):
        return None, None
    seen = sorted(train.unique("label"))
    if "" in seen:
        raise ValueError(f"the train split of {name} has rows with an empty label: fill or drop them")
    if len(seen) < 2:
        raise ValueError(f"the train split of {name} has only the label {seen[0]!r}: there is nothing to tell apart")
    return [str(value) for value in seen], {value: number for number, value in enumerate(seen)}


def _known_classes(
    name: str, rows: dict[str, "Dataset"], known: list[str]
) -> tuple[list[str] | None, dict[Any, int] | None]:
    """As :func:`_classes`, for a saved model's classes, which are found in the rows by their names.

    Raises:
        ValueError: the rows have another class, or words where the model predicts numbers.
    """
    from datasets import ClassLabel

    feature = next(iter(rows.values())).features["label"]
    if isinstance(feature, ClassLabel):
        seen = dict(zip(feature.names, range(feature.num_classes), strict=True))
    else:
        seen = {str(value): value for part in rows.values() for value in part.unique("label")}
        if not known and feature.dtype.startswith(("float", "int")):
            return None, None
    strange = [word for word in seen if word not in known and word != str(UNLABELLED)]
    if strange:
        classes = f"tells apart {', '.join(known[:10])}" if known else "predicts numbers"
        raise ValueError(f"{name} has the label {strange[0]!r}: the model {classes}")
    return known, {seen[word]: number for number, word in enumerate(known) if word in seen}


def _with_labels(name: str, split: str, rows: "Dataset", values: dict[Any, int] | None) -> "Dataset | None":
    """A split's labelled rows, their labels numbered; None if it has none."""
    from datasets import Value

    if values is None:
        numbers = rows.with_format("numpy")["label"][:].astype(np.float64)
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


def _three_splits(
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
        blocks = -(-len(rows) // validation_block)
        together = "" if validation_block == 1 else f", in runs of {validation_block}"
        if blocks < 10:
            raise ValueError(
                f"{len(rows)} training rows are too few to hold out a tenth of them for validation{together}"
            )
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
