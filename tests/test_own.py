"""Somebody's own rows: the recipe that they make, the votes of a linear model, and the lines that are to be beaten."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate.utils import set_seed
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import LinearSVC

from lmu_hf import LMUConfig, LMUForSequenceClassification
from lmu_hf.cli.data_flags import KIND_FLAGS
from lmu_hf.common.lines import better_line, is_clear, verdict
from lmu_hf.common.record import RunRecord
from lmu_hf.hub.results import beside_table
from lmu_hf.tokenization_lmu import train_tokenizer
from lmu_hf.training import linear_votes
from lmu_hf.training.baselines import classical_lines
from lmu_hf.training.judging import mean_loss
from lmu_hf.training.linear_votes import CAUTIOUS, choose_balance, fit_votes
from lmu_hf.training.loop import train
from lmu_hf.training.recipes.own import MOST_FITTED, Measured, explain, make_recipe, measure, recipe_for
from lmu_hf.training.tasks.classification import ClassificationTask
from lmu_hf.training.voting import NO_MEMORY
from lmu_hf.votes import NGramVotes, Votes
from tiny_rows import BAD, FILLING, GOOD, labelled, opinions

pytestmark = pytest.mark.usefixtures("cache")


def measured(**changes) -> Measured:
    return replace(Measured(2000, 2, 9000, longest=60, percentile=50, median=20), **changes)


# --------------------------------------------------------------------------- the recipe


def test_rows_are_measured_in_the_words_of_the_tokenizer():
    found = measure([["A b, b!", "c"], ["d", "d d d d d d"]], classes=2)
    assert found == Measured(2, 2, words=6, longest=9, percentile=9, median=6, pairs=True)


@settings(deadline=None)
@given(
    rows=st.integers(2, 3_000_000),
    classes=st.integers(0, 50),
    words=st.integers(1, 10**6),
    lengths=st.lists(st.integers(1, 10**5), min_size=3, max_size=3).map(sorted),
    minutes=st.floats(0.1, 1000),
    pairs=st.booleans(),
)
def test_any_rows_make_a_recipe_that_can_be_built_and_says_why(rows, classes, words, lengths, minutes, pairs):
    median, percentile, longest = lengths
    made = make_recipe(Measured(rows, classes, words, longest, percentile, median, pairs), minutes)
    config = LMUConfig(vocab_size=made.options["vocab_size"], num_labels=max(classes, 1), **made.recipe.architecture)
    assert (config.votes is None) == (pairs and rows * median > MOST_FITTED)
    assert not (pairs and config.votes and config.votes["trained"])
    told = {**made.recipe.architecture, **made.options, **made.recipe.hyperparameters()}
    assert all(name in told and why for name, why in made.reasons.items())
    assert made.recipe.epochs >= 1


def test_nothing_is_cut_unless_few_rows_are_far_longer_than_the_rest():
    assert make_recipe(measured(longest=80, percentile=80)).options["max_length"] == 80
    assert make_recipe(measured(longest=60, percentile=50)).options["max_length"] == 60
    assert make_recipe(measured(longest=900, percentile=50)).options["max_length"] == 50


def test_a_budget_of_minutes_shortens_longer_runs():
    long = measured(rows=400_000, median=300, percentile=900, longest=900)
    epochs = [make_recipe(long, minutes).recipe.epochs for minutes in (1, 30, 600)]
    assert epochs == sorted(epochs) and epochs[0] < epochs[-1]
    assert "1 minutes allow about" in make_recipe(long, 1).reasons["epochs"]
    assert make_recipe(measured(), 5).reasons["epochs"].endswith("rows, or as many as 5 minutes allow (--minutes)")


def test_reasons_speak_of_rows_and_words_and_not_of_how_they_were_found():
    for rows in (50, 3000, 400_000):
        for why in make_recipe(measured(rows=rows)).reasons.values():
            assert not re.search(r"folds?|data sets|buckets|n-gram", why), why
            assert len(why.split()) >= 4, why


def test_given_flags_override_what_the_rows_suggest():
    rows = labelled()
    made = recipe_for(rows, max_length=9, token_dropout=0.0)
    assert made.options["max_length"] == 9 and made.recipe.data["token_dropout"] == 0.0
    assert made.reasons["max_length"] == "given"
    assert "max_length 9: given" in explain(made.recipe, made.reasons)
    letters = train_tokenizer("char", rows.splits["train"]["text"])
    tuned = recipe_for(rows, model_name_or_path="somewhere", tokenizer=letters)
    assert tuned.recipe.layer_decay < made.recipe.layer_decay and "vocab_size" not in tuned.options


# --------------------------------------------------------------------------- votes of a linear model


def rows_of(votes: NGramVotes, texts: list[list[int]]) -> np.ndarray:
    """What the votes say of each row, (rows, classes)."""
    return torch.stack([votes(torch.tensor([ids]))[0].mean(0) for ids in texts]).detach().numpy()


def ids_of(rows: int, seed: int = 0) -> tuple[list[list[int]], np.ndarray]:
    texts, labels = opinions(rows, seed)
    words = {word: number for number, word in enumerate((*GOOD, *BAD, *FILLING), start=4)}
    return [[1, *(words[word] for word in text.split())] for text in texts], labels


def test_frozen_votes_are_exactly_the_linear_model():
    ids, labels = ids_of(60)
    votes = NGramVotes(Votes([1, 2], 4096, trained=False), 2)
    fit_votes(votes, [(torch.tensor(row),) for row in ids], labels)
    said = rows_of(votes, ids)
    assert (said.argmax(1) == labels).all()
    # Fitted anew to what the table says, a linear model of shares has nothing to add.
    features = np.zeros((60, len(votes.odds.weight)))
    for row, of_row in zip(features, ids, strict=True):
        places, shares = votes.shares(torch.tensor(of_row))
        row[places] = shares
    assert np.allclose(features @ votes.odds.weight.numpy(), said, atol=1e-4)


def test_votes_on_rows_of_unit_length_decide_as_scikit_learns_support_vectors():
    ids, labels = ids_of(90)
    votes = NGramVotes(Votes([1, 2], 4096, trained=False, normed=True), 2)
    rows = [torch.tensor(row) for row in ids]
    fit_votes(votes, [(row,) for row in rows], labels)
    shares = np.zeros((90, len(votes.odds.weight)))
    for row, of_row in zip(shares, rows, strict=True):
        places, found = votes.shares(of_row)
        row[places] = found
    squares = votes.squares.weight.numpy()[:, 0]
    features = shares * np.sqrt(squares) / np.sqrt(shares @ squares)[:, None]
    features /= np.sqrt((features**2).sum(1).mean())
    said = torch.cat([votes.finish(votes(row[None]).mean(1), row[None]) for row in rows]).numpy()
    model = LinearSVC(random_state=0).fit(features, labels)
    margins = said[:, 1] - said[:, 0]
    assert np.corrcoef(margins, model.decision_function(features))[0, 1] > 0.999
    # Rows that can be told apart do not make the votes certain without end.
    assert np.abs(margins).max() < 2 * np.log(2 * len(labels))


def test_the_intercept_of_votes_counts_once_in_every_row():
    votes = NGramVotes(Votes([1, 2], 64, trained=False), 3)
    votes.write(torch.zeros(128, 3), torch.tensor([0.5, -1.0, 2.0]))
    assert np.allclose(rows_of(votes, [[1], [5, 6, 7, 8]]), [[0.5, -1.0, 2.0]] * 2, atol=1e-6)


@pytest.mark.parametrize("labels", [np.zeros(6, int), np.array([0, 2, 0, 2, 0, 2])])
def test_a_class_without_rows_is_never_voted_for(labels):
    votes = NGramVotes(Votes([1], 64, trained=False), 3)
    ids = [[1, 4 + label] for label in labels]
    fit_votes(votes, [(torch.tensor(row),) for row in ids], labels)
    assert (rows_of(votes, ids).argmax(1) == labels).all()


def test_multi_label_and_regression_votes_are_fitted():
    ids, labels = ids_of(80)
    both = NGramVotes(Votes([1], 4096, trained=False), 2)
    fit_votes(both, [(torch.tensor(row),) for row in ids], np.stack([labels, 1 - labels], 1).astype(float))
    said = rows_of(both, ids)
    assert ((said > 0) == np.stack([labels, 1 - labels], 1).astype(bool)).all()
    number = NGramVotes(Votes([1], 4096, trained=False), 1)
    fit_votes(number, [(torch.tensor(row),) for row in ids], labels - 0.5)
    assert np.corrcoef(rows_of(number, ids)[:, 0], labels)[0, 1] > 0.99


def test_a_balance_is_chosen_by_loss_given_enough_rows():
    votes = NGramVotes(Votes([1], 8, trained=False), 2)
    labels = torch.arange(200) % 2
    right = torch.nn.functional.one_hot(labels, 2) * 4.0
    wrong = right.flip(1)
    choose_balance(votes, wrong, right, lambda logits: mean_loss(logits, labels))
    assert votes.read_balance() == (0.0, 1.0)
    choose_balance(votes, wrong[:20], right[:20], lambda logits: mean_loss(logits, labels[:20]))
    assert votes.read_balance() == CAUTIOUS


def test_the_balance_of_a_regression_is_a_mean():
    votes, labels = NGramVotes(Votes([1], 8, trained=False), 1), torch.linspace(-1, 1, 9)
    said = choose_balance(votes, labels[:, None], labels[:, None], lambda some: mean_loss(some, labels), numbers=True)
    assert sum(votes.read_balance()) == 1 and torch.allclose(said[:, 0], labels)


def test_the_stack_trains_alone_and_the_balance_joins_it_with_the_votes():
    votes = {"sizes": [1], "buckets": 64, "trained": False}
    shape = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "order": 2, "theta": 3, "num_labels": 2}
    model = LMUForSequenceClassification(LMUConfig(**shape, pooling="mean_max", votes=votes))
    ids, labels = torch.tensor([[1, 4, 5]]), torch.tensor([1])
    with pytest.raises(RuntimeError, match=r"call votes\.write\(votes\) before training"):
        model.train()(ids, labels=labels)
    model.votes.write(torch.randn(64, 2))
    model.votes.set_balance(0.5, 0.25)
    [learner] = model.train()(ids, labels=labels).learners
    layout = model.find_layout(ids, None)
    joined = 0.5 * learner + 0.25 * model.voted(ids, layout=layout)
    torch.testing.assert_close(model.eval()(ids).logits, joined)


def test_counted_votes_take_no_balance_and_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="no balance to set"):
        NGramVotes(Votes([1], 8), 2).set_balance(1.0, 1.0)
    with pytest.raises(ValueError, match=r"votes must be \(8, 2\), got \(3, 2\)"):
        NGramVotes(Votes([1], 8, trained=False), 2).write(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="trained must be true or false"):
        Votes([1], 8, trained="no")


# --------------------------------------------------------------------------- lines


def score(decided: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {"accuracy": float((decided == labels).mean())}


def test_lines_to_beat_are_the_majority_and_a_validated_linear_model():
    texts, labels = {}, {}
    for seed, split in enumerate(("train", "validation", "test")):
        found, labels[split] = opinions(90, seed)
        texts[split] = [found]
    labels["train"] = np.where(np.arange(90) < 10, 0, labels["train"])  # the majority is 0
    lines = classical_lines(texts, labels, score)
    majority, linear = lines
    assert majority == "majority" and lines[majority]["test"]["accuracy"] == 0.5
    assert linear.startswith("tf-idf and ") and lines[linear]["test"]["accuracy"] > 0.9


def test_texts_without_words_have_only_the_majority_line():
    texts = {"train": [["!", "?"]], "validation": [["!"]]}
    labels = {"train": np.array([0, 1]), "validation": np.array([0])}
    assert list(classical_lines(texts, labels, score)) == ["majority"]


def test_lines_for_regression_are_mean_and_ridge_and_for_multi_label_one_model_a_class():
    texts = {split: [opinions(60, seed)[0]] for seed, split in enumerate(("train", "validation"))}
    numbers = {split: opinions(60, seed)[1] * 100.0 for seed, split in enumerate(texts)}
    lines = classical_lines(texts, numbers, lambda said, true: {"mae": float(np.abs(said - true).mean())}, True)
    assert lines["mean"]["validation"]["mae"] == 50.0
    [ridge] = [name for name in lines if name.startswith("tf-idf and ridge")]
    assert lines[ridge]["validation"]["mae"] < 20
    several = {split: np.stack([some > 0, some == 0], 1).astype(int) for split, some in numbers.items()}
    lines = classical_lines(texts, several, score)
    assert lines[list(lines)[1]]["validation"]["accuracy"] > 0.9


def record(**changes) -> RunRecord:
    return RunRecord(
        **{
            **{"recipe": "own-text", "task": "text-classification", "head": "a", "seed": 0},
            **{"data": {"rows": {"test": 1000}}},
            **{"hyperparameters": {}, "architecture": {}, "parameters": {}, **changes},
        }
    )


def test_a_better_line_is_reported_with_advice():
    lines = {"majority": {"test": {"accuracy": 0.5}}, "tf-idf and linear SVM": {"test": {"accuracy": 0.9}}}
    loses = record(metrics={"test": {"accuracy": 0.8}}, lines=lines)
    assert better_line(loses) == "tf-idf and linear SVM"
    assert verdict(loses).startswith("tf-idf and linear SVM is better on test")
    assert "| tf-idf and linear SVM | 90.00 |" in beside_table(loses)
    assert "is better on test" in beside_table(loses)
    assert verdict(record(metrics={"test": {"accuracy": 0.9}}, lines=lines)) == ""
    errors = {"mean": {"test": {"mae": 2.0}}}
    assert verdict(record(metric="mae", metrics={"test": {"mae": 1.0}}, lines=errors)) == ""
    assert verdict(record(metric="mae", metrics={"test": {"mae": 3.0}}, lines=errors))
    assert beside_table(record()) == ""


@pytest.mark.parametrize("task, kind", [("audio-classification", "audio"), ("text-classification", "classification")])
def test_advice_names_a_flag_that_the_verb_has(task, kind):
    lines = {"majority": {"test": {"accuracy": 0.9}}}
    [flag] = re.findall(r"--(\w+)", verdict(record(task=task, metrics={"test": {"accuracy": 0.5}}, lines=lines)))
    assert flag in (*KIND_FLAGS[kind], "num_train_epochs")


@pytest.mark.parametrize("metric, ours, theirs", [("accuracy", 0.8, 0.9), ("mae", 1.2, 1.0), ("r2", 0.7, 0.8)])
def test_a_difference_that_may_be_chance_is_said_to_be_none(metric, ours, theirs):
    def said(rows):
        lines = {"linear SVM": {"test": {metric: theirs}}}
        return verdict(
            record(metric=metric, metrics={"test": {metric: ours}}, lines=lines, data={"rows": {"test": rows}})
        )

    assert said(20) == "linear SVM scores better on test, but there is no clear difference on 20 rows"
    assert said(2000).startswith("linear SVM is better on test: it is the one to use")


def test_clear_differences_are_rare_by_chance():
    draw = np.random.default_rng(0)
    rows, pairs = 200, draw.binomial(200, 0.85, (2000, 2)) / 200
    assert 0.02 < np.mean([is_clear("accuracy", *pair, rows) for pair in pairs]) < 0.08


def test_few_validation_rows_are_warned_of_with_the_flag():
    def said(rows, **changes):
        some = labelled(rows)
        made = recipe_for(some)
        return ClassificationTask(replace(some, **{"title": "some", **changes}), **made.options).announce()

    assert "\nwarning: only 12 validation rows" in said(12) and said(12).endswith("--validation_file")
    assert "warning" not in said(20)
    assert "warning" not in said(12, title=None)  # a data set has the rows that it has


# --------------------------------------------------------------------------- a run


@pytest.mark.parametrize("numbers", [False, True])
def test_a_run_keeps_the_balance_and_writes_lines_parts_and_reasons(tmp_path, numbers):
    made = recipe_for(labelled(numbers=numbers))
    task = ClassificationTask(labelled(numbers=numbers), **made.options)
    task.made, task.reasons = made.recipe, made.reasons
    recipe = replace(made.recipe, epochs=2)
    torch.manual_seed(0)
    model = task.make_model(recipe.architecture)
    done = train(model, recipe, task, 0, tmp_path / "run", quiet=True)
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    metric = "r2" if numbers else "accuracy"
    assert done.metrics["test"][metric] > 0.7
    assert written["reasons"] == made.reasons | task.findings()
    assert set(written["parts"]) == {"n-grams alone", "memory alone"}
    assert {*written["lines"]} >= {"mean" if numbers else "majority"}
    for scores in (*written["parts"].values(), *written["lines"].values()):
        assert set(scores) == {"validation", "test"}
    again = LMUForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    assert again.votes.read_balance() == model.votes.read_balance() != (1.0, 1.0)
    ids = torch.tensor([task.splits["test"][0]["input_ids"]])
    torch.testing.assert_close(again(ids).logits, model.eval()(ids).logits)


@pytest.mark.parametrize("numbers", [False, True])
def test_a_memory_without_weight_is_told_and_scored_alone_all_the_same(tmp_path, monkeypatch, numbers):
    for name in ("SHARED", "BALANCES"):
        monkeypatch.setattr(linear_votes, name, [(0.0, 1.0)])
    rows = labelled(numbers=numbers)
    made = recipe_for(rows)
    task = ClassificationTask(rows, **made.options)
    torch.manual_seed(0)
    model = task.make_model(made.recipe.architecture)
    done = train(model, replace(made.recipe, epochs=1), task, 0, tmp_path / "run", quiet=True)
    assert model.votes.read_balance() == (0.0, 1.0)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["reasons"]["balance"] == NO_MEMORY
    assert NO_MEMORY in beside_table(done)
    assert set(done.parts["memory alone"]) == {"validation", "test"}
    for split in ("validation", "test"):
        assert done.parts["n-grams alone"][split] == pytest.approx(done.metrics[split])
        if numbers:
            assert done.parts["memory alone"][split] != pytest.approx(done.metrics[split])


def test_the_test_split_is_read_later_by_the_saved_balance(tmp_path):
    made = recipe_for(labelled())
    recipe = replace(made.recipe, epochs=1)

    def run(**how):
        task = ClassificationTask(labelled(), **made.options)
        torch.manual_seed(0)
        model = task.make_model(recipe.architecture)
        return train(model, recipe, task, 0, tmp_path / "run", quiet=True, **how), model

    first, _ = run(read_test=False)
    assert all("test" not in scores for scores in first.lines.values())
    second, model = run(resume=True)
    assert model.votes.read_balance() != (1.0, 1.0)
    assert second.metrics["test"]["accuracy"] > 0.9
    assert all("test" in scores for scores in (*second.lines.values(), *second.parts.values()))


def test_rows_that_were_held_out_are_fitted_to_once_they_have_chosen(tmp_path):
    def votes_of(held_out):
        rows = replace(labelled(), held_out=held_out)
        made = recipe_for(rows)
        task = ClassificationTask(rows, **made.options)
        torch.manual_seed(0)
        model = task.make_model(made.recipe.architecture)
        before = model.votes.odds.weight.clone()
        folder = tmp_path / str(held_out)
        done = train(model, replace(made.recipe, epochs=1), task, 0, folder, quiet=True)
        assert torch.equal(model.votes.odds.weight, before) != held_out
        again = LMUForSequenceClassification.from_pretrained(folder / "model")
        assert torch.equal(again.votes.odds.weight, model.votes.odds.weight)
        return done.metrics["validation"]

    assert votes_of(True) == votes_of(False)  # validation is scored before


def test_what_is_kept_was_trained_on_all_rows_as_long_as_the_first_model(tmp_path):
    """As a run on all rows ends that begins with the same weights, votes and draws."""
    rows = replace(labelled(), held_out=True)
    made = recipe_for(rows)
    assert made.recipe.refit
    recipe = replace(made.recipe, epochs=2, eval_steps=None, label_smoothing=None)

    def run(task, recipe, folder):
        torch.manual_seed(0)
        model = task.make_model(recipe.architecture)
        set_seed(0, device_specific=True)
        return model, train(model, recipe, task, 0, tmp_path / folder, quiet=True)

    task = ClassificationTask(rows, **made.options)
    kept, done = run(task, recipe, "refitted")
    whole = task.whole()
    counts = {split: len(task.splits[split]) for split in task.splits}
    assert len(whole.splits["train"]) == counts["train"] + counts["validation"]
    epochs = done.best_step / -(-counts["train"] // recipe.batch_size)
    steps = round(epochs * -(-len(whole.splits["train"]) // recipe.batch_size))
    plain, _ = run(whole, replace(recipe, refit=False, max_steps=steps, eval_steps=steps), "plain")
    for name, weight in plain.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(kept.get_parameter(name), weight, rtol=0, atol=0, msg=name)
    first, _ = run(task, replace(recipe, refit=False), "first")
    assert any(not torch.equal(kept.get_parameter(name), weight) for name, weight in first.named_parameters())


def test_rows_of_a_validation_file_are_never_trained_on():
    made = recipe_for(replace(labelled(), held_out=False))
    assert not made.recipe.refit
    assert ClassificationTask(labelled(), **made.options).whole() is None
