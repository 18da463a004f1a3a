"""List the recipes: what each is for, what it gave and what it costs.

    lmu-hf recipes                       # all, by the verb that trains them
    lmu-hf recipes imdb-linear           # one, with its source

A recipe is an architecture, data and a budget, made for one benchmark or for made-up rows. `lmu-hf train text --recipe
NAME` trains it, and any flag overrides it.
"""

import argparse
import inspect

from ...training.recipes import RECIPES
from ..command import VERBS
from ..flags import COMMAND, ScriptParser, manual_of
from ..training_flags import recipe_of


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "recipes")
    parser.add_argument("name", nargs="?", type=recipe_of(None), help="recipe to show whole (default: list them all)")
    return parser.parse_args(argv)


def start(args: argparse.Namespace) -> None:
    """Print one, or all."""
    if args.name is not None:
        build = RECIPES[args.name]
        print(f"{COMMAND} {_verbs()[build().kind]} --recipe {args.name}\n\n{inspect.getdoc(build)}")
        return
    for kind, verb in _verbs().items():
        print(f"{COMMAND} {verb} --recipe")
        for name, build in RECIPES.items():
            if build().kind == kind:
                print(f"  {name:<24}{_about(build)}")
        print()


def _verbs() -> dict[str, str]:
    return {verb.kind: name for name, verb in VERBS.items() if verb.kind is not None}


def _about(build: object) -> str:
    """A recipe's first line, and what it costs, which every recipe's docstring says."""
    lines = (inspect.getdoc(build) or "").splitlines()
    cost = next((line.removeprefix("Cost: ") for line in lines if line.startswith("Cost: ")), "")
    return "\n".join([lines[0], *([f"{'':26}{cost}"] if cost else [])])
