"""Batches of unequal lengths: masked steps taken out of their rows, and sequences packed end to end in one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .chunks import Sequences, Take

# --------------------------------------------------------------------------- masks


@dataclass(frozen=True)
class Packing:
    """Real steps moved to the front of their rows, so that a masked step does not exist.

    Causal layers then see each row as the sequence with its masked steps removed, whatever stood on them: outputs
    are exact for left, right, two-sided and holed masks alike, with and without a carried memory.
    """

    mask: Tensor  # (b, n) bool: True where a step is real
    order: Tensor  # (b, n'): where each packed step came from
    lengths: Tensor  # (b,): how many steps are real

    @classmethod
    def from_mask(cls, mask: Tensor) -> "Packing":
        """From a mask (b, n), true or non-zero where a step is real; n' is the longest row's length."""
        mask = mask.bool()
        lengths = mask.sum(1)
        # Real steps to the front and masked ones behind them, by counting: a stable sort that also exports to ONNX.
        place = torch.where(mask, mask.cumsum(1), lengths[:, None] + (~mask).cumsum(1)) - 1
        steps = torch.arange(mask.shape[1], device=mask.device).expand_as(place)
        order = torch.zeros_like(place).scatter(1, place, steps)
        if not torch.compiler.is_compiling():
            order = order[:, : max(int(lengths.max()), 1)]
        return cls(mask, order, lengths)

    def pack(self, x: Tensor) -> Tensor:
        """(b, n, …) to (b, n', …), zero behind each row's end."""
        kept = x.gather(1, expand_index(self.order, x))
        behind = torch.arange(kept.shape[1], device=x.device) >= self.lengths[:, None]
        return kept.masked_fill(expand_index(behind, kept), 0)

    def unpack(self, x: Tensor) -> Tensor:
        """(b, n', …) back to (b, n, …), zero on masked steps."""
        place = (self.mask.cumsum(1) - 1).clamp(min=0)
        return x.gather(1, expand_index(place, x)).masked_fill(~expand_index(self.mask, x), 0)


# --------------------------------------------------------------------------- packed sequences


@dataclass(frozen=True)
class Segments(Sequences):
    """Sequences packed end to end in one row, each to be read as if it stood alone.

    Only a memory looks across time, so only it needs to know them: it begins each one empty.

    Args:
        lengths: of the sequences, in their order, all at least 1.
        rows: how many rows of equal length they came in.
    """

    rows: int = 1

    @classmethod
    def from_inputs(
        cls,
        b: int,
        n: int,
        position_ids: Tensor | None = None,
        cu_seq_lens_q: Tensor | None = None,
        seq_idx: Tensor | None = None,
        attention_mask: Tensor | None = None,
        begins: bool = True,
    ) -> "Segments | None":
        """What transformers' ``DataCollatorWithFlattening`` says of b rows of n steps; None if a row is one sequence.

        Args:
            b: rows.
            n: steps of each.
            position_ids: (b, n) or (1, n); a sequence starts at every 0.
            cu_seq_lens_q: (sequences + 1,), 0 and where each sequence of the one row ends.
            seq_idx: (b, n); a sequence starts wherever it changes.
            attention_mask: (b, n), or (b, past + n) whose last n columns are used.
            begins: rows begin here, rather than go on from a memory or from another rank's chunk.

        Raises:
            ValueError: a shape or value does not fit, two descriptions differ, or steps are masked beside packing.
        """
        if position_ids is None and cu_seq_lens_q is None and seq_idx is None:
            return None
        real = None if attention_mask is None else attention_mask[:, -n:].bool()
        found: dict[str, Tensor] = {}
        if position_ids is not None:
            found["position_ids"] = _restarts(_of_steps("position_ids", position_ids, b, n), real, begins)
        if cu_seq_lens_q is not None:
            found["cu_seq_lens_q"] = _cumulated(cu_seq_lens_q, b, n)
        if seq_idx is not None:
            changes = _of_steps("seq_idx", seq_idx, b, n).diff(dim=1) != 0
            found["seq_idx"] = torch.cat([changes.new_ones(b, 1), changes], dim=1)
        told, starts = next(iter(found.items()))
        for name, others in found.items():
            if bool((others != starts).any()):
                row, step = (others != starts).nonzero()[0].tolist()
                raise ValueError(f"{told} and {name} (batch, time) differ on whether step [{row}, {step}] is a start")
        if not bool(starts[:, 1:].any()):
            return None
        if real is not None and not bool(real.all()):
            masked = int((~real).sum())
            raise ValueError(
                f"attention_mask masks {masked} of {b * n} steps and {told} packs sequences: leave the mask out, "
                f"as packed rows (batch, time) = ({b}, {n}) have no padding"
            )
        first = starts.flatten().nonzero()[:, 0].tolist()
        return cls(tuple(end - start for start, end in zip(first, [*first[1:], b * n], strict=True)), b)

    def owners(self, device: torch.device | str | None = None) -> Tensor:
        """(steps,): which sequence each is of, counted from 0."""
        lengths = torch.tensor(self.lengths, device=device)
        return torch.arange(len(self), device=device).repeat_interleave(lengths, output_size=sum(self.lengths))

    def ages(self, device: torch.device | str | None = None) -> Tensor:
        """(steps,): how many steps of its own sequence stand before each."""
        owners = self.owners(device)
        return torch.arange(len(owners), device=device) - self.first_steps(device)[owners]

    def pack(self, x: Tensor) -> Tensor:
        """(b, n, …) to the one row (1, b·n, …)."""
        return x.flatten(0, 1)[None]

    def unpack(self, x: Tensor) -> Tensor:
        """(1, b·n, …) back to (b, n, …)."""
        return x[0].unflatten(0, (self.rows, -1))

    def pool(self, x: Tensor, pooling: str) -> Tensor:
        """(b, n, width) to (sequences, width): each sequence's ``"mean"`` or ``"max"``."""
        lengths = torch.tensor(self.lengths, device=x.device)
        return torch.segment_reduce(x.flatten(0, 1), pooling, lengths=lengths, axis=0)

    def without_firsts(self, labels: Tensor) -> Tensor:
        """Labels (b, n) with −100 where a sequence starts."""
        return labels.flatten().index_fill(0, self.first_steps(labels.device), -100).view(labels.shape)

    def where(self, kept: Tensor) -> "Segments":
        """What is left of them when only the steps kept (b, n) stay.

        Raises:
            ValueError: nothing is left of one.
        """
        counts = [int(part.sum()) for part in kept.flatten().cpu().split(self.lengths)]
        if not all(counts):
            raise ValueError(f"nothing is left of packed sequence {counts.index(0)}; each needs at least one step")
        return Segments(tuple(counts))


def _of_steps(name: str, ids: Tensor, b: int, n: int) -> Tensor:
    """Integers that describe every step, as (b, n)."""
    if ids.ndim != 2 or ids.shape[0] not in (1, b) or ids.shape[1] != n or ids.is_floating_point():
        raise ValueError(f"{name} must be integers (batch, time) = ({b}, {n}), got {ids.dtype} {tuple(ids.shape)}")
    return ids.expand(b, n)


def _restarts(position_ids: Tensor, real: Tensor | None, begins: bool) -> Tensor:
    """(b, n): true where positions begin again at 0, and at each row's first step."""
    starts = position_ids == 0
    if real is not None and not bool(real.all()):  # what stands on masked steps is whatever padded them
        starts = starts & real & (real.cumsum(1) > 1)
    elif begins or bool(starts[:, 1:].any()):
        wrong = ~starts
        wrong[:, 1:] &= position_ids.diff(dim=1) != 1
        if bool(wrong.any()):
            row, step = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"position_ids (batch, time) must begin at 0 and then count on by 1 or begin again at 0; "
                f"position_ids[{row}, {step}] is {int(position_ids[row, step])}"
                + (f" after {int(position_ids[row, step - 1])}" if step else "")
            )
    starts[:, 0] = True
    return starts


def _cumulated(ends: Tensor, b: int, n: int) -> Tensor:
    """(1, n): true where a sequence starts, by their cumulated lengths."""
    if b != 1:
        raise ValueError(f"cu_seq_lens_q (sequences + 1,) describes sequences in one row, got a batch of {b}")
    if ends.ndim != 1 or len(ends) < 2 or ends.is_floating_point():
        raise ValueError(f"cu_seq_lens_q must be integers (sequences + 1,), got {ends.dtype} {tuple(ends.shape)}")
    values = ends.tolist()
    if values[0] != 0 or values[-1] != n or values != sorted(set(values)):
        raise ValueError(f"cu_seq_lens_q (sequences + 1,) must rise from 0 to the {n} steps, got {_short(values)}")
    return torch.zeros(1, n, dtype=torch.bool, device=ends.device).index_fill(1, ends[:-1].long(), True)


def _short(values: list[int]) -> str:
    return str(values) if len(values) <= 8 else f"[{', '.join(map(str, values[:4]))}, …, {values[-1]}]"


# --------------------------------------------------------------------------- either


def reverse_time(x: Tensor, lengths: Tensor | Segments | None) -> Tensor:
    """(b, n, …) backwards in time, each row within its own length, or each of the packed sequences.

    What lies behind a length stays.
    """
    if lengths is None:
        return x.flip(1)
    if isinstance(lengths, Segments):
        t = torch.arange(x.shape[1], device=x.device)
        counts = torch.tensor(lengths.lengths, device=x.device)
        mirror = lengths.first_steps(x.device) + lengths.last_steps(x.device)
        return Take.apply(x, mirror.repeat_interleave(counts, output_size=len(t)) - t)
    return x.gather(1, expand_index(_reversal(x.shape[1], lengths), x))


def last_step(x: Tensor, lengths: Tensor | Segments | None) -> Tensor:
    """(b, n, …) to (b, 1, …): each row's last real step; or, of packed sequences, to (sequences, 1, …)."""
    if lengths is None:
        return x[:, -1:]
    if isinstance(lengths, Segments):
        return x[0, lengths.last_steps(x.device)][:, None]
    return x.gather(1, expand_index((lengths - 1).clamp(min=0)[:, None], x))


def mean_step(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(b, n, …) to (b, 1, …): the mean of each row's real steps; of none, zero."""
    if lengths is None:
        return x.mean(1, keepdim=True)
    behind = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
    count = expand_index(lengths.clamp(min=1)[:, None], x[:, :1])
    return x.masked_fill(expand_index(behind, x), 0).sum(1, keepdim=True) / count


def refuse_memories(lengths: Tensor | Segments | None, *memories: object) -> None:
    """Complain about packed sequences that are to begin with anything but empty memories.

    Raises:
        ValueError: there are some.
    """
    if isinstance(lengths, Segments) and any(memory is not None for memory in memories):
        raise ValueError("packed sequences begin with empty memories: give neither initial nor chunk")


def refuse_packing(given: dict[str, object]) -> None:
    """Complain about packed sequences given to a model that reads one sequence a row.

    Raises:
        ValueError: arguments of that kind are given.
    """
    for name in ("position_ids", "cu_seq_lens_q", "seq_idx"):
        if given.get(name) is not None:
            raise ValueError(f"{name} describes sequences packed in a row; this model reads one sequence a row")


def _reversal(n: int, lengths: Tensor) -> Tensor:
    t = torch.arange(n, device=lengths.device)
    return torch.where(t < lengths[:, None], lengths[:, None] - 1 - t, t)


def expand_index(index: Tensor, like: Tensor) -> Tensor:
    """A (b, k) index or mask, repeated over the trailing axes of ``like`` (b, n, …)."""
    return index.view(*index.shape, *[1] * (like.ndim - 2)).expand(*index.shape, *like.shape[2:])
