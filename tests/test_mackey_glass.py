"""Mackey-Glass: the equation, the task, and a network that learns it a little."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from lmu_hf.common.record import RunRecord
from lmu_hf.training.loop import train
from lmu_hf.training.recipes import get_recipe
from lmu_hf.training.tasks.mackey_glass import MackeyGlassTask, Series, mackey_glass


@pytest.fixture(scope="module")
def task():
    return MackeyGlassTask(steps=300, window=57)


def test_a_series_obeys_its_equation():
    """Ten Euler steps a sample against an adaptive solver, by the method of steps over the first delay."""
    inner = 400
    mine = mackey_glass(series=3, steps=17, tau=17, seed=5, inner_steps=inner, washout=0)
    draw = np.random.default_rng(5)
    history = 1.2 + 0.2 * (draw.random((17 * inner, 3)) - 0.5)

    def slope(t: float, x: np.ndarray) -> np.ndarray:
        delayed = history[min(int(t * inner), 17 * inner - 1)]
        return 0.2 * delayed / (1 + delayed**10) - 0.1 * x

    solved = solve_ivp(slope, (0, 17), np.full(3, 1.2), t_eval=np.arange(1, 18), max_step=1 / inner).y
    squashed = np.tanh(solved - 1)
    np.testing.assert_allclose(mine, squashed - squashed.mean(), atol=2e-3)


def test_series_are_centred_distinct_and_decided_by_their_seed():
    values = mackey_glass(series=8, steps=400)
    assert values.shape == (8, 400) and abs(values.mean()) < 1e-12 and np.abs(values).max() < 2
    assert np.array_equal(values, mackey_glass(series=8, steps=400))
    assert not np.array_equal(values, mackey_glass(series=8, steps=400, seed=1))
    assert np.abs(values[0] - values[1]).max() > 0.1


def test_a_long_delay_makes_the_series_chaotic():
    """With a short delay every series settles into one cycle; at 17 they part for good."""

    def spread(tau: int) -> float:
        late = mackey_glass(series=16, steps=1500, tau=tau, washout=500)[:, -300:]
        return np.sort(late, axis=1).std(axis=0).mean()

    assert spread(17) > 3 * spread(8)


def test_the_label_of_a_step_lies_a_horizon_ahead():
    values = torch.arange(40.0).view(2, 20)
    batch = Series(values, 3).__getitems__([0, 1])
    assert torch.equal(batch["labels"], batch["input_values"] + 3) and batch["labels"].shape == (2, 17)


def test_windows_cut_training_series_and_no_others(task):
    values = torch.from_numpy(mackey_glass(128, 300)).float()
    rows = task.splits["train"]
    assert len(rows) == 32 * 5 and rows.inputs.shape[1] == 57
    assert torch.equal(rows.inputs[1], values[0, 57:114]) and torch.equal(rows.labels[1], values[0, 72:129])
    assert torch.equal(task.splits["validation"].inputs, values[32:64, :-15])
    assert torch.equal(task.splits["test"].inputs, values[64:, :-15])
    assert task.describe()["rows"] == {"train": 160, "validation": 32, "test": 64}


def test_the_score_is_the_rms_error_over_the_rms_of_the_series(task):
    class Constant:
        def __call__(self, values, use_cache):
            return type("Output", (), {"predictions": torch.full((*values.shape, 1), 0.25)})

    batches = task.loader("validation", 5)
    score = task.scores(Constant(), "validation", batches, lambda parts: parts)["nrmse"]
    labels = task.splits["validation"].labels.double()
    assert score == pytest.approx(((labels - 0.25).square().mean() / labels.square().mean()).sqrt().item(), rel=1e-12)


@pytest.mark.parametrize("fields", [{"horizon": 0}, {"horizon": 300}, {"window": 0}, {"window": 290}])
def test_lengths_that_do_not_fit_are_refused(fields):
    with pytest.raises(ValueError, match=f"{next(iter(fields))} must lie between"):
        MackeyGlassTask(steps=300, **fields)


@pytest.mark.parametrize("name", ["mackey-glass", "mackey-glass-lstm"])
def test_the_series_recipes_have_their_claimed_size_and_learn(name, task, tmp_path):
    recipe = get_recipe(name, max_steps=20, eval_steps=10)
    model = task.make_model(recipe.architecture)
    assert 16_500 < model.num_parameters() <= 18_300
    record = train(model, recipe, task, 0, tmp_path, quiet=True)
    assert record.metrics["validation"]["nrmse"] < 1 and RunRecord.read(tmp_path) == record
