"""Flags of scripts: read with checks, remembered where they were given, and refused where nothing asked for them."""

import argparse
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from .failures import DEBUG

COMMAND = "lmu-hf"
LIKE = 0.7  # words of this ratio of equal letters are taken for each other
GROUPS = ("data", "model", "training", "output")
VALUES = {"int": "N", "_seed_or_none": "N", "float": "X", "Path": "PATH", "output_file": "PATH"}


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help that calls a flag's value by what it is, a number or a path, and not by the flag's own name once more."""

    def __init__(self, prog: str, **how: Any) -> None:
        super().__init__(prog, **{"max_help_position": 36, **how})

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return VALUES.get(getattr(action.type, "__name__", ""), "NAME")


class _HelpAll(argparse.Action):
    """Show every flag, and end."""

    def __call__(self, parser: argparse.ArgumentParser, *parsed: Any) -> None:
        assert isinstance(parser, ScriptParser)
        print(parser.format_all_help(), end="")
        parser.exit()


class ScriptParser(argparse.ArgumentParser):
    """The parser of a script or a verb, with its manual; what it parses says in ``given`` which flags were given.

    Args:
        manual: what ``--help`` begins with.
        verb: of the command ``lmu-hf``, if it is one.
    """

    def __init__(self, manual: str | None, verb: str = "") -> None:
        super().__init__(
            prog=f"{COMMAND} {verb}" if verb and Path(sys.argv[0]).stem == COMMAND else None,
            description=manual,
            epilog=f"{DEBUG}=1 in the environment shows where an error arose.",
            formatter_class=_Help,
            allow_abbrev=False,  # an abbreviation in a script may mean two flags tomorrow
        )
        self._positionals.title, self._optionals.title = "arguments", "other"
        self._titled = {title: self.add_argument_group(title) for title in GROUPS}
        self._action_groups.append(self._action_groups.pop(1))  # argparse would show --help before all others
        self._seldom: frozenset[str] = frozenset()
        self.elsewhere: dict[str, str] = {}  # flags of other verbs, and what says the same here

    def group(self, title: str) -> argparse._ArgumentGroup:
        """The flags that ``--help`` shows under one of ``GROUPS``."""
        return self._titled[title]

    def set_seldom(self, *names: str) -> None:
        """Let ``--help`` leave these flags to ``--help_all``, which is added."""
        self._seldom = frozenset(names)
        self.add_argument("--help_all", action=_HelpAll, nargs=0, help="show every flag, also those seldom needed")

    def format_all_help(self) -> str:
        """The help with every flag."""
        seldom, self._seldom = self._seldom, frozenset()
        try:
            return self.format_help()
        finally:
            self._seldom = seldom

    def format_help(self) -> str:
        """The help, whose first line names the arguments and leaves the flags to their groups."""
        hidden = {action: action.help for action in self._actions if action.dest in self._seldom}
        for action in hidden:
            action.help = argparse.SUPPRESS
        try:
            return self._format_shown()
        finally:
            for action, text in hidden.items():
                action.help = text

    def _format_shown(self) -> str:
        places = [action for action in self._actions if not action.option_strings]
        words = [f"[{place.dest}]" if place.nargs == "?" else place.dest for place in places]
        self.usage = " ".join(["%(prog)s", *words, "[flags]"])
        return super().format_help()

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """The flags, and in ``given`` the names of those that were not left out."""
        # Parsed twice: a flag that is given with its default value counts as given, and comparing values would miss it.
        words, unset = list(sys.argv[1:] if args is None else args), object()
        blank = argparse.Namespace(**{action.dest: unset for action in self._actions})
        super().parse_args(words, blank)  # defaults are set only where there is nothing
        parsed = super().parse_args(words, namespace)
        options = [action.dest for action in self._actions if action.option_strings]
        parsed.given = frozenset(name for name in options if getattr(blank, name) is not unset)
        return parsed

    def error(self, message: str) -> NoReturn:
        """End with one line, which suggests what is close to an unknown flag or choice."""
        # These are argparse's own sentences: it passes the wrong word in no other form.
        if unknown := re.match(r"unrecognized arguments: ([^\s=]+)", message):
            if place := self._place_of(unknown[1]):
                self.exit(
                    2, f"{self.prog}: error: {unknown[1]}: the {place} is given without a flag, as the first word\n"
                )
            near = self._meant_by(unknown[1])
        elif unknown := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            near = get_close_matches(unknown[1], re.split(r"[', ]+", unknown[2]), n=1)
        else:
            near = []
        self.exit(2, f"{self.prog}: error: {message}{f'; did you mean {near[0]}?' if near else ''}\n")

    def _place_of(self, unknown: str) -> str:
        """What the first argument is, if a flag is called after it: ``--model_path`` after a model; else nothing."""
        places = [action.dest for action in self._actions if not action.option_strings]
        first = places[0].partition("_")[0] if places else ""
        return first if unknown.lstrip("-").partition("_")[0] == first else ""

    def _meant_by(self, unknown: str) -> list[str]:
        """The flag that an unknown one was to be, or none."""
        if unknown in self.elsewhere:
            return [self.elsewhere[unknown]]
        names = {flag.lstrip("-"): flag for flag in self._option_string_actions}
        near = get_close_matches(unknown.lstrip("-"), names, n=1, cutoff=LIKE)
        return [names[name] for name in near]

    def add_values(self, flags: Mapping[str, tuple[Callable[[str], Any], Any, str]], group: str = "training") -> None:
        """Add flags that take one value each: by name their type, their default and what they set."""
        for name, (kind, default, text) in flags.items():
            self.group(group).add_argument(
                f"--{name}", type=kind, default=default, help=f"{text} (default: %(default)s)"
            )

    def refuse(self, args: argparse.Namespace, *names: str, because: str) -> None:
        """End with one line if one of these flags was given, which then would be ignored."""
        for name in names:
            if name in args.given:
                self.error(f"--{name} has no effect here: {because}")


def manual_of(own: str | None, script: str | None) -> str | None:
    """The manual of a verb; run as a script, the script's purpose and examples stand in the place of its own.

    Args:
        own: the docstring of the verb's module: purpose, examples, and paragraphs on what it reads and writes.
        script: that of the script, if one is run.
    """
    if own is None or script is None:
        return own
    return "\n\n".join([script.strip(), *own.strip().split("\n\n")[2:]])


class Flags:
    """Parsed flags that remember which were asked for.

    Args:
        args: as a :class:`ScriptParser` parsed them; of any other parser's none counts as given.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._args, self.read = args, set[str]()
        self._given: frozenset[str] = getattr(args, "given", frozenset())

    @classmethod
    def of(cls, args: "argparse.Namespace | Flags") -> "Flags":
        """The same, if they remember already."""
        return args if isinstance(args, Flags) else cls(args)

    def __getattr__(self, name: str) -> Any:
        # Python comes here only for what is no attribute of `Flags` itself. A flag that no parser has is not noted.
        value = getattr(self._args, name)
        self.read.add(name)
        return value

    def chose(self, name: str) -> bool:
        """Whether a flag was given, though perhaps with its default."""
        return name in self._given

    def take(self, **names: str) -> dict[str, Any]:
        """Values that are not None, by other names: ``take(config="dataset_config_name")``."""
        found = {name: getattr(self, flag, None) for name, flag in names.items()}
        return {name: value for name, value in found.items() if value is not None}

    def refuse_unread(self, what: str) -> None:
        """Refuse what was given and not asked for: it would be ignored.

        Raises:
            ValueError: there is such a flag; the message names it.
        """
        for name in sorted(self._given - self.read):
            raise ValueError(f"--{name} has no effect on {what}")


