"""One linear recurrence, m_t = Ā m_{t−1} + B̄ u_t, run in several ways.

Every form has the same contract::

    memory_<form>(u, system, initial=None) -> (m, final)

with the written signal ``u`` (b, n, d_u), the carried memory ``initial`` and ``final`` (b, d_u, d), and every state
``m`` (b, n, d_u, d), in float32 or float64 as ``u`` is. All forms derive from the same Ā and B̄, agree to rounding for
any n ≥ 1, and freeze no length.

=============  ==========================================  ========================  ==========================
form           equation                                    operations per channel    when
=============  ==========================================  ========================  ==========================
``step``       (19), once                                  d²                        one token at a time
``recurrent``  (19), a plain loop                          n·d²                      the oracle; never fast
``chunked``    (19) and (24) on blocks of L steps          n·d·(d + L)               the default
``fft``        (26)                                        n·log n·d                 to compare with
``toeplitz``   (24)                                        n²·d                      short sequences
``final``      (25): only m_n is ever computed             n·d                       a pooled head
=============  ==========================================  ========================  ==========================

:func:`memory_packed` and :func:`memory_packed_final` read sequences packed in one row, each from an empty memory.

Equation numbers: Chilkuri and Eliasmith, "Parallelizing Legendre Memory Unit Training", ICML 2021.
"""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from .ragged import Segments
from .statespace import LegendreSystem, constant, derives, exact, impulse_response

GROUP = 8  # blocks that are walked one after the other
LONGEST_IMPULSE = 4096  # steps: a longer stored H would be larger than it is worth


