"""What a column of labels means: one rule over the whole column, from what its cells say and nothing else.

Cells are text as written, or lists of such. Words and whole numbers are classes, numbers with a decimal point are to be
predicted, lists hold several classes at once. What can be read in two ways is refused, with the flag that decides.
"""

import ast
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..common.errors import InputError

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
PROBLEMS = {"single": SINGLE, "multi": MULTI, "regression": REGRESSION}  # short words for them
UNLABELLED = "-1"  # what data sets of the Hub give a row whose label is secret or in dispute

WHOLE = re.compile(r"[+-]?\d+")
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
# A number that Python does not take for one: with a sign of per cent or of a currency, or with commas or blanks in it.
DRESSED = re.compile(r"[+-]?\s?[$€£¥]?\s?[+-]?(?:\d[\d.,' ]*|[.,]\d+)\s?(?:[%‰$€£¥]|[A-Z]{3})?")
# What programs write for a number that is not there, or is none.
NO_NUMBER = {"nan", "na", "n/a", "#n/a", "null", "none", "nil", "inf", "infinity", "-", "--", "?", "."}
SEPARATORS = ("|", ";", ",")  # in the order in which they are suggested
Cell = str | tuple[str, ...] | None


@dataclass(frozen=True)
class Job:
    """What is to be found for a row.

    Args:
        problem_type: as a config has it.
        classes: their names in order; none where a number is to be predicted.
        notes: what is odd about the labels and no reason to refuse them, a few words each.
    """

    problem_type: str
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What the flags say of the labels.

    Args:
        problem_type: what to take them for; None to find it.
        separator: what parts the classes within a cell.
        classes: known beforehand, as where each has a column of its own.
    """

    problem_type: str | None = None
    separator: str | None = None
    classes: tuple[str, ...] = ()


UNASKED = Asked()


class Column:
    """The cells of a column of labels.

    Args:
        where: what to call the rows in a message.
        values: of any type that a reader gives.
        places: where each row stands in its file, as "line 17"; counted from 1 if not given.
    """

    def __init__(self, where: str, values: Iterable[Any], places: Sequence[str] | None = None) -> None:
        self.where, self.places = where, places
        self.cells: list[Cell] = [written(value) for value in values]

    def place(self, row: int) -> str:
        """Where a row stands."""
        return f"row {row + 1}" if self.places is None else self.places[row]

    def refuse(self, row: int, what: str) -> InputError:
        """An error about a row's label."""
        return InputError(f"{self.where} has the label {shown(self.cells[row])} ({self.place(row)}){what}")


