"""A language model of somebody's own text: the recipe that it makes, the lines beside, and a run from end to end."""

import math
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmu_hf import LMUConfig
from lmu_hf.cli.flags import Flags
from lmu_hf.cli.loading import load_task
from lmu_hf.cli.train import asked_recipe
from lmu_hf.cli.verbs.train_lm import parse_args
from lmu_hf.common.lines import verdict
from lmu_hf.common.record import RunRecord
from lmu_hf.data.compressors import AFTER, bits_after, compressed_bits
from lmu_hf.data.corpus import Corpus
from lmu_hf.training.recipes.own_lm import Measured, go_on, make_recipe, own_lm
from lmu_hf.training.tasks.text import TextTask
from lmu_hf.training.text_lines import CODE_POINTS, NGramModel, discounts, text_lines
from script_runs import call_verb as call

SAID = "so it goes on and on, and on it goes.\n"


def text(tokens: int, characters: int | None = None, **how) -> Measured:
    return Measured(tokens, characters or tokens, **how)


# --------------------------------------------------------------------------- the recipe


@given(
    tokens=st.integers(2, 10**10),
    share=st.floats(0.2, 1),
    vocabulary=st.integers(3, 60_000),
    spelt=st.booleans(),
    minutes=st.floats(0.1, 1000),
)
def test_any_text_makes_a_recipe_that_can_be_built_and_says_why(tokens, share, vocabulary, spelt, minutes):
    of = Measured(tokens, max(1, round(share * tokens)), vocabulary, spelt)
    for make in (make_recipe, go_on):
        made = make(of, minutes)
        LMUConfig(vocab_size=vocabulary, pad_token_id=0, **made.recipe.architecture)
        told = {**made.recipe.architecture, **made.options, **made.recipe.hyperparameters()}
        assert all(name in told and len(why.split()) >= 3 for name, why in made.reasons.items())
        assert made.recipe.minutes == pytest.approx(0.8 * minutes, rel=1e-5)


def test_a_short_text_is_read_often_by_a_narrow_model_with_dropout():
    made = make_recipe(text(90_000))
    recipe, ngrams = made.recipe, made.recipe.architecture["ngrams"]
    assert (recipe.architecture["hidden_size"], recipe.architecture["memory_channels"]) == (128, 32)
    assert (recipe.epochs, recipe.batch_size, made.options["sequence_length"]) == (12, 8, 256)
    assert (recipe.architecture["hidden_dropout"], ngrams["dropout"], ngrams["buckets"]) == (0.2, 0.5, 4096)
    assert recipe.eval_steps is None and recipe.max_steps is None  # once in each pass; the best one is kept
    assert made.reasons["epochs"].startswith(
        "passes over 90,000 characters, or as many as 10 minutes allow (--minutes)"
    )
    tiny = make_recipe(text(18_000))
    assert (tiny.recipe.architecture["hidden_size"], tiny.options["sequence_length"]) == (96, 128)


def test_a_text_of_a_megabyte_is_read_as_often_as_the_minutes_allow():
    usual, long = make_recipe(text(10**6)), make_recipe(text(10**6), minutes=60)
    assert (usual.recipe.architecture["hidden_size"], usual.recipe.epochs, long.recipe.epochs) == (192, 5, 12)
    assert "10 minutes allow about 4.6 of 12 (--minutes)" in usual.reasons["epochs"]
    dropouts = [made.recipe.architecture["hidden_dropout"] for made in (usual, long)]
    assert dropouts == [0.1, 0.2]
    assert long.recipe.averaging > usual.recipe.averaging


def test_a_long_text_is_read_once_at_most_without_dropout():
    made = make_recipe(text(10**7))
    recipe, ngrams = made.recipe, made.recipe.architecture["ngrams"]
    assert (recipe.architecture["hidden_size"], recipe.epochs, recipe.batch_size) == (240, 1, 16)
    assert (recipe.architecture["hidden_dropout"], ngrams["dropout"], ngrams["buckets"]) == (0.0, 0.0, 32_768)
    assert "10 minutes allow about 0.3 of 3 (--minutes)" in made.reasons["epochs"]
    assert "the text is read not even once" in made.reasons["hidden_dropout"]
    # Five evaluations in what the minutes allow, and an average that fits into it.
    assert recipe.eval_steps == pytest.approx(0.3 * 10**7 / 4096 / 5, rel=0.05)
    assert recipe.averaging == pytest.approx(1 - 20 / (5 * recipe.eval_steps), abs=1e-3)


