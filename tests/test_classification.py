"""Sentences and pairs to classify: which split is which, what is refused, and what a batch, a loss and a score are."""

import argparse
import math
from dataclasses import replace
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

import datasets
import pytest
import torch
from datasets import ClassLabel, Dataset, Value
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, pipeline, set_seed

from lmu_hf import LMUConfig, train_tokenizer
from lmu_hf.training.evaluation import evaluate, evaluate_by_length, find_recipe, load_model
from lmu_hf.training.labelling import label_rows
from lmu_hf.training.loading import add_data_flags, labelled_rows
from lmu_hf.training.loop import train
from lmu_hf.training.recipes import RECIPES, get_recipe
from lmu_hf.training.record import count_parameters
from lmu_hf.training.tasks.classification import ClassificationTask, load_tokenizer
from lmu_hf.training.tasks.labelled import (
    Columns,
    LabelledText,
    glue,
    labelled_dataset,
    labelled_files,
    made_up,
    with_more,
)
from lmu_hf.training.tasks.sentences import opinions, paraphrases

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "order": 2, "theta": 8}
REAL = Path(__file__).parents[1] / "data"
NAMES_OF_MNLI = ("validation_matched", "validation_mismatched")
TWO = ClassLabel(names=["no", "yes"])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def write(folder: Path, split: str, rows: dict[str, list], label: object = TWO) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made = Dataset.from_dict(rows).cast_column("label", label)
    made.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def sentences(n: int, begin: int = 0, name: str = "sentence") -> dict[str, list]:
    return {name: [f"number {i} of many" for i in range(begin, begin + n)], "label": [i % 2 for i in range(n)]}


def pair_rows(n: int, columns: tuple[str, str], labels: list) -> dict[str, list]:
    first, second = ([f"{word} {i}" for i in range(n)] for word in ("one", "another"))
    return {columns[0]: first, columns[1]: second, "label": (labels * n)[:n]}


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


# --------------------------------------------------------------------------- made-up rows


@pytest.mark.parametrize("make, key", [(opinions, ("text",)), (paraphrases, ("text", "text_pair"))])
def test_made_up_rows_are_distinct_even_and_the_same_every_time(make, key):
    rows = make(600)
    assert len({tuple(row[name] for name in key) for row in rows}) == 600
    assert 0.42 < sum(row["label"] for row in rows) / 600 < 0.58
    assert make(600) == rows != make(600, seed=1)


def test_made_up_splits_have_no_row_in_common():
    task = made_up("paraphrases", rows=120)
    pairs = [(row["text"], row["text_pair"]) for rows in task.splits.values() for row in rows]
    assert len(set(pairs)) == 120
    assert {split: len(rows) for split, rows in task.splits.items()} == {"train": 80, "validation": 20, "test": 20}


# --------------------------------------------------------------------------- which split is which


def test_without_labels_for_the_test_the_official_validation_is_the_test(tmp_path):
    folder = tmp_path / "nyu-mll" / "glue" / "sst2"
    write(folder, "train", sentences(50))
    write(folder, "validation", sentences(8, begin=50))
    write(folder, "test", {"sentence": ["a secret"] * 4, "label": [-1] * 4})
    rows = glue("sst2", tmp_path)
    assert {split: len(part) for split, part in rows.splits.items()} == {"train": 45, "validation": 5, "test": 8}
    assert rows.splits["test"]["text"][0] == "number 50 of many"
    kept, held = (set(rows.splits[split]["text"]) for split in ("train", "validation"))
    assert not kept & held
    assert kept | held == {f"number {i} of many" for i in range(50)}
    assert rows.origin["test"] == "all of validation"
    assert rows.origin["validation"] == "a tenth of train, drawn with seed 0"
    assert rows.labels == ["no", "yes"]
    again = glue("sst2", tmp_path)
    assert again.splits["validation"]["text"][:] == rows.splits["validation"]["text"][:]
    assert again.fingerprint() == rows.fingerprint()


def test_a_labelled_test_is_the_test_and_glue_knows_its_columns_and_metrics(tmp_path):
    for split, n in (("train", 12), ("validation", 4), ("test", 6)):
        write(tmp_path / "nyu-mll/glue/mrpc", split, pair_rows(n, ("sentence1", "sentence2"), [0, 1]))
    rows = glue("mrpc", tmp_path)
    assert {split: len(part) for split, part in rows.splits.items()} == {"train": 12, "validation": 4, "test": 6}
    assert rows.pairs
    assert rows.metrics == ("accuracy", "f1")


