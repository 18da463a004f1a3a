"""Which θ and which order? What a memory keeps of its window, computed in float64 for signals of known bandwidth."""

import math
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from lmu_hf.common.style import ACCENT, FAINT, SECOND, STYLE, THIRD, panels, plain_ticks, plt, save
from lmu_hf.hub.markup import table
from lmu_hf.memory import memory_chunked
from lmu_hf.statespace import LegendreSystem, decode_past

THETA = 256
CYCLES = (1, 2, 4, 8, 16, 32)
ORDERS = tuple(range(1, 25)) + tuple(range(26, 129, 2))
LOSSES = (0.5, 0.1, 0.01)  # error of what is decoded, as a part of the signal's own deviation
LOOKS = ((SECOND, "-"), (SECOND, "--"), (SECOND, ":"), (ACCENT, "-"), (ACCENT, "--"), (ACCENT, ":"))


@cache
def decoding_errors(order: int, theta: int = THETA) -> dict[int, float]:
    """How wrong a window of sine waves is when it is decoded from ``order`` numbers.

    Args:
        order: number of Legendre coefficients d.
        theta: window θ in time steps.

    Returns:
        For each of ``CYCLES``, the root mean squared error over the window in standard deviations of the wave, over
        four phases.
    """
    system = LegendreSystem(order=order, theta=theta, basis="unit")
    delays = torch.arange(0.5, theta, 1.0, dtype=torch.float64)
    times = torch.arange(4 * theta, dtype=torch.float64)
    phases = torch.arange(4, dtype=torch.float64) * (math.pi / 4)
    cycles = torch.tensor(CYCLES, dtype=torch.float64)
    waves = torch.sin(2 * math.pi * cycles[:, None, None] * times / theta + phases[:, None])
    _, final = memory_chunked(waves.flatten(0, 1)[..., None], system)
    decoded = decode_past(final[:, 0], system, delays).view(len(CYCLES), 4, -1)
    # A sample is held for a step: at delay one half it is the last one, at three halves the one before.
    past = waves.flip(2)[..., : len(delays)]
    errors = ((decoded - past).square().mean((1, 2)) / waves.square().mean((1, 2))).sqrt()
    return dict(zip(CYCLES, errors.tolist(), strict=True))


def order_needed(cycles: int, loss: float, theta: int = THETA) -> int | None:
    """The least of ``ORDERS`` from which on the error stays below ``loss``; None if none is enough."""
    enough = None
    for order in reversed(ORDERS):
        if decoding_errors(order, theta)[cycles] > loss:
            return enough
        enough = order
    return enough


def order_table() -> str:
    """The order needed for some numbers of cycles in the window, as a table in Markdown."""
    header = ["cycles in the window", "steps per cycle", *(f"error below {100 * loss:g} %" for loss in LOSSES)]
    rows = []
    for cycles in CYCLES:
        needed = [order_needed(cycles, loss) for loss in LOSSES]
        orders = [f"over {ORDERS[-1]}" if order is None else str(order) for order in needed]
        rows.append([str(cycles), str(THETA // cycles), *orders])
    return table(header, rows)


def impulse_left(order: int, steps: int, theta: int = THETA) -> Tensor:
    """How long an impulse is remembered: the memory's norm after each of some steps; its median in the window is 1."""
    impulse = torch.zeros(1, steps, 1, dtype=torch.float64)
    impulse[0, 0] = 1
    m, _ = memory_chunked(impulse, LegendreSystem(order=order, theta=theta, basis="unit"))
    norms = m[0, :, 0].norm(dim=-1)
    return norms / norms[:theta].median()


def theta_and_order(path: Path) -> Path:
    """Draw both: what an order resolves, and what θ lets go."""
    with plt.rc_context(STYLE):
        figure, (resolves, forgets) = panels(2, height=3.2)
        for cycles, (colour, line) in zip(CYCLES, LOOKS, strict=True):
            errors = [100 * decoding_errors(order)[cycles] for order in ORDERS]
            resolves.plot(ORDERS, errors, line, color=colour, linewidth=1.8, label=f"{cycles}")
        resolves.axhline(10, color=FAINT, linewidth=0.8, linestyle=":")
        resolves.set(xscale="log", yscale="log", ylim=(0.1, 200), xlabel="order d", ylabel="error of the window, %")
        resolves.set_xticks([1, 2, 4, 8, 16, 32, 64, 128], labels=["1", "2", "4", "8", "16", "32", "64", "128"])
        plain_ticks(resolves.yaxis)
        resolves.minorticks_off()
        resolves.set_title("Order: how many cycles in a window it holds")
        resolves.legend(title="cycles in the window", title_fontsize=9, ncols=2, loc="lower left")
        for order, colour, line in ((4, THIRD, ":"), (16, SECOND, "--"), (64, ACCENT, "-")):
            forgets.plot(impulse_left(order, 2 * THETA), line, color=colour, linewidth=1.5, label=f"order {order}")
        forgets.axvline(THETA, color=FAINT, linewidth=0.8, linestyle=":", label=f"θ = {THETA}")
        forgets.set(xlabel="steps since an impulse", ylabel="what is left of it", ylim=(0, 2))
        forgets.set_title("θ: after so many steps it is gone")
        forgets.legend()
        return save(figure, path)
