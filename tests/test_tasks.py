"""Text and translation as the training loop sees them: windows, pairs, scores, and what is refused."""

import bz2
import gzip
import math
import sysconfig
from dataclasses import replace
from itertools import pairwise

import datasets
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, set_seed

from lmu_hf.common.record import MetricsLog, RunRecord
from lmu_hf.data.compressors import compressed_bits
from lmu_hf.data.corpus import Tokens
from lmu_hf.data.sources import SPLITS
from lmu_hf.data.windows import Windows
from lmu_hf.training.evaluation import evaluate_by_length
from lmu_hf.training.loop import train
from lmu_hf.training.recipes import RECIPES, Recipe, get_recipe
from lmu_hf.training.tasks.dates import dates_and_quantities
from lmu_hf.training.tasks.text import TextTask
from lmu_hf.training.tasks.text_sources import python_sources, text_dataset, text_files
from lmu_hf.training.tasks.translation import TranslationTask, parallel_dataset

WORDS = "so many words are said again and again until the model knows them by heart\n"
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "order": 2, "theta": 8}


def text_task(**how) -> TextTask:
    return TextTask("words", {"train": [WORDS] * 20, "validation": [WORDS] * 3, "test": [WORDS[::-1]]}, **how)


def pairs(*rows: tuple[str, str]) -> datasets.Dataset:
    return datasets.Dataset.from_list([{"translation": {"en": source, "de": target}} for source, target in rows])


def translation_task(**how) -> TranslationTask:
    rows = [(f"a {noun} number {i}", f"ein {noun} Nummer {i}") for noun in ("cat", "house") for i in range(20)]
    splits = {"train": pairs(*rows), "validation": pairs(*rows[:5]), "test": pairs(*rows[5:9])}
    return TranslationTask("nouns", splits, **{"vocab_size": 300, "max_length": 40, "num_beams": 2, **how})


def tokens(n: int, *cuts: int) -> Tokens:
    """The numbers below n, in rows that end at the cuts."""
    edges = [0, *cuts, n]
    rows = [list(range(begin, end)) for begin, end in pairwise(edges)]
    return Tokens(datasets.Dataset.from_dict({"ids": rows}))


def alone(value):
    """What one process gathers from all."""
    return value


def test_what_is_read_is_said_before_training():
    train, validation = (len("\n".join([WORDS] * rows)) for rows in (20, 3))
    text = f"{train:,} characters to train on, {validation:,} for validation, {len(WORDS):,} for the test"
    assert text_task().announce().splitlines()[0] == f"words: {text}; tokens are bytes"
    said = text_task(tokenizer="char").announce().splitlines()[0]
    assert said == f"words: {text}; tokens are characters, 24 of them"
    found = "translation en → de: 40 training pairs; sources: median 4 words, longest 4; 5 for validation; 4 for test"
    assert translation_task().announce() == f"{found}; nothing cut"
    assert translation_task(max_length=5).announce() == f"{found}; 20 pairs cut at 5 tokens (--max_length)"


# --------------------------------------------------------------------------- windows of a text


