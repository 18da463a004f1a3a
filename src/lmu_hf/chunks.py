"""How long signals are cut into chunks of L steps, and what the memory holds on entry to each.

A chunk is read by one matrix product: [memory on entry; its L inputs] times the constant ``"chunk"``. What is left is
to find the memories on entry. That is a recurrence again, over chunks in place of steps: m_{k+1} = Ā^L m_k + e_k, where
e_k is what chunk k alone would leave in an empty memory, eq. (25).

Walking over n/L chunks one by one would be n/L products that wait for each other. So eight neighbours make a group.
What enters each group is found first, by the same function on chunks eight times as long; then all groups are walked
side by side. What waits is 8·log₈(n/L) products long.
"""

from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import pad

from .constants import constant, impulse_tail
from .statespace import LegendreSystem

GROUP = 8  # chunks that are walked one after the other
LONGEST_IMPULSE = 4096  # steps: a longer stored H would be larger than it is worth


def entry_memories(
    x: Tensor, system: LegendreSystem, first: Tensor, columns: bool = False, starts: Tensor | None = None
) -> Tensor:
    """What is remembered on entry to each chunk of time.

    What a step costs is d/L·d + d operations for each channel.

    Args:
        x: the written signal in chunks of L steps: (b, chunks, L), a channel a row; or (b, chunks, L, d_u) if
            ``columns``.
        system: whose dynamics.
        first: what enters the first chunk, (b, d) or (b, d, d_u).
        columns: channels lie behind time, and the constants multiply from the left.
        starts: (chunks,), true at chunks that a sequence of its own starts with, so that nothing enters them.

    Returns:
        (b, chunks, d) or (b, chunks, d, d_u).
    """
    reached = _reaching(x, system, first, columns, starts)
    return reached if starts is None else _blank(reached, starts)


