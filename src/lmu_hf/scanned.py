"""The form of the memory whose graph holds no length: for export, where one graph must serve any length."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from .memory import _check, chunk_length, constant_like
from .statespace import LegendreSystem

MANY = 2**14  # steps: what a block's length is chosen for, since a graph of any length has one block for all


def memory_scanned(
    u: Tensor, system: LegendreSystem, initial: Tensor | None = None, block: int | None = None
) -> tuple[Tensor, Tensor]:
    """As :func:`memory_chunked`, but memories are carried from block to block in turn.

    The chunked form unrolls log₂(n/L) products, and a trace would keep their number. Here the blocks' inputs are one
    matrix, the carrying is one loop, which an exported graph keeps as a loop, and the number of blocks is a size.

    Args:
        u: (b, n, d_u).
        system: whose dynamics.
        initial: (b, d_u, d), or None for zero.
        block: L; by default as :func:`chunk_length` decides for a long sequence.
    """
    _check(u, system, initial)
    b, n, d_u = u.shape
    L = block or chunk_length(MANY, system.order)
    blocks = (n + L - 1) // L + 1  # one more than needed: a size that may be 1 is another graph to torch
    missing = blocks * L - n
    # Zeros before the first step leave an empty memory empty, so the last block ends where the sequence does. Then a
    # graph that reads only the final memory never computes the others.
    x = pad(u.transpose(1, 2), (missing, 0) if initial is None else (0, missing)).unfold(2, L, L)
    H_reversed, chunk, power = (constant_like(kind, system, L, u) for kind in ("H_reversed", "chunk", "A_power"))
    first = u.new_zeros(b, d_u, system.order) if initial is None else initial
    final, entry = carry(first, (x @ H_reversed).permute(2, 0, 1, 3), power.T)
    m = torch.cat([entry.permute(1, 2, 0, 3), x], dim=-1) @ chunk
    m = m.unflatten(3, (L, -1)).flatten(2, 3).transpose(1, 2)
    # By their numbers: that a slice of n steps lies within these blocks is more than torch.export can prove.
    steps = torch.arange(n, device=u.device)
    m = m.index_select(1, steps + missing if initial is None else steps)
    return m, final if initial is None else m[:, -1]


def carry(memory: Tensor, ends: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """What enters each block, and what leaves the last.

    Args:
        memory: (b, d_u, d), what enters the first block.
        ends: (blocks, b, d_u, d), what each block alone would leave in an empty memory.
        power: (d, d), what a memory is multiplied with from the right as it passes a block.

    Returns:
        final (b, d_u, d), and entry (blocks, b, d_u, d).
    """
    if torch.compiler.is_exporting():
        from torch._higher_order_ops.scan import scan

        return scan(lambda memory, end: (memory @ power + end, memory.clone()), memory, ends, dim=0)
    entry = []
    for end in ends.unbind():
        entry.append(memory)
        memory = memory @ power + end
    return memory, torch.stack(entry)
