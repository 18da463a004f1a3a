"""Pairs of sentences from tables, from two texts and from TMX; what lacks a sentence is named."""

import gzip
from pathlib import Path

import pytest

from lmu_hf.data.parallel import tmx_pairs
from lmu_hf.data.tables import ReadOptions
from lmu_hf.training.tasks.translation import TranslationTask, bleu_tokenizer, parallel_files

pytestmark = pytest.mark.usefixtures("cache")
CASES = Path(__file__).parents[2] / "shared" / "cases" / "mt"
PAIRS = [(f"the hotel {i}", f"das Hotel {i}") for i in range(20)]


def translate(files: dict, **how) -> TranslationTask:
    return parallel_files(files, vocab_size=300, **how)


def all_pairs(task: TranslationTask) -> list[tuple[str, str]]:
    return sorted(pair for pairs in task.pairs.values() for pair in pairs)


def memory(units: list[dict[str, str]], head: str = "") -> str:
    body = "".join(
        "<tu>" + "".join(f'<tuv xml:lang="{code}"><seg>{text}</seg></tuv>' for code, text in unit.items()) + "</tu>\n"
        for unit in units
    )
    return f'<?xml version="1.0"?>\n{head}<tmx version="1.4"><header/><body>\n{body}</body></tmx>'


def test_one_table_two_texts_tmx_and_records_hold_the_same_pairs(tmp_path):
    (tmp_path / "pairs.csv").write_text("id;en;de\n" + "".join(f"{i};{a};{b}\n" for i, (a, b) in enumerate(PAIRS)))
    for number, ending in enumerate(("en", "de.gz")):
        lines = "".join(pair[number] + "\n" for pair in PAIRS).encode()
        (tmp_path / f"train.{ending}").write_bytes(gzip.compress(lines) if number else lines)
    (tmp_path / "pairs.tmx").write_text(memory([{"en-US": a, "fr": "x", "DE": b} for a, b in PAIRS]))
    lines = [f'{{"translation": {{"en": "{a}", "de": "{b}"}}}}\n' for a, b in PAIRS]
    (tmp_path / "pairs.jsonl").write_text("".join(lines))
    both = tmp_path / "train.en", tmp_path / "train.de.gz"
    for path in (tmp_path / "pairs.csv", tmp_path / "pairs.tmx", tmp_path / "pairs.jsonl", both):
        task = translate({"train": path})
        assert all_pairs(task) == sorted(PAIRS), path
        assert task.describe()["rows"] == {"train": 18, "validation": 2}
        assert task.describe()["splits"]["validation"].startswith("a tenth of ")


def test_columns_of_any_name_are_languages(tmp_path):
    (tmp_path / "pairs.csv").write_text("de,plain,fancy\n" + "".join(f"x,{a},{b}\n" for a, b in PAIRS))
    files = {"train": tmp_path / "pairs.csv", "validation": tmp_path / "pairs.csv"}
    task = translate(files, source_column="fancy", target_column="plain")
    assert task.pairs["train"] == [(b, a) for a, b in PAIRS]
    with pytest.raises(ValueError, match=r"has no column 'en': --source_column must be one of de, plain, fancy"):
        translate(files)
    with pytest.raises(ValueError, match="--source_lang and --target_lang must differ, got 'de' for both"):
        translate(files, source_lang="de")


def test_a_sentence_that_is_missing_is_named_or_dropped_and_na_is_a_word(tmp_path):
    path = tmp_path / "pairs.jsonl"
    lines = [f'{{"translation": {{"en": "{a}", "de": "{b}"}}}}\n' for a, b in PAIRS]
    path.write_text("".join([*lines, '{"translation": {"en": "NA", "de": null}}\n']))
    with pytest.raises(ValueError, match=r"pairs\.jsonl, line 21 has no 'de': fill it, or .*--drop_incomplete_rows"):
        translate({"train": path})
    assert all_pairs(translate({"train": path}, options=ReadOptions(drop_incomplete_rows=True))) == sorted(PAIRS)
    table = tmp_path / "pairs.csv"
    table.write_text("en,de\nNA,null\n" + "".join(f"{a},{b}\n" for a, b in PAIRS))
    assert ("NA", "null") in all_pairs(translate({"train": table}))
    table.write_text(table.read_text() + "lonely,\n")
    with pytest.raises(ValueError, match=r"pairs\.csv, line 23 has no 'de'"):
        translate({"train": table})


