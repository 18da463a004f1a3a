"""From a command's flags to the data that it trains or scores on: what the flags are, and a plan per kind of data.

A plan says what is read before any of it is. Making it asks for every flag that matters to it, so that a flag which was
given and which no plan asked for is refused and not ignored.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..data.label_rules import Asked
from ..data.labelled import glue, labelled_dataset, labelled_files, made_up, with_more
from ..data.labels import Columns, LabelledText
from ..data.tables import ReadOptions
from ..data.tagging import TagColumns, TaggedText, made_up_names, tagged_dataset, tagged_files
from ..data.tokenised import load_tokenizer
from ..data.word_vectors import Missing, load_word_vectors
from ..shipped import pretrained
from ..training.recipes import Recipe
from ..training.recipes.fine_tuned import MODEL
from ..training.recipes.own import MINUTES, Measured, goes_on, lacks_minutes, measure_rows, recipe_for
from ..training.speed import time_step
from ..training.tasks.base import Task
from ..training.tasks.classification import HEAD_FIELDS, NO_VECTORS, ClassificationTask
from ..training.tasks.image_folders import own_image_folder, saved_image_folder
from ..training.tasks.images import ImageTask, digits, mnist
from ..training.tasks.tagging import TaggingTask
from .audio_plan import plan_sounds
from .data_flags import check_one_source
from .flags import Flags
from .reading import reading
from .series_plans import plan_classes, plan_horizons
from .text_plan import plan_running_text
from .translation_plan import plan_pairs

COLUMNS = {"text": "text_column", "text_pair": "text_pair_column", "label": "label_column"}  # fields of `Columns`


@dataclass(frozen=True)
class Plan:
    """Which data is to be read.

    Args:
        source: what it is called in a message.
        make: reads it; of functions and their arguments alone, so that two plans can be compared.
    """

    source: str
    make: partial


def load_task(args: argparse.Namespace | Flags, recipe: Recipe) -> Task:
    """The data of a recipe's kind that the flags, and behind them the recipe, ask for.

    Raises:
        ValueError: a flag is given that has no effect on this data, flags contradict each other, or the data will not
            do; the message names the flag or the data.
        FileNotFoundError: a folder or a file is not there.
    """
    flags = Flags.of(args)
    plan = PLANS[recipe.kind](flags, recipe)
    # Before `make`, so that nothing is read for a command that is refused.
    flags.refuse_unread(f"{recipe.name}, which reads {plan.source}")
    return plan.make()


def plan_images(flags: Flags, recipe: Recipe) -> Plan:
    """Images to classify."""
    if recipe.name.startswith("own-images"):
        return _plan_image_folder(flags)
    how = {"augmentation": recipe.augmentation, "permutation_seed": flags.permutation_seed}
    if recipe.name == "digits":
        return Plan("scikit-learn's digits", partial(_image_task, partial(digits), **how))
    name = flags.dataset_name or "ylecun/mnist"
    return Plan(f"the data set {name}", partial(_image_task, partial(mnist, name, flags.data_dir), **how))


def _plan_image_folder(flags: Flags) -> Plan:
    """A folder of somebody's own pictures, read as a saved model does if there is one.

    Raises:
        ValueError: no flag names the folder.
    """
    if flags.data_dir is None:
        raise ValueError("own-images needs --data_dir: a folder that holds a folder of pictures for each class")
    source = f"the pictures of {flags.data_dir}"
    if saved := getattr(flags, "saved", None):
        return Plan(source, partial(saved_image_folder, flags.data_dir, saved))
    how: dict[str, Any] = flags.take(image_size="image_size", minutes="minutes")
    if flags.colour or flags.grey:
        how["colour"] = bool(flags.colour)
    how |= {"augmented": not flags.no_augmentation, "permutation_seed": flags.permutation_seed}
    return Plan(source, partial(own_image_folder, flags.data_dir, **how))


def _image_task(make: Callable[[], ImageTask], **how: Any) -> ImageTask:
    return replace(make(), **how)


def plan_text(flags: Flags, recipe: Recipe) -> Plan:
    """Running text."""
    _check_overrides(flags)
    return Plan(*plan_running_text(flags, recipe, _files(flags)))


def plan_forecast(flags: Flags, recipe: Recipe) -> Plan:
    """A table of series to forecast, made-up ones, or those of Mackey and Glass."""
    return Plan(*plan_horizons(flags, recipe))


def plan_series(flags: Flags, recipe: Recipe) -> Plan:
    """Series to classify; the recipe follows from them."""
    check_one_source(flags)
    return Plan(*plan_classes(flags, _files(flags)))


def plan_translation(flags: Flags, recipe: Recipe) -> Plan:
    """Pairs of sentences to translate."""
    return Plan(*plan_pairs(flags, recipe, _files(flags)))


def plan_classification(flags: Flags, recipe: Recipe) -> Plan:
    """Sentences or pairs to classify, with the tokenizer and the word vectors that the flags name.

    Raises:
        ValueError: flags contradict each other, or word vectors are to be frozen that no flag names.
    """
    options = dict(recipe.data)
    options.pop("pretrained", None)  # of training, which goes on from a model: of the rows it says nothing
    made = options.pop("made_by_rows", False)
    minutes = flags.take(minutes="minutes").get("minutes", MINUTES) if made else None
    named = {name: options.pop(name, None) for name in ("task_name", "dataset_name", "made_up", "validation_block")}
    options |= flags.take(num_proc="preprocessing_num_workers", model_name_or_path="model_name_or_path")
    options |= flags.take(max_length="max_length", freeze_word_vectors="freeze_word_vectors")
    options |= flags.take(metric="metric_for_best_model")
    vectors = flags.word_vectors
    changed = _check_overrides(flags)
    if options.get("freeze_word_vectors") and vectors is None:
        raise ValueError(NO_VECTORS)
    tokenizer = flags.tokenizer_name or flags.model_name_or_path  # a model brings its own
    # Whoever says what the body is to be says that it is to be a new one.
    own_body = (tokenizer, vectors, getattr(flags, "baseline", None), changed, made and flags.from_scratch)
    may_go_on = made and not any(own_body)
    rows = plan_rows(flags, named)
    more = flags.extra_train_file
    options_of_more = reading(flags) if more is not None else None  # unread without a file, and so refused
    how = (more, options_of_more, vectors, tokenizer, minutes, may_go_on)
    make = partial(_classification_task, rows.make, *how, **options)
    return Plan(rows.source, make)


def _check_overrides(flags: Flags) -> list[str]:
    """Refuse overrides of what another flag brings; the fields of the body that are overridden.

    Raises:
        ValueError: there is one; the message names both flags.
    """
    names = [text.partition("=")[0] for text in getattr(flags, "config_overrides", [])]  # scripts that score have none
    body = [name for name in names if name not in HEAD_FIELDS]  # the head is made anew, so its fields may change
    if flags.model_name_or_path is not None and body:
        raise ValueError(f"--config_overrides {body[0]} has no effect on the body that --model_name_or_path brings")
    if getattr(flags, "word_vectors", None) is not None and "embedding_size" in names:
        raise ValueError("--config_overrides embedding_size has no effect beside --word_vectors, which set the width")
    return body


def _classification_task(
    rows: Callable[[], LabelledText],
    extra_train_file: Path | None,
    how_read: ReadOptions | None,
    vectors: Path | None,
    tokenizer_name: str | None,
    minutes: float | None,
    may_go_on: bool,
    **options: Any,
) -> ClassificationTask:
    if tokenizer_name is not None:
        # Loaded first: a wrong name fails before any rows are read.
        options["tokenizer"] = load_tokenizer(tokenizer_name)
    labelled = rows()
    # After the split, so that none of these rows is held out.
    if extra_train_file is not None:
        labelled = with_more(labelled, extra_train_file, how_read)
    if minutes is None or "train" not in labelled.splits:  # rows that are only scored make no recipe
        task = ClassificationTask(labelled, **options)
    else:
        measured = None
        if (named := options.get("model_name_or_path")) is not None:
            measured = _timed(measure_rows(labelled, options["tokenizer"]), named)
        elif may_go_on:
            tokenizer = load_tokenizer(folder := pretrained(MODEL))
            measured = measure_rows(labelled, tokenizer)
            if goes_on(labelled, measured):
                measured = _timed(measured, folder)
                if needed := lacks_minutes(measured, minutes):
                    note = f"--minutes {math.ceil(needed)} would let it go on from {MODEL}, which reads English"
                    labelled = replace(labelled, notes=(*labelled.notes, note))
                else:
                    options |= {"model_name_or_path": folder, "tokenizer": tokenizer}
        made = recipe_for(labelled, minutes, measured, **options)
        task = ClassificationTask(labelled, **made.options)
        task.made, task.reasons = made.recipe, made.reasons
    if vectors is not None:
        # A word that the file lacks adds nothing to a sum of frozen vectors.
        missing: Missing = "zero" if task.freeze_word_vectors else "random"
        task.word_vectors = load_word_vectors(vectors, task.tokenizer, missing)
    return task


def _timed(measured: Measured, model: str) -> Measured:
    """The same with the time of a training step of a pre-trained model."""
    return replace(measured, step_seconds=time_step(model, *measured.batch))


def labelled_rows(args: argparse.Namespace | Flags, named: dict[str, Any]) -> LabelledText:
    """The rows that the flags ask for; where they name none, those of the recipe; ``named`` as in :func:`plan_rows`."""
    return plan_rows(Flags.of(args), named).make()


def plan_rows(flags: Flags, named: dict[str, Any]) -> Plan:
    """The rows that the flags ask for; where they name none, those of the recipe.

    Args:
        flags: the flags. If they have a ``job``, a saved model's, it is that, whatever the rows hold.
        named: the recipe's own ``task_name``, ``dataset_name`` or ``made_up`` rows, one of them, and how rows of that
            ``dataset_name`` are held out (``validation_block``).
    """
    check_one_source(flags)
    known = flags.take(known="job")  # from `follow_the_model`
    if files := _files(flags):
        source = "the files " + ", ".join(map(str, files.values()))
        how = {**known, "asked": _asked(flags), "options": reading(flags)}
        return Plan(source, partial(labelled_files, files, _columns(flags), flags.validation_block or 1, **how))
    # A data set that is named goes before the recipe's task.
    if (task_name := flags.task_name or (None if flags.dataset_name else named["task_name"])) is not None:
        make = partial(glue, task_name, flags.data_dir, flags.validation_block or 1, **known)
        return Plan(f"the task {task_name} of GLUE", make)
    if (name := flags.dataset_name or named["dataset_name"]) is not None:
        # Neighbours are about one thing in the recipe's data set, not in any.
        own = named["validation_block"] if name == named["dataset_name"] else None
        where = name, flags.data_dir, _columns(flags), flags.dataset_config_name
        make = partial(labelled_dataset, *where, flags.validation_block or own or 1, asked=_asked(flags), **known)
        return Plan(f"the data set {name}", make)
    make = partial(made_up, named["made_up"] or "opinions", **flags.take(rows="rows"))
    return Plan("made-up sentences", make)


def plan_tagging(flags: Flags, recipe: Recipe) -> Plan:
    """Texts whose words are to be tagged, with the tokenizer that the flags name.

    Raises:
        ValueError: flags contradict each other.
    """
    options = dict(recipe.data)
    options |= flags.take(num_proc="preprocessing_num_workers", model_name_or_path="model_name_or_path")
    options |= flags.take(max_length="max_length")
    tokenizer = flags.tokenizer_name or flags.model_name_or_path
    _check_overrides(flags)
    rows = _plan_tagged_rows(flags)
    return Plan(rows.source, partial(_tagging_task, rows.make, tokenizer, **options))


def _plan_tagged_rows(flags: Flags) -> Plan:
    check_one_source(flags)
    labels = flags.take(labels="labels")
    files, name = _files(flags), flags.dataset_name
    if not files and name is None:
        return Plan("made-up sentences", partial(made_up_names, **flags.take(rows="rows")))
    # Asked for here and not above: columns and blocks say nothing of made-up rows, and are refused there.
    columns = TagColumns(**flags.take(tokens="tokens_column", tags="tags_column"))
    block = flags.validation_block or 1
    if files:
        source = "the files " + ", ".join(map(str, files.values()))
        return Plan(source, partial(tagged_files, files, columns, block, **labels, options=reading(flags)))
    where = name, flags.data_dir, columns, flags.dataset_config_name
    return Plan(f"the data set {name}", partial(tagged_dataset, *where, block, **labels))


def plan_audio(flags: Flags, recipe: Recipe) -> Plan:
    """Sounds to classify."""
    return Plan(*plan_sounds(flags, recipe, _files(flags)))


def _tagging_task(rows: Callable[[], TaggedText], tokenizer_name: str | None, **options: Any) -> TaggingTask:
    if tokenizer_name is not None:
        options["tokenizer"] = load_tokenizer(tokenizer_name)
    return TaggingTask(rows(), **options)


def _asked(flags: Flags) -> Asked:
    return Asked(**flags.take(problem_type="problem_type", separator="label_separator"))


def _columns(flags: Flags) -> Columns | None:
    given = flags.take(**COLUMNS)
    return Columns(**given) if given else None  # None: what is known of the data set


def _files(flags: Flags) -> dict[str, Path]:
    """The file of each split that has one."""
    files = {"train": flags.train_file, "validation": flags.validation_file, "test": flags.test_file}
    return {split: path for split, path in files.items() if path is not None}


PLANS: dict[str, Callable[[Flags, Recipe], Plan]] = {
    "images": plan_images,
    "characters": plan_text,
    "pretraining": plan_text,
    "forecast": plan_forecast,
    "series-classification": plan_series,
    "translation": plan_translation,
    "classification": plan_classification,
    "tagging": plan_tagging,
    "audio": plan_audio,
}
