"""Where rows come from: a data set's name on the Hub, a folder laid out like one, or files."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import InputError, explained
from .opening import kind_of
from .tables import DELIMITED, JSON, PLACE, ReadOptions, find_misplaced, read_table

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

ENDINGS = r"\.(csv|tsv|txt|json|jsonl|ndjson|parquet|xlsx|tmx|npy|npz|ts|gz|bz2|xz|zip|zst)"
SPLITS = ("train", "validation", "test")
WRITTEN = (*DELIMITED, *JSON)  # kinds of file whose cells have no types of their own


def load_rows(
    name: str,
    data_dir: Path | None = None,
    needed: tuple[str, ...] = ("train",),
    columns: tuple[str, ...] = (),
    config: str | None = None,
):
    """A data set's splits, as `datasets` gives them, with what is needed of them known to be there.

    Args:
        name: of the data set, on the Hub or below ``data_dir``.
        data_dir: a folder of data sets; None for the Hub.
        needed: splits that must be there.
        columns: columns that each of them must have.
        config: which of its configurations. A folder of data sets has it as a folder within the data set's, whose
            README.md may say which of its files are which split.

    Raises:
        FileNotFoundError: the folder does not hold it.
        ValueError: it cannot be read, or lacks a split or a column.
    """
    from datasets import load_dataset

    source = name
    if data_dir is not None:
        folder = (data_dir / name / (config or "")).resolve()
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {str(folder)!r}: --data_dir must hold it; leave it out for the Hub")
        # A README.md may list configurations, which `datasets` then picks by name. Without one it is just a folder.
        if config is not None and (folder.parent / "README.md").is_file():
            folder = folder.parent
        else:
            config = None
        source = str(folder)
    if data_dir is not None and config is None and (files := _written_splits(Path(source))):
        rows = {split: read_table(path, flag="data_dir") for split, path in files.items()}
    else:
        with explained(f"{source} cannot be read"):  # nothing there, no way to the Hub, no such files, or damaged ones
            rows = load_dataset(source, config)
    for split in needed:
        if split not in rows:
            raise ValueError(f"{name} must have a split {split!r}; it has {', '.join(rows)}")
        if missing := set(columns) - set(rows[split].column_names):
            there = ", ".join(rows[split].column_names)
            raise ValueError(f"{name} must have a column {sorted(missing)[0]!r} in {split!r}; it has {there}")
    return rows


def _written_splits(folder: Path) -> dict[str, Path]:
    """The file of each split in a folder that holds nothing but ``train.csv``, ``validation.jsonl`` and the like.

    `datasets` would take the cell ``NA`` for nothing, and guess the types of columns. What a README.md describes, or
    is laid out in another way, is left to it.
    """
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    splits = {path.name.partition(".")[0]: path for path in files}
    alike = len(splits) == len(files) and splits.keys() <= set(SPLITS)
    return splits if alike and all(path.is_file() and kind_of(path) in WRITTEN for path in files) else {}


def hub_name(name: str, data_dir: Path | None) -> str | None:
    """A data set's name on the Hub; None if it is not there.

    What lies below a folder of data sets as ``org/name`` is laid out, and called, as on the Hub.
    """
    return name if data_dir is None or "/" in name else None


def load_files(
    files: dict[str, Path], options: ReadOptions | None = None, columns: tuple[str, ...] | None = None
) -> dict[str, "Dataset"]:
    """The rows of each split's file, as `read_table` reads them.

    Args:
        files: by split; ``--{split}_file`` is the flag that names each.
        options: how they are read; one that only some of them can follow is for these.
        columns: of these alone, as far as they are there; None for all.

    Raises:
        FileNotFoundError: a file does not exist.
        InputError: a file cannot be read, or no file can follow an option.
    """
    options = options or ReadOptions()
    kinds = {path: kind_of(path) for path in files.values()}
    if misplaced := find_misplaced(set(kinds.values()), options):
        path, kind = next(iter(kinds.items()))
        raise InputError(f"--{misplaced} has no effect on {path}, which is read as {kind.removeprefix('.')}")
    return {split: read_table(path, options, f"{split}_file", columns) for split, path in files.items()}


def stem(path: Path, *languages: str) -> str:
    """What is called after a file: its name without its endings, of letters, digits, dots and hyphens.

    Args:
        path: of the file.
        languages: codes that a text in one of them may end in, as ``train.en``.
    """
    name = path.name
    while (end := Path(name).suffix) and (re.fullmatch(ENDINGS, end, re.IGNORECASE) or end[1:] in languages):
        name = name.removesuffix(end)
    # A name that is a bare "train" says less than its folder: reviews/train.csv is of the reviews.
    folder = path.absolute().parent.name
    name = f"{folder}-{name}" if name.lower() in {*SPLITS, "dev", "data", "valid"} and folder else name
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "rows"


def list_columns(names: list[str]) -> str:
    """The columns that rows have, for a message."""
    shown = [name for name in names if name != PLACE]
    there = ", ".join(shown)
    if len(shown) == 1 and re.search(r"[^\w.-]", there):
        return f"{there!r}, which is one column: --delimiter says what parts columns, --column_names what they are"
    # A first row that is no header reads like one: its cells are sentences or numbers.
    if any(" " in name.strip() or name.isdigit() for name in shown):
        return f"{there}; if the first row is no header, --column_names gives the columns their names"
    return there
