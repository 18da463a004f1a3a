"""Score a saved model on a split of its run's own rows, or of others: images, text, translation, sentences, series.

    python scripts/evaluate.py runs/opinions-seed0/model               # the data of its own run folder, its test split
    python scripts/evaluate.py runs/sst2-seed0/model --data_dir data --split validation
    python scripts/evaluate.py ORG/lmu-imdb --recipe imdb              # a model on the Hub, the data of a recipe
    python scripts/evaluate.py runs/opinions-seed0/model --test_file more.csv     # its classes, in another file
    python scripts/evaluate.py runs/multi30k-en-de-seed0/model --data_dir data --by_length 5
    accelerate launch scripts/evaluate.py runs/rte-seed0/model         # several processes or a GPU

A model in a run folder is scored on the rows that the run read, and refused if they have changed. Other rows are named
by the flags that the training scripts have; the classes are always the model's, by their names. Prints the scores,
and one line of JSON that says what was scored on what, with which versions; --output writes that to a file, too.
--by_length also scores so many groups of texts, from the shortest to the longest.
"""

import argparse
from pathlib import Path

from accelerate import PartialState
from transformers import PreTrainedModel

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT, Flags, ScriptParser, output_file
from lmu_hf.cli.loading import KIND_FLAGS, add_data_flags, load_task
from lmu_hf.cli.origin import check_named, check_rows, follow_the_model, follow_the_run
from lmu_hf.common.errors import check_model
from lmu_hf.common.record import publish
from lmu_hf.data.sources import SPLITS
from lmu_hf.training.evaluation import evaluate, evaluate_by_length, find_recipe, find_record, load_model, report
from lmu_hf.training.judging import plain_table
from lmu_hf.training.recipes import RECIPES
from lmu_hf.training.tasks.base import Task

OF_TRAINING = {
    "model_name_or_path": None,
    "word_vectors": None,
    "freeze_word_vectors": False,
    "extra_train_file": None,
    "metric_for_best_model": None,
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    parser.add_argument("model", help="a saved model's folder, or its name on the Hub")
    parser.add_argument(
        "--recipe",
        choices=sorted(RECIPES),
        metavar="RECIPE",
        help="recipe that names the data (default: that of the model's run folder)",
    )
    parser.add_argument("--split", choices=SPLITS, default="test", help="split to score on (default: %(default)s)")
    parser.add_argument(
        "--data_dir", type=Path, help="folder of data sets laid out as on the Hub (default: the run's, or the Hub)"
    )
    parser.add_argument(
        "--per_device_eval_batch_size", type=COUNT, help="rows in a batch, for each process (default: the task's)"
    )
    parser.add_argument(
        "--by_length",
        type=COUNT,
        metavar="GROUPS",
        help="also score texts by their length, in so many groups of about as many rows (default: not)",
    )
    parser.add_argument("--output", type=output_file, help="file for the line of JSON (default: it is only printed)")
    add_data_flags(parser, *KIND_FLAGS, without=tuple(OF_TRAINING))
    parser.set_defaults(**OF_TRAINING)
    return parser.parse_args(argv)


def load(args: argparse.Namespace) -> tuple[PreTrainedModel, Task]:
    """The model, and the rows to score it on."""
    name = check_model(args.model)
    folder = Path(name).absolute().parent
    record = find_record(name)
    if record is not None and args.recipe not in (None, record.recipe):
        record = None  # the data of another recipe is asked for
    recipe = find_recipe(None if record is not None else args.recipe, name)
    if record is None and args.recipe is None:
        check_named(args, name)
    rows_of_the_run = follow_the_run(args, record, folder)
    follow_the_model(args, recipe, name)
    flags = Flags(args)
    flags.read |= {"model", "recipe", "split", "by_length", "per_device_eval_batch_size", "output"}
    with PartialState().main_process_first():
        task = load_task(flags, recipe)
    if record is not None and rows_of_the_run:
        check_rows(record, folder, task)
    return load_model(name, task), task


@script
def main(argv: list[str] | None = None) -> dict[str, float]:
    """Load the data and the model, score, and print."""
    args = parse_args(argv)
    name, split, batch_size, output = args.model, args.split, args.per_device_eval_batch_size, args.output
    model, task = load(args)
    groups = []
    if args.by_length is not None:  # first, since it may be refused
        groups = evaluate_by_length(model, task, split, args.by_length, batch_size)
    scores = evaluate(model, task, split, batch_size)
    if PartialState().is_main_process:
        print(f"{name}, {split} of {task.name}: {_words(scores)}")
        if classes := task.details(split).get("classes"):
            print(plain_table(classes))
        for group in groups:
            lengths = "{} to {}".format(*group["length"])
            print(f"{lengths} {task.length_unit}, {group['rows']} rows: {_words(group['scores'])}")
        by_length = {"by_length": {"unit": task.length_unit, "groups": groups}} if groups else {}
        publish(report(name, model, task, split, scores) | by_length, output)
    return scores


def _words(scores: dict[str, float]) -> str:
    return ", ".join(f"{key} {value:.4f}" for key, value in scores.items())


if __name__ == "__main__":
    main()
