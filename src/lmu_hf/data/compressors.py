"""What general compressors make of a text: a yardstick for a model's bits per character."""

import bz2
import lzma
import zlib
from collections.abc import Iterable
from itertools import chain
from typing import Protocol

XZ_WINDOW = 2**26  # bytes: the dictionary of xz -9
AFTER = "xz, after the training text"


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def compressed_bits(known: Iterable[str], text: Iterable[str]) -> dict[str, float]:
    """Bits per character of a text under general compressors, each at level 9.

    :data:`AFTER` has the other text in its window already: what the text adds to their joint size. It is left out where
    they do not fit into that window.

    Args:
        known: the pieces of the training text, to be gone through more than once.
        text: the pieces of the text.
    """
    characters = sum(map(len, text))
    sizes = {
        # wbits=31 writes gzip's header and checksum around the stream, as the command does.
        "gzip": _size(zlib.compressobj(9, wbits=31), text),
        "bz2": _size(bz2.BZ2Compressor(9), text),
        "xz": _size(_xz(), text),
    }
    bits = {name: round(8 * size / characters, 4) for name, size in sizes.items()}
    after = bits_after(known, text)
    return bits if after is None else bits | {AFTER: after}


def bits_after(known: Iterable[str], text: Iterable[str], most: int = XZ_WINDOW) -> float | None:
    """What a text adds to an xz file of another one, in bits per character; None where both are too long.

    Args:
        known: the pieces of the other text.
        text: the pieces of the text.
        most: bytes that both may have.
    """
    if sum(len(piece.encode()) for piece in chain(known, text)) > most:
        return None
    added = _size(_xz(), chain(known, text)) - _size(_xz(), known)
    return round(8 * added / sum(map(len, text)), 4)


def _size(compressor: _Compressor, text: Iterable[str]) -> int:
    return sum(len(compressor.compress(piece.encode())) for piece in text) + len(compressor.flush())


def _xz() -> _Compressor:
    return lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": XZ_WINDOW}])
