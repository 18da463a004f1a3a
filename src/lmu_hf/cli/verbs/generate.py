"""Write text with a trained language model, as it is made, from a prompt.

    lmu-hf generate --prompt "def main(" --max_new_tokens 400 --temperature 0.7     # by a model in the box
    echo "import re" | lmu-hf generate runs/python-sources-seed0 --prompt -
    lmu-hf generate MODEL --load_memory talk.safetensors --save_memory talk.safetensors --prompt "more"

The model carries its memories and the last token from step to step, nothing else. At the end, what that state weighs
and how fast tokens came are written to standard error. With --save_memory the state is kept in a file; --load_memory
goes on from there with a further prompt, and the text so far need not be read again.
"""

import argparse
from pathlib import Path

from ..flags import AMOUNT, COUNT, SEED, ScriptParser, manual_of, number, output_file


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "generate")
    parser.add_argument(
        "model_name_or_path",
        nargs="?",
        default="lmu-python-sources",
        help="a run folder, a model's folder, its name on the Hub or in the box (default: %(default)s)",
    )
    output = parser.group("output")
    output.add_argument(
        "--prompt", default="\n", help="text to continue; - reads it from standard input (default: a line break)"
    )
    output.add_argument(
        "--max_new_tokens", type=AMOUNT, default=500, help="largest number of tokens to write (default: %(default)s)"
    )
    output.add_argument(
        "--temperature",
        type=number(float, least=0),
        default=0.8,
        help="sampling temperature; 0 takes the likeliest token (default: %(default)s)",
    )
    output.add_argument("--top_k", type=COUNT, help="number of likeliest tokens to sample among (default: all)")
    output.add_argument("--seed", type=SEED, default=0, help="random seed of the sampling (default: %(default)s)")
    output.add_argument(
        "--load_memory", type=Path, help="file of a saved memory to continue from (default: an empty memory)"
    )
    output.add_argument(
        "--save_memory", type=output_file, help="file for the memory at the end (default: it is not kept)"
    )
    args = parser.parse_args(argv)
    if args.temperature == 0:
        parser.refuse(args, "top_k", "seed", because="--temperature 0 takes the likeliest token")
    return args


def start(args: argparse.Namespace) -> None:
    """Read the prompt, write on, and say what was carried and how fast."""
    from ..writing import write

    return write(args)