def test_windows_and_n_grams_of_bytes_are_as_long_as_the_characters_are():
    latin, greek, chinese = (make_recipe(text(round(10**6 * r), 10**6)).recipe.architecture for r in (1.02, 1.8, 2.9))
    assert latin["theta"] == [[4, 16], [4, 16], [8, 64]] and latin["ngrams"]["sizes"] == [2, 3, 4, 5, 6]
    assert greek["theta"] == [[8, 32], [8, 32], [16, 128]] and greek["ngrams"]["sizes"] == [2, 4, 6, 8, 10, 12]
    assert chinese["theta"][0] == [12, 48] and chinese["ngrams"]["sizes"] == [3, 6, 9, 12, 15, 18]
    pairs = make_recipe(text(10**6, 4 * 10**6, vocabulary=8000, spelt=False)).recipe.architecture
    assert pairs["theta"] == latin["theta"] and pairs["ngrams"]["sizes"] == [2, 3] and pairs["tie_word_embeddings"]


def test_a_saved_model_keeps_its_body_and_learns_in_small_steps():
    made, new = go_on(text(90_000)), make_recipe(text(90_000))
    assert made.recipe.architecture == {} and made.recipe.lstm == {}
    assert made.recipe.learning_rate < new.recipe.learning_rate / 2 and made.recipe.epochs <= new.recipe.epochs
    assert {"hidden_size", "theta", "ngrams"} & made.reasons.keys() == set()
    assert made.reasons["learning_rate"].endswith("; the model has read before")


def test_a_length_that_is_given_decides_what_follows_from_it():
    made, usual = make_recipe(text(10**7), length=1024), make_recipe(text(10**7))
    assert made.options["sequence_length"] == 1024
    assert made.recipe.eval_steps == pytest.approx(usual.recipe.eval_steps / 4, abs=1)


# --------------------------------------------------------------------------- the default


@pytest.mark.parametrize(
    "words, name",
    [
        ([], "python-sources"),
        (["--train_file", "a.txt"], "own-lm"),
        (["--dataset_name", "ORG/NAME"], "own-lm"),
        (["--train_file", "a.txt", "--recipe", "python-sources"], "python-sources"),
    ],
)
def test_text_that_is_named_makes_its_recipe_unless_one_is_named(words, name):
    assert parse_args(words).recipe == name


@pytest.mark.parametrize(
    "words, message",
    [
        (["--minutes", "5"], "--minutes has no effect on python-sources"),
        (["--train_file", "a.txt", "--recipe", "text8", "--minutes", "5"], "--minutes has no effect on text8"),
        (
            ["--train_file", "a.txt", "--text_column", "a"],
            "--text_column has no effect on own-lm, which reads the files",
        ),
        (
            ["--train_file", "a.txt", "--model_name_or_path", "m", "--tokenizer_name", "t"],
            "--tokenizer_name has no effect",
        ),
        (
            ["--train_file", "a.txt", "--model_name_or_path", "m", "--config_overrides", "order=7"],
            "order has no effect",
        ),
    ],
)
def test_flags_without_effect_are_refused(words, message):
    flags = Flags(parse_args(words))
    with pytest.raises(ValueError, match=message):
        load_task(flags, asked_recipe(flags))


# --------------------------------------------------------------------------- lines to beat


