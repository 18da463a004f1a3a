"""Every learning-rate schedule that is offered trains, and goes on where it was; the others are not offered."""

from dataclasses import replace

import pytest
import torch
from transformers import SchedulerType

from lmu_hf.cli.train import asked_recipe
from lmu_hf.cli.training_flags import training_parser
from lmu_hf.training.recipes import RECIPES, Recipe
from lmu_hf.training.schedules import COMMON, make_schedule, schedule_names
from test_resume import RECIPE, assert_same_run, run

OFFERED = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial"),
    *("constant", "constant_with_warmup", "inverse_sqrt"),
)


def test_every_schedule_that_needs_only_steps_is_offered():
    assert set(OFFERED) <= set(schedule_names()) <= {kind.value for kind in SchedulerType}
    needy = {"reduce_lr_on_plateau", "greedy", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay"}
    assert not needy & set(schedule_names())
    assert {build().schedule for build in RECIPES.values()} <= set(schedule_names())


def test_help_names_the_common_schedules():
    (action,) = (
        each for each in training_parser("", "forecast", "mackey-glass")._actions if each.dest == "lr_scheduler_type"
    )
    assert f"learning-rate schedule: {', '.join(COMMON)}, or another" in action.help
    assert set(COMMON) <= set(schedule_names())


@pytest.mark.parametrize("name", ["greedy", "reduce_lr_on_plateau", "steep", ""])
def test_an_unknown_schedule_is_refused_before_anything_is_loaded(name):
    with pytest.raises(ValueError, match=f"--lr_scheduler_type must be one of linear, .*, got {name!r}"):
        Recipe("name", "images", {}, schedule=name)


def test_a_warmup_that_would_be_ignored_is_refused():
    parser = training_parser("", "forecast", "mackey-glass")
    words = ["--lr_scheduler_type", "constant", "--warmup_ratio"]
    with pytest.raises(ValueError, match="--warmup_ratio has no effect on a constant schedule"):
        asked_recipe(parser.parse_args([*words, "0.1"]))
    assert asked_recipe(parser.parse_args([*words, "0"])).schedule == "constant"


@pytest.mark.parametrize("name", schedule_names())
def test_a_run_resumes_exactly_under_every_schedule(tmp_path, name):
    recipe = replace(RECIPE, schedule=name, max_steps=4, warmup=0.5)
    run(tmp_path / "whole", recipe, checkpointing_steps=3)
    run(tmp_path / "again", recipe, resume=tmp_path / "whole" / "checkpoints" / "step-00000003")
    assert_same_run(tmp_path / "whole", tmp_path / "again")


@pytest.mark.parametrize("name, rates", [("linear", [0, 0.5, 1, 0.5, 0]), ("constant_with_warmup", [0, 0.5, 1, 1, 1])])
def test_the_learning_rate_rises_and_falls(name, rates):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, seen = make_schedule(name, optimizer, 2, 4), []
    for _ in rates:
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert seen == pytest.approx(rates)
