"""Every shell command of the README and the docs is one: its program takes its words, its flags and their values."""

import re
import runpy
import shlex
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

from lmu_hf.cli.command import VERBS, find_verb
from lmu_hf.cli.flags import Flags
from lmu_hf.cli.train import asked_recipe

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if page.name != "log.md"]  # it tells what was run, by the names of its day
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")
EXTRAS = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`((?:lmu-hf|make|python (?:scripts|report|benchmarks)|accelerate launch) [^`]+)`(?!`)")
PLACEHOLDERS = ("VERB", "...")  # not a command, but how one is made


def commands_of(text: str) -> Iterator[str]:
    """The lines of a page's shell blocks, and what stands as a command in a sentence."""
    for language, block in FENCE.findall(text):
        if language == "bash" or (not language and block.startswith(("lmu-hf ", "pip ", "make "))):
            yield from (line for line in block.replace("\\\n", " ").splitlines() if line.strip())
    yield from (" ".join(found.split()) for found in INLINE.findall(FENCE.sub("", text)))


COMMANDS = {
    command: page.relative_to(PROJECT)
    for page in PAGES
    for command in commands_of(page.read_text(encoding="utf-8"))
    if not any(mark in command for mark in PLACEHOLDERS)
}


def take_verb(words: list[str]) -> None:
    """Parse what stands behind ``lmu-hf``; a verb that needs an argument may stand without it, as its name."""
    if words == ["train"]:  # the group of verbs
        return
    verb, rest = find_verb(words)
    if rest or VERBS[verb].kind is not None:
        take_flags(verb, rest)


def take_flags(verb: str, words: list[str]) -> None:
    """Parse a verb's flags; a training verb also reads its recipe and the changes to it."""
    args = import_module(f"lmu_hf.cli.verbs.{VERBS[verb].module}").parse_args(words)
    if VERBS[verb].kind is not None:
        asked_recipe(Flags(args))


def take_python(words: list[str]) -> None:
    """A script of the project with its words: it parses them as it would if it were started."""
    script, *rest = words
    text = (PROJECT / script).read_text(encoding="utf-8")
    if verb := re.search(r'run\("([^"]+)"', text):
        take_flags(verb[1], rest)
    else:
        names = runpy.run_path(str(PROJECT / script))
        assert "parse_args" in names or not rest, f"{script} takes no words"
        if "parse_args" in names:
            names["parse_args"](rest)


def take_launch(words: list[str]) -> None:
    assert words[0] == "launch"
    args = launch_command_parser().parse_args(words[1:])
    take_python([args.training_script, *args.training_script_args])


def take_make(words: list[str]) -> None:
    for word in words:
        assert "=" in word or re.search(rf"^{word}:", MAKEFILE, re.MULTILINE), f"the Makefile has no {word}"


def take_pip(words: list[str]) -> None:
    assert words[0] == "install"
    for wanted in words[1:]:
        name, _, extras = wanted.rstrip("]").partition("[")
        assert name in (".", "lmu-hf", "peft"), wanted
        assert not extras or set(extras.split(",")) <= set(EXTRAS), wanted


TAKES: dict[str, Callable[[list[str]], object]] = {
    "lmu-hf": take_verb,
    "python": take_python,
    "accelerate": take_launch,
    "torchrun": lambda words: get_args_parser().parse_args(words),
    "make": take_make,
    "pip": take_pip,
}


def test_there_are_commands_for_every_verb():
    words = [shlex.split(command, comments=True)[1:] for command in COMMANDS if command.startswith("lmu-hf ")]
    said = {find_verb(rest)[0] for rest in words if rest != ["train"] and not rest[0].startswith("-")}
    assert said == set(VERBS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_docs_is_taken(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command, comments=True)
    words = words[len(words) - words[::-1].index("|") :] if "|" in words else words  # the end of a pipe
    while re.match(r"[A-Z_]+=", words[0]):  # of the environment
        del words[0]
    try:
        TAKES[words[0]](words[1:])
    except SystemExit as end:  # as --help ends
        assert not end.code, f"{COMMANDS[command]}: {end.code} {capsys.readouterr().err}"
