"""How signals are cut into chunks of L steps, what the memory holds on entry to each, and which cut is the cheapest.

A chunk is read by one matrix product: [memory on entry; its L inputs] times the constant ``"chunk"``. What is left is
to find the memories on entry. That is a recurrence again, over chunks in place of steps: m_{k+1} = Ā^L m_k + e_k, where
e_k is what chunk k alone would leave in an empty memory, eq. (25).

Walking over n/L chunks one by one would be n/L products that wait for each other. So eight neighbours make a group.
What enters each group is found first, by the same function on chunks eight times as long; then all groups are walked
side by side. What waits is 8·log₈(n/L) products long.

What a way costs is counted before it is run. With N = b·n steps, n rounded up to whole chunks, or half a chunk more for
each packed sequence, which ends anywhere, the multiply-adds of the ways of :mod:`~lmu_hf.readout` are:

====================  ==============================  ====================================
multiply-adds         fused                           tiled, or kept
====================  ==============================  ====================================
memories on entry     N·d_u·d·(1 + d/L)               the same
C W_mᵀ                d_u·(d + L)·L·d·d_o             –
the chunk product     N·d_u·(d + L)·d_o               N·d_u·d·(d + L) and N·d_u·d·d_o
====================  ==============================  ====================================

Numbers that are moved through memory and calls of PyTorch are counted in multiply-adds, too.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from .constants import constant, impulse_tail
from .statespace import LegendreSystem

GROUP = 8  # chunks that are walked one after the other
LONGEST_IMPULSE = 4096  # steps: a longer stored H would be larger than it is worth
LENGTHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)  # others, but for n itself, make products whose rows lie askew
LARGEST_CONSTANT = 2**24  # numbers
LARGEST_KEPT = 2**23  # numbers of m

# What is counted, in multiply-adds on one core of a processor: measured, see docs/log.md.
MOVED = 22.0  # a number written and read again, through main memory
CACHED = 4.0  # the same through the cache
TURNED = 5.0  # how often a joined number counts as moved where it changes places with channels
CALL = 1.5e6  # a call of PyTorch, however small
THIN = 40.0  # what a product costs beside its multiply-adds, for each number of its result
NARROW = 40.0  # what the last product costs more, for each number of its result, if it sums fewer than NARROWEST
NARROWEST = 4


def check_signal(u: Tensor, system: LegendreSystem, initial: Tensor | None) -> None:
    """What every form asks of its inputs.

    Raises:
        ValueError: a shape does not fit.
        TypeError: u is not float32 or float64, or the initial memory is of another dtype.
    """
    shape, dtype = u.shape, u.dtype  # read once: under a recorder each look is a call
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"u must be (batch ≥ 1, time ≥ 1, channels ≥ 1), got {tuple(shape)}")
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(f"u must be float32 or float64, since a memory in half precision drifts; got {dtype}")
    if initial is not None:
        expected = (shape[0], shape[2], system.order)
        if initial.shape != expected:
            got = f"{tuple(initial.shape)}: a carried memory, in a cache say, fits the model that wrote it alone"
            raise ValueError(f"initial must be (batch, channels, order) = {expected}, got {got}")
        if initial.dtype != dtype:
            raise TypeError(f"initial must have u's dtype {dtype}, got {initial.dtype}")


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


def whole_chunks(u: Tensor, L: int) -> Tensor:
    """With zeros behind the last step, which change no state before it."""
    return pad(u, (0, 0, 0, -u.shape[1] % L))


def cut_chunks(x: Tensor, L: int, columns: bool) -> Tensor:
    """(b, n, d_u) to (b, chunks, L, d_u) if ``columns``, and else to (b·d_u, chunks, L)."""
    return x.unflatten(1, (-1, L)) if columns else x.mT.reshape(x.shape[0] * x.shape[2], -1, L)


def join_chunks(x: Tensor, entry: Tensor, L: int, columns: bool) -> Tensor:
    """What decides each chunk: (b·chunks, d + L, d_u) if ``columns``, and else (b·chunks, d_u, d + L)."""
    joined = torch.cat([entry, cut_chunks(x, L, columns)], dim=2)
    if columns:
        return joined.flatten(0, 1)
    return joined.unflatten(0, (x.shape[0], -1)).transpose(1, 2).flatten(0, 1)


def part_chunks(joined: Tensor, b: int, L: int, columns: bool) -> tuple[Tensor, Tensor]:
    """The adjoint of :func:`join_chunks`: gradients of x and of the entry memories."""
    if columns:
        joined = joined.unflatten(0, (b, -1))
        entry, x = joined[:, :, :-L], joined[:, :, -L:]
        return x.flatten(1, 2), entry
    joined = joined.unflatten(0, (b, -1)).transpose(1, 2)
    entry, x = joined[..., :-L], joined[..., -L:]
    return x.flatten(2).mT, entry.flatten(0, 1)


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


class Plan(NamedTuple):
    """How a readout is computed."""

    fused: bool
    chunk: int  # L, steps in a chunk
    kept: bool = False  # whether autograd keeps m


class Shape(NamedTuple):
    """What the cost of a readout depends on."""

    b: int
    n: int
    d: int
    d_u: int
    d_o: int
    packed: bool = False  # b sequences of about n steps, end to end in one row


def readout_cost(plan: Plan, shape: Shape) -> float:
    """What a readout costs forward and backward, in multiply-adds, memory traffic and calls being counted as such.

    Args:
        plan: how it is computed.
        shape: of what.
    """
    (fused, L, kept), (b, n, d, d_u, d_o, packed) = plan, shape
    # A packed sequence ends anywhere in its last chunk: half of that is zeros, on average.
    steps = b * (n + L / 2) if packed else b * -(-n // L) * L
    chunks = math.ceil(steps / L if packed else steps / L / b)
    # N·d_u·d for the chunks' ends, N·d_u·d·d/L to carry them on: a thin product, so each of its results counts more.
    entering = steps * d_u * d * (1 + (d + 2 * THIN) / L) if chunks > 1 else 0.0
    joined, states = steps / L * d_u * (d + L), steps * d_u * d
    # A length that is not whole chunks moves the outputs twice more; what is kept is cut in their place.
    ragged = 2 * steps * d_o if packed or (n % L and not kept) else 0
    # What one output sums: where that is next to nothing, a product's time goes into its results.
    summed = d_u * (d + L if fused else d)
    narrow = NARROW * steps * d_o if summed < NARROWEST else 0.0
    calls = 8 + steps_walked(chunks, L)
    if fused:
        # Fused from several channels, time and channels change places in what is joined: it moves TURNED times more.
        constant = summed * L * d_o
        frozen, trained = 0.0, joined * L * d_o + constant * d
        moved = (2 if d_u == 1 else 2 + TURNED) * joined + 2 * constant
    else:
        frozen, trained = states * (d + L + THIN), states * d_o
        moved = 2 * joined + states * (1 if kept else 2 * CACHED / MOVED)
    # C is read for every product with it, which counts half of being moved.
    moved += (d + L) * L * d / 2
    # Each product with a tensor that trains is made three times (forward, and backward for either factor); so is each
    # with a frozen constant (forward, forward again for the backward pass, backward), unless m is kept.
    again = 2 if kept else 3
    return again * (frozen + entering + MOVED * moved + CALL * calls) + 3 * (trained + narrow) + MOVED * ragged


def plan_readout(shape: Shape, may_fuse: bool = True) -> Plan:
    """The cheapest plan by :func:`readout_cost`, among those whose constants are of a sensible size.

    Args:
        shape: the sizes.
        may_fuse: whether W_m may be multiplied into a constant: not where it is rounded to half precision.
    """
    # A tracer runs the search once, and takes no cache for what it is.
    return _cheapest(shape, may_fuse) if torch.compiler.is_dynamo_compiling() else _remembered(shape, may_fuse)


def plans_for(shape: Shape, may_fuse: bool = True) -> list[Plan]:
    """What :func:`plan_readout` chooses from."""
    ways = (True, False) if may_fuse else (False,)
    lengths = sorted({L for L in (*LENGTHS, shape.n) if shape.n >= L and LENGTHS[-1] >= L})
    plans = [Plan(fused, L) for fused in ways for L in lengths]
    if not shape.packed and shape.b * shape.n * shape.d_u * shape.d <= LARGEST_KEPT:
        plans += [Plan(False, L, kept=True) for L in lengths if L >= 16 or shape.n == L]
    return [plan for plan in plans if _fits(plan, shape)]


def _cheapest(shape: Shape, may_fuse: bool) -> Plan:
    best, least = Plan(False, 1), float("inf")
    for plan in plans_for(shape, may_fuse):
        cost = readout_cost(plan, shape)
        if cost < least:
            best, least = plan, cost
    return best


_remembered = lru_cache(maxsize=1024)(_cheapest)


def _fits(plan: Plan, shape: Shape) -> bool:
    numbers = (shape.d + plan.chunk) * plan.chunk * max(shape.d, shape.d_u * shape.d_o * plan.fused)
    return plan.chunk == 1 or numbers <= LARGEST_CONSTANT


def chunk_length(n: int, order: int) -> int:
    """The chunk of time L that costs :func:`memory_chunked` the least, among powers of two.

    Counted per step and channel, in multiply-adds: d·(d + L) for the chunk product, and, shared by L steps, d·L for
    the chunks' own ends and d² to carry memories across. The chunk constant, (d + L)·L·d numbers, is kept
    under 8 million.
    """
    d = order

    def cost(L: int) -> float:
        return d * (d + L) + d + d * d / L * (n > L)

    # Below 32 steps a chunk is too thin for the matrix units to run at speed, whatever the count says.
    allowed = [L for L in (32, 64, 128, 256) if (d + L) * L * d <= 8e6] or [16]
    best = allowed[0]
    for L in allowed:  # a tracer to which n is a symbol knows no min with a key
        if cost(L) < cost(best):
            best = L
    return best if n > best else n


def power_of_two(length: float) -> int:
    """The nearest: other lengths would each have constants of their own."""
    return 1 << max(round(math.log2(length)), 0)
