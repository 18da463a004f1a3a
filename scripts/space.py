"""Show the family in a browser: a tab for each head, and one for the memory itself.

    python scripts/space.py                              # trains what is missing (ten minutes, once), then serves
    python scripts/space.py --tabs digits sentiment      # only these (the memory's own tab is always there)
    python scripts/space.py --models '{"text": "org/lmu-python"}' --tabs text     # a model by folder or Hub name

Without --models, a tab shows the model that its recipe for embedded data leaves in --runs_dir; where there is none, it
is trained first. Needs the extra `demo` (`pip install -e '.[train,demo]'`). The folder src/lmu_hf/hub/space is
laid out as a Hub Space.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import lmu_hf_cli  # noqa: F401  # first: flags are read before torch is imported

# isort: split
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser

# Tab → the script and the flags that train its model on embedded data, and the run folder that they leave.
RECIPES = {
    "digits": ("train_psmnist.py", ["--recipe", "digits"], "digits-perm0-seed0"),
    "sentiment": ("train_glue.py", [], "opinions-seed0"),
    "text": ("train_char_lm.py", [], "python-sources-seed0"),
    "translation": ("train_translation.py", [], "dates-en-de-seed0"),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Which tabs, with which models, served where."""
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "--tabs",
        nargs="*",
        choices=list(RECIPES),
        default=list(RECIPES),
        help="tabs to show beside the memory's own (default: all)",
    )
    parser.add_argument(
        "--models",
        type=models_by_tab,
        default={},
        help="models of the tabs, as a JSON object of tab and folder or Hub name (default: those in --runs_dir)",
    )
    parser.add_argument(
        "--runs_dir",
        type=Path,
        default=Path("runs"),
        help="folder of the run folders of the tabs' models (default: %(default)s)",
    )
    parser.add_argument("--port", type=int, default=7860, help="port to serve at (default: %(default)s)")
    parser.add_argument(
        "--server_name",
        default="127.0.0.1",
        help="address to serve at; 0.0.0.0 to be seen from other machines (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if unused := sorted(set(args.models) - set(args.tabs)):
        parser.error(f"--models names {', '.join(unused)}, which --tabs does not")
    return args


def models_by_tab(words: str) -> dict[str, str]:
    """What --models says.

    Raises:
        argparse.ArgumentTypeError: it is no JSON object of tab → folder or Hub name.
    """
    try:
        models = json.loads(words)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"that is not JSON: {error}") from None
    if not isinstance(models, dict) or not all(isinstance(name, str) and name for name in models.values()):
        raise argparse.ArgumentTypeError("that must be a JSON object of tab: folder or Hub name")
    if unknown := sorted(set(models) - set(RECIPES)):
        raise argparse.ArgumentTypeError(f"there is no tab {unknown[0]!r}, only {', '.join(RECIPES)}")
    return models


def model_of(tab: str, runs: Path) -> str:
    """The folder of a tab's model, trained now if it is not there."""
    trainer, flags, name = RECIPES[tab]
    if not (runs / name / "run.json").exists():
        print(f"training the model of {tab!r}: {trainer} {' '.join(flags)}", flush=True)
        words = [str(Path(__file__).with_name(trainer)), *flags, "--resume_from_checkpoint", "auto"]
        subprocess.run([sys.executable, *words, "--output_dir", str(runs / name)], check=True)
    return str(runs / name / "model")


@script
def main(argv: list[str] | None = None) -> None:
    """Serve until interrupted."""
    args = parse_args(argv)
    try:
        from lmu_hf import auto_lmu  # noqa: F401  # introduces the family to transformers
        from lmu_hf.hub.space.app import build
    except ImportError as error:
        raise SystemExit(f"space.py: error: {error}; install the extra: pip install -e '.[train,demo]'") from error
    models = {tab: args.models.get(tab) or model_of(tab, args.runs_dir) for tab in args.tabs}
    build(models).launch(server_name=args.server_name, server_port=args.port)


if __name__ == "__main__":
    main()
