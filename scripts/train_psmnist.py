"""Train an LMU to classify images read one pixel at a time: psMNIST, sMNIST, or scikit-learn's digits.

    python scripts/train_psmnist.py                                    # psMNIST from the Hub, the paper's architecture
    python scripts/train_psmnist.py --data_dir data                    # the same from data/ylecun/mnist
    python scripts/train_psmnist.py --recipe smnist --permutation_seed none
    python scripts/train_psmnist.py --recipe digits                    # no download: 8x8 digits, a few seconds
    accelerate launch scripts/train_psmnist.py --data_dir data         # several processes or a GPU

Writes a run folder (--output_dir, default runs/RECIPE-perm<p>-seed<k>): model/, metrics.jsonl, run.json (only when the
run is complete) and figures/. Weights are chosen on the validation split; the test split is read once, at the end.
"""

import argparse
from pathlib import Path

from accelerate import PartialState
from transformers import AutoModelForImageClassification, set_seed

import lmu_hf  # noqa: F401  introduces the family to the Auto classes
from lmu_hf.publishing.figures import learning_curve
from lmu_hf.training.loop import train
from lmu_hf.training.recipes import RECIPES, Recipe, get_recipe
from lmu_hf.training.record import RunRecord
from lmu_hf.training.tasks.images import ImageTask, digits, mnist


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags; those left out keep the recipe's values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--recipe", default="psmnist", choices=sorted(RECIPES), help="what to train (default: %(default)s)"
    )
    parser.add_argument(
        "--dataset_name", default="ylecun/mnist", help="the data set's name on the Hub, or below --data_dir"
    )
    parser.add_argument("--data_dir", type=Path, help="a folder of data sets laid out as on the Hub")
    parser.add_argument(
        "--permutation_seed", type=_seed_or_none, default=0, help="of the pixel order, or 'none' for raster order"
    )
    parser.add_argument("--seed", type=int, default=0, help="of initial weights, row order and augmentation")
    parser.add_argument("--output_dir", type=Path, help="the run folder")
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument("--weight_decay", type=float)
    parser.add_argument("--num_train_epochs", type=int)
    parser.add_argument("--per_device_train_batch_size", type=int)
    parser.add_argument(
        "--skip_test", action="store_true", help="never read the test split: for choosing hyper-parameters"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(argv)


def _seed_or_none(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


def load_task(args: argparse.Namespace, recipe: Recipe) -> ImageTask:
    """The rows that the recipe trains on."""
    if recipe.name == "digits":
        task = digits()
    else:
        task = mnist(args.dataset_name if args.data_dir is None else (args.data_dir / args.dataset_name).resolve())
    task.augmentation = recipe.augmentation
    return task


def main(argv: list[str] | None = None) -> RunRecord:
    """Parse flags, train, draw the learning curve, and print the result."""
    args = parse_args(argv)
    changes = {
        "learning_rate": args.learning_rate,
        "weight_decay": args.weight_decay,
        "epochs": args.num_train_epochs,
        "batch_size": args.per_device_train_batch_size,
    }
    try:
        recipe = get_recipe(args.recipe, **changes)
        task = load_task(args, recipe)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"train_psmnist.py: error: {error}") from error
    set_seed(args.seed)
    config = recipe.image_config(task.image_size, task.labels, args.permutation_seed)
    model = AutoModelForImageClassification.from_config(config)
    order = "raster" if args.permutation_seed is None else f"perm{args.permutation_seed}"
    folder = args.output_dir or Path("runs") / f"{recipe.name}-{order}-seed{args.seed}"
    record = train(model, recipe, task, args.seed, folder, quiet=args.quiet, read_test=not args.skip_test)
    if not PartialState().is_main_process:
        return record
    learning_curve(folder, folder / "figures" / "learning_curve.png")
    scores = ", ".join(f"{split} {100 * scores['accuracy']:.2f} %" for split, scores in record.metrics.items())
    print(f"{folder}: {scores}; {record.parameters['total']:,} parameters, {record.wall_seconds:.0f} s")
    return record


if __name__ == "__main__":
    main()
