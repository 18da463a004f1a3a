"""The corpus to pre-train on: cleaned, and without a sentence that anything is tested on."""

import json

import pytest
from datasets import Dataset, load_dataset

import english

TESTED = "This very sentence is what another model is tested on."


@pytest.mark.parametrize(
    "given, wanted",
    [
        ("A film .<br /><br />It 's long , but ( oddly ) good !", "A film.\n\nIt's long, but (oddly) good!"),
        ("a first @-@ team of 1 @,@ 000 , with 2 @.@ 5 %", "a first-team of 1,000, with 2.5%"),
        ("they did n't  say", "they didn't say"),
    ],
)
def test_the_marks_of_a_corpus_are_undone(given, wanted):
    assert english.cleaned(given) == wanted


def test_a_sentence_is_known_by_its_words_unless_it_has_few():
    assert english.key("This VERY sentence, is long!") == "this very sentence is long"
    assert english.key("Too short.") is None


def test_a_text_without_an_end_is_cut_between_words():
    text = " ".join(f"word{number}" for number in range(5000))
    parts = list(english.pieces(text))
    assert " ".join(parts) == text and max(map(len, parts[:-1])) <= english.LONGEST


def write(folder, split: str, rows: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(rows).to_parquet(folder / f"{split}-00000-of-00001.parquet")


def test_what_is_tested_on_is_left_out(tmp_path, monkeypatch, cache):
    monkeypatch.setattr(english, "SOURCES", (english.Source("some/set"), english.Source("pairs", ("a", "b"))))
    monkeypatch.setattr(english, "SPARED", (english.Source("never", ("said",), train=()),))
    rows = [f"Row number {number} says something else. {TESTED}" for number in range(300)]
    write(tmp_path / "some" / "set", "train", {"text": [*rows, "From a spared file come these words."]})
    write(tmp_path / "some" / "set", "test", {"text": [TESTED.upper()]})
    write(tmp_path / "pairs", "train", {"a": ["Only phrases of the spared set"], "b": ["and one of its very own"]})
    write(tmp_path / "pairs", "validation", {"a": ["x"], "b": ["y"]})
    write(tmp_path / "never", "train", {"said": ["only phrases of the spared set"]})
    (tmp_path / "spared.csv").write_text("text,label\nfrom a spared file come these words,1\n", encoding="utf-8")
    words = ["--data_dir", str(tmp_path), "--spared", str(tmp_path / "spared.csv"), "--output", str(tmp_path / "out")]
    english.main(words)
    found = load_dataset("parquet", data_files={part: str(tmp_path / "out" / f"{part}.parquet") for part in PARTS})
    texts = [row["text"] for part in PARTS for row in found[part]]
    wanted = {row.removesuffix(f" {TESTED}") for row in rows} | {"and one of its very own"}
    assert set(texts) == wanted and len(texts) == len(wanted)
    assert 0 < len(found["validation"]) < 15
    told = json.loads((tmp_path / "out" / "english.json").read_text(encoding="utf-8"))
    assert told["sentences left out"] == {"some/set": 301, "pairs": 1}


PARTS = ("train", "validation")