def test_mnli_has_two_tests(tmp_path):
    folder, names = tmp_path / "nyu-mll/glue/mnli", ("premise", "hypothesis")
    write(folder, "train", pair_rows(20, names, [0, 1]))
    for split, n in ((NAMES_OF_MNLI[0], 3), (NAMES_OF_MNLI[1], 5)):
        write(folder, split, pair_rows(n, names, [0, 1]))
    with pytest.raises(ValueError, match="must have a split 'validation_matched'; it has train, validation"):
        glue("mnli", tmp_path)  # by their names alone, both files would be validation
    files = "".join(f"  - {{split: {s}, path: mnli/{s}-*}}\n" for s in ("train", *NAMES_OF_MNLI))
    write_file(folder.parent / "README.md", f"---\nconfigs:\n- config_name: mnli\n  data_files:\n{files}---\n")
    assert len(glue("mnli", tmp_path).splits["test"]) == 3
    mismatched = glue("mnli-mm", tmp_path)
    assert len(mismatched.splits["test"]) == 5
    assert mismatched.origin["test"] == "all of validation_mismatched"


def test_grades_are_numbers_to_predict(tmp_path):
    folder = tmp_path / "nyu-mll/glue/stsb"
    for split, labels in (("train", [0.0, 2.5, 5.0]), ("validation", [1.5, 3.0]), ("test", [-1.0])):
        write(folder, split, pair_rows(20, ("sentence1", "sentence2"), labels), Value("float32"))
    rows = glue("stsb", tmp_path)
    assert rows.labels is None
    assert rows.metrics == ("pearson", "spearmanr")
    assert rows.origin["test"] == "all of validation"


def test_rows_in_dispute_are_dropped_and_a_tenth_is_held_out_of_training(tmp_path):
    write(tmp_path / "stanfordnlp/snli", "train", pair_rows(40, ("premise", "hypothesis"), [0, 1, -1, 1]))
    write(tmp_path / "stanfordnlp/snli", "test", pair_rows(8, ("premise", "hypothesis"), [0, -1]))
    rows = labelled_dataset("stanfordnlp/snli", tmp_path)
    assert {split: len(part) for split, part in rows.splits.items()} == {"train": 27, "validation": 3, "test": 4}
    assert all(label in (0, 1) for part in rows.splits.values() for label in part["label"])


def test_neighbouring_rows_are_held_out_together(tmp_path):
    write(tmp_path / "org/reviews", "train", sentences(103, name="text"))
    rows = labelled_dataset("org/reviews", tmp_path, validation_block=5)
    held = sorted(int(text.split()[1]) for text in rows.splits["validation"]["text"])
    first, second = held[0], held[5]
    assert first % 5 == second % 5 == 0
    assert held == [*range(first, first + 5), *range(second, second + 5)]
    assert len(rows.splits["train"]) == 93
    assert rows.origin["validation"] == "a tenth of train, drawn with seed 0, in runs of 5"
    one_by_one = labelled_dataset("org/reviews", tmp_path)
    assert one_by_one.fingerprint() == labelled_dataset("org/reviews", tmp_path, validation_block=1).fingerprint()
    with pytest.raises(ValueError, match=r"103 training rows are too few .* for validation, in runs of 12"):
        labelled_dataset("org/reviews", tmp_path, validation_block=12)
    with pytest.raises(ValueError, match="validation_block must be at least 1 row, got 0"):
        labelled_dataset("org/reviews", tmp_path, validation_block=0)
    for split in ("validation", "test"):
        write(tmp_path / "org/reviews", split, sentences(8, name="text"))
    with pytest.raises(ValueError, match=r"validation_block=5 says .* but validation validates already"):
        labelled_dataset("org/reviews", tmp_path, validation_block=5)


@pytest.mark.parametrize(
    "words, together",
    [
        ([], ", in runs of 2"),
        (["--dataset_name", "org/own"], ", in runs of 2"),
        (["--dataset_name", "org/other"], ""),
        (["--validation_block", "4"], ", in runs of 4"),
        (["--dataset_name", "org/other", "--validation_block", "4"], ", in runs of 4"),
    ],
)
def test_how_a_recipe_holds_out_is_for_its_own_data_and_a_flag_for_any(words, together, tmp_path):
    for name in ("own", "other"):
        write(tmp_path / "org" / name, "train", sentences(40, name="text"))
    parser = argparse.ArgumentParser()
    add_data_flags(parser, "classification")
    args = argparse.Namespace(**vars(parser.parse_args(words)), data_dir=tmp_path)
    named = {"task_name": None, "dataset_name": "org/own", "made_up": None, "validation_block": 2}
    assert labelled_rows(args, named).origin["validation"] == f"a tenth of train, drawn with seed 0{together}"


