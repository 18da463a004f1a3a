"""What the training scripts share: flags named as in transformers' example scripts, and what a run ends with."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from accelerate import PartialState
from transformers import set_seed

from ..publishing.figures import learning_curve
from .loop import train
from .recipes import RECIPES, Recipe, get_recipe
from .record import RunRecord
from .tasks.base import Task


def training_parser(manual: str | None, kind: str, default: str) -> argparse.ArgumentParser:
    """The flags of every training script; those left out keep the recipe's values.

    Args:
        manual: the script's own docstring.
        kind: of data; recipes for another are not offered.
        default: the recipe that is trained if none is named.
    """
    parser = argparse.ArgumentParser(
        description=manual, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    names = sorted(name for name, build in RECIPES.items() if build().kind == kind)
    parser.add_argument("--recipe", default=default, choices=names, help="what to train (default: %(default)s)")
    parser.add_argument("--data_dir", type=Path, help="a folder of data sets laid out as on the Hub")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights, row order and variations")
    parser.add_argument("--output_dir", type=Path, help="the run folder")
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument("--weight_decay", type=float)
    parser.add_argument("--num_train_epochs", type=int)
    parser.add_argument("--max_train_steps", type=int, help="end after so many steps instead")
    parser.add_argument("--eval_steps", type=int, help="evaluate every so many steps (default: once an epoch)")
    parser.add_argument("--per_device_train_batch_size", type=int)
    parser.add_argument(
        "--skip_test", action="store_true", help="never read the test split: for choosing hyper-parameters"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(
    args: argparse.Namespace, load_task: Callable[[argparse.Namespace, Recipe], Task], run_name: str = ""
) -> RunRecord:
    """Load the data, train, draw the learning curve, and print the result.

    Args:
        args: as :func:`training_parser` parsed them.
        load_task: the rows that a recipe trains on.
        run_name: what tells this run from others of its recipe, beside the seed.

    Raises:
        SystemExit: a flag's value or the data will not do; the message says which.
    """
    changes = {
        "learning_rate": args.learning_rate,
        "weight_decay": args.weight_decay,
        "epochs": args.num_train_epochs,
        "max_steps": args.max_train_steps,
        "eval_steps": args.eval_steps,
        "batch_size": args.per_device_train_batch_size,
    }
    try:
        recipe = get_recipe(args.recipe, **changes)
        task = load_task(args, recipe)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: error: {error}") from error
    set_seed(args.seed)
    model = task.make_model(recipe.architecture)
    folder = args.output_dir or Path("runs") / "-".join(filter(None, [recipe.name, run_name, f"seed{args.seed}"]))
    record = train(model, recipe, task, args.seed, folder, quiet=args.quiet, read_test=not args.skip_test)
    if PartialState().is_main_process:
        learning_curve(folder, folder / "figures" / "learning_curve.png")
        print(f"{folder}: {summary(record)}; {record.parameters['total']:,} parameters, {record.wall_seconds:.0f} s")
    return record


def summary(record: RunRecord) -> str:
    """A run's scores in one line."""
    if record.metric == "accuracy":
        return ", ".join(f"{split} {100 * scores['accuracy']:.2f} %" for split, scores in record.metrics.items())
    return ", ".join(
        f"{split} {name.replace('_', ' ')} {score:.3f}"
        for split, scores in record.metrics.items()
        for name, score in scores.items()
    )
