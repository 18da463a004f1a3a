"""Train a language model that predicts the next character or byte, on a text file, a data set, or Python's own sources.

    lmu-hf train lm                                                    # no download: the standard library's sources
    lmu-hf train lm --train_file notes.txt                             # a tenth of it is held out
    lmu-hf train lm --train_file notes.txt --minutes 60                # a longer budget
    lmu-hf train lm --train_file notes.txt --model_name_or_path lmu-python-sources     # go on from a language model
    lmu-hf train lm --dataset_name ORG/NAME --text_column text
    lmu-hf train lm --recipe ptb-char --data_dir data                  # from data/ptb-char

Text of your own makes the recipe: width, windows, dropout and passes over it, printed with the reasons, within ten
minutes of two cores (--minutes). --recipe takes a named recipe instead. Beside the result stand n-grams of characters
and what xz makes of the text once it knows the training text.

Weights are chosen by bits per character on the validation split; the test split is read once, at the end. A run folder
is written (--output_dir, default runs/RECIPE-seed<k>, or runs/FILE-seed<k> for a file of yours): model/, metrics.jsonl,
run.json (only when the run is complete) and figures/. `lmu-hf generate RUN` then writes text.
"""

import argparse
from typing import TYPE_CHECKING

from ..data_flags import add_data_flags, add_row_flags, check_sources, check_tested_text
from ..flags import manual_of
from ..training_flags import parse_training, training_parser

if TYPE_CHECKING:
    from ...common.record import RunRecord


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags; those left out keep the recipe's values."""
    parser = training_parser(manual_of(__doc__, manual), kind="characters", default="python-sources", verb="train lm")
    add_data_flags(parser, "characters")
    add_row_flags(parser)
    args = parse_training(parser, argv, check_sources, check_tested_text)
    if "recipe" not in args.given and (args.train_file or args.dataset_name):
        args.recipe = "own-lm"
    return args


def start(args: argparse.Namespace) -> "RunRecord":
    """Train, draw the learning curve, and print the result."""
    from ..loading import load_task
    from ..train import run

    # After a data set, too; a file names the folder by itself.
    of_a_dataset = args.recipe == "own-lm" and args.dataset_name
    return run(args, load_task, run_name=args.dataset_name.rpartition("/")[2] if of_a_dataset else "")
