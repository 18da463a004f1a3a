"""A file of rows, of any kind that people have, as columns of text exactly as written.

What a cell says is never decided here: ``007``, ``1.0``, ``NA`` and ``true`` are the words that the file holds,
whatever stands in the other rows. One rule over the whole column says later what it is, so that a row 10,000 lines
below cannot change how another is read.

Delimited text is parsed by Python's `csv`, JSON by Python's `json`, workbooks by openpyxl, parquet by `datasets`. The
readers of pandas, pyarrow and `datasets` were weighed: their fast parsers guess types a chunk at a time, or turn off
only part of that; they lose the line on which a row stands; and none of them says that a quote within a cell has
swallowed the next forty rows. `csv` with ``strict`` does, and knows the line. Finding the dialect is in `dialects`.

Rows go to disk as they are read and are mapped into memory from there, so a file may be larger than memory.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.utils.logging import get_logger

from ..common.errors import InputError, as_typed, explained
from .dialects import Dialect, find_dialect
from .json_records import as_written, json_records
from .opening import COMPRESSED, DELIMITED, JSON, KINDS, check_file, kind_of, open_text
from .workbooks import workbook_rows

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

logger = get_logger(__name__)

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


def read_table(
    path: Path,
    options: ReadOptions = ReadOptions(),
    flag: str = "train_file",
    columns: tuple[str, ...] | None = None,
) -> "Dataset":
    """The rows of a file: CSV, TSV, delimited text, JSON, JSON lines, parquet or a workbook, compressed or not.

    Every column of single values holds strings, as written, or None where a JSON record, a parquet row or a workbook's
    cell has nothing; an empty cell of delimited text is the empty string. Columns of lists hold lists of strings, or in
    parquet what the file says. A parquet column whose file names its classes (`datasets.ClassLabel`) stays what it is.
    What is nested has dotted columns (``review.text``). The column `PLACE` says where in the file each row stands.

    Args:
        path: the file; its ending, in any case, says how it is read.
        options: what the file does not say itself.
        flag: the flag that named the file, for messages.
        columns: of these alone, as far as they are there; None for all.

    Raises:
        FileNotFoundError: it does not exist.
        InputError: it is a folder, empty, of an unknown kind, or cannot be read; the message names the place.
    """
    check_file(path, flag)
    kind = kind_of(path)
    if kind not in KINDS:
        raise InputError(
            f"{path} must end in one of {', '.join(KINDS)}, perhaps with one of {', '.join(COMPRESSED)} behind it: "
            "that says how it is read"
        )
    if kind == ".parquet":
        rows = _parquet_rows(path, columns)
    else:
        layout = _find_layout(path, kind, options)
        if next(_rows(str(path), layout, options, (0, 0)), None) is None:
            raise InputError(f"{path} holds no row: {as_typed(flag)} must hold rows")
        rows = _written_rows(path, layout, options)
        if columns is not None:
            rows = rows.select_columns([name for name in rows.column_names if name in (*columns, PLACE)])
    if len(rows) == 0:
        raise InputError(f"{path} holds no row: {as_typed(flag)} must hold rows")
    return rows


def find_misplaced(kinds: set[str], options: ReadOptions) -> str | None:
    """An option that none of some kinds of file can follow; None if there is no such."""
    able = {
        "delimiter": DELIMITED,
        "encoding": (*DELIMITED, *JSON),
        "field": (*JSON, ".xlsx"),
        "column_names": (*DELIMITED, ".xlsx"),
    }
    given = [name for name in able if getattr(options, name) is not None]
    # A kind that cannot be read at all is complained of by the reader.
    return next((name for name in given if kinds <= set(KINDS) and kinds.isdisjoint(able[name])), None)


@dataclass(frozen=True)
class _Layout:
    """What a first reading of a file finds.

    Args:
        names: of the columns.
        lists: those that hold lists.
        dialect: of delimited text.
    """

    names: tuple[str, ...]
    lists: frozenset[str] = frozenset()
    dialect: Dialect | None = None


def _find_layout(path: Path, kind: str, options: ReadOptions) -> _Layout:
    if kind in DELIMITED:
        width = None if options.column_names is None else len(options.column_names)
        dialect = find_dialect(path, options.encoding, options.delimiter, width)
        with open_text(path, options.encoding, newline="") as file:
            first = next((record for _, record in dialect.records(file)), [])
        return _Layout(_column_names(path, first, options), dialect=dialect)
    if kind == ".xlsx":
        _, row = next(workbook_rows(path, options.field), (0, []))
        while row and not row[-1]:  # cells that were once formatted
            row.pop()
        return _Layout(_column_names(path, [cell or "" for cell in row], options))
    names: dict[str, bool] = {}  # of a dictionary for its order
    for _, record in json_records(path, options.encoding, options.field):
        for name, value in record.items():
            names[name] = names.get(name, False) or isinstance(value, list)
    return _Layout(tuple(names), frozenset(name for name, is_list in names.items() if is_list))


def _column_names(path: Path, first: list[str], options: ReadOptions) -> tuple[str, ...]:
    """The names that a header gives, a number where it gives none; or those of the flag."""
    header = tuple(name.strip() or f"column_{number}" for number, name in enumerate(first, start=1))
    if options.column_names is not None:
        if header == options.column_names:
            raise InputError(f"{path} has a first line that names its columns: leave --column_names out")
        header = options.column_names
    if twice := [name for name, times in Counter(header).items() if times > 1]:
        raise InputError(f"{path} has several columns {twice[0]!r}: give each a name of its own")
    return header


def _written_rows(path: Path, layout: _Layout, options: ReadOptions) -> "Dataset":
    """The rows, written to disk once and found there again as long as the file is the same."""
    from datasets import Dataset, Features, List, Value

    features = {name: List(Value("string")) if name in layout.lists else Value("string") for name in layout.names}
    status = path.stat()
    return Dataset.from_generator(
        _rows,
        features=Features({**features, PLACE: Value("string")}),
        gen_kwargs={
            "path": str(path.resolve()),
            "layout": layout,
            "options": options,
            "version": (status.st_size, status.st_mtime_ns),  # `datasets` remembers rows by these arguments
        },
    )


def _rows(path: str, layout: _Layout, options: ReadOptions, version: tuple[int, int]) -> Iterator[dict[str, Any]]:
    file, names, skip = Path(path), layout.names, options.column_names is None
    if layout.dialect is not None:
        with open_text(file, options.encoding, newline="") as text:
            for number, (line, record) in enumerate(layout.dialect.records(text)):
                if number or not skip:
                    yield {**dict(zip(names, record, strict=True)), PLACE: f"line {line}"}
    elif kind_of(file) == ".xlsx":
        for number, (row, cells) in enumerate(workbook_rows(file, options.field)):
            if number or not skip:
                if any(cells[len(names) :]):
                    raise InputError(f"{path}, row {row}, has more cells than the {len(names)} columns of its first")
                padded = [*cells, *[None] * len(names)][: len(names)]
                yield {**dict(zip(names, padded, strict=True)), PLACE: f"row {row}"}
    else:
        for place, written in json_records(file, options.encoding, options.field):
            found = {name: written.get(name) for name in names}
            # A column that holds a list somewhere holds lists: a single value is a list of one.
            single = {name: [found[name]] for name in layout.lists if isinstance(found[name], str)}
            yield {**found, **single, PLACE: place}


def _parquet_rows(path: Path, columns: tuple[str, ...] | None) -> "Dataset":
    """The rows of a parquet file, whose own types are made text column by column."""
    from datasets import Features, Value, load_dataset

    with explained(f"{path} cannot be read as parquet"):
        rows = load_dataset("parquet", data_files=str(path.resolve()), split="train")
    rows = rows.flatten()
    if columns is not None:
        rows = rows.select_columns([name for name in rows.column_names if name in columns])
    typed = [
        name
        for name, feature in rows.features.items()
        if isinstance(feature, Value) and feature.dtype not in ("string", "binary", "large_binary")
    ]
    text = {name: Value("string") for name in (*typed, PLACE)}
    return rows.map(
        _as_text,
        with_indices=True,
        batched=True,
        features=Features({**rows.features, **text}),
        fn_kwargs={"typed": typed},
    )


def _as_text(batch: dict[str, list], indices: list[int], typed: list[str]) -> dict[str, list]:
    made = {name: [as_written(value) for value in batch[name]] for name in typed}
    return {**made, PLACE: [f"row {index + 1}" for index in indices]}


def complete_rows(
    name: str, rows: "Dataset", columns: tuple[str, ...], drop: bool, filled: tuple[str, ...] = ()
) -> "Dataset":
    """Rows that have a value in each of some columns.

    Args:
        name: what to call the rows in a message.
        rows: as `read_table` gives them.
        columns: which must not be None; those that are not there are left to others to miss.
        drop: leave other rows out, and say how many, rather than refuse them all.
        filled: columns that must not be an empty string or blank either.

    Raises:
        InputError: a row lacks a value and is not to be dropped, or no row is left; the message names a place.
    """
    checked = [column for column in dict.fromkeys((*columns, *filled)) if column in rows.column_names]
    lacking: dict[int, str] = {}  # by row, a column that it lacks
    for column in checked:
        start = 0
        for batch in rows.select_columns([column]).with_format("arrow").iter(10_000):
            cells = batch[column]
            if cells.null_count or column in filled:  # else there is nothing to look for, and nothing to copy
                for offset, value in enumerate(cells.to_pylist()):
                    if value is None or (column in filled and isinstance(value, str) and not value.strip()):
                        lacking.setdefault(start + offset, column)
            start += len(cells)
    if not lacking:
        return rows
    index, column = min(lacking.items())
    first = f"{place_of(rows, index)} has no {column!r}"
    if not drop:
        more = f" ({len(lacking):,} such rows)" if len(lacking) > 1 else ""
        raise InputError(f"{name}, {first}{more}: fill it, or leave such rows out with --drop_incomplete_rows")
    if len(lacking) == len(rows):
        raise InputError(f"{name} has no complete row: {first}")
    logger.warning("%s: %s of %s rows are left out, the first: %s", name, f"{len(lacking):,}", f"{len(rows):,}", first)
    # Written anew: whoever counts what is missing in the table on disk must not find the rows that are left out.
    return rows.select([number for number in range(len(rows)) if number not in lacking]).flatten_indices()


def place_of(rows: "Dataset", index: int) -> str:
    """Where in its file a row stands, for a message; of rows that come from no file, which row it is."""
    return rows[index][PLACE] if PLACE in rows.column_names else f"row {index + 1}"


def join_tokens(rows: "Dataset", column: str) -> "Dataset":
    """A column of lists of words as a column of text, the words joined by single spaces; others stay as they are.

    Raises:
        InputError: it holds lists of something else.
    """
    from datasets import Features, Value

    feature = rows.features[column]
    if isinstance(feature, Value) or getattr(feature, "names", None) is not None:
        return rows
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    if getattr(inner, "dtype", None) not in ("string", "large_string"):
        raise InputError(f"the column {column!r} must hold text or lists of words, it holds {feature}")
    features = Features({**rows.features, column: Value("string")})
    return rows.map(_join, batched=True, features=features, fn_kwargs={"column": column})


def _join(batch: dict[str, list], column: str) -> dict[str, list]:
    # A word that is null is none. A row that is null stays so, for `complete_rows` to name.
    return {
        column: [
            None if words is None else " ".join(word for word in words if word is not None) for words in batch[column]
        ]
    }
