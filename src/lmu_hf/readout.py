"""Every state read out, straight from the signal: y_t = W_m m_t, the first term of equation (20).

What the memory holds on entry to a chunk of L steps, and the chunk's L inputs, decide the chunk's L outputs. Two ways
lead there, which save nothing for the backward pass but the signal and W_m:

- **fused**: [memory on entry; inputs] · (C W_mᵀ), one product with a constant that W_m has been multiplied into. m is
  never computed. It serves few channels: (d + L)·d_o multiply-adds a step and channel.
- **tiled**: [memory on entry; inputs] · C gives m for some thousand steps, which a processor's cache holds, and
  m · W_mᵀ their outputs. It serves many channels: d·(d + L) + d·d_o.

Where m is so small that it costs next to nothing to keep, it is **kept** between the two products of the second way.

C is the constant ``"chunk"`` of :mod:`~lmu_hf.memory`. :func:`plan_readout` counts what either way costs at every
chunk length, and picks. :func:`run_form` is where a layer's word for a form is obeyed.

A whole layer of few channels and a narrow input is one product, too: o = f2(J K). A row of J is all that decides a
chunk's outputs (entry memories, signal, inputs, a one); K holds C W_mᵀ, W_x and b_o.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .activations import NARROW_INPUT, Rest, activated_product
from .chunks import (
    Plan,
    Sequences,
    Shape,
    check_signal,
    cut_chunks,
    entry_memories,
    join_chunks,
    part_chunks,
    plan_readout,
    times,
    whole_chunks,
)
from .constants import constant, fused_constant, impulse_tail, pull_constant
from .memory import MEMORY_FORMS, memory_packed, serving_form
from .statespace import LegendreSystem

COLUMNS = 16  # channels from which they stand behind time, as the signal has them: the fewer make too thin a product
ROWS = 4  # steps for each row of W_m from which they do: W_m then has to be laid out anew, and else m
TILE_NUMBERS = {"cpu": 2**22, "cuda": 2**26}  # of m at a time
LEAST_WIDENED = 4  # times as wide as its row in J a chunk's outputs must be: then J costs little to keep
LARGEST_WHOLE = {"cpu": 2**24, "cuda": 2**28}  # numbers of chunks joined with their entry memories, all at once


def run_form(
    form: str,
    u: Tensor,
    system: LegendreSystem,
    initial: Tensor | None,
    weight: Tensor | None,
    sequences: Sequences | None,
    rest: Rest | None = None,
) -> tuple[Tensor, Tensor]:
    """Every state in a form by its name, and the last memory; W_m times every state where a ``weight`` is given.

    With a ``rest``, too, the layer's outputs.
    """
    if sequences is not None:
        return _packed_states(form, u, system, weight, sequences, rest)
    if weight is not None:
        return read_states(u, system, weight, initial, rest=rest)
    return MEMORY_FORMS[serving_form(form, u.shape[1])](u, system, initial)


@torch.compiler.disable  # where sequences start is data: a graph would serve one batch
def _packed_states(
    form: str,
    u: Tensor,
    system: LegendreSystem,
    weight: Tensor | None,
    sequences: Sequences,
    rest: Rest | None,
) -> tuple[Tensor, Tensor]:
    if weight is not None:
        return read_states(u, system, weight, sequences=sequences, rest=rest)
    if form in ("auto", "chunked"):
        return memory_packed(u, system, sequences)
    # Any other form was asked for by name: it reads one sequence after another.
    runs = [MEMORY_FORMS[form](part, system) for part in u.split(sequences.lengths, dim=1)]
    return torch.cat([m for m, _ in runs], dim=1), torch.cat([final for _, final in runs])


def read_states(
    u: Tensor,
    system: LegendreSystem,
    weight: Tensor,
    initial: Tensor | None = None,
    plan: Plan | None = None,
    sequences: Sequences | None = None,
    rest: Rest | None = None,
) -> tuple[Tensor, Tensor]:
    """Every state of the memory of u, times a matrix: y = W_m m without m.

    Args:
        u: (b, n, d_u), float32 or float64.
        system: whose dynamics.
        weight: W_m (d_o, d_u·d), channel-major. In half precision, m is rounded to it before the product.
        initial: (b, d_u, d), or None for zero.
        plan: how; by default :func:`plan_readout` decides.
        sequences: sequences packed in the one row of u, each of which begins with an empty memory; m is never kept.
        rest: what the layer adds to y, and its activation; None for y itself.

    Returns:
        y, or o (b, n, d_o) in the weight's dtype, and the last memory (b, d_u, d), or (sequences, d_u, d).

    Raises:
        ValueError: a shape does not fit, or an initial memory is given to packed sequences.
        TypeError: u is not float32 or float64, or the initial memory is of another dtype.
    """
    check_signal(u, system, initial)
    (b, n, d_u), d = u.shape, system.order
    if weight.ndim != 2 or weight.shape[1] != d_u * d:
        raise ValueError(f"weight must be (d_o, channels · order) = (d_o, {d_u * d}), got {tuple(weight.shape)}")
    shape = Shape(b, n, d, d_u, weight.shape[0])
    if sequences is not None:
        if initial is not None:
            raise ValueError(f"packed sequences begin with empty memories: leave initial {tuple(initial.shape)} out")
        shape = shape._replace(b=len(sequences), n=sequences.mean_length, packed=True)
    # W_m in half precision takes m rounded to it, which a constant that W_m is multiplied into never sees.
    plan = plan or plan_readout(shape, weight.dtype == u.dtype)
    if plan.kept and sequences is None:
        y, final = _read_kept(u, system, weight, initial, plan.chunk)
        return y if rest is None else rest.complete(y), final
    if rest is not None and _is_one_product(plan, shape, rest):
        return _read_layer(u, system, weight, initial, plan, sequences, rest)
    # A piece ends where a chunk does, and hands its last memory to the next, which is exact.
    first, *others = _pieces(u, plan, d) if sequences is None else (u,)
    y, final = _read_chunks(first, system, weight, initial, plan, sequences)
    outputs = [y]
    for piece in others:
        y, final = _read_chunks(piece, system, weight, final, plan, sequences)
        outputs.append(y)
    y = torch.cat(outputs, dim=1) if others else outputs[0]
    return y if rest is None else rest.complete(y), final


def _pieces(u: Tensor, plan: Plan, d: int) -> tuple[Tensor, ...]:
    """The signal in one piece, or cut in time, at ends of chunks, where fresh memory would cost more than the work.

    A quarter of the largest whole is a piece: what it needs besides its outputs, the next one finds in the same place.
    """
    b, n, d_u = u.shape
    largest, chunk = LARGEST_WHOLE.get(u.device.type, 2**24), b * d_u * (d + plan.chunk)
    if torch.compiler.is_exporting() or n * chunk <= largest * plan.chunk:
        return (u,)
    return u.split(max(largest // (4 * chunk), 1) * plan.chunk, dim=1)


def _read_chunks(
    u: Tensor,
    system: LegendreSystem,
    weight: Tensor,
    initial: Tensor | None,
    plan: Plan,
    sequences: Sequences | None,
) -> tuple[Tensor, Tensor]:
    """:func:`read_states` of one piece by a plan that keeps nothing."""
    d, L = system.order, plan.chunk
    columns = not plan.fused and _behind_time(u, weight)
    x, starts = _laid(u, L, sequences)
    first, entry, _ = _entering(x, system, initial, L, columns, starts)
    tile = _tile(x.shape[0] * x.shape[1] // L, plan, u.shape[2] * d, u.device.type)
    y = _ReadStates.apply(x, entry, first, weight, starts, system, plan, tile)
    return _unlaid(y, u, L, sequences), _last_memory(entry, x, u, system, L, columns, sequences)


def _laid(u: Tensor, L: int, sequences: Sequences | None) -> tuple[Tensor, Tensor | None]:
    """A signal on whole chunks, and where packed sequences start."""
    if sequences is None:
        return whole_chunks(u, L) if u.shape[1] % L else u, None
    laid = sequences.chunks(L, u.device)
    return laid.lay(u), laid.starts


def _unlaid(y: Tensor, u: Tensor, L: int, sequences: Sequences | None) -> Tensor:
    """The outputs of the signal's own steps."""
    if sequences is not None:
        return sequences.chunks(L, u.device).take(y)
    # A slice, even of everything, costs its gradient a copy.
    return y[:, : u.shape[1]] if y.shape[1] > u.shape[1] else y


