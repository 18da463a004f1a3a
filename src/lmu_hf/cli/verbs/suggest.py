"""Say which theta and which order keep a signal of yours: from its spectrum, and measured by decoding its windows.

    lmu-hf suggest recording.wav
    lmu-hf suggest load.csv --column OT --theta 96 336 --figure load.png
    lmu-hf suggest signals.npz --field ecg --column 0

A table of windows is printed: for each the least order whose memory keeps 90 and 99 % of the windows' variance. The
memory is written by the signal, whose mean is removed, and decoded by Legendre polynomials at 64 moments. Beside it
stands what the rule of docs/concepts/theta_and_order.md says, pi times the cycles in the window, and 4. How far back an
answer lies the spectrum does not know: --theta names the windows that your task asks for.

A WAV file, an array of NumPy (.npy, .npz), or a table as `lmu-hf train text` reads them, a row a time step.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..data_flags import READING
from ..flags import COUNT, ScriptParser, manual_of, output_file
from ..results import add_json

if TYPE_CHECKING:
    from ...data.suggesting import Suggestion

TABLES = ("delimiter", "encoding", "field", "column_names")


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "suggest")
    parser.add_argument("file", type=Path, help="file that holds the signal: a sound, an array or a table")
    data, output = parser.group("data"), parser.group("output")
    text = "column of a table, or number of a channel, from 0 on (default: the only one that holds numbers)"
    data.add_argument("--column", help=text)
    for flag in TABLES:
        data.add_argument(f"--{flag}", **READING[flag])
    text = "windows in time steps (default: five around the longest cycle in nine tenths of the signal's energy)"
    parser.group("model").add_argument("--theta", type=COUNT, nargs="+", metavar="N", help=text)
    output.add_argument("--figure", type=output_file, help="PNG file to draw to (default: no picture)")
    add_json(parser)
    args = parser.parse_args(argv)
    if args.figure is not None and args.figure.suffix.lower() != ".png":
        parser.error(f"--figure must end in .png, got {args.figure}")
    return args


def start(args: argparse.Namespace) -> "Suggestion":
    """Read, measure, print and draw; what was found."""
    from ..suggesting import suggest

    return suggest(args)
