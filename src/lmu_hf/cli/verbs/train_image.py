"""Train a classifier of images that are read one pixel at a time: psMNIST, sMNIST, or scikit-learn's digits.

    lmu-hf train image --recipe digits                                 # no download: 8x8 digits, a few seconds
    lmu-hf train image                                                 # psMNIST from the Hub, the paper's architecture
    lmu-hf train image --data_dir data                                 # the same from data/ylecun/mnist
    lmu-hf train image --recipe smnist-wide --permutation_seed none    # pixels in their own order

Weights are chosen by accuracy on the validation split; the test split is read once, at the end. A run folder is written
(--output_dir, default runs/RECIPE-perm<p>-seed<k>): model/, metrics.jsonl, run.json (only when the run is complete) and
figures/.
"""

import argparse
from typing import TYPE_CHECKING

from ..data_flags import add_data_flags
from ..flags import manual_of
from ..training_flags import parse_training, training_parser

if TYPE_CHECKING:
    from ...common.record import RunRecord


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags; those left out keep the recipe's values."""
    parser = training_parser(manual_of(__doc__, manual), kind="images", default="psmnist", verb="train image")
    add_data_flags(parser, "images")
    return parse_training(parser, argv)


def start(args: argparse.Namespace) -> "RunRecord":
    """Train, draw the learning curve, and print the result."""
    from ..loading import load_task
    from ..train import run

    order = "raster" if args.permutation_seed is None else f"perm{args.permutation_seed}"
    return run(args, load_task, run_name=order)
