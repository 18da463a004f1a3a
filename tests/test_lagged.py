"""Forecasts solved in closed form: lagged products against windows one by one, and the model against both."""

import numpy as np
import pytest
import torch

from lmu_hf import LMUConfig, LMUForTimeSeriesPrediction
from lmu_hf.training.closed_forecasts import (
    Memory,
    choose_memory,
    contexts,
    maps,
    origins,
    solve_readout,
    write_readout,
)
from lmu_hf.training.forecast_baselines import linear_forecaster, moving_average, seasonal_errors, seasonal_naive
from lmu_hf.training.lagged import NormalEquations, lagged_products, shifted


@pytest.fixture
def values() -> np.ndarray:
    draw = np.random.default_rng(0)
    t = np.arange(400)[:, None]
    return np.sin(2 * np.pi * t / 12 + np.array([0, 1.0])) + 0.3 * draw.normal(size=(400, 2))


def windows(values: np.ndarray, span: int, starts: range) -> np.ndarray:
    return np.stack([values[s : s + span, c] for s in starts for c in range(values.shape[1])])


def test_lagged_products_are_those_of_every_window(values):
    sets = [range(0, 50), range(20, 21), range(100, 371)]
    for found, starts in zip(lagged_products(values, 30, sets), sets, strict=True):
        z = windows(values, 30, starts)
        np.testing.assert_allclose(found.matrix, z.T @ z, atol=1e-9)  # float64, running sums of 400 terms
        assert found.windows == len(z)


@pytest.mark.parametrize("starts", [range(0), range(371, 372), range(-1, 5)], ids=str)
def test_windows_that_are_not_there_are_refused(values, starts):
    with pytest.raises(ValueError, match="windows of 30 steps cannot begin at"):
        lagged_products(values, 30, [starts])


@pytest.mark.parametrize("normalization", ["last", "mean", "none"])
def test_the_readout_is_the_ridge_regression_of_all_windows(values, normalization):
    memory = Memory(24, 5, normalization, 0.1)
    z = windows(values, 30, range(371))
    features, targets = maps(memory, 30, 6)
    x, y = z @ features.T, z @ targets.T
    gram = x.T @ x
    expected = np.linalg.solve(gram + 0.1 * gram.trace() / 5 * np.eye(5), x.T @ y).T
    np.testing.assert_allclose(solve_readout(values, memory, 6), expected, atol=1e-9)
    (products,) = lagged_products(values, 30, [range(371)])
    error = NormalEquations(features, targets, products).mean_squared_error(expected)
    assert error == pytest.approx(((y - x @ expected.T) ** 2).mean(), abs=1e-9)


@pytest.mark.parametrize("normalization", ["last", "mean"])
def test_the_model_forecasts_what_the_equations_say(values, normalization):
    memory = Memory(24, 5, normalization, 0.1)
    option = {"prediction_length": 6, "context_length": 24, "channels": 2, "normalization": normalization}
    model = LMUForTimeSeriesPrediction(bare(forecast=option)).eval()
    write_readout(model, values, memory)
    past = torch.from_numpy(values[-24:])[None].float()
    unit = shifted(24 + 6, 24, 6, normalization)
    z = np.concatenate([values[-24:], np.zeros((6, 2))])
    features, _ = maps(memory, 30, 6)
    expected = solve_readout(values, memory, 6) @ features @ z - unit[24:, :24] @ z[:24]
    # float32 memory against float64 equations.
    np.testing.assert_allclose(model(input_values=past).predictions[0].detach(), expected, atol=1e-4)


def bare(**fields) -> LMUConfig:
    own = {"block_type": "lmu", "num_hidden_layers": 1, "encoder": "identity", "readout": "memory", "input_size": 1}
    return LMUConfig(**(own | {"order": 5, "hidden_size": 5, "theta": 24.0} | fields))


def test_a_deeper_model_cannot_be_solved(values):
    option = {"prediction_length": 6, "context_length": 24, "channels": 2}
    model = LMUForTimeSeriesPrediction(bare(num_hidden_layers=2, readout="dense", forecast=option))
    with pytest.raises(ValueError, match="of one bare memory alone"):
        write_readout(model, values, Memory(24, 5, "last", 0.1))


def test_effects_of_covariates_are_taken_out_and_found(values):
    known = np.random.default_rng(1).normal(size=(400, 1))
    option = {"prediction_length": 6, "context_length": 24, "channels": 2, "covariates": 1}
    model = LMUForTimeSeriesPrediction(bare(forecast=option))
    write_readout(model, values + known * np.array([2.0, -1.0]), Memory(24, 5, "last", 0.1), known)
    torch.testing.assert_close(model.effects.weight, torch.tensor([[2.0], [-1.0]]), atol=0.15, rtol=0)


def test_origins_roll_and_nothing_that_is_judged_was_fitted_to():
    for (fitted, judged), end in zip(origins(300, 60, 24, 6), (300, 360), strict=True):
        assert fitted[-1] + 30 <= judged[0] + 24  # the last fitted window ends before the first judged horizon
        assert judged[-1] + 30 == end


def test_the_choice_reads_a_season_and_takes_no_step_of_the_test(values):
    memory, errors = choose_memory(values, 6, 12, 300)
    assert memory.context in contexts(12, 6, 300) and memory.context >= 12
    assert set(errors) == {"within training", "validation"} and max(errors.values()) < 0.5  # the noise alone is 0.09
    assert choose_memory(values, 6, 12, 300, [24])[0].context == 24


def test_contexts_are_seasons_that_leave_windows_to_fit_to():
    assert contexts(24, 96, 8640) == [24, 48, 96, 168, 336, 504, 720]
    assert contexts(12, 12, 100) == [12, 24]
    assert contexts(1, 2, 60) == [15]


def test_the_lines_are_what_they_say():
    assert (seasonal_naive(3, 7) @ np.array([1, 2, 3])).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert seasonal_errors(np.array([[0.0], [1], [0], [3]]), 2).tolist() == [1.0]  # |0 − 0|, |3 − 1|
    average = moving_average(6, 3) @ np.arange(6.0)
    np.testing.assert_allclose(average, [1 / 3, 1, 2, 3, 4, 14 / 3])


def test_the_linear_forecaster_finds_a_season(values):
    weights = linear_forecaster(values, 6, 300, 24)
    past = values[330:354]
    assert np.abs(weights @ past - values[354:360]).mean() < np.abs(past[-6:] - values[354:360]).mean() / 2
