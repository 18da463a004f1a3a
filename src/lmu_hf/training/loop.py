"""The one training loop, on accelerate: a recipe and a task in; checkpoints, a model and a run record out."""

import json
import logging
import math
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import send_to_device, set_seed
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from .batches import Schedule, training_batches
from .checkpoint import Checkpoint, CheckpointError, load, newest, save
from .evaluation import evaluate, load_model
from .heap import Heap
from .learner import Learner
from .randomness import random_state, restore_random_state
from .recipes import Recipe
from .record import MetricsLog, RunRecord, count_parameters, describe_architecture, peak_memory_bytes
from .signals import Interruption
from .tasks.base import Task

SAVE_SECONDS = 60.0
SAVE_SHARE = 0.02  # of a run's time is the most that saving by the clock takes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Running:
    """How a run is run: nothing here changes what it computes, but for ``mixed_precision``.

    Args:
        quiet: no progress bar.
        read_test: read the test split, once, with the chosen weights (if the task has one).
        resume: go on from the newest good checkpoint in the run folder (or begin, if there is none), or from the
            checkpoint at a path.
        overwrite: begin anew in a folder that holds an earlier run, which is then lost.
        checkpointing_steps: save a checkpoint every so many steps, or ``"epoch"``; None for once a minute, or more
            seldom where saving is slow.
        checkpoints: how many are kept.
        workers: processes that make batches.
        report_to: a tracker that accelerate knows (``"tensorboard"``, ``"wandb"``, ``"trackio"``, …), or ``"none"``.
        mixed_precision: ``"no"`` or ``"bf16"``, the memory and the final scores staying float32; None for what
            accelerate was launched with.
    """

    quiet: bool = False
    read_test: bool = True
    resume: bool | Path = False
    overwrite: bool = False
    checkpointing_steps: int | str | None = None
    checkpoints: int = 2
    workers: int = 0
    report_to: str = "none"
    mixed_precision: str | None = None


def train(model: PreTrainedModel, recipe: Recipe, task: Task, seed: int, output_dir: Path, **how: Any) -> RunRecord:
    """Train a model, keep the weights that are best on validation, and leave a complete run folder.

    Args:
        model: a fresh model; on return it holds the chosen weights.
        recipe: optimiser and budget.
        task: data and metric.
        seed: of the order of rows, of dropout and of augmentation.
        output_dir: the run folder: ``checkpoints/``, ``model/``, ``metrics.jsonl`` and ``run.json`` are written there.
        how: fields of :class:`Running`.

    Returns:
        The record, as written to ``run.json`` (last of all, so a folder that has one is complete).

    Raises:
        FloatingPointError: the training loss is no longer a number.
        FileExistsError: the folder holds an earlier run, and nothing was said of resuming or overwriting it.
        CheckpointError: a checkpoint cannot be written, is damaged, or belongs to another run.
        SystemExit: the process was told to end (SIGTERM, SIGINT); a checkpoint was saved first.
    """
    running = Running(**how)
    tracker = None if running.report_to == "none" else running.report_to
    accelerator = Accelerator(
        mixed_precision=running.mixed_precision, log_with=tracker, project_dir=output_dir / "trackers"
    )
    if running.quiet:
        disable_progress_bar()
    set_seed(seed, device_specific=True)
    run = _Run(accelerator, model, recipe, task, seed, running)
    record = RunRecord(
        recipe=recipe.name,
        task=task.name,
        data=task.describe(),
        metric=task.metric,
        scorer=task.scorer,
        seed=seed,
        hyperparameters=recipe.hyperparameters(),
        architecture=describe_architecture(model.config),
        parameters=count_parameters(model),
        processes=accelerator.num_processes,
        mixed_precision=accelerator.mixed_precision,
    )
    if accelerator.is_main_process:
        _make_room(output_dir, running)
    accelerator.wait_for_everyone()
    run.fit(output_dir, record)
    run.finish(output_dir, record)
    return record


