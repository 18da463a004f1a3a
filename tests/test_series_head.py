"""The classifier of series: every series as if it stood alone, whatever pads it and whatever of it is missing."""

import pytest
import torch
from hypothesis import given
from torch import Tensor

from lmu_hf import LMUForTimeSeriesClassification, LSTMForTimeSeriesClassification
from lmu_hf.series_lmu import RAISED, SignalScale, hold_observed
from tiny_heads import FEW, build, draw, masks

KINDS = {"lmu": LMUForTimeSeriesClassification, "lstm": LSTMForTimeSeriesClassification}
STACKS = {
    "share": ("lmu", {"block_type": "lmu", "pooling": "share", "num_hidden_layers": 1, "theta": [[3.0, 9.0]]}),
    "mean_max": ("lmu", {"pooling": "mean_max"}),
    "lstm": ("lstm", {"pooling": "mean_max", "model_type": "lmu_lstm"}),
}


def made(stack: str, channels: int = 2, dtype: torch.dtype = torch.float64):
    kind, changes = STACKS[stack]
    if stack == "share":
        changes = {**changes, "memory_channels": 2 * channels}
    model = build(KINDS[kind], dtype, input_size=channels, **changes)
    model.signals.fit(3 + 2 * draw(50, channels))
    return model


@pytest.mark.parametrize("stack", STACKS)
@given(mask=masks())
@FEW
def test_a_masked_step_does_not_exist(stack, mask):
    model, values = made(stack), draw(*mask.shape, 2)
    together = model(input_values=values.masked_fill(~mask[..., None], 7.0), attention_mask=mask.long()).logits
    for row, real, logits in zip(values, mask, together, strict=True):
        alone = model(input_values=row[real][None]).logits[0]
        torch.testing.assert_close(logits, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stack", STACKS)
@given(mask=masks())
@FEW
def test_a_missing_value_is_the_last_observed_one_and_before_it_the_mean(stack, mask):
    model, values = made(stack), draw(*mask.shape, 2)
    observed = torch.stack([mask, mask.flip(1)], -1)
    filled = values.clone()
    for row in range(len(values)):
        for channel in range(2):
            last = model.signals.mean[channel].double()
            for step in range(values.shape[1]):
                last = values[row, step, channel] if observed[row, step, channel] else last
                filled[row, step, channel] = last
    nothing = values.masked_fill(~observed, float("nan"))  # whatever stands there
    found = model(input_values=nothing, observed_mask=observed).logits
    torch.testing.assert_close(found, model(input_values=filled).logits, rtol=1e-6, atol=1e-6)  # the mean is float32


def test_what_is_held_crosses_a_masked_step():
    model = made("mean_max")
    values, observed = draw(1, 4, 2), torch.ones(1, 4, 2, dtype=torch.bool)
    observed[0, 3] = False
    mask = torch.tensor([[1, 1, 0, 1]])
    found = model(input_values=values, attention_mask=mask, observed_mask=observed).logits
    alone = torch.cat([values[:, :2], values[:, 1:2]], 1)  # not what stood on the masked step
    torch.testing.assert_close(found, model(input_values=alone).logits)


def test_hold_observed_by_hand():
    values = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])
    observed = torch.tensor([[[False], [True], [False], [True]]])
    assert hold_observed(values, observed)[0, :, 0].tolist() == [0.0, 2.0, 2.0, 4.0]


@pytest.mark.parametrize("stack", STACKS)
def test_units_do_not_matter_once_the_scale_is_fitted(stack):
    model, values = made(stack), draw(3, 8, 2)
    model.signals.fit(values.flatten(0, 1))
    before = model(input_values=values).logits
    factor, shift = torch.tensor([1000.0, 0.01]), torch.tensor([-5.0, 40.0])
    model.signals.fit((values * factor + shift).flatten(0, 1))
    # Mean and deviation are float32, beside which 40 ± 0.01 has four digits.
    torch.testing.assert_close(model(input_values=values * factor + shift).logits, before, rtol=1e-2, atol=2e-2)


def test_the_scale_leaves_out_what_is_missing_and_keeps_the_unit_of_a_constant():
    scale = SignalScale(3)
    nan = float("nan")
    scale.fit(torch.tensor([[1.0, 5.0, nan], [3.0, 5.0, nan], [nan, 5.0, nan]]))
    assert scale.mean.tolist() == [2.0, 5.0, 0.0]
    assert scale.scale.tolist() == [1.0, 1.0, 1.0]
    assert scale.to(torch.bfloat16).mean.dtype == torch.float32


