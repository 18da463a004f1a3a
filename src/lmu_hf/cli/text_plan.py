"""From flags to running text: files, a data set, or Python's own sources."""

from functools import partial
from pathlib import Path
from typing import Any

from ..data.opening import is_table
from ..data.tables import ReadOptions
from ..training.recipes import Recipe
from ..training.recipes.own_lm import MINUTES, recipe_for
from ..training.tasks.text import TextTask
from ..training.tasks.text_sources import python_sources, text_dataset, text_files
from .flags import Flags
from .reading import reading

SOURCE_OPTIONS = ("config", "train_split", "validation_split", "test_split", "hold_out")  # of one data set alone


def plan_running_text(flags: Flags, recipe: Recipe, files: dict[str, Path]) -> tuple[str, partial]:
    """What the text is called in a message, and what reads it.

    Args:
        flags: the flags. If they have a ``saved`` model, its tokenizer is read.
        recipe: behind the flags.
        files: a file or a folder for each split that has one.

    Raises:
        ValueError: flags contradict each other.
    """
    options = dict(recipe.data)  # a copy: entries are taken out below
    made = options.pop("made_by_rows", False)
    recipes_own = options.pop("dataset_name", None)
    if files or flags.dataset_name not in (None, recipes_own):
        # The recipe's splits are those of its own data set.
        options = {option: value for option, value in options.items() if option not in SOURCE_OPTIONS}
    options |= flags.take(num_proc="preprocessing_num_workers", tokenizer_name="tokenizer_name", saved="saved")
    if "saved" not in options and (going_on := flags.take(model_name_or_path="model_name_or_path")):
        if "tokenizer_name" in options:
            raise ValueError("--tokenizer_name has no effect beside --model_name_or_path, which brings a tokenizer")
        options |= going_on
    if files:
        source, text = _plan_files(flags, files, options)
    elif (name := flags.dataset_name or recipes_own) is None:
        source, text = "the standard library's sources", partial(python_sources, **options)
    else:
        source, text = _plan_dataset(flags, name, options)
    if not made:
        return source, text
    minutes = flags.take(minutes="minutes").get("minutes", MINUTES)
    return source, partial(_made_task, text, minutes, options.get("sequence_length"))


def _plan_dataset(flags: Flags, name: str, options: dict[str, Any]) -> tuple[str, partial]:
    source = f"the data set {name}"
    options |= flags.take(config="dataset_config_name", train_split="train_split", text_column="text_column")
    if flags.validation_split_percentage is not None:
        source += f", and validates by {flags.validation_split_percentage:g} % of its rows"
        options["hold_out"] = flags.validation_split_percentage / 100
    elif flags.validation_split is not None:  # unread beside a percentage, and so refused
        options = {**options, "hold_out": None, "validation_split": flags.validation_split}
    return source, partial(text_dataset, name, flags.data_dir, **options)


def _plan_files(flags: Flags, files: dict[str, Path], options: dict[str, Any]) -> tuple[str, partial]:
    first = next(iter(files.values()))
    # Of plain text, columns and rows stay unread, and so are refused. What a folder holds is seen as it is read.
    if first.is_dir() or is_table(first):
        options |= flags.take(text_column="text_column")
        how = reading(flags)
    else:
        how = ReadOptions(**flags.take(encoding="encoding"))
    # Beside a file for validation the percentage stays unread, and so is refused.
    if "validation" not in files and flags.validation_split_percentage is not None:
        options["hold_out"] = flags.validation_split_percentage / 100
    return "the files " + ", ".join(map(str, files.values())), partial(text_files, files, options=how, **options)


def _made_task(read: partial, minutes: float, sequence_length: int | None) -> TextTask:
    """A text with the recipe that it makes."""
    task = read()
    if "train" not in task.splits:  # text that is only scored makes no recipe
        return task
    made = recipe_for(task, minutes, sequence_length)
    task.cut(made.options["sequence_length"])
    task.made, task.reasons = made.recipe, made.reasons
    return task
