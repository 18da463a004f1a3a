"""Sentences and pairs to classify: what is refused, what a batch, a loss and a score are, and labels for others."""

import math
from dataclasses import replace
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, Value
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, pipeline, set_seed

from lmu_hf import LMUConfig, train_tokenizer
from lmu_hf.common.record import count_parameters
from lmu_hf.data.labelled import glue, labelled_dataset, made_up
from lmu_hf.data.labelling import label_rows
from lmu_hf.data.labels import LabelledText
from lmu_hf.data.tokenised import load_tokenizer
from lmu_hf.training.evaluation import evaluate, evaluate_by_length, find_recipe, load_model
from lmu_hf.training.loop import train
from lmu_hf.training.recipes import RECIPES, get_recipe
from lmu_hf.training.tasks.classification import ClassificationTask
from tiny_rows import sentences, write

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "order": 2, "theta": 8}
REAL = Path(__file__).parents[1] / "data"

pytestmark = pytest.mark.usefixtures("cache")


def single_task(**how) -> ClassificationTask:
    return ClassificationTask(made_up("opinions", rows=120), **{"max_length": 32, **how})


def pair_task(**how) -> ClassificationTask:
    return ClassificationTask(made_up("paraphrases", rows=120), **{"max_length": 32, **how})


def graded_task() -> ClassificationTask:
    rows = Dataset.from_dict({"text": [f"{i} apples" for i in range(20)], "label": [i / 4 for i in range(20)]})
    rows = rows.cast_column("label", Value("float32"))
    splits = {"train": rows, "validation": rows.select(range(5)), "test": rows.select(range(8))}
    return ClassificationTask(LabelledText("apples", splits, None, dict.fromkeys(splits, "here"), ("pearson",)))


def batch_of(task: ClassificationTask, split: str = "train", rows: int = 6) -> dict[str, torch.Tensor]:
    return task.collate(split)(task.splits[split].__getitems__(list(range(rows))))


def alone(value):
    """What one process gathers from all."""
    return value


# --------------------------------------------------------------------------- batches


@pytest.mark.parametrize("make", [single_task, pair_task])
def test_a_batch_is_padded_to_its_longest_row_and_decodes_to_its_texts(make):
    task = make()
    batch = batch_of(task)
    rows = task.rows.splits["train"][:6]
    for column, prefix in (("text", ""), ("text_pair", "pair_"))[: 1 + task.rows.pairs]:
        ids, mask = batch[f"{prefix}input_ids"], batch[f"{prefix}attention_mask"]
        assert mask.sum(1).max() == ids.shape[1]
        assert (ids[mask == 0] == task.tokenizer.pad_token_id).all()
        texts = task.tokenizer.batch_decode(ids, skip_special_tokens=True)
        assert [text.replace(" .", ".").replace(" ,", ",") for text in texts] == rows[column]
    assert batch["labels"].tolist() == rows["label"]
    assert task.terms(batch) == 6


