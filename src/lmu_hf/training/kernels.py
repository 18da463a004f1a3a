"""Random kernels of Legendre polynomials: a memory whose weights are drawn, and a readout that is found in closed form.

ROCKET and MiniRocket (Dempster, Schmidt and Webb, arXiv 2012.08791) convolve a series with thousands of random kernels
of many lengths, note at what share of steps each response exceeds a threshold, and let ridge regression read the
shares. An LMU layer computes such responses: by eq. (23) a row of W_m is a kernel as long as the window θ, a
polynomial of degree below d. Here windows of many lengths stand side by side, and rows of W_m are drawn, not trained.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..constants import exact
from ..layers import LMULayer
from ..layout import Reading
from ..statespace import LegendreSystem
from .ridge import Ridge, fit_ridge

SAMPLED = 4000  # steps of training rows, about, by which thresholds and scales are drawn
CHANNELS_OF_A_KERNEL = 3  # on average, of a series of many

Batch = dict[str, Tensor]


@torch.no_grad()
def draw_and_fit(model: Any, batches: Sequence[Batch], longest: int, unequal: bool) -> Ridge:
    """Draw kernels and find the readout; of series of unequal length, with silence behind the shorter ones or without.

    Leave-one-out error decides which. Kernels and thresholds are drawn by what the series hold, and not by silence, in
    which every response is nearly 0.

    Args:
        model: as of :func:`draw_kernels`.
        batches: the training rows.
        longest: steps of the longest of them.
        unequal: whether some are shorter.
    """
    draw_kernels(model, batches)
    fits: dict[int, Ridge] = {}
    for steps in (0, longest) if unequal else (0,):
        model.signals.silence.fill_(steps)
        fits[steps] = find_readout(model, batches)
    best = min(fits, key=lambda steps: fits[steps].error)
    model.signals.silence.fill_(best)
    _write(model, fits[best])
    return fits[best]


def freeze(model: Any) -> None:
    """Leave every weight as it is: none asks for a gradient."""
    model.requires_grad_(False)


@torch.no_grad()
def draw_kernels(model: Any, batches: Sequence[Batch]) -> None:
    """Draw the one layer's encoder, kernels and thresholds, and freeze the model.

    Half of the kernels see the signal, half its differences from step to step. The memory of differences is
    m_t − m_{t−1} = (I − Ā⁻¹) m_t + Ā⁻¹ B̄ u_t, by eq. (19): so w on it is a row of W_m and one of W_x. Kernels are
    orthogonal to a constant signal, except a quarter of them.

    Args:
        model: an ``LMUForTimeSeriesClassification`` of one plain layer, whose ``signals`` are fitted.
        batches: training rows, by which coefficients are scaled and thresholds drawn.
    """
    layer = cast(LMULayer, model.model.layers[0].memory)
    encoder, W_m, W_x = layer.encoder, layer.memory_readout, layer.input_readout
    if encoder is None or W_m is None or W_x is None:
        raise ValueError("kernels are drawn for a layer with a linear encoder and a dense readout")
    encoder.weight.copy_(_mixtures(layer.d_u, encoder.in_features))
    encoder.bias.zero_()
    memories, signals = _sample(model, layer, batches)
    drawn = _draw(W_m.out_features, layer, memories)
    W_m.weight.copy_(drawn.of_memory.flatten(1))
    W_x.weight.copy_(drawn.of_signal @ encoder.weight.double())
    responses = memories.flatten(1) @ W_m.weight.double().T + signals @ drawn.of_signal.T
    # A threshold is a quantile of the responses on training rows, so that no share is 0 or 1 in all of them.
    responses = responses.sort(0).values
    quantiles = (torch.rand(W_m.out_features) * (len(responses) - 1)).long()
    W_x.bias.copy_(-responses.gather(0, quantiles[None])[0])
    freeze(model)


@dataclass(frozen=True)
class _Drawn:
    """Kernels: (kernels, d_u, d) on memories and (kernels, d_u) on written signals."""

    of_memory: Tensor
    of_signal: Tensor


def _mixtures(d_u: int, width: int) -> Tensor:
    """(d_u, width): what is written to each channel of the memory, a few of the series' channels each."""
    if width == 1:
        return torch.ones(d_u, 1)
    mixed = torch.randn(d_u, width) * (torch.rand(d_u, width) < min(1.0, CHANNELS_OF_A_KERNEL / width))
    single = torch.zeros(d_u, width).scatter(1, torch.randint(width, (d_u, 1)), 1.0)
    # Half of them one channel alone, as every empty mixture is.
    alone = (torch.rand(d_u, 1) < 0.5) | ~mixed.any(1, keepdim=True)
    mixed = torch.where(alone, single, mixed)
    return mixed / mixed.norm(dim=1, keepdim=True)


