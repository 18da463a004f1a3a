"""Few rows in English go on from the language model in the box: when, how, and what is said of it."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from lmu_hf import pretrained
from lmu_hf.cli.loading import load_task
from lmu_hf.cli.verbs.train_text import parse_args
from lmu_hf.data.tokenised import load_tokenizer
from lmu_hf.tokenization_lmu import train_tokenizer
from lmu_hf.training.recipes import get_recipe
from lmu_hf.training.recipes.fine_tuned import MODEL, fine_tuning, minutes_needed, pieces_per_word, suits
from lmu_hf.training.recipes.own import explain, goes_on, lacks_minutes, measure_rows, recipe_for
from lmu_hf.training.speed import time_step
from tiny_rows import labelled

pytestmark = pytest.mark.usefixtures("cache")

ENGLISH = [
    "The hotel was clean and the people at the desk were friendly.",
    "I waited for more than an hour and nobody told me why.",
    "Good value for the money, we will come back next year.",
    "The battery died after two weeks and the shop refused to take it back.",
]
GERMAN = [
    "Das Hotel war sauber und die Leute am Empfang waren freundlich.",
    "Ich habe über eine Stunde gewartet, und niemand sagte mir, warum.",
    "Gutes Preis-Leistungs-Verhältnis, wir kommen nächstes Jahr wieder.",
    "Der Akku war nach zwei Wochen leer, und der Laden nahm ihn nicht zurück.",
]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(pretrained(MODEL))


def write(folder, texts) -> str:
    path = folder / "rows.jsonl"
    rows = [
        {"text": f"{text} {number}", "label": ("bad", "good")[number % 2]} for number in range(15) for text in texts
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def task_of(path, *flags):
    args = parse_args(["--train_file", path, *map(str, flags)])
    return load_task(args, get_recipe(args.recipe))


def test_pieces_are_counted_in_words():
    letters = train_tokenizer("char", ["abcdefg "])
    assert pieces_per_word(["abc de", "g"], letters) == (6 + 1) / 3
    assert pieces_per_word([""], letters) == 0


def test_english_is_told_from_german(tokenizer):
    assert pieces_per_word(ENGLISH, tokenizer) < 1.4 and pieces_per_word(GERMAN, tokenizer) > 2


def test_spaces_before_commas_and_capital_letters_make_no_difference(tokenizer):
    written, corpus = "I didn't like it, (really)!", "i did n't like it , ( really ) !"
    assert tokenizer(written)["input_ids"] == tokenizer(corpus)["input_ids"]


@pytest.mark.parametrize(
    ("rows", "pieces", "expected"),
    [(9000, 1.4, True), (9000, 2.2, False), (200_000, 1.4, False)],  # another language; many rows
)
def test_few_english_rows_suit(rows, pieces, expected):
    assert suits(rows, pieces) is expected


def test_two_passes_must_be_within_the_minutes_of_this_machine():
    assert minutes_needed(3200, 0.3) == 2 * 100 * 0.3 / 60
    assert minutes_needed(1600, 0.3) == minutes_needed(3200, 0.3)  # of smaller batches


def test_epochs_and_the_second_training_keep_to_the_minutes():
    short, long = fine_tuning(1000, 0.1, 4, True), fine_tuning(1000, 1.0, 4, True)
    assert short.changes["refit"] and not long.changes["refit"]
    assert short.changes["minutes"] == 2 and long.changes["minutes"] == 4
    assert (short.changes["epochs"], long.changes["epochs"]) == (8, 3)
    assert "a step takes 1 s here, so 4 minutes allow 3 of 8" in long.reasons["epochs"]
    assert not fine_tuning(1000, 0.1, 4, False).changes["refit"]


def test_a_step_is_timed_and_leaves_the_random_numbers_alone():
    state = torch.random.get_rng_state()
    long, short = time_step(pretrained(MODEL), 16, 256), time_step(pretrained(MODEL), 2, 8)
    assert long > short > 0
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_plain_command_goes_on_from_the_model_in_the_box_and_says_so(tmp_path):
    task = task_of(write(tmp_path, ENGLISH))
    assert task.describe()["stack"] == MODEL
    said = explain(task.made, task.reasons)
    assert f"model_name_or_path {MODEL}: " in said and "--from_scratch" in said
    assert "theta" not in said and "vocab_size" not in said
    model = task.make_model(task.made.architecture)
    before = load_file(f"{pretrained(MODEL)}/model.safetensors")["model.layers.5.memory.memory_readout.weight"]
    assert torch.equal(model.state_dict()["model.layers.5.memory.memory_readout.weight"], before.float())


@pytest.mark.parametrize(
    ("texts", "flags"),
    [
        (GERMAN, ()),
        (ENGLISH, ("--from_scratch",)),
        (ENGLISH, ("--baseline", "lstm")),
        (ENGLISH, ("--config_overrides", "hidden_size=64")),
        (ENGLISH, ("--minutes", "0.001")),
    ],
)
def test_other_rows_and_other_wishes_train_a_model_of_their_own(tmp_path, texts, flags):
    task = task_of(write(tmp_path, texts), *flags)
    assert task.describe()["stack"] is None and "vocab_size" in task.reasons


def test_a_flag_of_pre_training_has_no_effect_on_a_named_recipe():
    args = parse_args(["--recipe", "opinions", "--from_scratch"])
    with pytest.raises(ValueError, match="--from_scratch has no effect on opinions"):
        load_task(args, get_recipe("opinions"))


def test_no_time_is_no_time_to_fine_tune(tokenizer):
    measured = replace(measure_rows(labelled(), tokenizer), step_seconds=0.5)
    assert goes_on(labelled(), measured) and not lacks_minutes(measured)
    assert lacks_minutes(measured, minutes=1e-5) == minutes_needed(measured.rows, 0.5) / 0.75


def test_a_machine_that_is_too_slow_is_told_how_many_minutes_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr("lmu_hf.cli.loading.time_step", lambda *how: 100.0)
    task = task_of(write(tmp_path, ENGLISH))
    assert task.describe()["stack"] is None
    assert "--minutes 18 would let it go on from lmu-small-en" in task.announce()


def test_a_model_that_is_given_is_fine_tuned_by_the_same_rule(tokenizer):
    measured = replace(measure_rows(labelled(), tokenizer), step_seconds=0.1)
    made = recipe_for(labelled(), measured=measured, model_name_or_path="somewhere", tokenizer=tokenizer)
    assert made.recipe.layer_decay < 1 and made.recipe.data["model_name_or_path"] == "somewhere"
    assert "vocab_size" not in made.options and made.reasons["model_name_or_path"] == "given"


def test_votes_beside_byte_pairs_are_of_words(tokenizer):
    assert recipe_for(labelled(), tokenizer=tokenizer).recipe.architecture["votes"]["words"]
    of_words = train_tokenizer("word", ["a text"])
    assert not recipe_for(labelled(), tokenizer=of_words).recipe.architecture["votes"]["words"]
    assert "words" not in recipe_for(labelled()).recipe.architecture["votes"]


@pytest.mark.parametrize("minutes, refit", [(1e-3, False), (100.0, True)])
def test_what_is_said_of_a_second_training_is_true(tokenizer, minutes, refit):
    measured = replace(measure_rows(labelled(), tokenizer), step_seconds=0.5, held_out=True)
    made = recipe_for(labelled(), minutes, measured, model_name_or_path="somewhere", tokenizer=tokenizer)
    assert made.recipe.refit == refit == ("refit" in made.reasons)
    assert ("training once more" in made.reasons["minutes"]) == refit