def test_a_batch_draws_nothing_from_the_random_state_and_dropped_tokens_only_from_their_generator():
    task = single_task(token_dropout=0.5)
    before = torch.get_rng_state()
    batch = batch_of(task)
    drawn = [task.inputs(batch, torch.Generator().manual_seed(seed))["input_ids"] for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    kept = drawn[0] == batch["input_ids"]
    assert kept[:, 0].all()
    assert (drawn[0][~kept] == task.tokenizer.unk_token_id).all()
    assert task.inputs(batch) is batch


@lru_cache
def some_task() -> ClassificationTask:
    return single_task()


@given(rows=st.integers(20, 80), batch_size=st.integers(1, 9), seed=st.integers(0, 3))
def test_an_epoch_reads_every_row_once_among_rows_of_its_length(rows, batch_size, seed):
    task = some_task()
    task.lengths = {"train": torch.randint(1, 60, (rows,), generator=torch.Generator().manual_seed(seed)).numpy()}
    task.splits = {"train": range(rows)}
    orders = [task.order("train", batch_size, torch.Generator().manual_seed(seed)) for seed in (seed, seed, seed + 9)]
    assert sorted(orders[0]) == list(range(rows))
    assert orders[0] == orders[1] != orders[2]
    spreads = [
        max(task.lengths["train"][batch]) - min(task.lengths["train"][batch])
        for batch in (orders[0][i : i + batch_size] for i in range(0, rows, batch_size))
    ]
    assert sum(spreads) <= 60  # sorted within 50 batches, so that neighbours' spreads add up to the whole range


def test_rows_are_truncated_and_an_empty_text_has_one_token():
    rows = Dataset.from_dict({"text": ["one two three four five six", ""] * 10, "label": [0, 1] * 10})
    splits = {"train": rows, "validation": rows}
    labelled = LabelledText("short", splits, ["a", "b"], dict.fromkeys(splits, "here"), ("accuracy",))
    task = ClassificationTask(labelled, max_length=4)
    assert task.lengths["train"].tolist() == [4, 1] * 10
    assert task.tokenizer.model_max_length == 4
    without_bos = train_tokenizer("word", rows["text"])
    task = ClassificationTask(labelled, tokenizer=without_bos, max_length=4)
    assert task.splits["train"]["input_ids"][1] == [without_bos.unk_token_id]  # a row with a step all the same
    assert task.lengths["train"].tolist() == [4, 1] * 10


def test_tokenised_rows_are_cached_on_disk(tmp_path):
    write(tmp_path / "org/kept", "train", sentences(40, name="text"))
    first, second = (ClassificationTask(labelled_dataset("org/kept", tmp_path)) for _ in range(2))
    assert first.splits["train"].cache_files == second.splits["train"].cache_files != []
    assert first.describe() == second.describe()


# --------------------------------------------------------------------------- losses and scores


def variance(task) -> float:
    """Of the numbers to predict: what their squared errors are divided by."""
    return float(np.var(task.splits["train"]["label"][:]))


def test_the_loss_fits_the_labels():
    for task, expected in (
        (single_task(), lambda x, y: cross_entropy(x, y, label_smoothing=0.2)),
        (single_task(single_output=True), lambda x, y: binary_cross_entropy_with_logits(x[:, 1], 0.8 * y + 0.1)),
        (graded := graded_task(), lambda x, y: (x[:, 0] - y).square().mean() / variance(graded)),
    ):
        set_seed(0)
        model, batch = task.make_model(TINY | {"label_smoothing": 0.2}), batch_of(task)
        outputs = model.train()(**batch)
        torch.testing.assert_close(outputs.loss, expected(outputs.logits, batch["labels"]))
        plain = task.make_model(TINY)
        plain.load_state_dict(model.state_dict())
        torch.testing.assert_close(plain.train()(**batch).loss, model.eval()(**batch).loss)


@pytest.mark.parametrize("make", [single_task, partial(single_task, single_output=True), pair_task, graded_task])
def test_scores_are_of_all_rows_whatever_the_batch(make):
    task = make()
    set_seed(0)
    model = task.make_model(TINY).double().eval()
    scores = [task.scores(model, "test", task.loader("test", size), alone) for size in (3, 20)]
    assert scores[0] == pytest.approx(scores[1])
    assert set(scores[0]) == set(task.metrics)
    assert task.metric in scores[0]
    if task.metric == "accuracy":
        batch = task.collate("test")(task.splits["test"].__getitems__(list(range(20))))
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        right = (task.decide(model(**inputs).logits) == batch["labels"]).double().mean()
        assert scores[0]["accuracy"] == pytest.approx(right.item())


@pytest.mark.parametrize("make", [single_task, pair_task])
def test_the_pipeline_agrees_with_the_task(make):
    task = make()
    set_seed(0)
    model = task.make_model(TINY).eval()
    batch, rows = batch_of(task), task.rows.splits["train"][:6]
    with torch.no_grad():
        expected = model(**{name: value for name, value in batch.items() if name != "labels"}).logits.softmax(-1)
    given_ = [{"text": text} for text in rows["text"]]
    for row, other in zip(given_, rows.get("text_pair", []), strict=False):
        row["text_pair"] = other
    found = pipeline("text-classification", model=model, tokenizer=task.tokenizer, top_k=None)(given_)
    for row, answer in zip(expected, found, strict=True):
        scores = {one["label"]: one["score"] for one in answer}
        assert [scores[label] for label in task.rows.labels] == pytest.approx(row.tolist(), abs=1e-5)


# --------------------------------------------------------------------------- models


def test_impossible_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match="frozen word vectors must come from somewhere: give --word_vectors"):
        single_task(freeze_word_vectors=True).make_model(TINY)
    with pytest.raises(ValueError, match=r"word vectors must be \(\d+, 5\) \(tokens, width\), got \(3, 5\)"):
        single_task(word_vectors=torch.zeros(3, 5)).make_model(TINY)
    with pytest.raises(ValueError, match=r"token_dropout must be a fraction in \[0, 1\), got 1"):
        single_task(token_dropout=1)
    rows = replace(made_up("opinions", rows=60), labels=["a", "b", "c"])
    with pytest.raises(ValueError, match="single_output tells two classes apart"):
        ClassificationTask(rows, single_output=True)
    with pytest.raises(ValueError, match=r"no tokenizer can be loaded from '.*nowhere'"):
        load_tokenizer(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    "name, make, width, size", [("imdb-linear", single_task, 300, 301), ("qqp-subword", pair_task, 900, 3601)]
)
def test_the_papers_smallest_classifiers_have_the_papers_parameters(name, make, width, size):
    vectors = torch.randn(len(make().tokenizer), width)
    task = make(word_vectors=vectors, freeze_word_vectors=True, single_output=True)
    model = task.make_model(get_recipe(name).architecture | {"pooling": "last"})
    assert count_parameters(model)["trainable"] == size
    assert torch.equal(model.get_input_embeddings().weight, vectors)
    model(**batch_of(task)).loss.backward()
    assert model.get_input_embeddings().weight.grad is None
    # d = 1: the memory of a channel is a decaying sum of the words, eq. (19) with a scalar, its weights of norm 1
    ids = batch_of(task)["input_ids"][:1, :3]
    theta = float(get_recipe(name).architecture["theta"])
    decay = math.exp(-1 / theta)
    expected = sum((1 - decay**2) ** 0.5 * decay ** (2 - t) * vectors[ids[0, t]] for t in range(3))
    pooled, _ = model.pool(input_ids=ids)
    torch.testing.assert_close(pooled[0], expected, atol=1e-6, rtol=1e-5)


