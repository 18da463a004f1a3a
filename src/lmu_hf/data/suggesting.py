"""Which θ and which order keep a signal: its spectrum, and what windows of it lose when a memory decodes them.

A wave of c cycles in the window needs an order of about π·c + 4, as docs/concepts/theta_and_order.md measures on
sines. A signal is no sine, so that rule is where the search begins and not what is reported: what is reported is the
least order whose memory, written by the signal itself and decoded by Legendre polynomials, keeps the wanted share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..common.errors import InputError
from ..memory import memory_final
from ..statespace import LegendreSystem, decode_past

SHARES = (0.9, 0.99)
LEAST_STEPS = 16
LARGEST_ORDER = 512  # beyond it the matrices of a memory take seconds to make
LARGEST_THETA = 2000  # among those that are tried unasked
MOMENTS = 64  # at which windows are decoded
PAST = 3  # windows that are written before a moment: of what came earlier nothing is left


@dataclass(frozen=True)
class Kept:
    """What keeps a share of the windows' variance.

    Args:
        share: that is wanted.
        order: the least that keeps it; None if more are needed than the window has steps, or than ``LARGEST_ORDER``.
        kept: the share that it keeps, measured.
        rule: the order that the rule says for the signal's spectrum.
    """

    share: float
    order: int | None
    kept: float | None
    rule: int


@dataclass(frozen=True)
class Suggestion:
    """What a signal asks of a memory.

    Args:
        steps: of the signal.
        frequencies: (k,) in cycles a step, from the lowest.
        energy: (k,) the share of the signal's energy, its mean removed, at this frequency and below.
        edges: by share, the frequency below which that share of the energy lies.
        longest: by share, the steps of the longest cycle in that share of the energy, the quickest part.
        orders: by θ, what keeps each share.
        measured: by θ, the shares of all orders that were tried.
        theta: the window that holds the longest cycle of the first share, at most a fourth of the signal.
    """

    steps: int
    frequencies: np.ndarray
    energy: np.ndarray
    edges: dict[float, float]
    longest: dict[float, int]
    orders: dict[int, list[Kept]]
    theta: int
    measured: dict[int, dict[int, float]] = field(default_factory=dict)


def suggest_window(
    signal: np.ndarray | Tensor, thetas: Sequence[int] | None = None, shares: Sequence[float] = SHARES
) -> Suggestion:
    """Which orders keep which shares of a signal's windows, measured by writing and decoding them.

    The share that is kept is 1 − (sum of squared errors) / (sum of squares) over all steps of the windows that end at
    some evenly spaced moments; the signal's mean is removed first.

    Args:
        signal: (steps,) real numbers.
        thetas: windows in time steps; None for some around the longest cycles in the signal.
        shares: to keep, each between 0 and 1.

    Raises:
        InputError: the signal is too short, constant, or not finite; or a window does not fit into it.
    """
    centred = _checked(torch.as_tensor(signal, dtype=torch.float64))
    steps = len(centred)
    frequencies, energy = spectrum(centred)
    edges = {share: _frequency(frequencies, energy, share) for share in shares}
    longest = {share: round(1 / _frequency(frequencies, energy, 1 - share)) for share in shares}
    # Of longer cycles than a fourth of the signal too few are seen.
    theta = max(4, min(longest[shares[0]], steps // 4, LARGEST_THETA))
    tried = sorted(set(_around(theta, steps) if thetas is None else thetas))
    if wrong := next((theta for theta in tried if not 1 <= theta <= steps), None):
        raise InputError(f"theta {wrong} does not fit into the signal, which has {steps:,} steps")
    orders, measured = {}, {}
    for window in tried:
        search = _Search(centred, window)
        orders[window] = [search.least(share, edges[share]) for share in shares]
        measured[window] = dict(sorted(search.found.items()))
    return Suggestion(steps, frequencies, energy, edges, longest, orders, theta, measured)


def spectrum(centred: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in cycles a step, without zero, and the share of the energy at each and below."""
    power = torch.fft.rfft(centred).abs().square()[1:]
    # By Parseval a line counts twice, for its negative frequency, but for that of half a cycle a step.
    power[: -1 if len(centred) % 2 == 0 else None] *= 2
    frequencies = torch.fft.rfftfreq(len(centred), dtype=torch.float64)[1:]
    return frequencies.numpy(), (power.cumsum(0) / power.sum()).numpy()


def kept_share(windows: Tensor, theta: int, order: int) -> float:
    """The share of windows' variance that a memory keeps.

    Args:
        windows: (k, n) pasts of a signal without its mean, n ≥ θ; each is written from its first step to its last.
        theta: the window in time steps.
        order: of the memory.
    """
    system = LegendreSystem(order, theta, basis="orthonormal")
    _, final = memory_final(windows[..., None], system)
    # A sample is held for one step, so it is read back in the middle of that step.
    decoded = decode_past(final[:, 0], system, torch.arange(0.5, theta, dtype=torch.float64))
    past = windows.flip(1)[:, :theta]
    return 1 - float((decoded - past).square().sum() / past.square().sum())


class _Search:
    """The least order of one window, found by measuring."""

    def __init__(self, centred: Tensor, theta: int) -> None:
        self.theta, self.found = theta, dict[int, float]()
        length, ends = PAST * theta, torch.linspace(theta, len(centred), MOMENTS).round().long().unique()
        # Before the signal begins nothing was written, which zeros say.
        padded = torch.cat([centred.new_zeros(length), centred])
        self.windows = torch.stack([padded[end : end + length] for end in ends.tolist()])
        self.most = min(theta, LARGEST_ORDER)

    def least(self, share: float, edge: float) -> Kept:
        """The least order that keeps a share; ``edge`` is the frequency below which that share of the energy lies."""
        rule = math.ceil(math.pi * edge * self.theta + 4)
        low, high = 0, min(rule, self.most)
        while self._keeps(high) < share:
            if high == self.most:
                return Kept(share, None, None, rule)
            low, high = high, min(2 * high, self.most)
        # More coefficients keep more, so that halving finds where the share is reached.
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._keeps(middle) >= share else (middle, high)
        return Kept(share, high, self._keeps(high), rule)

    def _keeps(self, order: int) -> float:
        if order not in self.found:
            self.found[order] = kept_share(self.windows, self.theta, order)
        return self.found[order]


def _checked(signal: Tensor) -> Tensor:
    """The signal without its mean.

    Raises:
        InputError: it will not do.
    """
    if signal.ndim != 1 or len(signal) < LEAST_STEPS:
        raise InputError(f"a signal must have at least {LEAST_STEPS} steps in one row, got shape {tuple(signal.shape)}")
    if not signal.isfinite().all():
        raise InputError(f"step {int((~signal.isfinite()).int().argmax())} of the signal is no finite number")
    centred = signal - signal.mean()
    # Rounding leaves a constant's mean off by its last digit.
    if centred.abs().max() <= 1e-12 * signal.abs().max():
        raise InputError(f"the signal is constant, {signal[0].item():g}: there is nothing to keep")
    return centred / centred.abs().max()


def _frequency(frequencies: np.ndarray, energy: np.ndarray, share: float) -> float:
    return float(frequencies[min(int(np.searchsorted(energy, share)), len(frequencies) - 1)])


def _around(theta: int, steps: int) -> list[int]:
    """Windows from a fourth to four times one, as far as the signal shows some of each."""
    wanted = (round(theta * factor) for factor in (0.25, 0.5, 1, 2, 4))
    return [window for window in wanted if 4 <= window <= min(steps // 2, LARGEST_THETA)]