def _last_memory(
    entry: Tensor, x: Tensor, u: Tensor, system: LegendreSystem, L: int, columns: bool, sequences: Sequences | None
) -> Tensor:
    """What leaves the last chunk, or the last of each packed sequence."""
    if sequences is not None:
        ends = sequences.chunks(L, u.device).ends
        last = entry[0, ends].mT if columns else entry[:, ends].transpose(0, 1)
        return _leave(last, x.unflatten(1, (-1, L))[0, ends], system)
    last = entry[:, -1].mT if columns else entry[:, -1].view(u.shape[0], u.shape[2], system.order)
    # The last chunk may end in zeros that are no steps: its end is made of its real steps alone.
    return _leave(last, u[:, x.shape[1] - L :], system)


def _read_kept(
    u: Tensor, system: LegendreSystem, weight: Tensor, initial: Tensor | None, L: int
) -> tuple[Tensor, Tensor]:
    """:func:`read_states` with m between two products, for autograd to keep."""
    (_, n, d_u), d = u.shape, system.order
    x, columns = whole_chunks(u, L) if n % L else u, _behind_time(u, weight)
    _, entry, parts = _entering(x, system, initial, L, columns)
    joined = torch.cat([entry, parts], dim=2)
    C = constant("chunk", system, L, x.dtype, x.device)
    m = times(joined, C, columns) if columns else joined @ C
    if columns:
        m = m.reshape(-1, x.shape[1], d * d_u)[:, :n]
    else:
        m = m.view(-1, d_u, x.shape[1], d)[:, :, :n].transpose(1, 2).flatten(2)  # cut first: what is copied is whole
    final = m[:, -1].unflatten(1, (d, d_u)).mT if columns else m[:, -1].unflatten(1, (d_u, d))
    matrix = _as_states(weight, d_u, columns) if columns else weight
    return m.to(weight.dtype) @ matrix.T, final


