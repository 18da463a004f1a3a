"""Write text with a trained language model, as it is made, from a prompt; or translate with a trained translator.

    lmu-hf generate --prompt "def main(" --max_new_tokens 400 --temperature 0.7     # by a model in the box
    echo "import re" | lmu-hf generate runs/python-sources-seed0 --prompt -
    lmu-hf generate lmu-multi30k-en-de --prompt "two dogs"          # translated; "-" reads lines of standard input
    lmu-hf generate MODEL --load_memory talk.safetensors --save_memory talk.safetensors --prompt "more"

The model carries its memories and the last token from step to step, nothing else. At the end, what that state weighs
and how fast tokens came are written to standard error. With --save_memory the state is kept in a file; --load_memory
goes on from there with a further prompt, and the text so far need not be read again.
"""

import argparse
from pathlib import Path

from ..flags import AMOUNT, ScriptParser, manual_of, output_file
from ..writing_flags import add_sampling, add_writer, parse_writing


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "generate")
    add_writer(parser)
    output = parser.group("output")
    output.add_argument(
        "--prompt",
        default="\n",
        help="text to continue, or lines to translate; - reads it from standard input (default: a line break)",
    )
    output.add_argument(
        "--max_new_tokens", type=AMOUNT, default=500, help="largest number of tokens to write (default: %(default)s)"
    )
    add_sampling(parser)
    output.add_argument(
        "--load_memory", type=Path, help="file of a saved memory to continue from (default: an empty memory)"
    )
    output.add_argument(
        "--save_memory", type=output_file, help="file for the memory at the end (default: it is not kept)"
    )
    return parse_writing(parser, argv)


def start(args: argparse.Namespace) -> None:
    """Read the prompt, write on, and say what was carried and how fast."""
    from ..writing import write

    return write(args)