def number(
    kind: Callable[[str], float],
    least: float = -math.inf,
    below: float = math.inf,
    above: float = -math.inf,
    most: float = math.inf,
) -> Callable[[str], Any]:
    """The type of a flag that takes a finite number, from ``least`` to ``most`` and between ``above`` and ``below``."""
    bounds = {"at least": least, "above": above, "below": below, "at most": most}
    parts = [f"{word} {bound:,}" for word, bound in bounds.items() if math.isfinite(bound)]

    def read(text: str) -> Any:
        value = kind(text)
        if not (math.isfinite(value) and least <= value <= most and above < value < below):
            raise argparse.ArgumentTypeError(f"must be {' and '.join(parts) or 'a finite number'}, got {text}")
        return value

    read.__name__ = kind.__name__  # what argparse calls a value that is no number at all
    return read


COUNT = number(int, least=1)
AMOUNT = number(int, least=0)  # of what may be left out
SEED = number(int, least=0, below=2**32)  # what NumPy takes as a seed
POSITIVE = number(float, above=0)


def output_file(text: str) -> Path:
    """The type of a flag that names a file to write, in a folder that is there."""
    path = Path(text)
    try:
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"{text} is a folder: name a file")
        if not path.absolute().parent.is_dir():
            raise argparse.ArgumentTypeError(f"there is no folder {path.parent} to write {path.name} in")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror}") from error
    return path
