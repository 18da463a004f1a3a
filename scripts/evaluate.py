"""Score a saved model on a split of the data that a recipe names: images, text, translation, sentences, series.

    python scripts/evaluate.py runs/opinions-seed0/model               # the data of its own run folder, its test split
    python scripts/evaluate.py runs/sst2-seed0/model --data_dir data --split validation
    python scripts/evaluate.py ORG/lmu-imdb --recipe imdb              # a model on the Hub
    python scripts/evaluate.py runs/opinions-seed0/model --train_file train.csv --test_file test.csv
    python scripts/evaluate.py runs/multi30k-en-de-seed0/model --data_dir data --by_length 5
    accelerate launch scripts/evaluate.py runs/rte-seed0/model         # several processes or a GPU

The data is named by the flags that the training scripts have; what they leave out is the recipe's. Prints the scores,
and one line of JSON that says what was scored on what, with which versions; --output writes that to a file, too.
--by_length also scores so many groups of texts, from the shortest to the longest.
"""

import argparse
import sys
from pathlib import Path

from accelerate import PartialState

from lmu_hf.training.evaluation import evaluate, evaluate_by_length, find_recipe, follow_the_model, load_model, report
from lmu_hf.training.loading import KIND_FLAGS, add_data_flags, load_task
from lmu_hf.training.recipes import RECIPES
from lmu_hf.training.record import publish
from lmu_hf.training.tasks.base import SPLITS

OF_TRAINING = {
    "model_name_or_path": None,
    "word_vectors": None,
    "freeze_word_vectors": False,
    "extra_train_file": None,
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("model", help="a saved model's folder, or its name on the Hub")
    parser.add_argument("--recipe", choices=sorted(RECIPES), metavar="RECIPE", help="default: that of its run folder")
    parser.add_argument("--split", choices=SPLITS, default="test", help="default: %(default)s")
    parser.add_argument("--data_dir", type=Path, help="a folder of data sets laid out as on the Hub")
    parser.add_argument("--per_device_eval_batch_size", type=int, help="rows a process reads at once")
    parser.add_argument("--by_length", type=int, metavar="GROUPS", help="score texts by their length, too")
    parser.add_argument("--output", type=Path, help="a file for the line of JSON")
    add_data_flags(parser, *KIND_FLAGS, without=tuple(OF_TRAINING))
    parser.set_defaults(**OF_TRAINING)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Load the data and the model, score, and print."""
    args = parse_args(argv)
    name = args.model
    try:
        recipe = find_recipe(args.recipe, name)
        follow_the_model(args, recipe, name)
        with PartialState().main_process_first():
            task = load_task(args, recipe)
        model = load_model(name, task)
        groups = []
        if args.by_length is not None:  # first, since it may be refused
            groups = evaluate_by_length(model, task, args.split, args.by_length, args.per_device_eval_batch_size)
        scores = evaluate(model, task, args.split, args.per_device_eval_batch_size)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: error: {' '.join(str(error).split())}") from error
    if PartialState().is_main_process:
        print(f"{name}, {args.split} of {task.name}: {_words(scores)}")
        for group in groups:
            lengths = "{} to {}".format(*group["length"])
            print(f"{lengths} {task.length_unit}, {group['rows']} rows: {_words(group['scores'])}")
        by_length = {"by_length": {"unit": task.length_unit, "groups": groups}} if groups else {}
        publish(report(name, model, task, args.split, scores) | by_length, args.output)
    return scores


def _words(scores: dict[str, float]) -> str:
    return ", ".join(f"{key} {value:.4f}" for key, value in scores.items())


if __name__ == "__main__":
    main()
