"""Which run it is: one definition, for a finished folder, for a checkpoint and for a test split that is read later."""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel

from ..common.record import RunRecord, count_parameters, describe_architecture
from .checkpoint import CheckpointError
from .recipes import Recipe
from .running import Running
from .tasks.base import Task

ROWS = 16  # of the training and the validation split, whose inputs are compared
SHOWN = 3  # fields that an error names
LONGEST = 60  # characters of a value that an error shows
# What a task says of itself that a record holds by other names.
SAID_ALREADY = (
    *("name", "metric", "scorer", "dataset", "dataset_config", "example", "title"),
    "model_name_or_path",  # by "stack", without the place that the model lies in
)
SHOWN_ALONE = ("data.title", "data.example")  # they decide no number
# What may differ where the rows of a step are the same: who reads them.
READERS = ("processes", "hyperparameters.batch_size", "sequence_parallel")
DIGESTS = ("data.fingerprint", "inputs", "initial_model")  # named last: what changed them says more

logger = logging.getLogger(__name__)


class AnotherRunError(CheckpointError):
    """What a folder or a checkpoint holds is of another run; the message names what differs."""


def describe_run(
    model: PreTrainedModel,
    recipe: Recipe,
    task: Task,
    seed: int,
    accelerator: Accelerator,
    running: Running,
) -> RunRecord:
    """The record of a run that is about to begin, with all that identifies it.

    Args:
        model: as it is before the first step.
        recipe, task, seed: of the run.
        accelerator: as it was launched.
        running: whether the model is compiled and rows are cut, which makes sums in another order.
    """
    return RunRecord(
        recipe=recipe.name,
        task=task.task,
        head=type(model).__name__,
        data=task.describe() | task.source(),
        metric=task.metric,
        problem_type=task.problem_type,
        baseline=recipe.baseline_kind,
        baseline_of=recipe.baseline_of,
        scorer=task.scorer,
        seed=seed,
        hyperparameters=recipe.hyperparameters(),
        architecture=describe_architecture(model.config),
        parameters=count_parameters(model),
        processes=accelerator.num_processes,
        mixed_precision=accelerator.mixed_precision,
        torch_compile=running.torch_compile,
        sequence_parallel=running.sequence_parallel,
        options=_options(task),
        inputs=_digest_inputs(task),
        initial_model=_digest_model(model),
    )


def identity(record: RunRecord) -> dict[str, Any]:
    """All of a record that decides the run's numbers, as flat names and values, as JSON gives them back."""
    given = {own.name: getattr(record, own.name) for own in fields(record) if not own.metadata.get("outcome")}
    # By way of JSON, which makes lists of tuples and strings of keys, as in the record that was read.
    return dict(_flat(json.loads(json.dumps(given))))


def check_same_run(path: Path, theirs: RunRecord, ours: RunRecord) -> None:
    """Refuse what another run has left; say if this run goes on elsewhere than it began.

    Args:
        path: where it lies.
        theirs: the record there. What a record of an earlier version does not say is not compared.
        ours: of the run that was asked for.

    Raises:
        AnotherRunError: something that decides a number differs.
    """
    there, here = identity(theirs), identity(ours)
    unsaid = {own.name for own in fields(theirs) if getattr(theirs, own.name) is None}
    differing = [
        name
        for name in dict.fromkeys((*here, *there))  # both sides' names, in order, once
        if here.get(name) != there.get(name)
        and name.partition(".")[0] not in unsaid
        # A finished run's record says more of the data: what was found out once the test split had been read.
        and not (name.startswith("data.") and name not in here)
        and name not in SHOWN_ALONE
    ]
    if theirs.rows_together == ours.rows_together:
        differing = [name for name in differing if name not in READERS]
    moved = _differing_environment(theirs, ours)
    if moved and differing == ["initial_model"]:
        moved.append("the weights that it began with")  # random numbers differ in their last digits between machines
        differing = []
    if theirs.processes != ours.processes:
        moved.append(f"processes {theirs.processes}, here {ours.processes}, which draw dropout of their own")
    if differing:
        raise AnotherRunError(_differ(path, theirs, differing, there, here))
    if moved:
        logger.warning("%s was made elsewhere, so digits may differ: %s", path, "; ".join(moved))


def _differ(path: Path, theirs: RunRecord, differing: list[str], there: dict, here: dict) -> str:
    # A field before a field's field: `seed` says more than `hyperparameters.data.max_length`.
    named = sorted(differing, key=lambda name: (name in DIGESTS, name.count(".")))[:SHOWN]
    made, asked = (", ".join(f"{name}={_shown(values.get(name))}" for name in named) for values in (there, here))
    more = f" (and {len(differing) - SHOWN} more)" if len(differing) > SHOWN else ""
    return (
        f"{path} was made with {made}; this run has {asked}{more}: give the flags that it was made with "
        f"(`{theirs.command}`) or another --output_dir, or delete it with --overwrite_output_dir"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _differing_environment(theirs: RunRecord, ours: RunRecord) -> list[str]:
    """What differs between the places where two records were made, one entry a program or device."""
    there, here = (
        {**record.versions, **record.hardware, "commit": record.commit, "scorer": record.scorer}
        for record in (theirs, ours)
    )
    # What a record of an earlier version does not say is not compared.
    return [f"{name} {there[name]}, here {here[name]}" for name in here if name in there and there[name] != here[name]]


def _flat(nested: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in nested.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _options(task: Task) -> dict[str, Any]:
    """A task's plain attributes, but for those that its record says by other names."""
    return {
        # `is_dataclass` is true of a dataclass itself, too, which `asdict` refuses.
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in sorted(vars(task).items())
        if _is_plain(value) and name not in SAID_ALREADY
    }


def _is_plain(value: Any) -> bool:
    """Whether a task's attribute is an option rather than data: a number, a word, or a few of them."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if is_dataclass(value) and not isinstance(value, type):
        return all(map(_is_plain, vars(value).values()))
    return value is None or isinstance(value, bool | int | float | str)


def _digest_inputs(task: Task) -> str:
    """Of the first rows of the splits that are trained and chosen on, as a model gets them."""
    digest = sha256()
    with torch.random.fork_rng(devices=()):  # a loader draws a number when it begins
        for split in ("train", "validation"):
            rows = range(min(ROWS, len(task.splits[split])))
            for batch in task.loader(split, ROWS, rows=rows):
                _add_tensors(digest, task.inputs(batch))  # without a generator nothing is varied
    return digest.hexdigest()[:16]


def _digest_model(model: PreTrainedModel) -> str:
    """Of a model's config and weights."""
    config = {
        name: value
        for name, value in model.config.to_dict().items()
        if name != "transformers_version" and name[0] != "_"  # _name_or_path and the like say where from
    }
    digest = sha256(json.dumps(config, sort_keys=True, default=str).encode())
    _add_tensors(digest, model.state_dict())
    return digest.hexdigest()[:16]


def _add_tensors(digest: Any, tensors: dict[str, Tensor]) -> None:
    for name, tensor in sorted(tensors.items()):
        # Type and shape, too: equal bytes can be read as other numbers.
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # Flat, for a scalar cannot be viewed as bytes; as bytes, for numpy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