def test_n_grams_have_the_value_that_is_computed_by_hand():
    # Two characters in a row: "ab" twice and "ba" once. Too short to tell discounts: 0.6 of a count of 1, 1 of 2.
    # Each character stands behind one other: (1 − 0.6) / 2, and of 0.6 the share of one of 128 signs of a byte, 3 / 6.
    single = 0.2 + 0.6 * 0.5 / 128
    bits = NGramModel("abab", order=2).bits("ab")[1]
    assert 2**-bits == pytest.approx([single, (2 - 1) / 2 + 0.5 * single])
    assert 2 ** -NGramModel("abab", order=2).bits("ba")[1, 1] == pytest.approx(0.4 + 0.6 * single)


def naive(train: str, order: int, context: str, character: str) -> float:
    """Kneser–Ney, counted one by one."""
    base = np.bincount(np.searchsorted(CODE_POINTS[1:4], [ord(c) for c in set(train)], side="right"), minlength=4) + 1
    kind = np.searchsorted(CODE_POINTS[1:4], ord(character), side="right")
    found = base[kind] / base.sum() / np.diff(CODE_POINTS)[kind]
    for length in range(1, order + 1):
        grams = Counter(train[at : at + length] for at in range(len(train) - length + 1))
        if length < order:
            longer = {train[at : at + length + 1] for at in range(len(train) - length)}
            before = Counter(gram[1:] for gram in longer)
            grams = Counter({gram: before[gram] for gram in grams})
        of: dict[str, dict[str, int]] = defaultdict(dict)
        for gram, count in grams.items():
            of[gram[:-1]][gram[-1]] = count
        known = context[len(context) - length + 1 :] if length > 1 else ""
        if len(known) < length - 1 or not (counts := of.get(known)) or not sum(counts.values()):
            continue
        taken = discounts(np.array(list(grams.values())))
        left = sum(taken[min(count, 3)] for count in counts.values())
        count = counts.get(character, 0)
        found = (count - taken[min(count, 3)] + left * found) / sum(counts.values())
    return found


TEXT = "the mémoire of the window is the memory of the past. " * 3 + "a window holds what was, and 世界 forgets. " * 2


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_n_grams_are_those_that_are_counted_one_by_one(order):
    model, other = NGramModel(TEXT, 5), "the past holds 世 and é, what ñ was"
    bits = NGramModel(TEXT, order).bits(other)[-1]
    assert 2**-bits == pytest.approx([naive(TEXT, order, other[:at], other[at]) for at in range(len(other))])
    assert model.bits(other)[order - 1] == pytest.approx(
        bits
    )  # the longest n-grams are counted, whatever longer there is


@pytest.mark.parametrize("context", ["", "the", "of the wi", "zz", "世"])
def test_probabilities_sum_to_one(context):
    model, known = NGramModel(TEXT, 4), sorted(set(TEXT))
    total = np.zeros(4)
    for character in known:
        total += 2 ** -model.bits(context + character)[:, -1]
    for kind, (begin, end) in enumerate(pairwise(CODE_POINTS.tolist())):
        of_kind = [ord(character) for character in known if begin <= ord(character) < end]
        unseen = next(chr(code) for code in range(begin + 1, end) if code not in of_kind)
        assert kind == len(unseen.encode()) - 1
        total += (end - begin - len(of_kind)) * 2 ** -model.bits(context + unseen)[:, -1]
    assert total == pytest.approx(1.0)


def test_a_text_in_pieces_is_that_text(monkeypatch):
    model, other = NGramModel(TEXT, 4), "what was, was the past; the window forgets"
    whole = model.bits_per_character([other])
    assert whole == pytest.approx(model.bits(other).mean(1))
    monkeypatch.setattr("lmu_hf.training.text_lines.CHUNK", 5)
    assert model.bits_per_character([other[:3], other[3:4], other[4:20], other[20:]]) == pytest.approx(whole)


