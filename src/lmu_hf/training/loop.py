"""The one training loop, on accelerate: a recipe and a task in; checkpoints, a model and a run record out."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, set_seed
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from ..common.finite import first_not_finite, first_score_not_finite, watched_outputs
from ..common.lock import owned
from ..common.record import MetricsLog, RunRecord, peak_memory_bytes
from ..common.staging import delete, folder_written_whole
from ..data.batches import Schedule, training_batches
from ..data.heap import Heap
from .budget import Budget
from .checkpoint import newest
from .finished import finished, is_complete
from .identity import describe_run, identity
from .learner import Learner
from .processes import on_main
from .recipes import Recipe
from .refitting import refit
from .resuming import Progress
from .run_folder import earlier_files
from .running import Running
from .saving import resume_run, save_run
from .sharing import make_sharing
from .signals import Interrupted, Interruption
from .speed import CompileClock, at_speed, chosen_precision, uncompiled
from .tasks.base import Task

SAVE_SECONDS = 60.0  # between two checkpoints, at least
SAVE_SHARE = 0.02  # of a run's time is the most that saving by the clock takes

logger = logging.getLogger(__name__)


def train(model: PreTrainedModel, recipe: Recipe, task: Task, seed: int, output_dir: Path, **how: Any) -> RunRecord:
    """Train a model, keep the weights that are best on validation, and leave a complete run folder.

    Asked to resume a run that is complete, it trains nothing: the model takes on the saved weights, and the test split
    is read if that is still to be done.

    Args:
        model: a fresh model; on return it holds the chosen weights.
        recipe: optimiser and budget.
        task: data and metric.
        seed: of the order of rows, of dropout and of augmentation.
        output_dir: the run folder: ``checkpoints/``, ``model/``, ``metrics.jsonl`` and ``run.json`` are written there.
        how: fields of :class:`~lmu_hf.training.running.Running`.

    Returns:
        The record, as written to ``run.json`` (last of all, so a folder that has one is complete).

    Raises:
        FloatingPointError: training has diverged: a loss, a score or a weight is no longer finite.
        FileExistsError: the folder holds an earlier run, and nothing was said of resuming or overwriting it, or what is
            not a run's.
        RunFolderError: another process writes to the folder, or nobody can.
        CheckpointError: a checkpoint cannot be written, or none is good.
        AnotherRunError: the folder or the checkpoint is of another run.
        Interrupted: the process was told to end (SIGTERM, SIGINT); a checkpoint was saved first.
    """
    running = Running(**how)
    tracker = None if running.report_to == "none" else running.report_to
    precision = chosen_precision(running.mixed_precision, recipe)
    accelerator = Accelerator(mixed_precision=precision, log_with=tracker, project_dir=output_dir / "trackers")
    if running.quiet:
        disable_progress_bar()
    set_seed(seed, device_specific=True)  # each process has dropout of its own
    record = describe_run(model, recipe, task, seed, accelerator, running)
    if running.resume and is_complete(output_dir):
        return finished(output_dir, record, model, task, running.read_test)
    run = Run(accelerator, model, recipe, task, record, output_dir, running)
    with ExitStack() as held:
        on_main(lambda: held.enter_context(owned(output_dir)))  # one holder for all, until the stack closes
        held.enter_context(at_speed(record, resume_run(run), run.learner.plain))
        run.fit()
        run.finish()
    return record


class Run:
    """What one run holds while it trains: what learns, how far it has come, and the best weights on the way."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: PreTrainedModel,
        recipe: Recipe,
        task: Task,
        record: RunRecord,
        folder: Path,
        running: Running,
    ) -> None:
        self.accelerator, self.recipe, self.task = accelerator, recipe, task
        self.record, self.folder, self.running = record, folder, running
        processes, rank, seed = accelerator.num_processes, accelerator.process_index, record.seed
        self.sharing = sharing = make_sharing(running.sequence_parallel, processes, rank, task, model)
        # No two readers or seeds deform alike.
        self.variations = torch.Generator().manual_seed(seed * 1009 + sharing.reader)
        self.rows = Schedule(task, recipe.batch_size, recipe.accumulation, seed, sharing.readers, sharing.reader)
        self.steps = self.wanted = recipe.count_steps(self.rows.steps_per_epoch, model)
        self.learner = Learner(accelerator, model, recipe, self.steps)
        self.fresh = self.learner.weights() if recipe.refit else {}
        self.progress = Progress(seconds=sum(task.spent.values()))
        self.heap = Heap()
        self.loss = torch.zeros((), device=accelerator.device)  # summed over the steps since the last evaluation
        self.loaders: dict[str, DataLoader] = {}  # prepared once a split
        self.best_weights: dict[str, Tensor] = {}  # on the CPU; of a sharded model each process has its shards
        self.log: MetricsLog | None = None  # of the main process, once the run has taken its folder
        self.resumed, self.begun, self.clock = False, False, CompileClock()
        self.budget: Budget | None = None
        self.told = self.steps  # the number of steps that the console knows of

    def fit(self) -> None:
        """Train to the end of the budget, or of the patience, evaluating and saving on the way."""
        progress = self.progress
        batches = training_batches(self.rows, progress.step, self.running.workers)
        quiet = self.running.quiet or not self.accelerator.is_main_process or not self.steps
        bar = tqdm(total=self.steps, initial=progress.step, unit="step", disable=quiet, desc=self.record.title)
        if self.recipe.minutes is not None:
            self.budget = Budget(60 * self.recipe.minutes, self.wanted, progress.step, progress.seconds)
        start, next_save = time.perf_counter() - progress.seconds, time.perf_counter() + SAVE_SECONDS
        with bar, Interruption() as interruption:  # closed, a bar leaves the line to what an error says
            while progress.step < self.steps and not self._patience_is_over():
                self.step(batches)  # if the first one fails, an earlier run is still there
                self._begin()
                self.heap.tidy()
                bar.update()
                self._keep_to_the_budget(time.perf_counter() - start, bar)
                if self._evaluation_is_due():
                    self._evaluate(bar, start)
                # A signal may reach one process alone, and clocks differ; but all must save together.
                interrupted, late = self.any(interruption.signal is not None, time.perf_counter() > next_save)
                if interrupted or self._save_is_due(late):
                    began = time.perf_counter()
                    progress.seconds = began - start
                    path = save_run(self)  # in all processes: it gathers from each
                    saved = time.perf_counter()
                    next_save = saved + max(SAVE_SECONDS, (saved - began) / SAVE_SHARE)  # a slow disk: more seldom
                    if interrupted:
                        raise Interrupted(interruption.signal or 0, progress.step, path)
        self._begin()  # also if no step was left to take
        if not self.steps:
            self._evaluate(bar, start)  # solved weights are judged as they are
        progress.seconds = time.perf_counter() - start

    def _keep_to_the_budget(self, seconds: float, bar: tqdm) -> None:
        """Make a run shorter that would take longer than its recipe's minutes; its schedule ends with it."""
        budget, step = self.budget, self.progress.step
        if budget is None or step >= self.steps or not budget.is_due(step):
            return
        # The mean over processes, for all must end at one step.
        seconds = cast(Tensor, self.accelerator.reduce(torch.tensor(seconds, device=self.loss.device), "mean")).item()
        most = budget.allowed(step, seconds, self.steps)
        if most == self.steps:
            return
        self.steps = self.progress.steps = bar.total = most
        self.learner.end_at(most)
        if abs(most - self.told) > self.told / 10:  # of a few steps more or less nobody need know
            self.told = most
            with bar.external_write_mode():  # on a line of its own
                logger.warning("--minutes allows %d steps, %.1f epochs", most, most / self.rows.steps_per_epoch)

    def _begin(self) -> None:
        """Take the folder, once: what an earlier run left is deleted only now that this one has taken a step."""
        if self.begun:
            return
        self.begun = True
        earlier = [] if self.resumed else on_main(lambda: earlier_files(self.folder))
        if self.running.report_to != "none":
            plain = {n: v if isinstance(v, int | float | str) else str(v) for n, v in identity(self.record).items()}
            self.accelerator.init_trackers(self.record.title, config=plain)  # they take plain values only
        on_main(lambda: self._take_folder(earlier))

    def _take_folder(self, earlier: list[Path]) -> None:
        for path in earlier:
            delete(path)
        self.log = MetricsLog(self.folder, self.progress.rows)

    def step(self, batches: Iterator) -> None:
        """One step of the optimiser: the gradient of the mean over all terms of all turns of all processes."""
        self.learner.model.train()  # an evaluation leaves it in eval mode
        turns = self.rows.turns(self.progress.step)
        inputs = [
            send_to_device(self.task.inputs(next(batches), self.variations), self.accelerator.device) for _ in turns
        ]
        # A row read for want of any counts 0; all labels may be ignored, hence the clamp.
        terms = [self.task.terms(given) * (rows > 0) for given, rows in zip(inputs, turns, strict=True)]
        total = cast(Tensor, self.accelerator.reduce(torch.stack(terms).sum())).clamp(min=1)
        for turn, (given, count) in enumerate(zip(inputs, terms, strict=True)):
            share = count / total
            waiting = turn < len(turns) - 1  # gradients are exchanged once a step
            held = self.accelerator.no_sync(self.learner.model) if waiting else nullcontext()
            with held, self.sharing.reading(given) as mine:
                loss = self.learner.model(**mine).loss  # a mean over the terms of this turn
                # Gradients of several processes are averaged.
                self.accelerator.backward(loss * (share * self.accelerator.num_processes))
            self.loss += loss.detach() * share  # on the device: `.item()` would wait for it at every step
        self.learner.update()
        self.progress.step += 1
        self.progress.loss_steps += 1

    def any(self, *conditions: bool) -> list[bool]:
        """Of each condition, whether it holds in any process."""
        if self.accelerator.num_processes == 1:  # asked after every step: no trip to the device
            return list(conditions)
        flags = torch.tensor(conditions, dtype=torch.float32, device=self.accelerator.device)
        return (cast(Tensor, self.accelerator.reduce(flags)) > 0).tolist()

    @property
    def epoch(self) -> float:
        """How often every row has been seen."""
        return round(self.progress.step / self.rows.steps_per_epoch, 3)

    def _evaluation_is_due(self) -> bool:
        interval = self.recipe.eval_steps or self.rows.steps_per_epoch
        return self.progress.step % interval == 0 or self.progress.step == self.steps

    def _patience_is_over(self) -> bool:
        return self.recipe.patience is not None and self.progress.worse >= self.recipe.patience

    def _evaluate(self, bar: tqdm, start: float) -> None:
        """Score the validation split, log it, and keep the weights if they are the best so far."""
        progress, metric = self.progress, self.task.metric
        trained = {"train_loss": self._mean_loss()} if progress.loss_steps else {}
        self.refuse_divergence("the weight {} is not finite", self.learner.first_not_finite())
        with self.learner.averaged(), watched_outputs(self.learner.plain) as watch:  # kept weights are the average
            scores = self.scores("validation")
            self.refuse_divergence("{}, of validation, are not finite", watch.first_not_finite())
            self.refuse_divergence("{}, of validation, is not finite", first_score_not_finite(scores))
            goodness = -scores[metric] if self.task.lower_is_better else scores[metric]
            progress.worse += 1  # set back below if this is the best
            if progress.is_best(goodness, scores):
                progress.best, progress.best_step, progress.worse = goodness, progress.step, 0
                self.best_weights = self.learner.weights()
        row = {"step": progress.step, "epoch": self.epoch, **trained}
        row |= {f"validation_{name}": score for name, score in scores.items()}
        bar.set_postfix({name: f"{value:.4g}" for name, value in {**trained, metric: scores[metric]}.items()})
        self.accelerator.log({name: value for name, value in row.items() if name != "step"}, step=progress.step)
        progress.rows.append({**row, "seconds": time.perf_counter() - start})
        if self.log is not None:
            self.log.add(progress.rows[-1])
        self.running.watch(progress.rows[-1], progress.step / max(1, self.steps))

    def _mean_loss(self) -> float:
        """The mean training loss of the steps since the last evaluation."""
        progress = self.progress
        # Shares of one step add up to 1 over all turns and processes.
        mean = cast(Tensor, self.accelerator.reduce(self.loss / progress.loss_steps)).item()
        self.loss, progress.loss_steps = torch.zeros_like(self.loss), 0
        self.refuse_divergence("the training loss is {}", None if math.isfinite(mean) else str(mean))
        return mean

    def refuse_divergence(self, what: str, name: str | None) -> None:
        """End the run on every process if something is not finite on any.

        Args:
            what: was found, with ``{}`` for what it is called.
            name: what is not finite on this process; None if all is.

        Raises:
            FloatingPointError: so it is.
        """
        if not self.any(name is not None)[0]:  # a collective call: every process asks, all end together
            return
        good = on_main(lambda: newest(self.folder / "checkpoints"))
        found = what.format(name or "(in another process)")
        kept = f"the last good checkpoint is {good}" if good else "no checkpoint had been saved"
        clipped = "" if self.recipe.max_grad_norm else ", or with --max_grad_norm 1"
        raise FloatingPointError(
            f"training has diverged: after step {self.progress.step} {found}; {kept}, and the same flags lead here "
            f"again: begin anew with --overwrite_output_dir and a --learning_rate below {self.recipe.learning_rate:g}"
            f"{clipped}"
        )

    @torch.no_grad()
    def scores(self, split: str, final: bool = False) -> dict[str, float]:
        """A split's scores, over all processes."""
        if split not in self.loaders:
            loader = self.task.loader(split, self.task.evaluation_batch, self.running.workers)
            self.loaders[split] = self.accelerator.prepare_data_loader(loader)  # a share for each process
        model, batches = self.learner.plain.eval(), self.heap.tidied(self.loaders[split])
        with uncompiled(self.record):
            return self.task.scores(model, split, batches, self.accelerator.gather_for_metrics, final)

    def _save_is_due(self, late: bool) -> bool:
        interval = self.running.checkpointing_steps
        if interval is None:
            return late
        return self.progress.step % (self.rows.steps_per_epoch if interval == "epoch" else int(interval)) == 0

    def measure(self) -> None:
        """Note what the run has taken so far of memory and of the compiler's time."""
        self.progress.memory_bytes = max(self.progress.memory_bytes, peak_memory_bytes())
        self.record.compile_seconds = round(self.record.compile_seconds + self.clock.passed(), 1)

    def finish(self) -> None:
        """Score the chosen weights as the saved model will be, save them, and write the record."""
        progress, record = self.progress, self.record
        self.learner.set_weights(self.best_weights or self.learner.weights())
        self.learner.end_autocast()  # as for whoever loads the saved model
        record.best_step, record.steps = progress.best_step, progress.step
        record.best_epoch = round(progress.best_step / self.rows.steps_per_epoch, 3)
        splits = ("validation", "test") if self.running.read_test and "test" in self.task.splits else ("validation",)
        for split in splits:
            scores = record.metrics[split] = self.scores(split, final=True)
            if details := self.task.details(split):
                record.details[split] = details
            wrong = first_score_not_finite(scores)
            self.refuse_divergence(f"{{}} of the chosen weights, on {split}, is not finite", wrong)
            if split == "validation" and self.recipe.refit and (whole := self.task.whole()) is not None:
                self.learner.set_weights(refit(self, whole))
        record.wall_seconds = round(progress.seconds + self.task.spent.get("refit", 0.0), 1)
        self.measure()
        record.peak_memory_bytes = progress.memory_bytes
        weights = self.learner.whole_weights()
        self.refuse_divergence("the chosen weight {} is not finite", first_not_finite(weights))
        on_main(lambda: self._write(weights, splits))
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self.accelerator.wait_for_everyone()

    def _write(self, weights: dict[str, Tensor], splits: tuple[str, ...]) -> None:
        """Write the model and then, since it says that all is there, the record."""
        model = self.learner.plain
        for tied in model.all_tied_weights_keys:  # saved once, under their source's name
            weights.pop(tied, None)
        self.record.data |= self.task.extras() if "test" in splits else {}
        self.record.lines, self.record.parts = self.task.lines(splits), self.task.parts(splits)
        self.record.reasons = self.task.reasons | self.task.findings()
        with folder_written_whole(self.folder / "model") as staged:
            model.save_pretrained(staged, state_dict=weights)
            if (processor := self.task.processor()) is not None:
                processor.save_pretrained(staged)
        self.record.write(self.folder)
