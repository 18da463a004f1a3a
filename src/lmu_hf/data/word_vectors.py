"""Word vectors: read from the text files of GloVe, word2vec and fastText, or trained on a corpus of one's own."""

import gzip
import zlib
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import get_logger

from ..common.staging import written_whole
from ..tokenization_lmu import WORD_PATTERN, train_tokenizer

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

logger = get_logger(__name__)

Missing = Literal["random", "zero"]
Algorithm = Literal["word2vec", "fasttext", "lsa"]
ALGORITHMS: tuple[Algorithm, ...] = ("word2vec", "fasttext", "lsa")


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
            exact.setdefault(vocabulary[word], vector)
        elif normalizer is not None and (other := normalizer.normalize_str(word)) in vocabulary:
            alike.setdefault(vocabulary[other], vector)
    return alike | exact


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
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            line = _decoded(path, number, raw)
            if number == 1 and (counts := _header(line)) is not None:
                said, width = counts
                continue
            if width is None:
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
    if len(fields) != 2 or not all(field.isascii() and field.isdigit() for field in fields):
        return None
    return int(fields[0]), int(fields[1])


def _word_and_vector(path: Path, number: int, line: str, width: int) -> tuple[str, np.ndarray]:
    word, *values = line.rsplit(" ", width) if width else [line]
    if len(values) != width or not width or not word:
        raise ValueError(f"{path}, line {number} must hold a word and {width or 'its'} numbers, got {line[:40]!r}")
    try:
        vector = np.array([float(value) for value in values], np.float32)
    except ValueError:
        wrong = next(value for value in values if not _is_number(value))
        raise ValueError(f"{path}, line {number}, {word!r}: {wrong!r} is not a number") from None
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


class Sentences:
    """Texts as lists of words, cut as a tokenizer cuts them, to be gone through any number of times.

    Args:
        texts: to be gone through any number of times itself.
        tokenizer: of words.
    """

    def __init__(self, texts: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> None:
        self.texts, self.backend = texts, Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())

    def __iter__(self) -> Iterator[list[str]]:
        """The words of each text; texts without one are left out."""
        normalizer, cut = self.backend.normalizer, self.backend.pre_tokenizer
        for text in self.texts:
            normal = text if normalizer is None else normalizer.normalize_str(text)
            if words := [word for word, _ in cut.pre_tokenize_str(normal)]:
                yield words


def train_word_vectors(
    sentences: Iterable[list[str]],
    path: Path,
    algorithm: Algorithm | Sequence[Algorithm] = "word2vec",
    size: int = 300,
    window: int = 5,
    min_count: int = 5,
    negative: int = 5,
    epochs: int = 5,
    sif: float | None = None,
    spelling: int = 0,
    seed: int = 0,
    workers: int = 1,
) -> dict[str, int]:
    """Train word vectors without labels and write them as a word2vec text file, the most frequent word first.

    Args:
        sentences: lists of words, gone through several times, never held in memory.
        path: the file to write, whole or not at all.
        algorithm: ``"word2vec"`` (skip-gram, Mikolov et al. 2013); ``"fasttext"``, whose vectors are sums over a word's
            character strings (Bojanowski et al. 2017); or ``"lsa"``, latent semantic analysis, as
            :func:`latent_semantic_vectors` has it, where each list of words is a document. Of several, what each says
            is put together as :func:`principal_components` has it.
        size: numbers a vector.
        window: words to either side that a word is to foretell; nothing to ``"lsa"``, nor are the next two.
        min_count: words that are seen less often get no vector.
        negative: words drawn at random to tell each of them from.
        epochs: passes over the sentences.
        sif: a of :func:`smooth_inverse_frequency`, to give each vector the size that its word's rareness asks for; None
            to leave them as they come.
        spelling: so many numbers more say how a word is spelt, as :func:`spelling_vectors` has it.
        seed: of the initial vectors and of what is drawn; with one worker the result repeats.
        workers: threads.

    Returns:
        How many words were read and how many of them, as different ones, have a vector.

    Raises:
        ValueError: no word is seen ``min_count`` times, or a number is out of its range.
    """
    for name, value in (("size", size), ("window", window), ("min_count", min_count), ("epochs", epochs)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if sif is not None and not sif > 0:
        raise ValueError(f"sif must be positive, got {sif}")
    if spelling < 0:
        raise ValueError(f"spelling must not be negative, got {spelling}")
    algorithms = [algorithm] if isinstance(algorithm, str) else list(algorithm)
    if not algorithms or not set(algorithms) <= set(ALGORITHMS) or len(set(algorithms)) < len(algorithms):
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)} or several of them, got {algorithm!r}")
    how = {"window": window, "negative": negative, "epochs": epochs, "seed": seed, "workers": workers}
    learnt = [
        latent_semantic_vectors(sentences, size, min_count, seed)
        if name == "lsa"
        else _predictive_vectors(sentences, name, size, min_count, **how)
        for name in algorithms
    ]
    counts, vectors, read = learnt[0]
    probability = np.array(list(counts.values())) / read
    if len(learnt) > 1:
        told = [_in_order(counts, own, found) for own, found, _ in learnt]
        vectors = principal_components(told, probability, size, sif)
    if sif is not None:
        vectors = smooth_inverse_frequency(vectors, probability, sif)
    if spelling:
        vectors = np.hstack([vectors, spelling_vectors(counts, spelling)])
    _write_word_vectors(path, counts, vectors)
    return {"read": read, "words": len(counts)}


