"""How the flags say that files are read, what columns are, and which files are the two sides of a translation."""

from pathlib import Path
from typing import Any

from ..data.series_files import SeriesColumns
from ..data.tables import ReadOptions
from .data_flags import READING, TEXT_PAIRS
from .flags import Flags


def reading(flags: Flags) -> ReadOptions:
    """How the flags say that files are read."""
    given = flags.take(**{name: name for name in READING})
    if "column_names" in given:
        given["column_names"] = tuple(given["column_names"])
    if given.get("delimiter", "").lower() in ("tab", r"\t"):  # hard to type, so that its name and its escape do
        given["delimiter"] = "\t"
    return ReadOptions(**given)


def translation_files(flags: Flags, tables: dict[str, Path]) -> dict[str, Path | tuple[Path, Path]]:
    """The file of each split that has one, or the two texts.

    Raises:
        ValueError: a text has no other side, or a split has a table and texts.
    """
    files: dict[str, Any] = dict(tables)
    for split, names in TEXT_PAIRS.items():
        both = tuple(getattr(flags, name) for name in names)
        if both == (None, None):
            continue
        if None in both:
            given, missing = (names[number] for number in (both[0] is None, both[0] is not None))
            raise ValueError(f"--{given} needs --{missing}: the same lines in the other language")
        if split in files:
            raise ValueError(f"give only one of --{split}_file and --{names[0]}")
        files[split] = both
    return files


def series_columns(flags: Flags) -> SeriesColumns:
    """What the columns of a table of series to classify are, as the flags name them."""
    columns = flags.take(series="id_column", time="time_column", label="label_column")
    if values := flags.take(values="value_columns"):
        columns["values"] = tuple(values["values"])
    return SeriesColumns(**columns)
