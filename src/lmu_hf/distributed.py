"""One long sequence over several processes, each of which reads a part of it and passes on nothing but a memory.

A memory is linear, so that what a rank's part does to it splits in two: Ā^L times the memory that enters, and e, the
memory that the part alone would leave behind. Every rank computes its e by eq. (25), all ranks gather them, and the
memory that enters rank r is s_r = Σ_{j<r} Ā^(L_{j+1} + … + L_{r−1}) e_j. A layer thus sends b·d_u·d numbers, however
long the sequence is; backward, their gradients go the same way back and are summed. Everything else in a model looks
at one step at a time.

::

    with sequence_parallel():                                 # all ranks of the default group
        loss = model(input_ids=mine, labels=mine).loss        # of the whole sequence, the same on every rank
    loss.backward()                                           # then average gradients over ranks, as DDP does

Every rank must make the same calls in the same order, backward too: a rank with nothing to learn from still calls it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .layout import SHARING, Layout, Padded
from .memory import advance, memory_chunked, memory_final
from .statespace import LegendreSystem


class _Gather(torch.autograd.Function):
    """x (…) of every rank as (ranks, …); its gradients are summed where they belong. It differentiates twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: "Ranks") -> Tensor:
        ctx.ranks = ranks
        # Contiguous, as all_gather fills no other buffers; x may be a transposed view.
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(ranks.size)]
        dist.all_gather(parts, x.contiguous(), group=ranks.group)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # A Function again, and not a bare collective, so that a second derivative passes.
        return _SumAtHome.apply(grads[0], ctx.ranks), None


class _SumAtHome(torch.autograd.Function):
    """(ranks, …) to (…): row r of every rank, summed at rank r. The adjoint of :class:`_Gather`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: "Ranks") -> Tensor:
        ctx.ranks = ranks
        mine = torch.empty_like(x[0], memory_format=torch.contiguous_format)
        dist.reduce_scatter(mine, list(x.contiguous().unbind()), group=ranks.group)
        return mine

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _Gather.apply(grads[0], ctx.ranks), None


@dataclass(frozen=True)
class Ranks:
    """The processes that share one sequence, in the order of its parts.

    Args:
        group: a process group; None for all processes.

    Raises:
        RuntimeError: there are no process groups yet.
    """

    group: dist.ProcessGroup | None = None

    def __post_init__(self) -> None:
        if not dist.is_available() or not dist.is_initialized():
            raise RuntimeError("a sequence over ranks needs torch.distributed.init_process_group() first")
        if self.rank < 0:
            raise RuntimeError("this process is not in the group that shares the sequence")

    @property
    def rank(self) -> int:
        """Which part is this process's."""
        return dist.get_rank(self.group)

    @property
    def size(self) -> int:
        """How many parts there are."""
        return dist.get_world_size(self.group)

    def gather(self, x: Tensor) -> Tensor:
        """A tensor of one shape on every rank to (ranks, *shape), with gradients of any order."""
        return _Gather.apply(x, self)

    def total(self, x: Tensor) -> Tensor:
        """The sum over ranks, with gradients."""
        return self.gather(x).sum(0)

    def cut(self, x: Tensor) -> Tensor:
        """This rank's part of a whole sequence (b, n, …); the first n mod ranks parts are one step longer.

        Raises:
            ValueError: there are fewer steps than ranks.
        """
        if x.shape[1] < self.size:
            raise ValueError(f"a sequence of {x.shape[1]} steps cannot be cut for {self.size} ranks")
        return x.tensor_split(self.size, dim=1)[self.rank]

    def spread(self, rows: Layout, b: int, device: torch.device) -> "Spread":
        """The layout of a batch of b sequences, of which every rank gives how its own rows hold its part."""
        mine = torch.full((b + 1,), rows.columns, device=device)  # the last is not a row's: it counts columns
        if rows.lengths is not None:
            mine[:b] = rows.lengths
        every = self.gather(mine)
        # One count for all rows needs one product to pass; a count per row needs as many as it has bits.
        counts = [row[:b] for row in every.tolist()]
        part_lengths = tuple(row[0] if len(set(row)) == 1 else every[j, :b] for j, row in enumerate(counts))
        return Spread(rows, self, part_lengths, int(every[:, b].sum()))

    def next_labels(self, labels: Tensor) -> Tensor:
        """Labels (b, n) one step to the left; behind them the next rank's first, or −100 at the very end."""
        firsts = self.gather(labels[:, :1])
        last = firsts[self.rank + 1] if self.rank + 1 < self.size else torch.full_like(labels[:, :1], -100)
        return torch.cat([labels[:, 1:], last], dim=1)

    def pool(self, pooled: Tensor, steps: Tensor, pooling: str) -> Tensor:
        """What each rank pooled from its part (b, width) to the pooled whole, the same on every rank.

        Args:
            pooled: by ``pooling``, over this rank's real steps; anything finite where there are none.
            steps: (b,), how many real steps each row has here.
            pooling: ``"last"``, ``"mean"`` or ``"max"``.

        Raises:
            ValueError: a row has no real step on any rank.
        """
        parts, steps = self.gather(pooled), self.gather(steps)
        if not bool(steps.sum(0).all()):
            row = int((steps.sum(0) == 0).nonzero()[0])
            raise ValueError(f"attention_mask leaves no real step in row {row}; every sequence needs at least one")
        if pooling == "mean":
            # Ranks hold different numbers of a row's steps, so their means are weighted.
            share = steps.to(parts.dtype) / steps.sum(0)
            return (parts * share[..., None]).sum(0)
        if pooling == "max":
            # A rank without a real step of a row must not win, whatever it pooled there.
            return parts.masked_fill((steps == 0)[..., None], float("-inf")).amax(0)
        # The last rank that has a real step of the row: numbers from 1, so that 0 stands for none.
        number = torch.arange(1, self.size + 1, device=steps.device)[:, None]
        return parts[((steps > 0) * number).argmax(0), torch.arange(parts.shape[1], device=steps.device)]