class MemoryForm(Protocol):
    """What every form of the memory looks like from outside."""

    def __call__(self, u: Tensor, system: LegendreSystem, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``u`` (b, n, d_u) and ``initial`` (b, d_u, d) to ``m`` (b, n, d_u, d) and ``final`` (b, d_u, d)."""
        ...


# --------------------------------------------------------------------------- what the forms are made of


@derives("H_reversed")
def _(system: LegendreSystem, length: int) -> Tensor:
    """(length, d): row −1−j is Ā^j B̄, so the last n rows times u_1 … u_n give m_n."""
    H = impulse_response(exact("A_bar", system), exact("B_bar", system), length)
    return H.flip(1).T.contiguous()


@derives("H_spectrum")
def _(system: LegendreSystem, size: int) -> Tensor:
    """(d, size/2 + 1): F{H} of eq. (26); H fills the first half, so nothing wraps round for n ≤ size/2."""
    return torch.fft.rfft(exact("H_reversed", system, size // 2).flip(0).T, n=size)


@derives("A_power")
def _(system: LegendreSystem, exponent: int) -> Tensor:
    """(d, d): Ā to a power, by squaring."""
    if exponent <= 1:
        return exact("A_bar", system) if exponent else torch.eye(system.order, dtype=torch.float64, device="cpu")
    half = exact("A_power", system, exponent // 2)
    return half @ half @ exact("A_power", system, exponent % 2)


@derives("chunk")
def _(system: LegendreSystem, length: int) -> Tensor:
    """(d + L, L·d): [memory on entry; the chunk's L inputs] to the chunk's L memories, as one matrix."""
    d = system.order
    H = exact("H_reversed", system, length).flip(0)
    block = H.new_zeros(d + length, length, d)
    power = exact("A_bar", system)
    for t in range(length):
        block[:d, t] = power.T
        block[d : d + t + 1, t] = H[: t + 1].flip(0)
        power = power @ exact("A_bar", system)
    return block.view(d + length, length * d)


def advance(memory: Tensor, system: LegendreSystem, steps: int | Tensor, power: str = "A_power") -> Tensor:
    """A memory left alone for some steps: Ā^steps m, by binary powers.

    Args:
        memory: (b, d_u, d).
        system: whose Ā.
        steps: one count for all rows, or (b,) integers, one per row; none below 0.
        power: the constant that holds the powers.

    Raises:
        ValueError: the one count is negative.
    """
    if isinstance(steps, int):
        if steps < 0:
            raise ValueError(f"steps must not be negative, got {steps}: what a memory has forgotten is gone")
        return memory @ constant_like(power, system, steps, memory).T
    bits = max(int(steps.max()), 1).bit_length() if steps.numel() else 0
    for bit in range(bits):
        moved = memory @ constant_like(power, system, 2**bit, memory).T
        memory = torch.where((steps >> bit & 1).bool()[:, None, None], moved, memory)
    return memory


def free_response(initial: Tensor, system: LegendreSystem, n: int) -> Tensor:
    """What an initial memory (b, d_u, d) alone leaves in every state: Ā^t m_0 for t = 1 … n, as (b, n, d_u, d)."""
    states = (initial @ constant_like("A_bar", system, 0, initial).T)[:, None]
    while (length := states.shape[1]) < n:
        later = states[:, : n - length] @ constant_like("A_power", system, length, initial).T
        states = torch.cat([states, later], dim=1)
    return states


def entry_memories(
    x: Tensor, system: LegendreSystem, first: Tensor, columns: bool = False, starts: Tensor | None = None
) -> Tensor:
    """What is remembered on entry to each block of time.

    Eight blocks make a group. What enters a group is found first, by the same function on blocks eight times as long;
    from there the blocks of all groups are walked side by side, each step one product with Ā^L. So what a step costs
    is d/L·d + d operations for each channel, and what cannot run side by side is 8·log₈(n/L) steps long.

    Args:
        x: the written signal in blocks of L steps: (b, blocks, L), a channel a row; or (b, blocks, L, d_u) if
            ``columns``.
        system: whose dynamics.
        first: what enters the first block, (b, d) or (b, d, d_u).
        columns: channels lie behind time, and the constants multiply from the left.
        starts: (blocks,), true at blocks that a sequence of its own starts with, so that nothing enters them.

    Returns:
        (b, blocks, d) or (b, blocks, d, d_u).
    """
    reached = _reaching(x, system, first, columns, starts)
    return reached if starts is None else _blank(reached, starts)


def steps_walked(blocks: int, L: int) -> int:
    """How many products, one after the other, :func:`entry_memories` makes of so many blocks."""
    walked = 0
    while _grouped(blocks, L):
        walked, blocks, L = walked + GROUP, -(-blocks // GROUP), L * GROUP
    return walked + blocks


def _grouped(blocks: int, L: int) -> bool:
    """Whether so many blocks are walked in groups."""
    return blocks > GROUP and L * GROUP <= LONGEST_IMPULSE


def _reaching(x: Tensor, system: LegendreSystem, first: Tensor, columns: bool, starts: Tensor | None) -> Tensor:
    """What the blocks before leave behind; what starts there has not forgotten it yet."""
    blocks, L = x.shape[1:3]
    if not _grouped(blocks, L):
        one_group = None if starts is None else starts[None]
        return _walk(first[:, None], x[:, None], system, columns, one_group).flatten(1, 2)
    groups = -(-blocks // GROUP)
    missing = groups * GROUP - blocks
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
    return _walk(entry, x, system, columns, starts).flatten(1, 2)[:, :blocks]


def _walk(memory: Tensor, x: Tensor, system: LegendreSystem, columns: bool, starts: Tensor | None) -> Tensor:
    """From what reaches each group (b, groups, d, …) to what reaches each of its blocks (b, groups, k, L, …)."""
    L = x.shape[3]
    decay, entries = constant_like("A_power", system, L, x).T, [memory]
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


def chunk_length(n: int, order: int) -> int:
    """The block of time L that costs :func:`memory_chunked` the least, among powers of two.

    Counted per step and channel, in multiply-adds: d·(d + L) for the block product, and, shared by L steps, d·L for
    the blocks' own ends and d² to carry memories across. The block constant, (d + L)·L·d numbers, is kept
    under 8 million. Below 32 a block is too thin for the matrix units to run at speed, whatever the count says.
    """
    d = order

    def cost(L: int) -> float:
        return d * (d + L) + d + d * d / L * (n > L)

    allowed = [L for L in (32, 64, 128, 256) if (d + L) * L * d <= 8e6] or [16]
    best = allowed[0]
    for L in allowed:  # a tracer to which n is a symbol knows no min with a key
        if cost(L) < cost(best):
            best = L
    return best if n > best else n


def constant_like(kind: str, system: LegendreSystem, size: int, like: Tensor) -> Tensor:
    """A system's constant, in a tensor's dtype and on its device."""
    return constant(kind, system, size, like.dtype, like.device)


def impulse_tail(system: LegendreSystem, n: int, like: Tensor, response: str = "H_reversed") -> Tensor:
    """(n, d): the last n rows of a response, cut from one kept for the next power of two."""
    return constant_like(response, system, 1 << (n - 1).bit_length(), like)[-n:]


def _check(u: Tensor, system: LegendreSystem, initial: Tensor | None) -> None:
    """What every form asks of its inputs.

    Raises:
        ValueError: a shape does not fit.
        TypeError: u is not float32 or float64, or the initial memory is of another dtype.
    """
    if u.ndim != 3 or 0 in u.shape:
        raise ValueError(f"u must be (batch ≥ 1, time ≥ 1, channels ≥ 1), got {tuple(u.shape)}")
    if u.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"u must be float32 or float64, since a memory in half precision drifts; got {u.dtype}")
    if initial is not None:
        expected = (u.shape[0], u.shape[2], system.order)
        if initial.shape != expected:
            raise ValueError(f"initial must be (batch, channels, order) = {expected}, got {tuple(initial.shape)}")
        if initial.dtype != u.dtype:
            raise TypeError(f"initial must have u's dtype {u.dtype}, got {initial.dtype}")


# --------------------------------------------------------------------------- the forms


def memory_step(u: Tensor, system: LegendreSystem, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eq. (19) once, as a chunk of one step: [m_{t−1}; u_t] times [Ā^T; B̄]. n must be 1."""
    _check(u, system, initial)
    if u.shape[1] != 1:
        raise ValueError(f"memory_step takes one time step, got {u.shape[1]}; use memory_chunked for more")
    if initial is None:
        final = u.mT * constant_like("B_bar", system, 0, u)
    else:
        final = torch.cat([initial, u.mT], dim=2) @ constant_like("chunk", system, 1, u)
    return final.unsqueeze(1), final


def memory_recurrent(u: Tensor, system: LegendreSystem, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eq. (19) as a plain loop over time: slow, and obviously right."""
    _check(u, system, initial)
    A_bar_T, B_bar = constant_like("A_bar", system, 0, u).T, constant_like("B_bar", system, 0, u)
    memory = u.new_zeros(u.shape[0], u.shape[2], system.order) if initial is None else initial
    states = []
    for u_t in u.unbind(1):
        memory = memory @ A_bar_T + u_t[..., None] * B_bar
        states.append(memory)
    return torch.stack(states, dim=1), memory


def memory_toeplitz(u: Tensor, system: LegendreSystem, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eq. (24), m_{1:n} = H U with U the Toeplitz matrix of u. It writes n² numbers per channel."""
    _check(u, system, initial)
    b, n, d_u = u.shape
    if (needed := b * d_u * n * n * u.element_size()) > 2**32:
        raise ValueError(
            f"memory_form='toeplitz' would write {needed / 2**30:.1f} GiB for u {(b, n, d_u)}; use 'chunked'"
        )
    U = pad(u.transpose(1, 2), (n - 1, 0)).unfold(-1, n, 1)
    m = (U @ impulse_tail(system, n, u)).transpose(1, 2)
    if initial is not None:
        m = m + free_response(initial, system, n)
    return m, m[:, -1]


def memory_fft(u: Tensor, system: LegendreSystem, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eq. (26), m_{1:n} = F⁻¹{F{H}·F{u}}, padded with zeros so that nothing wraps round."""
    _check(u, system, initial)
    n = u.shape[1]
    size = 2 << (n - 1).bit_length()
    spectrum = torch.fft.rfft(u.transpose(1, 2), n=size)[:, :, None] * constant_like("H_spectrum", system, size, u)
    m = torch.fft.irfft(spectrum, n=size)[..., :n].permute(0, 3, 1, 2)
    if initial is not None:
        m = m + free_response(initial, system, n)
    return m, m[:, -1]


def memory_chunked(
    u: Tensor, system: LegendreSystem, initial: Tensor | None = None, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Blocks of L steps, each one matrix product of [memory on entry; the block's inputs] with a constant.

    Only matrix products: it differentiates twice, compiles, exports and vectorises. Where only W_m m is wanted, and
    not m, :func:`~lmu_hf.readout.read_states` does with less.

    Args:
        u: (b, n, d_u).
        system: whose dynamics.
        initial: (b, d_u, d), or None for zero.
        chunk: L; by default :func:`chunk_length` decides.
    """
    _check(u, system, initial)
    b, n, d_u = u.shape
    d, L = system.order, chunk or chunk_length(n, system.order)
    blocks = -(-n // L)
    x = pad(u.transpose(1, 2), (0, blocks * L - n)).reshape(b * d_u, blocks, L)
    first = u.new_zeros(b * d_u, d) if initial is None else initial.reshape(b * d_u, d)
    m = torch.cat([entry_memories(x, system, first), x], dim=-1) @ constant_like("chunk", system, L, u)
    m = m.view(b, d_u, blocks * L, d)[:, :, :n].transpose(1, 2)
    return m, m[:, -1]


def memory_final(u: Tensor, system: LegendreSystem, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eq. (25), m_n = H U_{:n}: the last state only, so the returned m is (b, 1, d_u, d)."""
    _check(u, system, initial)
    final = joined_end(u, system)
    if initial is not None:
        final = final + advance(initial, system, u.shape[1])
    return final.unsqueeze(1), final


def joined_end(u: Tensor, system: LegendreSystem, response: str = "H_reversed", power: str = "A_power") -> Tensor:
    """Where a linear recurrence ends that starts from zero: (b, d_u, its width).

    Args:
        u: (b, n, d_u).
        system: whose constants.
        response: the constant (length, width) that n steps are multiplied with.
        power: the constant (width, width) that carries an end over some more steps.
    """
    b, n, d_u = u.shape
    L = min(n, LONGEST_IMPULSE)  # longer sequences are blocks, joined in pairs
    blocks = 1 << (-(-n // L) - 1).bit_length()
    x = pad(u.transpose(1, 2), (blocks * L - n, 0)).reshape(-1, L)
    ends = (x @ impulse_tail(system, L, u, response)).view(b, d_u, blocks, -1)
    span = L
    while ends.shape[2] > 1:
        ends = ends[:, :, 0::2] @ constant_like(power, system, span, u).T + ends[:, :, 1::2]
        span *= 2
    return ends[:, :, 0]


def memory_packed(u: Tensor, system: LegendreSystem, segments: Segments) -> tuple[Tensor, Tensor]:
    """Every state of sequences packed in one row, each from an empty memory, by :func:`memory_chunked`'s blocks.

    Args:
        u: (1, n, d_u).
        system: whose dynamics.
        segments: the sequences.

    Returns:
        m (1, n, d_u, d), and the last memory of each sequence, (sequences, d_u, d).
    """
    _check(u, system, None)
    L = min(chunk_length(segments.mean_length * LONGEST_IMPULSE, system.order), _power_of_two(segments.mean_length))
    x, entry = _enter_packed(u, system, segments, L)
    m = torch.cat([entry, x], dim=-1) @ constant_like("chunk", system, L, u)
    m = segments.blocks(L, u.device).take(m.view(u.shape[2], -1, system.order))[None].transpose(1, 2)
    return m, m[0, segments.last_steps(u.device)]


def memory_packed_final(u: Tensor, system: LegendreSystem, segments: Segments) -> tuple[Tensor, Tensor]:
    """As :func:`memory_packed`, but of each sequence only the last state: m is (sequences, 1, d_u, d).

    On blocks of L steps, half a block of each sequence is empty, and what a step costs is (1 + d/L)·d: L = √(2·n·d) for
    sequences of n steps costs the least.
    """
    _check(u, system, None)
    L = min(_power_of_two((2 * segments.mean_length * system.order) ** 0.5), LONGEST_IMPULSE)
    x, entry = _enter_packed(u, system, segments, L)
    ends = segments.blocks(L, u.device).ends
    final = entry[:, ends] @ constant_like("A_power", system, L, u).T + x[:, ends] @ impulse_tail(system, L, u)
    final = final.transpose(0, 1)
    return final.unsqueeze(1), final


def _enter_packed(u: Tensor, system: LegendreSystem, segments: Segments, L: int) -> tuple[Tensor, Tensor]:
    """Packed sequences on blocks (d_u, blocks, L), and what enters each block (d_u, blocks, d)."""
    blocks = segments.blocks(L, u.device)
    x = blocks.lay(u)[0].T.unflatten(1, (-1, L))
    return x, entry_memories(x, system, u.new_zeros(u.shape[2], system.order), starts=blocks.starts)


def _power_of_two(length: float) -> int:
    """The nearest: other lengths would each have constants of their own."""
    return 1 << max(round(math.log2(length)), 0)


MEMORY_FORMS: dict[str, MemoryForm] = {
    "step": memory_step,
    "recurrent": memory_recurrent,
    "chunked": memory_chunked,
    "fft": memory_fft,
    "toeplitz": memory_toeplitz,
    "final": memory_final,
}
