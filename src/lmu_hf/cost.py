"""Which way of reading the states out is the cheapest: what each costs, counted before it is run.

N = b·n steps, n rounded up to whole chunks of L steps, or half a chunk more for each packed sequence, which ends
anywhere. Multiply-adds of the ways of :mod:`~lmu_hf.readout`:

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
from functools import lru_cache
from typing import NamedTuple

import torch

from .chunks import steps_walked

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
