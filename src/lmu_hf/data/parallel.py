"""Pairs of sentences from files: a table with a column for each language, two texts line by line, or TMX."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING
from xml.parsers import expat

from ..common.errors import InputError
from .opening import check_file, kind_of, open_bytes, open_text
from .sources import list_columns, load_files
from .tables import PLACE, ReadOptions, join_tokens

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

CODES = frozenset(("bpt", "ept", "it", "ph", "ut"))  # of a sentence in TMX, what is a program's markup and no text
PIECE = 2**20  # bytes that are parsed at a time


def table_pairs(
    files: dict[str, Path], columns: tuple[str, str], languages: tuple[str, str], options: ReadOptions | None = None
) -> dict[str, "Dataset"]:
    """Pairs of tables with two columns, or of TMX, one file per split; a sentence that is missing is None or empty.

    Args:
        files: by split.
        columns: of the source and of the target; records with ``translation`` need not say so.
        languages: of the source and the target, which the columns are then called.
        options: how the files are read.

    Raises:
        FileNotFoundError: a file does not exist.
        InputError: a file cannot be read, or has no such column or language.
    """
    rows = {}
    for split, path in files.items():
        if kind_of(path) == ".tmx":
            check_file(path, f"{split}_file")
            rows[split] = _as_rows(list(tmx_pairs(path, languages)), languages)
            continue
        part = load_files({split: path}, options)[split]
        for flag, column, language in zip(("source", "target"), columns, languages, strict=True):
            name = column if column in part.column_names else f"translation.{column}"
            if name not in part.column_names:
                there = list_columns(part.column_names)
                raise InputError(f"{path} has no column {column!r}: --{flag}_column must be one of {there}")
            part = join_tokens(part, name)
            if name != language:
                part = part.remove_columns([other for other in part.column_names if other == language])
                part = part.rename_column(name, language)
        rows[split] = part.select_columns([*languages, PLACE])
    return rows


def line_pairs(
    files: dict[str, tuple[Path, Path]], languages: tuple[str, str], encoding: str | None = None
) -> dict[str, "Dataset"]:
    """Pairs of the lines of two texts, per split; lines that are blank in both are no pair.

    Args:
        files: by split, the source's and the target's.
        languages: of source and target, which the columns are called.
        encoding: of both; None to find it.

    Raises:
        FileNotFoundError: a file does not exist.
        InputError: a file cannot be read, or one has more lines than the other.
    """
    rows = {}
    for split, (source, target) in files.items():
        prefix = "" if split == "train" else f"{split}_"
        check_file(source, f"{prefix}source_file")
        check_file(target, f"{prefix}target_file")
        rows[split] = _as_rows(list(_lines(source, target, encoding)), languages)
    return rows


def _lines(source: Path, target: Path, encoding: str | None) -> Iterator[tuple[str, str, str]]:
    with open_text(source, encoding) as first, open_text(target, encoding) as second:
        for number, both in enumerate(zip_longest(first, second), start=1):
            one, other = ((line or "").strip() for line in both)
            if None in both and (one or other):
                longer, shorter = (source, target) if one else (target, source)
                raise InputError(
                    f"{longer} has a line {number} and {shorter} ends at line {number - 1}: each line must have its "
                    "translation on the same line"
                )
            if one or other:
                yield one, other, f"line {number}"


def _as_rows(pairs: list[tuple[str | None, str | None, str]], languages: tuple[str, str]) -> "Dataset":
    from datasets import Dataset, Features, Value

    columns = (*languages, PLACE)
    values = zip(*pairs, strict=True) if pairs else ((), (), ())
    features = Features({name: Value("string") for name in columns})
    return Dataset.from_dict({name: list(part) for name, part in zip(columns, values, strict=True)}, features)


def tmx_pairs(path: Path, languages: tuple[str, str]) -> Iterator[tuple[str | None, str | None, str]]:
    """Each unit of a translation memory (TMX) that has one of two languages, with the line on which it begins.

    ``en`` finds ``en-US``, too; of several sentences in a language the first is taken.

    Raises:
        InputError: it is no such file, declares entities, or lacks a language altogether.
    """
    memory = _Memory()
    with open_bytes(path) as file:
        try:
            while piece := file.read(PIECE):
                memory.parser.Parse(piece, False)
            memory.parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise InputError(f"{path} is not TMX: {error}") from error
        except InputError as error:
            raise InputError(f"{path}, line {memory.parser.CurrentLineNumber}: {error}") from error
    there = sorted({language for _, sentences in memory.units for language in sentences})
    for flag, language in zip(("source", "target"), languages, strict=True):
        if not any(_is_of(found, language) for found in there):
            raise InputError(f"{path} has no language {language!r}: --{flag}_lang must be one of {', '.join(there)}")
    for line, sentences in memory.units:
        one, other = (
            next((text for found, text in sentences.items() if _is_of(found, language)), None) for language in languages
        )
        if one is not None or other is not None:
            yield one, other, f"line {line}"


def _is_of(found: str, language: str) -> bool:
    found, language = found.replace("_", "-"), language.lower().replace("_", "-")
    return found == language or found.startswith(f"{language}-")


class _Memory:
    """The units of TMX as expat meets them: per unit its line and its sentences by language.

    expat loads nothing from outside. Entities that a file declares itself, by which a small one grows without end, are
    refused; TMX has no use for them.
    """

    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler, self.parser.EndElementHandler = self._start, self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.EntityDeclHandler = self.parser.SkippedEntityHandler = self._refuse
        self.units: list[tuple[int, dict[str, str]]] = []
        self.language = ""
        self.sentence: list[str] | None = None  # within <seg>
        self.codes = 0  # how deep within markup

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "tu":
            self.units.append((self.parser.CurrentLineNumber, {}))
        elif name == "tuv":
            self.language = (attributes.get("xml:lang") or attributes.get("lang") or "").lower()
        elif name == "seg":
            self.sentence, self.codes = [], 0
        self.codes += name in CODES

    def _end(self, name: str) -> None:
        self.codes -= name in CODES
        if name == "seg" and self.sentence is not None and self.units:
            self.units[-1][1].setdefault(self.language, " ".join("".join(self.sentence).split()))
            self.sentence = None

    def _text(self, text: str) -> None:
        if self.sentence is not None and not self.codes:
            self.sentence.append(text)

    def _refuse(self, name: str, *_: object) -> None:
        raise InputError(f"the entity {name!r} is not read: write out what it stands for")
