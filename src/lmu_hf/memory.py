"""One linear recurrence, m_t = Ā m_{t−1} + B̄ u_t, eq. (19), and every way in which it is run.

Every form has the same contract::

    memory_<form>(u, system, initial=None) -> (m, final)

with the written signal ``u`` (b, n, d_u), the carried memory ``initial`` and ``final`` (b, d_u, d), and every state
``m`` (b, n, d_u, d), in float32 or float64 as ``u`` is. All forms derive from the same Ā and B̄, agree to rounding for
any n ≥ 1, and freeze no length. Of ``final`` and ``mean``, m is (b, 1, d_u, d): the last state, or the mean of all.

=============  ==========================================  ========================  ==========================
form           equation                                    operations per channel    when
=============  ==========================================  ========================  ==========================
``recurrent``  (19), a plain loop                          n·d²                      the oracle; never fast
``step``       (19), once                                  d²                        one token at a time
``final``      (25): only m_n is ever computed             n·d                       a pooled head
``mean``       (25), of states and their sum               2·n·d                     a head that pools by mean
``toeplitz``   (24)                                        n²·d                      short sequences
``fft``        (26)                                        n·log n·d                 to compare with
``chunked``    (19) and (24) on chunks of L steps          n·d·(d + L)               the default
``scanned``    the same, chunk after chunk                 n·d·(d + L)               a graph for any length
=============  ==========================================  ========================  ==========================

:func:`memory_packed` and :func:`memory_packed_final` read sequences packed in one row, each from an empty memory.

Equation numbers: Chilkuri and Eliasmith, "Parallelizing Legendre Memory Unit Training", ICML 2021.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from .chunks import LONGEST_IMPULSE, Sequences, check_signal, chunk_length, entry_memories, power_of_two
from .constants import constant, impulse_tail
from .layout import Layout
from .statespace import LegendreSystem

SLOW = 10_000.0  # steps; of a longer window one step adds the memory's change and does not form the memory anew
MANY = 2**14  # steps that a graph for any length chooses its chunks for, since it has one L for all lengths


class MemoryForm(Protocol):
    """What every form of the memory looks like from outside."""

    def __call__(self, u: Tensor, system: LegendreSystem, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``u`` (b, n, d_u) and ``initial`` (b, d_u, d) to ``m`` (b, n, d_u, d) and ``final`` (b, d_u, d)."""
        ...