@given(n=st.integers(2, 60), length=st.integers(1, 70), context=st.integers(0, 20))
def test_every_token_but_the_first_is_predicted_once_from_its_own_past(n, length, context):
    windows = Windows(tokens(n, n // 3, n // 3, n // 2), length, context)
    batch = windows.__getitems__(list(range(len(windows))))
    labels = batch["labels"][batch["labels"] != -100]
    assert sorted(labels.tolist()) == list(range(1, n))
    mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()
    for ids, row, real in zip(batch["input_ids"], batch["labels"], mask, strict=True):
        kept = ids[real]
        assert torch.equal(kept, torch.arange(int(kept[0]), int(kept[0]) + len(kept)))
        first = int((row != -100).nonzero()[0])
        assert len(ids[:first][real[:first]]) == min(int(row[first]), context + 1)


def test_training_windows_are_all_of_one_length():
    windows = Windows(tokens(100), 30, drop_last=True)
    batch = windows.__getitems__([0, 1, 2])
    assert len(windows) == 3
    assert set(batch) == {"input_ids", "labels"}
    assert batch["input_ids"].shape == (3, 31)
    assert len(Windows(tokens(10), 30, drop_last=True)) == 1


def test_a_text_of_one_token_is_refused():
    with pytest.raises(ValueError, match="at least two tokens"):
        Windows(tokens(1), 4)


# --------------------------------------------------------------------------- text


@pytest.mark.parametrize("kind", ["byte", "char"])
def test_bits_per_character_are_the_code_length_of_the_whole_text(kind):
    task = TextTask("words", {"train": ["aé\n" * 50], "validation": ["é\naaaé" * 9]}, tokenizer=kind)
    set_seed(0)
    model = task.make_model(TINY).double().eval()
    ids = torch.tensor(task.tokenizer("é\naaaé" * 9)["input_ids"])[None]
    nats = cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="mean")
    expected = nats.item() / math.log(2) * ids.shape[1] / 54
    scores = task.scores(model, "validation", task.loader("validation", 2), alone)
    assert scores["bits_per_character"] == pytest.approx(expected, abs=1e-6)


def test_windows_with_context_score_what_one_long_window_does():
    task = text_task()
    set_seed(0)
    model = task.make_model(TINY).eval()  # a window of 8 steps: 200 of context are as good as all
    whole = task.scores(model, "validation", task.loader("validation", 4), alone)
    task.splits["validation"] = Windows(task.splits["validation"].tokens, 7, context=200)
    parts = task.scores(model, "validation", task.loader("validation", 4), alone)
    assert parts["bits_per_character"] == pytest.approx(whole["bits_per_character"], abs=1e-4)


def test_the_bytes_are_the_byte_tokenizers_ids():
    text = "naïve – 文字\r\n\x00"
    task = TextTask("signs", {"train": [text]})
    assert task.splits["train"].tokens.read(0, 100).tolist() == task.tokenizer(text)["input_ids"]


def test_characters_that_training_never_saw_cost_bits():
    task = TextTask("signs", {"train": ["abc" * 9], "validation": ["aßcß"]}, tokenizer="char")
    known = TextTask("signs", {"train": ["abc" * 9], "validation": ["abca"]}, tokenizer="char")
    model = task.make_model({"hidden_size": 8, "num_hidden_layers": 1, "theta": 4})
    for parameter in model.parameters():
        parameter.data.zero_()  # every token is as likely as any other
    plain, charged = (
        made.scores(model.eval(), "validation", made.loader("validation", 1), lambda part: part)
        for made in (known, task)
    )
    assert task.describe()["unknown"] == {"train": 0, "validation": 2}
    # Two of four characters had to be named out of all that there are; three of four are judged.
    extra = 2 * math.log2(0x110000) / 3
    assert charged["bits_per_character"] == pytest.approx(plain["bits_per_character"] + extra)


def test_an_empty_split_is_refused_by_name():
    with pytest.raises(ValueError, match="test split of words holds no text"):
        TextTask("words", {"train": [WORDS], "test": ["", ""]})


def test_a_fingerprint_tells_texts_apart():
    assert text_task().describe() == text_task().describe()
    other = TextTask("words", {"train": [WORDS] * 21, "validation": [WORDS] * 3, "test": [WORDS[::-1]]})
    assert other.describe()["fingerprint"] != text_task().describe()["fingerprint"]


def test_compressors_are_judged_on_the_same_characters():
    bits = compressed_bits(WORDS * 50, WORDS[::-1] * 3)
    raw = (WORDS[::-1] * 3).encode()
    assert bits["gzip"] == round(8 * len(gzip.compress(raw, 9)) / len(raw), 4)
    assert bits["bz2"] == round(8 * len(bz2.compress(raw, 9)) / len(raw), 4)
    assert compressed_bits(WORDS * 50, WORDS * 3)["xz, after the training text"] < 0.5 < bits["xz"]


def test_python_sources_are_split_by_file_without_the_tests(tmp_path, monkeypatch):
    for number in range(60):
        (tmp_path / f"module{number}.py").write_text(f"number = {number}\n")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_module.py").write_text("assert False, 'a test'\n")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    task = python_sources()
    lines = [line for split in SPLITS for line in "".join(task.texts[split]).splitlines() if line]
    assert sorted(lines) == sorted(f"number = {number}" for number in range(60))
    assert task.describe() == python_sources().describe()


def test_text_files_are_taken_as_they_are_or_cut_in_three(tmp_path):
    (tmp_path / "long.txt").write_text("0123456789" * 40)
    (tmp_path / "short.txt").write_text("987")
    cut = text_files({"train": tmp_path / "long.txt"})
    assert "".join(piece for split in SPLITS for piece in cut.texts[split]) == "0123456789" * 40
    assert cut.describe()["characters"] == {"train": 360, "validation": 20, "test": 20}
    given_ = text_files({"train": tmp_path / "long.txt", "validation": tmp_path / "short.txt"})
    assert {split: "".join(text) for split, text in given_.texts.items()} == {
        "train": "0123456789" * 40,
        "validation": "987",
    }
    assert "test" not in given_.splits


def test_unusable_files_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        text_files({"train": tmp_path / "nowhere.txt"})
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match=r"train split of empty\.txt holds no text"):
        text_files({"train": tmp_path / "empty.txt"})
    (tmp_path / "latin.txt").write_bytes("ä".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt, line 1, is not UTF-8"):
        text_files({"train": tmp_path / "latin.txt"})


def test_a_data_set_is_read_from_a_folder_and_what_it_lacks_is_named(tmp_path):
    folder = tmp_path / "org" / "name"
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        rows = datasets.Dataset.from_dict({"line": [f"{split} one", "and two"]})
        rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    task = text_dataset("org/name", tmp_path, text_column="line")
    assert "".join(task.texts["train"]) == "train one\nand two"
    assert "".join(task.texts["validation"]) == "validation one\nand two"
    with pytest.raises(ValueError, match="a column 'text' in 'train'; it has line"):
        text_dataset("org/name", tmp_path)
    with pytest.raises(FileNotFoundError, match="org/other"):
        text_dataset("org/other", tmp_path)
    (folder / "validation-00000-of-00001.parquet").unlink()
    with pytest.raises(ValueError, match="must have a split 'validation'; it has train"):
        text_dataset("org/name", tmp_path, text_column="line")


# --------------------------------------------------------------------------- translation


def test_a_batch_of_pairs_is_padded_and_its_labels_are_the_targets():
    task = translation_task()
    batch = next(iter(task.loader("validation", 3)))
    decode = task.tokenizer.batch_decode
    assert decode(batch["input_ids"], skip_special_tokens=True) == [task.pairs["validation"][i][0] for i in range(3)]
    labels = batch["labels"].masked_fill(batch["labels"] == -100, task.tokenizer.pad_token_id)
    assert decode(labels, skip_special_tokens=True) == [task.pairs["validation"][i][1] for i in range(3)]
    for row in batch["labels"]:
        assert row[row != -100][-1] == task.tokenizer.eos_token_id
    assert batch["row"].tolist() == [0, 1, 2]


def test_training_pairs_come_in_an_order_drawn_from_the_generator():
    task = translation_task()

    def order(seed: int) -> list[int]:
        return task.order("train", 8, torch.Generator().manual_seed(seed))

    assert order(0) == order(0) != order(1)
    assert sorted(order(0)) == list(range(40))


def test_perfect_translations_score_100_and_others_less(monkeypatch):
    task = translation_task()
    model = task.make_model(TINY).eval()
    given_ = task.scores(model, "test", task.loader("test", 3), alone)
    assert 0 <= given_["bleu"] < 50
    assert given_["loss"] == pytest.approx(math.log(len(task.tokenizer)), rel=0.3)

    def perfect(model, inputs, num_beams):
        sources = task.tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True)
        targets = [dict(task.pairs["test"])[source] for source in sources]
        return torch.nn.functional.pad(task.encode(targets)["input_ids"], (0, 30), value=task.tokenizer.pad_token_id)

    monkeypatch.setattr(task, "translate", perfect)
    assert task.scores(model, "test", task.loader("test", 3), alone)["bleu"] == pytest.approx(100)
    assert "tok:13a" in task.scorer
    assert "case:mixed" in task.scorer


