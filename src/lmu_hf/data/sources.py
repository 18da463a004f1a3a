"""Where rows come from: a data set's name on the Hub, a folder laid out like one, or a file."""

import codecs
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import explained

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

ENDINGS = r"\.(csv|tsv|txt|json|jsonl|ndjson|parquet|xlsx|gz|bz2|xz|zip|zst)"
SPLITS = ("train", "validation", "test")
FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


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
    with explained(f"{source} cannot be read"):  # nothing there, no way to the Hub, no such files, or damaged ones
        rows = load_dataset(source, config)
    for split in needed:
        if split not in rows:
            raise ValueError(f"{name} must have a split {split!r}; it has {', '.join(rows)}")
        if missing := set(columns) - set(rows[split].column_names):
            there = ", ".join(rows[split].column_names)
            raise ValueError(f"{name} must have a column {sorted(missing)[0]!r} in {split!r}; it has {there}")
    return rows


def hub_name(name: str, data_dir: Path | None) -> str | None:
    """A data set's name on the Hub; None if it is not there.

    What lies below a folder of data sets as ``org/name`` is laid out, and called, as on the Hub.
    """
    return name if data_dir is None or "/" in name else None


def load_file(split: str, path: Path) -> "Dataset":
    """The rows of a file: CSV, TSV, JSON lines or parquet.

    Args:
        split: what they are for; ``--{split}_file`` is the flag that names the file.
        path: the file; its ending says how it is read.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is a folder, empty, not UTF-8, of an unknown kind, or cannot be read.
    """
    from datasets import load_dataset

    if path.is_dir():
        raise ValueError(f"{path} is a folder: --{split}_file must name a file")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: --{split}_file must name one")
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path} must end in one of {', '.join(FORMATS)}: that says how it is read")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: --{split}_file must hold rows")
    form, how = FORMATS[path.suffix.lower()], {}
    if form != "parquet":
        _check_utf8(path)  # checked here, to name the place in the message
    if form == "csv" and not _has_second_line(path):
        raise ValueError(f"{path} holds no row: --{split}_file must hold rows")
    if form == "csv":  # a cell that reads "NA" or "null" is a word like any other
        how = {"sep": "\t" if path.suffix.lower() == ".tsv" else ",", "keep_default_na": False}
    with explained(f"{path} cannot be read as {form}"):
        # A file alone is always "train" to `datasets`, whichever split it is here.
        return load_dataset(form, data_files=str(path.resolve()), split="train", **how)


def stem(path: Path) -> str:
    """What is called after a file: its name without its endings, of letters, digits, dots and hyphens."""
    name = path.name
    while (ending := Path(name).suffix) and re.fullmatch(ENDINGS, ending, re.IGNORECASE):
        name = name.removesuffix(ending)
    # A name that is a bare "train" says less than its folder: reviews/train.csv is of the reviews.
    folder = path.absolute().parent.name
    name = f"{folder}-{name}" if name.lower() in {*SPLITS, "dev", "data", "valid"} and folder else name
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "rows"


def list_columns(names: list[str]) -> str:
    """The columns that rows have, for a message; and what to do if they look like several that were read as one."""
    there = ", ".join(names)
    if len(names) == 1 and any(mark in there for mark in ";\t|,"):
        return f"{there!r}, which is one column: separate columns by commas in .csv and by tabs in .tsv"
    return there


def _check_utf8(path: Path) -> None:
    # An incremental decoder keeps the first bytes of a character that the border of two pieces cuts.
    decoder, place = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while True:
            piece = file.read(2**20)
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path} is not UTF-8 near byte {place + error.start}: save it as UTF-8 text"
                ) from error
            place += len(piece)
            if not piece:
                return


def _has_second_line(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        file.readline()  # the names of the columns
        return bool(file.readline().strip())
