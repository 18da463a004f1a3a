"""Train an LMU to predict the chaotic series of Mackey and Glass, 15 steps ahead, at every step.

    python scripts/train_mackey_glass.py                               # the paper's network, minutes on two cores
    python scripts/train_mackey_glass.py --baseline lstm                # an LSTM of the same size under the same budget
    python scripts/train_mackey_glass.py --horizon 30
    accelerate launch scripts/train_mackey_glass.py                    # several processes or a GPU

Nothing is downloaded: 128 series of 5,000 steps are generated, 32 to train on, 32 to validate on, 64 to test on.
Weights are chosen by NRMSE (root mean squared error over the target's root mean square) on the validation series; the
test series are read once, at the end. Writes a run folder (--output_dir, default runs/RECIPE-seed<k>): model/,
metrics.jsonl, run.json (only when the run is complete), checkpoints/ and figures/.
"""

import argparse

from lmu_hf.cli.failures import script
from lmu_hf.cli.loading import add_data_flags, load_task
from lmu_hf.cli.train import run
from lmu_hf.cli.training_flags import training_parser
from lmu_hf.common.record import RunRecord


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags; those left out keep the recipe's values."""
    parser = training_parser(__doc__, kind="series", default="mackey-glass")
    add_data_flags(parser, "series")
    return parser.parse_args(argv)


@script
def main(argv: list[str] | None = None) -> RunRecord:
    """Parse flags, train, draw the learning curve, and print the result."""
    args = parse_args(argv)
    return run(args, load_task, run_name="" if args.horizon == 15 else f"h{args.horizon}")


if __name__ == "__main__":
    main()
