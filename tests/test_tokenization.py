"""Four tokenizers: what comes back of a text, what the ids are, and that a folder is all one needs to load them."""

import copy
import inspect
import json
import pickle
import re
import subprocess
import sys
import unicodedata
import weakref
from collections import Counter
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, TextIteratorStreamer, TextStreamer, pipeline

from lmu_hf import tokenization_lmu
from lmu_hf.configuration_lmu import LMUConfig
from lmu_hf.pairs_lmu import LMUForSequencePairClassification
from lmu_hf.tokenization_lmu import bpe_dropout, train_tokenizer

KINDS = ("char", "byte", "word", "bpe")
EXACT = ("char", "byte", "bpe")
SPECIALS = ["<pad>", "<bos>", "<eos>", "<unk>"]
SIZES = {"bpe": {"vocab_size": 290}}
TEXTS = [
    "The memory of the last theta steps is a sliding window.",
    "Das Gedächtnis der letzten Schritte ist ein gleitendes Fenster.",
    "Bộ nhớ của các bước cuối cùng là một cửa sổ trượt.",
    "In 2019, the window isn't long;\r\n\tin 2021 it's longer.\n",
    "Literally <pad>, <bos>, <eos> and <unk>; again <pad> and <pad>, <pad> <eos>.",
]
AWKWARD = [
    "",
    " ",
    "  two  spaces  ",
    "\r\n",
    "a\n\n\tb\x00\x7f",
    "e\u0301 is é",
    "👩‍👩‍👧 family 🇻🇳",
    "▁a \u2581",
    "\ufeffbom \u200b \ufffd",
    "<pad>",
    "x<bos><eos> <unk>",
    " 'n' don't l’eau",
]


@cache
def made(kind: str, **options) -> PreTrainedTokenizerFast:
    """A tokenizer of this kind, to which all text is text; of characters, one that knows all that these tests write."""
    options = {"split_special_tokens": True, **options}
    return train_tokenizer(kind, [*TEXTS, *AWKWARD] if kind == "char" else TEXTS, **SIZES.get(kind, {}), **options)


def ids(tokenizer: PreTrainedTokenizerFast, text: str, **options) -> list[int]:
    return tokenizer(text, **options)["input_ids"]


def files(tokenizer: PreTrainedTokenizerFast, folder: Path) -> dict[str, bytes]:
    tokenizer.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_unicode_scalar_value_comes_back_from_its_bytes():
    every = "".join(map(chr, chain(range(0xD800), range(0xE000, 0x110000))))
    parts = [every[start : start + 4096] for start in range(0, len(every), 4096)]
    tokenizer = made("byte")
    encoded = tokenizer(parts)["input_ids"]
    assert all(bytes(row) == part.encode() for row, part in zip(encoded, parts, strict=True))
    assert tokenizer.decode(encoded) == parts


@given(st.text())
def test_the_ids_of_bytes_are_the_bytes(text):
    tokenizer = made("byte")
    assert ids(tokenizer, text) == list(text.encode())
    assert tokenizer.decode(ids(tokenizer, text)) == text
    assert tokenizer.decode(ids(tokenizer, text), skip_special_tokens=True) == text


def test_the_bytes_are_named_as_the_library_names_them():
    assert sorted(tokenization_lmu._byte_names()) == sorted(pre_tokenizers.ByteLevel.alphabet())


@given(st.text())
def test_any_text_comes_back_from_byte_pairs_that_never_saw_it(text):
    tokenizer = made("bpe")
    assert tokenizer.decode(ids(tokenizer, text)) == text
    assert tokenizer.decode(ids(tokenizer, text), skip_special_tokens=True) == text


@given(st.data())
def test_any_text_of_known_characters_comes_back_from_characters(data):
    alphabet = data.draw(st.text(min_size=1))
    text = data.draw(st.text(alphabet=st.sampled_from(alphabet)))
    tokenizer = train_tokenizer("char", [alphabet])
    assert len(ids(tokenizer, text)) == len(text)
    assert tokenizer.decode(ids(tokenizer, text), skip_special_tokens=True) == text


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("text", [*TEXTS, *AWKWARD])
def test_awkward_texts_come_back(kind, text):
    assert made(kind).decode(ids(made(kind), text), skip_special_tokens=True) == text


