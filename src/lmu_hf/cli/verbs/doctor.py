"""Say what is installed and what is missing, on which processor and devices, and test the memory for two seconds.

    lmu-hf doctor

The test compares every form of the memory with a float64 loop; the command fails if one is further off than float32
allows. Said too is which library multiplies matrices in training, and how fast. What is printed belongs into a report
of a fault.
"""

import argparse

from ..flags import ScriptParser, manual_of


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags: there are none."""
    return ScriptParser(manual_of(__doc__, manual), "doctor").parse_args(argv)


def start(args: argparse.Namespace) -> None:
    """Look, test, and print."""
    from ..checkup import check_up

    check_up()
