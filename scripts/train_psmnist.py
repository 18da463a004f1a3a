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

from lmu_hf.training.cli import run, training_parser
from lmu_hf.training.recipes import Recipe
from lmu_hf.training.record import RunRecord
from lmu_hf.training.tasks.images import ImageTask, digits, mnist


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags; those left out keep the recipe's values."""
    parser = training_parser(__doc__, kind="images", default="psmnist")
    parser.add_argument(
        "--dataset_name", default="ylecun/mnist", help="the data set's name on the Hub, or below --data_dir"
    )
    parser.add_argument(
        "--permutation_seed", type=_seed_or_none, default=0, help="of the pixel order, or 'none' for raster order"
    )
    return parser.parse_args(argv)


def _seed_or_none(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


def load_task(args: argparse.Namespace, recipe: Recipe) -> ImageTask:
    """The rows that the recipe trains on."""
    task = digits() if recipe.name == "digits" else mnist(args.dataset_name, args.data_dir)
    task.augmentation, task.permutation_seed = recipe.augmentation, args.permutation_seed
    return task


def main(argv: list[str] | None = None) -> RunRecord:
    """Parse flags, train, draw the learning curve, and print the result."""
    args = parse_args(argv)
    order = "raster" if args.permutation_seed is None else f"perm{args.permutation_seed}"
    return run(args, load_task, run_name=order)


if __name__ == "__main__":
    main()
