"""Train a translator on pairs of sentences: a file, a data set, or dates and quantities that Babel writes.

    lmu-hf train translation                                           # no download: dates and quantities, minutes
    lmu-hf train translation --target_lang vi
    lmu-hf train translation --train_file pairs.csv --source_lang en --target_lang fr      # columns en and fr
    lmu-hf train translation --source_file train.en --target_file train.de     # two texts, line by line
    lmu-hf train translation --dataset_name ORG/NAME --source_lang en --target_lang fr
    lmu-hf train translation --recipe multi30k --data_dir data         # from data/multi30k-en-de

Pairs of your own make the recipe: vocabulary, width, windows and epochs, printed with the reasons, within ten minutes
of two cores (--minutes). Beside the result stand a translation memory, which gives the translation of the most similar
training sentence, and the sources unchanged. A tenth of the pairs validates if there is no file for that.

A data set has splits train and validation (and test, if it is to be scored) with a column `translation`, which holds
one sentence per language code. The test split is searched with beams.

Weights are chosen by greedy BLEU on the validation split, or by chrF where most of your targets have fewer than four
words; the test split is read once, at the end. A run folder is written (--output_dir, default
runs/RECIPE-LANGUAGES-seed<k>, or runs/FILE-LANGUAGES-seed<k> for a file of yours): model/, metrics.jsonl, run.json
(only when the run is complete) and figures/.
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
    args = parse_training(parser, argv)
    if "recipe" not in args.given and (args.train_file or args.source_file or args.dataset_name):
        args.recipe = "own-translation"
    data = get_recipe(args.recipe).data
    args.languages = args.source_lang or data["source_lang"], args.target_lang or data["target_lang"]
    return args


def start(args: argparse.Namespace) -> "RunRecord":
    """Train, draw the learning curve, and print the result."""
    from ..loading import load_task
    from ..train import run

    return run(args, load_task, run_name="-".join(args.languages))