def _is_one_product(plan: Plan, shape: Shape, rest: Rest) -> bool:
    """Whether a layer's inputs are few enough to stand in one row with what decides a chunk."""
    d_x, L, decisive = rest.x.shape[2], plan.chunk, shape.d_u * (shape.d + plan.chunk)
    narrow = d_x <= NARROW_INPUT and L * d_x <= decisive
    return plan.fused and narrow and LEAST_WIDENED * (decisive + L * d_x + 1) <= L * shape.d_o


def _read_layer(
    u: Tensor,
    system: LegendreSystem,
    weight: Tensor,
    initial: Tensor | None,
    plan: Plan,
    sequences: Sequences | None,
    rest: Rest,
) -> tuple[Tensor, Tensor]:
    """A whole layer, o = f2(J K): a row of J decides a chunk's outputs."""
    L, d_o = plan.chunk, len(weight)
    (signal, starts), (x, _) = _laid(u, L, sequences), _laid(rest.x, L, sequences)
    _, entry, _ = _entering(signal, system, initial, L, False, starts)
    decisive = join_chunks(signal, entry, L, False).flatten(1)
    inputs = pad(x.reshape(len(decisive), -1), (0, 1), value=1.0)
    C = constant("chunk", system, L, u.dtype, u.device)
    # W_x along the diagonal: a step's inputs enter its own outputs alone. Under it, for the one, b_o at every step.
    diagonal = torch.eye(L, dtype=u.dtype, device=u.device)[:, None, :, None] * rest.weight.T[None, :, None, :]
    K = torch.cat([fused_constant(C, weight, u.shape[2]), diagonal.reshape(-1, L * d_o), rest.bias.repeat(L)[None]])
    o = activated_product(decisive, inputs, K, rest.hidden_act).view(signal.shape[0], signal.shape[1], d_o)
    return _unlaid(o, u, L, sequences), _last_memory(entry, signal, u, system, L, False, sequences)


def _behind_time(u: Tensor, weight: Tensor) -> bool:
    """Whether channels stand behind time."""
    b, n, d_u = u.shape
    return d_u >= COLUMNS and b * n >= ROWS * weight.shape[0]


