"""A drawn signal, and the window of it that a memory holds. It needs torch alone, which is imported sooner."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...statespace import LegendreSystem, decode_past, discrete_system, impulse_response


def drawn_signal(ink: np.ndarray, steps: int) -> np.ndarray:
    """A line drawn from left to right as a signal (steps,) in −1 … 1; a sample signal where nothing is drawn."""
    if not (ink > 0).any():
        t = np.arange(steps)
        return 0.6 * np.sin(2 * np.pi * t / 97) * np.cos(2 * np.pi * t / 310) + 0.35 * np.sin(2 * np.pi * t / 31)
    heights = np.arange(ink.shape[0])[:, None]
    weight = (ink > 0).astype(float)
    columns = np.nonzero(weight.sum(0))[0]
    # A column's value is the mean height of its ink; between inked columns it is interpolated.
    middle = (weight * heights).sum(0)[columns] / weight.sum(0)[columns]
    place = np.linspace(0, ink.shape[1] - 1, steps)
    # Row 0 of a picture is its top: 1 there, −1 at the bottom.
    return 1 - 2 * np.interp(place, columns, middle) / (ink.shape[0] - 1)


@dataclass
class Window:
    """What a memory holds at one moment.

    Args:
        times: (k,) the time steps that it reaches back to.
        decoded: (k,) the signal there, from the memory alone.
        error: root mean square of what is wrong, over the signal's deviation.
    """

    times: np.ndarray
    decoded: np.ndarray
    error: float


def remembered(signal: np.ndarray, theta: float, order: int, moment: int) -> Window:
    """The window that a memory of (θ, order) holds when it has read a signal up to a moment."""
    system = LegendreSystem(order, theta)
    written = torch.from_numpy(signal).double()
    # Eq. (25): what each step has left in the memory by now, as one product.
    H = impulse_response(*discrete_system(system), moment + 1)
    m = H @ written[: moment + 1].flip(0)
    # Under zero-order hold the sample of k steps ago lies at the delay k + 1/2.
    delays = torch.arange(0.5, theta, 1.0, dtype=torch.float64)
    decoded = decode_past(m, system, delays)
    times = moment - delays + 0.5
    past = _at(written, times.round().long())
    error = (decoded - past).square().mean().sqrt() / written.std().clamp(min=1e-9)  # a flat line has no deviation
    return Window(times.numpy(), decoded.numpy(), float(error))


def _at(signal: Tensor, times: Tensor) -> Tensor:
    """A signal that is zero before it begins."""
    return torch.where(times >= 0, signal[times.clamp(min=0)], 0.0)
