"""The Legendre system: from a window of time to a frozen matrix pair, and back to the past.

Read in order, this file is the paper's argument: the continuous delay network, its discretisation, its impulse
response, and the polynomials that read the remembered window out again.

The words of the whole core, one for one thing:

===========================  ============  ==================================================================
concept                      letter        in code
===========================  ============  ==================================================================
window, in time steps        θ             ``theta``
number of coefficients       d             ``order``, ``d`` in shapes
continuous system            A, B          ``A`` (d, d), ``B`` (d,)
discrete system              Ā, B̄          ``A_bar`` (d, d), ``B_bar`` (d,)
impulse response             H             ``H`` (d, n), column j is Ā^j B̄
written signal, memory       u, m          ``u`` (b, n, d_u), ``m`` (b, n, d_u, d)
carried memory               m_n           ``initial``, ``final`` (b, d_u, d)
batch, steps, channels       b, n, d_u     the same, in this order
chunk                        L             L neighbouring steps, read by one matrix product (chunks.py)
group                        –             eight neighbouring chunks
part                         –             what one of several ranks holds of a sequence (layout.py)
row                          –             what one line of a batch holds; it may be padded
sequence                     –             what is read from an empty memory; a packed row holds several
block                        –             a layer of a stack: a memory and what stands around it
===========================  ============  ==================================================================

Equation numbers refer to Chilkuri and Eliasmith, "Parallelizing Legendre Memory Unit Training", ICML 2021.
Everything is computed in float64. A :class:`LegendreSystem` holds numbers only, no tensors: what follows from it is
remembered by :mod:`~lmu_hf.constants`, so that a model has no buffers that a cast, a meta-device load or a
half-precision checkpoint could damage.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

DISCRETIZATIONS = ("zoh", "euler")
BASES = ("legendre", "orthonormal", "unit")
MAX_THETA = 10**7  # beyond it 1 − (spectral radius) is lost in float32


@dataclass(frozen=True)
class LegendreSystem:
    """A discrete Legendre delay system, by its defining numbers.

    Args:
        order: number of Legendre coefficients d, at least 1.
        theta: window θ in time steps, from 1 to 10⁷ (a fraction is allowed).
        discretization: ``"zoh"`` (exact for inputs that hold for a step) or ``"euler"`` (a first-order step;
            unstable unless θ is large beside the order).
        basis: ``"legendre"``, the paper's; ``"orthonormal"``, row i divided by √(2i+1), which keeps ‖Ā‖ near 1;
            ``"unit"``, every row of H scaled to norm 1, so that white noise of variance 1 fills every
            coefficient with variance 1 (the friendliest scale for a dense readout).

    Raises:
        ValueError: a field is out of its range, or the system is not stable in float32.
    """

    order: int
    theta: float
    discretization: str = "zoh"
    basis: str = "legendre"

    def __post_init__(self) -> None:
        if not isinstance(self.order, int) or isinstance(self.order, bool) or self.order < 1:
            raise ValueError(f"order must be an integer ≥ 1, got {self.order!r}")
        is_number = isinstance(self.theta, int | float) and not isinstance(self.theta, bool)
        if not is_number or not 1 <= self.theta <= MAX_THETA:
            raise ValueError(f"theta must be a number of time steps from 1 to {MAX_THETA:g}, got {self.theta!r}")
        if self.discretization not in DISCRETIZATIONS:
            raise ValueError(f"discretization must be one of {DISCRETIZATIONS}, got {self.discretization!r}")
        if self.basis not in BASES:
            raise ValueError(f"basis must be one of {BASES}, got {self.basis!r}")
        object.__setattr__(self, "theta", float(self.theta))


def continuous_system(order: int, theta: float) -> tuple[Tensor, Tensor]:
    """The Legendre delay network m' = A m + B u in float64, time in steps.

    ``A[i, j] = (2i+1)/θ · (−1 if i < j else (−1)^(i−j+1))`` and ``B[i] = (2i+1)(−1)^i/θ``.
    """
    # Named devices and dtypes, here and below: a default device or dtype of the caller's must not reach the numbers.
    i = torch.arange(order, dtype=torch.float64, device="cpu")[:, None]
    j = i.T
    sign = torch.where(i < j, -1.0, 1 - 2 * ((i - j + 1) % 2))
    A = (2 * i + 1) / theta * sign
    B = ((2 * i + 1) / theta * (1 - 2 * (i % 2)))[:, 0]
    return A, B


def discretize_zoh(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Zero-order hold over one step: Ā = e^A, B̄ = A⁻¹(e^A − I)B, both from one exponential of [[A, B], [0, 0]]."""
    # d/dt [m; u] = [[A, B], [0, 0]] [m; u] holds u for the step. A⁻¹ is never formed: at θ = 10⁷ it is 10⁷ large.
    d = A.shape[0]
    held = A.new_zeros(d + 1, d + 1)
    held[:d, :d], held[:d, d] = A, B
    held = torch.linalg.matrix_exp(held)
    return held[:d, :d].contiguous(), held[:d, d].contiguous()


