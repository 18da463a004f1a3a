"""How a verb gives its result: plain lines for a person or, with --json, one JSON object for a program."""

import argparse
import json
from collections.abc import Iterable
from typing import Any

from .flags import ScriptParser


def add_json(parser: ScriptParser) -> None:
    """Add the flag ``--json``."""
    text = "print the result as one line of JSON and nothing else (default: plain lines)"
    parser.group("output").add_argument("--json", action="store_true", help=text)


def give(args: argparse.Namespace, lines: Iterable[str], result: dict[str, Any]) -> None:
    """Print a result, once.

    Args:
        args: the flags, ``--json`` among them.
        lines: what a person reads.
        result: the same and more, as plain numbers and words.
    """
    print(json.dumps(result) if args.json else "\n".join(lines))