def test_lines_are_chosen_on_the_first_text_and_say_what_was_left_out(monkeypatch):
    train, others = [SAID] * 50, {"validation": [SAID] * 3, "test": [SAID[::-1]] * 3}
    lines = text_lines(train, others, {"test": 7.0})
    (grams, scores), (name, added) = lines.items()
    orders = NGramModel("".join(train)).bits_per_character(others["validation"])
    assert grams == f"{orders.argmin() + 1}-grams of characters"
    assert scores["validation"] == pytest.approx(orders.min()) and scores["test"] > scores["validation"]
    assert name == AFTER and added == {"validation": bits_after(train, others["validation"]), "test": 7.0}
    assert compressed_bits(train, others["test"])[AFTER] == bits_after(train, others["test"])
    monkeypatch.setattr("lmu_hf.training.text_lines.MOST", 100)
    assert [line.split("-", 1)[1] for line in text_lines(train, others, {})] == ["grams of characters in the first 100"]


def test_lines_read_what_a_tokenizer_leaves_of_the_text():
    shouted = "".join(letter.upper() if place % 3 else letter for place, letter in enumerate(SAID))
    written = {"train": [shouted] * 50, "test": [shouted] * 3}
    task = TextTask("shouted", written, tokenizer="bpe", vocab_size=300, lowercase=True)
    task.made = own_lm()
    small = {split: Corpus.of([text.lower() for text in texts]) for split, texts in written.items()}
    expected = text_lines(small["train"], {"test": small["test"]}, {})
    found = {line: scores["test"]["bits_per_character"] for line, scores in task.lines(["test"]).items()}
    assert found == pytest.approx({line: scores["test"] for line, scores in expected.items()})
    assert task.extras()["compressors"][AFTER] == found[AFTER]
    assert " of them, in lower case" in task.announce()


@pytest.mark.parametrize("recipe, flag", [("own-lm", "--minutes"), ("ptb-char", "--num_train_epochs")])
def test_fewer_bits_win_and_a_loss_says_what_to_try(recipe, flag):
    def said(ours: float, theirs: float, characters: int) -> str:
        name = "bits_per_character"
        record = RunRecord(recipe, "text-generation", "LMUForCausalLM", {}, 0, {}, {}, {}, metric=name)
        record.data = {"rows": {"test": 9}, "characters": {"test": characters}}
        record.metrics, record.lines = {"test": {name: ours}}, {"5-grams": {"test": {name: theirs}}}
        return verdict(record)

    assert said(1.9, 2.0, 10**6) == ""
    assert said(2.0, 1.9, 10**6).startswith("5-grams is better on test: more text, ")
    assert flag in said(2.0, 1.9, 10**6)
    assert said(2.0, 1.9, 500) == "5-grams scores better on test, but there is no clear difference on 500 characters"


# --------------------------------------------------------------------------- a run


def test_a_text_becomes_a_model_with_a_folder_a_record_and_a_card_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text(SAID * 400)
    short = [
        "--num_train_epochs",
        "1",
        "--config_overrides",
        "hidden_size=16",
        "--block_size",
        "64",
        "--report_to",
        "none",
    ]
    record = call("train_char_lm", "--train_file", "notes.txt", *short, "--quiet")
    said = capsys.readouterr().out
    first, second, *rest = said.splitlines()
    assert first == "notes.txt: 13,680 characters to train on, 760 for validation, 760 for the test; tokens are bytes"
    assert second.startswith("warning: only 760 characters for validation")
    assert "  epochs 1: given" in rest and "  hidden_size 16: given" in rest and "  sequence_length 64: given" in rest
    assert f"{AFTER}: validation bits per character " in said and "-grams of characters: validation bits" in said
    assert record.recipe == "own-lm" and record.title == "notes" and record.options["sequence_length"] == 64
    assert set(record.lines) == {AFTER, next(iter(record.lines))}
    assert record.lines[AFTER]["test"]["bits_per_character"] == record.data["compressors"][AFTER]
    assert RunRecord.read(Path("runs/notes-seed0")).reasons == record.reasons
    scores = call("evaluate", "runs/notes-seed0")
    assert scores == pytest.approx(record.metrics["test"])
    call("train_char_lm", "--train_file", "notes.txt", *short, "--baseline", "lstm", "--quiet")
    assert RunRecord.read(Path("runs/notes-lstm-seed0")).baseline_of == "own-lm"
    assert not math.isnan(call("evaluate", "runs/notes-lstm-seed0")["bits_per_character"])