def discretize_euler(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Forward Euler over one step: Ā = I + A, B̄ = B."""
    return torch.eye(A.shape[0], dtype=A.dtype, device=A.device) + A, B


def impulse_response(A_bar: Tensor, B_bar: Tensor, length: int) -> Tensor:
    """H = [B̄, ĀB̄, …, Ā^(n−1)B̄] of shape (d, n), eq. (23), by doubling: log₂ n matrix products."""
    H, power = B_bar[:, None], A_bar  # power is Ā to the number of columns so far
    while H.shape[1] < length:
        H = torch.cat([H, power @ H[:, : length - H.shape[1]]], dim=1)
        power = power @ power
    return H


def spectral_radius(A_bar: Tensor) -> float:
    """The largest modulus among the eigenvalues of Ā; a memory forgets only if it is below 1."""
    return torch.linalg.eigvals(A_bar.double()).abs().max().item()


def basis_scale(system: LegendreSystem) -> Tensor:
    """The diagonal (d,) by which a basis multiplies the paper's coefficients."""
    # ∫ P̃_i² over [0, 1] is 1/(2i+1): divided by its root, the polynomials are orthonormal.
    orthonormal = (2 * torch.arange(system.order, dtype=torch.float64, device="cpu") + 1).rsqrt()
    if system.basis == "legendre":
        return torch.ones_like(orthonormal)
    if system.basis == "orthonormal":
        return orthonormal
    A_bar, B_bar = _rescale(*_paper_system(system), orthonormal)
    # E = Σ_j (Ā^j B̄)(Ā^j B̄)ᵀ holds the squared norms of H's rows on its diagonal. By doubling, the sum of the first 2k
    # terms is E_k + Ā^k E_k (Ā^k)ᵀ, until what is left is below rounding.
    energy = B_bar.outer(B_bar)
    while A_bar.abs().max() > 1e-12:
        energy, A_bar = energy + A_bar @ energy @ A_bar.T, A_bar @ A_bar
    return orthonormal * energy.diagonal().rsqrt()


def discrete_system(system: LegendreSystem) -> tuple[Tensor, Tensor]:
    """Ā (d, d) and B̄ (d,) of eq. (19) in float64, in the system's basis.

    Raises:
        ValueError: Ā, once rounded to float32, would not forget.
    """
    # With m = S m' for a diagonal S, the dynamics are S Ā S⁻¹ and S B̄.
    return _rescale(*_paper_system(system), basis_scale(system))


def _rescale(A_bar: Tensor, B_bar: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    return A_bar * scale[:, None] / scale, B_bar * scale


def _paper_system(system: LegendreSystem) -> tuple[Tensor, Tensor]:
    discretize = {"zoh": discretize_zoh, "euler": discretize_euler}[system.discretization]
    A_bar, B_bar = discretize(*continuous_system(system.order, system.theta))
    radius = spectral_radius(A_bar.float())  # of what will run: rounding alone may lift it to 1
    if radius >= 1:
        raise ValueError(
            f"discretization={system.discretization!r} with order={system.order} and theta={system.theta:g} is "
            f"unstable: the spectral radius is {radius:.6f}, and it must be below 1. Use discretization='zoh', "
            "a larger theta or a smaller order."
        )
    return A_bar, B_bar


def shifted_legendre(order: int, position: Tensor) -> Tensor:
    """P̃_i(r) for i < order at positions r in [0, 1]: shape (*r, d), by the three-term recurrence."""
    # (i+1) P_{i+1}(x) = (2i+1) x P_i(x) − i P_{i−1}(x), on x = 2r − 1.
    x = 2 * position.to(torch.float64) - 1
    polynomials = [torch.ones_like(x), x]
    for i in range(1, order - 1):
        polynomials.append(((2 * i + 1) * x * polynomials[i] - i * polynomials[i - 1]) / (i + 1))
    return torch.stack(polynomials[:order], dim=-1)


def decode_past(memory: Tensor, system: LegendreSystem, delays: Tensor) -> Tensor:
    """The signal that a memory remembers, at given delays: u(t − θ') ≈ Σ_i P̃_i(θ'/θ) m_i(t).

    Args:
        memory: (…, d).
        system: the system that wrote it.
        delays: (k,) delays θ' in time steps, each in [0, θ]. With zero-order hold a written sample stands for the
            step that it is held, so the decoded signal is the written one at half-integer delays.

    Returns:
        (…, k), in the memory's dtype.

    Raises:
        ValueError: a delay is outside the window, or the memory has another order.
    """
    if memory.shape[-1] != system.order:
        raise ValueError(f"memory has {memory.shape[-1]} coefficients in its last axis; the system has {system.order}")
    if delays.numel() and not (delays.min() >= 0 and delays.max() <= system.theta):
        raise ValueError(f"delays must lie in [0, theta={system.theta:g}], got {delays.min():g} to {delays.max():g}")
    weights = shifted_legendre(system.order, delays.to("cpu") / system.theta)
    return memory @ (weights / basis_scale(system)).T.to(memory)
