"""From flags to pairs of sentences: files, a data set, or dates and quantities that Babel writes."""

from functools import partial
from pathlib import Path
from typing import Any

from ..training.recipes import Recipe
from ..training.recipes.own_translation import MINUTES
from ..training.tasks.dates import dates_and_quantities
from ..training.tasks.translation import parallel_dataset, parallel_files
from .data_flags import check_one_source
from .flags import Flags
from .reading import reading, translation_files


def plan_pairs(flags: Flags, recipe: Recipe, tables: dict[str, Path]) -> tuple[str, partial]:
    """What the pairs are called in a message, and what reads them.

    Args:
        flags: the flags. If they have a ``saved`` model, its tokenizer is read and none is trained.
        recipe: behind the flags.
        tables: the table of each split that has one.

    Raises:
        ValueError: flags contradict each other, or name no pairs of which a recipe is to be made.
    """
    options = dict(recipe.data)
    recipes_own, made = options.pop("dataset_name", None), options.pop("made_by_rows", False)
    options |= flags.take(source_lang="source_lang", target_lang="target_lang", saved="saved")
    options |= flags.take(max_length="max_length")
    if made:
        options = {"vocab_size": None, "max_length": None} | options
        if "saved" not in options:
            options["minutes"] = flags.take(minutes="minutes").get("minutes", MINUTES)
    if flags.dataset_name not in (None, recipes_own):
        options.pop("test_dataset", None)  # of the recipe's own data set
    if files := translation_files(flags, tables):
        options.pop("test_dataset", None)
        return _plan_files(flags, files, options)
    if (name := flags.dataset_name or recipes_own) is not None:
        options |= flags.take(drop_incomplete_rows="drop_incomplete_rows")
        return f"the data set {name}", partial(parallel_dataset, name, flags.data_dir, **options)
    if recipe.name.startswith("own-translation"):
        raise ValueError(f"{recipe.name} needs --train_file, --source_file and --target_file, or --dataset_name")
    options |= flags.take(rows="rows")
    return "dates and quantities that Babel writes", partial(dates_and_quantities, **options)


def _plan_files(
    flags: Flags, files: dict[str, Path | tuple[Path, Path]], options: dict[str, Any]
) -> tuple[str, partial]:
    check_one_source(flags)
    if "train" not in files and "saved" not in options:  # a saved model brings its tokenizer
        raise ValueError(f"--{next(iter(files))}_file needs --train_file, or --source_file and --target_file")
    options |= flags.take(source_column="source_column", target_column="target_column")
    said = ", ".join(str(path) for both in files.values() for path in (both if isinstance(both, tuple) else (both,)))
    return f"the files {said}", partial(parallel_files, files, options=reading(flags), **options)
