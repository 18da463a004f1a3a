"""From a table to a run: splits by time, the recipe that a table makes, the solved readout, lines and pictures."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lmu_hf.common.errors import InputError
from lmu_hf.common.record import RunRecord
from lmu_hf.data.forecasts import SeriesTable, made_up_series
from lmu_hf.hub.card import Shown, render
from lmu_hf.training.evaluation import evaluate
from lmu_hf.training.loop import train
from lmu_hf.training.recipes import get_recipe
from lmu_hf.training.recipes.forecasts import recipe_for
from lmu_hf.training.tasks.forecasts import ForecastTask


@pytest.fixture(scope="module")
def series() -> SeriesTable:
    return made_up_series(900)


@pytest.fixture(scope="module")
def made(series):
    return recipe_for(series, get_recipe("own-forecast"), prediction_length=12)


def task_of(series: SeriesTable, made, **more) -> ForecastTask:
    return ForecastTask(series, **{**made.options, **more})


def test_every_window_of_a_part_has_its_horizon_there(series):
    task = ForecastTask(series, 12, 48, (600, 100, 150))
    assert {name: len(rows) for name, rows in task.splits.items()} == {
        "train": 600 - 48 - 12 + 1,
        "validation": 100 - 12 + 1,
        "test": 150 - 12 + 1,
    }
    first = task.splits["test"][0]
    np.testing.assert_allclose(first["input_values"][0], series.values[652:700], rtol=1e-6)
    np.testing.assert_allclose(first["labels"][0], series.values[700:712], rtol=1e-6)
    np.testing.assert_allclose(task.mean, series.values[:600].mean(0))


def test_the_recipe_says_why_and_fits_its_model(series, made):
    recipe = made.recipe
    trained = torch.nn.Linear(1, 1)
    assert recipe.solved and recipe.count_steps(7, trained) == 0
    assert recipe.baseline("lstm").count_steps(7, trained) == 70
    assert recipe.baseline("lstm").count_steps(7, trained.requires_grad_(False)) == 0
    assert (
        recipe.architecture["theta"]
        == made.options["context_length"]
        == recipe.architecture["forecast"]["context_length"]
    )
    assert {"context_length", "order", "strength"} <= made.reasons.keys()
    model = task_of(series, made).make_model(recipe.architecture)
    assert model.config.id2label == dict(enumerate(series.channels))


def test_a_part_that_is_not_read_decides_nothing(series, made):
    other = made_up_series(900)
    other.values[720:] = 1e6  # the test part
    again = recipe_for(other, get_recipe("own-forecast"), prediction_length=12)
    assert again.recipe == made.recipe and again.options == made.options


def test_a_solved_run_beats_the_season_before_and_can_be_evaluated(series, made, tmp_path):
    task = task_of(series, made)
    torch.manual_seed(0)
    model = task.make_model(made.recipe.architecture)
    record = train(model, made.recipe, task, 0, tmp_path, quiet=True, report_to="none")
    assert record.steps == 0 and set(record.metrics) == {"validation", "test"}
    lines = {name: scores["test"]["mse"] for name, scores in record.lines.items()}
    assert len(lines) == 2 and record.metrics["test"]["mse"] < 0.7 * lines["seasonal naive (24 steps)"]
    assert set(record.details["test"]["channels"]) == set(series.channels)
    assert len(record.details["test"]["steps"]) == 12
    saved = type(model).from_pretrained(tmp_path / "model")
    assert evaluate(saved, task, "test")["mse"] == pytest.approx(record.metrics["test"]["mse"])
    task.draw(model, tmp_path / "figures")
    assert (tmp_path / "figures" / "forecasts.png").stat().st_size > 1000
    card = str(render(Shown(RunRecord.read(tmp_path)), "lmu-x"))
    assert "forecasts the next 12" in card and "seasonal naive (24 steps)" in card and "model.forecast(past" in card
    assert "learning_curve.png" not in card


def test_trained_on_it_starts_from_the_solution(series, made, tmp_path):
    from dataclasses import replace

    task = task_of(series, made)
    model = task.make_model(made.recipe.architecture)
    recipe = replace(made.recipe, solved=False, max_steps=2, learning_rate=1e-5, minutes=None)
    record = train(model, recipe, task, 0, tmp_path, quiet=True, report_to="none", read_test=False)
    solved = evaluate(task.make_model(made.recipe.architecture), task, "validation")
    assert record.steps == 2 and record.metrics["validation"]["mse"] == pytest.approx(solved["mse"], rel=0.01)


def test_the_lstm_baseline_learns_on_the_same_windows(series, made, tmp_path):
    from dataclasses import replace

    task = task_of(series, made)
    recipe = replace(made.recipe.baseline("lstm"), max_steps=2, batch_size=4, minutes=None)
    model = task.make_model(recipe.architecture)
    record = train(model, recipe, task, 0, tmp_path, quiet=True, report_to="none", read_test=False)
    assert record.baseline == "lstm" and record.head == "LSTMForTimeSeriesPrediction" and record.steps == 2


def test_quantiles_hold_what_they_say(series):
    made = recipe_for(series, get_recipe("own-forecast"), prediction_length=12, quantiles=[0.1, 0.5, 0.9])
    task = task_of(series, made)
    model = task.make_model(made.recipe.architecture)
    assert 0.7 < evaluate(model, task, "validation")["coverage"] < 0.9


def test_what_was_filled_in_counts_in_no_score(series, made):
    observed = series.observed.copy()
    observed[800:810, 0] = False
    values = series.values.copy()
    wild = SeriesTable(series.name, series.channels, values, observed, series.season)
    task = task_of(wild, made)
    model = task.make_model(made.recipe.architecture)
    before = evaluate(model, task, "test")
    # Forecasts read the values before a gap, never what stands in it.
    wild.values[800:810, 0] = 1e5
    task = task_of(wild, made)
    assert evaluate(model, task, "test") == before


def test_a_table_may_be_scored_by_itself(series, made):
    model = task_of(series, made).make_model(made.recipe.architecture)
    options = {name: value for name, value in made.options.items() if name != "split_steps"}
    task = ForecastTask(made_up_series(400, seed=5), **options, only_test=True)
    assert set(task.splits) == {"test"} and evaluate(model, task, "test")["mse"] < 1


def test_a_table_that_is_too_short_or_still_is_refused(series, made):
    with pytest.raises(InputError, match="too few for a context of"):
        recipe_for(made_up_series(60), get_recipe("own-forecast"), prediction_length=24)
    with pytest.raises(InputError, match="leaves 5 steps for validation, fewer than the 12 of the horizon"):
        ForecastTask(series, 12, 48, (600, 5, 150))
    with pytest.raises(InputError, match="--split_steps asks for 1,000 steps"):
        ForecastTask(series, 12, 48, (800, 100, 100))
    still = series.values.copy()
    still[:, 1] = 4.0
    with pytest.raises(InputError, match="'load' has one value, 4, in all 630 training steps"):
        ForecastTask(SeriesTable("x", series.channels, still, series.observed), 12, 48)


def test_the_python_of_the_page_runs(capsys):
    page = Path(__file__).parents[1] / "docs" / "guides" / "forecasts.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    for block in blocks:
        exec(block, {})  # our own page
    assert len(blocks) == 2 and capsys.readouterr().out.split("torch.Size")[1:] == [
        "([2, 96, 7])\n",
        "([2, 200, 7])\n",
        "([1, 96, 7])\n",
    ]