@pytest.mark.parametrize("stack", STACKS)
def test_a_saved_model_says_the_same(stack, tmp_path):
    model, values = made(stack, dtype=torch.float32), draw(2, 6, 2, dtype=torch.float32)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(again(input_values=values).logits, model(input_values=values).logits)
    torch.testing.assert_close(again.signals.mean, model.signals.mean)


def test_the_auto_class_knows_it_by_its_name(tmp_path):
    from transformers import AutoModelForSequenceClassification

    for stack in ("share", "lstm"):
        model = made(stack, dtype=torch.float32)
        model.save_pretrained(tmp_path / stack)
        assert type(AutoModelForSequenceClassification.from_pretrained(tmp_path / stack)) is type(model)


@pytest.mark.parametrize("stack", STACKS)
@given(mask=masks())
@FEW
def test_silence_behind_a_short_series_lies_below_it(stack, mask):
    model, values = made(stack), draw(*mask.shape, 2)
    model.signals.silence.fill_(6)
    found = model(input_values=values, attention_mask=mask).logits
    model.signals.silence.fill_(0)
    model.signals.mean -= RAISED * model.signals.scale  # what is read as 0
    for row, real, logits in zip(values, mask, found, strict=True):
        kept = row[real]
        followed = torch.cat([kept, model.signals.mean.double().expand(max(0, 6 - len(kept)), 2)])
        torch.testing.assert_close(logits, model(input_values=followed[None]).logits[0], rtol=1e-5, atol=1e-5)


def test_one_channel_needs_no_axis():
    model, values = made("mean_max", channels=1), draw(2, 6)
    observed = draw(2, 6) > 0
    with_axis = model(input_values=values[..., None], observed_mask=observed[..., None]).logits
    torch.testing.assert_close(model(input_values=values, observed_mask=observed).logits, with_axis)


def test_the_loss_is_that_of_classes():
    model, values, labels = made("mean_max"), draw(4, 6, 2), torch.tensor([0, 1, 2, -100])
    output = model(input_values=values, labels=labels)
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits, labels))


@pytest.mark.parametrize("stack", STACKS)
def test_a_model_in_bfloat16_reads_float32(stack):
    model, values = made(stack, dtype=torch.float32).to(torch.bfloat16), draw(2, 6, 2, dtype=torch.float32)
    assert model.signals.scale.dtype == torch.float32
    assert model(input_values=values).logits.isfinite().all()


def test_share_is_the_share_of_positive_steps():
    model, values = made("share"), draw(2, 7, 2)
    hidden = model(input_values=values, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(model.read(values)[0], (hidden > 0).double().mean(1))


def nan_at(place: tuple[int, ...]) -> Tensor:
    values = draw(2, 5, 2)
    values[place] = float("nan")
    return values


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (
            {"input_values": nan_at((1, 2, 0))},
            "row 1, step 2, channel 0: say where values are missing by",
        ),
        ({"input_values": draw(2, 5, 3)}, r"input_values must be \(batch, time, input_size=2\), got \(2, 5, 3\)"),
        ({"input_values": None}, r"input_values must be \(batch, time, input_size=2\), got None"),
        ({"input_values": draw(2, 5, 2), "observed_mask": torch.ones(2, 5)}, r"observed_mask must be \(2, 5, 2\)"),
        ({"input_values": draw(2, 5, 2), "attention_mask": torch.tensor([[1] * 5, [0] * 5])}, "no real step in row 1"),
        ({"input_values": draw(2, 5, 2), "position_ids": torch.zeros(2, 5)}, "one sequence a row"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(inputs, said):
    with pytest.raises(ValueError, match=said):
        made("mean_max")(**inputs)


def test_a_value_that_is_observed_must_be_finite():
    values, observed = nan_at((0, 1, 1)), torch.ones(2, 5, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="row 0, step 1, channel 1"):
        made("mean_max")(input_values=values, observed_mask=observed)


def test_a_vocabulary_is_no_signal():
    with pytest.raises(ValueError, match="set input_size"):
        build(LMUForTimeSeriesClassification)