def read_test(folder: Path, record: RunRecord, task: Task) -> RunRecord:
    """Score the test split, if there is one, for a finished run that has not read it, and write that to its record.

    The record's command is then the one that trained it, less the flag that left the test unread.

    Args:
        folder: the run folder.
        record: as it stands there.
        task: the run's data.

    Raises:
        CheckpointError: the data is not that of the run.
    """
    _check_identity(folder / "run.json", _identity(record.data), _identity(task.describe()))
    if "test" in task.splits:
        record.metrics["test"] = evaluate(load_model(str(folder / "model"), task), task, "test")
        record.command = shlex.join(word for word in shlex.split(record.command) if word != "--skip_test")
        if PartialState().is_main_process:
            record.data |= task.extras()
            record.write(folder)
    return record


@dataclass
class Progress:
    """How far a run has come: what a checkpoint says beside its tensors."""

    step: int = 0
    best: float | None = None
    best_step: int = 0
    worse: int = 0
    loss_steps: int = 0
    seconds: float = 0.0
    memory_bytes: int = 0  # the most held by the main process, or by one before it that was interrupted
    rows: list[dict] = field(default_factory=list)


class _Run:
    """What one run holds while it trains: what learns, how far it has come, and the best weights on the way."""

    def __init__(
        self, accelerator: Accelerator, model: PreTrainedModel, recipe: Recipe, task: Task, seed: int, running: Running
    ) -> None:
        self.accelerator, self.recipe, self.task, self.running = accelerator, recipe, task, running
        processes, rank = accelerator.num_processes, accelerator.process_index
        self.variations = torch.Generator().manual_seed(seed * 1009 + rank)
        self.rows = Schedule(task, recipe.batch_size, recipe.accumulation, seed, processes, rank)
        self.steps = recipe.max_steps or recipe.epochs * self.rows.steps_per_epoch
        self.learner = Learner(accelerator, model, recipe, self.steps)
        self.progress = Progress()
        self.heap = Heap()
        self.loss = torch.zeros((), device=accelerator.device)  # summed over the steps since the last evaluation
        self.loaders: dict[str, DataLoader] = {}
        self.best_weights: dict[str, Tensor] = {}

    # ------------------------------------------------------------------ training

    def fit(self, folder: Path, record: RunRecord) -> None:
        """Train to the end of the budget, or of the patience, evaluating and saving on the way."""
        identity = {name: getattr(record, name) for name in ("recipe", "seed", "processes", "hyperparameters")}
        identity |= {"architecture": record.architecture, "data": record.data}
        identity = _identity(identity)
        self._resume(folder, identity)
        progress, main = self.progress, self.accelerator.is_main_process
        log = MetricsLog(folder, progress.rows) if main else None
        if self.running.report_to != "none":
            self.accelerator.init_trackers(record.recipe, config=identity)
        batches = training_batches(self.rows, progress.step, self.running.workers)
        bar = tqdm(
            total=self.steps,
            initial=progress.step,
            unit="step",
            disable=self.running.quiet or not main,
            desc=record.recipe,
        )
        start, next_save = time.perf_counter() - progress.seconds, time.perf_counter() + SAVE_SECONDS
        with Interruption() as interruption:
            while progress.step < self.steps and not self._patience_is_over():
                self._step(batches)
                self.heap.tidy()
                bar.update()
                if self._evaluation_is_due():
                    self._evaluate(bar, log, start)
                told, late = self._any(interruption.signal is not None, time.perf_counter() > next_save)
                if told or self._save_is_due(late):
                    began = time.perf_counter()
                    progress.seconds = began - start
                    self._save(folder, identity)
                    saved = time.perf_counter()
                    next_save = saved + max(SAVE_SECONDS, (saved - began) / SAVE_SHARE)
                if told:
                    raise SystemExit(128 + (interruption.signal or 0))
        bar.close()
        progress.seconds = time.perf_counter() - start

    def _step(self, batches: Iterator) -> None:
        """One step of the optimiser: the gradient of the mean over all terms of all turns of all processes."""
        self.learner.model.train()
        turns = self.rows.turns(self.progress.step)
        inputs = [
            send_to_device(self.task.inputs(next(batches), self.variations), self.accelerator.device) for _ in turns
        ]
        terms = [self.task.terms(given) * (rows > 0) for given, rows in zip(inputs, turns, strict=True)]
        every = cast(Tensor, self.accelerator.reduce(torch.stack(terms).sum())).clamp(min=1)
        for turn, (given, count) in enumerate(zip(inputs, terms, strict=True)):
            share = count / every
            waiting = turn < len(turns) - 1  # gradients are exchanged once a step
            with self.accelerator.no_sync(self.learner.model) if waiting else nullcontext():
                loss = self.task.loss(self.learner.model, given, self.recipe.label_smoothing)
                # Gradients of several processes are averaged.
                self.accelerator.backward(loss * (share * self.accelerator.num_processes))
            self.loss += loss.detach() * share
        self.learner.update()
        self.progress.step += 1
        self.progress.loss_steps += 1

    def _any(self, *conditions: bool) -> list[bool]:
        """Of each condition, whether it holds in any process."""
        if self.accelerator.num_processes == 1:
            return list(conditions)
        flags = torch.tensor(conditions, dtype=torch.float32, device=self.accelerator.device)
        return (cast(Tensor, self.accelerator.reduce(flags)) > 0).tolist()

    # ------------------------------------------------------------------ evaluation

    @property
    def epoch(self) -> float:
        """How often every row has been seen."""
        return round(self.progress.step / self.rows.steps_per_epoch, 3)

    def _evaluation_is_due(self) -> bool:
        every = self.recipe.eval_steps or self.rows.steps_per_epoch
        return self.progress.step % every == 0 or self.progress.step == self.steps

    def _patience_is_over(self) -> bool:
        return self.recipe.patience is not None and self.progress.worse >= self.recipe.patience

    def _evaluate(self, bar: tqdm, log: MetricsLog | None, start: float) -> None:
        """Score the validation split, log it, and keep the weights if they are the best so far."""
        progress, metric = self.progress, self.task.metric
        loss = self._mean_loss()
        with self.learner.averaged():
            scores = self.scores("validation")
            goodness = -scores[metric] if self.task.lower_is_better else scores[metric]
            progress.worse += 1
            if progress.best is None or goodness > progress.best:
                progress.best, progress.best_step, progress.worse = goodness, progress.step, 0
                self.best_weights = self.learner.weights()
        row = {"step": progress.step, "epoch": self.epoch, "train_loss": loss}
        row |= {f"validation_{name}": score for name, score in scores.items()}
        bar.set_postfix(loss=f"{loss:.3f}", **{metric: f"{scores[metric]:.4f}"})
        self.accelerator.log({name: value for name, value in row.items() if name != "step"}, step=progress.step)
        progress.rows.append({**row, "seconds": time.perf_counter() - start})
        if log is not None:
            log.add(progress.rows[-1])

    def _mean_loss(self) -> float:
        """The mean training loss of the steps since the last evaluation."""
        progress = self.progress
        mean = cast(Tensor, self.accelerator.reduce(self.loss / progress.loss_steps)).item()
        self.loss, progress.loss_steps = torch.zeros_like(self.loss), 0
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"the training loss before step {progress.step} is {mean}; lower "
                f"learning_rate={self.recipe.learning_rate}"
            )
        return mean

    @torch.no_grad()
    def scores(self, split: str, final: bool = False) -> dict[str, float]:
        """A split's scores, over all processes."""
        if split not in self.loaders:
            loader = self.task.loader(split, self.task.evaluation_batch, self.running.workers)
            self.loaders[split] = self.accelerator.prepare_data_loader(loader)
        model, batches = self.learner.plain.eval(), self.heap.tidied(self.loaders[split])
        return self.task.scores(model, split, batches, self.accelerator.gather_for_metrics, final)

    # ------------------------------------------------------------------ saving and going on

    def _save_is_due(self, late: bool) -> bool:
        every = self.running.checkpointing_steps
        if every is None:
            return late
        return self.progress.step % (self.rows.steps_per_epoch if every == "epoch" else int(every)) == 0

    def _save(self, folder: Path, identity: dict) -> None:
        """Write a checkpoint of all that decides how the run goes on."""
        self._measure_memory()
        tensors, state = self.learner.state()
        own = random_state(variations=self.variations) | {"loss": self.loss.cpu()}
        tensors["processes"] = self._of_every_process(own)
        if self.progress.best is not None:
            tensors["best"] = self.best_weights
        failure = None
        if self.accelerator.is_main_process:
            state |= {"identity": identity, "progress": vars(self.progress)}
            try:
                save(folder / "checkpoints", self.progress.step, Checkpoint(tensors, state), self.running.checkpoints)
            except CheckpointError as error:
                failure = error
        if any(self._any(failure is not None)):
            raise failure or CheckpointError("the main process could not write a checkpoint")

    def _measure_memory(self) -> None:
        self.progress.memory_bytes = max(self.progress.memory_bytes, peak_memory_bytes())

    def _of_every_process(self, own: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of each process, under its rank."""
        every: dict[str, Tensor] = {}
        for name, tensor in own.items():
            gathered = cast(Tensor, self.accelerator.gather(tensor[None].to(self.accelerator.device))).cpu()
            every |= {f"{rank}.{name}": part.clone() for rank, part in enumerate(gathered)}
        return every

    def _resume(self, folder: Path, identity: dict) -> None:
        """Go on from a checkpoint, if the run is to and there is one."""
        if not self.running.resume:
            return
        path = newest(folder / "checkpoints") if self.running.resume is True else Path(self.running.resume)
        if path is None:
            return
        checkpoint = load(path)
        _check_identity(path, checkpoint.state["identity"], identity)
        state, tensors = checkpoint.state, checkpoint.tensors
        self.progress = Progress(**state["progress"])
        self.learner.load_state(tensors, state)
        self.best_weights = tensors.get("best", {})
        rank = f"{self.accelerator.process_index}."
        own = {name.removeprefix(rank): part for name, part in tensors["processes"].items() if name.startswith(rank)}
        self.loss = own.pop("loss").to(self.loss.device)
        restore_random_state(own, variations=self.variations)
        if self.accelerator.is_main_process:
            logger.warning("going on from %s", path)

    def finish(self, folder: Path, record: RunRecord) -> None:
        """Score the chosen weights as the saved model will be, save them, and write the record."""
        progress = self.progress
        self.learner.set_weights(self.best_weights)
        self.learner.end_autocast()
        record.best_step, record.steps = progress.best_step, progress.step
        record.best_epoch = round(progress.best_step / self.rows.steps_per_epoch, 3)
        record.wall_seconds = round(progress.seconds, 1)
        record.metrics = {"validation": self.scores("validation", final=True)}
        read_test = self.running.read_test and "test" in self.task.splits
        if read_test:
            record.metrics["test"] = self.scores("test", final=True)
        self._measure_memory()
        record.peak_memory_bytes = progress.memory_bytes
        weights = self.learner.weights()
        for tied in self.learner.plain.all_tied_weights_keys:  # saved once, under their source's name
            weights.pop(tied, None)
        if self.accelerator.is_main_process:
            record.data |= self.task.extras() if read_test else {}
            self.learner.plain.save_pretrained(folder / "model", state_dict=weights)
            if (processor := self.task.processor()) is not None:
                processor.save_pretrained(folder / "model")
            record.write(folder)
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self.accelerator.wait_for_everyone()


def _make_room(folder: Path, running: Running) -> None:
    """Make the run folder; an earlier run in it is gone on with, deleted, or in the way.

    Raises:
        FileExistsError: it is in the way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if running.resume:
        return
    earlier = [path for path in (folder / "run.json", folder / "checkpoints") if path.exists()]
    if earlier and not running.overwrite:
        raise FileExistsError(
            f"{folder} holds an earlier run ({earlier[0].name}): resume it, overwrite it, or choose another folder"
        )
    if (folder / "checkpoints").exists():
        shutil.rmtree(folder / "checkpoints")


def _check_identity(path: Path, theirs: dict, ours: dict) -> None:
    """Refuse what another run has left.

    Raises:
        CheckpointError: something that decides the run differs; the message names it.
    """
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            raise CheckpointError(
                f"{path} was made with {name}={theirs.get(name)!r}; this run has {name}={ours.get(name)!r}"
            )


def _identity(nested: dict[str, Any]) -> dict[str, Any]:
    """What a run is told by, flat, as JSON gives it back."""
    return _flat(json.loads(json.dumps(nested)))


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dictionary as one of numbers and words."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, int | float | str) else str(value)
    return flat
