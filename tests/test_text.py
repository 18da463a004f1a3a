"""Running text on disk: what is read, how it is cut, and what of it comes into memory."""

import gzip
import os
import pickle
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow
import pytest
import torch
from transformers import AutoTokenizer, set_seed

from lmu_hf import LMUForSequenceClassification
from lmu_hf.data.corpus import Corpus, Tokens, encode, text_rows
from lmu_hf.data.tables import ReadOptions
from lmu_hf.data.windows import Windows
from lmu_hf.training.tasks.text import TextTask
from lmu_hf.training.tasks.text_sources import text_dataset, text_files

LINES = ["so many words are said", "again and again", "", "until the model knows them by heart"]
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "order": 2, "theta": 8}


@pytest.fixture(scope="module")
def byte_tokenizer():
    return TextTask("words", {"train": LINES}).tokenizer


def ids_of(task: TextTask, split: str = "train") -> list[int]:
    return task.encoded[split].tokens.read(0, 10**9).tolist()


def on_disk(texts: list[str], path, rows_a_chunk: int = 3) -> datasets.Dataset:
    datasets.Dataset.from_dict({"text": texts}).to_parquet(path, batch_size=rows_a_chunk)
    return datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))


def alone(value):
    """What one process gathers from all."""
    return value


# --------------------------------------------------------------------------- on disk


def test_tokens_and_windows_are_read_from_the_file_and_not_held(tmp_path, byte_tokenizer):
    texts = [f"{number:06d} " * 300 for number in range(2000)]  # four megabytes
    corpus = Corpus(on_disk(texts, tmp_path / "texts.parquet", rows_a_chunk=500))
    before = pyarrow.total_allocated_bytes()
    tokens = encode(corpus, byte_tokenizer, "byte").tokens
    windows = Windows(tokens, 256)
    assert len(tokens) == sum(map(len, texts)) + len(texts) - 1
    assert tokens.parts[0].dtype == "uint8"
    assert not any(part.flags.owndata for part in tokens.parts)
    windows.__getitems__(list(range(0, len(windows), 100)))
    assert pyarrow.total_allocated_bytes() - before < 200_000
    assert len(pickle.dumps(windows)) < 20_000  # a worker maps the file again


