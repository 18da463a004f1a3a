"""Where a run's rows came from: noted in its folder, so that its model is scored on them and on no others.

``data.json`` holds the flags that named the rows, files by their whole paths. It stays on this machine: neither a
record nor a push holds it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from transformers.utils.logging import get_logger

from ..common.errors import InputError, explained
from ..common.record import RunRecord
from ..common.staging import write_text
from ..data.tokenised import LONGEST, load_tokenizer, saved_job, saved_labels
from ..training.recipes import Recipe
from ..training.tasks.base import Task
from .data_flags import FILES, FLAGS, PAIR_FLAGS, SOURCES
from .flags import Flags

logger = get_logger(__name__)

NAME = "data.json"
OF_TRAINING = (
    "model_name_or_path",
    "from_scratch",
    "word_vectors",
    "freeze_word_vectors",
    "metric_for_best_model",
    "minutes",
    "vocab_size",
    "no_augmentation",
)  # they say nothing of the rows
# The model may be scored from another working folder, so these are noted as absolute paths.
OF_A_FOLDER = ("own-images",)  # recipes whose rows are what --data_dir holds
OF_ANY_ROWS = ("_column", "_columns", "_lang", "label_separator")  # what other rows of the same kind most likely share
PATHS = (*FILES, *PAIR_FLAGS, "extra_train_file", "data_dir")


def write_origin(folder: Path, flags: Flags) -> None:
    """Note in a run folder the data flags that mattered to its rows."""
    names = sorted((flags.read & {*FLAGS, "data_dir"}) - set(OF_TRAINING))
    said = {name: getattr(flags, name) for name in names}
    said |= {name: str(said[name].absolute()) for name in PATHS if said.get(name) is not None}
    write_text(folder / NAME, json.dumps(said, indent=2) + "\n")


def follow_the_run(args: argparse.Namespace, record: RunRecord | None, folder: Path) -> bool:
    """Fill in what a run folder remembers of its data flags; whether the rows are then to be those of the run.

    A flag that was given stays as it is. If one of them names other rows, columns alone are filled in.

    Args:
        args: parsed flags, with ``given``.
        record: the run's, if it has finished and is the one whose data is asked for.
        folder: the run folder.

    Raises:
        InputError: ``data.json`` is none of ours.
    """
    if record is None:
        return False
    said: dict[str, Any] = {}
    if (path := folder / NAME).is_file():
        with explained(f"{path} cannot be read"):
            said = dict(json.loads(path.read_text(encoding="utf-8")))
    others = not args.given.isdisjoint(SOURCES)
    if (scored := getattr(args, "test_file", None)) is not None and str(scored.absolute()) == said.get("train_file"):
        logger.warning("%s is what the model was trained on: the score flatters it", scored)
    # Where a run's own rows are a whole folder, a folder that is given is one of other rows.
    others |= (record.baseline_of or record.recipe) in OF_A_FOLDER and "data_dir" in args.given
    for name, value in said.items():
        # A script that scores lacks some flags of training. Of other rows, the columns are most likely called the same.
        if name in vars(args) and name not in args.given and (not others or name.endswith(OF_ANY_ROWS)):
            setattr(args, name, Path(value) if name in PATHS and value is not None else value)
    return not others


def follow_the_model(args: argparse.Namespace, recipe: Recipe, name: str) -> None:
    """Read text with the saved tokenizer, cut where it cuts, and look for the classes that the model has.

    Args:
        args: parsed flags, with ``given``; what these say of tokenizer and length stays as it is.
        recipe: of the data's kind.
        name: the saved model's folder, or its name on the Hub.
    """
    if recipe.kind in ("characters", "pretraining", "translation", "images"):
        args.saved = name  # no flag: the plan reads it from here
    if recipe.kind == "series-classification":
        args.labels = saved_labels(name)
    if recipe.kind == "audio":
        args.saved, args.labels = name, saved_labels(name)
    if recipe.kind not in ("classification", "tagging"):
        return
    if "tokenizer_name" not in args.given:
        args.tokenizer_name = name
    longest = load_tokenizer(args.tokenizer_name).model_max_length
    # From LONGEST on the tokenizer cuts nothing, and the recipe's own length holds.
    if "max_length" not in args.given and longest < LONGEST:
        args.max_length = longest
    if recipe.kind == "tagging":
        args.labels = saved_labels(name)
    else:
        args.job = saved_job(name)


def check_named(args: argparse.Namespace, name: str) -> None:
    """Refuse to score a model that lies in no run folder on rows that no flag names.

    Raises:
        InputError: none does.
    """
    if args.given.isdisjoint(SOURCES):
        raise InputError(
            f"{name} does not lie in a run folder that would say which rows it is for: name them by --test_file or "
            "--dataset_name, or give --recipe"
        )


def check_rows(record: RunRecord, folder: Path, task: Task) -> None:
    """Refuse to score a run's model on other rows than the run's, where no flag asks for others.

    Raises:
        ValueError: they differ, by every character.
    """
    there, here = record.data, task.describe()
    if there.get("fingerprint") != here["fingerprint"]:
        found = (
            f"the rows of {here['name']} are no longer the same"
            if there.get("name") == here["name"]
            else (f"what would be read is {here['name']}")
        )
        raise ValueError(
            f"{folder} was trained on {there.get('name')}, and {found}: name the rows to score on by --train_file, "
            "--test_file, --dataset_name or --task_name"
        )
