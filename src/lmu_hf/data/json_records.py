"""JSON as people have it: a record a line, a list of records, or a document that holds them under a key."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..common.errors import InputError
from .opening import open_text

# Numbers stay as the file spells them: 1.50 is not 1.5, and 10 digits are not a float.
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)


def json_records(path: Path, encoding: str | None, field: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each record with its place in the file, nested ones flat: ``{"a": {"b": 1}}`` is ``{"a.b": "1"}``.

    Args:
        path: the file.
        encoding: of its text; None to find it.
        field: the key under which the records are, with dots where it is nested; None if they are all of the file.

    Yields:
        ``"line 3"`` or ``"record 3"``, and strings, lists of strings or None by column.

    Raises:
        InputError: it is not JSON, or holds something else than records; the message names the place.
    """
    if field is None and _has_lines(path, encoding):
        yield from _line_records(path, encoding)
        return
    # A document is one value, which has no end before the file's: it is read whole. Lines are not.
    for number, record in enumerate(_document_records(path, encoding, field), start=1):
        if not isinstance(record, dict):
            raise InputError(f"{path}, record {number}, must be an object {{…}} of columns, it is {_sort(record)}")
        yield f"record {number}", flatten(record)


def _has_lines(path: Path, encoding: str | None) -> bool:
    """Whether the first line is a record by itself, which more may follow."""
    with open_text(path, encoding) as file:
        first = next((line.strip() for line in file if not line.isspace()), "")
        more = any(not line.isspace() for line in file)
    if first.startswith("["):
        return False
    try:
        value = _DECODER.decode(first)
    except ValueError:
        return ".json" not in path.suffixes  # a document may be spread over lines, and a broken line is named
    return more or not (isinstance(value, dict) and any(isinstance(part, list | dict) for part in value.values()))


def _line_records(path: Path, encoding: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    with open_text(path, encoding) as file:
        for number, line in enumerate(file, start=1):
            if line.isspace():
                continue
            try:
                record = _DECODER.decode(line.strip())
            except ValueError as error:
                raise InputError(f"{path}, line {number}, is not JSON: {error}") from error
            if not isinstance(record, dict):
                raise InputError(f"{path}, line {number}, must be an object {{…}} of columns, it is {_sort(record)}")
            yield f"line {number}", flatten(record)


def _document_records(path: Path, encoding: str | None, field: str | None) -> list[Any]:
    with open_text(path, encoding) as file:
        try:
            value = _DECODER.decode(file.read().strip())
        except ValueError as error:
            lines = f"; with a record on each line, leave --field {field} out" if field is not None else ""
            raise InputError(f"{path} is not JSON as a whole: {error}{lines}") from error
    for key in field.split(".") if field is not None else ():
        if not isinstance(value, dict) or key not in value:
            there = ", ".join(value) if isinstance(value, dict) else _sort(value)
            raise InputError(f"{path} has nothing under --field {field}: at {key!r} it has {there}")
        value = value[key]
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        if columns := _columns(value):
            return columns
        if all(not isinstance(part, list | dict) for part in value.values()) or _nests(value):
            return [value]
        keys = [key for key, part in value.items() if isinstance(part, list | dict)]
        raise InputError(f"{path} is one object: --field must say where its records are; it has {', '.join(keys)}")
    raise InputError(f"{path} must hold records, it holds {_sort(value)}")


def _columns(value: dict[str, Any]) -> list[Any]:
    """Records of columns that stand side by side, as lists or as pandas writes them: {"text": {"0": …, "1": …}}."""
    if isinstance(rows := value.get("data"), list) and isinstance(names := value.get("columns"), list):
        if rows and all(isinstance(row, list) and len(row) == len(names) for row in rows):
            return [dict(zip(names, row, strict=True)) for row in rows]  # pandas' "split"
        return []
    parts = list(value.values())
    if all(isinstance(part, dict) for part in parts):
        if len(parts) < 2 or any(part.keys() != parts[0].keys() for part in parts):
            return []
        parts = [list(part.values()) for part in parts]
    if not all(isinstance(part, list) for part in parts) or len({len(part) for part in parts}) != 1:
        return []
    if any(isinstance(cell, dict) for part in parts for cell in part):  # records under a key
        return []
    return [dict(zip(value, row, strict=True)) for row in zip(*parts, strict=True)]


def _nests(value: dict[str, Any]) -> bool:
    """Whether an object is one record: nothing in it is a list of objects."""
    return not any(isinstance(part, list) and any(isinstance(cell, dict) for cell in part) for part in value.values())


def flatten(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A record without nested ones: dotted columns of strings, of lists of strings, or of None.

    A list of objects is no cell and is left out: it has no text of its own.
    """
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            flat[prefix + key] = as_written(value)
        elif not any(isinstance(item, list | dict) for item in value):
            flat[prefix + key] = [as_written(item) for item in value]
    return flat


def as_written(value: Any) -> str | None:
    """A single value as the word that a JSON file holds."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and not value.isascii():
        # Half of a pair, as where a program cut a text within an emoji, is no character: no file can hold it.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return None if value is None else str(value)


def _sort(value: Any) -> str:
    names = {list: "a list", dict: "an object", bool: "true or false", type(None): "null"}
    return names.get(type(value), f"the value {value!r}")