def test_long_sentences_are_scored_apart_from_short_ones(monkeypatch):
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    rows = pairs(*((" ".join(words[:n]), " ".join(words[:n]).upper()) for n in (8, 3, 4, 7, 2)))
    task = TranslationTask("counts", {"train": rows, "validation": rows}, vocab_size=300, max_length=60)
    long = {source: target for source, target in task.pairs["validation"] if len(source) > 20}

    def only_long(model, inputs, num_beams):
        sources = task.tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True)
        ids = task.encode([long.get(source, "nothing") for source in sources])["input_ids"]
        return torch.nn.functional.pad(ids, (0, 61 - ids.shape[1]), value=task.tokenizer.pad_token_id)

    monkeypatch.setattr(task, "translate", only_long)
    short, rest = evaluate_by_length(task.make_model(TINY), task, "validation", 2, batch_size=2)
    assert (short["length"], short["rows"], short["scores"]["bleu"]) == ([2, 4], 3, 0)
    assert (rest["length"], rest["rows"]) == ([7, 8], 2)
    assert rest["scores"]["bleu"] == pytest.approx(100)
    with pytest.raises(ValueError, match="the rows of words are not texts"):
        evaluate_by_length(text_task().make_model({}), text_task(), "validation", 2)


def test_the_saved_model_searches_as_the_final_scores_do(tmp_path):
    task = translation_task(num_beams=3)
    task.make_model(TINY).save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert again.generation_config.num_beams == 3
    assert again.generation_config.max_new_tokens == 40