ONE_PASS = """
import re, sys, threading
from pathlib import Path
import torch
from lmu_hf.training.tasks.text_sources import text_files

held, done = [0], threading.Event()

def watch():
    while not done.wait(0.01):
        held.append(int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10)

watcher = threading.Thread(target=watch)
watcher.start()
task = text_files({"train": Path(sys.argv[1])})
task.describe()
order = task.order("train", 8, torch.Generator().manual_seed(0))
tokens = sum(task.splits["train"].__getitems__(order[at : at + 8])["labels"].numel() for at in range(0, len(order), 8))
done.set()
watcher.join()
print(max(held), tokens)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of a process's memory")
@pytest.mark.parametrize("suffix", ["txt", "jsonl"])
def test_the_memory_of_a_pass_does_not_grow_with_the_corpus(suffix, tmp_path):
    held, tokens = [], []
    for megabytes in (50, 100):  # a reader of JSON lines holds all that it will by then
        path = tmp_path / f"{megabytes}.{suffix}"
        lines = (f"{number:06d} " * 150 for number in range(megabytes * 1000))
        path.write_text("".join(f'{{"text": "{line}"}}\n' if suffix == "jsonl" else f"{line}\n" for line in lines))
        command = [sys.executable, "-c", ONE_PASS, str(path)]
        environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for found, number in zip((held, tokens), done.stdout.split(), strict=True):
            found.append(int(number))
    assert tokens[1] - tokens[0] > 45_000_000
    assert held[1] - held[0] < 20_000_000


def test_an_encoded_corpus_is_reused(tmp_path, byte_tokenizer, monkeypatch):
    rows = on_disk(LINES, tmp_path / "lines.parquet")
    first = encode(Corpus(rows), byte_tokenizer, "byte").tokens
    monkeypatch.setattr("lmu_hf.data.corpus._encode_text", None)  # nothing is encoded twice
    again = encode(Corpus(rows), byte_tokenizer, "byte").tokens
    assert first.read(0, 1000).tolist() == again.read(0, 1000).tolist() == list("\n".join(LINES).encode())


def test_several_processes_encode_what_one_does(tmp_path):
    rows = on_disk(LINES * 3, tmp_path / "lines.parquet")
    texts = {"train": Corpus(rows)}
    one, two = (TextTask("words", texts, tokenizer="char", num_proc=workers) for workers in (None, 2))
    assert ids_of(one) == ids_of(two)
    assert one.describe() == two.describe()


def test_tokens_are_read_across_the_files_chunks():
    tokens = Tokens(datasets.Dataset.from_dict({"ids": [[0, 1], [], [2], [3, 4, 5]]}))
    tokens.parts = [tokens.parts[0][:2], tokens.parts[0][2:3], tokens.parts[0][3:]]  # as rows of three chunks
    tokens.starts = torch.tensor([0, 2, 3, 6]).numpy()
    for begin in range(6):
        for end in range(begin + 1, 7):
            assert tokens.read(begin, end).tolist() == list(range(begin, end))


def test_a_long_row_is_encoded_in_pieces(monkeypatch, tmp_path):
    whole = TextTask("words", {"train": LINES * 5}, tokenizer="char")
    monkeypatch.setattr("lmu_hf.data.corpus.PIECE", 7)
    assert ids_of(TextTask("words", {"train": LINES * 5}, tokenizer="char")) == ids_of(whole)
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    assert "".join(text_rows(path, 3, 50)["text"]) == "\n".join(LINES)[3:50]
    path.write_text("another", encoding="utf-8")
    assert text_rows(path)["text"][:] == ["another"]  # not what was remembered of the file


# --------------------------------------------------------------------------- what a token is


def test_an_end_of_sequence_stands_between_two_rows_of_words():
    task = TextTask("words", {"train": ["a b", "b"], "validation": ["a c", "b"]}, tokenizer="word")
    names = {name: number for name, number in task.tokenizer.get_vocab().items()}
    assert ids_of(task) == [names[name] for name in ("a", "b", "<eos>", "b")]
    assert ids_of(task, "validation") == [names[name] for name in ("a", "<unk>", "<eos>", "b")]
    assert task.describe()["characters"] == {"train": 5, "validation": 5}
    assert task.describe()["unknown"] == {"train": 0, "validation": 1}
    assert task.metric == "perplexity"


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_perplexity_bits_per_token_and_bits_per_character_agree(kind):
    task = TextTask("words", {"train": LINES * 20, "validation": LINES}, tokenizer=kind, vocab_size=280)
    set_seed(0)
    scores = task.scores(task.make_model(TINY).eval(), "validation", task.loader("validation", 2), alone)
    tokens, characters = len(task.encoded["validation"].tokens), len("\n".join(LINES))
    assert scores["perplexity"] == pytest.approx(2 ** scores["bits_per_token"])
    assert scores["bits_per_character"] == pytest.approx(scores["bits_per_token"] * tokens / characters)
    assert task.metric == "bits_per_character"


def test_bits_per_character_are_left_out_where_words_are_unknown():
    task = TextTask("words", {"train": LINES * 20, "validation": ["many unheard words"]}, tokenizer="word")
    scores = task.scores(task.make_model(TINY).eval(), "validation", task.loader("validation", 2), alone)
    assert set(scores) == {"perplexity", "bits_per_token"}


def test_a_ready_tokenizer_is_taken_as_it_is(tmp_path):
    first = TextTask("words", {"train": LINES * 20}, tokenizer="bpe", vocab_size=280)
    first.processor().save_pretrained(tmp_path)
    again = TextTask("words", {"train": LINES}, tokenizer_name=str(tmp_path))
    assert again.tokenizer.get_vocab() == first.tokenizer.get_vocab() == AutoTokenizer.from_pretrained(tmp_path).vocab
    with pytest.raises(ValueError, match="no tokenizer can be loaded from"):
        TextTask("words", {"train": LINES}, tokenizer_name=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_a_saved_language_model_is_gone_on_from_with_its_tokenizer(kind, tmp_path):
    how = {"vocab_size": 280} if kind == "bpe" else {}
    first = TextTask("words", {"train": LINES * 20}, tokenizer=kind, **how)
    model = first.make_model(TINY)
    for part in (model, first.processor()):
        part.save_pretrained(tmp_path / "first")
    # The recipe's own kind of tokens does not count: the model brings its tokenizer.
    folder = str(tmp_path / "first")
    task = TextTask("words", {"train": LINES, "validation": ["ñew"]}, model_name_or_path=folder)
    assert task.kind == (folder if kind == "bpe" else kind)
    assert task.tokenizer.get_vocab() == first.tokenizer.get_vocab()
    assert task.describe()["stack"] == folder
    scored = TextTask("words", {"train": LINES, "validation": ["ñew"]}, saved=folder)  # as `evaluate` reads it
    assert scored.encoded["train"].tokens.read(0, 99).tolist() == ids_of(task)[:99]
    assert scored.metric == task.metric and scored.is_spelt == task.is_spelt
    again = task.make_model({"hidden_size": 999}).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in model.state_dict().items())
    # A character that the model does not know is charged for by its code point.
    assert (task.metric, task.encoded["validation"].unknown) == ("bits_per_character", int(kind == "char"))


def test_a_language_model_goes_on_from_a_language_model_of_its_kind_alone(tmp_path):
    first = TextTask("words", {"train": LINES * 20})
    for part in (first.make_model(TINY), first.processor()):
        part.save_pretrained(tmp_path / "model")
    task = TextTask("words", {"train": LINES}, model_name_or_path=str(tmp_path / "model"))
    with pytest.raises(ValueError, match=r"can go on from an LSTMForCausalLM alone, and .* holds an LMUForCausalLM"):
        task.make_model({"model_type": "lmu_lstm"})
    LMUForSequenceClassification(first.make_model(TINY).config).save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"from an LMUForCausalLM alone, and .* holds an LMUForSequenceClassification"):
        task.make_model(TINY)


# --------------------------------------------------------------------------- order


def test_shifted_windows_read_every_epoch_from_another_place():
    task = TextTask("words", {"train": LINES * 9}, sequence_length=32, shifted=True)
    rows, ids = task.splits["train"], ids_of(task)
    first, again, other = (task.order("train", 4, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == len(rows)
    begins = sorted(int(divmod(row, len(rows))[1]) for row in first)
    assert begins == list(range(len(rows)))
    for row in (*first, *other):
        read = rows[row]["input_ids"][0].tolist()
        start = rows._start(row)
        assert read == ids[start : start + 33]
        assert set(rows[row]) == {"input_ids", "labels"}
    assert first[0] // len(rows) != other[0] // len(rows)


# --------------------------------------------------------------------------- where text comes from


def test_splits_are_joined_and_rows_held_out(tmp_path):
    folder = tmp_path / "reviews"
    folder.mkdir()
    for split, rows in {"train": 6, "extra": 4, "test": 2}.items():
        texts = [f"{split} {row}" for row in range(rows)]
        datasets.Dataset.from_dict({"text": texts}).to_parquet(folder / f"{split}.parquet")
    data_files = "configs:\n- config_name: default\n  data_files:\n"
    data_files += "".join(f"  - split: {split}\n    path: {split}.parquet\n" for split in ("train", "extra", "test"))
    (folder / "README.md").write_text(f"---\n{data_files}---\n")
    task = text_dataset("reviews", tmp_path, train_split="train+extra", hold_out=0.3, test_split="")
    train, held = (list(task.texts[split].texts()) for split in ("train", "validation"))
    assert (len(train), len(held)) == (7, 3)
    expected = [*(f"train {row}" for row in range(6)), *(f"extra {row}" for row in range(4))]
    assert sorted(train + held) == sorted(expected)
    assert set(task.splits) == {"train", "validation"}
    again = text_dataset("reviews", tmp_path, train_split="train+extra", hold_out=0.3, test_split="")
    assert again.describe() == task.describe()
    with pytest.raises(ValueError, match="must have a split 'more'"):
        text_dataset("reviews", tmp_path, train_split="train+more", validation_split="test")
    with pytest.raises(ValueError, match="hold_out must be a share above 0 and below 1"):
        text_dataset("reviews", tmp_path, hold_out=1.0)


def test_a_table_is_recognised_whatever_the_case_of_its_ending(tmp_path):
    path = tmp_path / "rows.CSV"
    path.write_text("text,stars\n" + "".join(f"line {number},1\nNA,2\n" for number in range(20)))
    task = text_files({"train": path})
    texts = [text for split in ("train", "validation") for text in task.texts[split].texts()]
    assert sorted(texts) == sorted([*(f"line {number}" for number in range(20)), *["NA"] * 20])


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", r"rows\.csv is empty: --train_file must hold rows"),
        (b"text,stars\n", r"rows\.csv holds no row: --train_file must hold rows"),
        (b"text\n\xff\n", r"rows\.csv, line 2, is not UTF-8: --encoding must name the file's encoding"),
        (b"text#stars\nso#1\n", "it has 'text#stars', which is one column: --delimiter says what parts columns"),
    ],
)
def test_unusable_tables_are_refused_by_name(content, message, tmp_path):
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        text_files({"train": tmp_path / "rows.csv"})


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_tables_are_read_by_their_column(suffix, tmp_path):
    rows = datasets.Dataset.from_dict({"body": [f"line {number}" for number in range(40)], "stars": [1] * 40})
    path = tmp_path / f"rows.{suffix}"
    {"csv": rows.to_csv, "jsonl": rows.to_json, "parquet": rows.to_parquet}[suffix](path)
    task = text_files({"train": path}, "body")
    texts = [text for split in ("train", "validation") for text in task.texts[split].texts()]
    assert sorted(texts) == sorted(rows["body"])
    assert task.describe()["rows"]["validation"] == 1
    with pytest.raises(ValueError, match=r"must have a column 'text'; it has body, stars"):
        text_files({"train": path})
    numbers = text_files({"train": path}, "stars")  # a number is a word like any other
    assert set(numbers.texts["train"].texts()) == {"1"}


def test_a_broken_table_is_refused_by_name(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "fine"}\n{"text": ')
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2, is not JSON: "):
        text_files({"train": tmp_path / "rows.jsonl"})
    datasets.Dataset.from_dict({"text": ["a", None]}).to_parquet(tmp_path / "holes.parquet")
    with pytest.raises(ValueError, match=r"holes\.parquet, row 2 has no 'text': fill it"):
        text_files({"train": tmp_path / "holes.parquet"})


# --------------------------------------------------------------------------- files and folders of text


def text_of(task: TextTask, split: str) -> str:
    return "".join(task.texts[split])


def test_a_folder_is_one_text_of_all_its_files_by_name(tmp_path):
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.md").write_bytes("second\n".encode("utf-16"))
    (folder / "a.txt.gz").write_bytes(gzip.compress(b"\xef\xbb\xbffirst"))
    (folder / "deep" / "c").write_text("third")
    (folder / ".hidden").write_bytes(b"\xff")
    task = text_files({"train": folder}, hold_out=0.25)
    whole = "first\nsecond\nthird\n"
    assert text_of(task, "train") + text_of(task, "validation") == whole
    assert len(text_of(task, "validation")) == len(whole) - round(len(whole) * 0.75)
    assert set(task.splits) == {"train", "validation"}
    (folder / "bad.txt").write_bytes(b"one\n\xff")
    with pytest.raises(ValueError, match=r"bad\.txt, line 2, is not UTF-8: --encoding"):
        text_files({"train": folder})
    latin = text_files({"train": folder / "bad.txt"}, hold_out=0.2, options=ReadOptions(encoding="cp1252"))
    assert text_of(latin, "train") + text_of(latin, "validation") == "one\nÿ"


def test_a_folder_of_tables_is_all_their_rows_and_a_mixed_one_is_refused(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "one"}\n{"text": 22}\n')
    (folder / "b.csv").write_text("id,text\n1,three\n2,four\n")
    task = text_files({"train": folder}, hold_out=0.25)
    assert sorted([*task.texts["train"].texts(), *task.texts["validation"].texts()]) == ["22", "four", "one", "three"]
    (folder / "c.txt").write_text("five")
    with pytest.raises(ValueError, match=r"holds tables \(a\.jsonl\) and texts \(c\.txt\)"):
        text_files({"train": folder})
    with pytest.raises(ValueError, match="must all be tables or all be texts: --train_file is a table, --validation"):
        text_files({"train": folder / "a.jsonl", "validation": folder / "c.txt"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no file: --train_file must hold text"):
        text_files({"train": tmp_path / "empty"})


def test_the_validation_text_is_the_one_that_the_flags_name(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text(name * 40)
    a, b, c = (tmp_path / f"{name}.txt" for name in "abc")
    task = text_files({"train": a, "validation": b})
    assert (text_of(task, "train"), text_of(task, "validation")) == ("a" * 40, "b" * 40)
    task = text_files({"train": a, "test": c})
    assert {split: len(text_of(task, split)) for split in task.splits} == {"train": 36, "validation": 4, "test": 40}
    assert text_of(task, "test") == "c" * 40
    task = text_files({"train": a}, hold_out=0.25)
    assert {split: len(text_of(task, split)) for split in task.splits} == {"train": 30, "validation": 10}


def test_na_and_null_are_words_and_empty_rows_are_named_or_dropped(tmp_path):
    (tmp_path / "a.csv").write_text("text,n\nNA,1\nnull,2\nnan,3\n")
    task = text_files({"train": tmp_path / "a.csv", "validation": tmp_path / "a.csv"})
    assert list(task.texts["train"].texts()) == ["NA", "null", "nan"]
    (tmp_path / "b.jsonl").write_text('{"text": "a"}\n{"text": null}\n{"text": ["b", "c"]}\n')
    files = {split: tmp_path / "b.jsonl" for split in ("train", "validation")}
    with pytest.raises(ValueError, match=r"b\.jsonl, line 2 has no 'text'"):
        text_files(files)
    task = text_files(files, options=ReadOptions(drop_incomplete_rows=True))
    assert list(task.texts["train"].texts()) == ["a", "b c"]