def _entering(
    x: Tensor, system: LegendreSystem, initial: Tensor | None, L: int, columns: bool, starts: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """What enters the first chunk, and what enters each, as :func:`entry_memories` has them; and the chunks."""
    first = x.new_zeros(x.shape[0], x.shape[2], system.order) if initial is None else initial
    first = first.mT if columns else first.flatten(0, 1)
    parts = cut_chunks(x, L, columns)
    if parts.shape[1] == 1 and starts is None:  # one chunk: there is nothing to walk
        return first, first[:, None], parts
    return first, entry_memories(parts, system, first, columns, starts), parts


def _leave(entry: Tensor, u: Tensor, system: LegendreSystem) -> Tensor:
    """What enters a chunk (b, d_u, d) and its signal (b, k, d_u), to what leaves it."""
    k = u.shape[1]
    return entry @ constant("A_power", system, k, u.dtype, u.device).T + u.mT @ impulse_tail(system, k, u)


def _tile(chunks: int, plan: Plan, width: int, device: str) -> int:
    """How many chunks' states are written at a time."""
    if plan.fused or torch.compiler.is_exporting():
        return chunks
    return max(TILE_NUMBERS.get(device, 2**22) // (plan.chunk * width), 1)


class _ReadStates(torch.autograd.Function):
    """The chunk product. What it needs again it computes again: the saved bytes do not grow with the order.

    The gradient with respect to what enters the chunks flows to ``entry``; ``first``, its origin, is there to compute
    it again, so that a second derivative finds its way by either.
    """

    generate_vmap_rule = True  # torch.func may map it: all inside are torch's own operations

    @staticmethod
    def forward(
        x: Tensor,
        entry: Tensor,
        first: Tensor,
        weight: Tensor,
        starts: Tensor | None,
        system: LegendreSystem,
        plan: Plan,
        tile: int,
    ) -> Tensor:
        columns = entry.ndim == 4
        joined = join_chunks(x, entry, plan.chunk, columns)
        C = constant("chunk", system, plan.chunk, x.dtype, x.device)
        if plan.fused:
            # Rows of d_u·(d + L) numbers, to the L·d_o outputs of a chunk each.
            y = joined.flatten(1) @ fused_constant(C, weight, x.shape[2])
        else:
            matrix = _as_states(weight, x.shape[2], columns).T
            # m of one tile at a time: all of m would be d_u·d numbers a step.
            tiles = [_states(part, C, len(matrix), columns).to(weight.dtype) @ matrix for part in joined.split(tile)]
            y = torch.cat(tiles) if len(tiles) > 1 else tiles[0]
        return y.view(x.shape[0], x.shape[1], weight.shape[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, entry, first, weight, starts, ctx.system, ctx.plan, ctx.tile = inputs
        ctx.columns = entry.ndim == 4
        ctx.save_for_backward(x, first, weight, starts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, first, weight, starts = ctx.saved_tensors
        L, columns = ctx.plan.chunk, ctx.columns
        # The entry memories again: kept, they would be d/L of all states.
        entry = entry_memories(cut_chunks(x, L, columns), ctx.system, first, columns, starts)
        joined = join_chunks(x, entry, L, columns)
        C = constant("chunk", ctx.system, L, x.dtype, x.device)
        pull = _pull_fused if ctx.plan.fused else _pull_tiled
        d_joined, d_weight = pull(gradient, joined, C, weight, columns, ctx.tile)
        d_x, d_entry = part_chunks(d_joined, x.shape[0], L, columns)
        return d_x, d_entry, None, d_weight, None, None, None, None


def _pull_fused(
    gradient: Tensor, joined: Tensor, C: Tensor, weight: Tensor, columns: bool, tile: int
) -> tuple[Tensor, Tensor]:
    chunks, d_u = joined.shape[:2]
    # y = X K with K = C W_mᵀ: ∂X = ∂y Kᵀ, and ∂K = Xᵀ ∂y goes on to W_m.
    gradient = gradient.reshape(chunks, -1)
    d_joined = gradient @ fused_constant(C, weight, d_u).T
    d_weight = pull_constant(joined.flatten(1).T @ gradient, C, weight, d_u)
    return d_joined.view(joined.shape), d_weight


def _pull_tiled(
    gradient: Tensor, joined: Tensor, C: Tensor, weight: Tensor, columns: bool, tile: int
) -> tuple[Tensor, Tensor]:
    d_u = joined.shape[2 if columns else 1]
    matrix = _as_states(weight, d_u, columns)
    # ∂/∂W_m = Σ_t g_t m_tᵀ, so m is made again tile by tile; ∂/∂joined = (g W_m) Cᵀ.
    gradient = gradient.reshape(joined.shape[0], -1, weight.shape[0])
    d_joined, d_matrix = [], torch.zeros_like(matrix)
    for part, pulled in zip(joined.split(tile), gradient.split(tile), strict=True):
        pulled = pulled.flatten(0, 1)
        d_matrix = torch.addmm(d_matrix, pulled.T, _states(part, C, matrix.shape[1], columns).to(weight.dtype))
        d_joined.append(_pull_states((pulled @ matrix).to(C.dtype), C, d_u, columns))
    return torch.cat(d_joined), _as_weight(d_matrix, d_u, columns)


def _as_states(weight: Tensor, d_u: int, columns: bool) -> Tensor:
    """W_m (d_o, d_u·d) in the order in which the states lie: (d_o, d·d_u) if ``columns``."""
    return weight.unflatten(1, (d_u, -1)).transpose(1, 2).flatten(1) if columns else weight


def _as_weight(matrix: Tensor, d_u: int, columns: bool) -> Tensor:
    """:func:`_as_states` undone."""
    return matrix.unflatten(1, (-1, d_u)).transpose(1, 2).flatten(1) if columns else matrix


def _states(joined: Tensor, C: Tensor, width: int, columns: bool) -> Tensor:
    """The states of some chunks, a step a row of d_u·d numbers, channels behind coefficients if ``columns``."""
    m = times(joined, C, columns)
    if not columns and (d_u := joined.shape[1]) > 1:
        m = m.unflatten(2, (-1, width // d_u)).transpose(1, 2)
    return m.reshape(-1, width)


def _pull_states(gradient: Tensor, C: Tensor, d_u: int, columns: bool) -> Tensor:
    """The adjoint of :func:`_states`."""
    L = C.shape[1] * d_u // gradient.shape[1]
    gradient = gradient.view(-1, L, gradient.shape[1])
    if columns:
        return times(gradient.view(-1, C.shape[1], d_u), C.T, columns)
    return gradient.unflatten(2, (d_u, -1)).transpose(1, 2).flatten(2) @ C.T
