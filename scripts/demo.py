"""The main job on embedded data: train, save, reload, predict, and run as a recurrent network. No download.

    python scripts/demo.py                     # what `make demo` runs: a minute or two on two cores
    python scripts/demo.py --num_train_epochs 2 --output_dir /tmp/demo

Trains an LMU on scikit-learn's 8x8 digits, read as 64 permuted pixels one at a time, and leaves a run folder with the
model, its record, two figures and what a push to the Hub sends. The Hub it is pushed to is one on loopback.
"""

import argparse
from importlib import import_module
from pathlib import Path

import lmu_hf_cli  # noqa: F401  # first: flags are read before torch is imported

# isort: split
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT, ScriptParser
from lmu_hf.common.errors import check_folder


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The demo's flags."""
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "--output_dir", type=Path, default=Path("runs/demo"), help="run folder to write (default: %(default)s)"
    )
    parser.add_argument("--num_train_epochs", type=COUNT, help="training epochs (default: the recipe's)")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    return parser.parse_args(argv)


@script
def main(argv: list[str] | None = None) -> None:
    """Read the flags, then show."""
    args = parse_args(argv)
    check_folder(args.output_dir, "output_dir")
    import_module("demo_steps").show(args)  # behind the flags: it imports torch, and the family


if __name__ == "__main__":
    main()
