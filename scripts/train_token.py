"""Train an LMU to tag every word of a text: names, parts of speech or slots, in rows of your own or made-up ones.

    python scripts/train_token.py                                      # no download: made-up names, half a minute
    python scripts/train_token.py --baseline lstm                      # an LSTM in the same blocks, to compare with
    python scripts/train_token.py --train_file train.jsonl --test_file test.jsonl
    python scripts/train_token.py --dataset_name org/own --data_dir data   # from data/org/own, or from the Hub
    accelerate launch scripts/train_token.py --train_file train.jsonl  # several processes or a GPU

Files are JSON lines or parquet. A row has a list of words (--tokens_column, default tokens) and a list of as many tags
(--tags_column, default ner_tags or tags), which are words or numbers. A word's tag is learnt and scored on its first
token; words that have no token, or that --max_length cuts off, are counted in run.json.

Weights are chosen by macro F1 on validation, and the test split is read once, at the end. A data set without a test
split is tested on its validation split; a tenth of the training rows then validates, as it does where there is no
--validation_file. Of files, there is no test without a --test_file. run.json also has the majority baseline's scores.
Writes a run folder (--output_dir, default runs/RECIPE-seed<k>): model/, metrics.jsonl, run.json (only when the run is
complete) and figures/. The folder's model/ then tags in `pipeline("token-classification", model=...)`.
"""

import argparse

from lmu_hf.cli.failures import script
from lmu_hf.cli.loading import add_data_flags, check_sources, load_task
from lmu_hf.cli.train import run
from lmu_hf.cli.training_flags import training_parser
from lmu_hf.common.record import RunRecord


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags; those left out keep the recipe's values."""
    parser = training_parser(__doc__, kind="tagging", default="names")
    add_data_flags(parser, "tagging")
    args = parser.parse_args(argv)
    try:
        check_sources(args)
    except ValueError as error:
        parser.error(str(error))
    return args


@script
def main(argv: list[str] | None = None) -> RunRecord:
    """Parse flags, train, draw the learning curve, and print the result."""
    return run(parse_args(argv), load_task)


if __name__ == "__main__":
    main()
