"""What a record says of the machine that it was made on: no folder, no home, no user's name and no access token."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

HIDDEN = "..."
TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}")
SECRET_FLAG = re.compile(r"--(?:(?:hub|hf|auth|access|api|wandb)[_-])?(?:token|key|password|secret)")
# A place begins at the root, in a home, above the working folder, on a drive of Windows or on another machine.
BEGINNING = r"(?:file:/*|~[\w.-]*[/\\]|(?:\.\.[/\\])+|/|[A-Za-z]:[/\\]+|\\\\)"
WHOLE = re.compile(rf"{BEGINNING}[^\n]*|~[\w.-]*|\.\.")
INSIDE = re.compile(
    # A URL comes first and stays whole; its slashes would begin a path otherwise.
    r"(?P<url>\b(?!file:)[A-Za-z][\w+.-]+://[^\s'\"]*)"
    # Only within quotes can a path hold blanks.
    rf"|(?<=[\"'])(?P<quoted>{BEGINNING}[^\"'\n]+)(?=[\"'])"
    # A bare path has two parts or more: `/2` and `and/or` are none.
    rf"|(?<![\w.~/\\-])(?P<bare>{BEGINNING}(?:[^\s/\\\"'`,;:|<>(){{}}\[\]]+[/\\]+)+[^\s/\\\"'`,;:|<>(){{}}\[\]]*)"
)
HOME = re.compile(r"(?:file:)?/*(?:(?:[A-Za-z]:)?[/\\]+(?:home|Users)[/\\]+[^/\\]+|root|~[\w.-]*)[/\\]*")


def plain_command(words: Sequence[str]) -> str:
    """A command as one would type it from the folder that it ran in.

    Args:
        words: of the command. A path inside the working folder is written from there on, of any other its last part
            is left, and of an access token nothing.
    """
    plain: list[str] = []
    # A secret stands behind its flag, as the next word or after an equals sign.
    for before, word in zip(["", *words], words, strict=False):
        flag, equals, value = word.partition("=")
        if SECRET_FLAG.fullmatch(before):
            plain.append(HIDDEN)
        elif equals and SECRET_FLAG.fullmatch(flag):
            plain.append(f"{flag}={HIDDEN}")
        elif equals and flag.startswith("-"):
            plain.append(f"{flag}={_from_here(value)}")
        else:
            plain.append(_from_here(word))
    return shlex.join(plain)


def without_places(value: Any) -> Any:
    """JSON of any depth, in which of every path that tells where its file lies only the last part is left."""
    if isinstance(value, dict):
        return {without_places(name): without_places(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_places(inner) for inner in value]
    if not isinstance(value, str):
        return value
    plain = _last_part(value) if WHOLE.fullmatch(value) else INSIDE.sub(_last_part_of, value)
    return value if plain == value else without_places(plain)  # until nothing is left, so that twice is as once


def _from_here(word: str) -> str:
    try:
        return Path(word).relative_to(Path.cwd()).as_posix() if Path(word).is_absolute() else without_places(word)
    except ValueError:  # elsewhere
        return without_places(word)


def _last_part_of(found: re.Match) -> str:
    return found["url"] or _last_part(found[0])


def _last_part(path: str) -> str:
    # The last part of a home is the user's name.
    if HOME.fullmatch(path):
        return "~"
    windows = re.match(r"[A-Za-z]:|\\\\|[^/]*\\", path)
    return (PureWindowsPath if windows else PurePosixPath)(path).name or HIDDEN
