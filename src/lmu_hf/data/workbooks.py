"""Excel's workbooks (.xlsx), by openpyxl, a row at a time."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from ..common.errors import InputError, explained


def workbook_rows(path: Path, sheet: str | None) -> Iterator[tuple[int, list[str | None]]]:
    """Each row of a sheet that is not blank, with its number in the sheet; a cell with nothing is None.

    A number is what the sheet stores, not how a format shows it: 1.4 % is 0.014. A day is written as 2024-05-31.

    Args:
        path: the workbook.
        sheet: its name; None for the only one.

    Raises:
        InputError: openpyxl is missing, the file is no workbook, or there is no such sheet.
    """
    with _opened(path) as book:
        names = book.sheetnames
        if sheet is not None and sheet not in names:
            raise InputError(f"{path} has no sheet {sheet!r}: --field must be one of {', '.join(names)}")
        if sheet is None and len(names) > 1:
            raise InputError(f"{path} has {len(names)} sheets: --field must be one of {', '.join(names)}")
        with explained(f"{path} cannot be read as a workbook"):
            for number, row in enumerate(book[sheet or names[0]].iter_rows(values_only=True), start=1):
                cells = [_as_text(value) for value in row]
                if any(cell and cell.strip() for cell in cells):
                    yield number, cells


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise InputError(f'{path} is a workbook, which openpyxl reads: pip install "lmu-hf[xlsx]"') from error
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no workbook of Excel's, or a damaged one: save it anew as .xlsx or .csv")
    with explained(f"{path} cannot be read as a workbook"):
        # read_only: rows are read as they are asked for. data_only: what a formula gave, not the formula.
        book = load_workbook(path, read_only=True, data_only=True)
    try:
        yield book
    finally:
        book.close()


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, date | time) else str(value)
