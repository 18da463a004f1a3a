"""The one training loop, on accelerate: a recipe and a task in; a model and a run record out."""

import copy
import math
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel, get_scheduler
from transformers.utils.logging import disable_progress_bar

from .recipes import Recipe
from .record import MetricsLog, RunRecord, count_parameters, describe_architecture, peak_memory_bytes
from .tasks.images import SPLITS, ImageTask

EVALUATION_BATCH = 1000


def train(
    model: PreTrainedModel,
    recipe: Recipe,
    task: ImageTask,
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
        read_test: read the test split, once, with the chosen weights.

    Returns:
        The record, as written to ``run.json`` (last of all, so a folder that has one is complete).
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
    for epoch in range(1, recipe.epochs + 1):
        loss = run.epoch(epoch, bar)
        score = run.evaluate("validation")
        bar.set_postfix(loss=f"{loss:.3f}", **{task.metric: f"{score:.4f}"})
        if log is not None:
            seconds = time.perf_counter() - start
            log.add({"epoch": epoch, "train_loss": loss, f"validation_{task.metric}": score, "seconds": seconds})
        if score > best:
            best, record.best_epoch, best_weights = score, epoch, copy.deepcopy(run.evaluated.state_dict())
    bar.close()
    record.wall_seconds = round(time.perf_counter() - start, 1)
    run.evaluated.load_state_dict(best_weights)
    record.steps = run.steps
    record.metrics = {"validation": {task.metric: best}}
    if read_test:
        record.metrics["test"] = {task.metric: run.evaluate("test")}
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

    def __init__(
        self, accelerator: Accelerator, model: PreTrainedModel, recipe: Recipe, task: ImageTask, seed: int
    ) -> None:
        self.accelerator, self.recipe, self.task = accelerator, recipe, task
        self.order = torch.Generator().manual_seed(seed)
        self.deformations = torch.Generator().manual_seed(seed * 1009 + accelerator.process_index)
        loaders = [self._loader(split) for split in SPLITS]
        optimizer = torch.optim.AdamW(_parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate)
        self.model, self.optimizer, *loaders = accelerator.prepare(model, optimizer, *loaders)
        self.loaders = dict(zip(SPLITS, loaders, strict=True))
        self.steps = recipe.epochs * len(self.loaders["train"])
        self.schedule = get_scheduler(recipe.schedule, self.optimizer, round(recipe.warmup * self.steps), self.steps)
        self.average = None
        if recipe.averaging:
            self.average = AveragedModel(
                accelerator.unwrap_model(self.model), multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging)
            )

    def _loader(self, split: str) -> DataLoader:
        training = split == "train"
        return DataLoader(
            self.task.splits[split],
            batch_size=self.recipe.batch_size if training else EVALUATION_BATCH,
            shuffle=training,
            generator=self.order if training else None,
            collate_fn=lambda batch: batch,
        )

    @property
    def evaluated(self) -> nn.Module:
        """The weights that count: the average if there is one, else the model's own."""
        return self.accelerator.unwrap_model(self.model) if self.average is None else self.average.module

    def epoch(self, epoch: int, bar: tqdm) -> float:
        """Train through every row once; the mean training loss."""
        self.model.train()
        total = torch.zeros(())
        for batch in self.loaders["train"]:
            inputs = self.task.inputs(batch, self.deformations)
            loss = self._loss(inputs)
            self.accelerator.backward(loss)
            if self.recipe.max_grad_norm is not None:
                self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            if self.average is not None:
                self.average.update_parameters(self.accelerator.unwrap_model(self.model))
            total += loss.detach().cpu()
            bar.update()
        mean = total.item() / len(self.loaders["train"])
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"the training loss of epoch {epoch} is {mean}; lower learning_rate={self.recipe.learning_rate}"
            )
        return mean

    def _loss(self, inputs: dict[str, Tensor]) -> Tensor:
        labels = inputs.pop("labels")
        logits = self.model(**inputs).logits
        return nn.functional.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)

    @torch.no_grad()
    def evaluate(self, split: str) -> float:
        """Accuracy on a split, over all processes."""
        model = self.evaluated.eval()
        right, rows = 0, 0
        for batch in self.loaders[split]:
            inputs = self.task.inputs(batch)
            labels = inputs.pop("labels")
            predicted, labels = self.accelerator.gather_for_metrics((model(**inputs).logits.argmax(-1), labels))
            right, rows = right + int((predicted == labels).sum()), rows + len(labels)
        return right / rows


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Matrices are decayed; biases, norms and other vectors are not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
