"""What follows from a Legendre system: derived once in float64, rounded, and remembered for the whole process.

A constant has a kind, a system and a size (the number of steps that it depends on, 0 for none). ``BUILDERS`` says how
each kind is built; :func:`constant` rounds and remembers. Nothing here is a buffer of a module: a cast, a meta-device
load or a checkpoint never meets a constant.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from .statespace import LegendreSystem, basis_scale, discrete_system, impulse_response

CACHE_BYTES = 512 * 2**20
FEWEST_OUTPUTS = 16  # with fewer, W_m meets the constant in one product for all channels: one for each would be narrow


def build_response(system: LegendreSystem, length: int) -> Tensor:
    """``"H_reversed"`` (length, d): row −1−j is Ā^j B̄, so that the last n rows times u_1 … u_n give m_n, eq. (25)."""
    H = impulse_response(exact("A_bar", system), exact("B_bar", system), length)
    return H.flip(1).T.contiguous()


def build_spectrum(system: LegendreSystem, size: int) -> Tensor:
    """``"H_spectrum"`` (d, size/2 + 1): F{H} of eq. (26)."""
    # H fills the first half of the signal and zeros the rest: nothing wraps round for n ≤ size/2.
    return torch.fft.rfft(exact("H_reversed", system, size // 2).flip(0).T, n=size)


def build_power(system: LegendreSystem, exponent: int) -> Tensor:
    """``"A_power"`` (d, d): Ā to a power, by squaring."""
    # Powers that share halves are remembered, so that Ā^2L costs one product where Ā^L is known.
    if exponent <= 1:
        return exact("A_bar", system) if exponent else torch.eye(system.order, dtype=torch.float64, device="cpu")
    half = exact("A_power", system, exponent // 2)
    return half @ half @ exact("A_power", system, exponent % 2)


def build_chunk(system: LegendreSystem, length: int) -> Tensor:
    """``"chunk"`` (d + L, L·d): C, which takes [memory on entry; a chunk's L inputs] to the chunk's L memories.

    m_t = Ā^t m_0 + Σ_{s≤t} Ā^(t−s) B̄ u_s: the first d rows hold the powers of Āᵀ, and below them column t of the
    lower triangular Toeplitz matrix of H.
    """
    d = system.order
    H = exact("H_reversed", system, length).flip(0)
    chunk = H.new_zeros(d + length, length, d)
    power = exact("A_bar", system)
    for t in range(length):
        chunk[:d, t] = power.T
        chunk[d : d + t + 1, t] = H[: t + 1].flip(0)
        power = power @ exact("A_bar", system)
    return chunk.view(d + length, length * d)


def build_change(system: LegendreSystem, length: int) -> Tensor:
    """``"change"`` (d + 1, d): C of one step less [I; 0], which takes [memory; input] to what the step adds to it."""
    return build_chunk(system, length) - torch.eye(system.order + 1, system.order, dtype=torch.float64, device="cpu")


def build_summed_response(system: LegendreSystem, length: int) -> Tensor:
    """``"summed_response"`` (length, 2·d): row −1−j is [Ā^j B̄; Σ_{i≤j} Ā^i B̄]."""
    H_reversed = exact("H_reversed", system, length)
    # An input j steps old has left Ā^i B̄ in each of the states since, i = 0 … j.
    return torch.cat([H_reversed, H_reversed.flip(0).cumsum(0).flip(0)], dim=1)


def build_summed_power(system: LegendreSystem, exponent: int) -> Tensor:
    """``"summed_power"`` (2·d, 2·d): [[Ā, 0], [Ā, I]] to a power, which is [[Ā^k, 0], [Σ_{0<t≤k} Ā^t, I]]."""
    A_bar, one = exact("A_bar", system), torch.eye(system.order, dtype=torch.float64, device="cpu")
    # One step of [m; s], s being the sum of the states so far: both gain Ā m.
    step = torch.cat([torch.cat([A_bar, 0 * one], dim=1), torch.cat([A_bar, one], dim=1)])
    return torch.linalg.matrix_power(step, exponent)


Builder = Callable[[LegendreSystem, int], Tensor]
BUILDERS: dict[str, Builder] = {  # each gives float64, or complex128, on the CPU
    "A_bar": lambda system, _: discrete_system(system)[0],
    "B_bar": lambda system, _: discrete_system(system)[1],
    "scale": lambda system, _: basis_scale(system),
    "H_reversed": build_response,
    "H_spectrum": build_spectrum,
    "A_power": build_power,
    "chunk": build_chunk,
    "change": build_change,
    "summed_response": build_summed_response,
    "summed_power": build_summed_power,
}
_cache: OrderedDict[tuple, Tensor] = OrderedDict()  # the least recently used first
_cache_lock = threading.Lock()
_thread = threading.local()
if hasattr(os, "register_at_fork"):  # a child has none of the threads that could hold the lock, so nobody may at a fork
    os.register_at_fork(
        before=_cache_lock.acquire, after_in_parent=_cache_lock.release, after_in_child=_cache_lock.release
    )


def exact(kind: str, system: LegendreSystem, size: int = 0) -> Tensor:
    """A constant in float64 on the CPU, for builders to build on; remembered while the cache has room."""
    key = (kind, system, size)
    with _cache_lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    return _derive(key, lambda: BUILDERS[kind](system, size))


def constant(kind: str, system: LegendreSystem, size: int, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """A tensor derived from a system: built in float64 once per process, then rounded to ``dtype`` on ``device``.

    Args:
        kind: one of ``BUILDERS``.
        system: whose constant.
        size: the length that the constant depends on, 0 for none.
        dtype: float32 or float64 (a complex constant gets the complex type of that precision).
        device: where it is used.
    """
    if torch.compiler.is_dynamo_compiling():  # a graph may only be given plain numbers and words
        numbers = (system.order, system.theta, system.discretization, system.basis)
        return getattr(_IN_GRAPHS, _name_in_graphs(kind, *numbers, size, dtype, device))
    # Here and not in a helper that exact() shares: every layer asks for constants at every token.
    key = (kind, system, size, dtype, torch.device(device))
    with _cache_lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]

    def build() -> Tensor:
        value = exact(kind, system, size)
        return value.to(device, dtype.to_complex() if value.is_complex() else dtype)

    return _derive(key, build)


def impulse_tail(system: LegendreSystem, n: int, like: Tensor, response: str = "H_reversed") -> Tensor:
    """(n, d): the last n rows of a response, cut from one kept for the next power of two."""
    return constant(response, system, 1 << (n - 1).bit_length(), like.dtype, like.device)[-n:]


def fused_constant(C: Tensor, weight: Tensor, d_u: int) -> Tensor:
    """C W_mᵀ, as (d_u·(d + L), L·d_o)."""
    # Row j of C holds, for each of L outputs, d numbers; times W_mᵀ of each channel, (d, d_o), they are its L·d_o taps.
    rows, d_o = len(C), len(weight)
    matrices = weight.unflatten(1, (d_u, -1)).permute(1, 2, 0)  # (d_u, d, d_o)
    taps = C.view(-1, matrices.shape[1])  # ((d + L)·L, d)
    if d_o < FEWEST_OUTPUTS:
        constant = (taps @ matrices.transpose(0, 1).flatten(1)).view(rows, -1, d_u, d_o).permute(2, 0, 1, 3)
    else:
        constant = torch.bmm(taps.expand(d_u, -1, -1), matrices)
    return constant.reshape(d_u * rows, -1)


def pull_constant(gradient: Tensor, C: Tensor, weight: Tensor, d_u: int) -> Tensor:
    """The gradient of W_m from that of :func:`fused_constant`."""
    d_o = len(weight)
    taps, gradient = C.view(-1, weight.shape[1] // d_u), gradient.view(d_u, -1, d_o).mT
    if d_o < FEWEST_OUTPUTS:
        d_weight = (gradient.flatten(0, 1) @ taps).view(d_u, d_o, -1)
    else:
        d_weight = torch.bmm(gradient, taps.expand(d_u, -1, -1))
    return d_weight.transpose(0, 1).flatten(1)


def _derive(key: tuple, build: Callable[[], Tensor]) -> Tensor:
    """A new constant, built in a fresh thread and remembered.

    A fresh thread has none of the caller's modes (inference, autocast, meta or fake tensors, functorch levels), any of
    which would otherwise be baked into a tensor that outlives them.
    """
    if getattr(_thread, "is_fresh", False):
        value = build()
    else:
        with ThreadPoolExecutor(max_workers=1, initializer=_start_fresh_thread) as fresh:
            value = fresh.submit(build).result()
    with _cache_lock:
        # Two threads may have built the same: either will do, as both are the same numbers.
        _cache[key] = value
        held = sum(tensor.nbytes for tensor in _cache.values())
        while held > CACHE_BYTES and len(_cache) > 1:
            held -= _cache.popitem(last=False)[1].nbytes
    return value


def _start_fresh_thread() -> None:
    _thread.is_fresh = True
    torch.get_num_threads()  # takes over the process's number: until asked, a new thread's FFTs round differently


class _InGraphs:
    """Holds the constants of compiled graphs as attributes.

    A tracer tells the tensors of a graph by where they come from, and refuses two from one place: an attribute is a
    place of its own for each. What a graph holds is never forgotten, as the graph would be made anew.
    """


_IN_GRAPHS = _InGraphs()
_names_in_graphs: dict[tuple, str] = {}


@torch.compiler.assume_constant_result
def _name_in_graphs(
    kind: str,
    order: int,
    theta: float,
    discretization: str,
    basis: str,
    size: int,
    dtype: torch.dtype,
    device: torch.device,
) -> str:
    """The attribute of ``_IN_GRAPHS`` that holds a constant; derived, where it is new, outside the trace."""
    system = LegendreSystem(order, theta, discretization, basis)
    key = (kind, system, size, dtype, torch.device(device))
    with _cache_lock:
        name = _names_in_graphs.setdefault(key, f"constant_{len(_names_in_graphs)}")
    if not hasattr(_IN_GRAPHS, name):
        with ThreadPoolExecutor(max_workers=1) as untraced:
            setattr(_IN_GRAPHS, name, untraced.submit(constant, kind, system, size, dtype, device).result())
    return name
