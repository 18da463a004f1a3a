"""A file of rows, of any kind that people have, as columns of text exactly as written.

What a cell says is never decided here: ``007``, ``1.0``, ``NA`` and ``true`` are the words that the file holds, whatever
stands in the other rows. One rule over the whole column says later what it is (`labels`), so that a row 10,000 lines
below cannot change how another is read.

Delimited text is parsed by Python's `csv`, JSON by Python's `json`, workbooks by openpyxl, parquet by `datasets`. The
readers of pandas, pyarrow and `datasets` were weighed: their fast parsers guess types a chunk at a time, or turn off
only part of that; they lose the line on which a row stands; and none of them says that a quote within a cell swallowed
the next forty rows. `csv` with ``strict`` does, and knows the line. What it lacks, finding the dialect, is in `dialects`.

Rows go to disk as they are read and are mapped into memory from there, so a file may be larger than memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

PLACE = "_place"  # the column that says where in its file a row stands, as "line 17" or "row 17"


@dataclass(frozen=True)
class ReadOptions:
    """How files are read, where they do not say so themselves.

    Args:
        delimiter: what parts two cells; None to find it.
        encoding: of text; None for a byte order mark's, or else UTF-8.
        field: of JSON, the key under which the records are, with dots where it is nested; of a workbook, the sheet.
        column_names: of a table whose first row is a row already; None where the first row names the columns.
        drop_incomplete_rows: leave out rows that lack a value, rather than refuse the file.
    """

    delimiter: str | None = None
    encoding: str | None = None
    field: str | None = None
    column_names: tuple[str, ...] | None = None
    drop_incomplete_rows: bool = False


def read_table(path: Path, options: ReadOptions = ReadOptions(), flag: str = "train_file") -> "Dataset":
    """The rows of a file: CSV, TSV, delimited text, JSON, JSON lines, parquet or a workbook, compressed or not.

    Every column of single values holds strings, as written, or None where a JSON record, a parquet row or a workbook's
    cell has nothing; an empty cell of delimited text is the empty string. Columns of lists hold lists of strings. A
    parquet column whose file names its classes (`datasets.ClassLabel`) or lists of such stays what it is. What is
    nested has dotted columns (``review.text``). The column `PLACE` says where in the file each row stands.

    Args:
        path: the file; its ending, in any case, says how it is read.
        options: what the file does not say itself.
        flag: the flag that named the file, for messages.

    Raises:
        FileNotFoundError: it does not exist.
        InputError: it is a folder, empty, of an unknown kind, or cannot be read; the message names file, place and flag.
    """
    raise NotImplementedError


def complete_rows(
    name: str, rows: "Dataset", columns: tuple[str, ...], drop: bool, filled: tuple[str, ...] = ()
) -> "Dataset":
    """Rows that have a value in each of some columns.

    Args:
        name: what to call the rows in a message.
        rows: as `read_table` gives them.
        columns: which must not be None.
        drop: leave other rows out, and say how many, rather than refuse them all.
        filled: columns that must not be an empty string or blank either.

    Raises:
        InputError: a row lacks a value and is not to be dropped; the message names its place.
    """
    raise NotImplementedError


def join_tokens(rows: "Dataset", column: str) -> "Dataset":
    """A column of lists of words as a column of text, the words joined by single spaces; others stay as they are."""
    raise NotImplementedError
