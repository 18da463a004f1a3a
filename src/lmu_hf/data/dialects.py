"""Delimited text: which character parts its cells, whether quotes enclose some of them, and its records one by one.

`csv.Sniffer` judges by the first kilobyte and takes any letter for a delimiter. Here each way of reading is tried on
the whole file, and the one is taken by which every record has as many cells as the header.
"""

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from ..common.errors import InputError
from .opening import open_text

DELIMITERS = (",", ";", "\t", "|")
NOTHING = "\x1f"  # ASCII's own unit separator: no text holds it, so it parts nothing
SEP_LINE = re.compile(r"sep=(.)", re.IGNORECASE)  # a first line that Excel reads
SAMPLE = 200  # records by which the delimiter is found
# A cell may be of any length; what C's long holds on every platform.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))


@dataclass(frozen=True)
class Dialect:
    r"""How a file parts its cells.

    Args:
        delimiter: between two cells.
        quoted: whether a cell that begins with ``"`` ends with the next single one.
        escaped: whether ``\"`` within such a cell is a quote; otherwise ``""`` is.
    """

    delimiter: str
    quoted: bool = True
    escaped: bool = False

    def records(self, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
        """Each record that is not blank, with the line on which it begins.

        Raises:
            csv.Error: a quoted cell does not end, or goes on behind its last quote.
        """
        # strict: or `"a" b` loses its quotes in silence, and a quote that never closes swallows the rest of the file.
        if self.escaped:  # csv's own escapechar turns `strict` off and takes every other backslash away
            lines = (line.replace('\\"', '""') for line in lines)
        reader = csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            strict=True,
        )
        line = 1
        for record in reader:
            # A line of nothing, or of nothing but delimiters as spreadsheets leave behind the last row, is no record.
            # Nor is the first line by which a program tells Excel the delimiter.
            if any(cell.strip() for cell in record) and not (
                line == 1 and [cell.lower() for cell in record] == ["sep=", ""]
            ):
                yield line, record
            line = reader.line_num + 1


@dataclass
class _Counted:
    """Lines that are counted on their way: whether all of them hold as many delimiters."""

    lines: Iterable[str]
    delimiter: str
    counts: set[int] = field(default_factory=set)

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            if not line.isspace():
                self.counts.add(line.count(self.delimiter))
            yield line


def find_dialect(path: Path, encoding: str | None, delimiter: str | None, width: int | None = None) -> Dialect:
    r"""The way of reading by which every record of a file has as many cells as its first.

    A file is read through by each way in turn until one fits: quotes enclose cells; ``\"`` is a quote within them;
    quotes are characters like any other. Where a quoted cell would hold line breaks although every line by itself has
    all of its cells, as where nothing is quoted and two cells begin with ``"``, quotes are characters, too.

    Args:
        path: the file.
        encoding: of its text; None to find it.
        delimiter: what parts its cells; None to find it.
        width: how many cells the first record must have; None for as many as it has.

    Raises:
        InputError: a record has another number of cells by every way; the message names its line.
    """
    if delimiter is None:
        with open_text(path, encoding, newline="") as file:
            delimiter = find_delimiter(list(islice(file, SAMPLE)), _usual_delimiter(path), width)
    elif len(delimiter) != 1 or delimiter in '\r\n"':
        raise InputError(f"--delimiter must be one character and no quote or line break, got {delimiter!r}")
    quoted = Dialect(delimiter)
    complaints = []
    for dialect in (quoted, replace(quoted, escaped=True), replace(quoted, quoted=False)):
        complaint, swallowed = _misfit(path, encoding, dialect, width)
        if complaint is None:
            return replace(quoted, quoted=False) if swallowed else dialect
        complaints.append(complaint)
    # The last way says nothing of quotes; where quotes are fine, it fails by the line breaks within them.
    raise InputError(f"{path}, {complaints[0]}")


def _usual_delimiter(path: Path) -> str:
    """The delimiter that a file's name promises."""
    return "\t" if ".tsv" in path.name.lower() else ","


def _misfit(path: Path, encoding: str | None, dialect: Dialect, width: int | None) -> tuple[str | None, bool]:
    """What speaks against a way of reading; and whether quotes swallow lines that are whole without them."""
    line, spans, given = 0, False, width is not None
    with open_text(path, encoding, newline="") as file:
        counted = _Counted(file, dialect.delimiter)
        try:
            for line, record in dialect.records(counted):
                width = len(record) if width is None else width
                if len(record) != width:
                    wanted = f"--column_names gives {width}" if given else f"the first line has {width}"
                    return f"line {line}: {len(record)} cells, {wanted}; quote cells that hold " + _named(
                        dialect
                    ), False
                spans = spans or any("\n" in cell for cell in record)
        except csv.Error as error:
            return f"line {line + 1} or below: a quote is not closed or not doubled ({error})", False
    return None, dialect.quoted and spans and len(counted.counts) == 1 and counted.counts != {0}


def _named(dialect: Dialect) -> str:
    names = {"\t": "tabs", ",": "commas", ";": "semicolons", NOTHING: "line breaks"}
    return f"{names.get(dialect.delimiter, dialect.delimiter)}, or name another --delimiter"


def find_delimiter(lines: list[str], usual: str, width: int | None = None) -> str:
    """The delimiter by which most records of a sample have as many cells as the first, and the first has several.

    Args:
        lines: the sample, from the first line on.
        usual: which one is taken where several fit as well.
        width: how many cells a record has, where that is known.
    """
    if lines and (found := SEP_LINE.fullmatch(lines[0].strip("\r\n"))):
        return found[1]
    scores = {}
    for delimiter in DELIMITERS:
        widths = _widths(lines, delimiter)
        if widths and widths[0] > 1:
            wanted = width or widths[0]
            fitting = sum(found == wanted for found in widths) / len(widths)
            scores[delimiter] = (fitting, delimiter == usual, widths[0])
    # One column: its cells may hold any of these characters.
    return max(scores, key=scores.__getitem__) if scores else NOTHING


def _widths(lines: list[str], delimiter: str) -> list[int]:
    """How many cells each record of a sample has; by lines alone where quotes do not enclose cells."""
    widths: list[int] = []
    try:
        for _, record in Dialect(delimiter).records(lines):
            widths.append(len(record))
    except csv.Error:  # the sample may end within a quoted cell; else its quotes are characters
        if len(widths) < len(lines) // 2:
            return [line.count(delimiter) + 1 for line in lines if not line.isspace()]
    return widths
