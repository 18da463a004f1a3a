"""How a layer is to read rows of n steps, for tests that call layers themselves."""

from torch import Tensor

from lmu_hf.layout import Layout, Packed, Padded, Reading


def reading(n: int, lengths: Tensor | tuple[int, ...] | None = None, wanted: str = "all") -> Reading:
    """Of dense rows, of rows that end at some lengths, or of one row of packed sequences."""
    if isinstance(lengths, tuple):
        return Reading(Packed(lengths), wanted)
    return Reading(Layout(n) if lengths is None else Padded.from_lengths(lengths, n), wanted)
