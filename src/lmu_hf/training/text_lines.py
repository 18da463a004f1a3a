"""What takes seconds to predict a text, to compare a language model with: n-grams of characters, and a compressor."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..data.compressors import AFTER, bits_after

LONGEST = 10  # characters of an n-gram, the predicted one among them
MOST = 10_000_000  # characters of the training text that are counted: more take minutes
CHUNK = 1_000_000  # characters that are scored at a time
CODE_POINTS = np.array([0, 0x80, 0x800, 0x10000, 0x110000])  # where UTF-8 takes one byte more
SMOOTH = np.array([0.0, 0.6, 1.0, 1.4])  # discounts of counts 0, 1, 2 and more, where a text is too short to tell


@dataclass(frozen=True)
class Level:
    """The n-grams of one length, by their place in ``keys``, and the contexts that they continue.

    Args:
        keys: (n-grams,) context · alphabet + character, rising.
        shares: (2, n-grams) what is left of an n-gram's share of its context: by its counts, and by the number of
            characters that come before it.
        rests: (2, contexts) the share that the discounts leave to shorter n-grams.
    """

    keys: np.ndarray
    shares: np.ndarray
    rests: np.ndarray


class NGramModel:
    """Interpolated Kneser–Ney with three discounts a length (Chen and Goodman, 1999), over the characters of a text.

    A character that the text lacks has a share too: it is spread over all code points that take as many bytes.

    Args:
        text: to count in, not empty.
        order: characters of the longest n-grams.
    """

    def __init__(self, text: str, order: int = LONGEST) -> None:
        codes = _codes(text)
        self.alphabet = np.unique(codes)
        self.size = len(self.alphabet) + 1  # the last number stands for all characters that the text lacks
        ids = np.searchsorted(self.alphabet, codes)
        self.levels: list[Level] = []
        order = min(order, len(ids))
        # ends[i] is the context that character i continues: at first the empty one, then one character, and so on.
        ends, contexts = np.zeros(len(ids) + 1, np.int64), 1
        counted: tuple[np.ndarray, np.ndarray, int] | None = None
        for length in range(1, order + 1):
            keys, places, counts = np.unique(
                ends[:-1] * self.size + ids[length - 1 :], return_inverse=True, return_counts=True
            )
            if counted is not None:
                suffixes = np.empty(len(keys), np.int64)
                suffixes[places] = ends[1:]
                self._add(*counted, np.bincount(suffixes, minlength=len(counted[0])))
            counted, ends, contexts = (keys, counts, contexts), places, len(keys)
        assert counted is not None
        self._add(*counted, counted[1])  # of the longest there are no longer ones: their second row is never asked for
        kinds = np.bincount(_bytes_of(self.alphabet), minlength=4) + 1
        self._base = kinds / kinds.sum() / np.diff(CODE_POINTS)

    def _add(self, keys: np.ndarray, counts: np.ndarray, contexts: int, before: np.ndarray) -> None:
        """Add a level.

        Args:
            keys: of its n-grams.
            counts: how often each stands in the text.
            contexts: how many shorter n-grams there are.
            before: how many characters come before each.
        """
        of = keys // self.size
        shares, rests = zip(*(_discounted(each, of, contexts) for each in (counts, before)), strict=True)
        self.levels.append(Level(keys, np.stack(shares), np.stack(rests)))

    def bits(self, text: str) -> np.ndarray:
        """(orders, characters): the code length of each character after those before it, for n-grams up to a length."""
        codes = _codes(text)
        places = np.minimum(np.searchsorted(self.alphabet, codes), self.size - 2)
        ids = np.where(self.alphabet[places] == codes, places, self.size - 1)
        shorter = self._base[_bytes_of(codes)]
        ends, found = np.zeros(len(ids) + 1, np.int64), []
        for length, level in enumerate(self.levels):
            # Characters whose context the text holds; for the others shorter n-grams say all.
            known = length + np.flatnonzero(ends[:-1] >= 0)
            context = ends[known - length]
            keys = context * self.size + ids[known]
            places = np.minimum(np.searchsorted(level.keys, keys), len(level.keys) - 1)
            there = level.keys[places] == keys
            counted, smooth = shorter.copy(), shorter
            counted[known], smooth[known] = (
                np.where(there, share[places], 0) + rest[context] * shorter[known]
                for share, rest in zip(level.shares, level.rests, strict=True)
            )
            found.append(-np.log2(counted))
            ends = np.full(max(len(ids) - length, 0), -1)
            ends[known - length] = np.where(there, places, -1)
        return np.stack(found)

    def bits_per_character(self, pieces: Iterable[str]) -> np.ndarray:
        """(orders,): the mean code length of a text that comes in pieces."""
        total, characters, before = np.zeros(len(self.levels)), 0, ""
        for chunk in _chunks(pieces):
            text = before + chunk
            total += self.bits(text)[:, len(before) :].sum(1)
            characters += len(chunk)
            before = text[max(0, len(text) - len(self.levels) + 1) :]
        return total / characters


def text_lines(
    train: Iterable[str], others: dict[str, Iterable[str]], ready: dict[str, float | None]
) -> dict[str, dict[str, float]]:
    """The bits per character of texts under an n-gram model, and, where xz has the training text in its window, xz.

    The n-grams are counted in the first ten million characters, and the first text that is scored chooses how long they
    are. Of a longer training text there is no xz.

    Args:
        train: the pieces of the training text, to be gone through more than once.
        others: those of each text that is scored, by its split.
        ready: what xz has of some splits already.

    Returns:
        By the name of the line and the split.
    """
    counted, cut = _first(train, MOST)
    model = NGramModel(counted)
    found = {split: model.bits_per_character(pieces) for split, pieces in others.items()}
    best = int(next(iter(found.values())).argmin())
    from_what = f" in the first {len(counted):,}" if cut else ""
    lines = {f"{best + 1}-grams of characters{from_what}": {split: float(bits[best]) for split, bits in found.items()}}
    if not cut:
        after = {split: ready.get(split) or bits_after(train, pieces) for split, pieces in others.items()}
        lines[AFTER] = {split: bits for split, bits in after.items() if bits is not None}
    return {name: scores for name, scores in lines.items() if scores}


def _discounted(counts: np.ndarray, contexts: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """What discounts leave of each n-gram's share of its context, and of each context to shorter n-grams.

    Args:
        counts: of n-grams.
        contexts: the context of each.
        number: of contexts.
    """
    taken = discounts(counts)[np.minimum(counts, 3)]
    # A context at the end of the text alone is never continued: shorter n-grams say all.
    totals = np.bincount(contexts, weights=counts, minlength=number)
    left = np.bincount(contexts, weights=taken, minlength=number)
    rests = np.divide(left, totals, out=np.ones(number), where=totals > 0)
    return (counts - taken) / np.maximum(totals[contexts], 1), rests


def discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken of counts of 0, 1, 2 and more, by how many n-grams have counts of 1 to 4 (equation 17 there)."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5]
    if not n.all():
        return SMOOTH
    y = n[0] / (n[0] + 2 * n[1])
    found = [times - (times + 1) * y * n[times] / n[times - 1] for times in (1, 2, 3)]
    # In short texts the formula may leave the range that it is for.
    return np.array([0.0, *np.clip(found, 0.1, [0.95, 1.9, 2.9])])


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)


def _bytes_of(codes: np.ndarray) -> np.ndarray:
    """How many bytes more than one UTF-8 takes for each code point."""
    return np.searchsorted(CODE_POINTS[1:4], codes, side="right")


def _chunks(pieces: Iterable[str]) -> Iterator[str]:
    """Pieces joined to about a million characters: rows of a table are short."""
    held: list[str] = []
    characters = 0
    for piece in pieces:
        held.append(piece)
        characters += len(piece)
        if characters >= CHUNK:
            yield "".join(held)
            held, characters = [], 0
    if characters:
        yield "".join(held)


def _first(pieces: Iterable[str], most: int) -> tuple[str, bool]:
    """The first characters of a text, and whether there are more."""
    held: list[str] = []
    left = most
    for piece in pieces:
        if len(piece) > left:
            return "".join([*held, piece[:left]]), True
        held.append(piece)
        left -= len(piece)
    return "".join(held), False
