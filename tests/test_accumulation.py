"""Trainer's accumulated batches train every head as one batch of them all, however unevenly the labels fall to them."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.testing import assert_close
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

import tiny_translators
from lmu_hf import (
    LMUForCausalLM,
    LMUForConditionalGeneration,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesPrediction,
    LMUForTokenClassification,
)
from tiny_heads import LABELS, SERIES, SMALL_IMAGE, tiny
from tiny_stacks import draw_ids, randomised

ROWS = 8
NAN = float("nan")
Row = dict[str, Tensor]


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def length(row: int) -> int:
    return 2 + 5 * row % 9


def tokens(row: int) -> Row:
    return {"input_ids": draw_ids(length(row), seed=row)}


def next_tokens(row: int) -> Row:
    ids = tokens(row)["input_ids"]
    return {"input_ids": ids, "labels": ids.masked_fill(torch.arange(len(ids)) < row // 3, -100)}


def translation(row: int) -> Row:
    return {"input_ids": draw_ids(5, seed=row), "labels": draw_ids(length(row), seed=row + ROWS)}


def one_class(row: int) -> Row:
    return {**tokens(row), "labels": torch.tensor(-100 if row in (1, 4) else row % LABELS)}


def tags(row: int) -> Row:
    ids = tokens(row)["input_ids"]
    return {"input_ids": ids, "labels": (ids % LABELS).masked_fill(ids % 4 == row % 4, -100)}


def several_classes(row: int) -> Row:
    known = torch.arange(LABELS) >= row % LABELS
    return {**tokens(row), "labels": draw(LABELS, seed=row).gt(0).double().masked_fill(~known, -100)}


def one_number(row: int) -> Row:
    return {**tokens(row), "labels": torch.tensor(-100.0 if row == 5 else row / 2).double()}


def several_numbers(row: int) -> Row:
    known = torch.arange(LABELS) >= row % LABELS
    return {**tokens(row), "labels": draw(LABELS, seed=row).masked_fill(~known, -100)}


def pair(row: int) -> Row:
    types = torch.arange(length(row)) > 0
    return {**tokens(row), "token_type_ids": types.long(), "labels": torch.tensor(row % LABELS)}


def image(row: int) -> Row:
    return {"pixel_values": draw(1, 4, 4, seed=row), "labels": torch.tensor(-100 if row < 3 else row % LABELS)}


def series(row: int) -> Row:
    return {"input_values": draw(length(row), 2, seed=row), "labels": draw(length(row), 2, seed=row + ROWS)}


def series_with_gaps(row: int) -> Row:
    values = series(row)
    return values | {"labels": values["labels"].masked_fill(draw(length(row), 2, seed=row) > 0.5, -100)}


PADDING = {"labels": -100, "input_values": NAN}


def collate(rows: list[Row]) -> Row:
    """A batch as the usual collators make it: −100 behind labels; under the mask, anything."""
    batch = {}
    for name in rows[0]:
        parts = [row[name] for row in rows]
        stacks = name == "pixel_values" or parts[0].ndim == 0
        batch[name] = torch.stack(parts) if stacks else pad_sequence(parts, True, PADDING.get(name, 0))
    if "pixel_values" not in batch:
        lengths = torch.tensor([len(row.get("input_ids", row.get("input_values"))) for row in rows])
        batch["attention_mask"] = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    return batch


@dataclass(frozen=True)
class Head:
    """A head, what its config adds, and a row that it reads."""

    kind: type
    row: Callable[[int], Row]
    changes: dict


HEADS = {
    "next token": Head(LMUForCausalLM, next_tokens, {}),
    "one class": Head(LMUForSequenceClassification, one_class, {}),
    "one class, with votes": Head(LMUForSequenceClassification, one_class, {"votes": {"sizes": [1], "buckets": 9}}),
    "several classes": Head(LMUForSequenceClassification, several_classes, {}),
    "one number": Head(LMUForSequenceClassification, one_number, {"num_labels": 1}),
    "several numbers": Head(LMUForSequenceClassification, several_numbers, {"problem_type": "regression"}),
    "tags": Head(LMUForTokenClassification, tags, {}),
    "pair": Head(LMUForSequencePairClassification, pair, {}),
    "image": Head(LMUForImageClassification, image, SMALL_IMAGE),
    "forecast": Head(LMUForTimeSeriesPrediction, series, SERIES),
    "forecast with gaps": Head(LMUForTimeSeriesPrediction, series_with_gaps, SERIES),
    "translation": Head(LMUForConditionalGeneration, translation, {}),
}


def build(head: Head) -> PreTrainedModel:
    if head.kind is LMUForConditionalGeneration:
        return tiny_translators.build(**head.changes)
    return randomised(head.kind(tiny(**head.changes)))


def gradients_of(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


class Gradients(TrainerCallback):
    """Notes what the optimiser is about to use."""

    def __init__(self) -> None:
        self.noted: dict[str, Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        self.noted = {name: gradient.clone() for name, gradient in gradients_of(model).items()}


def make_trainer(head: Head, folder: Path, batch: int, accumulation: int, **how) -> tuple[Trainer, Gradients]:
    arguments = TrainingArguments(
        **{"output_dir": str(folder), "use_cpu": True, "report_to": "none", "save_strategy": "no", "seed": 0},
        **{"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "num_train_epochs": 1},
        **{"per_device_eval_batch_size": ROWS, "learning_rate": 0.0, "optim": "sgd", "max_grad_norm": 0.0},
        **{"disable_tqdm": True, "logging_strategy": "no", "prediction_loss_only": True, **how},
    )
    rows, gradients = [head.row(number) for number in range(ROWS)], Gradients()
    sets = {"data_collator": collate, "train_dataset": rows, "eval_dataset": rows}
    return Trainer(build(head), arguments, callbacks=[gradients], **sets), gradients


def whole_batch(head: Head) -> tuple[float, dict[str, Tensor]]:
    """The loss and the gradients of all rows in one call, without a Trainer."""
    model = build(head).train()
    loss = model(**collate([head.row(number) for number in range(ROWS)])).loss
    loss.backward()
    return loss.item(), gradients_of(model)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("batch", "accumulation"), [(3, 3), pytest.param(1, 8, marks=pytest.mark.slow)])
def test_accumulated_batches_train_as_one_large_batch(name, batch, accumulation, tmp_path):
    trainer, gradients = make_trainer(HEADS[name], tmp_path, batch, accumulation)
    loss, expected = whole_batch(HEADS[name])
    # Next-token losses are computed in float32, whatever the model's dtype is.
    tolerance = 1e-6 if name == "next token" else 1e-12
    assert trainer.train().training_loss == pytest.approx(loss, rel=1e-6)
    assert gradients.noted.keys() == expected.keys()
    for parameter, gradient in expected.items():
        bound = tolerance * max(gradient.abs().max().item(), 1)
        assert_close(gradients.noted[parameter], gradient, rtol=0, atol=bound)


@pytest.mark.parametrize("name", HEADS)
def test_the_evaluation_loss_is_that_of_the_batch(name, tmp_path):
    trainer, _ = make_trainer(HEADS[name], tmp_path, 1, 1)
    model = trainer.model.eval()
    with torch.no_grad():
        loss = model(**collate([HEADS[name].row(number) for number in range(ROWS)])).loss.item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(loss, rel=1e-6)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    heads = ("one class", "several numbers", "forecast with gaps", "translation")
    script = Path(__file__).with_name("two_trainers.py")
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [*launcher, str(script), str(tmp_path), *heads], env=environment, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr[-4000:]
    for head in heads:
        actual = load_file(tmp_path / f"{head}.safetensors")
        for name, gradient in whole_batch(HEADS[head])[1].items():
            assert_close(actual[name], gradient, rtol=0, atol=1e-12 * max(gradient.abs().max().item(), 1))


@pytest.mark.slow
def test_trainers_label_smoothing_is_a_mean_over_the_same_rows(tmp_path):
    whole, expected = make_trainer(HEADS["one class"], tmp_path / "whole", ROWS, 1, label_smoothing_factor=0.1)
    parts, actual = make_trainer(HEADS["one class"], tmp_path / "parts", 3, 3, label_smoothing_factor=0.1)
    whole.train(), parts.train()
    for parameter, gradient in expected.noted.items():
        assert_close(actual.noted[parameter], gradient, rtol=0, atol=1e-6)


def test_labels_on_masked_steps_that_trainer_would_count_are_refused(tmp_path):
    def padded_with_zeros(rows: list[Row]) -> Row:
        batch = collate(rows)
        return batch | {"labels": batch["labels"].masked_fill(batch["labels"] == -100, 0)}

    trainer, _ = make_trainer(HEADS["forecast"], tmp_path, ROWS, 1)
    trainer.data_collator = padded_with_zeros
    with pytest.raises(ValueError, match=r"labels must be -100 on masked steps.*row \d, step \d+ is not"):
        trainer.train()
