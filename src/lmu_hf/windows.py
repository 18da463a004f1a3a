"""A layer's memory in whatever form it is asked for: one window for all channels, or groups of them with one each."""

from collections.abc import Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor

from .chunks import Sequences
from .layout import Layout, Reading, Spread
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

    def read(
        self,
        form: str,
        u: Tensor,
        reading: Reading,
        initial: Tensor | None = None,
        weight: Tensor | None = None,
        wants_final: bool = False,
        backwards: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The states that are wanted, and the last memory.

        Args:
            form: one of ``SEQUENCE_FORMS``.
            u: (b, n, d_u), as its layout packs it.
            reading: the layout, and whether every state, the last or the mean is wanted.
            initial: (b, d_u, d), or None for zero.
            weight: W_m (d_o, d_u·d), if every state is to be read out by it.
            wants_final: whether the last memory is looked at where every state is wanted.
            backwards: u is the reversed signal.

        Returns:
            m (b, n or 1, d_u, d), or W_m m (b, n, d_o); and the last memory (sequences, d_u, d), over all ranks.
        """
        # Over ranks: what this part alone leaves decides what enters the next, and so what enters this one.
        layout, whole = reading.layout, None
        if isinstance(layout, Spread):
            initial, whole = self.enter(layout, self.final(form, u, layout), initial, backwards)
        if reading.wanted == "last":
            final = self.final(form, u, layout, initial)
            m = final.unsqueeze(1)
        elif reading.wanted == "mean":
            m, final = self.mean(u, layout, initial)
        else:
            # The common case without cutting and joining, as every decoded token passes here.
            if len(self.systems) == 1:
                m, final = _states(form, u, self.systems[0], initial, weight, layout.sequences)
            else:
                m, final = self.states(form, u, layout, initial, weight)
            if wants_final and layout.lengths is not None:  # what lies behind a row's end was read, too
                final = self.final(form, u, layout, initial)
        # Over ranks, final is where this part ends; the sequence ends where its last part does.
        return m, final if whole is None else whole

    def states(
        self, form: str, u: Tensor, layout: Layout, initial: Tensor | None = None, weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Every state and the last; or, given W_m (d_o, d_u·d), W_m times every state (b, n, d_o), and the last."""
        # W_m m is a sum over channels: each group is read by its own columns of W_m, which are channel-major.
        groups = zip(self._groups(u, 2, initial), self._cut(weight, 1), strict=True)
        runs = (_states(form, *group, part, layout.sequences) for group, part in groups)
        states, finals = zip(*runs, strict=True)
        return torch.cat(states, 2) if weight is None else reduce(torch.add, states), torch.cat(finals, 1)

    def final(self, form: str, u: Tensor, layout: Layout, initial: Tensor | None = None) -> Tensor:
        """The last state alone of each sequence."""
        if len(self.systems) == 1:
            return _final(form, u, self.systems[0], initial, layout)
        return torch.cat([_final(form, *group, layout) for group in self._groups(u, 2, initial)], 1)

    def mean(self, u: Tensor, layout: Layout, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The mean of all states, (b, 1, d_u, d), and the last one."""
        if len(self.systems) == 1:
            return memory_mean(u, self.systems[0], initial, layout.lengths)
        groups = self._groups(u, 2, initial)
        means, finals = zip(*(memory_mean(*group, layout.lengths) for group in groups), strict=True)
        return torch.cat(means, 2), torch.cat(finals, 1)

    def enter(
        self, layout: Spread, end: Tensor, initial: Tensor | None = None, backwards: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`Spread.enter`."""
        if len(self.systems) == 1:
            return layout.enter(end, self.systems[0], initial, backwards)
        groups = self._groups(end, 1, initial)
        entries, wholes = zip(*(layout.enter(*group, backwards) for group in groups), strict=True)
        return torch.cat(entries, 1), torch.cat(wholes, 1)

    def _groups(
        self, signal: Tensor, dim: int, initial: Tensor | None
    ) -> Iterator[tuple[Tensor, LegendreSystem, Tensor | None]]:
        """Each group's part of a tensor with channels along one dimension, its system, and its carried memory."""
        return zip(self._cut(signal, dim), self.systems, self._cut(initial, 1), strict=True)

    def _cut(self, tensor: Tensor | None, dim: int) -> Sequence:
        """Each group's part, along the dimension that channels lie along."""
        count = len(self.systems)
        # No memory, or no W_m, is none for every group.
        return [tensor] * count if tensor is None or count == 1 else tensor.chunk(count, dim)


def _states(
    form: str,
    u: Tensor,
    system: LegendreSystem,
    initial: Tensor | None,
    weight: Tensor | None,
    sequences: Sequences | None,
) -> tuple[Tensor, Tensor]:
    if sequences is not None:
        return _packed_states(form, u, system, weight, sequences)
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
    form: str, u: Tensor, system: LegendreSystem, weight: Tensor | None, sequences: Sequences
) -> tuple[Tensor, Tensor]:
    if weight is not None:
        return read_states(u, system, weight, sequences=sequences)
    if form in ("auto", "chunked"):
        return memory_packed(u, system, sequences)
    # Any other form was asked for by name: it reads one sequence after another.
    runs = [MEMORY_FORMS[form](part, system) for part in u.split(sequences.lengths, dim=1)]
    return torch.cat([m for m, _ in runs], dim=1), torch.cat([final for _, final in runs])


def _final(form: str, u: Tensor, system: LegendreSystem, initial: Tensor | None, layout: Layout) -> Tensor:
    if layout.sequences is not None:
        return memory_packed_final(u, system, layout.sequences)[1]
    serving = _serving(form, u.shape[1])
    if layout.lengths is None:
        # The other forms compute every state to find the last; chunked has eq. (25) in its place.
        return (memory_final if serving == "chunked" else MEMORY_FORMS[serving])(u, system, initial)[1]
    # Zeros before a row's first step leave an empty memory empty: then all rows end together.
    to_end = memory_scanned if serving == "scanned" else memory_final
    final = to_end(move_to_end(u, layout.lengths), system)[1]
    return final if initial is None else final + advance(initial, system, layout.lengths)
