"""Words of a record as a card holds them: always text, whatever they are made of, and never markup."""

import re
from typing import Any

# Line breaks and other control characters, lone surrogates, and what turns the direction of reading.
BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
# An underscore between letters is one; a colon before slashes and a point behind www would begin a link.
SPECIAL = re.compile(r"[\\`*\[\]{}<>~#$&@]|(?<![^\W_])_|_(?![^\W_])|(?<=\w):(?=//)|(?<=www)\.")


def one_line(value: Any) -> Any:
    """JSON of any depth, in which no text holds a line break or another character that is not seen."""
    if isinstance(value, dict):
        return {one_line(name): one_line(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [one_line(inner) for inner in value]
    return BREAKS.sub(" ", value) if isinstance(value, str) else value


def text(words: object) -> str:
    """Words within a sentence or a cell, in Markdown."""
    return SPECIAL.sub(lambda found: "\\" + found[0], one_line(str(words)))


def code(words: object) -> str:
    """Words within a sentence or a cell, as code."""
    line = one_line(str(words)) or " "
    ticks = "`" * (_longest_run(line) + 1)
    # Markdown takes one space off each side of such code.
    room = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{room}{line}{room}{ticks}"


def block(words: str, language: str = "") -> str:
    """Lines of code on their own."""
    fence = "`" * max(3, _longest_run(words) + 1)
    return f"{fence}{language}\n{words}\n{fence}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table whose cells are Markdown; a bar inside a cell does not end it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _longest_run(words: str) -> int:
    return max(map(len, re.findall("`+", words)), default=0)
