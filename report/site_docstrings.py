"""Docstrings as Markdown: their marks for names, literal blocks and tables are those of reStructuredText."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":\w+:`~?(?P<name>[^`]+)`")
TABLE = re.compile(r"^(?P<rule> *=+(?: +=+)+)\n(?:.*\n)*?(?P=rule)\n(?:.*\n)*?(?P=rule)$", re.MULTILINE)
LITERAL = re.compile(r"::$", re.MULTILINE)


def as_markdown(docstring: str) -> str:
    """A docstring whose marks Markdown knows; Google's sections stay as they are."""
    text = ROLE.sub(lambda found: f"`{found['name']}`", docstring).replace("``", "`")
    text = TABLE.sub(lambda found: f"```text\n{found[0]}\n```", text)
    return LITERAL.sub(":", text)


class MarkdownDocstrings(griffe.Extension):
    """Rewrites each docstring as it is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Of a module, a class, a function or an attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
