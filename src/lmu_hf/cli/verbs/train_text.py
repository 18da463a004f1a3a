"""Train a classifier of texts, or of pairs of texts, on a file, a data set of the Hub, or made-up rows.

    lmu-hf train text                                                  # no download: made-up opinions, a minute
    lmu-hf train text --train_file reviews.csv --text_column review --label_column stars
    lmu-hf train text --train_file train.csv --validation_file dev.csv --test_file test.csv
    lmu-hf train text --task_name rte --data_dir data                  # GLUE, from data/nyu-mll/glue/rte
    lmu-hf train text --recipe imdb --baseline lstm                    # an LSTM in the same blocks, to compare with

A file has one row per text or pair; --text_pair_column makes a row a pair. Rows of your own make the recipe, printed
with its reasons, within five minutes of two cores (--minutes); few rows in English go on from a language model in the
box. Beside the result stand the majority, tf-idf with a linear model, and what n-grams and memory do alone. --recipe
takes a named recipe instead.

Labels that are words or whole numbers are classes; labels with a decimal point are numbers to predict; lists, or
columns of 0 and 1 (--label_column a,b), are several classes a row. A tenth of the rows validates if there is no
--validation_file. --validation_block 100 holds out together what stands side by side and is about one thing.

Weights are chosen on validation, and the test split is read once, at the end. Of a data set without a labelled test
split, as most of GLUE, the validation split is the test, and a fixed tenth of the training rows validates.

A run folder is written (--output_dir, default runs/RECIPE-seed<k>, or runs/FILE-seed<k> for a file of yours): model/,
metrics.jsonl, run.json (only when the run is complete) and figures/. `pipeline("text-classification",
model="RUN/model")` loads it after `import lmu_hf`.
"""

import argparse
from typing import TYPE_CHECKING

from ...training.recipes import get_recipe
from ..data_flags import add_data_flags, check_sources
from ..flags import manual_of
from ..training_flags import parse_training, training_parser

if TYPE_CHECKING:
    from ...common.record import RunRecord


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags; those left out keep the recipe's values."""
    parser = training_parser(manual_of(__doc__, manual), kind="classification", default="opinions", verb="train text")
    add_data_flags(parser, "classification")
    args = parse_training(parser, argv, check_sources)
    if "recipe" not in args.given and (args.train_file or args.dataset_name or args.task_name):
        args.recipe = "own-text"
    if get_recipe(args.recipe).data.get("pretrained") and args.model_name_or_path is None:
        parser.error(f"{args.recipe} needs a trained model: give --model_name_or_path")
    return args


def start(args: argparse.Namespace) -> "RunRecord":
    """Train, draw the learning curve, and print the result."""
    from ..loading import load_task
    from ..train import run

    task = args.task_name or ""
    return run(args, load_task, run_name="" if task == args.recipe else task)