def steps_walked(chunks: int, L: int) -> int:
    """How many products, one after the other, :func:`entry_memories` makes of so many chunks."""
    walked = 0
    while _grouped(chunks, L):
        walked, chunks, L = walked + GROUP, -(-chunks // GROUP), L * GROUP
    return walked + chunks


def _grouped(chunks: int, L: int) -> bool:
    """Whether so many chunks are walked in groups."""
    return chunks > GROUP and L * GROUP <= LONGEST_IMPULSE


def _reaching(x: Tensor, system: LegendreSystem, first: Tensor, columns: bool, starts: Tensor | None) -> Tensor:
    """What the chunks before leave behind; what starts there has not forgotten it yet."""
    chunks, L = x.shape[1:3]
    if not _grouped(chunks, L):
        one_group = None if starts is None else starts[None]
        return _walk(first[:, None], x[:, None], system, columns, one_group).flatten(1, 2)
    groups = -(-chunks // GROUP)
    missing = groups * GROUP - chunks
    if missing:
        x = pad(x, (0, 0) * (x.ndim - 2) + (0, missing))
    x = x.unflatten(1, (groups, GROUP))
    if starts is None:
        entry = _reaching(x.flatten(2, 3), system, first, columns, None)
    else:
        # Of a group in which sequences start, nothing from before the last of them leaves: a group, too, starts afresh.
        starts = pad(starts, (0, missing)).unflatten(0, (groups, GROUP))
        ended = starts.flip(1).cumsum(1).flip(1) > starts.int()
        entry = _reaching(_blank(x, ended).flatten(2, 3), system, first, columns, starts.any(1))
    return _walk(entry, x, system, columns, starts).flatten(1, 2)[:, :chunks]


def _walk(memory: Tensor, x: Tensor, system: LegendreSystem, columns: bool, starts: Tensor | None) -> Tensor:
    """From what reaches each group (b, groups, d, …) to what reaches each of its chunks (b, groups, k, L, …)."""
    L = x.shape[3]
    # m_{k+1} = Ā^L m_k + e_k; the ends e_k of all chunks are one product, and only the carrying waits for itself.
    decay, entries = constant("A_power", system, L, x.dtype, x.device).T, [memory]
    for k, end in enumerate(times(x[:, :, :-1], impulse_tail(system, L, x), columns).unbind(2)):
        entering = entries[-1] if starts is None else _blank(entries[-1], starts[:, k])
        entries.append(times(entering, decay, columns) + end)
    return torch.stack(entries, dim=2)


def _blank(x: Tensor, where: Tensor) -> Tensor:
    """Zeros in x (b, *k, …) where a mask (*k) is true."""
    return torch.where(where.view(*where.shape, *[1] * (x.ndim - 1 - where.ndim)), x.new_zeros(()), x)


def times(x: Tensor, matrix: Tensor, columns: bool = False) -> Tensor:
    """(…, k) times a constant (k, p), to (…, p); if ``columns``, (…, k, d_u) to (…, p, d_u)."""
    if not columns:
        return x @ matrix
    flat = x.flatten(0, -3)
    return torch.bmm(matrix.T.expand(flat.shape[0], -1, -1), flat).unflatten(0, x.shape[:-2])


@dataclass(frozen=True)
class Chunks:
    """Packed sequences laid on chunks of L steps, so that no chunk holds parts of two.

    A sequence ends where its last chunk does; zeros before its first step leave an empty memory empty.
    """

    steps: int  # chunks · L
    place: Tensor  # (n,): where each step is laid
    starts: Tensor  # (chunks,): true at the first chunk of each sequence
    ends: Tensor  # (sequences,): the last chunk of each

    def lay(self, x: Tensor) -> Tensor:
        """(k, n, …) to (k, chunks · L, …)."""
        return Lay.apply(x, self.place, self.steps)

    def take(self, x: Tensor) -> Tensor:
        """(k, chunks · L, …) back to (k, n, …)."""
        return Take.apply(x, self.place)


@dataclass(frozen=True)
class Sequences:
    """Sequences that stand end to end in one row (1, n, …), each to be read from an empty memory.

    Args:
        lengths: in their order, all at least 1.
    """

    lengths: tuple[int, ...]
    _laid: dict[tuple[int, torch.device], Chunks] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        """How many sequences there are."""
        return len(self.lengths)

    @property
    def mean_length(self) -> int:
        """Of the sequences, rounded up."""
        return -(-sum(self.lengths) // len(self.lengths))

    def first_steps(self, device: torch.device | str | None = None) -> Tensor:
        """(sequences,): where each begins."""
        return torch.tensor([0, *accumulate(self.lengths[:-1])], device=device)

    def last_steps(self, device: torch.device | str | None = None) -> Tensor:
        """(sequences,): where each ends."""
        return torch.tensor(list(accumulate(self.lengths)), device=device) - 1

    def chunks(self, L: int, device: torch.device) -> Chunks:
        """Where the sequences stand on chunks of L steps; computed once for each L."""
        if (L, device) not in self._laid:
            lengths = torch.tensor(self.lengths, device=device)
            counts = (lengths + L - 1) // L
            ends = counts.cumsum(0)
            n, chunks = sum(self.lengths), sum(-(-length // L) for length in self.lengths)
            # A sequence's zeros stand before its first step: it ends where the last of its chunks does.
            behind = (ends * L - lengths.cumsum(0)).repeat_interleave(lengths, output_size=n)
            starts = torch.zeros(chunks, dtype=torch.bool, device=device).index_fill(0, ends - counts, True)
            place = torch.arange(n, device=device) + behind
            self._laid[L, device] = Chunks(chunks * L, place, starts, ends - 1)
        return self._laid[L, device]


# An index_select's own gradient adds into each place, since a place may be read twice. Here none is: the gradient of
# either function is the other one, which copies.


class Lay(torch.autograd.Function):
    """Steps (k, n, …) to their places among zeros."""

    @staticmethod
    def forward(ctx, x: Tensor, place: Tensor, steps: int) -> Tensor:
        """To (k, steps, …)."""
        ctx.save_for_backward(place)
        return x.new_zeros(x.shape[0], steps, *x.shape[2:]).index_copy_(1, place, x)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None, None]:
        """By :class:`Take`."""
        return Take.apply(grads[0], *ctx.saved_tensors), None, None


class Take(torch.autograd.Function):
    """Steps from their places."""

    @staticmethod
    def forward(ctx, x: Tensor, place: Tensor) -> Tensor:
        """(k, steps, …) to (k, n, …)."""
        ctx.save_for_backward(place)
        ctx.steps = x.shape[1]
        return x.index_select(1, place)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        """By :class:`Lay`."""
        return Lay.apply(grads[0], *ctx.saved_tensors, ctx.steps), None