@pytest.mark.parametrize("kind", ["char", "byte"])
@given(left=st.sampled_from(AWKWARD), right=st.sampled_from(AWKWARD))
def test_the_ids_of_pieces_in_a_row_are_the_ids_of_the_whole(kind, left, right):
    tokenizer = made(kind)
    assert ids(tokenizer, left) + ids(tokenizer, right) == ids(tokenizer, left + right)


def test_each_unknown_character_is_one_unk():
    tokenizer = train_tokenizer("char", ["abc"])
    assert tokenizer.convert_ids_to_tokens(ids(tokenizer, "aé😀😀b")) == ["a", "<unk>", "<unk>", "<unk>", "b"]


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_that_a_text_spells_are_text_where_asked(kind):
    tokenizer = made(kind, add_bos=True, add_eos=True)
    reserved = {tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}
    for special in SPECIALS:
        first, *encoded, last = ids(tokenizer, f"the {special} window")
        assert (first, last) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert not set(encoded) & reserved
        assert tokenizer.decode(encoded, skip_special_tokens=True).replace(" ", "") == f"the{special}window"


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_that_a_text_spells_are_special(kind, tmp_path):
    texts = [*TEXTS, *AWKWARD]
    tokenizer = train_tokenizer(kind, texts, **SIZES.get(kind, {}))
    assert ids(tokenizer, "<eos>") == [tokenizer.eos_token_id]
    known = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.all_special_tokens}
    for token, number in known.items():
        assert [found for found in ids(tokenizer, f"the {token} window{token}") if found in known.values()] == [
            number
        ] * 2
    tokenizer.save_pretrained(tmp_path)
    again, bare = AutoTokenizer.from_pretrained(tmp_path), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in texts:
        assert ids(again, text) == ids(tokenizer, text) == bare.encode(text).ids
    assert ids(made(kind), "<eos>", split_special_tokens=False) == [tokenizer.eos_token_id]
    assert len(ids(tokenizer, "<eos>", split_special_tokens=True)) > 1
    assert len(ids(made(kind), "<eos>")) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_keeps_splitting_special_tokens(kind, tmp_path):
    made(kind).save_pretrained(tmp_path)
    assert ids(AutoTokenizer.from_pretrained(tmp_path), "<eos>") == ids(made(kind), "<eos>")
    asked = AutoTokenizer.from_pretrained(tmp_path, split_special_tokens=False)
    assert ids(asked, "<eos>") == [asked.eos_token_id]


@pytest.mark.parametrize("tail", ["é", "中", "😀"])
@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_half_a_character_is_shown_as_one_replacement_sign(kind, tail):
    encoded = ids(made(kind), f"a{tail}")
    for cut in range(len(encoded) - len(tail.encode()) + 1, len(encoded)):
        assert made(kind).decode(encoded[:cut]) == "a\ufffd"


@pytest.mark.parametrize(
    ("kind", "expected"), [("char", [0, 1, 2, 3]), ("word", [0, 1, 2, 3]), ("bpe", [0, 1, 2, None])]
)
def test_special_tokens_have_the_lowest_ids(kind, expected):
    tokenizer = made(kind)
    assert [
        tokenizer.pad_token_id,
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.unk_token_id,
    ] == expected
    assert tokenizer.pad_token_id == LMUConfig().pad_token_id


def test_special_tokens_of_bytes_come_behind_the_bytes():
    tokenizer = made("byte")
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (256, 257, 258)
    assert tokenizer.unk_token is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_id_below_the_length_is_one_token(kind):
    tokenizer = made(kind)
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert tokenizer.vocab_size == len(tokenizer)


