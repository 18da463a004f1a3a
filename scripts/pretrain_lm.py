"""Pre-train an LMU to predict the next word or word piece of a corpus: a body for other tasks to fine-tune.

    python scripts/pretrain_lm.py                                      # IMDB's reviews from the Hub, byte pairs
    python scripts/pretrain_lm.py --data_dir data                      # the same from data/stanfordnlp/imdb
    python scripts/pretrain_lm.py --dataset_name ORG/NAME --text_column body --train_split train+extra
    python scripts/pretrain_lm.py --train_file reviews.jsonl --tokenizer word --vocab_size 30000
    python scripts/pretrain_lm.py --train_file notes.txt --max_train_steps 200     # no download: any text file
    accelerate launch scripts/pretrain_lm.py                           # several processes or a GPU
    python scripts/train_glue.py --recipe imdb --model_name_or_path runs/imdb-lm-seed0/model    # and then

A corpus is a data set, or text, CSV, JSON lines or parquet files. Its rows are encoded once into a file beside it and
read from there, so that it may be larger than memory. Give the splits to train on by --train_split, those to judge by
with --validation_split, or --validation_split_percentage of the training rows. Scores are bits per character, bits per
token and perplexity; where words are unknown, bits per character would be too few and are left out. Weights are chosen
by the first (the last, where words are unknown). Writes a run folder (--output_dir, default runs/RECIPE-seed<k>):
model/, metrics.jsonl, run.json (only when the run is complete) and figures/.
"""

import argparse

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT
from lmu_hf.cli.loading import add_data_flags, check_sources, load_task
from lmu_hf.cli.train import run
from lmu_hf.cli.training_flags import training_parser
from lmu_hf.common.record import RunRecord


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags; those left out keep the recipe's values."""
    parser = training_parser(__doc__, kind="pretraining", default="imdb-lm")
    add_data_flags(parser, "pretraining")
    parser.add_argument(
        "--tokenizer",
        choices=("word", "bpe"),
        help="kind of tokens to predict: words or subwords (default: the recipe's)",
    )
    parser.add_argument(
        "--vocab_size",
        type=COUNT,
        help="size of the vocabulary in tokens, special ones included (default: the recipe's)",
    )
    parser.add_argument("--block_size", type=COUNT, help="length of a training row in tokens (default: the recipe's)")
    args = parser.parse_args(argv)
    try:
        check_sources(args)
    except ValueError as error:
        parser.error(str(error))
    if args.validation_file is None and args.test_file is not None:
        parser.error("--test_file needs a --validation_file")
    if args.tokenizer_name is not None and (args.tokenizer or args.vocab_size):
        parser.error("--tokenizer_name is a tokenizer that is there: leave out --tokenizer and --vocab_size")
    return args


@script
def main(argv: list[str] | None = None) -> RunRecord:
    """Parse flags, train, draw the learning curve, and print the result."""
    return run(parse_args(argv), load_task)


if __name__ == "__main__":
    main()