def test_votes_are_counted_in_the_training_rows():
    task = single_task()
    model = task.make_model({**TINY, "votes": {"sizes": [1, 2], "buckets": 10_007}})
    rows = task.splits["train"].with_format("torch")
    ids = torch.cat([model.votes.find(row["input_ids"][None]).flatten() for row in rows]).unique()
    assert set(model.votes.odds.weight.any(1).nonzero()[:, 0].tolist()) <= set(ids.tolist())
    decided = [model.votes.eval()(row["input_ids"][None]).mean(1).argmax().item() for row in rows]
    right = sum(label == row["label"].item() for label, row in zip(decided, rows, strict=True)) / len(rows)
    assert right > 0.9
    with pytest.raises(ValueError, match="votes of pairs are a linear model's"):
        pair_task().make_model({**TINY, "votes": {"sizes": [1]}})


def test_a_linear_model_of_three_classes_of_pairs_has_10803_parameters():
    rows = replace(made_up("paraphrases", rows=60), labels=["a", "b", "c"])
    model = ClassificationTask(rows).make_model(get_recipe("qqp-subword").architecture)
    counts = count_parameters(model)
    assert counts["total"] - counts["embeddings"] == 3 * 3601


def test_the_lstm_baseline_over_frozen_vectors_trains_hundreds_of_times_as_many_parameters():
    vectors = torch.randn(len(pair_task().tokenizer), 900)
    task = pair_task(word_vectors=vectors, freeze_word_vectors=True, single_output=True)
    ours, theirs = (
        count_parameters(task.make_model(get_recipe(name).architecture))["trainable"]
        for name in ("qqp-subword", "qqp-subword-lstm")
    )
    assert (ours, theirs) == (3601, 1_443_601)


def test_a_backbone_is_taken_over_with_its_tokenizer(tmp_path):
    task = pair_task()
    set_seed(1)
    AutoModelForCausalLM.from_config(LMUConfig(vocab_size=len(task.tokenizer), **TINY)).save_pretrained(tmp_path)
    task.tokenizer.save_pretrained(tmp_path)
    stack = AutoModelForCausalLM.from_pretrained(tmp_path).model.state_dict()
    again = pair_task(tokenizer=load_tokenizer(str(tmp_path)), model_name_or_path=str(tmp_path))
    model = again.make_model({"hidden_size": 99, "pooling": "max"})
    assert type(model).__name__ == "LMUForSequencePairClassification"
    assert model.config.pooling == "max"
    for name, value in stack.items():
        assert torch.equal(model.model.state_dict()[name], value), name


