"""The flags that the verbs share which write with a language model: which model, and how tokens are drawn."""

import argparse

from .flags import COUNT, SEED, ScriptParser, number


def add_writer(parser: ScriptParser) -> None:
    """The model, which may be left out."""
    parser.add_argument(
        "model_name_or_path",
        nargs="?",
        default="lmu-python-sources",
        help="a run folder, a model's folder, its name on the Hub or in the box (default: %(default)s)",
    )


def add_sampling(parser: ScriptParser) -> None:
    """How tokens are drawn."""
    output = parser.group("output")
    output.add_argument(
        "--temperature",
        type=number(float, least=0),
        default=0.8,
        help="sampling temperature; 0 takes the likeliest token (default: %(default)s)",
    )
    output.add_argument("--top_k", type=COUNT, help="number of likeliest tokens to sample among (default: all)")
    output.add_argument("--seed", type=SEED, default=0, help="random seed of the sampling (default: %(default)s)")


def parse_writing(parser: ScriptParser, argv: list[str] | None) -> argparse.Namespace:
    """The flags; those that say how to draw are refused where nothing is drawn."""
    args = parser.parse_args(argv)
    if args.temperature == 0:
        parser.refuse(args, "top_k", "seed", because="--temperature 0 takes the likeliest token")
    return args
