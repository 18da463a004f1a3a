"""Show the family in a browser: a tab for each task, and one for the memory itself. Nothing is trained.

    python scripts/space.py                                  # the models in the box
    python scripts/space.py --tabs digits sound              # only these (Memory and Forecast are always there)
    python scripts/space.py --models '{"sentiment": "runs/reviews-seed0/model"}'     # a model by folder or Hub name

Without --models, a tab shows a model that came with the package; a tab for which there is none is left out, and a line
says so. Needs the extras `demo` and `audio` (`pip install -e '.[train,audio,demo]'`). The folder
src/lmu_hf/hub/space is laid out as a Hub Space.
"""

import argparse
import gc
import json

import lmu_hf_cli  # noqa: F401  # first: flags are read before torch is imported

# isort: split
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser
from lmu_hf.hub.space.background import window_process
from lmu_hf.hub.space.models import TABS, in_the_box


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Which tabs, with which models, served where."""
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "--tabs",
        nargs="*",
        choices=list(TABS),
        default=list(TABS),
        help="tabs to show beside Memory and Forecast (default: all)",
    )
    parser.add_argument(
        "--models",
        type=models_by_tab,
        default={},
        help="models of the tabs, as a JSON object of tab and folder or Hub name (default: those in the box)",
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
    if unknown := sorted(set(models) - set(TABS)):
        raise argparse.ArgumentTypeError(f"there is no tab {unknown[0]!r}, only {', '.join(TABS)}")
    return models


@script
def main(argv: list[str] | None = None) -> None:
    """Serve until interrupted."""
    args = parse_args(argv)
    gc.disable()  # it looks in vain through all that is imported, a tenth of the time until the page is there
    window_process()  # it imports torch while this one imports gradio
    try:
        from lmu_hf.hub.space.app import build, serve
    except ImportError as error:
        raise SystemExit(f"space.py: error: {error}; install: pip install -e '.[train,audio,demo]'") from error
    there = in_the_box() | args.models
    for tab in args.tabs:
        if tab not in there:
            print(f"no tab {tab!r}: {TABS[tab][0]} is not in the box; name a model with --models", flush=True)
    demo = build({tab: there[tab] for tab in args.tabs if tab in there})
    gc.enable()
    serve(demo, server_name=args.server_name, server_port=args.port)


if __name__ == "__main__":
    main()