CLASSIFICATION = sorted(name for name, build in RECIPES.items() if build().kind == "classification")


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_every_recipe_makes_a_model_that_learns(name):
    recipe = get_recipe(name)
    if name == "own-text":
        pytest.skip("rows make it: test_own.py trains what they make")
    assert sum(source in recipe.data for source in ("task_name", "dataset_name", "made_up")) == 1
    make = single_task if name.split("-")[0] in ("imdb", "sst2", "opinions") else pair_task
    elsewhere = ("task_name", "dataset_name", "made_up", "pretrained", "validation_block", "lowest_blocks")
    how = {key: value for key, value in recipe.data.items() if key not in elsewhere}
    if how.get("freeze_word_vectors"):
        width = recipe.architecture["embedding_size"] if recipe.architecture.get("readout") == "memory" else 300
        how["word_vectors"] = torch.randn(len(make().tokenizer), width)
    if recipe.architecture.get("votes", {}).get("words"):
        how["tokenizer"] = train_tokenizer("bpe", ["a good film", "a bad film"], vocab_size=270, add_bos=True)
    task = make(**how)
    model = task.make_model(recipe.architecture)
    model(**batch_of(task)).loss.backward()
    missing = [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert missing == []


# --------------------------------------------------------------------------- labels for others to learn from


@pytest.mark.parametrize("make", [single_task, pair_task])
def test_rows_are_labelled_in_batches_as_one_by_one(make):
    task = make()
    model = task.make_model(TINY).eval()
    rows = task.rows.splits["train"]
    texts = [name for name in ("text", "text_pair") if name in rows.column_names]
    labelled = label_rows(model, task.tokenizer, rows, batch_size=7)
    assert labelled.select_columns(texts).to_list() == rows.select_columns(texts).to_list()
    assert labelled.features["label"].names == task.rows.labels
    encoded = task.splits["train"]
    for row in (0, 3, len(rows) - 1):
        batch = task.collate("train")([encoded[row]])
        batch.pop("labels")
        likely = model(**batch).logits.softmax(-1)[0]
        assert labelled[row]["label"] == likely.argmax()
        assert labelled[row]["probability"] == pytest.approx(likely.max().item(), abs=1e-5)
    others = made_up("opinions" if len(texts) == 2 else "paraphrases", 12).splits["train"]
    with pytest.raises(ValueError, match="Classification does not read rows of text, "):
        label_rows(model, task.tokenizer, others)


def test_a_text_without_a_token_is_labelled_like_an_unknown_word():
    task = single_task()
    rows = Dataset.from_dict({"text": ["it is", "", "?"]})
    without_bos = train_tokenizer("word", ["it is so"])
    labelled = label_rows(task.make_model(TINY), without_bos, rows)
    assert labelled["probability"][1] == pytest.approx(labelled["probability"][2])


def test_a_number_to_predict_is_labelled_with_the_prediction():
    task = graded_task()
    model = task.make_model(TINY).eval()
    labelled = label_rows(model, task.tokenizer, task.rows.splits["train"])
    batch = task.collate("train")([task.splits["train"][0]])
    batch.pop("labels")
    assert labelled[0]["label"] == labelled[0]["score"] == pytest.approx(model(**batch).logits.item(), abs=1e-5)


# --------------------------------------------------------------------------- a run, and its model scored again


def test_a_run_learns_and_its_model_scores_the_same_again(tmp_path):
    task = ClassificationTask(made_up("opinions", rows=300), max_length=32)
    recipe = replace(get_recipe("opinions"), epochs=5, averaging=0.0, learning_rate=0.01)
    set_seed(0)
    record = train(task.make_model(recipe.architecture), recipe, task, 0, tmp_path / "run", quiet=True)
    assert record.metrics["validation"]["accuracy"] > 0.6
    assert record.data["splits"]["test"] == "made up"
    name = str(tmp_path / "run" / "model")
    assert find_recipe(None, name).name == "opinions"
    again = ClassificationTask(made_up("opinions", rows=300), tokenizer=load_tokenizer(name), max_length=32)
    assert evaluate(load_model(name, again), again, "test") == record.metrics["test"]
    with pytest.raises(ValueError, match="has no split 'extra'; it has train, validation, test"):
        evaluate(load_model(name, again), again, "extra")
    groups = evaluate_by_length(load_model(name, again), again, "test", 3)
    rows = sum(group["rows"] for group in groups)
    found = sum(group["rows"] * group["scores"]["accuracy"] for group in groups)
    assert len(groups) == 3 and rows == 50 and found / rows == pytest.approx(record.metrics["test"]["accuracy"])
    assert all(one["length"][1] < other["length"][0] for one, other in pairwise(groups))
    assert groups[-1]["length"][1] == again.describe()["longest"]["test"]
    (whole,) = evaluate_by_length(load_model(name, again), again, "test", 1)
    assert whole["rows"] == 50 and whole["scores"] == record.metrics["test"]
    with pytest.raises(ValueError, match="1 group or more, got 0"):
        evaluate_by_length(load_model(name, again), again, "test", 0)
    with pytest.raises(ValueError, match="was made for other data: it has architectures"):
        load_model(name, ClassificationTask(made_up("paraphrases", rows=60)))
    with pytest.raises(ValueError, match="give --recipe"):
        find_recipe(None, "org/name")


@pytest.mark.parametrize("name, rows", [("rte", (2241, 249, 277)), ("mrpc", (3667, 408, 1725))])
def test_real_glue_is_read_from_its_folder(name, rows):
    if not (REAL / "nyu-mll" / "glue" / name).is_dir():
        pytest.skip("the GLUE data is not in data/")
    task = ClassificationTask(glue(name, REAL), vocab_size=2000, max_length=64)
    assert tuple(task.describe()["rows"].values()) == rows
    model = task.make_model(TINY)
    assert isinstance(model, AutoModelForSequenceClassification._model_mapping[LMUConfig][1])
    assert torch.isfinite(model(**batch_of(task)).loss)
