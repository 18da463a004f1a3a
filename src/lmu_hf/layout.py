"""How the rows of a batch hold their sequences: dense, padded, packed, or spread over ranks.

Rows come as they were given, (b, n, …). A layout packs them into steps to be read, and unpacks what comes out. In
between, it knows where each sequence begins and ends, so that nobody else has to ask which kind of batch it is.

==================  ==============================  ==================================  ============================
layout              rows as given                   steps as read                       ``lengths``, ``sequences``
==================  ==============================  ==================================  ============================
:class:`Layout`     (b, n), every step real         the same                            None, None
:class:`Padded`     (b, n), some steps masked       (b, n'), real steps first           (b,), None
:class:`Packed`     (b, n), several sequences each  (1, b·n), end to end                None, its sequences
``Spread``          a rank's part of either of the  as that part's own layout           the part's, None
                    first two
==================  ==============================  ==================================  ============================

A :class:`Reading` is a layout and what is wanted of it. It goes down to the memory whole. Layouts over ranks are
those of :mod:`~lmu_hf.distributed`, which a model in one process does not need.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .chunks import Sequences, Take
from .statespace import LegendreSystem

# Who shares the sequences at hand, the innermost last, as distributed.py enters them.
SHARING: list[Any] = []  # a plain list, so that torch.compile can look into it


def current_ranks() -> Any:
    """Who shares the sequence at hand; None outside :func:`~lmu_hf.distributed.sequence_parallel`."""
    return SHARING[-1] if SHARING else None


def refuse_ranks(what: str) -> None:
    """Complain within :func:`~lmu_hf.distributed.sequence_parallel`.

    Raises:
        ValueError: this is within it; ``what`` says what cannot be.
    """
    if SHARING:
        raise ValueError(f"{what} cannot be spread over ranks: call it outside sequence_parallel")


class Layout:
    """Dense rows: each is one sequence, and every step is real. Also the contract of the other layouts.

    Args:
        columns: steps of a row as it was given. A cache counts these, as all of transformers' do: a step that does not
            exist is counted, but not read.
    """

    mask: Tensor | None = None  # (b, n) bool, true where a step is real; None if all are
    lengths: Tensor | None = None  # (b,): where rows, as read, end; None if all steps are real
    sequences: Sequences | None = None  # what is packed in the one row that is read
    ranks: Any = None  # who shares the sequences
    is_one_step: bool = False  # dense rows of a single step, as every decoded token is

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.is_one_step = type(self) is Layout and columns == 1

    def pack(self, x: Tensor) -> Tensor:
        """Rows as given (b, n, …) to steps as read."""
        return x

    def unpack(self, x: Tensor) -> Tensor:
        """Steps as read back to rows as given, zero where a step is not real."""
        return x

    def reverse(self, x: Tensor) -> Tensor:
        """Steps as read, each sequence backwards in time. What lies behind its end stays."""
        return x.flip(1)

    def last(self, x: Tensor) -> Tensor:
        """Steps as read to the last of each sequence, (sequences, 1, …)."""
        return x[:, -1:]

    def mean(self, x: Tensor) -> Tensor:
        """Steps as read to the mean of each sequence, (sequences, 1, …); of none, zero."""
        return x.mean(1, keepdim=True)

    def pool(self, x: Tensor, words: Sequence[str], is_reduced: bool = False) -> Tensor:
        """Rows as given (b, n, width), or what is left of each sequence, to (sequences, words · width).

        Args:
            x: (b, n, width); or (sequences, 1, width), the last step or the mean, if ``is_reduced``.
            words: how, side by side: ``"last"`` (only of what is reduced), ``"mean"``, ``"max"``, or ``"share"``, the
                share of steps at which a number is above 0.
            is_reduced: whether one step is left of each sequence.

        Raises:
            ValueError: a sequence has no real step.
        """
        what = {"share": ("mean", (x > 0).to(x))} if "share" in words else {}  # the mean of ones and zeros
        parts = [self.pool_by(*what.get(word, (word, x)), is_reduced) for word in words]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def pool_by(self, word: str, x: Tensor, is_reduced: bool = False) -> Tensor:
        """As :meth:`pool`, in one way."""
        if is_reduced:
            return x[:, 0]
        return x.mean(1) if word == "mean" else x.amax(1)

    def labels(self, labels: Tensor) -> Tensor:
        """Next-token labels (b, n), −100 where a step's next one is of another sequence."""
        return labels

    def enter(
        self, end: Tensor, system: LegendreSystem, initial: Tensor | None = None, backwards: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The memory that these steps go on from, and the one that the whole sequence leaves behind.

        Args:
            end: (b, d_u, d), what these steps alone would leave in an empty memory.
            system: whose dynamics.
            initial: (b, d_u, d), before the whole sequence; None for zero.
            backwards: the sequence is read from its end.

        Raises:
            NotImplementedError: the sequence is not spread over ranks, so that all of it is here.
        """
        raise NotImplementedError("only of a sequence over ranks is a part entered")


class Padded(Layout):
    """Masked rows, whose real steps are moved to the front, so that a masked step does not exist.

    Causal layers then see each row as the sequence with its masked steps removed, whatever stood on them: outputs
    are exact for left, right, two-sided and holed masks alike, with and without a carried memory.

    Args:
        mask: (b, n) bool, true where a step is real.
        order: (b, n'), where each step that is read came from.
        lengths: (b,), how many steps are real.
    """

    mask: Tensor
    lengths: Tensor

    def __init__(self, mask: Tensor, order: Tensor, lengths: Tensor) -> None:
        self.columns, self.mask, self.order, self.lengths = mask.shape[1], mask, order, lengths

    @classmethod
    def from_mask(cls, mask: Tensor) -> "Padded":
        """From a mask (b, n), true or non-zero where a step is real; n' is the longest row's length."""
        mask = mask.bool()
        lengths = mask.sum(1)
        # Real steps to the front and masked ones behind them, by counting: a stable sort that also exports to ONNX.
        place = torch.where(mask, mask.cumsum(1), lengths[:, None] + (~mask).cumsum(1)) - 1
        steps = torch.arange(mask.shape[1], device=mask.device).expand_as(place)
        order = torch.zeros_like(place).scatter(1, place, steps)
        # A tracer cannot cut by a number that is data, so a compiled graph reads all n columns.
        if not torch.compiler.is_compiling():
            order = order[:, : max(int(lengths.max()), 1)]  # a memory reads at least one step
        return cls(mask, order, lengths)

    def pack(self, x: Tensor) -> Tensor:
        """(b, n, …) to (b, n', …), zero behind each row's end."""
        # Zeros and not what the gather left: a memory must find nothing behind the end that is not finite.
        kept = x.gather(1, _spread_index(self.order, x))
        behind = torch.arange(kept.shape[1], device=x.device) >= self.lengths[:, None]
        return kept.masked_fill(behind.view(*behind.shape, *[1] * (x.ndim - 2)), 0)

    def unpack(self, x: Tensor) -> Tensor:
        """(b, n', …) back to (b, n, …), zero on masked steps."""
        place = (self.mask.cumsum(1) - 1).clamp(min=0)
        masked = ~self.mask
        return x.gather(1, _spread_index(place, x)).masked_fill(masked.view(*masked.shape, *[1] * (x.ndim - 2)), 0)

    def reverse(self, x: Tensor) -> Tensor:
        """(b, n', …), each row backwards within its own length."""
        # A mirror within the row's own end: read backwards, too, a row begins with its real steps.
        t, ends = torch.arange(x.shape[1], device=x.device), self.lengths[:, None]
        return x.gather(1, _spread_index(torch.where(t < ends, ends - 1 - t, t), x))

    def last(self, x: Tensor) -> Tensor:
        """(b, n', …) to (b, 1, …): each row's last real step."""
        return x.gather(1, _spread_index((self.lengths - 1).clamp(min=0)[:, None], x))

    def mean(self, x: Tensor) -> Tensor:
        """(b, n', …) to (b, 1, …): the mean of each row's real steps."""
        behind = torch.arange(x.shape[1], device=x.device) >= self.lengths[:, None]
        ones = [1] * (x.ndim - 2)
        total = x.masked_fill(behind.view(*behind.shape, *ones), 0).sum(1, keepdim=True)
        return total / self.lengths.clamp(min=1).view(-1, 1, *ones)  # of no steps, zero

    def pool_by(self, word: str, x: Tensor, is_reduced: bool = False, is_part: bool = False) -> Tensor:
        """As :meth:`Layout.pool_by`, over real steps; x is zero on the others.

        A part may hold no step of a row; what is given for that row is then anything finite.
        """
        if not (is_part or torch.compiler.is_compiling() or bool(self.lengths.all())):
            row = int((self.lengths == 0).nonzero()[0])
            raise ValueError(f"attention_mask leaves no real step in row {row}; every sequence needs at least one")
        if is_reduced:
            return x[:, 0]
        if word == "mean":
            return x.sum(1) / self.lengths.clamp(min=1)[:, None].to(x.dtype)
        lowest = torch.finfo(x.dtype).min  # finite, since where no step is real gradients must stay so
        return x.masked_fill(~self.mask[..., None], lowest).amax(1)


class Packed(Layout):
    """Several sequences in a row, end to end, each to be read as if it stood alone.

    Only a memory looks across time: it begins each one empty.

    Args:
        lengths: of the sequences, in their order, all at least 1.
        rows: how many rows of equal length they came in.
    """

    sequences: Sequences

    def __init__(self, lengths: tuple[int, ...], rows: int = 1) -> None:
        super().__init__(sum(lengths) // rows)
        self.sequences, self.rows = Sequences(lengths), rows

    @classmethod
    def from_inputs(
        cls,
        b: int,
        n: int,
        position_ids: Tensor | None = None,
        cu_seq_lens_q: Tensor | None = None,
        seq_idx: Tensor | None = None,
        real: Tensor | None = None,
        begins: bool = True,
    ) -> "Packed | None":
        """What transformers' ``DataCollatorWithFlattening`` says of b rows of n steps; None if a row is one sequence.

        Args:
            b, n: rows, and steps of each.
            position_ids: (b, n) or (1, n); a sequence starts at every 0.
            cu_seq_lens_q: (sequences + 1,), 0 and where each sequence of the one row ends.
            seq_idx: (b, n); a sequence starts wherever it changes.
            real: (b, n) bool, false where a step does not exist; None if all do.
            begins: rows begin here, rather than go on from a memory or from another rank's chunk.

        Raises:
            ValueError: a shape or value does not fit, two descriptions differ, or steps are masked beside packing.
        """
        if position_ids is None and cu_seq_lens_q is None and seq_idx is None:
            return None
        found: dict[str, Tensor] = {}
        if position_ids is not None:
            found["position_ids"] = _restarts(_of_steps("position_ids", position_ids, b, n), real, begins)
        if cu_seq_lens_q is not None:
            found["cu_seq_lens_q"] = _cumulated(cu_seq_lens_q, b, n)
        if seq_idx is not None:
            changes = _of_steps("seq_idx", seq_idx, b, n).diff(dim=1) != 0
            found["seq_idx"] = torch.cat([changes.new_ones(b, 1), changes], dim=1)  # each row begins one
        told, starts = next(iter(found.items()))  # the others must agree with the first
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
        lengths = torch.tensor(self.sequences.lengths, device=device)
        return torch.arange(len(lengths), device=device).repeat_interleave(
            lengths, output_size=self.columns * self.rows
        )

    def ages(self, device: torch.device | str | None = None) -> Tensor:
        """(steps,): how many steps of its own sequence stand before each."""
        owners = self.owners(device)
        return torch.arange(len(owners), device=device) - self.sequences.first_steps(device)[owners]

    def pack(self, x: Tensor) -> Tensor:
        """(b, n, …) to the one row (1, b·n, …)."""
        return x.flatten(0, 1)[None]

    def unpack(self, x: Tensor) -> Tensor:
        """(1, b·n, …) back to (b, n, …)."""
        return x[0].unflatten(0, (self.rows, -1))

    def reverse(self, x: Tensor) -> Tensor:
        """(1, b·n, …), each sequence backwards."""
        # Step t of a sequence from a to e goes to a + e − t.
        t, device = torch.arange(x.shape[1], device=x.device), x.device
        mirror = self.sequences.first_steps(device) + self.sequences.last_steps(device)
        return Take.apply(x, mirror[self.owners(device)] - t)

    def last(self, x: Tensor) -> Tensor:
        """(1, b·n, …) to (sequences, 1, …)."""
        return x[0, self.sequences.last_steps(x.device)][:, None]

    def mean(self, x: Tensor) -> Tensor:
        """(1, b·n, width) to (sequences, 1, width)."""
        return self.pool_by("mean", x)[:, None]

    def pool_by(self, word: str, x: Tensor, is_reduced: bool = False) -> Tensor:
        """(b, n, width), or (sequences, 1, width) if ``is_reduced``, to (sequences, width)."""
        if is_reduced:
            return x[:, 0]
        lengths = torch.tensor(self.sequences.lengths, device=x.device)
        return torch.segment_reduce(x.flatten(0, 1), word, lengths=lengths, axis=0)

    def labels(self, labels: Tensor) -> Tensor:
        """Labels (b, n) with −100 where a sequence starts."""
        return labels.flatten().index_fill(0, self.sequences.first_steps(labels.device), -100).view(labels.shape)

    def where(self, kept: Tensor) -> "Packed":
        """What is left of them when only the steps kept (b, n) stay.

        Raises:
            ValueError: nothing is left of one.
        """
        counts = [int(part.sum()) for part in kept.flatten().cpu().split(self.sequences.lengths)]
        if not all(counts):
            raise ValueError(f"nothing is left of packed sequence {counts.index(0)}; each needs at least one step")
        return Packed(tuple(counts))  # in one row, however many they came in


@dataclass(frozen=True)
class Reading:
    """How a layer reads a batch.

    Args:
        layout: how its rows hold sequences.
        wanted: the output at every step, at each sequence's last one, or their mean.
        source: what a decoder's blocks attend to.
    """

    layout: Layout
    wanted: Literal["all", "last", "mean"] = "all"
    source: Any = None


def refuse_packing(given: dict[str, object]) -> None:
    """Complain about packed sequences given to a model that reads one sequence a row.

    Raises:
        ValueError: arguments of that kind are given.
    """
    for name in ("position_ids", "cu_seq_lens_q", "seq_idx"):
        if given.get(name) is not None:
            raise ValueError(f"{name} describes sequences packed in a row; this model reads one sequence a row")


def _of_steps(name: str, ids: Tensor, b: int, n: int) -> Tensor:
    """Integers that describe every step, as (b, n)."""
    if ids.ndim != 2 or ids.shape[0] not in (1, b) or ids.shape[1] != n or ids.is_floating_point():
        raise ValueError(f"{name} must be integers (batch, time) = ({b}, {n}), got {ids.dtype} {tuple(ids.shape)}")
    return ids.expand(b, n)


def _restarts(position_ids: Tensor, real: Tensor | None, begins: bool) -> Tensor:
    """(b, n): true where positions begin again at 0, and at each row's first step."""
    starts = position_ids == 0
    if real is not None and not bool(real.all()):  # what stands on masked steps is whatever padded them
        starts = starts & real & (real.cumsum(1) > 1)  # a row's first real step is no restart
    elif begins or bool(starts[:, 1:].any()):  # else they count on from an earlier call or part
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
    if values[0] != 0 or values[-1] != n or values != sorted(set(values)):  # a sequence without steps would repeat one
        shown = str(values) if len(values) <= 8 else f"[{', '.join(map(str, values[:4]))}, …, {values[-1]}]"
        raise ValueError(f"cu_seq_lens_q (sequences + 1,) must rise from 0 to the {n} steps, got {shown}")
    return torch.zeros(1, n, dtype=torch.bool, device=ends.device).index_fill(1, ends[:-1].long(), True)


def _spread_index(index: Tensor, like: Tensor) -> Tensor:
    """A (b, k) index, repeated over the trailing axes of ``like`` (b, n, …)."""
    return index.view(*index.shape, *[1] * (like.ndim - 2)).expand(*index.shape, *like.shape[2:])
