"""Train an LMU to classify sentences or pairs of sentences: GLUE, IMDB, SNLI, rows of your own, or made-up ones.

    python scripts/train_glue.py                                       # no download: made-up opinions, a minute
    python scripts/train_glue.py --recipe paraphrases                  # no download: made-up pairs
    python scripts/train_glue.py --task_name sst2                      # from the Hub
    python scripts/train_glue.py --task_name rte --data_dir data       # from data/nyu-mll/glue/rte
    python scripts/train_glue.py --recipe imdb --baseline lstm         # an LSTM in the same blocks, to compare with
    python scripts/train_glue.py --train_file train.csv --validation_file dev.csv --text_column review
    python scripts/train_glue.py --recipe imdb-linear --word_vectors glove.txt      # the paper's 301 parameters
    accelerate launch scripts/train_glue.py --task_name qqp            # several processes or a GPU

Files are CSV, TSV, JSON lines or parquet, UTF-8, one row per text or pair. Labels that are words or whole numbers are
classes; labels with a decimal point are numbers to predict; lists, or columns of 0 and 1 (--label_column a,b), are
several classes a row. --problem_type overrides that. --text_pair_column makes a row a pair.

Rows of your own make the recipe: length, vocabulary, width, windows and epochs, printed with the reasons, within five
minutes of two cores (--minutes). Beside the result stand the majority, tf-idf with a linear model, and what the model's
n-grams and its memory do alone. --recipe takes a named recipe instead.

Weights are chosen on validation, and the test split is read once, at the end. Where a data set has no labelled test
split, as most of GLUE, its official validation split is the test and a fixed tenth of the training rows validates; of
files, a tenth validates if there is no --validation_file, and there is no test without a --test_file. Where rows that
stand side by side are about one thing, as IMDB's are about one film, --validation_block 100 holds them out together.
run.json says what each split was. Writes a run folder (--output_dir, default runs/RECIPE-seed<k>, or runs/FILE-seed<k>
for a file of yours): model/, metrics.jsonl, run.json (only when the run is complete) and figures/. The folder's model/
then classifies in `pipeline("text-classification", model=...)`.
"""

import argparse

from lmu_hf.cli.failures import script
from lmu_hf.cli.loading import add_data_flags, check_sources, load_task
from lmu_hf.cli.train import run
from lmu_hf.cli.training_flags import training_parser
from lmu_hf.common.record import RunRecord
from lmu_hf.training.recipes import get_recipe

# Tasks of GLUE that have no recipe of their own take that of a task like them, in rows and in length.
GLUE_RECIPES = {"cola": "sst2"} | dict.fromkeys(("mnli", "qnli", "mrpc", "rte", "stsb", "wnli"), "qqp")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags; those left out keep the recipe's values. A GLUE task brings its own recipe."""
    parser = training_parser(__doc__, kind="classification", default="opinions")
    add_data_flags(parser, "classification")
    args = parser.parse_args(argv)
    try:
        check_sources(args)
    except ValueError as error:
        parser.error(str(error))
    if "recipe" not in args.given and (args.train_file or args.dataset_name):
        args.recipe = "own-text"
    if "recipe" not in args.given and args.task_name is not None:
        task = args.task_name.removesuffix("-mm")
        args.recipe = GLUE_RECIPES.get(task, task)
    if get_recipe(args.recipe).data.get("pretrained") and args.model_name_or_path is None:
        parser.error(f"{args.recipe} needs a trained model: give --model_name_or_path")
    return args


@script
def main(argv: list[str] | None = None) -> RunRecord:
    """Parse flags, train, draw the learning curve, and print the result."""
    args = parse_args(argv)
    task = args.task_name or ""
    return run(args, load_task, run_name="" if task == args.recipe else task)


if __name__ == "__main__":
    main()
