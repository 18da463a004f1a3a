"""A budget of minutes: how many steps it allows, and a run whose number of steps it changes."""

import json
import math
from dataclasses import replace

import pytest
import torch

from lmu_hf.common.record import MetricsLog
from lmu_hf.training.budget import CLOCKED, Budget
from lmu_hf.training.loop import train
from lmu_hf.training.recipes.own import recipe_for
from lmu_hf.training.tasks.classification import ClassificationTask
from tiny_rows import labelled

pytestmark = pytest.mark.usefixtures("cache")


def test_a_run_that_would_take_too_long_is_made_shorter_and_its_schedule_ends(tmp_path):
    made = recipe_for(labelled())
    recipe = replace(made.recipe, epochs=20, minutes=1e-6, eval_steps=None)
    assert recipe.epochs * math.ceil(120 / recipe.batch_size) > 2 * CLOCKED
    task = ClassificationTask(labelled(), **made.options)
    done = train(task.make_model(recipe.architecture), recipe, task, 0, tmp_path / "run", quiet=True)
    assert done.steps == CLOCKED
    assert [row["step"] for row in MetricsLog.read(tmp_path / "run")][-1] == CLOCKED


def test_a_slow_beginning_does_not_end_a_run_too_early():
    def run(pace, seconds, wanted=2000):
        budget, steps, step, spent, numbers = Budget(seconds, wanted), wanted, 0, 0.0, []
        while step < steps:
            spent += pace(step)
            step += 1
            if step < steps and budget.is_due(step):
                steps = budget.allowed(step, spent, steps)
                numbers.append(steps)
        return step, spent, numbers

    step, spent, numbers = run(lambda step: 0.1 if step < 25 else 0.01, 13.5)
    assert numbers[0] < 150 and 12.5 < spent < 14  # the first look knows slow steps alone
    assert step == pytest.approx(25 + (13.5 - 2.5) / 0.01, rel=0.05)
    assert run(lambda step: 0.1 if step < 25 else 0.01, 60)[0] == 2000  # what the recipe asks for, and no more
    _, spent, _ = run(lambda step: 0.01 if step < 300 else 0.03, 13.5)  # another program begins
    assert 12.5 < spent < 15
    assert run(lambda step: 1.0, 3.0)[0] == CLOCKED


def test_a_run_that_was_made_shorter_grows_again_and_resumes_exactly(tmp_path, monkeypatch):
    made = recipe_for(labelled())
    recipe = replace(made.recipe, epochs=20, minutes=1.0, eval_steps=None)
    folder = tmp_path / "run"

    def run(*counts, **how):
        given = iter(counts)
        monkeypatch.setattr(Budget, "is_due", lambda self, step: step in (10, 20, 30))
        monkeypatch.setattr(Budget, "allowed", lambda self, step, spent, steps: next(given))
        task = ClassificationTask(labelled(), **made.options)
        torch.manual_seed(0)
        model = task.make_model(recipe.architecture)
        return train(model, recipe, task, 0, folder, quiet=True, checkpointing_steps="25", **how), model

    done, model = run(30, 60, 40)
    assert done.steps == 40
    assert json.loads((folder / "checkpoints" / "step-00000025" / "state.json").read_text())["progress"]["steps"] == 60
    (folder / "run.json").unlink()
    again, resumed = run(40, resume=True)
    assert again.steps == 40
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