def test_the_most_frequent_characters_stay_and_equals_by_code_point():
    def alphabet(**options) -> list[str]:
        return train_tokenizer("char", ["ddcc", "aabb", "ddz"], **options).convert_ids_to_tokens(range(4, 12))

    assert [c for c in alphabet() if c] == ["a", "b", "c", "d", "z"]
    assert [c for c in alphabet(vocab_size=4 + 3) if c] == ["a", "b", "d"]
    assert [c for c in alphabet(min_frequency=2) if c] == ["a", "b", "c", "d"]
    assert [c for c in alphabet(min_frequency=3, vocab_size=300) if c] == ["d"]


@given(st.lists(st.text(alphabet="ab C'<é\n", min_size=1), min_size=1), st.integers(1, 3), st.integers(5, 12))
def test_words_are_ranked_by_frequency_and_code_point(texts, min_frequency, vocab_size):
    counts = Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text))
    ranked = sorted((w for w in counts if counts[w] >= min_frequency), key=lambda w: (-counts[w], w))
    assume(ranked)
    tokenizer = train_tokenizer("word", texts, vocab_size=vocab_size, min_frequency=min_frequency)
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == [*SPECIALS, *ranked][:vocab_size]


def test_words_and_signs_are_set_apart_and_come_back_with_single_spaces():
    tokenizer = train_tokenizer("word", ["Hello, wörld!\n It  isn't x_1."])
    assert tokenizer.decode(ids(tokenizer, "Hello,\t wörld! It isn't x_1...")) == "Hello , wörld ! It isn ' t x_1 . . ."
    assert tokenizer.tokenize("Hello hello") == ["Hello", "<unk>"]


