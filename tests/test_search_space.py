"""What a search tries: the forms of `--search`, and the ranges around a recipe's own values."""

import argparse
from dataclasses import replace

import pytest

from lmu_hf import LMUConfig
from lmu_hf.cli.search_space import (
    FLAGS,
    Choices,
    Range,
    command_words,
    default_space,
    own_value,
    say,
    search_field,
    within,
)
from lmu_hf.training.recipes import RECIPES, get_recipe
from lmu_hf.training.recipes.base import fault

DEFAULTS = {name: getattr(LMUConfig, name, None) for name in LMUConfig.__annotations__}


@pytest.mark.parametrize(
    "text, name, values",
    [
        ("learning_rate=1e-4..1e-2", "learning_rate", Range(1e-4, 1e-2)),
        ("learning_rate=1..2", "learning_rate", Range(1.0, 2.0)),  # a flag of real numbers
        ("num_train_epochs=2..9", "num_train_epochs", Range(2, 9, whole=True)),
        ("weight_decay=0..0.5", "weight_decay", Range(0.0, 0.5)),
        ("theta=4..32", "theta", Range(4, 32, whole=True)),
        ("theta=4.0..32", "theta", Range(4.0, 32.0)),
        ("per_device_train_batch_size=8,16", "per_device_train_batch_size", Choices(("8", "16"))),
        ("theta=[4,16],[8,32]", "theta", Choices(("[4, 16]", "[8, 32]"))),
        ("hidden_act=relu,gelu", "hidden_act", Choices(("relu", "gelu"))),
        ("bidirectional=true,false", "bidirectional", Choices(("true", "false"))),
    ],
)
def test_a_field_has_a_range_or_values(text, name, values):
    assert search_field(text) == (name, values)


@pytest.mark.parametrize(
    "text, message",
    [
        ("theta", "takes FIELD=LOW..HIGH or FIELD=a,b,c, got 'theta'"),
        ("=1..2", "takes FIELD=LOW..HIGH"),
        ("theta=", "takes FIELD=LOW..HIGH"),
        ("theta=4", "theta=4: give two values or more"),
        ("theta=4,4", "theta=4,4: give two values or more, none twice"),
        ("theta=9..4", "theta=9..4: LOW must be below HIGH"),
        ("theta=4..inf", "theta=4..inf: LOW must be below HIGH, and both finite"),
        ("theta=nan..4", "LOW must be below HIGH, and both finite"),
        ("theta=four..9", "theta=four..9: LOW and HIGH must be numbers"),
        ("learning_rate=0..1", "learning_rate=0..1: must be positive, got 0"),
        ("layer_decay=0.5..2", "layer_decay=0.5..2: must be a fraction in .0, 1., got 2"),
        ("num_train_epochs=1.5..3", "num_train_epochs=1.5..3: must be of type int, got 1.5"),
        ("optim=adamw,sgd", "optim=adamw,sgd: must be one of adamw, muon, got sgd"),
    ],
)
def test_what_cannot_be_searched_is_named(text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        search_field(text)


def test_a_space_is_around_the_recipes_own_values():
    assert default_space(get_recipe("opinions"), ()) == {
        "learning_rate": Range(8e-4, 0.02),
        "weight_decay": Range(1e-3, 0.1),
        "per_device_train_batch_size": Choices(("16", "32", "64")),
        "num_train_epochs": Range(4, 16, whole=True),
        "embedding_dropout": Range(0.0, 0.3),  # the recipe's own are 0
        "hidden_dropout": Range(0.0, 0.3),
        "classifier_dropout": Range(0.15, 0.6),
        "order": Range(2, 8, whole=True),
        "theta_scale": Range(0.5, 2.0),  # it has two windows
    }


def test_a_space_has_what_the_kind_has():
    linear = default_space(get_recipe("imdb-linear"), ())
    assert "order" not in linear and linear["weight_decay"] == Range(0.0, 0.1)  # the memory itself is read
    assert linear["theta"] == Range(500, 2000, whole=True)
    assert not {"theta", "theta_scale", "order"} & set(default_space(get_recipe("opinions-lstm"), ()))
    forecast = replace(get_recipe("own-forecast"), architecture={"theta": 504, "forecast": {"context_length": 504}})
    assert "theta" not in default_space(forecast, ())  # the memory is to hold the context, and no more
    characters = default_space(get_recipe("python-sources"), ())
    assert characters["max_train_steps"] == Range(650, 2600, whole=True) and "num_train_epochs" not in characters


def test_what_is_settled_is_left_out():
    for settled, out in (
        ({"theta"}, {"theta_scale"}),
        ({"max_train_steps"}, {"num_train_epochs"}),
        ({"order", "learning_rate"}, {"order", "learning_rate"}),
    ):
        space = default_space(get_recipe("opinions"), settled)
        assert set(default_space(get_recipe("opinions"), ())) - set(space) == out


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipes_own_values_lie_in_its_space_and_its_ends_are_allowed(name):
    recipe = get_recipe(name)
    for field, values in default_space(recipe, ()).items():
        assert within(values, own_value(recipe, field, DEFAULTS)) is not None, field
        for end in values.ends:
            if field in FLAGS:
                of, kind = FLAGS[field]
                assert fault(of, kind(end)) is None, field
            elif field.endswith("dropout"):
                assert 0 <= float(end) < 1, field
            elif field != "theta_scale":
                assert float(end) >= 1, field


def test_values_outside_a_space_are_said_to_be_so():
    assert within(Range(1, 4, whole=True), 2) == 2 and within(Range(1, 4, whole=True), 2.5) is None
    assert within(Range(0.1, 0.4), 0.5) is None and within(Range(0, 1), None) is None
    assert within(Range(0, 2), True) is None
    assert within(Choices(("8", "16")), 16) == "16" and within(Choices(("relu", "gelu")), "relu") == "relu"
    assert within(Choices(("[4, 16]",)), [4, 16]) == "[4, 16]" and within(Choices(("8",)), 9) is None


def test_settings_become_the_words_of_a_command():
    settings = {"learning_rate": "0.003", "theta_scale": "0.5", "order": "6", "hidden_act": "relu"}
    words = command_words(settings, {"theta": [4, [1, 8]], "decoder_theta": 10}, ["norm=layer"])
    assert words == [
        *("--learning_rate", "0.003", "--config_overrides", "norm=layer"),
        *("theta=[2.0, [1.0, 4.0]]", "decoder_theta=5.0", "order=6", "hidden_act=relu"),
    ]
    assert command_words({"learning_rate": "0.1"}, {}, []) == ["--learning_rate", "0.1"]
    assert command_words({}, {}, ["norm=layer"]) == ["--config_overrides", "norm=layer"]


def test_a_range_is_said_with_its_scale():
    assert say(Range(8e-4, 0.02)) == "0.0008 to 0.02 (log)" and say(Range(0.0, 0.3)) == "0 to 0.3"
    assert say(Range(2, 1000, whole=True)) == "2 to 1000 (log)" and say(Choices(("8", "16"))) == "8, 16"