# --------------------------------------------------------------------------- files


def write_file(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_files_of_every_kind_hold_the_same_rows(tmp_path):
    rows = [("so, good", "NA", "yes"), ("null", "bad", "no")] * 6
    named = [dict(zip(("a", "b", "c"), row, strict=True)) for row in rows]
    Dataset.from_list(named).to_parquet(tmp_path / "rows.parquet")
    Dataset.from_list(named).to_json(tmp_path / "rows.jsonl")
    write_file(tmp_path / "rows.csv", "a,b,c\n" + "".join(f'"{a}",{b},{c}\n' for a, b, c in rows))
    write_file(tmp_path / "rows.tsv", "a\tb\tc\n" + "".join(f"{a}\t{b}\t{c}\n" for a, b, c in rows))
    for kind in ("parquet", "jsonl", "csv", "tsv"):
        file = tmp_path / f"rows.{kind}"
        read = labelled_files({"train": file, "validation": file}, Columns("a", "b", "c"))
        assert read.labels == ["no", "yes"]
        expected = [{"text": a, "text_pair": b, "label": int(c == "yes")} for a, b, c in rows]
        assert read.splits["train"].to_list() == expected, kind
        assert "test" not in read.splits  # validation stays what it was called


@pytest.mark.parametrize(
    "labels, names, first", [("3 -1 3 -1", ["-1", "3"], 1), ("b a b a", ["a", "b"], 1), ("0.5 2 1 4", None, 0.5)]
)
def test_labels_are_words_whole_numbers_or_grades(labels, names, first, tmp_path):
    rows = "".join(f"word {i},{label}\n" for i, label in enumerate(labels.split() * 3))
    read = labelled_files({"train": write_file(tmp_path / "rows.csv", "text,label\n" + rows)}, Columns())
    assert read.labels == names
    whole = {row["text"]: row["label"] for part in read.splits.values() for row in part}
    assert whole["word 0"] == first
    assert len(read.splits["validation"]) == 1


GOOD = "text,label\n" + "it goes on,a\nso it does,b\n" * 10


@pytest.mark.parametrize(
    "train, validation, message",
    [
        (None, GOOD, r"there is no file .*train\.csv: --train_file must name one"),
        ("", GOOD, r"train\.csv is empty: --train_file must hold rows"),
        ("text,label\n", GOOD, r"train\.csv holds no row: --train_file must"),
        (b"text,label\n\xff,a\n", GOOD, r"train\.csv is not UTF-8 near byte 11: save it as UTF-8"),
        (
            GOOD,
            GOOD.replace("text", "line"),
            "no column 'text' in validation: --text_column must be one of line, label",
        ),
        (GOOD, "text,label\nit,c\n", "validation split of train.csv has the label 'c', .*its classes: 'a', 'b'"),
        ("text,label\nit,a\nit,a\n", GOOD, "only the label 'a': there is nothing to tell apart"),
        ("text,label\nit,a\nit,\n", GOOD, "rows with an empty label"),
        ("text,label\nit,0.5\nit,inf\n", GOOD, "not a finite number"),
        ("text,label\nit,a\nso,b\n", None, "2 training rows are too few"),
    ],
)
def test_files_that_will_not_do_are_refused_by_name(train, validation, message, tmp_path):
    files = {"train": train, "validation": validation}
    paths = {split: tmp_path / f"{split}.csv" for split in files if split == "train" or validation is not None}
    for split, text in files.items():
        if text is not None:
            (tmp_path / f"{split}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        labelled_files(paths)


def test_more_rows_are_trained_on_and_none_of_them_held_out(tmp_path):
    rows = labelled_files({"train": write_file(tmp_path / "rows.csv", GOOD)})
    text = "label,text,probability\n" + "b,and on,0.9\na,so,0.6\n" * 20
    more = with_more(rows, write_file(tmp_path / "more.csv", text))
    assert len(more.splits["train"]) == len(rows.splits["train"]) + 40
    assert more.splits["train"][-2:] == {"text": ["and on", "so"], "label": [1, 0]}
    assert more.splits["validation"].to_list() == rows.splits["validation"].to_list()
    assert more.origin["train"] == f"{rows.origin['train']}, and more.csv"
    assert more.fingerprint() != rows.fingerprint()
    with pytest.raises(ValueError, match=r"other.csv has labels \['b', 'c'\]; rows.csv has \['a', 'b'\]"):
        with_more(rows, write_file(tmp_path / "other.csv", "text,label\nso,b\nso,c\n"))
    with pytest.raises(ValueError, match=r"more\.csv has no column 'text_pair' in train"):
        with_more(made_up("paraphrases", 12), tmp_path / "more.csv")
    with pytest.raises(FileNotFoundError, match="--extra_train_file must name one"):
        with_more(rows, tmp_path / "nowhere.csv")


@pytest.mark.parametrize("make", [single_task, pair_task])
def test_rows_are_labelled_as_the_model_decides_each_alone(make):
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


def test_grades_are_no_labels():
    task = single_task(single_output=True)
    with pytest.raises(ValueError, match="a choice of one class, not from multi_label_classification"):
        label_rows(task.make_model(TINY), task.tokenizer, task.rows.splits["train"])


def test_data_sets_that_will_not_do_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"task_name must be one of cola, .*got 'sst'"):
        glue("sst")
    with pytest.raises(FileNotFoundError, match=r"no folder .*glue/rte"):
        glue("rte", tmp_path)
    write(tmp_path / "org/only", "validation", sentences(4, name="text"))
    with pytest.raises(ValueError, match="must have a split 'train'"):
        labelled_dataset("org/only", tmp_path)
    write(tmp_path / "org/wide", "train", {"text": ["a"] * 20, "label": [0, 7] * 10}, Value("int64"))
    features = datasets.Features({"text": Value("string"), "label": TWO})
    table = datasets.load_dataset(str(tmp_path / "org/wide"))["train"].data.table
    Dataset(table, info=datasets.DatasetInfo(features=features)).to_parquet(tmp_path / "org/wide/train.parquet")
    (tmp_path / "org/wide/train-00000-of-00001.parquet").unlink()
    with pytest.raises(ValueError, match="the train split of org/wide has the label 7, which is none of its classes"):
        labelled_dataset("org/wide", tmp_path)
    with pytest.raises(ValueError, match=r"must end in one of \.csv"):
        labelled_files({"train": write_file(tmp_path / "rows.xml", "<a/>")})
    with pytest.raises(ValueError, match="must differ"):
        labelled_files({"train": write_file(tmp_path / "rows.csv", GOOD)}, Columns(text="text", label="text"))
    with pytest.raises(ValueError, match="cannot be read as json: "):
        labelled_files({"train": write_file(tmp_path / "rows.jsonl", "{so")})


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


def test_rows_are_cut_and_the_empty_text_has_a_token():
    rows = Dataset.from_dict({"text": ["one two three four five six", ""] * 10, "label": [0, 1] * 10})
    splits = {"train": rows, "validation": rows}
    labelled = LabelledText("short", splits, ["a", "b"], dict.fromkeys(splits, "here"), ("accuracy",))
    task = ClassificationTask(labelled, max_length=4)
    assert task.lengths["train"].tolist() == [4, 1] * 10
    assert task.tokenizer.model_max_length == 4
    without_bos = train_tokenizer("word", rows["text"])
    with pytest.raises(ValueError, match="row 1 of the train split of short has a text without a token"):
        ClassificationTask(labelled, tokenizer=without_bos)


def test_what_is_tokenised_once_is_kept_on_disk(tmp_path):
    write(tmp_path / "org/kept", "train", sentences(40, name="text"))
    first, second = (ClassificationTask(labelled_dataset("org/kept", tmp_path)) for _ in range(2))
    assert first.splits["train"].cache_files == second.splits["train"].cache_files != []
    assert first.describe() == second.describe()


# --------------------------------------------------------------------------- losses and scores


def test_the_loss_is_of_the_kind_of_the_labels():
    for task, expected in (
        (single_task(), lambda x, y: cross_entropy(x, y, label_smoothing=0.2)),
        (single_task(single_output=True), lambda x, y: binary_cross_entropy_with_logits(x[:, 0], 0.8 * y + 0.1)),
        (graded_task(), lambda x, y: (x[:, 0] - y).square().mean()),
    ):
        set_seed(0)
        model, batch = task.make_model(TINY).eval(), batch_of(task)
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        logits = model(**inputs).logits
        torch.testing.assert_close(task.loss(model, batch, 0.2), expected(logits, batch["labels"]))
        own = model(**inputs, labels=batch["labels"].view(-1, 1) if task.single_output else batch["labels"]).loss
        torch.testing.assert_close(task.loss(model, batch, 0.0), own)


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
def test_the_pipeline_gives_what_the_task_does(make):
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


def test_options_that_do_not_fit_are_refused(tmp_path):
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


@pytest.mark.parametrize("name, make, parameters", [("imdb-linear", single_task, 301), ("qqp-linear", pair_task, 1201)])
def test_the_papers_smallest_classifiers_have_the_papers_parameters(name, make, parameters):
    vectors = torch.randn(len(make().tokenizer), 300)
    task = make(word_vectors=vectors, freeze_word_vectors=True, single_output=True)
    model = task.make_model(get_recipe(name).architecture)
    assert count_parameters(model)["trainable"] == parameters
    assert torch.equal(model.get_input_embeddings().weight, vectors)
    task.loss(model, batch_of(task), 0.0).backward()
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
    model = task.make_model({**TINY, "vote_sizes": [1, 2], "vote_buckets": 10_007})
    rows = task.splits["train"].with_format("torch")
    ids = torch.cat([model.votes.find(row["input_ids"][None]).flatten() for row in rows]).unique()
    assert set(model.votes.odds.weight.any(1).nonzero()[:, 0].tolist()) <= set(ids.tolist())
    decided = [model.votes.eval()(row["input_ids"][None]).mean(1).argmax().item() for row in rows]
    right = sum(label == row["label"].item() for label, row in zip(decided, rows, strict=True)) / len(rows)
    assert right > 0.9
    with pytest.raises(ValueError, match="not of two: vote_sizes"):
        pair_task().make_model({**TINY, "vote_sizes": [1]})


def test_three_classes_of_pairs_are_told_apart_by_3603_parameters():
    rows = replace(made_up("paraphrases", rows=60), labels=["a", "b", "c"])
    model = ClassificationTask(rows).make_model(get_recipe("snli-linear").architecture)
    counts = count_parameters(model)
    assert counts["total"] - counts["embeddings"] == 3603


@pytest.mark.parametrize("name, labels, parameters", [("qqp", ["a", "b"], 723_601), ("snli", ["a", "b", "c"], 726_003)])
def test_the_lstms_beside_them_train_a_hundred_times_as_many(name, labels, parameters):
    rows = replace(made_up("paraphrases", rows=60), labels=labels)
    vectors = torch.randn(len(ClassificationTask(rows).tokenizer), 300)
    how = {"word_vectors": vectors, "freeze_word_vectors": True, "single_output": len(labels) == 2}
    ours, theirs = (
        count_parameters(ClassificationTask(rows, **how).make_model(get_recipe(f"{name}-linear{twin}").architecture))
        for twin in ("", "-lstm")
    )
    assert theirs["trainable"] == parameters > 100 * ours["trainable"]


def test_a_stack_is_taken_over_with_its_tokenizer(tmp_path):
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
    assert sum(source in recipe.data for source in ("task_name", "dataset_name", "made_up")) == 1
    make = single_task if name.split("-")[0] in ("imdb", "sst2", "cola", "opinions") else pair_task
    elsewhere = ("task_name", "dataset_name", "made_up", "pretrained", "validation_block")
    how = {key: value for key, value in recipe.data.items() if key not in elsewhere}
    if how.get("freeze_word_vectors"):
        width = recipe.architecture["embedding_size"] if recipe.architecture.get("readout") == "memory" else 300
        how["word_vectors"] = torch.randn(len(make().tokenizer), width)
    task = make(**how)
    model = task.make_model(recipe.architecture)
    task.loss(model, batch_of(task), recipe.label_smoothing).backward()
    missing = [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert missing == []


@pytest.mark.parametrize("name", [name for name in CLASSIFICATION if name.endswith("-lstm")])
def test_an_lstm_is_trained_as_its_memory_is(name):
    ours, theirs = get_recipe(name.removesuffix("-lstm")), get_recipe(name)
    # Beside wide vectors an LSTM has 300 units all the same, and on SNLI it keeps its earlier, smaller steps.
    units = {"hidden_size": 300} if "-spelt-" in name else {}
    steps = {"learning_rate": 1e-3} if name == "snli-spelt-lstm" else {}
    assert theirs.hyperparameters() == ours.hyperparameters() | steps
    assert theirs.architecture == ours.architecture | units | {"cell": "lstm"}


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
    assert torch.isfinite(task.loss(model, batch_of(task), 0.0))
