"""Train a forecaster of series on a table of your own, or on made-up days and weeks.

    lmu-hf train forecast                                              # no download: made-up hours, seconds
    lmu-hf train forecast --train_file power.csv --prediction_length 96
    lmu-hf train forecast --train_file shop.csv --time_column day --target_columns sales,returns
    lmu-hf train forecast --train_file power.csv --baseline lstm       # an LSTM behind the same window and head
    lmu-hf train forecast --recipe mackey-glass                        # a chaotic series, at every step

A table has one row per time step and one column per series. Times must rise by a steady step; steps that are missing
and cells that are empty are filled by straight lines where the gap is short (--longest_gap), count in no score, and are
refused where it is long. The first 70 % of the steps train, the next 10 % validate, the last 20 % test (--split_steps).

The table makes the recipe: how many steps a Legendre memory reads and with which order is chosen by forecasts from two
rolling origins, within the training part and at its end. Its linear readout is then solved in closed form, in seconds;
--num_train_epochs trains on from there. Beside the result stand the season before and a linear forecaster in DLinear's
form. Scores are MSE, MAE and MASE over every window of the test, in units of each channel's deviation in training; the
test is read once, at the end. --quantiles 0.1 0.5 0.9 adds quantiles.

A run folder is written (--output_dir, default runs/RECIPE-seed<k>, or runs/FILE-seed<k> for a file of yours): model/,
metrics.jsonl, run.json (only when the run is complete) and figures/, forecasts.png among them.
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
    manual = manual_of(__doc__, manual)
    parser = training_parser(manual, kind="forecast", default="days-and-weeks", verb="train forecast")
    add_data_flags(parser, "forecast", without=("test_file",))
    parser.set_defaults(test_file=None)  # of a table the last steps test
    args = parse_training(parser, argv)
    if "recipe" not in args.given and args.train_file is not None:
        args.recipe = "own-forecast"
    return args


def start(args: argparse.Namespace) -> "RunRecord":
    """Train, draw the learning curve and some forecasts, and print the result."""
    from ..loading import load_task
    from ..train import run

    return run(args, load_task, run_name="" if args.horizon == 15 else f"h{args.horizon}")
