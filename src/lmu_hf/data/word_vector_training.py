"""Word vectors that are trained on a corpus of one's own, without labels, and written as word2vec writes them."""

import zlib
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from ..common.staging import written_whole

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


Algorithm = Literal["word2vec", "fasttext", "lsa"]
ALGORITHMS: tuple[Algorithm, ...] = ("word2vec", "fasttext", "lsa")


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
        # Only the steps before the vocabulary: words that the tokenizer does not know are words here.
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
    algorithms = [algorithm] if isinstance(algorithm, str) else list(algorithm)
    _check(algorithms, algorithm, sif, spelling, size=size, window=window, min_count=min_count, epochs=epochs)
    how = {"window": window, "negative": negative, "epochs": epochs, "seed": seed, "workers": workers}
    learnt = [
        latent_semantic_vectors(sentences, size, min_count, seed)
        if name == "lsa"
        else _predictive_vectors(sentences, name, size, min_count, **how)
        for name in algorithms
    ]
    counts, _, read = learnt[0]  # the first one's order is the file's
    vectors = _joined(learnt, size, sif)
    if spelling:
        vectors = np.hstack([vectors, spelling_vectors(counts, spelling)])
    _write_word_vectors(path, counts, vectors)
    return {"read": read, "words": len(counts)}


def _check(algorithms: list[Algorithm], given: object, sif: float | None, spelling: int, **counts: int) -> None:
    """Refuse what no vectors can be trained with.

    Raises:
        ValueError: a number is out of its range, or an algorithm is unknown or named twice.
    """
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if sif is not None and not sif > 0:
        raise ValueError(f"sif must be positive, got {sif}")
    if spelling < 0:
        raise ValueError(f"spelling must not be negative, got {spelling}")
    if not algorithms or not set(algorithms) <= set(ALGORITHMS) or len(set(algorithms)) < len(algorithms):
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)} or several of them, got {given!r}")


def _write_word_vectors(path: Path, words: Collection[str], vectors: np.ndarray) -> None:
    """What :func:`read_word_vectors` reads, in word2vec's text format."""
    with written_whole(path) as staged, staged.open("w", encoding="utf-8") as file:
        file.write(f"{len(words)} {vectors.shape[1]}\n")
        for word, vector in zip(words, vectors.tolist(), strict=True):
            # float32 holds about seven digits.
            file.write(f"{word} {' '.join(format(value, '.7g') for value in vector)}\n")


def _joined(learnt: list[tuple[dict[str, int], np.ndarray, int]], size: int, sif: float | None) -> np.ndarray:
    """What several algorithms have learnt in one vector a word, in the order of the first, scaled by ``sif`` if set."""
    counts, vectors, read = learnt[0]
    # p(word): `read` counts the words below min_count too.
    probability = np.array(list(counts.values())) / read
    if len(learnt) > 1:
        told = [_in_order(counts, own, found) for own, found, _ in learnt]
        vectors = principal_components(told, probability, size, sif)
    return vectors if sif is None else smooth_inverse_frequency(vectors, probability, sif)


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
    # sg=1 is skip-gram; gensim's default is CBOW.
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
    # log(N / df): a document holds each word in one entry, so that entries of a column count documents.
    inverse = np.log(n / np.bincount(matrix.indices, minlength=len(counts))).astype(np.float32)
    matrix.data = (1 + np.log(matrix.data)) * inverse[matrix.indices]
    # The document of each entry. Entries are changed in place, so nothing dense is ever made.
    rows = np.repeat(np.arange(n), np.diff(matrix.indptr))
    lengths = np.sqrt(np.bincount(rows, matrix.data.astype(np.float64) ** 2, minlength=n))
    # A document without a frequent word has length 0.
    matrix.data /= np.maximum(lengths, 1e-12)[rows].astype(np.float32)
    _, values, vectors = randomized_svd(matrix, size, n_iter=3, random_state=seed)
    return counts, (vectors.T * np.sqrt(values)).astype(np.float32), read


def _count_words(documents: Iterable[list[str]], min_count: int) -> tuple["csr_matrix", dict[str, int], int]:
    """How often each document has each frequent word (documents, words), how often each is seen, and words read."""
    from scipy.sparse import csr_matrix

    number: dict[str, int] = {}
    # Typed arrays take 4 bytes a number; a corpus has many. They are the parts of a CSR matrix.
    words, times, ends = array("i"), array("f"), [0]
    for document in documents:
        for word, often in Counter(document).items():
            words.append(number.setdefault(word, len(number)))
            times.append(often)
        ends.append(len(words))
    data, indices = np.frombuffer(times, np.float32).copy(), np.frombuffer(words, np.int32)
    seen = np.bincount(indices, data, minlength=len(number)).astype(np.int64)
    # Stable: equally frequent words stay in the order in which they were met.
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
    rms = np.sqrt((vectors.astype(np.float64) ** 2).mean(1))  # float64: the squares of small numbers vanish in float32
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
    # With p = 0 and a = 1 every weight is 1, which only scales each vector to root mean square 1.
    rows = np.hstack([smooth_inverse_frequency(vectors, np.zeros(len(vectors)), 1.0) for vectors in told])
    weight = np.ones(len(probability)) if sif is None else sif / (sif + probability)
    # Σ_w p(w) · weight(w)² · x_w x_wᵀ, (columns, columns): its size does not grow with the vocabulary.
    moment = (rows.T * (probability * weight**2)) @ rows
    # eigh sorts ascending: the last `size` vectors, backwards, belong to the largest values.
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
        # CRC-32, since Python's own hash of a string differs from run to run.
        groups = [zlib.crc32(string.encode()) % size for string in strings]
        # vector[groups] += x would count a group once, however often it comes.
        np.add.at(vector, groups, (size / len(groups)) ** 0.5)
    return vectors