def memory_recurrent(u: Tensor, system: LegendreSystem, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eq. (19) as a plain loop over time: slow, and obviously right."""
    check_signal(u, system, initial)
    # Memories are rows (…, d): Ā m is m Āᵀ.
    A_bar_T = constant("A_bar", system, 0, u.dtype, u.device).T
    B_bar = constant("B_bar", system, 0, u.dtype, u.device)
    memory = u.new_zeros(u.shape[0], u.shape[2], system.order) if initial is None else initial
    states = []
    for u_t in u.unbind(1):
        memory = memory @ A_bar_T + u_t[..., None] * B_bar
        states.append(memory)
    return torch.stack(states, dim=1), memory


def memory_step(u: Tensor, system: LegendreSystem, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eq. (19) once, as a chunk of one step: [m_{t−1}; u_t] times [Ā^T; B̄]. n must be 1."""
    check_signal(u, system, initial)
    if u.shape[1] != 1:
        raise ValueError(f"memory_step takes one time step, got {u.shape[1]}; use memory_chunked for more")
    if initial is None:
        initial = u.new_zeros(u.shape[0], u.shape[2], system.order)
    final = next_memory(initial, u, system)
    return final.unsqueeze(1), final


def next_memory(memory: Tensor, u: Tensor, system: LegendreSystem) -> Tensor:
    """The memory (b, d_u, d) one step u (b, 1, d_u) after another: eq. (19) with nothing checked."""
    # [m; u] C costs one product where Ā m + B̄ u costs two and a sum.
    entered = torch.cat([memory, u.mT], dim=2)
    if system.theta <= SLOW:
        return entered @ constant("chunk", system, 1, u.dtype, u.device)
    # Ā is nearly I, and θ (Ā − I), the rate of forgetting, is rounded to θ parts in 10⁷ beside the ones, to 1 without.
    return memory + entered @ constant("change", system, 1, u.dtype, u.device)


def memory_final(u: Tensor, system: LegendreSystem, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eq. (25), m_n = H U_{:n}: the last state only, so the returned m is (b, 1, d_u, d)."""
    check_signal(u, system, initial)
    final = join_ends(u, system)
    if initial is not None:
        final = final + advance(initial, system, u.shape[1])
    return final.unsqueeze(1), final


def final_of_numbers(
    x: Tensor, scale: Tensor, shift: Tensor, system: LegendreSystem, initial: Tensor | None = None
) -> Tensor:
    """The last memory (b, 1, d) of numbers u = w x + c: w m_n(x) + c m_n(1), as eq. (25) is linear in u.

    So x, which is data as a rule, is multiplied with H, and the gradients of w and c need no second product with it.

    Args:
        x: (b, n, 1), n ≤ ``LONGEST_IMPULSE``.
        scale, shift: w (1, 1) and c (1,).
        system: whose dynamics.
        initial: (b, 1, d), or None for zero.
    """
    n = x.shape[1]
    steady = impulse_tail(system, n, x, "summed_response")[0, system.order :]  # Σ_{i<n} Ā^i B̄
    final = memory_final(x, system)[1] * scale + steady * shift
    return final if initial is None else final + advance(initial.to(final), system, n)


def memory_mean(
    u: Tensor, system: LegendreSystem, initial: Tensor | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The mean of the states over time, at the price of twice the last one.

    ``(1/n) Σ_t m_t = (1/n) Σ_j (Σ_{i≤n−j} Ā^i B̄) u_j + (1/n) (Σ_{0<t≤n} Ā^t) m_0``: one fixed response, as eq. (25) is.
    The state and the sum of all states together are a linear recurrence, [m; s] → [Ā m + B̄ u; s + Ā m + B̄ u], of which
    only the end is computed.

    Args:
        u: (b, n, d_u).
        system: whose dynamics.
        initial: (b, d_u, d), or None for zero.
        lengths: (b,), where rows end; None if all are real. The mean of no steps is zero.

    Returns:
        The mean, as m (b, 1, d_u, d), and the last memory (b, d_u, d).
    """
    check_signal(u, system, initial)
    # [m; s] starts from [m_0; 0]: s counts m_1 … m_n, and not m_0 itself.
    steps: int | Tensor = u.shape[1] if lengths is None else lengths
    end = join_ends(u if lengths is None else move_to_end(u, lengths), system, "summed_response", "summed_power")
    if initial is not None:
        end = end + advance(torch.cat([initial, torch.zeros_like(initial)], dim=2), system, steps, "summed_power")
    final, total = end.chunk(2, dim=2)
    count = steps if isinstance(steps, int) else steps.clamp(min=1)[:, None, None]
    return (total / count)[:, None], final


def memory_toeplitz(u: Tensor, system: LegendreSystem, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eq. (24), m_{1:n} = H U with U the Toeplitz matrix of u. It writes n² numbers per channel."""
    check_signal(u, system, initial)
    b, n, d_u = u.shape
    if (needed := b * d_u * n * n * u.element_size()) > 2**32:
        raise ValueError(
            f"memory_form='toeplitz' would write {needed / 2**30:.1f} GiB for u {(b, n, d_u)}; use 'chunked'"
        )
    # Row t of U is u_{t−n+1} … u_t, zeros standing for what was before the first step; H_reversed has the oldest first.
    U = pad(u.transpose(1, 2), (n - 1, 0)).unfold(-1, n, 1)
    m = (U @ impulse_tail(system, n, u)).transpose(1, 2)
    if initial is not None:
        m = m + free_response(initial, system, n)
    return m, m[:, -1]


def memory_fft(u: Tensor, system: LegendreSystem, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eq. (26), m_{1:n} = F⁻¹{F{H}·F{u}}, padded with zeros so that nothing wraps round."""
    check_signal(u, system, initial)
    n = u.shape[1]
    size = 2 << (n - 1).bit_length()
    # A product of spectra is a circular convolution: 2n numbers leave it room to end before it comes round.
    H_spectrum = constant("H_spectrum", system, size, u.dtype, u.device)
    spectrum = torch.fft.rfft(u.transpose(1, 2), n=size)[:, :, None] * H_spectrum
    m = torch.fft.irfft(spectrum, n=size)[..., :n].permute(0, 3, 1, 2)
    if initial is not None:
        m = m + free_response(initial, system, n)
    return m, m[:, -1]


def memory_chunked(
    u: Tensor, system: LegendreSystem, initial: Tensor | None = None, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Chunks of L steps, each one matrix product of [memory on entry; the chunk's inputs] with a constant.

    Only matrix products: it differentiates twice, compiles, exports and vectorises. Where only W_m m is wanted, and
    not m, :func:`~lmu_hf.readout.read_states` does with less.

    Args:
        u: (b, n, d_u).
        system: whose dynamics.
        initial: (b, d_u, d), or None for zero.
        chunk: L; by default :func:`chunk_length` decides.
    """
    check_signal(u, system, initial)
    b, n, d_u = u.shape
    d, L = system.order, chunk or chunk_length(n, system.order)
    # Zeros behind the last step change no state before it. Channels become rows: each is a signal of its own.
    chunks = -(-n // L)
    x = pad(u.transpose(1, 2), (0, chunks * L - n)).reshape(b * d_u, chunks, L)
    first = u.new_zeros(b * d_u, d) if initial is None else initial.reshape(b * d_u, d)
    m = torch.cat([entry_memories(x, system, first), x], dim=-1) @ constant("chunk", system, L, u.dtype, u.device)
    m = m.view(b, d_u, chunks * L, d)[:, :, :n].transpose(1, 2)
    return m, m[:, -1]


def memory_scanned(
    u: Tensor, system: LegendreSystem, initial: Tensor | None = None, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """As :func:`memory_chunked`, but memories are carried from chunk to chunk in turn.

    The chunked form unrolls log₂(n/L) products, and a trace would keep their number. Here the chunks' inputs are one
    matrix, the carrying is one loop, which an exported graph keeps as a loop, and the number of chunks is a size.

    Args:
        u: (b, n, d_u).
        system: whose dynamics.
        initial: (b, d_u, d), or None for zero.
        chunk: L; by default as :func:`chunk_length` decides for a long sequence.
    """
    check_signal(u, system, initial)
    b, n, d_u = u.shape
    L = chunk or chunk_length(MANY, system.order)
    chunks = (n + L - 1) // L + 1  # one more than needed: a size that may be 1 is another graph to torch
    missing = chunks * L - n
    # Zeros before the first step leave an empty memory empty, so the last chunk ends where the sequence does. Then a
    # graph that reads only the final memory never computes the others.
    x = pad(u.transpose(1, 2), (missing, 0) if initial is None else (0, missing)).unfold(2, L, L)
    H_reversed, C, power = (constant(kind, system, L, u.dtype, u.device) for kind in ("H_reversed", "chunk", "A_power"))
    first = u.new_zeros(b, d_u, system.order) if initial is None else initial
    final, entry = carry(first, (x @ H_reversed).permute(2, 0, 1, 3), power.T)
    m = torch.cat([entry.permute(1, 2, 0, 3), x], dim=-1) @ C
    m = m.unflatten(3, (L, -1)).flatten(2, 3).transpose(1, 2)
    # By their numbers: that a slice of n steps lies within these chunks is more than torch.export can prove.
    steps = torch.arange(n, device=u.device)
    m = m.index_select(1, steps + missing if initial is None else steps)
    return m, final if initial is None else m[:, -1]


def carry(memory: Tensor, ends: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """What enters each chunk, and what leaves the last.

    Args:
        memory: (b, d_u, d), what enters the first chunk.
        ends: (chunks, b, d_u, d), what each chunk alone would leave in an empty memory.
        power: (d, d), what a memory is multiplied with from the right as it passes a chunk.

    Returns:
        final (b, d_u, d), and entry (chunks, b, d_u, d).
    """
    if torch.compiler.is_exporting():
        from torch._higher_order_ops.scan import scan

        return scan(lambda memory, end: (memory @ power + end, memory.clone()), memory, ends, dim=0)
    entry = []
    for end in ends.unbind():
        entry.append(memory)
        memory = memory @ power + end
    return memory, torch.stack(entry)


def memory_packed(u: Tensor, system: LegendreSystem, sequences: Sequences) -> tuple[Tensor, Tensor]:
    """Every state of sequences packed in one row, each from an empty memory, as :func:`memory_chunked` reads one.

    Args:
        u: (1, n, d_u).
        system: whose dynamics.
        sequences: the sequences.

    Returns:
        m (1, n, d_u, d), and the last memory of each sequence, (sequences, d_u, d).
    """
    check_signal(u, system, None)
    L = min(chunk_length(sequences.mean_length * LONGEST_IMPULSE, system.order), power_of_two(sequences.mean_length))
    x, entry = _enter_packed(u, system, sequences, L)
    m = torch.cat([entry, x], dim=-1) @ constant("chunk", system, L, u.dtype, u.device)
    m = sequences.chunks(L, u.device).take(m.view(u.shape[2], -1, system.order))[None].transpose(1, 2)
    return m, m[0, sequences.last_steps(u.device)]


def memory_packed_final(u: Tensor, system: LegendreSystem, sequences: Sequences) -> tuple[Tensor, Tensor]:
    """As :func:`memory_packed`, but of each sequence only the last state: m is (sequences, 1, d_u, d).

    On chunks of L steps, half a chunk of each sequence is empty, and what a step costs is (1 + d/L)·d: L = √(2·n·d) for
    sequences of n steps costs the least.
    """
    check_signal(u, system, None)
    L = min(power_of_two((2 * sequences.mean_length * system.order) ** 0.5), LONGEST_IMPULSE)
    x, entry = _enter_packed(u, system, sequences, L)
    ends = sequences.chunks(L, u.device).ends
    A_power = constant("A_power", system, L, u.dtype, u.device)
    final = (entry[:, ends] @ A_power.T + x[:, ends] @ impulse_tail(system, L, u)).transpose(0, 1)
    return final.unsqueeze(1), final


def _enter_packed(u: Tensor, system: LegendreSystem, sequences: Sequences, L: int) -> tuple[Tensor, Tensor]:
    """Packed sequences on chunks (d_u, chunks, L), and what enters each chunk (d_u, chunks, d)."""
    chunks = sequences.chunks(L, u.device)
    # One row becomes d_u rows of chunks; ``starts`` keeps what one sequence leaves from entering the next.
    x = chunks.lay(u)[0].T.unflatten(1, (-1, L))
    return x, entry_memories(x, system, u.new_zeros(u.shape[2], system.order), starts=chunks.starts)


def join_ends(u: Tensor, system: LegendreSystem, response: str = "H_reversed", power: str = "A_power") -> Tensor:
    """Where a linear recurrence ends that starts from zero: (b, d_u, its width).

    Args:
        u: (b, n, d_u).
        system: whose constants.
        response: the constant (length, width) that n steps are multiplied with.
        power: the constant (width, width) that carries an end over some more steps.
    """
    b, n, d_u = u.shape
    L = min(n, LONGEST_IMPULSE)  # longer sequences are chunks, joined in pairs
    # Zeros stand before the first step, where they leave an empty memory empty; a power of two of chunks pairs up.
    chunks = 1 << (-(-n // L) - 1).bit_length()
    x = (pad(u.mT, (chunks * L - n, 0)) if chunks * L > n else u.mT).reshape(-1, L)  # to pad by nothing copies
    ends = (x @ impulse_tail(system, L, u, response)).view(b, d_u, chunks, -1)
    span = L
    while ends.shape[2] > 1:
        ends = ends[:, :, 0::2] @ constant(power, system, span, u.dtype, u.device).T + ends[:, :, 1::2]
        span *= 2
    return ends[:, :, 0]


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
        return memory @ constant(power, system, steps, memory.dtype, memory.device).T
    # Row by row: Ā^(2^bit) where that bit of the row's count is set, as many products as the largest count has bits.
    bits = max(int(steps.max()), 1).bit_length() if steps.numel() else 0
    for bit in range(bits):
        moved = memory @ constant(power, system, 2**bit, memory.dtype, memory.device).T
        memory = torch.where((steps >> bit & 1).bool()[:, None, None], moved, memory)
    return memory


def free_response(initial: Tensor, system: LegendreSystem, n: int) -> Tensor:
    """What an initial memory (b, d_u, d) alone leaves in every state: Ā^t m_0 for t = 1 … n, as (b, n, d_u, d)."""
    # By doubling: the next k states are Ā^k times the first k.
    states = (initial @ constant("A_bar", system, 0, initial.dtype, initial.device).T)[:, None]
    while (length := states.shape[1]) < n:
        later = states[:, : n - length] @ constant("A_power", system, length, initial.dtype, initial.device).T
        states = torch.cat([states, later], dim=1)
    return states


def move_to_end(x: Tensor, lengths: Tensor) -> Tensor:
    """(b, n, …) with each row's real steps moved to its end, behind zeros, which leave an empty memory empty."""
    n = x.shape[1]
    place = torch.arange(n, device=x.device) - (n - lengths)[:, None]
    return x.gather(1, place.clamp(min=0)[..., None].expand_as(x)).masked_fill((place < 0)[..., None], 0)


MEMORY_FORMS: dict[str, MemoryForm] = {
    "recurrent": memory_recurrent,
    "step": memory_step,
    "final": memory_final,
    "mean": memory_mean,
    "toeplitz": memory_toeplitz,
    "fft": memory_fft,
    "chunked": memory_chunked,
    "scanned": memory_scanned,
}
# What a layer may be asked for by name; the last state and the mean follow from what is wanted of it.
SEQUENCE_FORMS = ("auto", "recurrent", "chunked", "scanned", "fft", "toeplitz")


def serving_form(form: str, n: int) -> str:
    """The form that serves n steps.

    Raises:
        ValueError: n is free in a graph to be exported, and the form that was asked for unrolls it.
    """
    if isinstance(n, torch.SymInt) and torch.compiler.is_exporting():
        if form not in ("auto", "scanned"):
            raise ValueError(f"memory_form={form!r} has a graph for one length alone: 'auto' or 'scanned' serve any")
        return "scanned"
    return "step" if n == 1 else "chunked" if form == "auto" else form


def run_to_end(form: str, u: Tensor, system: LegendreSystem, initial: Tensor | None, layout: Layout) -> Tensor:
    """The last state alone of each sequence, in a form by its name."""
    if layout.sequences is not None:
        return memory_packed_final(u, system, layout.sequences)[1]
    serving = serving_form(form, u.shape[1])
    if layout.lengths is None:
        # The other forms compute every state to find the last; chunked has eq. (25) in its place.
        return (memory_final if serving == "chunked" else MEMORY_FORMS[serving])(u, system, initial)[1]
    # Zeros before a row's first step leave an empty memory empty: then all rows end together.
    to_end = memory_scanned if serving == "scanned" else memory_final
    final = to_end(move_to_end(u, layout.lengths), system)[1]
    return final if initial is None else final + advance(initial, system, layout.lengths)