def test_texts_of_unequal_length_are_refused_at_the_line(tmp_path):
    first, second = tmp_path / "a.en", tmp_path / "a.de"
    first.write_text("".join(a + "\n" for a, _ in PAIRS) + "\n\n")
    second.write_text("".join(b + "\n" for _, b in PAIRS))
    assert all_pairs(translate({"train": (first, second)})) == sorted(PAIRS)  # blank lines at the end are none
    second.write_text("".join(b + "\n" for _, b in PAIRS[:-1]))
    with pytest.raises(ValueError, match=r"a\.en has a line 20 and .*a\.de ends at line 19"):
        translate({"train": (first, second)})
    second.write_text("".join("\n" if i == 4 else b + "\n" for i, (_, b) in enumerate(PAIRS)))
    with pytest.raises(ValueError, match=r"a\.en and a\.de, line 5 has no 'de'"):
        translate({"train": (first, second)})
    with pytest.raises(FileNotFoundError, match="--validation_target_file must name one"):
        translate({"train": (first, first), "validation": (first, tmp_path / "nowhere")})


def test_translation_memories_lose_their_markup_and_entities_are_refused(tmp_path):
    path = tmp_path / "a.tmx"
    doctype = '<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'
    path.write_text(memory([{"en": 'a <bpt i="1">{b}</bpt>bold<ept i="1"/> &amp; <hi>high</hi>', "de": "b"}], doctype))
    assert list(tmx_pairs(path, ("en", "de"))) == [("a bold & high", "b", "line 4")]
    with pytest.raises(ValueError, match="has no language 'fr': --target_lang must be one of de, en"):
        list(tmx_pairs(path, ("en", "fr")))
    path.write_text(memory([{"en": "&lol;", "de": "b"}], '<!DOCTYPE tmx [<!ENTITY lol "ha">]>\n'))
    with pytest.raises(ValueError, match=r"a\.tmx, line 2: the entity 'lol' is not read"):
        list(tmx_pairs(path, ("en", "de")))
    path.write_text("<tmx><body>")
    with pytest.raises(ValueError, match=r"a\.tmx is not TMX: no element found"):
        list(tmx_pairs(path, ("en", "de")))


@pytest.mark.parametrize(
    ("language", "name"),
    [("de", "13a"), ("zh", "zh"), ("zh_Hans", "zh"), ("zh-TW", "zh"), ("th", "char"), ("lo-LA", "char"), ("en", "13a")],
)
def test_sacrebleu_cuts_by_the_target_language(language, name, tmp_path):
    assert bleu_tokenizer(language) == name
    (tmp_path / "pairs.csv").write_text(f"xx,{language}\n" + "".join(f"{a},{b}\n" for a, b in PAIRS))
    task = translate({"train": tmp_path / "pairs.csv"}, source_lang="xx", target_lang=language)
    assert f"tok:{name}" in task.scorer


def test_without_mecab_japanese_and_korean_are_scored_by_character(monkeypatch):
    monkeypatch.setattr("lmu_hf.training.tasks.translation.find_spec", lambda name: None)
    assert bleu_tokenizer("ja") == bleu_tokenizer("ko-KR") == "char"
    monkeypatch.setattr("lmu_hf.training.tasks.translation.find_spec", lambda name: object())
    assert (bleu_tokenizer("ja"), bleu_tokenizer("ko-KR")) == ("ja-mecab", "ko-mecab")


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no folder {CASES}")
def test_pairs_in_files_of_other_tools_are_read():
    files = [CASES / "onefile" / "pairs.csv", CASES / "tmx" / "train.tmx", CASES / "na_csv" / "train.csv"]
    for path in (*files, (CASES / "twotxt" / "train.en", CASES / "twotxt" / "train.de")):
        assert len(all_pairs(translate({"train": path}))) == 60
    with pytest.raises(ValueError, match=r"train\.jsonl, line \d+ has no '(en|de)'"):
        translate({"train": CASES / "null" / "train.jsonl"})
