"""Labelled sentences and pairs of sentences: where they come from.

Whatever the source, a split is a memory-mapped `datasets.Dataset` with the columns ``text``, ``text_pair`` (of pairs)
and ``label``.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .label_rules import UNASKED, Asked, Job
from .labels import Columns, LabelledText, assemble, number_labels, rename_columns
from .sentences import opinions, paraphrases
from .sources import SPLITS, hub_name, load_files, load_rows, stem
from .tables import ReadOptions, complete_rows, join_tokens

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

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
# GLUE's own measures (Wang et al. 2018), the first of which decides. Other tasks get the defaults of `assemble`.
GLUE_METRICS = {
    "cola": ("matthews_correlation",),
    "mrpc": ("accuracy", "f1"),
    "qqp": ("accuracy", "f1"),
    "stsb": ("pearson", "spearmanr"),
}
# Data sets whose columns have other names than text and label, so that no flag must name them.
KNOWN_COLUMNS = {"stanfordnlp/snli": Columns("premise", "hypothesis")}


def glue(
    task_name: str, data_dir: Path | None = None, validation_block: int = 1, known: Job | None = None
) -> LabelledText:
    """A task of GLUE; ``"mnli-mm"`` is MNLI with its mismatched validation split in the matched one's place.

    Args:
        task_name: which one.
        data_dir, validation_block, known: as for :func:`labelled_dataset`.

    Raises:
        ValueError: GLUE has no such task, or what is there will not do.
        FileNotFoundError: the folder does not hold it.
    """
    config = "mnli" if task_name == "mnli-mm" else task_name
    if config not in GLUE_COLUMNS:
        raise ValueError(f"task_name must be one of {', '.join(GLUE_COLUMNS)}, mnli-mm; got {task_name!r}")
    names = {"train": "train", "validation": "validation", "test": "test"}
    if config == "mnli":
        # MNLI has test_matched and test_mismatched, both unlabelled, and no "test": `three_splits` promotes validation.
        names |= {"validation": "validation_mismatched" if task_name == "mnli-mm" else "validation_matched"}
    rows = load_rows(GLUE, data_dir, needed=("train", names["validation"]), config=config)
    there = {split: rows[name] for split, name in names.items() if name in rows}
    columns, metrics = Columns(*GLUE_COLUMNS[config]), GLUE_METRICS.get(config)
    name = f"{GLUE} {task_name}"
    labelled = assemble(name, there, columns, names, known, metrics, validation_block=validation_block)
    return replace(labelled, dataset=GLUE, dataset_config=config)


def labelled_dataset(
    name: str,
    data_dir: Path | None = None,
    columns: Columns | None = None,
    config: str | None = None,
    validation_block: int = 1,
    known: Job | None = None,
    asked: Asked = UNASKED,
) -> LabelledText:
    """Any data set of labelled text, by Hub name or from a folder of data sets.

    Args:
        name: of the data set.
        data_dir: a folder of data sets laid out as on the Hub; None for the Hub.
        columns: its columns; known for SNLI, else ``text`` and ``label``.
        config: which of its configurations.
        validation_block: without a validation split, training rows are held out in runs of so many neighbours. Where
            neighbours are about one thing, as IMDB's are about one film, single rows would be known to the rest.
        known: what a model that is there finds, whatever the rows hold; None to decide it by the training rows.
        asked: what the flags say of the labels.

    Raises:
        FileNotFoundError: the folder does not hold it.
        ValueError: it has no training split, lacks a column, or its labels will not do.
    """
    rows = load_rows(name, data_dir, config=config)
    # Splits of other names, such as the "unsupervised" of IMDB, are not read.
    there = {split: rows[split] for split in SPLITS if split in rows}
    columns = columns or KNOWN_COLUMNS.get(name, Columns())
    named, origin = name if config is None else f"{name} {config}", {split: split for split in SPLITS}
    labelled = assemble(named, there, columns, origin, known, validation_block=validation_block, asked=asked)
    return replace(labelled, dataset=hub_name(name, data_dir), dataset_config=config)


def labelled_files(
    files: dict[str, Path],
    columns: Columns | None = None,
    validation_block: int = 1,
    known: Job | None = None,
    asked: Asked = UNASKED,
    options: ReadOptions | None = None,
) -> LabelledText:
    """Files of rows, one per split, as `read_table` reads them; with ``known``, one to train on can be missing.

    Without a file for validation, a tenth of the training rows is held out, of each class or in runs of
    ``validation_block``. A split is only ever what its file holds: validation does not become the test. A text of a
    list of words is these words. A text may be empty; a row whose text is missing, or whose label is missing or empty,
    is refused or dropped (``options``).

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file cannot be read, lacks a column or a value, or its labels will not do.
    """
    columns = columns or Columns()
    rows = _file_rows(files, columns, options)
    origin = {split: path.name for split, path in files.items()}
    # A file for validation was named to choose weights by, so it is never promoted to the test.
    how: dict[str, Any] = {"validation_block": validation_block, "asked": asked, "by_class": True}
    name = next(iter(files.values())).name
    labelled = assemble(name, rows, columns, origin, known, promote=False, **how)
    return replace(labelled, title=stem(next(iter(files.values()))))


def _file_rows(files: dict[str, Path], columns: Columns, options: ReadOptions | None) -> dict[str, "Dataset"]:
    """The rows of files that have their text and their label; other columns are left as they are."""
    options, rows = options or ReadOptions(), {}
    texts = tuple(column for column in (columns.text, columns.text_pair) if column is not None)
    for split, part in load_files(files, options).items():
        for column in texts:
            part = join_tokens(part, column) if column in part.column_names else part
        labels = () if columns.label is None else columns.hot(part.column_names) or (columns.label,)
        rows[split] = complete_rows(str(files[split]), part, texts, options.drop_incomplete_rows, labels)
    return rows


def with_more(rows: LabelledText, path: Path, options: ReadOptions | None = None) -> LabelledText:
    """The same splits with a file's rows, as ``lmu-hf label`` writes them, behind those to train on; none is held out.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it cannot be read, lacks a column, or has other classes.
    """
    from datasets import concatenate_datasets

    train = rows.splits["train"]
    columns = Columns(text_pair="text_pair" if rows.pairs else None)
    more = rename_columns(
        path.name, "train", _file_rows({"extra_train": path}, columns, options)["extra_train"], columns
    )
    # The same classes in the same order: a class must have the same number in both parts.
    labelled = number_labels(path.name, "train", more, rows.job)
    if labelled is None:
        raise ValueError(f"{path} has no labelled row")
    # Both parts must have the same columns of the same types, or `concatenate_datasets` refuses.
    train = concatenate_datasets([train, labelled.select_columns(train.column_names).cast(train.features)])
    origin = rows.origin | {"train": f"{rows.origin['train']}, and {path.name}"}
    return replace(rows, splits=rows.splits | {"train": train}, origin=origin)


def unlabelled_file(path: Path, columns: Columns, options: ReadOptions | None = None) -> "Dataset":
    """Texts of a file, labelled or not, as ``text`` and perhaps ``text_pair``.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it cannot be read, holds no row, or lacks a column or a text.
    """
    # The name "train" is for messages alone: `lmu-hf label` reads the file from --train_file.
    columns = replace(columns, label=None)
    return rename_columns(path.name, "train", _file_rows({"train": path}, columns, options)["train"], columns)


def unlabelled_dataset(
    name: str, split: str, data_dir: Path | None, columns: Columns, config: str | None = None
) -> "Dataset":
    """Texts of one split of a data set, labelled or not; arguments are those of :func:`labelled_dataset`.

    Raises:
        FileNotFoundError: the folder does not hold it.
        ValueError: it has no such split, or that holds no row, or lacks a column or a text.
    """
    rows = load_rows(name, data_dir, needed=(split,), config=config)[split]
    return rename_columns(name, split, rows, replace(columns, label=None))


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
    # The maker draws no sentence twice, so no split can hold a sentence of another.
    drawn, held = Dataset.from_list(make(rows)), rows // 6
    parts = {"train": range(2 * held, rows), "validation": range(held), "test": range(held, 2 * held)}
    splits = {split: drawn.select(part) for split, part in parts.items()}
    return LabelledText(f"{kind} by rule", splits, labels, {split: "made up" for split in splits}, ("accuracy",))
