"""Scoring a saved model on the rows of its run, or on others that flags name."""

import argparse
from pathlib import Path

from accelerate import PartialState
from transformers import PreTrainedModel

from ..common.errors import check_model
from ..common.lines import digits
from ..common.record import keep
from ..training.evaluation import evaluate, evaluate_by_length, find_recipe, find_record, load_model, report
from ..training.judging import plain_table
from ..training.tasks.base import Task
from .flags import Flags
from .loading import load_task
from .origin import check_named, check_rows, follow_the_model, follow_the_run
from .results import give


def load(args: argparse.Namespace) -> tuple[PreTrainedModel, Task]:
    """The model, and the rows to score it on."""
    name = check_model(args.model)
    folder = Path(name).absolute().parent
    record = find_record(name)
    if record is not None and args.recipe not in (None, record.recipe):
        record = None  # the data of another recipe is asked for
    recipe = find_recipe(None if record is not None else args.recipe, name)
    if record is None and args.recipe is None:
        check_named(args, name)
    rows_of_the_run = follow_the_run(args, record, folder)
    follow_the_model(args, recipe, name)
    flags = Flags(args)
    flags.read |= {"model", "recipe", "split", "by_length", "per_device_eval_batch_size", "output", "json"}
    with PartialState().main_process_first():
        task = load_task(flags, recipe)
    noisy = getattr(args, "noise_db", None) is not None  # then every sample differs from the run's, as was asked for
    if record is not None and rows_of_the_run and not noisy:
        check_rows(record, folder, task)
    return load_model(name, task), task


def score(args: argparse.Namespace) -> dict[str, float]:
    """Load the data and the model, score, and print; the scores."""
    name, split, batch_size, output = args.model, args.split, args.per_device_eval_batch_size, args.output
    model, task = load(args)
    groups = []
    if args.by_length is not None:  # first, since it may be refused
        groups = evaluate_by_length(model, task, split, args.by_length, batch_size)
    scores = evaluate(model, task, split, batch_size)
    if PartialState().is_main_process:
        lines = [f"{name}, {split} of {task.name}: {_words(scores)}"]
        if classes := task.details(split).get("classes"):
            lines.append(plain_table(classes))
        for group in groups:
            lengths = "{} to {}".format(*group["length"])
            lines.append(f"{lengths} {task.length_unit}, {group['rows']} rows: {_words(group['scores'])}")
        by_length = {"by_length": {"unit": task.length_unit, "groups": groups}} if groups else {}
        result = keep(report(name, model, task, split, scores) | by_length, output)
        if output is not None:
            lines.append(f"{output}: the scores, on what, and with which versions")
        give(args, lines, result)
    return scores


def _words(scores: dict[str, float]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {digits(value)}" for key, value in scores.items())
