"""A saved model's scores on a split of the data that a recipe names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SequenceFeatureExtractor,
)

from ..common.errors import TOKENIZER, loading
from ..common.products import fast_products
from ..common.record import RunRecord, count_parameters
from ..data.heap import Heap
from .recipes import Recipe, get_recipe
from .tasks.base import Task

# What kind of rows a head reads that needs no more than a file of them.
KINDS_OF_HEADS = {
    "ForSequenceClassification": "classification",
    "ForSequencePairClassification": "classification",
    "ForTokenClassification": "tagging",
    "ForTimeSeriesClassification": "series-classification",
    "ForAudioClassification": "audio",
}
FREE = ("permutation_seed",)  # of an image model: it holds its permutation itself


def find_record(model_name_or_path: str) -> RunRecord | None:
    """The record of the run folder that a saved model lies in, if it lies in one."""
    folder = Path(model_name_or_path).absolute().parent  # the model is `model/` in the run folder
    return RunRecord.read(folder) if (folder / "run.json").is_file() else None


def find_recipe(name: str | None, model_name_or_path: str) -> Recipe:
    """The recipe of that name; if none is given, what the model's run folder tells of its own, its data included.

    A classifier of texts that lies in no run folder is of the kind that its config says; its data is for flags to name.

    Raises:
        ValueError: there is no such recipe, or nothing says which it is.
    """
    if name is not None:
        return get_recipe(name)
    if (record := find_record(model_name_or_path)) is None:
        if (Path(model_name_or_path) / "config.json").is_file() and (kind := rows_of(model_name_or_path)) is not None:
            return Recipe(name="own", kind=kind, architecture={})
        gone = "" if Path(model_name_or_path).exists() else " (and there is no such folder here)"
        raise ValueError(
            f"{model_name_or_path} does not lie in a run folder that would say what it is for: give --recipe{gone}"
        )
    # The record's data options, not the recipe's: flags may have changed them.
    return get_recipe(record.recipe, data=record.hyperparameters.get("data"))


def head_of(name: str) -> str:
    """The class of a saved model, by its folder or its name on the Hub; empty where its config does not say."""
    with loading("model", name):
        return (AutoConfig.from_pretrained(name).architectures or [""])[0]


def rows_of(name: str) -> str | None:
    """What kind of rows a saved model reads; None where its head does not say."""
    return KINDS_OF_HEADS.get(head_of(name).removeprefix("LMU").removeprefix("LSTM"))


def load_model(name: str, task: Task) -> PreTrainedModel:
    """A saved model that fits a task's data.

    Raises:
        ValueError: it was made for other data; the message says in what they differ.
        OSError: it is not there.
    """
    with loading("model", name):
        model = task.auto_class.from_pretrained(name)
    # A vocabulary or labels in another order would give scores without an error, and wrong ones.
    for field, wanted in task.config_fields().items():
        if field not in FREE and (there := getattr(model.config, field)) != wanted:
            raise ValueError(f"{name} was made for other data: it has {field} {there}, and the data asks for {wanted}")
    processor = task.processor()
    if isinstance(processor, PreTrainedTokenizerBase):
        with loading("tokenizer", name, TOKENIZER):
            vocabulary = AutoTokenizer.from_pretrained(name).get_vocab()  # a size alone does not tell two apart
        if vocabulary != processor.get_vocab():
            raise ValueError(f"{name} has another vocabulary than the one that this data gives: name the data it is of")
    elif processor is not None and not isinstance(
        processor, SequenceFeatureExtractor
    ):  # else `audio` above says it all
        with loading("image processor", name):
            # The processor on PIL, as training saved it; the other needs torchvision.
            saved = AutoImageProcessor.from_pretrained(name, use_fast=False)
        if (saved.image_mean, saved.image_std) != (processor.image_mean, processor.image_std):
            raise ValueError(
                f"{name} reads pixels with mean {saved.image_mean} and std {saved.image_std}; those of the data are "
                f"{processor.image_mean} and {processor.image_std}"
            )
    return model


@torch.no_grad()
def evaluate(
    model: PreTrainedModel,
    task: Task,
    split: str,
    batch_size: int | None = None,
    rows: Sequence[int] | None = None,
    products: str | None = None,
) -> dict[str, float]:
    """A model's scores on a split, or on some of its rows, by the search that a run's final scores use.

    Args:
        model: a saved one.
        task: its data.
        split: of the data.
        batch_size: None for the task's own.
        rows: which; None for all.
        products: the route of float32 products, as of :func:`~lmu_hf.common.products.fast_products`.

    Raises:
        ValueError: the data has no such split.
    """
    _check_split(task, split)
    accelerator = Accelerator()
    # `gather_for_metrics` asks a prepared loader how many rows of the last batch are there twice, and drops them.
    loader = accelerator.prepare(task.loader(split, batch_size or task.evaluation_batch, rows=rows))
    model, batches = model.eval().to(accelerator.device), Heap().tidied(loader)
    with fast_products("torch" if accelerator.device.type != "cpu" else products):
        return task.scores(model, split, batches, accelerator.gather_for_metrics, final=True)


def evaluate_by_length(
    model: PreTrainedModel, task: Task, split: str, groups: int, batch_size: int | None = None
) -> list[dict[str, Any]]:
    """A model's scores on rows of like length, from the shortest to the longest.

    Args:
        groups: of about as many rows each, as far as rows of one length, which stay together, allow it.

    Returns:
        Per group its shortest and longest row's ``length``, its ``rows`` and its ``scores``.

    Raises:
        ValueError: there is not one group, the data has no such split, or its rows have no lengths.
    """
    if groups < 1:
        raise ValueError(f"rows can be scored by length in 1 group or more, got {groups}")
    _check_split(task, split)
    lengths = task.row_lengths(split)
    # Quantiles by "lower" are lengths that occur; where many rows are of one length, edges coincide and groups merge.
    edges = np.unique(np.quantile(lengths, np.arange(1, groups) / groups, method="lower"))
    group_of = np.searchsorted(edges, lengths)  # rows as long as an edge go below it, all of them
    found = []
    for group in np.unique(group_of):  # the last group is empty if the longest length is an edge
        rows = np.flatnonzero(group_of == group)
        between = [int(lengths[rows].min()), int(lengths[rows].max())]
        scores = evaluate(model, task, split, batch_size, rows.tolist())
        found.append({"length": between, "rows": len(rows), "scores": scores})
    return found


def _check_split(task: Task, split: str) -> None:
    if split not in task.splits:
        raise ValueError(f"{task.name} has no split {split!r}; it has {', '.join(task.splits)}: give --split")


def report(name: str, model: PreTrainedModel, task: Task, split: str, scores: dict[str, float]) -> dict[str, Any]:
    """What was scored, on what, how and to what result, as plain numbers and words."""
    return {
        "model": name,
        "task": task.name,
        "split": split,
        "scores": scores,
        "details": task.details(split),
        "scorer": task.scorer,
        "data": task.describe(),
        "parameters": count_parameters(model),
    }
