"""How a layer is to read rows of n steps, for tests that call layers themselves."""

import torch
from torch import Tensor

from lmu_hf.layout import Layout, Packed, Padded, Reading


def reading(n: int, lengths: Tensor | tuple[int, ...] | None = None, wanted: str = "all") -> Reading:
    """Of dense rows, of rows that end at some lengths, or of one row of packed sequences."""
    if isinstance(lengths, tuple):
        return Reading(Packed(lengths), wanted)
    if lengths is None:
        return Reading(Layout(n), wanted)
    steps = torch.arange(n)
    return Reading(Padded(steps < lengths[:, None], steps.expand(len(lengths), n), lengths), wanted)