def test_words_may_be_lowercased():
    tokenizer = train_tokenizer("word", ["Übung ÜBUNG macht"], lowercase=True)
    assert tokenizer.convert_ids_to_tokens(range(4, len(tokenizer))) == ["übung", "macht"]
    assert tokenizer.tokenize("übunG Macht") == ["übung", "macht"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_word_is_the_same_however_its_marks_are_written(form):
    tokenizer = train_tokenizer("word", [unicodedata.normalize(form, "cửa sổ trượt")])
    for other in ("NFC", "NFD"):
        assert tokenizer.tokenize(unicodedata.normalize(other, "trượt cửa")) == ["trượt", "cửa"]


def test_pretokenised_words_stay_whole_and_their_unk_is_the_unk_token():
    tokenizer = train_tokenizer("word", ["the <unk> 's @-@ <unk> <unk> the", "<pad>"], word_pattern=r"\S+")
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == [*SPECIALS, "the", "'s", "@-@"]
    assert ids(tokenizer, "the <unk> @-@") == [4, 3, 6]


def test_byte_pairs_fill_the_vocabulary_with_strings_that_shorten_the_texts():
    tokenizer = made("bpe")
    assert len(tokenizer) == 290
    lengths = [len(ids(tokenizer, text)) for text in TEXTS]
    assert all(length < 0.8 * len(text.encode()) for length, text in zip(lengths, TEXTS, strict=True))


def test_byte_pairs_stop_merging_where_no_pair_occurs_twice():
    assert len(train_tokenizer("bpe", ["abcdefgh"], vocab_size=1000)) == 3 + 256
    assert len(train_tokenizer("bpe", ["abcdefgh"], vocab_size=1000, min_frequency=1)) == 3 + 256 + 7


def test_byte_pairs_keep_marks_with_letters_digits_apart_and_spaces_before_words():
    tokenizer = train_tokenizer("bpe", [f"ba\u0301c 1234 don't {'x ' * 9}"] * 9, vocab_size=1000)
    expected = ["ba\u0301c", " 1", "2", "3", "4", " don", "'t"]
    encoded = ids(tokenizer, "ba\u0301c 1234 don't")
    assert [tokenizer.decode([token]) for token in encoded] == expected


def test_no_merge_makes_a_special_token_however_frequent():
    tokenizer = train_tokenizer("bpe", [" ".join(SPECIALS)] * 50, vocab_size=600)
    assert not set(ids(tokenizer, "<pad><bos> <eos>", split_special_tokens=True)) & {0, 1, 2}
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


def test_dropout_cuts_a_text_anew_each_time_and_leaves_nothing_behind():
    tokenizer = copy.deepcopy(made("bpe"))
    before = ids(tokenizer, TEXTS[0])
    with bpe_dropout(tokenizer, 0.5):
        drawn = [ids(tokenizer, TEXTS[0]) for _ in range(20)]
    assert len(set(map(tuple, drawn))) > 1
    assert tokenizer.decode(drawn) == [TEXTS[0]] * 20
    assert ids(tokenizer, TEXTS[0]) == before
    with bpe_dropout(tokenizer, 1.0):
        assert len(ids(tokenizer, TEXTS[0])) == len(TEXTS[0].encode())
    with pytest.raises(RuntimeError, match="inside"), bpe_dropout(tokenizer, 0.5):
        raise RuntimeError("inside")
    assert tokenizer.backend_tokenizer.to_str() == made("bpe").backend_tokenizer.to_str()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_in_any_order_give_the_same_files(kind, tmp_path):
    options = SIZES.get(kind, {})
    first = files(train_tokenizer(kind, TEXTS, **options), tmp_path / "1")
    assert set(first) == {"tokenizer.json", "tokenizer_config.json"}
    for name, texts in {"2": TEXTS, "3": TEXTS[::-1]}.items():
        assert files(train_tokenizer(kind, texts, **options), tmp_path / name) == first


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_a_dataset_and_a_generator_are_texts(kind):
    expected = train_tokenizer(kind, TEXTS, **SIZES.get(kind, {})).backend_tokenizer.to_str()
    for texts in (Dataset.from_dict({"text": TEXTS})["text"], (text for text in TEXTS), tuple(TEXTS)):
        assert train_tokenizer(kind, texts, **SIZES.get(kind, {})).backend_tokenizer.to_str() == expected


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_training_texts_are_streamed_and_not_kept(kind):
    class Text(str):
        __slots__ = ("__weakref__",)

    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0

    def texts():
        nonlocal most
        for number in range(3000):
            text = Text(f"text {number}")
            alive.add(text)
            most = max(most, len(alive))
            yield text

    train_tokenizer(kind, texts(), **SIZES.get(kind, {}))
    assert most < 1000


def test_the_byte_tokenizer_needs_no_training_texts():
    def texts():
        raise AssertionError("read")
        yield

    assert len(train_tokenizer("byte", texts())) == len(train_tokenizer("byte")) == 259


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("add_bos", [False, True])
@pytest.mark.parametrize("add_eos", [False, True])
def test_begin_and_end_are_added_to_each_sequence_where_asked(kind, add_bos, add_eos):
    plain, framed = made(kind), made(kind, add_bos=add_bos, add_eos=add_eos, pair=True)
    bos, eos = [framed.bos_token_id] * add_bos, [framed.eos_token_id] * add_eos
    first, second = bos + ids(plain, "the window") + eos, bos + ids(plain, "steps") + eos
    assert ids(framed, "the window") == first
    assert framed(text_target="steps")["input_ids"] == second
    assert ids(framed, "the window", add_special_tokens=False) == ids(plain, "the window")
    both = framed("the window", "steps")
    assert both["input_ids"] == first + second
    assert both["token_type_ids"] == [0] * len(first) + [1] * len(second)
    assert framed.decode(first, skip_special_tokens=True) == "the window"


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_single_texts_is_not_given_token_types(kind):
    assert list(made(kind)("the")) == ["input_ids", "attention_mask"]
    assert list(made(kind, pair=True)("the")) == ["input_ids", "token_type_ids", "attention_mask"]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_padded_on_the_side_that_was_asked(kind, side):
    tokenizer = made(kind, padding_side=side)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    for row, mask, text in zip(batch["input_ids"], batch["attention_mask"], TEXTS, strict=True):
        expected = ids(tokenizer, text)
        pads = len(row) - len(expected)
        real = slice(pads, None) if side == "left" else slice(0, len(expected))
        assert row[real].tolist() == expected
        assert mask[real].all() and mask.sum() == len(expected)
        assert row.eq(tokenizer.pad_token_id).sum() == pads
    whole = [tokenizer.decode(ids(tokenizer, text)) for text in TEXTS]
    assert tokenizer.decode(batch["input_ids"], skip_special_tokens=True) == whole


@pytest.mark.parametrize("kind", KINDS)
def test_truncation_cuts_to_the_length_and_keeps_the_end_token(kind):
    tokenizer = made(kind, add_eos=True, model_max_length=5)
    cut = ids(tokenizer, TEXTS[0], truncation=True)
    assert cut == [*ids(made(kind), TEXTS[0])[:4], tokenizer.eos_token_id]
    assert len(ids(tokenizer, TEXTS[0], truncation=True, max_length=3)) == 3
    assert len(ids(tokenizer, TEXTS[0])) > 5


@given(st.integers(1, 12), st.integers(1, 12), st.booleans(), st.integers(4, 24))
def test_truncation_shortens_the_longer_of_a_pair_and_keeps_some_of_each(first, second, add_eos, length):
    tokenizer = made("byte", pair=True, add_eos=add_eos)
    batch = tokenizer("a" * first, "b" * second, truncation="longest_first", max_length=length)
    kept = [batch["input_ids"].count(ord(letter)) for letter in "ab"]
    assert len(batch["input_ids"]) == min(length, first + second + 2 * add_eos)
    assert min(kept) >= 1
    assert batch["token_type_ids"] == [0] * (kept[0] + add_eos) + [1] * (kept[1] + add_eos)
    if first + second + 2 * add_eos > length:
        assert min(kept) >= min(first, second, (length - 2 * add_eos) // 2)


def test_an_empty_second_text_is_a_sequence_in_a_batch_only():
    tokenizer = made("byte", pair=True, add_eos=True)
    assert tokenizer(["a"], [""])["token_type_ids"] == [[0, 0, 1]]
    assert tokenizer("a", "")["token_type_ids"] == [0, 0]  # transformers takes it for no pair


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_goes_through_the_stock_pipeline(kind, side, tmp_path):
    tokenizer = made(kind, pair=True, padding_side=side)
    config = LMUConfig(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, hidden_size=8, num_hidden_layers=1, order=4,
        memory_channels=2, theta=9, num_labels=3,
    )  # fmt: skip
    model = LMUForSequencePairClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    classify = pipeline(
        "text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(tmp_path), top_k=None
    )
    rows = [{"text": TEXTS[0], "text_pair": TEXTS[2]}, {"text": TEXTS[1], "text_pair": "the"}]
    for answers in (classify(rows), classify(rows, batch_size=2), [classify(row) for row in rows]):
        for row, answer in zip(rows, answers, strict=True):
            first, second = (torch.tensor([ids(tokenizer, row[name])]) for name in ("text", "text_pair"))
            with torch.no_grad():
                scores = model(input_ids=first, pair_input_ids=second).logits[0].softmax(-1)
            answered = {entry["label"]: entry["score"] for entry in answer}
            assert [answered[f"LABEL_{k}"] for k in range(3)] == pytest.approx(scores.tolist(), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["the window is 中文 and 😀 é!\nis a  the\n\n step é", TEXTS[3], "中文字 é"])
def test_a_stream_of_single_tokens_says_what_the_whole_says(kind, text, capsys):
    tokenizer = made(kind)
    encoded = ids(tokenizer, text)
    whole = tokenizer.decode(encoded)
    queue, printer = TextIteratorStreamer(tokenizer), TextStreamer(tokenizer)
    for streamer in (queue, printer):
        for token in encoded:
            streamer.put(torch.tensor([token]))
        streamer.end()
    pieces = list(queue)
    assert "".join(pieces) == whole
    assert "\ufffd" not in whole
    assert len(pieces) == len(encoded) + 1
    assert capsys.readouterr().out == whole + "\n"


def test_a_process_that_has_only_transformers_loads_the_folders(tmp_path):
    expected = {}
    for kind in KINDS:
        tokenizer = made(kind, pair=True, add_eos=True, padding_side="left", model_max_length=40)
        tokenizer.save_pretrained(tmp_path / kind)
        LMUConfig(vocab_size=len(tokenizer)).save_pretrained(tmp_path / kind)  # as a run's folder holds it
        batch = tokenizer([*TEXTS, *AWKWARD], [*AWKWARD, *TEXTS], padding=True, truncation=True)
        expected[kind] = [dict(batch), tokenizer.decode(batch["input_ids"], skip_special_tokens=True), len(tokenizer)]
    (tmp_path / "expected.json").write_text(json.dumps([expected, TEXTS, AWKWARD]), encoding="utf-8")
    code = """
        import json, sys
        sys.modules["lmu_hf"] = None  # an import of it raises
        from transformers import AutoTokenizer, PreTrainedTokenizerFast
        expected, texts, awkward = json.load(open("expected.json", encoding="utf-8"))
        for kind, (batch, decoded, length) in expected.items():
            tokenizer = AutoTokenizer.from_pretrained("./" + kind)
            assert type(tokenizer) is PreTrainedTokenizerFast
            loaded = tokenizer(texts + awkward, awkward + texts, padding=True, truncation=True)
            assert dict(loaded) == batch, kind
            assert tokenizer.decode(loaded["input_ids"], skip_special_tokens=True) == decoded, kind
            assert len(tokenizer) == length and tokenizer.clean_up_tokenization_spaces is False
        assert not [name for name in sys.modules if name.startswith("lmu_hf.")]
    """
    words = [sys.executable, "-c", inspect.cleandoc(code)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "copied",
    [lambda t, _: pickle.loads(pickle.dumps(t)), lambda t, _: copy.deepcopy(t), lambda t, p: saved_and_loaded(t, p)],
    ids=["pickled", "deep-copied", "saved"],
)
def test_a_copy_encodes_and_decodes_alike(kind, copied, tmp_path):
    tokenizer = made(kind, padding_side="left", add_eos=True)
    other = copied(tokenizer, tmp_path)
    batch = tokenizer([*TEXTS, *AWKWARD], padding=True)
    assert dict(other([*TEXTS, *AWKWARD], padding=True)) == dict(batch)
    assert other.decode(batch["input_ids"]) == tokenizer.decode(batch["input_ids"])
    assert other.special_tokens_map == tokenizer.special_tokens_map


def saved_and_loaded(tokenizer: PreTrainedTokenizerFast, folder: Path) -> PreTrainedTokenizerFast:
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_a_saved_tokenizer_is_saved_again_as_it_was(tmp_path):
    tokenizer = made("bpe", add_eos=True, pair=True)
    first = files(tokenizer, tmp_path / "1")
    again = files(AutoTokenizer.from_pretrained(tmp_path / "1"), tmp_path / "2")
    assert again["tokenizer.json"] == first["tokenizer.json"]
    assert str(tmp_path).encode() not in again["tokenizer_config.json"]


def test_the_bare_library_reads_the_file_too(tmp_path):
    made("bpe", add_eos=True).save_pretrained(tmp_path)
    bare = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert bare.encode(TEXTS[0]).ids == ids(made("bpe", add_eos=True), TEXTS[0])
    assert bare.decode(bare.encode(TEXTS[2]).ids) == TEXTS[2]


@pytest.mark.parametrize(
    ("kind", "texts", "options", "error", "message"),
    [
        ("words", TEXTS, {}, ValueError, "kind must be one of 'char', 'byte', 'word', 'bpe', got 'words'"),
        ("char", TEXTS, {"lowercase": True}, TypeError, "'char' has no option 'lowercase'; it has: vocab_size, min_fr"),
        ("byte", (), {"vocab_size": 300}, TypeError, "'byte' has no option 'vocab_size'; it has: none"),
        ("char", TEXTS, {"vocab_size": 4}, ValueError, "vocab_size must be at least 5 .*got 4"),
        ("word", TEXTS, {"vocab_size": 4}, ValueError, "vocab_size must be at least 5 .*got 4"),
        ("bpe", TEXTS, {"vocab_size": 258}, ValueError, "vocab_size must be at least 259 .*got 258"),
        ("bpe", TEXTS, {}, ValueError, "vocab_size must be given"),
        ("bpe", TEXTS, {"vocab_size": 300.0}, TypeError, "vocab_size must be an int, got 300.0"),
        ("char", TEXTS, {"vocab_size": True}, TypeError, "vocab_size must be an int, got True"),
        ("char", TEXTS, {"min_frequency": 0}, ValueError, "min_frequency must be at least 1 .*got 0"),
        ("char", ["ab"], {"min_frequency": 2}, ValueError, "nothing in them is a token"),
        ("word", [" \n"], {}, ValueError, "nothing in them is a token"),
        ("word", TEXTS, {"word_pattern": "("}, ValueError, r"word_pattern must be a regular expression, got '\('"),
        ("byte", (), {"padding_side": "top"}, ValueError, "top"),
        ("byte", (), {"model_max_length": 0}, ValueError, "model_max_length must be at least 1 "),
        ("byte", (), {"model_max_length": 3, "pair": True, "add_eos": True}, ValueError, "must be at least 4 "),
    ],
)
def test_wrong_arguments_are_refused_by_name(kind, texts, options, error, message):
    with pytest.raises(error, match=message):
        train_tokenizer(kind, texts, **options)


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ([], ValueError, "at least one text that is not empty"),
        (["", ""], ValueError, "at least one text that is not empty"),
        ("one text", TypeError, "iterable of str, such as a list or a column, got str"),
        ({"train": TEXTS}, TypeError, "iterable of str, such as a list or a column, got dict"),
        (["a", None], TypeError, "must hold str, number 1 is NoneType"),
        ([["a", "b"]], TypeError, "must hold str, number 0 is list"),
        ([b"a"], TypeError, "must hold str, number 0 is bytes"),
        (["a", "b\ud800"], ValueError, r"number 1 holds the lone surrogate '\\ud800'"),
    ],
)
def test_inputs_that_are_no_text_are_refused_by_their_place(kind, texts, error, message):
    with pytest.raises(error, match=message):
        train_tokenizer(kind, texts, **SIZES.get(kind, {}))


