"""The window of a memory, computed. It needs torch, and runs in a process of its own (background.py)."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from ...statespace import LegendreSystem, decode_past, discrete_system, impulse_response
from .background import Window


def remembered(signal: Sequence[float], theta: float, order: int, moment: int) -> Window:
    """The window that a memory of (θ, order) holds when it has read a signal up to a moment."""
    system = LegendreSystem(order, theta)
    written = torch.tensor(signal, dtype=torch.float64)
    # Eq. (25): what each step has left in the memory by now, as one product.
    H = impulse_response(*discrete_system(system), moment + 1)
    m = H @ written[: moment + 1].flip(0)
    # Under zero-order hold the sample of k steps ago lies at the delay k + 1/2.
    delays = torch.arange(0.5, theta, 1.0, dtype=torch.float64)
    decoded = decode_past(m, system, delays)
    times = moment - delays + 0.5
    past = _at(written, times.round().long())
    error = (decoded - past).square().mean().sqrt() / written.std().clamp(min=1e-9)  # a flat line has no deviation
    return Window(times.tolist(), decoded.tolist(), float(error))


def _at(signal: Tensor, times: Tensor) -> Tensor:
    """A signal that is zero before it begins."""
    return torch.where(times >= 0, signal[times.clamp(min=0)], 0.0)


def answer_lines() -> None:
    """Answer each line of standard input until it ends: arguments of :func:`remembered` as JSON, and its window."""
    for line in sys.stdin:
        print(json.dumps(asdict(remembered(**json.loads(line)))), flush=True)
