"""Train an LMU to predict the next character: of Python's own sources, a text file, or any data set of text.

    python scripts/train_char_lm.py                                    # no download: the standard library's sources
    python scripts/train_char_lm.py --train_file notes.txt             # a tenth of it is held out
    python scripts/train_char_lm.py --recipe ptb-char --data_dir data  # from data/ptb-char
    python scripts/train_char_lm.py --dataset_name ORG/NAME --text_column text
    accelerate launch scripts/train_char_lm.py                         # several processes or a GPU

Weights are chosen by bits per character on the validation split; the test split is read once, at the end. Writes a run
folder (--output_dir, default runs/RECIPE-seed<k>): model/, metrics.jsonl, run.json (only when the run is complete) and
figures/. `scripts/generate.py RUN/model` then writes text.
"""

import argparse

from lmu_hf.cli.failures import script
from lmu_hf.cli.loading import add_data_flags, check_sources, load_task
from lmu_hf.cli.train import run
from lmu_hf.cli.training_flags import training_parser
from lmu_hf.common.record import RunRecord


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags; those left out keep the recipe's values."""
    parser = training_parser(__doc__, kind="characters", default="python-sources")
    add_data_flags(parser, "characters")
    args = parser.parse_args(argv)
    try:
        check_sources(args)
    except ValueError as error:
        parser.error(str(error))
    if args.validation_file is None and args.test_file is not None:
        parser.error("--test_file needs a --validation_file")
    return args


@script
def main(argv: list[str] | None = None) -> RunRecord:
    """Parse flags, train, draw the learning curve, and print the result."""
    return run(parse_args(argv), load_task)


if __name__ == "__main__":
    main()
