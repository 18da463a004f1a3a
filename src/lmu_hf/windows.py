"""A layer's memory in whatever form it is asked for: one window for all channels, or groups of them with one each."""

from collections.abc import Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor

from .distributed import Chunk
from .memory import (
    MEMORY_FORMS,
    advance,
    memory_final,
    memory_mean,
    memory_packed,
    memory_packed_final,
    memory_scanned,
    move_to_end,
)
from .ragged import Segments
from .readout import read_states
from .statespace import LegendreSystem

SEQUENCE_FORMS = ("auto", "recurrent", "chunked", "scanned", "fft", "toeplitz")


class Windows:
    """The Legendre systems of a layer's d_u channels: equal groups of neighbours, each with a window of its own.

    What goes in and comes out is of all channels: u (b, n, d_u), memories (b, d_u, d), m (b, n, d_u, d). A ``form`` is
    one of ``SEQUENCE_FORMS``; ``"auto"`` is the fastest for what is asked.

    Args:
        systems: one for each group, all of one order d.
        channels: d_u.

    Raises:
        ValueError: the systems differ in their orders, or the channels do not fall into so many equal groups.
    """

    def __init__(self, systems: Sequence[LegendreSystem], channels: int) -> None:
        self.systems = tuple(systems)
        orders = [system.order for system in systems]
        if len(set(orders)) != 1:
            raise ValueError(f"the systems of one layer must be of one order, got orders {orders}")
        if channels % len(orders):
            raise ValueError(f"{channels} channels do not fall into {len(orders)} equal groups, one for each window")

    @property
    def order(self) -> int:
        """How many coefficients each channel has, d."""
        return self.systems[0].order

    def states(
        self,
        form: str,
        u: Tensor,
        initial: Tensor | None = None,
        weight: Tensor | None = None,
        segments: Segments | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Every state and the last; or, given W_m (d_o, d_u·d), W_m times every state (b, n, d_o), and the last."""
        groups = zip(self._groups(u, 2, initial), self._cut(weight, 1), strict=True)
        states, finals = zip(*(_states(form, *group, part, segments) for group, part in groups), strict=True)
        return _join(states, 2) if weight is None else reduce(torch.add, states), _join(finals, 1)

    def final(
        self, form: str, u: Tensor, initial: Tensor | None = None, lengths: Tensor | Segments | None = None
    ) -> Tensor:
        """The last state alone, of rows that end at ``lengths`` or of each of the sequences that are packed in one."""
        return _join([_final(form, *group, lengths) for group in self._groups(u, 2, initial)], 1)

    def mean(self, u: Tensor, initial: Tensor | None = None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The mean of all states, (b, 1, d_u, d), and the last one."""
        means, finals = zip(*(memory_mean(*group, lengths) for group in self._groups(u, 2, initial)), strict=True)
        return _join(means, 2), _join(finals, 1)

    def enter(
        self, chunk: Chunk, end: Tensor, initial: Tensor | None = None, backwards: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`Chunk.enter`."""
        groups = self._groups(end, 1, initial)
        entries, wholes = zip(*(chunk.enter(*group, backwards) for group in groups), strict=True)
        return _join(entries, 1), _join(wholes, 1)

    def _groups(
        self, signal: Tensor, dim: int, initial: Tensor | None
    ) -> Iterator[tuple[Tensor, LegendreSystem, Tensor | None]]:
        """Each group's part of a tensor with channels along one dimension, its system, and its carried memory."""
        return zip(self._cut(signal, dim), self.systems, self._cut(initial, 1), strict=True)

    def _cut(self, tensor: Tensor | None, dim: int) -> Sequence:
        """Each group's part, along the dimension that channels lie along."""
        count = len(self.systems)
        return [tensor] * count if tensor is None or count == 1 else tensor.chunk(count, dim)


def _join(parts: tuple[Tensor, ...] | list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _states(
    form: str,
    u: Tensor,
    system: LegendreSystem,
    initial: Tensor | None,
    weight: Tensor | None = None,
    segments: Segments | None = None,
) -> tuple[Tensor, Tensor]:
    if segments is not None:
        return _packed_states(form, u, system, weight, segments)
    if weight is not None:
        return read_states(u, system, weight, initial)
    return MEMORY_FORMS[_serving(form, u.shape[1])](u, system, initial)


def _serving(form: str, n: int) -> str:
    """The form that serves n steps.

    Raises:
        ValueError: n is free in a graph to be exported, and the form that was asked for unrolls it.
    """
    if isinstance(n, torch.SymInt) and torch.compiler.is_exporting():
        if form not in ("auto", "scanned"):
            raise ValueError(f"memory_form={form!r} has a graph for one length alone: 'auto' or 'scanned' serve any")
        return "scanned"
    return "step" if n == 1 else "chunked" if form == "auto" else form


@torch.compiler.disable  # where sequences start is data: a graph would serve one batch
def _packed_states(
    form: str, u: Tensor, system: LegendreSystem, weight: Tensor | None, segments: Segments
) -> tuple[Tensor, Tensor]:
    if weight is not None:
        return read_states(u, system, weight, sequences=segments)
    if form in ("auto", "chunked"):
        return memory_packed(u, system, segments)
    runs = [MEMORY_FORMS[form](part, system) for part in u.split(segments.lengths, dim=1)]
    return torch.cat([m for m, _ in runs], dim=1), torch.cat([final for _, final in runs])


def _final(
    form: str, u: Tensor, system: LegendreSystem, initial: Tensor | None, lengths: Tensor | Segments | None
) -> Tensor:
    if isinstance(lengths, Segments):
        return memory_packed_final(u, system, lengths)[1]
    serving = _serving(form, u.shape[1])
    if lengths is None:
        return (memory_final if serving == "chunked" else MEMORY_FORMS[serving])(u, system, initial)[1]
    to_end = memory_scanned if serving == "scanned" else memory_final
    final = to_end(move_to_end(u, lengths), system)[1]
    return final if initial is None else final + advance(initial, system, lengths)
