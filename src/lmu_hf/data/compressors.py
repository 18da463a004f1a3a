"""What general compressors make of a text: a yardstick for a model's bits per character."""

import bz2
import lzma
import zlib
from collections.abc import Iterable
from itertools import chain
from typing import Protocol

XZ_WINDOW = 2**26  # bytes: the dictionary of xz -9


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def compressed_bits(known: Iterable[str], text: Iterable[str]) -> dict[str, float]:
    """Bits per character of a text under general compressors, each at level 9.

    ``"xz, after the training text"`` has the other text in its window already: what the text adds to their joint size.
    It is left out where they do not fit into that window.

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
    if sum(len(piece.encode()) for piece in chain(known, text)) <= XZ_WINDOW:
        # What a text adds when the compressor has the training text in its window already.
        sizes["xz, after the training text"] = _size(_xz(), chain(known, text)) - _size(_xz(), known)
    return {name: round(8 * size / characters, 4) for name, size in sizes.items()}


def _size(compressor: _Compressor, text: Iterable[str]) -> int:
    return sum(len(compressor.compress(piece.encode())) for piece in text) + len(compressor.flush())


def _xz() -> _Compressor:
    return lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": XZ_WINDOW}])
