"""Somebody's own pairs of sentences: the recipe that they make, what a translator must beat, and a run from a file."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmu_hf import LMUConfig
from lmu_hf.cli.verbs.train_translation import parse_args
from lmu_hf.common.lines import is_clear, verdict
from lmu_hf.common.record import RunRecord
from lmu_hf.hub.results import beside_table
from lmu_hf.training.recipes.own_translation import Lengths, Measured, lengths_of, make_recipe, measure, vocabulary
from lmu_hf.training.tasks.translation import MOST_HELD_OUT, parallel_files
from lmu_hf.training.translation_memory import COPY, MEMORY, similar_translations, translation_lines
from script_runs import call_verb

pytestmark = pytest.mark.usefixtures("cache")
NUMBERS = {"one": "eine", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs"}
COLOURS = {"red": "rote", "green": "grüne", "blue": "blaue", "black": "schwarze", "white": "weiße", "old": "alte"}
THINGS = {"cats": "Katzen", "doors": "Türen", "lamps": "Lampen", "roses": "Rosen", "bags": "Taschen", "cows": "Kühe"}
SMALL = Measured(200, 120, 5_000), Lengths(median=8, percentile=14, longest=15, mean=8.0)
MIDDLE = Measured(29_000, 28_000, 4_000_000), Lengths(median=16, percentile=40, longest=69, mean=17.0)
LARGE = Measured(500_000, 300_000, 90_000_000), Lengths(median=30, percentile=90, longest=700, mean=33.0)


def made_pairs() -> list[tuple[str, str]]:
    """All 216 phrases of a number, a colour and a thing, in an order drawn with seed 0."""
    pairs = [
        (f"I see {number} {colour} {thing}", f"ich sehe {NUMBERS[number]} {COLOURS[colour]} {THINGS[thing]}")
        for number in NUMBERS
        for colour in COLOURS
        for thing in THINGS
    ]
    random.Random(0).shuffle(pairs)
    return pairs


# --------------------------------------------------------------------------- the recipe


def test_pairs_are_measured_in_words_bytes_and_tokens():
    assert measure([("A b.", "ä b"), ("b", "A!")]) == Measured(rows=2, words=5, size=4 + 4 + 1 + 2)
    assert lengths_of([(2, 3), (4, 9)]) == Lengths(median=3, percentile=9, longest=9, mean=4.5)


def test_the_vocabulary_follows_from_the_text_and_is_never_larger_than_it_supports():
    sizes = [vocabulary(of)[0] for of, _ in (SMALL, MIDDLE, LARGE)]
    assert sizes == [300, 3150, 8000]
    assert vocabulary(Measured(9000, 40, 10**8))[0] == 300  # much text of few words
    assert "4,000,000 bytes of text with 28,000 different words" in vocabulary(MIDDLE[0])[1]


def test_few_pairs_make_a_narrow_recipe_that_reads_them_often():
    recipe = make_recipe(*SMALL, vocab_size=300).recipe
    body = recipe.architecture
    assert (body["hidden_size"], body["intermediate_size"], body["memory_channels"]) == (64, 128, 48)
    assert body["theta"] == [[4, 24], [4, 24]] and body["initializer_range"] == 0.125
    assert (recipe.epochs, recipe.batch_size) == (100, 16)
    assert recipe.data == {"vocab_size": 300, "max_length": 18}
    assert body["embedding_dropout"] == 0.2


def test_captions_make_the_recipe_that_was_measured_on_captions():
    recipe = make_recipe(*MIDDLE, vocab_size=3150).recipe
    body = recipe.architecture
    assert body["theta"] == [[4, 48], [4, 48]]
    assert (recipe.optimizer, body["residual_initializer_scale"], body["tie_word_embeddings"]) == ("muon", 0.05, True)
    assert (
        recipe.data["max_length"] == 83
    )  # a fifth more than the longest, which is not twice as long as 99 of 100 pairs
    assert (body["hidden_size"], recipe.epochs, recipe.batch_size, recipe.minutes) == (128, 10, 64, 7.5)
    assert make_recipe(*LARGE, vocab_size=8000).recipe.data["max_length"] == 90


def test_more_minutes_make_a_wider_recipe():
    recipes = [make_recipe(*MIDDLE, vocab_size=3150, minutes=minutes).recipe for minutes in (1, 10, 1000)]
    widths = [recipe.architecture["hidden_size"] for recipe in recipes]
    assert widths == sorted(widths) and widths[-1] == 256
    assert [recipe.epochs for recipe in recipes] == [10, 10, 10]  # the clock ends them
    evaluated = [recipe.eval_steps for recipe in recipes]
    assert evaluated == sorted(evaluated) and evaluated[-1] == 1135
    assert make_recipe(*LARGE, vocab_size=8000, minutes=10**6).recipe.epochs == 3


@settings(deadline=None)
@given(
    rows=st.integers(1, 3_000_000),
    words=st.integers(1, 10**6),
    size=st.integers(2, 10**10),
    lengths=st.lists(st.integers(1, 10**4), min_size=3, max_size=3).map(sorted),
    minutes=st.floats(0.1, 1000),
)
def test_any_pairs_make_a_recipe_that_can_be_built_and_says_why(rows, words, size, lengths, minutes):
    of = Measured(rows, words, size)
    vocab_size, _ = vocabulary(of)
    made = make_recipe(of, Lengths(*lengths, mean=float(lengths[0])), vocab_size, minutes)
    LMUConfig(vocab_size=vocab_size, is_encoder_decoder=True, **made.recipe.architecture)
    told = {**made.recipe.architecture, **made.options, **made.recipe.hyperparameters()}
    assert all(name in told and len(why.split()) >= 4 for name, why in made.reasons.items())
    assert made.recipe.epochs >= 1 and made.recipe.eval_steps >= 1


def test_a_file_or_a_data_set_makes_the_recipe_unless_one_is_named():
    for words in ("--train_file a.csv", "--source_file a.en --target_file a.de", "--dataset_name org/pairs"):
        assert parse_args(words.split()).recipe == "own-translation"
    assert parse_args([]).recipe == parse_args(["--target_lang", "vi"]).recipe == "dates"
    assert parse_args(["--recipe", "multi30k", "--train_file", "a.csv"]).recipe == "multi30k"


def test_what_flags_give_stands_whatever_the_pairs_say(tmp_path):
    (tmp_path / "a.csv").write_text("en,de\n" + "".join(f"{a},{b}\n" for a, b in made_pairs()), encoding="utf-8")
    how = {"files": {"train": tmp_path / "a.csv"}, "minutes": 1.0}
    task = parallel_files(**how, vocab_size=None, max_length=None)
    assert task.made.data["max_length"] == task.max_length == task.tokenizer.model_max_length
    assert task.announce().startswith(
        "translation en → de: 195 training pairs; sources: median 5 words, longest 5; 21 "
    )
    given_ = parallel_files(**how, vocab_size=280, max_length=9)
    assert (given_.made.data["vocab_size"], given_.made.data["max_length"]) == (280, 9)
    assert given_.reasons["vocab_size"] == given_.reasons["max_length"] == "given"
    assert len(given_.tokenizer) <= 280 and given_.max_length == given_.tokenizer.model_max_length == 9
    with pytest.raises(ValueError, match="model_max_length must be at least 2"):
        parallel_files(**how, vocab_size=280, max_length=1)


def test_at_most_3000_pairs_are_held_out(tmp_path):
    (tmp_path / "a.csv").write_text("en,de\n" + "".join(f"a {i},b {i}\n" for i in range(31_000)))
    task = parallel_files({"train": tmp_path / "a.csv"}, vocab_size=300)
    assert task.describe()["rows"] == {"train": 28_000, "validation": MOST_HELD_OUT}
    assert task.origin["validation"] == "3,000 rows of a.csv, drawn with seed 0"


# --------------------------------------------------------------------------- what it must beat


def test_a_translation_memory_gives_the_target_of_the_most_similar_source():
    pairs = [("the old house", "das alte Haus"), ("a red car", "ein rotes Auto"), ("two dogs", "zwei Hunde")]
    sources = ["a red cart", "old houses", "TWO DOGS!", "the old house"]
    assert similar_translations(pairs, sources) == [pairs[place][1] for place in (1, 0, 2, 0)]


def test_the_lines_of_pairs_are_what_scorers_say_of_memory_and_copy():
    pairs = {"train": [("one two", "eins zwei"), ("x", "y")], "validation": [("one two", "eins zwei"), ("y", "y")]}

    def right(predictions, references):
        return {"bleu": 100 * sum(map(str.__eq__, predictions, references)) / len(references)}

    lines = translation_lines(pairs, right)
    assert lines == {MEMORY: {"validation": {"bleu": 50.0}}, COPY: {"validation": {"bleu": 50.0}}}


def test_a_bleu_below_a_line_is_said_to_be_below():
    how = {"recipe": "own-translation", "task": "translation", "metric": "bleu"}
    more = {"head": "LMUForConditionalGeneration", "parameters": {}}
    record = RunRecord(**how, data={"rows": {"validation": 1000}}, seed=0, hyperparameters={}, architecture={}, **more)
    record.metrics, record.lines = {"validation": {"bleu": 20.0}}, {MEMORY: {"validation": {"bleu": 30.0}}}
    assert verdict(record).startswith("translation memory is better on validation: it is the one to use")
    assert "--minutes" in verdict(record) and "translation memory" in beside_table(record)
    record.metrics = {"validation": {"bleu": 40.0}}
    assert verdict(record) == ""
    assert not is_clear("bleu", 30.0, 31.0, 1000) and is_clear("bleu", 30.0, 38.0, 1000)


# --------------------------------------------------------------------------- from a file to a model


def test_a_file_makes_a_translator_that_beats_copying_and_is_scored_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"en": source, "de": target}) + "\n" for source, target in made_pairs()]
    for name, part in (("pairs", lines[:180]), ("test", lines[180:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(part), encoding="utf-8")
    words = ["--train_file", "pairs.jsonl", "--test_file", "test.jsonl", "--quiet", "--report_to", "none"]
    record = call_verb("train_translation", *words, "--num_train_epochs", "20")
    said = capsys.readouterr().out
    assert "translation en → de: 162 training pairs; sources: median 5 words" in said
    assert "recipe made by the rows" in said and "epochs 20: given" in said
    assert f"{MEMORY}: validation bleu" in said and f"{COPY}: validation bleu" in said
    assert record.metrics["test"]["bleu"] > record.lines[MEMORY]["test"]["bleu"] > record.lines[COPY]["test"]["bleu"]
    assert (record.recipe, record.data["title"]) == ("own-translation", "pairs-en-de")
    assert record.data["example"] in dict(made_pairs())
    again = call_verb("train_translation", *words, "--max_train_steps", "1")
    assert [path.name for path in sorted((tmp_path / "runs").iterdir())] == ["pairs-en-de-seed0", "pairs-en-de-seed0-2"]
    assert again.hyperparameters["max_steps"] == 1
    assert call_verb("evaluate", "runs/pairs-en-de-seed0") == record.metrics["test"]


def test_targets_too_short_for_bleu_are_judged_by_chrf(tmp_path):
    (tmp_path / "a.csv").write_text("en,de\n" + "".join(f"{a},{b[9:]}\n" for a, b in made_pairs()), encoding="utf-8")
    task = parallel_files({"train": tmp_path / "a.csv"}, vocab_size=None, max_length=None, minutes=1.0)
    assert task.metric == "chrf" and "; chrF chooses the weights" in task.announce()
    assert {line: set(scores["validation"]) for line, scores in task.lines(["validation"]).items()} == {
        MEMORY: {"bleu", "chrf"},
        COPY: {"bleu", "chrf"},
    }
