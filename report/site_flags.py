"""The flags of every verb and script as pages of the documentation, from their parsers, when the site is built."""

import argparse
import importlib.util
import re
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from lmu_hf.cli.command import VERBS
from lmu_hf.cli.flags import COMMAND, ScriptParser
from lmu_hf.hub import markup

PROJECT = Path(__file__).parents[1]
SCRIPTS = ("demo", "reproduce", "space")  # those that are no verb
FOLDER = "reference/flags"
CODE = re.compile(r"`([^`]+)`|(?<![\w-])(--[a-z_]+)")
DEFAULT = re.compile(r"^(?P<sets>.*) \(default: (?P<default>.*)\)$")


def pages() -> dict[str, str]:
    """A page for each verb and for each script that is none, by its place in the docs."""
    found = {f"{FOLDER}/{VERBS[verb].module}.md": page(f"{COMMAND} {verb}", verb_parser(verb)) for verb in VERBS}
    return found | {f"{FOLDER}/{name}.md": page(f"scripts/{name}.py", script_parser(name)) for name in SCRIPTS}


def list_of_pages() -> str:
    """A table of the verbs and scripts, each with a link to its flags."""
    folder = FOLDER.rpartition("/")[2]
    rows = [
        [f"[`{COMMAND} {verb}`]({folder}/{VERBS[verb].module}.md)", markup.text(VERBS[verb].about)] for verb in VERBS
    ]
    for name in SCRIPTS:
        purpose = str(script_module(name).__doc__).split("\n", 1)[0].rstrip(".")
        rows.append([f"[`python scripts/{name}.py`]({folder}/{name}.md)", markup.text(purpose)])
    return markup.table(["command", "what it does"], rows)


def verb_parser(verb: str) -> ScriptParser:
    """The parser of one of ``VERBS``."""
    return catch_parser(import_module(f"lmu_hf.cli.verbs.{VERBS[verb].module}").parse_args)


def script_parser(name: str) -> ScriptParser:
    """The parser of a script that is no verb."""
    module = script_module(name)
    return catch_parser(getattr(module, "parse_args", None) or module.main)


def script_module(name: str) -> ModuleType:
    """A file of ``scripts/`` as a module, which does nothing yet."""
    spec = importlib.util.spec_from_file_location(name, PROJECT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def catch_parser(parse_args: Callable[[list[str]], Any]) -> ScriptParser:
    """The parser that a function makes, caught as it is about to parse: verbs make theirs only then."""
    caught = []

    def stop(self: ScriptParser, *_: Any, **__: Any) -> None:
        caught.append(self)
        raise SystemExit

    with patch.object(ScriptParser, "parse_args", stop), suppress(SystemExit):
        parse_args([])
    return caught[0]


def page(title: str, parser: ScriptParser) -> str:
    """One command: its manual, and a table for each group of its flags."""
    parts = [f"# {title}", *_manual(parser.description or "")]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.dest not in ("help", "help_all")]
        if actions:
            header = ["flag", "value", "what it sets", "default"]
            parts += [f"## {str(group.title).capitalize()}", markup.table(header, [_row(parser, a) for a in actions])]
    return "\n\n".join(parts) + "\n"


def _manual(description: str) -> list[str]:
    """Paragraphs of a docstring; what is indented is examples."""
    parts = []
    for part in description.strip().split("\n\n"):
        if part.startswith("    "):
            parts.append(markup.block("\n".join(map(_example, part.splitlines())), "bash"))
        else:
            parts.append(_prose(part))
    return parts


def _example(line: str) -> str:
    """A command of a manual, below what it says of it: beside it there is no room."""
    command, mark, remark = line.strip().partition("  # ")
    return f"# {remark}\n{command.rstrip()}" if mark else command


def _prose(words: str) -> str:
    """Help as Markdown: flags and what stands between backticks are code, and nothing else is markup."""
    parts, end, line = [], 0, " ".join(words.split())
    for found in CODE.finditer(line):
        parts += [markup.text(line[end : found.start()]), markup.code(found[1] or found[2])]
        end = found.end()
    return "".join([*parts, markup.text(line[end:])])


def _row(parser: ScriptParser, action: argparse.Action) -> list[str]:
    told = parser._get_formatter()._expand_help(action)
    found = DEFAULT.match(told)
    sets, default = (found["sets"], found["default"]) if found else (told, "–")
    names = action.option_strings or [action.dest]
    return [", ".join(map(markup.code, names)), _value(parser, action), _prose(sets), _prose(default)]


def _value(parser: ScriptParser, action: argparse.Action) -> str:
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return "–"
    if action.choices is not None:
        several = "some of " if action.nargs in ("+", "*") else ""
        return several + ", ".join(markup.code(choice) for choice in action.choices)
    if not action.option_strings:
        return "–"
    formatter = parser._get_formatter()
    return markup.code(formatter._format_args(action, formatter._get_default_metavar_for_optional(action)))