def _write_word_vectors(path: Path, words: Collection[str], vectors: np.ndarray) -> None:
    """What :func:`read_word_vectors` reads, in word2vec's text format."""
    with written_whole(path) as staged, staged.open("w", encoding="utf-8") as file:
        file.write(f"{len(words)} {vectors.shape[1]}\n")
        for word, vector in zip(words, vectors.tolist(), strict=True):
            file.write(f"{word} {' '.join(format(value, '.7g') for value in vector)}\n")


def _in_order(words: Iterable[str], counts: dict[str, int], vectors: np.ndarray) -> np.ndarray:
    """Vectors in the order of ``words``: that of ``counts``, but equally frequent words may have changed places."""
    place = {word: number for number, word in enumerate(counts)}
    return vectors[[place[word] for word in words]]


def _predictive_vectors(
    sentences: Iterable[list[str]], algorithm: Algorithm, size: int, min_count: int, epochs: int, **how: int
) -> tuple[dict[str, int], np.ndarray, int]:
    """Skip-gram vectors: how often each word is seen, the vectors, and how many words were read."""
    from gensim.models import FastText, Word2Vec

    kind = Word2Vec if algorithm == "word2vec" else FastText
    model = kind(vector_size=size, min_count=min_count, sg=1, **how)
    model.build_vocab(sentences)
    if not len(model.wv):
        raise ValueError(f"no word is seen min_count={min_count} times")
    model.train(sentences, total_examples=model.corpus_count, total_words=model.corpus_total_words, epochs=epochs)
    counts = {word: int(model.wv.get_vecattr(word, "count")) for word in model.wv.index_to_key}
    return counts, model.wv.vectors, model.corpus_total_words


def latent_semantic_vectors(
    documents: Iterable[list[str]], size: int = 300, min_count: int = 5, seed: int = 0
) -> tuple[dict[str, int], np.ndarray, int]:
    """Latent semantic analysis (Deerwester et al. 1990): words are alike that are found in like documents.

    A document's row is (1 + log tf) · log(N / df) of each of its words, scaled to length 1. Of the ``size`` largest
    singular values s of all rows, and the right singular vectors v to them, word w gets the vector √s · v_w.

    Args:
        documents: lists of words.
        size: numbers a vector.
        min_count: words that are seen less often get no vector.
        seed: of the randomised decomposition.

    Returns:
        How often each word is seen, the most frequent first; (words, size) float32; how many words were read.

    Raises:
        ValueError: no word is seen ``min_count`` times, or there are fewer documents or words than ``size``.
    """
    from sklearn.utils.extmath import randomized_svd

    occurrences, counts, read = _count_words(documents, min_count)
    if size > min(occurrences.shape):
        raise ValueError(f"size={size} is more than the {occurrences.shape[0]} documents or their {len(counts)} words")
    matrix, n = occurrences, occurrences.shape[0]
    inverse = np.log(n / np.bincount(matrix.indices, minlength=len(counts))).astype(np.float32)
    matrix.data = (1 + np.log(matrix.data)) * inverse[matrix.indices]
    rows = np.repeat(np.arange(n), np.diff(matrix.indptr))
    lengths = np.sqrt(np.bincount(rows, matrix.data.astype(np.float64) ** 2, minlength=n))
    matrix.data /= np.maximum(lengths, 1e-12)[rows].astype(np.float32)
    _, values, vectors = randomized_svd(matrix, size, n_iter=3, random_state=seed)
    return counts, (vectors.T * np.sqrt(values)).astype(np.float32), read


