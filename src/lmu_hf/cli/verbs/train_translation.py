"""Train a translator: of dates and quantities that Babel writes, of Multi30k, or of any parallel data set.

    lmu-hf train translation                                           # no download: dates and quantities, minutes
    lmu-hf train translation --target_lang vi
    lmu-hf train translation --recipe multi30k --data_dir data         # from data/multi30k-en-de
    lmu-hf train translation --recipe multi30k --dataset_name ORG/NAME --source_lang en --target_lang fr

A data set has splits train and validation (and test, if it is to be scored) with a column `translation`, which holds
one sentence per language code. The test split is searched with beams.

Weights are chosen by greedy BLEU on the validation split; the test split is read once, at the end. A run folder is
written (--output_dir, default runs/RECIPE-LANGUAGES-seed<k>): model/, metrics.jsonl, run.json (only when the run is
complete) and figures/.
`pipeline("lmu-translation", model="RUN/model")` loads it after `import lmu_hf`.
"""

import argparse
from typing import TYPE_CHECKING

from ...training.recipes import get_recipe
from ..data_flags import add_data_flags
from ..flags import manual_of
from ..training_flags import parse_training, training_parser

if TYPE_CHECKING:
    from ...common.record import RunRecord


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags; those left out keep the recipe's values."""
    parser = training_parser(manual_of(__doc__, manual), kind="translation", default="dates", verb="train translation")
    add_data_flags(parser, "translation")
    return parse_training(parser, argv)


def start(args: argparse.Namespace) -> "RunRecord":
    """Train, draw the learning curve, and print the result."""
    from ..loading import load_task
    from ..train import run

    languages = {**get_recipe(args.recipe).data, **{flag: said for flag, said in vars(args).items() if said}}
    return run(args, load_task, run_name="{source_lang}-{target_lang}".format(**languages))
