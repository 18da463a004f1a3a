"""What cannot be read or learnt is refused in a line that names the argument, the value and its place."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lmu_hf import (
    LMUForCausalLM,
    LMUForConditionalGeneration,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesPrediction,
    LMUModel,
)
from lmu_hf.checking import check_finite, is_readable
from tiny_heads import LABELS, SERIES, SMALL_IMAGE, build, draw, in_one_row
from tiny_stacks import CAUSAL, VOCABULARY, assert_near, draw_ids
from tiny_translators import VOCABULARY as WORDS
from tiny_translators import build as build_translator

NAN, INF = float("nan"), float("inf")
SIGNAL = {"input_size": 2, "output_size": 2}
FORECAST = {"input_values": draw(2, 7, 2), "labels": draw(2, 7, 2).flip(1)}


def with_value(x: Tensor, value: float, *place: int) -> Tensor:
    x = x.clone()
    x[place] = value
    return x


# --------------------------------------------------------------------------- values that are not finite


READERS = {
    "body": (LMUModel, SIGNAL, "input_values"),
    "forecast": (LMUForTimeSeriesPrediction, SIGNAL, "input_values"),
    "classifier": (LMUForSequenceClassification, {"input_size": 2}, "input_values"),
    "classifier of embeddings": (LMUForSequenceClassification, {}, "inputs_embeds"),
    "language model": (LMUForCausalLM, {}, "inputs_embeds"),
    "lstm": (LMUModel, {**SIGNAL, "model_type": "lmu_lstm"}, "input_values"),
}


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", READERS)
def test_a_value_that_is_not_finite_is_refused_with_its_place(name, value):
    kind, changes, argument = READERS[name]
    width = 2 if argument == "input_values" else 6
    bad = with_value(draw(2, 5, width), value, 1, 3, 1)
    bad[1, 4] = NAN  # the first one is named
    with pytest.raises(
        ValueError, match=f"{argument} must be finite, got {value:g} at row 1, step 3, channel 1: mask the step"
    ):
        build(kind, **changes)(**{argument: bad})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_values_are_checked_in_any_precision_and_large_ones_are_allowed(dtype):
    model = build(LMUModel, torch.float32, **SIGNAL)
    values = torch.full((1, 70, 2), torch.finfo(torch.float16).max, dtype=dtype)
    model(input_values=values)
    with pytest.raises(ValueError, match="input_values must be finite, got nan at row 0, step 69, channel 0"):
        model(input_values=with_value(values, NAN, 0, 69, 0))


def test_a_series_of_one_number_a_step_is_checked():
    with pytest.raises(ValueError, match="input_values must be finite, got nan at row 1, step 2, channel 0:"):
        build(LMUModel, input_size=1)(input_values=with_value(draw(2, 5), NAN, 1, 2))


def test_a_single_step_is_checked_too():
    model = build(LMUForTimeSeriesPrediction, **SIGNAL)
    past = model(draw(1, 4, 2)).past_key_values
    before = [layer.memory.clone() for layer in past.layers]
    with pytest.raises(ValueError, match="input_values must be finite, got nan at row 0, step 0, channel 1"):
        model(with_value(draw(1, 1, 2), NAN, 0, 0, 1), past_key_values=past)
    assert all(torch.equal(layer.memory, kept) for layer, kept in zip(past.layers, before, strict=True))


def test_series_packed_in_a_row_are_checked():
    model = build(LMUForTimeSeriesPrediction, **SIGNAL)
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3]])
    with pytest.raises(ValueError, match="input_values must be finite, got nan at row 0, step 2, channel 0"):
        model(with_value(draw(1, 7, 2), NAN, 0, 2, 0), position_ids=positions)


def test_both_ends_of_a_translator_are_checked():
    model, source, target = build_translator(), draw(2, 5, 12), draw(2, 4, 12)
    for name in ("inputs_embeds", "decoder_inputs_embeds"):
        given = {"inputs_embeds": source, "decoder_inputs_embeds": target}
        with pytest.raises(ValueError, match="inputs_embeds must be finite, got nan at row 1, step 2, channel 3"):
            model(**{**given, name: with_value(given[name], NAN, 1, 2, 3)})


def test_a_pixel_is_named_by_its_row_and_column():
    model = build(LMUForImageClassification, **SMALL_IMAGE, permutation_seed=0)
    with pytest.raises(ValueError, match="pixel_values must be finite, got inf at image 1, channel 0, row 2, column 3"):
        model(with_value(draw(2, 1, 4, 4), INF, 1, 0, 2, 3))


def test_targets_are_checked():
    model = build(LMUForTimeSeriesPrediction, **SIGNAL)
    with pytest.raises(ValueError, match="labels must be finite, got nan at row 0, step 6, channel 1: give -100"):
        model(**FORECAST | {"labels": with_value(FORECAST["labels"], NAN, 0, 6, 1)})
    regression = build(LMUForSequenceClassification, num_labels=1)
    with pytest.raises(ValueError, match="labels must be finite, got inf at row 1: give -100"):
        regression(draw_ids(2, 4), labels=torch.tensor([0.5, INF]))


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("name", [name for name in CAUSAL if name != "n-grams"])
def test_masked_steps_may_hold_anything(name, value):
    """The result is then that of the series without these steps, gradients too."""
    model = build(LMUForTimeSeriesPrediction, **{**CAUSAL[name], **SERIES})
    mask = torch.tensor([[1, 0, 1, 1, 0, 0, 1], [0, 0, 1, 1, 1, 1, 1]]).bool()
    values, labels = (FORECAST[name].masked_fill(~mask[..., None], value) for name in ("input_values", "labels"))
    output = model(values, attention_mask=mask, labels=labels)
    output.loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    for row, real in enumerate(mask):
        alone = model(FORECAST["input_values"][row : row + 1, real]).predictions[0]
        assert_near(output.predictions[row, real], alone)
    assert_near(output.loss, nn.functional.mse_loss(output.predictions[mask], FORECAST["labels"][mask]))


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_a_classifier_does_not_see_what_is_masked(pooling):
    model = build(LMUForSequenceClassification, pooling=pooling)
    mask, values = torch.tensor([[0, 1, 1, 0, 1, 0]]).bool(), draw(1, 6, 6).requires_grad_()
    logits = model(inputs_embeds=values.masked_fill(~mask[..., None], NAN), attention_mask=mask).logits
    assert_near(logits, model(inputs_embeds=values[:, mask[0]]).logits)
    logits.sum().backward()
    assert values.grad.isfinite().all()


@pytest.mark.parametrize("n", [1, 7])
def test_a_memory_that_is_not_finite_stays_in_its_row(n):
    """A memory holds NaN only where numbers were not looked at; both forms then say so, in that row alone."""
    model, values = build(LMUForTimeSeriesPrediction, **SIGNAL), draw(2, n, 2)
    past = model(draw(2, 4, 2)).past_key_values
    past.layers[0].memory[1] = NAN
    predictions = model(values, past_key_values=past).predictions
    assert predictions[0].isfinite().all() and predictions[1].isnan().all()


def test_values_are_not_read_while_a_graph_is_traced_or_transformed():
    model = build(LMUForTimeSeriesPrediction, **SIGNAL)
    values = with_value(draw(2, 7, 2), NAN, 0, 3, 0)

    def predict(series: Tensor) -> Tensor:
        return model(series[None], use_cache=False).predictions[0]

    assert torch.func.vmap(predict)(values)[1].isfinite().all()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert compiled(values, use_cache=False).predictions[0, 3:].isnan().all()
    assert not is_readable(torch.empty(2, device="meta"))
    with torch._subclasses.FakeTensorMode():
        check_finite("x", torch.empty(3))


def test_integers_are_no_signal():
    model, numbers = build(LMUForTimeSeriesPrediction, **SIGNAL), torch.arange(20).view(2, 5, 2)
    with pytest.raises(TypeError, match=r"input_values must be floating point, got torch\.int64"):
        model.model(input_values=numbers)
    # A forecast takes counts: people's series are often whole numbers.
    assert torch.equal(model(numbers).predictions, model(numbers.float()).predictions)
    with pytest.raises(ValueError, match=r"reads a real-valued signal: give input_values"):
        model.model(input_ids=draw_ids(2, 5))


# --------------------------------------------------------------------------- labels


WORDS_IDS = draw_ids(2, 6)
WRONG_TOKENS = [
    (
        with_value(WORDS_IDS, VOCABULARY, 1, 3),
        ValueError,
        f"labels hold {VOCABULARY}, outside 0 … 10 (vocab_size), at row 1, step 3",
    ),
    (with_value(WORDS_IDS, -1, 0, 0), ValueError, "labels hold -1, outside 0 … 10 (vocab_size), at row 0, step 0"),
    (WORDS_IDS[:, :5], ValueError, "labels must be (batch, time) = (2, 6), got (2, 5)"),
    (WORDS_IDS[0], ValueError, "labels must be (batch, time) = (2, 6), got (6,)"),
    (WORDS_IDS.int(), TypeError, "labels must be int64 class ids, got torch.int32"),
    (WORDS_IDS.double(), TypeError, "labels must be int64 class ids, got torch.float64"),
]


@pytest.mark.parametrize(("labels", "error", "words"), WRONG_TOKENS, ids=[case[2] for case in WRONG_TOKENS])
def test_labels_that_are_no_token_ids_are_refused(labels, error, words):
    model = build(LMUForCausalLM)
    with pytest.raises(error, match=re.escape(words)):
        model(WORDS_IDS, labels=labels)
    with pytest.raises(error, match=re.escape(words)):
        model(WORDS_IDS, labels=WORDS_IDS, shift_labels=labels)


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (
            with_value(draw_ids(2, 4), WORDS, 1, 3),
            ValueError,
            f"labels hold {WORDS}, outside 0 … 28 (vocab_size), at row 1, step 3",
        ),
        (
            with_value(draw_ids(2, 4), -7, 0, 2),
            ValueError,
            "labels hold -7, outside 0 … 28 (vocab_size), at row 0, step 2",
        ),
        (draw_ids(2, 4).float(), TypeError, "labels must be int64 class ids, got torch.float32"),
        (draw_ids(4), ValueError, "labels must be (batch, target time), got (4,)"),
        (draw_ids(3, 4), ValueError, "hold 3 rows for 2 sources"),
    ],
)
def test_labels_of_a_translator_that_are_no_token_ids_are_refused(labels, error, words):
    with pytest.raises(error, match=re.escape(words)):
        build_translator(torch.float32)(draw_ids(2, 5), labels=labels)


@pytest.mark.parametrize("value", [2.0, -0.5])
def test_multi_label_targets_lie_between_0_and_1(value):
    model, labels = build(LMUForSequenceClassification), torch.zeros(2, LABELS)
    with pytest.raises(ValueError, match=re.escape(f"labels hold {value:g}, outside 0 … 1 (multi_label")):
        model(draw_ids(2, 5), labels=with_value(labels, value, 1, 0))


def test_the_wrong_class_of_a_row_is_named_with_its_row():
    image = build(LMUForImageClassification, **SMALL_IMAGE)
    with pytest.raises(ValueError, match=r"labels hold 3, outside 0 … 2 \(num_labels\), at row 1"):
        image(draw(2, 1, 4, 4), labels=torch.tensor([0, 3]))


# --------------------------------------------------------------------------- lists and arrays


IDS = draw_ids(2, 6)
PAIR = in_one_row(draw_ids(2, 3), draw_ids(2, 3, seed=1))
CALLS = {
    "body": (LMUModel, {}, {"input_ids": IDS, "attention_mask": torch.ones(2, 6)}),
    "signal": (LMUModel, SIGNAL, {"input_values": draw(2, 6, 2)}),
    "next token": (LMUForCausalLM, {}, {"input_ids": IDS, "labels": IDS, "attention_mask": torch.ones(2, 6)}),
    "classifier": (LMUForSequenceClassification, {}, {"input_ids": IDS, "labels": torch.tensor([0, 1])}),
    "embeddings": (LMUForSequenceClassification, {}, {"inputs_embeds": draw(2, 6, 6)}),
    "packed": (LMUForSequenceClassification, {}, {"input_ids": IDS, "seq_idx": torch.zeros(2, 6, dtype=torch.int64)}),
    "pair": (LMUForSequencePairClassification, {}, {**PAIR, "labels": torch.tensor([0, 1])}),
    "two ids": (LMUForSequencePairClassification, {}, {"input_ids": IDS, "pair_input_ids": IDS}),
    "image": (
        LMUForImageClassification,
        SMALL_IMAGE,
        {"pixel_values": draw(2, 1, 4, 4), "labels": torch.tensor([0, 1])},
    ),
    "forecast": (LMUForTimeSeriesPrediction, SIGNAL, FORECAST),
    "translation": (
        LMUForConditionalGeneration,
        {},
        {"input_ids": IDS, "labels": IDS, "attention_mask": torch.ones(2, 6)},
    ),
}


@pytest.mark.parametrize(("name", "argument"), [(name, word) for name, call in CALLS.items() for word in call[2]])
@pytest.mark.parametrize("convert", [Tensor.tolist, Tensor.numpy], ids=["list", "ndarray"])
def test_lists_and_arrays_are_refused_by_name(name, argument, convert):
    kind, changes, inputs = CALLS[name]
    model = build_translator() if kind is LMUForConditionalGeneration else build(kind, **changes)
    model(**inputs)
    with pytest.raises(TypeError, match=f"^{argument} must be a tensor, got (list|ndarray): give torch.as_tensor"):
        model(**{**inputs, argument: convert(inputs[argument])})


def test_inputs_given_by_position_are_checked_as_those_by_name():
    with pytest.raises(TypeError, match=r"^attention_mask must be a tensor, got ndarray"):
        build(LMUModel)(IDS, np.ones((2, 6)))