def _sample(model: Any, layer: LMULayer, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    """Memories (steps, d_u, d) and written signals (steps, d_u) at real steps of training rows, in float64."""
    memories, signals = [], []
    rows = sum(len(batch["input_values"]) for batch in batches)
    of_a_row = max(1, SAMPLED // rows)
    for batch in batches[:: max(1, rows // SAMPLED)]:
        layout, values = model.standardise(**{name: value for name, value in batch.items() if name != "labels"})
        u = cast(Any, layer.encoder)(layout.pack(values)).float()
        m, _ = layer.windows.read(layer.memory_form, u, Reading(layout))
        real = torch.ones(u.shape[:2], dtype=torch.bool)
        if layout.lengths is not None:
            real = torch.arange(u.shape[1]) < layout.lengths[:, None]
        steps = real.nonzero()
        steps = steps[torch.randperm(len(steps))[: of_a_row * len(u)]]
        memories.append(m[steps[:, 0], steps[:, 1]].double())
        signals.append(u[steps[:, 0], steps[:, 1]].double())
    return torch.cat(memories), torch.cat(signals)


def _draw(kernels: int, layer: LMULayer, memories: Tensor) -> _Drawn:
    """Directions in the coefficients of one channel each."""
    d_u, d = layer.d_u, layer.windows.order
    channels = torch.arange(kernels) % d_u
    directions = torch.randn(kernels, d, dtype=torch.float64)
    directions[:, 0] *= torch.rand(kernels) < 0.25  # coefficient 0 is the mean over the window
    # Of a smooth signal the low coefficients are by far the largest: some kernels see them so, some all alike.
    scale = memories.std(0).clamp(min=1e-4)[channels]
    directions = directions / scale ** torch.rand(kernels, 1)
    directions = directions / directions.norm(dim=1, keepdim=True)
    of_signal = torch.zeros(kernels, d_u, dtype=torch.float64)
    groups = channels // (d_u // len(layer.windows.systems))
    for group, system in enumerate(layer.windows.systems):
        rows = ((groups == group) & (torch.rand(kernels) < 0.5)).nonzero()[:, 0]
        directions[rows], of_signal[rows, channels[rows]] = _of_differences(directions[rows], system)
    of_memory = torch.zeros(kernels, d_u, d, dtype=torch.float64)
    of_memory[torch.arange(kernels), channels] = directions
    return _Drawn(of_memory, of_signal)


def _of_differences(directions: Tensor, system: LegendreSystem) -> tuple[Tensor, Tensor]:
    """Directions w (k, d) on m_t − m_{t−1}, as what m_t (k, d) and u_t (k,) are multiplied with."""
    A_bar, B_bar = exact("A_bar", system), exact("B_bar", system)
    before = torch.linalg.solve(A_bar.T, directions.T).T  # w Ā⁻¹
    return directions - before, before @ B_bar


@torch.no_grad()
def find_readout(model: Any, batches: Iterable[Batch]) -> Ridge:
    """Fit the linear classifier on what the frozen model pools of training rows, and write it into the model.

    Args:
        model: whose kernels are drawn.
        batches: rows with ``labels``.
    """
    pooled, labels = [], []
    for batch in batches:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        pooled.append(model.read(**inputs)[0].float().cpu().numpy())
        labels.append(batch["labels"].cpu().numpy())
    found = fit_ridge(np.concatenate(pooled), np.concatenate(labels), model.num_labels)
    _write(model, found)
    return found


def _write(model: Any, found: Ridge) -> None:
    out = model.classifier.out
    out.weight.copy_(torch.from_numpy(found.weight))
    out.bias.copy_(torch.from_numpy(found.bias))
