"""Word vectors: read as files have them, refused by line, and trained."""

import gzip
import logging
import os
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from lmu_hf.data.word_vector_training import (
    ALGORITHMS,
    Sentences,
    latent_semantic_vectors,
    principal_components,
    smooth_inverse_frequency,
    spelling_vectors,
    train_word_vectors,
)
from lmu_hf.data.word_vectors import load_word_vectors, read_word_vectors, tokenizer_of_vectors
from lmu_hf.tokenization_lmu import train_tokenizer

GLOVE = "the 0.1 0.2\nCat 1 2\n. . . 3 4\nis -1e-2 5\n"


@pytest.fixture
def words():
    return train_tokenizer("word", ["the cat is here"], lowercase=True)


def write(folder, text: str, name: str = "vectors.txt"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("header", ["", "4 2\n"])
def test_words_get_their_vectors_with_or_without_a_header(header, words, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        vectors = load_word_vectors(write(tmp_path, header + GLOVE), words)
    ids = words.get_vocab()
    assert vectors.shape == (len(words), 2)
    torch.testing.assert_close(vectors[ids["the"]], torch.tensor([0.1, 0.2]))
    torch.testing.assert_close(vectors[ids["cat"]], torch.tensor([1.0, 2.0]))  # the file's "Cat", lower-cased
    assert not vectors[words.pad_token_id].any()
    assert 0 < vectors[ids["here"]].abs().max() < 1


def test_missing_words_are_drawn_from_the_seed_or_zero(words, tmp_path):
    path, here = write(tmp_path, GLOVE), words.get_vocab()["here"]
    first, again, other = (load_word_vectors(path, words, seed=seed)[here] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not load_word_vectors(path, words, missing="zero")[here].any()
    with pytest.raises(ValueError, match="missing must be 'random' or 'zero', got 'ones'"):
        load_word_vectors(path, words, missing="ones")


def test_the_number_of_missing_words_is_reported(words, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("lmu_hf.data.word_vectors.logger.warning", lambda text, *values: told.append(text % values))
    load_word_vectors(write(tmp_path, GLOVE), words)
    assert told[0].endswith("vectors.txt has vectors for 3 of 8 tokens; 5 are random")


def test_an_exact_match_of_a_word_beats_a_case_insensitive_one(words, tmp_path):
    path = write(tmp_path, "CAT 1 1\nCat 2 2\ncat 3 3\ncat 4 4\n")
    assert load_word_vectors(path, words)[words.get_vocab()["cat"]].tolist() == [3, 3]


def test_words_with_spaces_and_gzipped_files_are_read(tmp_path):
    path = tmp_path / "vectors.txt.gz"
    path.write_bytes(gzip.compress(GLOVE.replace("\n", " \r\n").encode()))
    assert [word for word, _ in read_word_vectors(path)] == ["the", "Cat", ". . .", "is"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("the 1 2\ncat 1\n", r"line 2 must hold a word and 2 numbers, got 'cat 1'"),
        ("2 2\nthe 1 2\ncat 1 x\n", r"line 3, 'cat': 'x' is not a number"),
        ("the 1 2\ncat 1 nan\n", r"line 2, 'cat': 'nan' is not a finite number"),
        ("the 1 2\n\ncat 1 2\n", r"line 2 must hold a word and 2 numbers, got ''"),
        ("word\n", r"line 1 must hold a word and its numbers"),
        ("", "holds no word vector"),
        ("5 2\n", "holds no word vector"),
        ("3 2\nthe 1 2\ncat 1 2\n", "ends early: it holds 2 of the 3 word vectors that its first line promises"),
        ("dog 1 2\n", "holds none of the 8 tokens"),
    ],
)
def test_an_unusable_file_is_refused_by_its_line(text, message, words, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_word_vectors(write(tmp_path, text), words)


def test_vectors_that_cannot_be_written_leave_the_earlier_file(tmp_path, monkeypatch):
    path = write(tmp_path, GLOVE)
    train = partial(train_word_vectors, [["a", "b"]], path, "lsa", size=1, min_count=1)
    full = Mock(side_effect=OSError("no space left"))
    monkeypatch.setattr("lmu_hf.data.word_vector_training.format", full, raising=False)
    with pytest.raises(OSError, match="no space left"):
        train()
    assert path.read_text() == GLOVE and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    train()
    assert dict(read_word_vectors(path)).keys() == {"a", "b"} and list(tmp_path.iterdir()) == [path]


def test_links_and_pipes_are_written_through_and_not_replaced(tmp_path):
    path, link, pipe = write(tmp_path, GLOVE), tmp_path / "link.txt", tmp_path / "pipe"
    link.symlink_to(path)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for place in (link, pipe):
        train_word_vectors([["a", "b"]], place, "lsa", size=1, min_count=1)
    assert link.is_symlink() and path.read_text().startswith("2 1\na ")
    assert pipe.is_fifo() and os.read(reader, 1000) == path.read_bytes()
    os.close(reader)
    assert {found.name for found in tmp_path.iterdir()} == {"vectors.txt", "link.txt", "pipe"}


def test_files_in_another_encoding_and_missing_files_are_refused(words, tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"the 1 2\n\xe4h 1 2\n")
    with pytest.raises(ValueError, match="line 2 is not UTF-8"):
        load_word_vectors(path, words)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        load_word_vectors(tmp_path / "nowhere.txt", words)


def test_a_tokenizer_is_made_of_the_files_words(tmp_path):
    path = write(tmp_path, "the 1 2\ncat 3 4\ndon't 5 6\n. 7 8\nis 9 10\n")
    tokenizer = tokenizer_of_vectors(path)
    assert set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens) == {"the", "cat", ".", "is"}
    assert tokenizer.convert_ids_to_tokens(tokenizer("the cat runs.")["input_ids"]) == ["the", "cat", "<unk>", "."]
    vectors = load_word_vectors(path, tokenizer)
    assert vectors[tokenizer.convert_tokens_to_ids(".")].tolist() == [7, 8]
    first = tokenizer_of_vectors(path, max_words=1)
    assert set(first.get_vocab()) - set(first.all_special_tokens) == {"the"}
    with pytest.raises(ValueError, match="holds no word by the pattern"):
        tokenizer_of_vectors(path, word_pattern=r"\d+")


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, ("lsa", "word2vec")], ids=str)
def test_words_of_similar_contexts_have_similar_vectors(algorithm, words, tmp_path):
    draw = np.random.default_rng(0)
    animals, tools = ("cat", "dog", "cow"), ("axe", "saw", "pin")
    texts = [f"The {draw.choice(animals)} eats and sleeps." for _ in range(300)]
    texts += [f"A {draw.choice(tools)} cuts or breaks!" for _ in range(300)]
    paths = [tmp_path / "first.txt", tmp_path / "again.txt"]
    how = {"size": 2 if "lsa" in algorithm else 8, "window": 2, "min_count": 2, "epochs": 20}
    for path in paths:
        counts = train_word_vectors(Sentences(texts, words), path, algorithm, **how)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert counts == {"read": 600 * 6, "words": 16}
    vectors = {word: vector / np.linalg.norm(vector) for word, vector in read_word_vectors(paths[0])}
    assert vectors["cat"] @ vectors["dog"] > vectors["cat"] @ vectors["saw"]


def test_a_corpus_without_frequent_words_is_refused(words, tmp_path):
    with pytest.raises(ValueError, match="no word is seen min_count=5 times"):
        train_word_vectors(Sentences(["one two"], words), tmp_path / "v.txt")
    with pytest.raises(ValueError, match="no word is seen min_count=5 times"):
        train_word_vectors(Sentences(["one two"], words), tmp_path / "v.txt", "lsa")
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        train_word_vectors(Sentences(["one two"], words), tmp_path / "v.txt", size=0)
    with pytest.raises(ValueError, match="size=300 is more than the 1 documents or their 2 words"):
        train_word_vectors(Sentences(["one two"], words), tmp_path / "v.txt", "lsa", min_count=1)
    with pytest.raises(ValueError, match="sif must be positive, got 0"):
        train_word_vectors(Sentences(["one two"], words), tmp_path / "v.txt", sif=0)
    with pytest.raises(ValueError, match="spelling must not be negative, got -1"):
        train_word_vectors(Sentences(["one two"], words), tmp_path / "v.txt", spelling=-1)
    with pytest.raises(ValueError, match="one of word2vec, fasttext, lsa or several of them, got 'glove'"):
        train_word_vectors(Sentences(["one two"], words), tmp_path / "v.txt", "glove")
    for several in ([], ["lsa", "lsa"], ["lsa", "glove"]):
        with pytest.raises(ValueError, match="algorithm must be one of"):
            train_word_vectors(Sentences(["one two"], words), tmp_path / "v.txt", several)
    assert not (tmp_path / "v.txt").exists()


def test_latent_semantic_vectors_are_those_of_a_dense_decomposition():
    draw = np.random.default_rng(0)
    documents = [draw.choice(list("abcdefgh"), size=draw.integers(3, 9)).tolist() for _ in range(40)] + [["x"]]
    counts, vectors, read = latent_semantic_vectors(documents, size=8, min_count=2)
    assert read == sum(map(len, documents))
    assert counts == {word: sum(document.count(word) for document in documents) for word in counts}
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert set(counts) == set("abcdefgh")
    times = np.array([[document.count(word) for word in counts] for document in documents], float)
    rows = np.where(times > 0, 1 + np.log(np.maximum(times, 1)), 0) * np.log(len(documents) / (times > 0).sum(0))
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    # All singular values are kept, so V √S (V √S)ᵀ is the square root of rowsᵀ rows; signs are free.
    values, axes = np.linalg.eigh(rows.T @ rows)
    np.testing.assert_allclose(vectors @ vectors.T, (axes * np.sqrt(values)) @ axes.T, atol=1e-4)


def test_a_vector_is_as_long_as_its_word_is_rare(words, tmp_path):
    vectors, probability = np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]]), np.array([1e-3, 0.0, 0.5])
    weighed = smooth_inverse_frequency(vectors, probability, a=1e-3)
    np.testing.assert_allclose(np.sqrt((weighed**2).mean(1)), [0.5, 1, 0], rtol=1e-6)
    assert weighed[0, 0] / weighed[0, 1] == pytest.approx(0.75)
    texts = ["one two two three three three"] * 5
    train_word_vectors(Sentences(texts, words), tmp_path / "v.txt", size=2, min_count=1, sif=0.5)
    sizes = {word: np.sqrt((vector**2).mean()) for word, vector in read_word_vectors(tmp_path / "v.txt")}
    assert sizes == pytest.approx({"three": 0.5, "two": 0.6, "one": 0.75}, rel=1e-5)