def _count_words(documents: Iterable[list[str]], min_count: int) -> tuple["csr_matrix", dict[str, int], int]:
    """How often each document has each frequent word (documents, words), how often each is seen, and words read."""
    from scipy.sparse import csr_matrix

    number: dict[str, int] = {}
    words, times, ends = array("i"), array("f"), [0]
    for document in documents:
        for word, often in Counter(document).items():
            words.append(number.setdefault(word, len(number)))
            times.append(often)
        ends.append(len(words))
    data, indices = np.frombuffer(times, np.float32).copy(), np.frombuffer(words, np.int32)
    seen = np.bincount(indices, data, minlength=len(number)).astype(np.int64)
    order = np.argsort(-seen, kind="stable")
    order = order[seen[order] >= min_count]
    if not len(order):
        raise ValueError(f"no word is seen min_count={min_count} times")
    spelt = list(number)
    shape = (len(ends) - 1, len(number))
    matrix = csr_matrix((data, indices, np.array(ends)), shape=shape)[:, order]
    return matrix, {spelt[place]: int(seen[place]) for place in order}, int(seen.sum())


def smooth_inverse_frequency(vectors: np.ndarray, probability: np.ndarray, a: float = 1e-3) -> np.ndarray:
    """Vectors whose size is a / (a + p(word)), the weight of Arora et al. 2017: a sum of words is then a weighted one.

    Args:
        vectors: (words, size); of each only its direction counts. One that is zero stays zero.
        probability: (words,), how much of the text each word is.
        a: a word of this probability is weighed half.

    Returns:
        (words, size) float32, the root mean square of each row being its word's weight.
    """
    rms = np.sqrt((vectors.astype(np.float64) ** 2).mean(1))
    return (vectors * (a / (a + probability) / np.maximum(rms, 1e-12))[:, None]).astype(np.float32)


def principal_components(
    told: Sequence[np.ndarray], probability: np.ndarray, size: int, sif: float | None = None
) -> np.ndarray:
    """What several tell of the same words, in as few numbers: their vectors side by side, each of one length.

    The components are the largest of the second moment, not centred, of the vectors as a text shows them: a word counts
    as often as it is seen and by the square of its weight.

    Args:
        told: (words, any size) each.
        probability: (words,), how much of the text each word is.
        size: numbers a vector, at most all of them together.
        sif: a of :func:`smooth_inverse_frequency`, whose weights these are; None for 1.

    Returns:
        (words, size) float32.
    """
    rows = np.hstack([smooth_inverse_frequency(vectors, np.zeros(len(vectors)), 1.0) for vectors in told])
    weight = np.ones(len(probability)) if sif is None else sif / (sif + probability)
    moment = (rows.T * (probability * weight**2)) @ rows
    return (rows @ np.linalg.eigh(moment).eigenvectors[:, : -size - 1 : -1]).astype(np.float32)


def spelling_vectors(words: Iterable[str], size: int, lengths: tuple[int, ...] = (3, 4)) -> np.ndarray:
    """Words are alike that are spelt alike: how often each of ``size`` groups of character strings stands in a word.

    The strings are those of fastText (Bojanowski et al. 2017), of ``lengths`` characters, the word's ends marked; a
    hash puts each into a group (Weinberger et al. 2009). Nothing is learnt.

    Args:
        words: to be spelt.
        size: numbers a vector.
        lengths: of the strings. A word shorter than all of them is one string.

    Returns:
        (words, size) float32, none of it negative: counts over the root of the number of strings, times √size, so that
        a row's root mean square is 1 where no two of its strings share a group.
    """
    marked = [f"<{word}>" for word in words]
    vectors = np.zeros((len(marked), size), np.float32)
    for vector, word in zip(vectors, marked, strict=True):
        strings = [word[start : start + n] for n in lengths for start in range(len(word) - n + 1)] or [word]
        groups = [zlib.crc32(string.encode()) % size for string in strings]
        np.add.at(vector, groups, (size / len(groups)) ** 0.5)
    return vectors
