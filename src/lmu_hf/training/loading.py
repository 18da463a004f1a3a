"""From a command's flags to the data that it trains or scores on: what the flags are, and one function per kind."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .recipes import Recipe
from .tasks.base import Task
from .tasks.classification import NO_VECTORS, ClassificationTask, load_tokenizer
from .tasks.images import ImageTask, digits, mnist
from .tasks.labelled import (
    GLUE_COLUMNS,
    Columns,
    LabelledText,
    glue,
    labelled_dataset,
    labelled_files,
    made_up,
    with_more,
)
from .tasks.series import MackeyGlassTask
from .tasks.text import TextTask, python_sources, text_dataset, text_files
from .tasks.translation import TranslationTask, dates_and_quantities, parallel_dataset
from .word_vectors import Missing, load_word_vectors


def _seed_or_none(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


FLAGS: dict[str, dict[str, Any]] = {
    "task_name": {"choices": [*GLUE_COLUMNS, "mnli-mm"], "help": "a task of GLUE"},
    "dataset_name": {"help": "a data set's name on the Hub, or below --data_dir"},
    "dataset_config_name": {"help": "which of its configurations"},
    "train_file": {"type": Path, "help": "a file of one's own, in place of a data set"},
    "validation_file": {"type": Path, "help": "default: held out of the training file"},
    "test_file": {"type": Path, "help": "default: as the script's manual says"},
    "extra_train_file": {"type": Path, "help": "more rows to train on, none held out: such as label.py writes"},
    "text_column": {"help": "the column that holds the text (default: text)"},
    "text_pair_column": {"help": "the column that holds the second text of a pair"},
    "label_column": {"help": "the column that holds the label (default: label)"},
    "max_length": {"type": int, "help": "tokens of a row beyond which its longer text is cut"},
    "train_split": {"help": "which of its splits to train on; several joined by + (default: the recipe's, or train)"},
    "validation_split": {"help": "which of its splits to judge by (default: the recipe's, or validation)"},
    "validation_split_percentage": {"type": float, "help": "judge by so much of the training rows, drawn at random"},
    "tokenizer_name": {"help": "a tokenizer by Hub name or folder (default: one is trained on the training rows)"},
    "model_name_or_path": {"help": "a model whose stack is taken over, with its tokenizer (default: a fresh one)"},
    "word_vectors": {"type": Path, "help": "a file of word vectors that the embeddings start from"},
    "freeze_word_vectors": {"action": argparse.BooleanOptionalAction, "help": "and stay at (default: the recipe's)"},
    "preprocessing_num_workers": {"type": int, "help": "processes that tokenise"},
    "validation_block": {"type": int, "help": "hold out for validation runs of so many neighbouring rows"},
    "rows": {"type": int, "help": "made-up rows to draw (default: the recipe's)"},
    "source_lang": {"help": "language code (default: the recipe's)"},
    "target_lang": {"help": "language code (default: the recipe's)"},
    "horizon": {"type": int, "default": 15, "help": "how many steps ahead (default: %(default)s)"},
    "series_seed": {"type": int, "default": 0, "help": "of the series (default: %(default)s)"},
    "permutation_seed": {"type": _seed_or_none, "default": 0, "help": "of the pixel order, or 'none' for raster order"},
}
FILES = ("train_file", "validation_file", "test_file")
TEXT_FLAGS = (
    *("dataset_name", "dataset_config_name", "text_column", "train_split", "validation_split"),
    *("validation_split_percentage", "preprocessing_num_workers"),
)
SOURCE_OPTIONS = ("config", "train_split", "validation_split", "test_split", "hold_out")  # of one data set alone
KIND_FLAGS: dict[str, tuple[str, ...]] = {
    "images": ("dataset_name", "permutation_seed"),
    "characters": (*TEXT_FLAGS, *FILES),
    "pretraining": (*TEXT_FLAGS, *FILES, "tokenizer_name"),
    "series": ("horizon", "series_seed"),
    "translation": ("dataset_name", "rows", "source_lang", "target_lang"),
    "classification": (
        *("task_name", "dataset_name", "dataset_config_name", *FILES, "extra_train_file"),
        *(
            "text_column",
            "text_pair_column",
            "label_column",
            "max_length",
            "tokenizer_name",
            "model_name_or_path",
            "word_vectors",
        ),
        *("freeze_word_vectors", "validation_block", "preprocessing_num_workers", "rows"),
    ),
}


def add_data_flags(parser: argparse.ArgumentParser, *kinds: str, without: tuple[str, ...] = ()) -> None:
    """Flags that say which data of those kinds is read, each of them once."""
    for flag in dict.fromkeys(flag for kind in kinds for flag in KIND_FLAGS[kind]):
        if flag not in without:
            parser.add_argument(f"--{flag}", **FLAGS[flag])


def check_sources(args: argparse.Namespace) -> None:
    """One source of rows at most, and no file for validation or test without one to train on.

    Raises:
        ValueError: the flags contradict each other; the message says which.
    """
    given = [flag for flag in ("train_file", "dataset_name", "task_name") if getattr(args, flag, None) is not None]
    if len(given) > 1:
        raise ValueError(f"give one of {' and '.join(f'--{flag}' for flag in given)}")
    if args.train_file is None and (args.validation_file or args.test_file):
        raise ValueError("--validation_file and --test_file need a --train_file")


def load_images(args: argparse.Namespace, recipe: Recipe) -> ImageTask:
    """Images to classify."""
    named = args.dataset_name or "ylecun/mnist"
    task = digits() if recipe.name == "digits" else mnist(named, args.data_dir)
    task.augmentation, task.permutation_seed = recipe.augmentation, args.permutation_seed
    return task


def load_text(args: argparse.Namespace, recipe: Recipe) -> TextTask:
    """Running text."""
    options = dict(recipe.data)
    name = options.pop("dataset_name", None)
    if args.train_file is not None or args.dataset_name not in (None, name):
        options = {option: value for option, value in options.items() if option not in SOURCE_OPTIONS}
    options |= {"num_proc": args.preprocessing_num_workers}
    if (tokenizer := getattr(args, "tokenizer_name", None)) is not None:
        options |= {"tokenizer_name": tokenizer}
    if args.validation_split_percentage is not None:
        options |= {"hold_out": args.validation_split_percentage / 100}
    column = args.text_column or "text"
    if args.train_file is not None:
        return text_files(_files(args), column, **options)
    if (args.dataset_name or name) is None:
        return python_sources(**options)
    asked = {"config": args.dataset_config_name, "train_split": args.train_split}
    asked |= {"validation_split": args.validation_split}
    options |= {option: value for option, value in asked.items() if value is not None}
    return text_dataset(args.dataset_name or name, args.data_dir, column, **options)


def load_series(args: argparse.Namespace, recipe: Recipe) -> MackeyGlassTask:
    """Series to predict."""
    return MackeyGlassTask(horizon=args.horizon, seed=args.series_seed, **recipe.data)


def load_translation(args: argparse.Namespace, recipe: Recipe) -> TranslationTask:
    """Pairs of sentences to translate."""
    options = dict(recipe.data)
    name = options.pop("dataset_name", None)
    for flag in ("source_lang", "target_lang", "rows"):
        if getattr(args, flag) is not None:
            options[flag] = getattr(args, flag)
    if args.dataset_name not in (None, name):
        options.pop("test_dataset", None)
    if (args.dataset_name or name) is None:
        return dates_and_quantities(**options)
    return parallel_dataset(args.dataset_name or name, args.data_dir, **options)


def load_classification(args: argparse.Namespace, recipe: Recipe) -> ClassificationTask:
    """Sentences or pairs to classify, with the tokenizer and the word vectors that the flags name.

    Raises:
        ValueError: flags, rows or files will not do; the message says which.
        FileNotFoundError: a folder or a file is not there.
    """
    check_sources(args)
    options = dict(recipe.data)
    options.pop("pretrained", None)  # of training, which goes on from a model: of the rows it says nothing
    named = {name: options.pop(name, None) for name in ("task_name", "dataset_name", "made_up", "validation_block")}
    options |= {"num_proc": args.preprocessing_num_workers, "model_name_or_path": args.model_name_or_path}
    for flag in ("max_length", "freeze_word_vectors"):
        if getattr(args, flag) is not None:
            options[flag] = getattr(args, flag)
    if options.get("freeze_word_vectors") and args.word_vectors is None:
        raise ValueError(NO_VECTORS)
    if (name := args.tokenizer_name or args.model_name_or_path) is not None:
        options["tokenizer"] = load_tokenizer(name)
    rows = labelled_rows(args, named)
    if args.extra_train_file is not None:
        rows = with_more(rows, args.extra_train_file)
    task = ClassificationTask(rows, **options)
    if args.word_vectors is not None:
        # A word that the file lacks adds nothing to a sum of frozen vectors.
        missing: Missing = "zero" if task.freeze_word_vectors else "random"
        task.word_vectors = load_word_vectors(args.word_vectors, task.tokenizer, missing)
    return task


def labelled_rows(args: argparse.Namespace, named: dict[str, Any]) -> LabelledText:
    """The rows that the flags ask for; where they name none, those of the recipe.

    Args:
        args: the flags.
        named: the recipe's own ``task_name``, ``dataset_name`` or ``made_up`` rows, one of them, and how rows of that
            ``dataset_name`` are held out (``validation_block``).
    """
    asked = {"text": args.text_column, "text_pair": args.text_pair_column, "label": args.label_column}
    given = {name: column for name, column in asked.items() if column is not None}
    columns = Columns(**given) if given else None
    own = args.train_file is None and args.task_name is None and args.dataset_name in (None, named["dataset_name"])
    flag = args.validation_block
    blocks = (flag, named["validation_block"] if own else None, 1)
    block = next(rows for rows in blocks if rows is not None)
    if args.train_file is not None:
        return labelled_files(_files(args), columns, block)
    if args.dataset_name is not None:
        return labelled_dataset(args.dataset_name, args.data_dir, columns, args.dataset_config_name, block)
    if given:
        raise ValueError(f"--{next(iter(given))}_column says how to read a --dataset_name or a --train_file: give one")
    if (task_name := args.task_name or named["task_name"]) is not None:
        return glue(task_name, args.data_dir, block)
    if named["dataset_name"] is not None:
        return labelled_dataset(named["dataset_name"], args.data_dir, validation_block=block)
    if flag is not None:
        raise ValueError("made-up rows come with a validation split: --validation_block says nothing to them")
    return made_up(named["made_up"] or "opinions", **({} if args.rows is None else {"rows": args.rows}))


def _files(args: argparse.Namespace) -> dict[str, Path]:
    files = {"train": args.train_file, "validation": args.validation_file, "test": args.test_file}
    return {split: path for split, path in files.items() if path is not None}


LOADERS: dict[str, Callable[[argparse.Namespace, Recipe], Task]] = {
    "images": load_images,
    "characters": load_text,
    "pretraining": load_text,
    "series": load_series,
    "translation": load_translation,
    "classification": load_classification,
}


def load_task(args: argparse.Namespace, recipe: Recipe) -> Task:
    """The data of a recipe's kind that the flags, and behind them the recipe, ask for.

    Raises:
        ValueError: a flag is given that says nothing to this kind of data, or the data will not do.
        FileNotFoundError: a folder or a file is not there.
    """
    for flag, about in FLAGS.items():
        if flag not in KIND_FLAGS[recipe.kind] and getattr(args, flag, None) not in (None, False, about.get("default")):
            raise ValueError(f"--{flag} says nothing to {recipe.name}, which is for {recipe.kind}")
    return LOADERS[recipe.kind](args, recipe)
