"""The one training loop, on accelerate: a recipe and a task in; a model and a run record out."""

import copy
import math
import time
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm
from transformers import PreTrainedModel, get_scheduler
from transformers.utils.logging import disable_progress_bar

from .recipes import Recipe
from .record import MetricsLog, RunRecord, count_parameters, describe_architecture, peak_memory_bytes
from .tasks.base import Task


def train(
    model: PreTrainedModel,
    recipe: Recipe,
    task: Task,
    seed: int,
    output_dir: Path,
    quiet: bool = False,
    read_test: bool = True,
) -> RunRecord:
    """Train a model, keep the weights that are best on validation, and leave a complete run folder.

    Args:
        model: a fresh model; on return it holds the chosen weights.
        recipe: optimiser and budget.
        task: data and metric.
        seed: of the order of rows, of dropout and of augmentation.
        output_dir: the run folder; ``model/``, ``metrics.jsonl`` and ``run.json`` are written there.
        quiet: no progress bar.
        read_test: read the test split, once, with the chosen weights (if the task has one).

    Returns:
        The record, as written to ``run.json`` (last of all, so a folder that has one is complete).

    Raises:
        FloatingPointError: the training loss is no longer a number.
    """
    accelerator = Accelerator()
    if quiet:
        disable_progress_bar()
    set_seed(seed, device_specific=True)
    run = _Run(accelerator, model, recipe, task, seed)
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
    )
    output_dir.mkdir(parents=True, exist_ok=True)
    log = MetricsLog(output_dir) if accelerator.is_main_process else None
    start = time.perf_counter()
    bar = tqdm(total=run.steps, unit="step", disable=quiet or not accelerator.is_main_process, desc=recipe.name)
    best, best_weights = -math.inf, {}
    while run.step < run.steps:
        loss = run.train(bar)
        scores = run.evaluate("validation")
        bar.set_postfix(loss=f"{loss:.3f}", **{task.metric: f"{scores[task.metric]:.4f}"})
        if log is not None:
            row = {"step": run.step, "epoch": round(run.epoch, 3), "train_loss": loss}
            row |= {f"validation_{name}": score for name, score in scores.items()}
            log.add({**row, "seconds": time.perf_counter() - start})
        goodness = -scores[task.metric] if task.lower_is_better else scores[task.metric]
        if goodness > best:
            best, best_weights = goodness, copy.deepcopy(run.evaluated.state_dict())
            record.best_step, record.best_epoch = run.step, round(run.epoch, 3)
    bar.close()
    record.wall_seconds = round(time.perf_counter() - start, 1)
    run.evaluated.load_state_dict(best_weights)
    record.steps = run.steps
    record.metrics = {"validation": run.evaluate("validation", final=True)}
    if read_test and "test" in task.splits:
        record.metrics["test"] = run.evaluate("test", final=True)
    record.peak_memory_bytes = peak_memory_bytes()
    model.load_state_dict(run.evaluated.state_dict())
    if accelerator.is_main_process:
        model.save_pretrained(output_dir / "model")
        task.processor().save_pretrained(output_dir / "model")
        record.write(output_dir)
    accelerator.wait_for_everyone()
    return record


class _Run:
    """What one run holds while it trains: the prepared model, its average, loaders, optimiser and schedule."""

    def __init__(self, accelerator: Accelerator, model: PreTrainedModel, recipe: Recipe, task: Task, seed: int) -> None:
        self.accelerator, self.recipe, self.task = accelerator, recipe, task
        self.variations = torch.Generator().manual_seed(seed * 1009 + accelerator.process_index)
        order = torch.Generator().manual_seed(seed)
        sizes = {split: recipe.batch_size if split == "train" else task.evaluation_batch for split in task.splits}
        loaders = [task.loader(split, size, order) for split, size in sizes.items()]
        optimizer = torch.optim.AdamW(_parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate)
        self.model, self.optimizer, *loaders = accelerator.prepare(model, optimizer, *loaders)
        self.loaders = dict(zip(task.splits, loaders, strict=True))
        self.step = 0
        self.steps = recipe.max_steps or recipe.epochs * len(self.loaders["train"])
        self.schedule = get_scheduler(recipe.schedule, self.optimizer, round(recipe.warmup * self.steps), self.steps)
        self.batches = self._endless_batches()
        self.average = None
        if recipe.averaging:
            self.average = AveragedModel(
                accelerator.unwrap_model(self.model), multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging)
            )

    def _endless_batches(self):
        while True:
            yield from self.loaders["train"]

    @property
    def epoch(self) -> float:
        """How often every row has been seen."""
        return self.step / len(self.loaders["train"])

    @property
    def evaluated(self) -> nn.Module:
        """The weights that count: the average if there is one, else the model's own."""
        return self.accelerator.unwrap_model(self.model) if self.average is None else self.average.module

    def train(self, bar: tqdm) -> float:
        """Train until the next evaluation is due; the mean training loss on the way."""
        self.model.train()
        steps = min(self.recipe.eval_steps or len(self.loaders["train"]), self.steps - self.step)
        total = torch.zeros(())
        for _ in range(steps):
            inputs = self.task.inputs(next(self.batches), self.variations)
            loss = self.task.loss(self.model, inputs, self.recipe.label_smoothing)
            self.accelerator.backward(loss)
            if self.recipe.max_grad_norm is not None:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            if self.average is not None:
                self.average.update_parameters(self.accelerator.unwrap_model(self.model))
            total += loss.detach().cpu()
            self.step += 1
            bar.update()
        mean = total.item() / steps
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"the training loss before step {self.step} is {mean}; lower learning_rate={self.recipe.learning_rate}"
            )
        return mean

    @torch.no_grad()
    def evaluate(self, split: str, final: bool = False) -> dict[str, float]:
        """A split's scores, over all processes."""
        model = cast(PreTrainedModel, self.evaluated.eval())
        return self.task.scores(model, split, self.loaders[split], self.accelerator.gather_for_metrics, final)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Matrices are decayed; biases, norms and other vectors are not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
