"""Pre-train a language model of words or byte pairs on a corpus: a body that other tasks fine-tune.

    lmu-hf pretrain --train_file notes.txt --max_train_steps 200       # no download: any text file
    lmu-hf pretrain                                                    # IMDB's reviews from the Hub, byte pairs
    lmu-hf pretrain --train_file notes.txt --model_name_or_path lmu-small-en   # go on from a language model
    lmu-hf pretrain --train_file reviews.jsonl --tokenizer word --vocab_size 30000
    lmu-hf pretrain --dataset_name ORG/NAME --text_column body --train_split train+extra
    lmu-hf train text --recipe imdb --model_name_or_path runs/imdb-lm-seed0/model      # and then

A corpus is a data set, or files of text or of rows. It is encoded once into a file beside it and read from there, so
that it may be larger than memory. Scores are bits per character, bits per token and perplexity; where words are
unknown, bits per character would be too few and are left out.

Weights are chosen by the first (the last, where words are unknown) on the validation split. A run folder is written
(--output_dir, default runs/RECIPE-seed<k>): model/, metrics.jsonl, run.json (only when the run is complete), figures/.
"""

import argparse
from typing import TYPE_CHECKING

from ..data_flags import add_data_flags, add_row_flags, check_sources, check_tested_text
from ..flags import COUNT, manual_of
from ..training_flags import parse_training, training_parser

if TYPE_CHECKING:
    from ...common.record import RunRecord


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags; those left out keep the recipe's values."""
    parser = training_parser(manual_of(__doc__, manual), kind="pretraining", default="imdb-lm", verb="pretrain")
    add_data_flags(parser, "pretraining")
    parser.group("model").add_argument(
        "--tokenizer",
        choices=("word", "bpe"),
        help="kind of tokens to predict: words or subwords (default: the recipe's)",
    )
    parser.group("model").add_argument(
        "--vocab_size",
        type=COUNT,
        help="size of the vocabulary in tokens, special ones included (default: the recipe's)",
    )
    add_row_flags(parser)
    args = parse_training(parser, argv, check_sources, check_tested_text)
    ready = [name for name in ("tokenizer_name", "model_name_or_path") if getattr(args, name) is not None]
    if ready and (args.tokenizer or args.vocab_size):
        parser.error(f"--{ready[0]} brings a tokenizer that is there: leave out --tokenizer and --vocab_size")
    return args


def start(args: argparse.Namespace) -> "RunRecord":
    """Train, draw the learning curve, and print the result."""
    from ..loading import load_task
    from ..train import run

    return run(args, load_task)