def test_principal_components_keep_most_of_the_weighted_variance():
    draw = np.random.default_rng(0)
    told, probability = [draw.normal(size=(50, 3)), draw.normal(size=(50, 4))], draw.dirichlet(np.ones(50))
    unit = np.hstack([vectors / np.sqrt((vectors**2).mean(1, keepdims=True)) for vectors in told])
    whole = principal_components(told, probability, size=7)
    np.testing.assert_allclose(whole @ whole.T, unit @ unit.T, atol=1e-5)  # all of them: nothing is lost
    weight = 0.01 / (0.01 + probability)
    shown = unit * (weight * np.sqrt(probability))[:, None]
    kept = (shown**2).sum() - (np.linalg.svd(shown, compute_uv=False)[2:] ** 2).sum()  # no two directions hold more
    found = principal_components(told, probability, size=2, sif=0.01) * (weight * np.sqrt(probability))[:, None]
    assert (found**2).sum() == pytest.approx(kept, rel=1e-5)


def test_vectors_of_several_algorithms_belong_to_their_words(words, tmp_path):
    texts = ["one two", "two one", "three four", "four three", "one two two"] * 3  # three and four are as frequent
    how = {"size": 2, "min_count": 1, "epochs": 3, "window": 2}
    for algorithm in ("lsa", "word2vec", ["lsa", "word2vec"]):
        train_word_vectors(Sentences(texts, words), tmp_path / f"{len(algorithm)}.txt", algorithm, **how)
    lsa, predicted, both = (dict(read_word_vectors(tmp_path / f"{name}.txt")) for name in (3, 8, 2))
    counts = {"one": 9, "two": 12, "three": 6, "four": 6}
    told = [np.stack([vectors[word] for word in counts]) for vectors in (lsa, predicted)]
    expected = principal_components(told, np.array(list(counts.values())) / 33, size=2)
    rows = np.stack([both[word] for word in counts])
    np.testing.assert_allclose(rows @ rows.T, expected @ expected.T, atol=1e-4)


def test_words_of_similar_spelling_have_similar_vectors(words, tmp_path):
    spelt = spelling_vectors(["quickly", "quick", "slow", "a", "quick"], size=4096)
    assert spelt.dtype == np.float32
    assert (spelt >= 0).all()
    np.testing.assert_allclose((spelt**2).mean(1), 1, rtol=1e-5)  # in so many groups no two strings share one
    assert (spelt[0] > 0).sum() == 7 + 6  # "<quickly>" has seven strings of three characters and six of four
    assert (spelt[3] > 0).sum() == 1
    np.testing.assert_array_equal(spelt[1], spelt[4])
    assert spelt[0] @ spelt[1] > 0
    assert spelt[0] @ spelt[2] == 0
    crowded = spelling_vectors(["quickly"], size=2)
    assert crowded.sum() == pytest.approx(13 * (2 / 13) ** 0.5)
    train_word_vectors(Sentences(["one two"] * 5, words), tmp_path / "v.txt", "lsa", size=2, sif=0.5, spelling=8)
    vectors = dict(read_word_vectors(tmp_path / "v.txt"))
    np.testing.assert_allclose(vectors["one"][2:], spelling_vectors(["one"], 8)[0], rtol=1e-5)
