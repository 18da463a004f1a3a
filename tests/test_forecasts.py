"""The head that forecasts a whole horizon: units, gaps, covariates, quantiles, and horizons beyond its own."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor

from lmu_hf import LMUConfig, LMUForTimeSeriesPrediction, LSTMConfig, LSTMForTimeSeriesPrediction
from lmu_hf.forecasts_lmu import hold_last, window_unit
from lmu_hf.hub.export import graphs
from lmu_hf.losses import pinball

BARE = {"block_type": "lmu", "num_hidden_layers": 1, "encoder": "identity", "readout": "memory", "input_size": 1}
BARE |= {"order": 6, "hidden_size": 6, "theta": 12.0}
OPTION = {"prediction_length": 4, "context_length": 12, "channels": 2}


def build(**option) -> LMUForTimeSeriesPrediction:
    torch.manual_seed(0)
    return LMUForTimeSeriesPrediction(LMUConfig(**BARE, forecast=OPTION | option)).eval()


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("normalization", ["last", "mean"])
@pytest.mark.parametrize("scaling", [False, True])
def test_a_forecast_follows_the_unit_of_its_window(normalization, scaling):
    """x → a x + b maps the forecast likewise, without a standardised table."""
    model, x = build(normalization=normalization, scaling=scaling), draw(3, 12, 2)
    here, there = model(input_values=x).predictions, model(input_values=7 * x - 300).predictions
    torch.testing.assert_close(there, 7 * here - 300, atol=1e-3, rtol=1e-4)  # float32 at 300


def test_channels_do_not_see_each_other_and_share_their_weights():
    model, x = build(), draw(3, 12, 2)
    y = x.clone()
    y[..., 1] += draw(3, 12, seed=2)
    a, b = model(input_values=x).predictions, model(input_values=y).predictions
    assert torch.equal(a[..., 0], b[..., 0]) and not torch.equal(a[..., 1], b[..., 1])
    torch.testing.assert_close(model(input_values=x.flip(-1)).predictions, a.flip(-1))


def test_only_the_context_is_read_and_whole_numbers_will_do():
    model, x = build(), draw(2, 30, 2)
    assert torch.equal(model(input_values=x).predictions, model(input_values=x[:, -12:]).predictions)
    counts = torch.arange(48).view(2, 12, 2)
    assert torch.equal(model(input_values=counts).predictions, model(input_values=counts.float()).predictions)
    one = build(channels=1)
    assert torch.equal(one(input_values=x[..., 0]).predictions, one(input_values=x[..., :1]).predictions)


def test_what_stands_where_nothing_was_observed_counts_for_nothing():
    model, x = build(), draw(2, 12, 2)
    mask = torch.rand(2, 12, generator=torch.Generator().manual_seed(3)) > 0.4
    broken = x.masked_fill(~mask[..., None], torch.nan)
    expected = model(input_values=hold_last(x, mask[..., None].expand_as(x))).predictions
    assert torch.equal(model(input_values=broken, observed_mask=mask).predictions, expected)
    with pytest.raises(ValueError, match=r"input_values must be finite.*observed_mask"):
        model(input_values=broken)


def test_a_gap_holds_the_value_before_it():
    values = torch.tensor([1.0, 2, 3, 4, 5])[None, :, None]
    observed = torch.tensor([0, 1, 0, 0, 1]).bool()[None, :, None]
    assert hold_last(values, observed).flatten().tolist() == [2, 2, 2, 2, 5]


def test_labels_that_are_not_observed_are_not_learnt():
    model, x, labels = build(), draw(2, 12, 2), draw(2, 4, 2, seed=4)
    mask = torch.ones(2, 16)
    mask[0, 13] = 0
    there = labels.clone()
    there[0, 1] = -100
    wild = labels.clone()
    wild[0, 1] = 1e6
    expected = model(input_values=x, labels=there).loss
    torch.testing.assert_close(model(input_values=x, labels=wild, observed_mask=mask).loss, expected)
    error = (model(input_values=x).predictions - labels).square()
    error[0, 1] = 0
    torch.testing.assert_close(expected, error.sum() / 14)


def test_the_loss_is_in_units_of_each_channels_deviation():
    model, x, labels = build(), draw(2, 12, 2), draw(2, 4, 2, seed=4)
    before = model(input_values=x, labels=labels).loss
    scale = torch.tensor([1.0, 1000.0])
    model.targets.scale.copy_(scale)
    torch.testing.assert_close(model(input_values=x * scale, labels=labels * scale).loss, before)


def test_covariates_move_the_forecast_by_their_effect():
    model = build(covariates=1)
    x, known = draw(2, 12, 2), draw(2, 16, 1, seed=5)
    torch.nn.init.zeros_(model.effects.weight)
    plain = model(input_values=x, covariates=known).predictions
    model.effects.weight.data.copy_(torch.tensor([[2.0], [-1.0]]))
    effect = known * torch.tensor([2.0, -1.0])
    moved = model(input_values=x + effect[:, :12], covariates=known).predictions
    torch.testing.assert_close(moved, plain + effect[:, 12:], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"covariates must be \(2, 16, 1\), got None"):
        model(input_values=x)


def test_quantiles_rise_and_the_middle_one_is_the_prediction():
    model = build(quantiles=[0.1, 0.5, 0.9])
    said = model(input_values=draw(3, 12, 2), labels=draw(3, 4, 2))
    assert said.quantiles.shape == (3, 4, 2, 3) and said.loss.requires_grad
    assert (said.quantiles.diff(dim=-1) >= 0).all()
    assert torch.equal(said.predictions, said.quantiles[..., 1])


def test_the_pinball_loss_is_least_at_the_quantile():
    values = draw(4000)
    losses = {
        level: pinball(torch.full((4000, 1), level), values, torch.ones(4000, dtype=torch.bool), [0.9]).item()
        for level in np.arange(0.8, 1.8, 0.1)
    }
    assert abs(min(losses, key=losses.get) - values.quantile(0.9).item()) < 0.1
    assert pinball(torch.zeros(3, 1), torch.tensor([1.0, -2, 3]), torch.ones(3).bool(), [0.5]).item() == 2.0  # = MAE


def test_longer_horizons_read_what_was_predicted():
    model, x = build(), draw(2, 12, 2)
    whole = model.forecast(x, steps=10)
    first = model(input_values=x).predictions
    second = model(input_values=torch.cat([x, first], 1)).predictions
    assert whole.shape == (2, 10, 2)
    torch.testing.assert_close(whole[:, :8], torch.cat([first, second], 1))
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        model.forecast(x, steps=0)
    every = LMUForTimeSeriesPrediction(LMUConfig(input_size=2, hidden_size=4, num_hidden_layers=1))
    with pytest.raises(ValueError, match="predicts at every step"):
        every.forecast(x, steps=3)


def test_saved_and_loaded_it_says_the_same(tmp_path):
    model, x = build(quantiles=[0.25, 0.5], covariates=2), draw(2, 12, 2)
    model.targets.mean.fill_(3.0)
    model.save_pretrained(tmp_path)
    again = LMUForTimeSeriesPrediction.from_pretrained(tmp_path)
    known = draw(2, 16, 2)
    assert torch.equal(
        again(input_values=x, covariates=known).quantiles, model(input_values=x, covariates=known).quantiles
    )
    assert again.config.forecast["quantiles"] == [0.25, 0.5]


def test_the_lstm_baseline_has_the_same_head():
    config = LSTMConfig(input_size=1, hidden_size=6, num_hidden_layers=1, block_type="lmu", forecast=OPTION)
    model = LSTMForTimeSeriesPrediction(config)
    said = model(input_values=draw(2, 12, 2), labels=draw(2, 4, 2))
    assert said.predictions.shape == (2, 4, 2)
    said.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"prediction_length": 0}, "prediction_length must be a whole number from 1"),
        ({"normalization": "first"}, "normalization must be one of"),
        ({"quantiles": [0.9, 0.5]}, "quantiles must be a rising list"),
        ({"quantiles": [0.1, 0.9]}, "with 0.5 among them"),
        ({"scaling": 1}, "scaling must be true or false"),
        ({"covariates": -1}, "covariates must be a whole number"),
        ({"horizon": 3}, "forecast has no entry 'horizon'"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_by_name(option, message):
    with pytest.raises(ValueError, match=message):
        LMUConfig(**BARE, forecast=OPTION | option)


def test_the_rest_of_the_config_must_fit():
    with pytest.raises(StrictDataclassError, match="set input_size=1"):
        LMUConfig(input_size=2, forecast=OPTION)
    with pytest.raises(StrictDataclassError, match="leave output_size=3 out"):
        LMUConfig(input_size=1, output_size=3, forecast=OPTION)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input_values": draw(2, 12, 3)}, r"input_values must be \(batch, time, channels=2\), got \(2, 12, 3\)"),
        ({"input_values": draw(2, 12)}, r"channels=2\), got \(2, 12\)"),
        ({"labels": draw(2, 3, 2)}, r"labels must be .* = \(2, 4, 2\), got \(2, 3, 2\)"),
        ({"observed_mask": torch.ones(2, 9)}, r"observed_mask must be \(batch, time\) = \(2, 12\) or \(2, 16\)"),
        ({"observed_mask": torch.zeros(2, 12)}, "leaves row 0, channel 0 without any value"),
        ({"attention_mask": torch.ones(2, 12)}, "does not read attention_mask"),
        ({"covariates": draw(2, 16, 1)}, "covariates must be None"),
        ({"labels": torch.full((2, 4, 2), -100.0)}, "leave no real step"),
    ],
    ids=str,
)
def test_a_wrong_input_is_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        build()(**{"input_values": draw(2, 12, 2), **given})


def test_a_model_of_every_step_reads_no_mask_of_values():
    model = LMUForTimeSeriesPrediction(LMUConfig(input_size=2, hidden_size=4, num_hidden_layers=1))
    with pytest.raises(ValueError, match="predicts at every step and does not read observed_mask"):
        model(input_values=draw(2, 5, 2), observed_mask=torch.ones(2, 5))
    assert model(input_values=torch.ones(1, 5, 2, dtype=torch.int64)).predictions.dtype == torch.float32


def test_a_window_that_does_not_move_has_a_unit_all_the_same():
    level, scale = window_unit(torch.full((1, 5, 1), 3.0), "last", scaling=True)
    assert level.item() == 3.0 and scale.item() > 0


def test_a_whole_horizon_is_one_graph():
    model = build(quantiles=[0.25, 0.5], covariates=1)
    graph = graphs(model)["model"]
    assert list(graph.inputs) == ["input_values", "covariates"]
    predictions, quantiles = graph.module(*graph.inputs.values())
    said = model(**graph.inputs)
    assert torch.equal(predictions, said.predictions) and torch.equal(quantiles, said.quantiles)


@pytest.mark.slow  # torch.export traces for seconds
def test_its_graph_takes_any_batch():
    model = build(covariates=1)
    graph = graphs(model)["model"]
    program = graph.program().module()
    x, known = draw(5, 12, 2), draw(5, 16, 1)
    torch.testing.assert_close(program(x, known)[0], model(input_values=x, covariates=known).predictions)
