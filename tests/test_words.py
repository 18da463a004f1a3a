"""Votes of words that are cut into several tokens: where words begin, and that it does not matter how they are cut."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmu_hf import LMUForCausalLM, LMUForSequenceClassification
from lmu_hf.tokenization_lmu import token_bytes, train_tokenizer
from lmu_hf.training.transfer import transfer_body
from lmu_hf.votes import SHARPNESS, NGramVotes, Votes
from lmu_hf.words_lmu import WordTable
from tiny_stacks import tiny

TEXTS = [
    "a cat sat on the mat, the cats sat on mats",
    "don't say that it's 100 or 20; say they're so-so!",
    "né à l'été",
]
WORDS = r"\w+|[^\w\s]"
SPACE = 34  # the number of a space that is a token by itself: its byte, and two beside


def bpe(vocab_size: int = 300):
    return train_tokenizer("bpe", TEXTS, vocab_size=vocab_size, lowercase=True, add_bos=True)


def table(tokenizer) -> WordTable:
    words = WordTable(len(tokenizer))
    words.write(token_bytes(tokenizer), tokenizer.all_special_ids)
    return words


def whole_words(tokenizer, text: str) -> list[int]:
    """The number of each word of a text, where its last token stands; of <bos> the first."""
    numbers = torch.tensor([tokenizer(text)["input_ids"]]) + 1
    [words], goes_on = table(tokenizer).read(numbers, None, 1)
    found = words[0, torch.cat([~goes_on[0, 1:], torch.tensor([True])])].tolist()
    return [number for number in found if number != SPACE]


@pytest.mark.parametrize("text", ["the cat", "don't", "it's 100, not 20!", "cats sat", "x_1 y2"])
def test_a_word_is_what_the_tokenizer_of_words_takes_for_one(text):
    known = {}
    expected = [known.setdefault(word, len(known)) for word in re.findall(WORDS, text)]
    seen = {}
    assert [seen.setdefault(number, len(seen)) for number in whole_words(bpe(), text)[1:]] == expected


@given(st.lists(st.sampled_from(["cat", "cats", "they", "so", "100", "x_1"]), min_size=1, max_size=6))
def test_a_word_has_one_number_however_it_is_cut(words):
    fine, coarse = (whole_words(bpe(size), " ".join(words)) for size in (259, 300))
    assert fine == coarse
    assert len(fine) == len(words) + 1  # with <bos>


def drawn(sizes: list[int], tokenizer, classes: int = 2) -> NGramVotes:
    votes = NGramVotes(
        Votes(sizes=sizes, buckets=5000, trained=False, normed=True, words=True), classes, len(tokenizer)
    )
    votes.words.write(token_bytes(tokenizer), tokenizer.all_special_ids)
    rows = len(sizes) * 5000
    generator = torch.Generator().manual_seed(0)
    odds, squares = torch.randn(rows + 1, classes, generator=generator), torch.rand(rows + 1, generator=generator)
    odds[-1], squares[-1] = 0, 0
    votes.double().write(odds.double(), None, squares.double())
    return votes.eval()


@pytest.mark.parametrize("text", TEXTS)
def test_votes_over_tokens_are_those_of_whole_words(text):
    tokenizer = bpe()
    votes, ids = drawn([1, 2], tokenizer), torch.tensor(tokenizer(text)["input_ids"])
    rows, shares = votes.shares(ids)
    assert shares.sum() < SHARPNESS - 1e-3  # some words are cut
    torch.testing.assert_close(votes(ids[None])[0, :, :2].mean(0), shares.double() @ votes.odds.weight[rows])


def test_an_n_gram_is_found_in_one_row_however_its_words_are_cut():
    rows = []
    for size in (259, 300):
        tokenizer = bpe(size)
        votes = drawn([2], tokenizer)
        rows.append(set(votes.shares(torch.tensor(tokenizer("sat,cats")["input_ids"]))[0].tolist()))
    assert rows[0] == rows[1]
    assert len(rows[0]) == 4  # with <bos>, and with nothing before it


def model(tokenizer) -> LMUForSequenceClassification:
    votes = {"sizes": [1, 2], "buckets": 5000, "trained": False, "normed": True, "words": True}
    made = LMUForSequenceClassification(tiny(pooling="mean", votes=votes, num_labels=2, vocab_size=len(tokenizer)))
    made.votes = drawn([1, 2], tokenizer)
    return made.double().eval()


def test_masked_and_packed_texts_vote_as_if_alone():
    tokenizer = bpe()
    made = model(tokenizer)
    first, second = (torch.tensor([tokenizer(text)["input_ids"]]) for text in TEXTS[:2])
    alone = torch.cat([made(first).logits, made(second).logits])
    longest = max(first.shape[1], second.shape[1])
    ids = torch.zeros(2, longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate((first, second)):
        ids[row, longest - text.shape[1] :], mask[row, longest - text.shape[1] :] = text[0], 1
    torch.testing.assert_close(made(ids, attention_mask=mask).logits, alone)
    places = torch.cat([torch.arange(text.shape[1]) for text in (first, second)])[None]
    torch.testing.assert_close(made(torch.cat([first, second], dim=1), position_ids=places).logits, alone)


@settings(deadline=None, max_examples=30)
@given(st.text("ab c,", min_size=1, max_size=60), st.integers(0, 60))
def test_no_more_tokens_matter_than_are_carried(text, cut):
    tokenizer = bpe(259)
    votes = drawn([1, 2], tokenizer)
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    whole = votes.find(ids)
    cut = min(cut, ids.shape[1] - 1)
    numbers = torch.cat([torch.zeros(1, votes.carried, dtype=torch.long), ids + 1], dim=1)
    assert torch.equal(votes._look(numbers[:, cut:], None), whole[:, cut:])


def test_the_table_is_saved_with_the_model(tmp_path):
    tokenizer = bpe()
    made = model(tokenizer).float()
    made.save_pretrained(tmp_path)
    again = LMUForSequenceClassification.from_pretrained(tmp_path)
    ids = torch.tensor([tokenizer(TEXTS[0])["input_ids"]])
    assert torch.equal(again.votes.words.pieces, made.votes.words.pieces)
    torch.testing.assert_close(again(ids).logits, made(ids).logits)


def test_a_table_on_a_pre_trained_body_is_blank_where_nothing_was_written(tmp_path):
    tokenizer = bpe()
    LMUForCausalLM(tiny(vocab_size=len(tokenizer))).save_pretrained(tmp_path)
    option = {"sizes": [1], "buckets": 50, "trained": False, "words": True}
    pieces = transfer_body(str(tmp_path), num_labels=2, votes=option).model.votes.words.pieces
    assert not pieces.any()


def test_tokens_that_came_later_are_words_by_themselves():
    tokenizer = bpe()
    votes = drawn([1], tokenizer)
    ids = torch.tensor([[5, len(tokenizer), len(tokenizer) + 1]])
    rows, _ = votes.shares(ids[0])
    assert len(rows) == 3
    assert votes(ids).isfinite().all()


def test_only_tokens_that_are_bytes_have_bytes():
    assert token_bytes(train_tokenizer("word", TEXTS)) is None
    assert token_bytes(train_tokenizer("char", TEXTS)) is None
    names = token_bytes(bpe())
    assert b" the" in names
    assert names[0] == b"<pad>"


@pytest.mark.parametrize("option", [{"normed": True}, {"words": True}])
def test_what_a_linear_model_has_found_is_not_trained(option):
    with pytest.raises(ValueError, match="needs trained false"):
        Votes(sizes=[1], **option)


def test_a_table_of_another_vocabulary_is_refused():
    with pytest.raises(ValueError, match="the table is of 5 tokens, got 2"):
        WordTable(5).write([b"a", b"b"])
