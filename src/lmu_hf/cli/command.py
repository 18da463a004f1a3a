"""The verbs of ``lmu-hf``, and how one is run: flags first, then paths, then what takes seconds to import."""

import os
import sys
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib import import_module
from typing import Any

from ..version import __version__
from .failures import script
from .flags import COMMAND, LIKE


@dataclass(frozen=True)
class Verb:
    """One verb.

    Args:
        module: in ``verbs``; it has ``parse_args`` and ``start``.
        about: what it does, for the list of verbs.
        kind: of the recipes that it trains, if it trains.
        extras: of the package that it needs.
    """

    module: str
    about: str
    kind: str | None = None
    extras: tuple[str, ...] = ("train",)


VERBS = {
    "train text": Verb("train_text", "train a classifier of texts or pairs of texts", "classification"),
    "train lm": Verb("train_lm", "train a language model of characters or bytes", "characters"),
    "train translation": Verb("train_translation", "train a translator", "translation"),
    "train tokens": Verb("train_tokens", "train a tagger of words", "tagging"),
    "train image": Verb("train_image", "train a classifier of images, read pixel by pixel", "images"),
    "train audio": Verb("train_audio", "train a classifier of sounds", "audio", ("train", "audio")),
    "train forecast": Verb("train_forecast", "train a forecaster of a table of series", "forecast"),
    "train series": Verb("train_series", "train a classifier of series", "series-classification"),
    "train vectors": Verb("train_vectors", "train word vectors on a corpus"),
    "pretrain": Verb("pretrain", "pre-train a language model that other tasks fine-tune", "pretraining"),
    "tune": Verb("tune", "search for the settings that train best, by validation", extras=("train", "tune")),
    "evaluate": Verb("evaluate", "score a saved model"),
    "label": Verb("label", "label texts with a trained classifier"),
    "forecast": Verb("forecast", "forecast what comes behind a table with a trained forecaster"),
    "generate": Verb("generate", "write text with a trained language model", extras=()),
    "chat": Verb("chat", "chat with a trained language model in the terminal", extras=()),
    "serve": Verb("serve", "answer OpenAI's clients with a trained language model", extras=("serve",)),
    "export": Verb("export", "write a saved model as ONNX files", extras=("export",)),
    "push": Verb("push", "lay out a finished run for the Hub, and push it"),
    "suggest": Verb("suggest", "say which theta and order keep a signal of yours"),
    "recipes": Verb("recipes", "list the recipes: what each is for and costs", extras=()),
    "doctor": Verb("doctor", "say what is installed, and test the memory", extras=()),
}


@script
def run_verb(verb: str, argv: list[str] | None, manual: str | None) -> Any:
    """Run a verb to its end; what it gives.

    Args:
        verb: one of ``VERBS``; empty if the first words say it.
        argv: the words; None for those of the command line.
        manual: what its ``--help`` begins with; None for its own.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not verb:
        verb, words = find_verb(words)
    module = import_module(f".verbs.{VERBS[verb].module}", __package__)
    args = module.parse_args(words, manual)
    # Below the flags, since `--help` and a slip in them need none of this.
    from .extras import check_extra
    from .paths import check_paths

    check_paths(args)
    for extra in VERBS[verb].extras:
        check_extra(extra)
    if verb != "recipes":  # it reads no model, and answers in a moment
        prepare()
    return module.start(args)


def find_verb(words: list[str]) -> tuple[str, list[str]]:
    """The verb that a command line begins with, and the words behind it.

    Raises:
        SystemExit: with the list of verbs, or one line if there is no such verb.
    """
    for length in (2, 1):
        if (verb := " ".join(words[:length])) in VERBS:
            return verb, words[length:]
    named = []
    for word in words[:2]:
        if word.startswith("-"):
            break
        named.append(word)
    group = [verb for verb in VERBS if named and verb.startswith(f"{named[0]} ")]
    if not named or (group and len(named) == 1):
        if "--version" in words[:1]:
            print(f"{COMMAND} {__version__}")
        else:
            print(overview(group or list(VERBS)))
        # A verb that lacks its second word is a mistake, unless help was asked for.
        raise SystemExit(0 if not words or words[-1] in ("-h", "--help", "--version") else 2)
    # The first word may be a verb, and the second its argument; or both are one verb: what fits best was meant.
    pairs = [
        (SequenceMatcher(None, said, verb).ratio(), said, verb)
        for said in (" ".join(named), named[0])
        for verb in VERBS
    ]
    ratio, said, verb = max(pairs)
    if ratio < LIKE:
        said, meant = " ".join(named) if group else named[0], f"`{COMMAND} --help` lists the verbs"
    else:
        meant = f"did you mean {verb!r}?"
    raise SystemExit(f"{COMMAND}: error: there is no verb {said!r}; {meant}")


def overview(verbs: list[str]) -> str:
    """What the verbs do, a line for each, with how to begin."""
    lines = [f"  {COMMAND + ' ' + verb:<28}{VERBS[verb].about}" for verb in verbs]
    return "\n".join(
        [
            "Legendre Memory Units: train, score and share models of text, images and series.",
            "",
            *lines,
            "",
            f"`{COMMAND} VERB --help` shows a verb's flags. To begin: {COMMAND} train text --train_file reviews.csv",
        ]
    )


def prepare() -> None:
    """Import the family, so that the Auto classes know it, with other libraries' bars and remarks off.

    A run draws one bar of its own. What the libraries remark on are choices of this package, which its user cannot
    change.
    """
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"  # read as `datasets` is imported, which not every verb does
    if "datasets" in sys.modules:  # imported already
        import_module("datasets").disable_progress_bars()
    from transformers.utils import logging

    from .. import auto_lmu  # noqa: F401  # introduces the family

    logging.disable_progress_bar()  # "Writing model shards"
    logging.set_verbosity_error()