def test_unusable_pairs_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="train split of nouns has no language 'fr'; it has en, de"):
        translation_task(target_lang="fr")
    with pytest.raises(ValueError, match="validation split of x holds no pair"):
        TranslationTask("x", {"train": pairs(("a", "b")), "validation": pairs()}, vocab_size=300)
    for split in ("train", "validation"):
        datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / f"{split}.parquet")
    with pytest.raises(ValueError, match="has no language 'en'; it has text"):
        parallel_dataset(tmp_path.name, tmp_path.parent)


def test_a_column_for_each_language_is_as_good_as_one_for_both():
    both = pairs(("a cat", "ein Kater"), ("a house", "ein Haus"))
    each = datasets.Dataset.from_dict({"en": ["a cat", "a house"], "de": ["ein Kater", "ein Haus"]})
    tasks = [TranslationTask("x", {"train": rows}, vocab_size=270) for rows in (both, each)]
    assert tasks[0].pairs == tasks[1].pairs == {"train": [("a cat", "ein Kater"), ("a house", "ein Haus")]}


def test_another_data_set_may_be_the_test_and_escapes_of_moses_are_undone(tmp_path):
    for folder, split in (("news", "train"), ("news", "validation"), ("news", "test"), ("talks", "validation")):
        (tmp_path / folder).mkdir(exist_ok=True)
        rows = pairs((f"it &apos;s {folder}", f"&quot; {split} &quot;"))
        rows.to_parquet(tmp_path / folder / f"{split}.parquet")
    task = parallel_dataset("news", tmp_path, test_dataset="talks", unescape=True, vocab_size=300)
    assert task.pairs["test"] == [("it 's talks", '" validation "')]
    assert task.pairs["train"] == [("it 's news", '" train "')]
    assert task.describe()["splits"] == {"test": "talks validation"}
    plain = parallel_dataset("news", tmp_path, vocab_size=300)
    assert plain.pairs["test"] == [("it &apos;s news", "&quot; test &quot;")]
    assert "splits" not in plain.describe()