def written(value: Any) -> Cell:
    """A cell as text: what a reader has made a number of is written as Python writes it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return tuple("" if inner is None else str(inner) for inner in value)
    return str(value)


def shown(cell: Cell) -> str:
    """A cell in a message."""
    text = repr(list(cell)) if isinstance(cell, tuple) else repr(cell)
    return text if len(text) <= 60 else f"{text[:60]}…"


def decide(column: Column, asked: Asked = UNASKED) -> Job:
    """What the labels of the training rows say is to be found.

    Raises:
        InputError: they can be read in two ways, or not as what was asked for; the message names a row and a flag.
    """
    for row, cell in enumerate(column.cells):
        if cell is None or (isinstance(cell, str) and not cell.strip() and asked.separator is None):
            raise InputError(f"{column.where} has an empty label ({column.place(row)}): fill or drop such rows")
    lists = any(isinstance(cell, tuple) for cell in column.cells)
    if asked.separator is not None and asked.problem_type not in (None, MULTI):
        raise InputError(f"--label_separator has no effect beside --problem_type {asked.problem_type}")
    if asked.problem_type == MULTI or asked.separator is not None or (lists and asked.problem_type is None):
        return _several(column, asked)
    if lists:
        raise InputError(
            f"{column.where} has lists of labels, as {shown(_first_list(column))}: --problem_type {asked.problem_type} "
            f"takes one label a row, {MULTI} takes several"
        )
    return _one(column, asked)


def _several(column: Column, asked: Asked) -> Job:
    rows = class_lists(column, asked)
    counts = Counter(word for words in rows for word in set(words))
    classes = asked.classes or tuple(in_order(counts))
    if not counts:
        raise InputError(f"{column.where} has no label in any row: there is nothing to learn from")
    if len(counts) == 1 and min(map(len, rows)) == 1:
        raise InputError(f"{column.where} has only the label {shown(classes[0])}: there is nothing to tell apart")
    if not asked.classes and len(counts) > max(20, len(rows)):
        raise InputError(
            f"{column.where} has {len(counts):,} different labels in {len(rows):,} rows, as {shown(classes[0])}: "
            "give another --label_column"
        )
    absent = [name for name in classes if not counts[name]]
    notes = [f"no row has {', '.join(absent[:3])}"] if absent else []
    return Job(MULTI, classes, (*notes, *_odd_names(classes)))


def _one(column: Column, asked: Asked) -> Job:
    words = [str(cell) for cell in column.cells]
    counts = Counter(words)
    if len(counts) < 2:
        raise InputError(f"{column.where} has only the label {words[0]!r}: there is nothing to tell apart")
    if asked.problem_type == REGRESSION:
        to_numbers(column)
        return Job(REGRESSION)
    if asked.problem_type is None:
        if _are_numbers(column, counts):
            return Job(REGRESSION)
        _refuse_too_many(column, counts)
    classes = tuple(in_order(counts))
    whole = len(classes) > 5 and all(WHOLE.fullmatch(word) for word in classes)
    hint = (f"whole numbers are classes unless --problem_type {REGRESSION}",) if whole else ()
    return Job(SINGLE, classes, (*hint, *_odd_names(classes)) if asked.problem_type is None else _odd_names(classes))


def _are_numbers(column: Column, counts: Counter[str]) -> bool:
    """Whether a column holds numbers to predict: all of them numbers, and one of them with a decimal point.

    Raises:
        InputError: nearly so.
    """
    kinds = {word: _kind(word) for word in counts}
    there = set(kinds.values())
    if "dressed" in there and there <= {"dressed", "whole", "decimal", "none"}:
        row = _first(column, kinds, "dressed")
        raise column.refuse(
            row,
            f", a number with a sign or a comma: write plain numbers, or say --problem_type {REGRESSION} (if all have "
            f"the sign %) or --problem_type {SINGLE} (each value is a class)",
        )
    numbers = {"whole", "decimal"} & there
    if numbers and there <= {"whole", "decimal", "none"} and "none" in there:
        row = _first(column, kinds, "none")
        raise column.refuse(
            row, f" among numbers: fill it or leave the row out, or say --problem_type {SINGLE} to take it as a class"
        )
    decimals = sum(counts[word] for word, kind in kinds.items() if kind == "decimal")
    if decimals > len(column.cells) / 2 and "word" in there:
        row = _first(column, kinds, "word")
        raise column.refuse(
            row, f" among numbers: correct it, or say --problem_type {SINGLE} to take every value as a class"
        )
    if not decimals or there - {"whole", "decimal"}:
        return False
    # A column of classes with a gap in it is written so by pandas: 0.0, 1.0.
    if len(counts) == 2 and all(float(word).is_integer() for word in counts):
        first, second = in_order(counts)
        raise InputError(
            f"{column.where} has no labels but {first!r} and {second!r}: say --problem_type {SINGLE} if they are "
            f"classes, {REGRESSION} if they are numbers to predict"
        )
    return True


def _refuse_too_many(column: Column, counts: Counter[str]) -> None:
    """Nearly as many classes as rows: numbers to predict, or another column than was meant."""
    rows, found = len(column.cells), len(counts)
    if found <= 2 or not (2 * found > rows or (found > 10 and 4 * found > rows)):
        return
    example = shown(column.cells[0])
    fault = f"{column.where} has {found:,} different labels in {rows:,} rows, as {example}"
    if all(WHOLE.fullmatch(word) for word in counts):
        raise InputError(
            f"{fault}: say --problem_type {REGRESSION} to predict the number, or {SINGLE} to tell them apart"
        )
    several = next((mark for mark in SEPARATORS if sum(mark in word for word in counts) * 4 > found), None)
    meant = f"--label_separator '{several}' if each holds several, " if several else ""
    raise InputError(f"{fault}: give another --label_column, {meant}or --problem_type {SINGLE} to tell them all apart")


def _kind(word: str) -> str:
    word = word.strip()
    if WHOLE.fullmatch(word):
        return "whole"
    if NUMBER.fullmatch(word):
        return "decimal"
    if word.lower().lstrip("+-") in NO_NUMBER or word in NO_NUMBER:
        return "none"
    return "dressed" if DRESSED.fullmatch(word) else "word"


def _first(column: Column, kinds: dict[str, str], kind: str) -> int:
    return next(row for row, cell in enumerate(column.cells) if kinds[str(cell)] == kind)


def _first_list(column: Column) -> Cell:
    return next(cell for cell in column.cells if isinstance(cell, tuple))


def in_order(words: Iterable[str]) -> list[str]:
    """Classes in an order that does not depend on that of the rows: numbers by size, words by letters."""
    words = list(words)
    if all(NUMBER.fullmatch(word) for word in words):
        return sorted(words, key=lambda word: (float(word), word))
    return sorted(words)


def _odd_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Classes that look like one, misspelt."""
    plain: dict[str, str] = {}
    for name in classes:
        other = plain.setdefault(" ".join(name.lower().split()), name)
        if other != name:
            return (f"{other!r} and {name!r} are two classes",)
    return ()