def enter_part(
    ranks: Ranks,
    part_lengths: tuple[int | Tensor, ...],
    end: Tensor,
    system: LegendreSystem,
    initial: Tensor | None = None,
    backwards: bool = False,
) -> tuple[Tensor, Tensor]:
    """The memory that this rank's part goes on from, and the one that the whole sequence leaves behind.

    Args:
        ranks: who shares the sequence.
        part_lengths: of every rank's part: one count for all rows, or (b,).
        end: (b, d_u, d), what this part alone would leave in an empty memory.
        system: whose dynamics.
        initial: (b, d_u, d), before the first rank's part and the same on every rank; None for zero.
        backwards: the sequence is read from the last rank to the first.
    """
    ends = ranks.gather(end)
    order = range(ranks.size)[:: -1 if backwards else 1]
    memory = torch.zeros_like(end) if initial is None else initial
    entries = []
    # s_{j+1} = Ā^{L_j} s_j + e_j, from the first part that is read to the last.
    for j in order:
        entries.append(memory)
        memory = advance(memory, system, part_lengths[j]) + ends[j]
    # Picked from a stack, it hangs on what was gathered on the first rank too: backward, all ranks must call.
    return torch.stack(entries)[order.index(ranks.rank)], memory


class Spread(Layout):
    """A rank's part of a batch of sequences, beside those of the other ranks.

    Args:
        rows: how this part's rows hold it, dense or padded.
        ranks: who shares the sequences.
        part_lengths: of every rank's part: one count for all rows, or (b,).
        columns: of all parts together, whether steps are real or not.
    """

    ranks: Ranks

    def __init__(self, rows: Layout, ranks: Ranks, part_lengths: tuple[int | Tensor, ...], columns: int) -> None:
        super().__init__(columns)
        self.rows, self.ranks, self.part_lengths = rows, ranks, part_lengths
        self.mask, self.lengths = rows.mask, rows.lengths
        # Steps are packed within the part; only what looks across parts (a memory, a pool, a label) asks the ranks.
        self.pack, self.unpack, self.reverse = rows.pack, rows.unpack, rows.reverse  # type: ignore[method-assign]
        self.last, self.mean = rows.last, rows.mean  # type: ignore[method-assign]

    def pool_by(self, word: str, x: Tensor, is_reduced: bool = False) -> Tensor:
        """What each rank pooled of its part, pooled over ranks: the same on every rank."""
        if isinstance(self.rows, Padded):
            part, steps = self.rows.pool_by(word, x, is_reduced, is_part=True), self.rows.lengths
        else:
            part = self.rows.pool_by(word, x, is_reduced)
            steps = torch.full((len(x),), self.rows.columns, device=x.device)
        return self.ranks.pool(part, steps, word)

    def enter(
        self, end: Tensor, system: LegendreSystem, initial: Tensor | None = None, backwards: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The memory that this part goes on from, and the last one, as :func:`enter_part` finds them."""
        return enter_part(self.ranks, self.part_lengths, end, system, initial, backwards)


def memory_across(
    u: Tensor, system: LegendreSystem, initial: Tensor | None = None, ranks: Ranks | None = None
) -> tuple[Tensor, Tensor]:
    """A form of the memory whose sequence lies over several ranks.

    Args:
        u: (b, n, d_u), this rank's part; n may differ from rank to rank.
        system: whose dynamics.
        initial: (b, d_u, d), before the first rank's part and the same on every rank; None for zero.
        ranks: who shares the sequence; by default all processes.

    Returns:
        m (b, n, d_u, d) of this part, and the final memory (b, d_u, d) of the whole sequence, the same on every rank.
    """
    ranks = Ranks() if ranks is None else ranks
    # Every rank needs the length of every part: Ā^L carries a memory over a part of L steps.
    steps = ranks.gather(torch.tensor([u.shape[1]], device=u.device))
    entry, final = enter_part(ranks, tuple(steps[:, 0].tolist()), memory_final(u, system)[1], system, initial)
    return memory_chunked(u, system, entry)[0], final


@contextmanager
def sequence_parallel(group: dist.ProcessGroup | None = None) -> Iterator[Ranks]:
    """Within it, every model of the family takes its inputs for this rank's part of sequences that go on across ranks.

    Inputs, masks, labels and outputs are the part's: (b, n) with one b for all ranks and any n. Losses, pooled classes
    and carried memories are the whole sequence's and the same on every rank; memories that are given must be, too. An
    image is given whole to every rank, which reads its part of the pixels. Gradients of a loss, averaged over ranks,
    are those of one process with the whole sequence. Backward passes need not stand within it.

    Args:
        group: the processes that share each sequence; None for all.

    Raises:
        RuntimeError: there is no process group, or this process is not in it.
    """
    SHARING.append(Ranks(group))
    try:
        yield SHARING[-1]
    finally:
        SHARING.pop()