@pytest.mark.parametrize("target", ["de", "vi"])
def test_dates_and_quantities_are_drawn_once_and_never_in_two_splits(target):
    task = dates_and_quantities("en", target, rows=600, vocab_size=400)
    sources = [source for split in SPLITS for source, _ in task.pairs[split]]
    assert len(set(sources)) == len(sources) == 600
    assert [len(task.pairs[split]) for split in SPLITS] == [500, 50, 50]
    assert dates_and_quantities("en", target, rows=600, vocab_size=400).describe() == task.describe()
    assert any(character.isdigit() for character in sources[0])


def test_a_locale_that_babel_does_not_know_is_named():
    with pytest.raises(ValueError, match=r"locales that Babel knows: .*xx"):
        dates_and_quantities("en", "xx", rows=600)
    with pytest.raises(ValueError, match="rows must be at least 12"):
        dates_and_quantities(rows=3)


# --------------------------------------------------------------------------- the loop on them


def of_kind(kind: str) -> list[str]:
    return sorted(name for name, build in RECIPES.items() if build().kind == kind)


def test_every_recipe_is_for_a_kind_of_data_that_there_is():
    kinds = {"images", "characters", "pretraining", "translation", "classification", "forecast", "tagging", "audio"}
    kinds.add("series-classification")
    assert {build().kind for build in RECIPES.values()} <= kinds


@pytest.mark.parametrize("name", of_kind("characters") + of_kind("pretraining") + of_kind("translation"))
def test_every_recipe_takes_two_steps(name, tmp_path):
    recipe = replace(get_recipe(name), max_steps=2, eval_steps=1, batch_size=4, averaging=0.0)
    task = translation_task(max_length=8) if recipe.kind == "translation" else text_task(sequence_length=64)
    set_seed(0)
    model = task.make_model(recipe.architecture)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record = train(model, recipe, task, 0, tmp_path, quiet=True)
    assert record.steps == 2
    assert record.metric == task.metric
    assert set(record.metrics) == {"validation", "test"}
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert len(moved) > len(before) / 2


def test_weights_with_the_lowest_bits_are_kept_and_generate(tmp_path):
    task = text_task(sequence_length=32)
    recipe = Recipe("words", "characters", TINY, learning_rate=0.02, max_steps=60, eval_steps=10, batch_size=8)
    set_seed(0)
    record = train(task.make_model(TINY), recipe, task, 0, tmp_path, quiet=True)
    rows = MetricsLog.read(tmp_path)
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 60]
    bits = [row["validation_bits_per_character"] for row in rows]
    assert bits[0] > 3 > 2.5 > bits[-1]
    assert record.metrics["validation"]["bits_per_character"] == min(bits) == bits[record.best_step // 10 - 1]
    assert RunRecord.read(tmp_path) == record
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    made = model.generate(**tokenizer("so many w", return_tensors="pt"), max_new_tokens=6, do_sample=False)
    assert tokenizer.decode(made[0]).startswith("so many words a")


def test_tied_weights_are_saved_once(tmp_path):
    task = text_task(sequence_length=32)
    fields = {**TINY, "tie_word_embeddings": True}
    recipe = Recipe("words", "characters", fields, max_steps=2, batch_size=8, averaging=0.5)
    model = task.make_model(fields)
    train(model, recipe, task, 0, tmp_path, quiet=True)
    saved = load_file(tmp_path / "model" / "model.safetensors")
    assert "lm_head.weight" not in saved and torch.equal(saved["model.embed_tokens.weight"], model.lm_head.weight)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert again.lm_head.weight is again.model.embed_tokens.weight


def test_a_task_without_a_test_split_is_scored_on_validation_alone(tmp_path):
    task = TextTask("words", {"train": [WORDS] * 9, "validation": [WORDS]}, sequence_length=32)
    recipe = Recipe("words", "characters", TINY, max_steps=2, batch_size=4)
    record = train(task.make_model(TINY), recipe, task, 0, tmp_path, quiet=True)
    assert set(record.metrics) == {"validation"}
