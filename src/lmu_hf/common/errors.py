"""How a failure is told: what was given and cannot be used in one line, a slip of the program's own as it is."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Python raises these where a program is wrong. What tells of the world, a file or a value is of another class, in any
# library; what `explained` has wrapped is, too.
SLIPS = (TypeError, AttributeError, NameError, LookupError, AssertionError, RuntimeError, ZeroDivisionError)
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "config.json")
PLACES = ("file", "folder")  # arguments of verbs that are given without a flag
REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


class InputError(ValueError):
    """What was given cannot be used; the message says what it was, what is wrong with it, and what to do."""


def is_expected(error: Exception) -> bool:
    """Whether an exception tells of what was given, and not of a slip in the program."""
    return not isinstance(error, SLIPS) or type(error).__name__ == "OutOfMemoryError"  # torch's, a RuntimeError


def one_line(error: BaseException) -> str:
    """What an exception says, in one line that is never empty."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    cause: BaseException = error
    if type(error).__name__.startswith("StrictDataclass") and error.__cause__ is not None:
        cause = error.__cause__  # what a config's own check says, without which of transformers' steps called it
    text = " ".join(str(cause).split())
    if isinstance(error, SLIPS) or not text:  # what these say, a missing key alone say, is not a sentence
        return f"{type(error).__name__}: {text}".removesuffix(": ")
    return text


@contextmanager
def explained(message: str) -> Iterator[None]:
    """For what reads files that others have written: whatever goes wrong inside is their fault, of whatever class.

    Raises:
        InputError: something went wrong; it says ``message: reason``.
    """
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if type(error).__module__.startswith("datasets") else None  # theirs says only "failed"
        raise InputError(f"{message}: {one_line(cause or error)}") from error


def check_model(name: str, holds: tuple[str, ...] = ("config.json",)) -> str:
    """A saved model's folder, or a name that the Hub may know; given back as it is.

    Args:
        name: either.
        holds: the folder must hold one of these files.

    Raises:
        InputError: it is a path, and no such folder lies there.
    """
    path = Path(name)
    if path.is_dir():
        if not any((path / file).is_file() for file in holds):
            inside = f": give {path / 'model'}" if (path / "model" / "config.json").is_file() else ""
            raise InputError(f"the folder {name!r} holds no {' or '.join(holds)}{inside}")
    elif path.exists():
        raise InputError(f"{name!r} is a file: give the folder that save_pretrained wrote")
    elif not REPO_ID.fullmatch(name) or name.startswith(".") or ("/" in name and path.parent.is_dir()):
        raise InputError(f"there is no folder {name!r}")
    return name


@contextmanager
def loading(what: str, name: str, holds: tuple[str, ...] = ("config.json",)) -> Iterator[None]:
    """As :func:`explained`, for loading a model, a tokenizer or the like from where :func:`check_model` allows it.

    Raises:
        InputError: it cannot be loaded; the message says what and from where.
    """
    where = "" if Path(name).exists() else ", which is no folder here"
    with explained(f"no {what} can be loaded from {name!r}{where}"):
        check_model(name, holds)
        yield


def as_typed(argument: str) -> str:
    """How a command line shows an argument: a flag with its dashes, a place among the words in capitals."""
    return argument.upper() if argument in PLACES else f"--{argument}"


def check_folder(path: Path, flag: str) -> None:
    """Refuse, before anything is computed, a folder that cannot be made.

    Raises:
        InputError: a file stands in its place or above it, its parent cannot be written to, or the name is too long.
    """
    try:
        there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    except OSError as error:
        raise InputError(f"{as_typed(flag)} {path} cannot be made: {error.strerror}") from error
    if not there.is_dir():
        raise InputError(f"{as_typed(flag)} {path} cannot be made: {there} is a file")
    if not os.access(there, os.W_OK):
        raise InputError(f"{as_typed(flag)} {path} cannot be made: you may not write to {there}")
