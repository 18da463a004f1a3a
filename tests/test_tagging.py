"""Tags of words: which token has which, what is refused, a task that learns, and the script from a file to a model."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, pipeline, set_seed

from lmu_hf import LMUConfig, train_tokenizer
from lmu_hf.common.record import RunRecord
from lmu_hf.data.sentences import EITHER
from lmu_hf.data.tagging import Aligned, TagColumns, align, made_up_names, tagged_dataset, tagged_files
from lmu_hf.training.evaluation import evaluate, load_model
from lmu_hf.training.loop import train
from lmu_hf.training.recipes import get_recipe
from lmu_hf.training.tasks.tagging import TaggingTask
from script_runs import run_script

SCRIPTS = Path(__file__).parents[1] / "scripts"
TINY = {"hidden_size": 8, "num_hidden_layers": 1, "order": 2, "theta": 8}
SENTENCE = ["Dr.", "Ann", "O'Hara", "saw", "U.S.", "soil", "!"]
TAGS = [1, 1, 2, 0, 3, 0, 0]
KINDS = {"word": {}, "char": {}, "byte": {}, "bpe": {"vocab_size": 270}}

pytestmark = pytest.mark.usefixtures("cache")


def make_tokenizer(kind: str, **how):
    return train_tokenizer(kind, [" ".join(SENTENCE)] * 2, **KINDS[kind], **how)


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tagged(n: int, begin: int = 0) -> list[dict]:
    return [
        {"tokens": ["Ann" if i % 2 else "Bo", "is", str(i)], "tags": ["B-A" if i % 2 else "B-B", "O", "O"]}
        for i in range(begin, begin + n)
    ]


def alone(value):
    """What one process gathers from all."""
    return value


# --------------------------------------------------------------------------- words and their tokens


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frame", [{}, {"add_bos": True, "add_eos": True}])
def test_the_first_token_of_a_word_has_its_tag_and_a_model_meets_the_text_itself(kind, frame):
    tokenizer = make_tokenizer(kind, **frame)
    row = align(tokenizer, SENTENCE, TAGS)
    text = " ".join(SENTENCE)
    plain = tokenizer(text, return_offsets_mapping=True)
    assert row.input_ids == plain["input_ids"] and (row.without_token, row.cut_off) == (0, 0)
    assert [label for label in row.labels if label != -100] == TAGS
    begins = [text.index(word, at) for word, at in zip(SENTENCE, (0, 4, 8, 15, 19, 24, 29), strict=True)]
    for begin, tag in zip(begins, TAGS, strict=True):
        (place,) = [
            place
            for place, (start, end) in enumerate(plain["offset_mapping"])
            if row.labels[place] != -100 and start <= begin < end
        ]
        assert row.labels[place] == tag


def test_words_without_a_token_and_truncated_words_are_counted():
    tokenizer = make_tokenizer("word", add_bos=True)
    words, tags = ["saw", "\u3000", "soil", "", "Ann", " "], [0, 1, 2, 3, 4, 5]
    assert align(tokenizer, words, tags).without_token == 3
    whole = align(tokenizer, words, tags)
    assert [label for label in whole.labels if label != -100] == [0, 2, 4] and whole.cut_off == 0
    short = align(tokenizer, words, tags, max_length=3)
    assert len(short.input_ids) == 3 and short.labels == [-100, 0, 2]
    assert (short.without_token, short.cut_off) == (1, 3)
    assert align(make_tokenizer("char"), ["saw", "\u3000"], [0, 1]).without_token == 1
    assert align(tokenizer, [], []) == Aligned([tokenizer.bos_token_id], [-100], 0, 0)
    with pytest.raises(ValueError, match="one tag for each word, got 2 words and 1 tags"):
        align(tokenizer, ["saw", "soil"], [0])


@given(words=st.lists(st.text("ab .'é", max_size=4), max_size=6), length=st.integers(2, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_every_word_is_tagged_or_counted(kind, words, length):
    tokenizer = make_tokenizer(kind, add_bos=True)
    row = align(tokenizer, words, list(range(len(words))), max_length=length)
    found = [label for label in row.labels if label != -100]
    assert len(row.labels) == len(row.input_ids) <= length
    assert found == sorted(set(found))
    assert len(found) + row.without_token + row.cut_off == len(words)


# --------------------------------------------------------------------------- rows


def test_files_give_three_splits_and_outside_is_the_first_tag(tmp_path):
    rows = tagged_files({"train": write(tmp_path / "a.jsonl", tagged(40))})
    assert rows.labels == ["O", "B-A", "B-B"] and list(rows.splits) == ["train", "validation"]
    assert rows.splits["train"][0]["tags"][1:] == [0, 0]
    Dataset.from_list(tagged(12)).rename_columns({"tokens": "w", "tags": "t"}).to_parquet(tmp_path / "b.parquet")
    other = tagged_files({"test": tmp_path / "b.parquet"}, TagColumns("w", "t"), labels=["B-B", "O", "B-A"])
    assert other.splits["test"]["tags"][0] == [0, 1, 1]
    assert other.fingerprint() != rows.fingerprint()


def test_a_data_sets_own_names_of_tags_are_kept(tmp_path):
    folder, names = tmp_path / "org" / "own", ["O", "B-X", "I-X"]
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))})
    folder.mkdir(parents=True)
    for split, n in (("train", 20), ("validation", 4)):
        rows = {"tokens": [["a", "b"]] * n, "ner_tags": [[0, 2]] * n}
        Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    rows = tagged_dataset("org/own", tmp_path)
    assert rows.labels == names and rows.splits["train"][0]["tags"] == [0, 2]
    assert rows.origin["test"] == "all of validation" and rows.dataset == "org/own"
    assert tagged_dataset("org/own", tmp_path, labels=names[::-1]).splits["train"][0]["tags"] == [2, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"tokens": ["a", "b"], "tags": ["O"]}], "line 41 of the train split of a.jsonl has 2 words and 1 tags"),
        ([{"tokens": ["a"], "tags": [None]}], "line 41 of the train split of a.jsonl has a word or a tag that is null"),
        ([{"tokens": ["a"], "tags": None}], r"a\.jsonl, line 41 has no 'tags': fill it"),
    ],
)
def test_an_invalid_row_is_named(rows, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tagged_files({"train": write(tmp_path / "a.jsonl", tagged(40) + rows)})


def test_columns_and_tags_that_are_not_there_are_named(tmp_path):
    path = write(tmp_path / "a.jsonl", tagged(40))
    for columns, message in (
        (TagColumns("words"), "has no column 'words' in train: --tokens_column must be one of tokens, tags"),
        (TagColumns(tags="pos"), "has no column 'pos' in train: --tags_column must be one of tokens, tags"),
        (TagColumns("tags"), "must differ, got 'tags' for both"),
    ):
        with pytest.raises(ValueError, match=message):
            tagged_files({"train": path}, columns)
    with pytest.raises(ValueError, match=r"line 1 of the test split of a\.jsonl has the tag 'B-B', which is none of O"):
        tagged_files({"test": path}, labels=["O", "B-A"])
    (tmp_path / "a.csv").write_text("tokens,tags\na b,O O\n")
    with pytest.raises(ValueError, match=r"'tokens' of a\.csv must hold lists, one entry a word"):
        tagged_files({"train": tmp_path / "a.csv"})
    same = write(tmp_path / "same.jsonl", [{"tokens": ["a"], "tags": ["O"]}] * 20)
    with pytest.raises(ValueError, match="there is nothing to tell apart"):
        tagged_files({"train": same})


def test_made_up_names_need_context_to_be_tagged():
    rows = made_up_names(600)
    assert rows.labels == ["O", "B-LOC", "B-PER", "I-LOC", "I-PER"]
    assert {split: len(part) for split, part in rows.splits.items()} == {"train": 400, "validation": 100, "test": 100}
    seen: dict[str, set[int]] = {}
    for row in rows.splits["train"]:
        for word, tag in zip(row["tokens"], row["tags"], strict=True):
            seen.setdefault(word, set()).add(tag)
    assert all(seen[word] == {1, 2} for word in EITHER)
    assert made_up_names(600).fingerprint() == rows.fingerprint() != made_up_names(606).fingerprint()
    with pytest.raises(ValueError, match="at least 12"):
        made_up_names(11)


# --------------------------------------------------------------------------- the task


def test_a_batch_is_padded_and_the_loss_counts_words_only():
    task = TaggingTask(made_up_names(60), max_length=32)
    rows = task.splits["train"].__getitems__(list(range(6)))
    batch = task.collate("train")(rows)
    words = sum(map(len, task.rows.splits["train"][:6]["tokens"]))
    assert task.terms(batch) == words == (batch["labels"] != -100).sum()
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    assert (batch["input_ids"][batch["attention_mask"] == 0] == task.tokenizer.pad_token_id).all()
    assert task.make_model(TINY)(**batch).loss.isfinite()


def test_words_that_are_not_read_are_in_the_record_and_in_one_line(caplog):
    task = TaggingTask(made_up_names(60), max_length=64)
    assert task.describe()["unread_words"]["train"] == {"without_token": 0, "cut_off": 0}
    logging.getLogger("lmu_hf").addHandler(caplog.handler)
    short = TaggingTask(made_up_names(60), max_length=4)
    logging.getLogger("lmu_hf").removeHandler(caplog.handler)
    cut = short.describe()["unread_words"]["train"]["cut_off"]
    assert cut == sum(len(row) - 3 for row in short.rows.splits["train"]["tokens"])
    assert f"train: 0 words have no token, {cut} are cut off at 4 tokens" in caplog.text


def test_a_row_without_a_word_is_named():
    rows = made_up_names(60)
    empty = Dataset.from_dict({"tokens": [["a"], [""]], "tags": [[0], [0]]})
    with pytest.raises(ValueError, match="row 2 of the test split of names by rule has no word with a token"):
        TaggingTask(replace(rows, splits={**rows.splits, "test": empty}))


def test_scores_are_those_of_all_words_and_the_majority_is_the_commonest_tag():
    task = TaggingTask(made_up_names(120), max_length=32)
    model, batches = task.make_model(TINY).eval(), list(task.loader("test", 7))
    found, wanted = [], []
    for row in task.splits["test"]:
        answer = model(torch.tensor([row["input_ids"]])).logits[0].argmax(-1).tolist()
        kept = [place for place, label in enumerate(row["labels"]) if label != -100]
        found += [answer[place] for place in kept]
        wanted += [row["labels"][place] for place in kept]
    scores = task.scores(model, "test", batches, alone)
    assert scores["accuracy"] == pytest.approx(sum(a == b for a, b in zip(found, wanted, strict=True)) / len(wanted))
    f1 = []
    for tag in {*found, *wanted}:
        both = sum(a == b == tag for a, b in zip(found, wanted, strict=True))
        f1.append(2 * both / (found.count(tag) + wanted.count(tag)))
    assert scores["macro_f1"] == pytest.approx(sum(f1) / len(f1))
    majority = task.extras()["majority"]
    assert majority["tag"] == "O" and majority["accuracy"] == pytest.approx(wanted.count(0) / len(wanted))


def test_a_tagger_starts_from_a_language_models_stack(tmp_path):
    task = TaggingTask(made_up_names(60))
    fields = {name: task.config_fields()[name] for name in ("vocab_size", "pad_token_id", "bos_token_id")}
    language = AutoModelForCausalLM.from_config(LMUConfig(**TINY, **fields, eos_token_id=2))
    language.save_pretrained(tmp_path)
    tuned = TaggingTask(task.rows, tokenizer=task.tokenizer, model_name_or_path=str(tmp_path)).make_model({})
    assert type(tuned).__name__ == "LMUForTokenClassification" and tuned.config.id2label[0] == "O"
    for name, weight in language.model.state_dict().items():
        assert torch.equal(weight, tuned.model.state_dict()[name])


def test_a_run_learns_and_its_model_scores_the_same_again(tmp_path):
    task = TaggingTask(made_up_names(300), max_length=32)
    recipe = replace(get_recipe("names"), epochs=3, averaging=0.0, learning_rate=0.01)
    set_seed(0)
    record = train(task.make_model(recipe.architecture), recipe, task, 0, tmp_path / "run", quiet=True)
    majority = record.data["majority"]
    assert record.metrics["test"]["macro_f1"] > 0.6 > 2 * majority["macro_f1"]
    assert (record.head, record.task, record.problem_type) == ("LMUForTokenClassification", task.task, None)
    name = str(tmp_path / "run" / "model")
    assert evaluate(load_model(name, task), task, "test") == record.metrics["test"]
    answers = pipeline("token-classification", model=name, aggregation_strategy="simple")("anna met ben in new york .")
    assert {answer["entity_group"] for answer in answers} <= {"PER", "LOC"}


# --------------------------------------------------------------------------- the script


SHORT = ["--max_train_steps", 40, "--eval_steps", 20, "--quiet", "--report_to", "none", "--output_dir", "run"]


def test_a_file_becomes_a_tagger_that_is_scored_tags_and_can_be_pushed(tmp_path):
    write(tmp_path / "train.jsonl", tagged(80)), write(tmp_path / "test.jsonl", tagged(20, begin=100))
    where = {"cwd": tmp_path, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    files = ["--train_file", "train.jsonl", "--test_file", "test.jsonl", "--learning_rate", 0.02]
    done = run_script(SCRIPTS / "train_token.py", *files, *SHORT, **where)
    assert done.returncode == 0, done.stderr
    record = RunRecord.read(tmp_path / "run")
    assert f"test macro f1 {record.metrics['test']['macro_f1']:#.4g}" in done.stdout
    assert record.data["name"] == "train.jsonl" and record.data["majority"]["tag"] == "O"
    done = run_script(SCRIPTS / "evaluate.py", "run/model", "--json", **where)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scores"] == record.metrics["test"]
    write(tmp_path / "other.jsonl", [{"tokens": ["Bo"], "tags": ["B-C"]}])
    done = run_script(SCRIPTS / "evaluate.py", "run/model", "--test_file", "other.jsonl", **where)
    assert "has the tag 'B-C', which is none of O, B-A, B-B" in done.stderr
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "run" / "model")
    assert model.config.label2id == {"O": 0, "B-A": 1, "B-B": 2}
    done = run_script(SCRIPTS / "push_to_hub.py", "run", **where)
    assert done.returncode == 0, done.stderr
    assert "pipeline_tag: token-classification" in (tmp_path / "run" / "hub" / "README.md").read_text()


def test_flags_without_effect_are_refused_by_name(tmp_path):
    for words, message in (
        (["--tags_column", "pos"], "--tags_column has no effect on names, which reads made-up sentences"),
        (["--validation_file", "a.jsonl"], "--validation_file and --test_file need a --train_file"),
        (["--train_file", "a.jsonl", "--rows", "60"], "--rows has no effect on names, which reads the files a.jsonl"),
        (["--config_overrides", "num_labels=3", "--rows", "60"], "LMUConfig has no field 'num_labels'"),
    ):
        (tmp_path / "a.jsonl").touch()
        done = run_script(SCRIPTS / "train_token.py", *words, cwd=tmp_path)
        assert done.returncode in (1, 2) and message in done.stderr, done.stderr
