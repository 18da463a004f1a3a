"""Train an LMU to classify images read one pixel at a time: psMNIST, sMNIST, or scikit-learn's digits.

    python scripts/train_psmnist.py                                    # psMNIST from the Hub, the paper's architecture
    python scripts/train_psmnist.py --data_dir data                    # the same from data/ylecun/mnist
    python scripts/train_psmnist.py --recipe smnist-wide --permutation_seed none
    python scripts/train_psmnist.py --recipe digits                    # no download: 8x8 digits, a few seconds
    accelerate launch scripts/train_psmnist.py --data_dir data         # several processes or a GPU

Writes a run folder (--output_dir, default runs/RECIPE-perm<p>-seed<k>): model/, metrics.jsonl, run.json (only when the
run is complete) and figures/. Weights are chosen on the validation split; the test split is read once, at the end.
"""

import argparse

from lmu_hf.cli.failures import script
from lmu_hf.cli.loading import add_data_flags, load_task
from lmu_hf.cli.train import run
from lmu_hf.cli.training_flags import training_parser
from lmu_hf.common.record import RunRecord


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags; those left out keep the recipe's values."""
    parser = training_parser(__doc__, kind="images", default="psmnist")
    add_data_flags(parser, "images")
    return parser.parse_args(argv)


@script
def main(argv: list[str] | None = None) -> RunRecord:
    """Parse flags, train, draw the learning curve, and print the result."""
    args = parse_args(argv)
    order = "raster" if args.permutation_seed is None else f"perm{args.permutation_seed}"
    return run(args, load_task, run_name=order)


if __name__ == "__main__":
    main()
