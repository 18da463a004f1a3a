"""Word vectors, read from the text files of GloVe, word2vec and fastText."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Regex, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import get_logger

from ..tokenization_lmu import WORD_PATTERN, train_tokenizer

logger = get_logger(__name__)

Missing = Literal["random", "zero"]


def load_word_vectors(
    path: Path, tokenizer: PreTrainedTokenizerFast, missing: Missing = "random", seed: int = 0, scale: float = 0.1
) -> Tensor:
    """Embeddings for a tokenizer's vocabulary out of a file of word vectors; the log says how many words it lacks.

    A word of the file is the token that is written alike, or else the one that the tokenizer's own normalisation makes
    of it; of several such words, the first.

    Args:
        path: one word and its numbers a line, set apart by spaces, with or without a first line that counts words and
            numbers; plain or gzipped.
        tokenizer: of words.
        missing: what a token gets that the file lacks: small random numbers, or zeros. Padding is always zero.
        seed: of the random numbers.
        scale: their standard deviation.

    Returns:
        (tokens, width) float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is no word with its numbers, or no word of the file is in the vocabulary.
    """
    if missing not in ("random", "zero"):
        raise ValueError(f"missing must be 'random' or 'zero', got {missing!r}")
    found = _found(path, tokenizer)
    if not found:
        raise ValueError(f"{path} holds none of the {len(tokenizer)} tokens")
    shape = len(tokenizer), len(next(iter(found.values())))
    vectors = np.zeros(shape, np.float32)
    if missing == "random":
        # Drawn for all tokens, found or not, so that a token's numbers do not depend on what else the file holds.
        vectors = np.random.default_rng(seed).normal(scale=scale, size=shape).astype(np.float32)
    for token, vector in found.items():
        vectors[token] = vector
    if tokenizer.pad_token_id is not None:
        vectors[tokenizer.pad_token_id] = 0
    lacking = len(tokenizer) - len(found)
    logger.warning("%s has vectors for %d of %d tokens; %d are %s", path, len(found), len(tokenizer), lacking, missing)
    return torch.from_numpy(vectors)


def _found(path: Path, tokenizer: PreTrainedTokenizerFast) -> dict[int, np.ndarray]:
    vocabulary = tokenizer.get_vocab()
    normalizer = tokenizer.backend_tokenizer.normalizer
    exact: dict[int, np.ndarray] = {}
    alike: dict[int, np.ndarray] = {}
    for word, vector in read_word_vectors(path):
        if word in vocabulary:
            exact.setdefault(vocabulary[word], vector)  # the first one stays: files begin with the most frequent
        elif normalizer is not None and (other := normalizer.normalize_str(word)) in vocabulary:
            alike.setdefault(vocabulary[other], vector)
    return alike | exact  # the right side wins: words written alike go first


def read_word_vectors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The words of a file and their vectors, one at a time, in the file's order; words may hold spaces, as GloVe's do.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is no word with as many finite numbers as the first line has; the message has its number. Or
            there are fewer lines than the first one says.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of word vectors {path}")
    width, rows, said = None, 0, None
    # Bytes, so that a line that is not UTF-8 can be named by its number.
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            line = _decoded(path, number, raw)
            if number == 1 and (counts := _header(line)) is not None:
                said, width = counts
                continue
            if width is None:
                # Without a header the first line decides, so its word can hold no space.
                width = line.count(" ")
            rows += 1
            yield _word_and_vector(path, number, line, width)
    if not rows:
        raise ValueError(f"{path} holds no word vector")
    if said is not None and rows < said:
        raise ValueError(f"{path} ends early: it holds {rows} of the {said} word vectors that its first line promises")


def _decoded(path: Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode().rstrip(" \r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, line {number} is not UTF-8: {raw[:40]!r}") from error


def _header(line: str) -> tuple[int, int] | None:
    """How many words and numbers a file says that it has, if its first line is one that says so."""
    fields = line.split(" ")
    # isascii, since isdigit takes "²" too, which int() refuses.
    if len(fields) != 2 or not all(field.isascii() and field.isdigit() for field in fields):
        return None
    return int(fields[0]), int(fields[1])


def _word_and_vector(path: Path, number: int, line: str, width: int) -> tuple[str, np.ndarray]:
    # From the right: words in GloVe's files may hold spaces, as ". . ." does.
    word, *values = line.rsplit(" ", width) if width else [line]
    if len(values) != width or not width or not word:
        raise ValueError(f"{path}, line {number} must hold a word and {width or 'its'} numbers, got {line[:40]!r}")
    try:
        vector = np.array([float(value) for value in values], np.float32)
    except ValueError:
        wrong = next(value for value in values if not _is_number(value))
        raise ValueError(f"{path}, line {number}, {word!r}: {wrong!r} is not a number") from None
    # float() takes "nan" and "inf", and float32 turns what is too large for it into an infinity.
    if not np.isfinite(vector).all():
        wrong = values[int(np.flatnonzero(~np.isfinite(vector))[0])]
        raise ValueError(f"{path}, line {number}, {word!r}: {wrong!r} is not a finite number")
    return word, vector


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def tokenizer_of_vectors(
    path: Path, max_words: int | None = None, word_pattern: str = WORD_PATTERN, **how: Any
) -> PreTrainedTokenizerFast:
    """A tokenizer of words whose vocabulary is a file's.

    Args:
        path: as for :func:`load_word_vectors`.
        max_words: only the first so many of them, the most frequent in the usual files.
        word_pattern: what a word of a text is; words of the file that no text could be cut into are left out.
        how: further arguments of :func:`train_tokenizer`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file will not do, or no word of it is one by the pattern.
    """
    # invert: what matches is kept, and what lies between is removed.
    cut = pre_tokenizers.Split(Regex(word_pattern), behavior="removed", invert=True)
    words = []
    for word, _ in read_word_vectors(path):
        if [piece for piece, _ in cut.pre_tokenize_str(word)] == [word]:
            words.append(word)
        if len(words) == max_words:
            break
    if not words:
        raise ValueError(f"{path} holds no word by the pattern {word_pattern!r}")
    return train_tokenizer("word", words, word_pattern=word_pattern, **how)
