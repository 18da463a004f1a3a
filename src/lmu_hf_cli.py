"""The door of the command ``lmu-hf`` and of the scripts: flags are read before anything that takes seconds is imported.

A module beside the package and not in it: importing any part of a package runs its ``__init__`` first, and that of
``lmu_hf`` imports torch and transformers, unless this module has been imported before it. The verbs then introduce the
family to the Auto classes as soon as flags and paths are known to be good.
"""

from typing import Any


def main() -> None:
    """The command ``lmu-hf``."""
    run()


def run(verb: str = "", manual: str | None = None, argv: list[str] | None = None) -> Any:
    """Run a verb to its end; what it gives.

    Args:
        verb: such as ``"train text"``; empty if the first words of ``argv`` say it.
        manual: what ``--help`` begins with; None for the verb's own.
        argv: the words behind the command's name; None for those of the command line.
    """
    from lmu_hf.cli.command import run_verb  # here, so that this module is imported when `lmu_hf` looks for it

    return run_verb(verb, argv, manual)
