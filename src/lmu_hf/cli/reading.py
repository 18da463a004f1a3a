"""How files are read: the flags that say what a file does not say itself, and those that name its two sides."""

from pathlib import Path
from typing import Any

from ..data.tables import ReadOptions
from .flags import Flags

# How files are read: fields of `ReadOptions`, each a flag of its own.
READING: dict[str, dict[str, Any]] = {
    "delimiter": {"help": "character between two cells of a file, or 'tab' (default: found)"},
    "encoding": {"help": "encoding of text files, as cp1252 (default: a byte order mark's, or UTF-8)"},
    "field": {"help": "key of a JSON file under which the rows are, or sheet of a workbook (default: none)"},
    "column_names": {
        "nargs": "+",
        "metavar": "NAME",
        "help": "names of the columns of a file whose first row is a row (default: the first row's)",
    },
    "drop_incomplete_rows": {
        "action": "store_true",
        "default": None,
        "help": "leave out rows without a text or a label (default: they are refused)",
    },
}
# In pairs, per split: the two sides of a translation as two texts.
TEXT_PAIRS = {
    split: (f"{prefix}source_file", f"{prefix}target_file")
    for split, prefix in (("train", ""), ("validation", "validation_"), ("test", "test_"))
}
PAIR_FLAGS: dict[str, dict[str, Any]] = {
    f"{prefix}{side}_file": {
        "type": Path,
        "help": f"text file of {what}{side} sentences, one a line, beside --{prefix}{other}_file (default: none)",
    }
    for prefix, what in (("", "training "), ("validation_", "validation "), ("test_", "test "))
    for side, other in (("source", "target"), ("target", "source"))
}


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
