"""Train a forecaster of the chaotic series of Mackey and Glass, some steps ahead, at every step.

    lmu-hf train forecast                                                # the paper's network, minutes on two cores
    lmu-hf train forecast --horizon 30
    lmu-hf train forecast --baseline lstm                                # an LSTM of the same size and budget

Nothing is downloaded: 128 series of 5,000 steps are generated, 32 to train on, 32 to validate on, 64 to test on. Scores
are NRMSE, the root mean squared error over the target's root mean square.

Weights are chosen by NRMSE on the validation split; the test split is read once, at the end. A run folder is written
(--output_dir, default runs/RECIPE-seed<k>): model/, metrics.jsonl, run.json (only when the run is complete), figures/.
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
    parser = training_parser(manual_of(__doc__, manual), kind="forecast", default="mackey-glass", verb="train forecast")
    add_data_flags(parser, "forecast")
    return parse_training(parser, argv)


def start(args: argparse.Namespace) -> "RunRecord":
    """Train, draw the learning curve, and print the result."""
    from ..loading import load_task
    from ..train import run

    return run(args, load_task, run_name="" if args.horizon == 15 else f"h{args.horizon}")