def to_numbers(column: Column) -> list[float]:
    """The numbers of a column of numbers; a sign of per cent counts for nothing if every cell has it.

    Raises:
        InputError: a cell is none, or not finite.
    """
    words = [str(cell).strip() for cell in column.cells]
    if words and all(word.endswith("%") for word in words):
        words = [word.removesuffix("%").strip() for word in words]
    numbers = []
    for row, word in enumerate(words):
        number = float(word) if NUMBER.fullmatch(word) else math.nan
        if not math.isfinite(number):
            raise column.refuse(
                row, ", which is no finite number with a decimal point: correct it or leave the row out"
            )
        numbers.append(number)
    return numbers


def to_classes(column: Column, classes: Sequence[str]) -> list[int | None]:
    """The index of each cell's class; None where a row has no label.

    Raises:
        InputError: a cell is no such class.
    """
    index: dict[str, int] = {name: number for number, name in enumerate(classes)}
    # Where one file says 1 and another 1.0 or 01, numbers are compared, if they tell the classes apart.
    by_number = {float(name): number for name, number in index.items() if NUMBER.fullmatch(name)}
    same = by_number if len(by_number) == len(index) else {}
    found: dict[Cell, int | None] = {None: None}
    for row, cell in enumerate(column.cells):
        if cell in found:
            continue
        word = cell[0] if isinstance(cell, tuple) and len(cell) == 1 else str(cell)
        number = index.get(word)
        if number is None and NUMBER.fullmatch(word.strip()):
            number = same.get(float(word))
        if number is None and word != UNLABELLED:
            known = ", ".join(map(repr, classes[:10])) + ", …" * (len(classes) > 10)
            raise column.refuse(row, f", which is none of its classes: {known}")
        found[cell] = number
    return [found[cell] for cell in column.cells]


def to_sets(column: Column, classes: Sequence[str], asked: Asked) -> list[list[int]]:
    """For each cell 0 or 1 for every class.

    Raises:
        InputError: a cell has another class, or cannot be taken apart.
    """
    index = {name: number for number, name in enumerate(classes)}
    rows = []
    for row, words in enumerate(class_lists(column, asked)):
        if unknown := [word for word in words if word not in index]:
            known = ", ".join(map(repr, classes[:10])) + ", …" * (len(classes) > 10)
            raise column.refuse(row, f"; {unknown[0]!r} is none of its classes: {known}")
        held = {index[word] for word in words}
        rows.append([int(number in held) for number in range(len(classes))])
    return rows


def class_lists(column: Column, asked: Asked) -> list[tuple[str, ...]]:
    """The classes that each cell names.

    Raises:
        InputError: a cell cannot be taken apart.
    """
    rows = [_names(column, row, asked) for row in range(len(column.cells))]
    widths = {len(words) for words in rows}
    # No list names a class twice: these are zeros and ones, a place for each class.
    twice = len(widths) == 1 and any(len(set(words)) < len(words) for words in rows)
    if twice and all(word in ("0", "1", "0.0", "1.0") for words in rows for word in words):
        return [tuple(str(at) for at, word in enumerate(words) if float(word)) for words in rows]
    return rows


def _names(column: Column, row: int, asked: Asked) -> tuple[str, ...]:
    cell = column.cells[row]
    if isinstance(cell, tuple):
        if asked.separator is not None:
            raise InputError(f"--label_separator has no effect on {column.where}, whose labels are lists already")
        words = cell
    elif asked.separator is not None:
        words = tuple(word for part in str(cell or "").split(asked.separator) if (word := part.strip()))
    else:
        words = _parsed(column, row)
    if any(not word.strip() for word in words):
        raise column.refuse(row, ", one of which is empty: fill it or leave it out")
    return words


def _parsed(column: Column, row: int) -> tuple[str, ...]:
    """A list that stands in a cell as Python or JSON writes it."""
    text = str(column.cells[row]).strip()
    try:
        inner = ast.literal_eval(text) if text.startswith(("[", "(", "{")) else None
    except (ValueError, SyntaxError):
        inner = None
    if not isinstance(inner, list | tuple | set):
        raise column.refuse(
            row, ", a single text: several labels a row are a list, columns of 0 and 1, or say --label_separator"
        )
    return tuple(str(word) for word in inner)


def truth(column: Column) -> list[bool]:
    """Whether a class holds of each row, from a column of its own.

    Raises:
        InputError: a cell is neither yes nor no.
    """
    words = {"1": True, "0": False, "1.0": True, "0.0": False, "true": True, "false": False}
    words |= {"yes": True, "no": False}
    held = []
    for row, cell in enumerate(column.cells):
        word = str(cell).strip().lower()
        if word not in words:
            raise column.refuse(row, ", which must be 0 or 1 where each class has a column of its own")
        held.append(words[word])
    return held
