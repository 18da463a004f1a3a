"""Make the records of a task again: learn word vectors, pre-train and label where its recipes need it, then train.

    python scripts/reproduce.py                                    # the tasks, and the recipes of each
    python scripts/reproduce.py imdb --data_dir data               # every recipe of the task, and its LSTM baseline
    python scripts/reproduce.py qqp-alignment --seeds 0 1 2        # one recipe
    python scripts/reproduce.py imdb-lm --dry_run                  # print the commands alone

A file or a model that an earlier call has left in runs/ is used again. Each run is a folder of runs/. A run that was
interrupted continues from its newest checkpoint.
"""

import shlex
import subprocess
import sys
from pathlib import Path

import lmu_hf_cli  # noqa: F401  # first: flags are read before torch is imported

# isort: split
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import AMOUNT, ScriptParser
from lmu_hf.training.reproduction import SCRIPTS, steps, tasks

HERE = Path(__file__).parent


@script
def main(argv: list[str] | None = None) -> None:
    """Run the commands, or print them."""
    parser = ScriptParser(__doc__)
    parser.add_argument("task", nargs="?", help="a task, or a recipe (default: list the tasks)")
    parser.add_argument("--data_dir", type=Path, help="a folder of data sets laid out as on the Hub (default: the Hub)")
    parser.add_argument("--seeds", type=AMOUNT, nargs="+", help="seeds to train with (default: those of the records)")
    parser.add_argument("--dry_run", action="store_true", help="print the commands and run none")
    args = parser.parse_args(argv)
    if args.task is None:
        for task, recipes in tasks().items():
            print(f"{task}: {', '.join(recipes)}")
        return
    for step in steps(args.task, args.data_dir, args.seeds):
        name, *flags = step.words
        trains = name in SCRIPTS.values()
        words = [sys.executable, str(HERE / name), *flags, *(["--resume_from_checkpoint", "auto"] if trains else [])]
        if args.dry_run:
            print(shlex.join(["python", f"scripts/{name}", *words[2:]]))
        elif step.makes is None or not step.makes.exists():
            subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
