"""Every loss is a sum over the labels that there are, over their number or over num_items_in_batch."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lmu_hf import LMUForCausalLM, LMUForSequenceClassification, LMUForTimeSeriesPrediction, LMUForTokenClassification
from lmu_hf.losses import binary_cross_entropy, cross_entropy, squared_error
from tiny_heads import LABELS, SERIES, build, draw
from tiny_stacks import assert_near, draw_ids

PREDICTIONS, NUMBERS = draw(4, 3), draw(4, 3).flip(0)
REAL = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0]]).bool()
IDS = torch.tensor([2, -100, 0, 1])


def test_cross_entropy_is_torchs_own():
    for smoothing in (0.0, 0.2):
        expected = F.cross_entropy(PREDICTIONS, IDS, label_smoothing=smoothing)
        assert_near(cross_entropy(PREDICTIONS, IDS, label_smoothing=smoothing), expected)
        assert_near(cross_entropy(PREDICTIONS, IDS, 3, smoothing), expected)
        assert_near(cross_entropy(PREDICTIONS, IDS, torch.tensor(12), smoothing), expected / 4)


@pytest.mark.parametrize(
    ("loss", "torchs", "labels"),
    [
        (squared_error, F.mse_loss, NUMBERS),
        (binary_cross_entropy, F.binary_cross_entropy_with_logits, NUMBERS.gt(0).double()),
    ],
)
@pytest.mark.parametrize("junk", [0.0, -100.0, float("nan"), float("inf")])
def test_a_mean_over_the_real_labels_is_torchs_own_of_them_alone(loss, torchs, labels, junk):
    predictions = PREDICTIONS.clone().requires_grad_()
    alone = PREDICTIONS.clone().requires_grad_()
    expected = torchs(alone[REAL], labels[REAL])
    actual = loss(predictions, labels.masked_fill(~REAL, junk), REAL)
    assert_near(actual, expected)
    assert_near(loss(PREDICTIONS, labels, REAL, int(REAL.sum()) * 5), expected / 5)
    actual.backward(), expected.backward()
    assert_near(predictions.grad, alone.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_losses_are_computed_in_float32_or_wider(dtype):
    wide = torch.promote_types(dtype, torch.float32)
    predictions = (PREDICTIONS * 30).to(dtype)
    for actual, expected in (
        (cross_entropy(predictions, IDS), F.cross_entropy(predictions.to(wide), IDS)),
        (squared_error(predictions, NUMBERS, REAL), F.mse_loss(predictions.to(wide)[REAL], NUMBERS.to(wide)[REAL])),
    ):
        assert actual.dtype == wide
        assert_near(actual, expected)


HEADS = {
    "classes": (LMUForSequenceClassification, {}, {"input_ids": draw_ids(4, 7)}, torch.tensor([0, 2, 1, 1])),
    "several": (LMUForSequenceClassification, {}, {"input_ids": draw_ids(4, 7)}, draw(4, LABELS).gt(0).double()),
    "number": (LMUForSequenceClassification, {"num_labels": 1}, {"input_ids": draw_ids(4, 7)}, draw(4)),
    "tokens": (LMUForCausalLM, {}, {"input_ids": draw_ids(4, 7)}, draw_ids(4, 7, seed=1)),
    "tags": (LMUForTokenClassification, {}, {"input_ids": draw_ids(4, 7)}, draw_ids(4, 7, seed=1) % LABELS),
    "series": (LMUForTimeSeriesPrediction, SERIES, {"input_values": draw(4, 7, 2)}, draw(4, 7, 2).flip(0)),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("kind", [int, torch.tensor])
def test_the_parts_of_a_batch_add_up_to_it(name, kind):
    head, changes, inputs, labels = HEADS[name]
    model = build(head, **changes)
    expected = model(**inputs, labels=labels).loss
    items = labels[:, 1:].numel() if name == "tokens" else labels.numel()
    parts = []
    for rows in (slice(0, 1), slice(1, 4)):
        given = {key: value[rows] for key, value in inputs.items()}
        parts.append(model(**given, labels=labels[rows], num_items_in_batch=kind(items)).loss)
    assert_near(sum(parts), expected)


@pytest.mark.parametrize("name", HEADS)
def test_a_label_of_minus_100_is_no_label(name):
    head, changes, inputs, labels = HEADS[name]
    model = build(head, **changes)
    some = labels.clone()
    some[1:3] = -100
    kept = {key: value[[0, 3]] for key, value in inputs.items()}
    assert_near(model(**inputs, labels=some).loss, model(**kept, labels=labels[[0, 3]]).loss)


def test_regression_takes_whole_numbers_and_several_labels_take_booleans():
    number = build(LMUForSequenceClassification, num_labels=1)
    ids, labels = draw_ids(2, 5), torch.tensor([3, -2])
    loss = number(ids, labels=labels).loss
    assert_near(loss, number(ids, labels=labels.double()).loss)
    loss.backward()
    several = build(LMUForSequenceClassification)
    labels = torch.tensor([[True, False, True], [False, False, True]])
    assert_near(several(ids, labels=labels).loss, several(ids, labels=labels.double()).loss)


def test_one_label_of_many_has_any_shape_that_holds_one_a_row():
    model = build(LMUForSequenceClassification, num_labels=1, problem_type="multi_label_classification")
    ids, labels = draw_ids(2, 5), torch.tensor([1.0, 0.0]).double()
    expected = F.binary_cross_entropy_with_logits(model(ids).logits[:, 0], labels)
    assert_near(model(ids, labels=labels).loss, expected)
    assert_near(model(ids, labels=labels[:, None]).loss, expected)


def test_a_loss_function_may_be_set():
    model = build(LMUForSequenceClassification)
    model.loss_function = lambda labels, pooled_logits, **kwargs: pooled_logits.sum() * 0 + 7
    assert model(draw_ids(2, 5), labels=torch.tensor([0, 1])).loss == 7


@pytest.mark.parametrize("mask", [None, torch.ones(1, 5, dtype=torch.int64)])
def test_a_series_without_a_label_has_no_loss_but_a_part_of_a_batch_may_lack_them(mask):
    model, series = build(LMUForTimeSeriesPrediction, input_size=1), draw(1, 5)
    labels = torch.full((1, 5), -100.0)
    with pytest.raises(ValueError, match="no real step"):
        model(series, attention_mask=mask, labels=labels)
    assert model(series, attention_mask=mask, labels=labels, num_items_in_batch=4).loss == 0


def test_labels_under_the_mask_must_not_be_counted():
    model, series = build(LMUForTimeSeriesPrediction, input_size=1), draw(2, 5)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    labels: Tensor = draw(2, 5)
    expected = model(series, attention_mask=mask, labels=labels).loss
    with pytest.raises(ValueError, match=r"labels must be -100 on masked steps.*row 1, step 3"):
        model(series, attention_mask=mask, labels=labels, num_items_in_batch=8)
    labels = labels.masked_fill(mask == 0, -100)
    assert_near(model(series, attention_mask=mask, labels=labels, num_items_in_batch=8).loss, expected)