def test_an_error_in_the_callers_generator_is_the_callers():
    def texts():
        yield "a"
        raise OSError("the disk is gone")

    for kind in ("char", "word", "bpe"):
        with pytest.raises(OSError, match="the disk is gone"):
            train_tokenizer(kind, texts(), **SIZES.get(kind, {}))


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_dropout_changes_nothing_where_there_are_no_pairs(kind):
    tokenizer = copy.deepcopy(made(kind))
    with bpe_dropout(tokenizer, 1.0):
        assert ids(tokenizer, TEXTS[2]) == ids(made(kind), TEXTS[2])


def test_dropout_is_refused_for_words_and_for_what_is_no_probability():
    with pytest.raises(TypeError, match="byte pairs, got one of WordLevel"), bpe_dropout(made("word"), 0.1):
        pass
    with pytest.raises(ValueError, match=r"probability must be within 0 … 1, got 3\.0"), bpe_dropout(made("bpe"), 3.0):
        pass


def test_none_stands_for_the_default():
    options = {"vocab_size": None, "min_frequency": None, "lowercase": None}
    assert train_tokenizer("byte", **options).get_vocab() == made("byte").get_vocab()
    assert train_tokenizer("char", ["ab"], **options).get_vocab() == train_tokenizer("char", ["ab"]).get_vocab()
