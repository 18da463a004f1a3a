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
from pathlib import Path

from lmu_hf.training.cli import run, training_parser
from lmu_hf.training.recipes import Recipe
from lmu_hf.training.record import RunRecord
from lmu_hf.training.tasks.text import TextTask, python_sources, text_dataset, text_files


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags; those left out keep the recipe's values."""
    parser = training_parser(__doc__, kind="characters", default="python-sources")
    parser.add_argument("--dataset_name", help="the data set's name on the Hub, or below --data_dir")
    parser.add_argument("--text_column", default="text", help="its column of text (default: %(default)s)")
    parser.add_argument("--train_file", type=Path, help="a UTF-8 text file, in place of a data set")
    parser.add_argument("--validation_file", type=Path, help="default: held out of the training file, as the test is")
    parser.add_argument("--test_file", type=Path)
    args = parser.parse_args(argv)
    if args.train_file is None and (args.validation_file or args.test_file):
        parser.error("--validation_file and --test_file need a --train_file")
    if args.validation_file is None and args.test_file is not None:
        parser.error("--test_file needs a --validation_file")
    if args.train_file is not None and args.dataset_name is not None:
        parser.error("give one of --train_file and --dataset_name")
    return args


def load_task(args: argparse.Namespace, recipe: Recipe) -> TextTask:
    """The text that the recipe trains on."""
    options = dict(recipe.data)
    name = options.pop("dataset_name", None)
    if args.train_file is not None:
        files = {"train": args.train_file, "validation": args.validation_file, "test": args.test_file}
        return text_files({split: path for split, path in files.items() if path is not None}, **options)
    if name is None and args.dataset_name is None:
        return python_sources(**options)
    return text_dataset(args.dataset_name or name, args.data_dir, args.text_column, **options)


def main(argv: list[str] | None = None) -> RunRecord:
    """Parse flags, train, draw the learning curve, and print the result."""
    return run(parse_args(argv), load_task)


if __name__ == "__main__":
    main()
