"""The mean of all states of the memory, without the states."""

import torch
from torch import Tensor

from .memory import _check, advance, joined_end
from .ragged import to_the_right
from .statespace import LegendreSystem, derives, exact


@derives("summed_response")
def _(system: LegendreSystem, length: int) -> Tensor:
    """(length, 2·d): row −1−j is [Ā^j B̄; Σ_{i≤j} Ā^i B̄]."""
    H_reversed = exact("H_reversed", system, length)
    return torch.cat([H_reversed, H_reversed.flip(0).cumsum(0).flip(0)], dim=1)


@derives("summed_power")
def _(system: LegendreSystem, exponent: int) -> Tensor:
    """(2·d, 2·d): [[Ā, 0], [Ā, I]] to a power, which is [[Ā^k, 0], [Σ_{0<t≤k} Ā^t, I]]."""
    A_bar, one = exact("A_bar", system), torch.eye(system.order, dtype=torch.float64, device="cpu")
    step = torch.cat([torch.cat([A_bar, 0 * one], dim=1), torch.cat([A_bar, one], dim=1)])
    return torch.linalg.matrix_power(step, exponent)


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
    _check(u, system, initial)
    steps: int | Tensor = u.shape[1] if lengths is None else lengths
    end = joined_end(u if lengths is None else to_the_right(u, lengths), system, "summed_response", "summed_power")
    if initial is not None:
        end = end + advance(torch.cat([initial, torch.zeros_like(initial)], dim=2), system, steps, "summed_power")
    final, total = end.chunk(2, dim=2)
    count = steps if isinstance(steps, int) else steps.clamp(min=1)[:, None, None]
    return (total / count)[:, None], final
