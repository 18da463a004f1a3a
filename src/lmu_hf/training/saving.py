"""A run's checkpoints: what of a run is written, and how a run takes it on again."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from ..common.record import RunRecord
from .checkpoint import Checkpoint, CheckpointError, group_not_finite, save, seal, stage
from .processes import on_main
from .randomness import random_state, restore_random_state
from .resuming import find_checkpoint, load_run
from .shards import read_shards, write_shards

if TYPE_CHECKING:
    from .loop import Run

logger = logging.getLogger(__name__)


def save_run(run: "Run") -> Path:
    """Write a checkpoint of all that decides how a run goes on; where it lies. Every process calls it.

    Raises:
        FloatingPointError: a weight or a moment is not finite.
        CheckpointError: it cannot be written.
    """
    run.measure()
    run.refuse_divergence("the weight {} is not finite", run.learner.first_not_finite())
    groups, state = run.learner.state()
    if run.progress.best is not None:
        groups["best"] = run.best_weights
    own = random_state(variations=run.variations) | {"loss": run.loss.cpu()}
    processes = {"processes": _of_every_process(run.accelerator, own)}
    state |= {"record": asdict(run.record), "progress": vars(run.progress)}
    folder, step, keep = run.folder / "checkpoints", run.progress.step, run.running.checkpoints
    if run.learner.is_sharded:
        run.refuse_divergence("{}", group_not_finite(groups))
        staging = on_main(lambda: stage(folder, step))
        write_shards(staging, groups)
        return on_main(lambda: seal(staging, Checkpoint(processes, state | {"shards": sorted(groups)}), keep))
    try:
        return on_main(lambda: save(folder, step, Checkpoint(groups | processes, state), keep))
    except FloatingPointError as error:
        run.refuse_divergence("{}", str(error))  # only `save` looks at moments, on the main process
        raise


def resume_run(run: "Run") -> RunRecord | None:
    """Let a run go on from a checkpoint, if it is to and there is one; the record that it holds.

    Raises:
        AnotherRunError: the checkpoint, or what else lies in the folder, is of another run.
        CheckpointError: there are checkpoints, and none is good.
        FileExistsError: what stands in the folder is in the way.
    """
    running, accelerator = run.running, run.accelerator
    path = on_main(lambda: find_checkpoint(run.folder, running.resume, running.overwrite, run.record))
    if path is None:
        return None
    saved, failure = None, None
    try:
        saved = load_run(path)
    except CheckpointError as error:  # of this process alone: the main one has read it
        failure = error
    if run.any(failure is not None)[0] or saved is None:
        raise failure or CheckpointError(f"{path} could not be read by every process")
    if groups := saved.state.get("shards"):
        saved.tensors |= read_shards(path, groups, run.learner.weights())
    run.progress, run.resumed = saved.progress, True
    if run.progress.steps:  # before the state, which says where the schedule stands
        run.steps = run.progress.steps
        run.learner.end_at(run.steps)
    run.record.compile_seconds = saved.record.compile_seconds
    run.learner.load_state(saved.tensors, saved.state)
    run.best_weights = saved.tensors.get("best", {})  # none before the first evaluation
    _take_on(run, saved.tensors["processes"])
    if accelerator.is_main_process:
        logger.warning("resuming from %s", path)
    return saved.record


def _of_every_process(accelerator: Accelerator, own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of each process, under its rank."""
    states: dict[str, Tensor] = {}
    for name, tensor in own.items():
        gathered = cast(Tensor, accelerator.gather(tensor[None].to(accelerator.device))).cpu()
        states |= {f"{rank}.{name}": part.clone() for rank, part in enumerate(gathered)}  # not views of one tensor
    return states


def _take_on(run: "Run", states: dict[str, Tensor]) -> None:
    """Go back to what this process held of its own: its random generators, and its part of the sum of losses.

    Of another number of processes the first takes on the whole sum, and those that were not there draw from their seed.
    """
    rank, before = run.accelerator.process_index, sum(name.endswith(".loss") for name in states)
    own = {name.removeprefix(f"{rank}."): part for name, part in states.items() if name.startswith(f"{rank}.")}
    loss = own.pop("loss", torch.zeros_like(run.loss))
    if before != run.accelerator.num_processes:
        whole = torch.stack([states[f"{number}.loss"] for number in range(before)]).sum()
        loss = whole if rank == 0 else torch.zeros_like(whole)
    run.loss = loss.to(run.loss.device)
    if own:
        restore_random_state(own, variations=run.variations)  # last, so that nothing above draws from it
