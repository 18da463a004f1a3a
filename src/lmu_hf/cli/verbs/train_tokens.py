"""Train a tagger of words, for names, parts of speech or slots, on a file, a data set, or made-up rows.

    lmu-hf train tokens                                                # no download: made-up names, half a minute
    lmu-hf train tokens --train_file train.jsonl --test_file test.jsonl
    lmu-hf train tokens --dataset_name org/own --data_dir data         # from data/org/own, or from the Hub
    lmu-hf train tokens --baseline lstm                                # an LSTM in the same blocks, to compare with

A row has a list of words (--tokens_column, default tokens) and a list of as many tags (--tags_column, default ner_tags
or tags), which are words or numbers. A word's tag is learnt and scored on its first token; words that have no token, or
that --max_length cuts off, are counted in run.json.

Weights are chosen by macro F1 on validation, and the test split is read once, at the end. A data set without a test
split is tested on its validation split, and a tenth of the training rows then validates, as it does where there is no
--validation_file; of files, there is no test without a --test_file. run.json also has the majority baseline's scores.

A run folder is written (--output_dir, default runs/RECIPE-seed<k>): model/, metrics.jsonl, run.json (only when the run
is complete) and figures/. `pipeline("token-classification", model="RUN/model")` loads it after `import lmu_hf`.
"""

import argparse
from typing import TYPE_CHECKING

from ..data_flags import add_data_flags, check_sources
from ..flags import manual_of
from ..training_flags import parse_training, training_parser

if TYPE_CHECKING:
    from ...common.record import RunRecord


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags; those left out keep the recipe's values."""
    parser = training_parser(manual_of(__doc__, manual), kind="tagging", default="names", verb="train tokens")
    add_data_flags(parser, "tagging")
    return parse_training(parser, argv, check_sources)


def start(args: argparse.Namespace) -> "RunRecord":
    """Train, draw the learning curve, and print the result."""
    from ..loading import load_task
    from ..train import run

    return run(args, load_task)
