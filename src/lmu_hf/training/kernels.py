"""Random kernels of Legendre polynomials: a memory whose weights are drawn, and a readout that is found in closed form.

ROCKET and MiniRocket (Dempster, Schmidt and Webb, arXiv 2012.08791) convolve a series with thousands of random kernels
of many lengths, note at what share of steps each response exceeds a threshold, and let ridge regression read the
shares. An LMU layer computes such responses: by eq. (23) a row of W_m is a kernel as long as the window θ, a
polynomial of degree below d. Here windows of many lengths stand side by side, and rows of W_m are drawn, not trained.
"""

import math
from collections.abc import Iterable, Sequence
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
CHANNELS_OF_A_MIXTURE = 3  # on average, of a series of more than memories are kept of
MOST_CHANNELS = 9  # that a kernel reads, as of MiniRocket's

Batch = dict[str, Tensor]


@torch.no_grad()
def draw_and_fit(model: Any, batches: Sequence[Batch], silence: int) -> Ridge:
    """Draw kernels and find the readout, with silence behind shorter series or without it, as leave-one-out decides.

    Args:
        model: as of :func:`draw_kernels`.
        batches: the training rows.
        silence: up to how many steps; 0 if all are of one length.
    """
    best: tuple[Ridge, Batch] | None = None
    for steps in sorted({0, silence}):
        model.signals.silence.fill_(steps)
        draw_kernels(model, batches)
        found = find_readout(model, batches)
        if best is None or found.error < best[0].error:
            best = found, {name: value.clone() for name, value in model.state_dict().items()}
    assert best is not None  # there is a number of steps
    model.load_state_dict(best[1])
    return best[0]


def freeze(model: Any) -> None:
    """Leave every weight as it is: none asks for a gradient."""
    model.requires_grad_(False)


@torch.no_grad()
def draw_kernels(model: Any, batches: Sequence[Batch]) -> None:
    """Draw the one layer's encoder, kernels and thresholds, and freeze the model.

    Half of the kernels see the signal, half its differences from step to step. The memory of differences is
    m_t − m_{t−1} = (I − Ā⁻¹) m_t + Ā⁻¹ B̄ u_t, by eq. (19): so w on it is a row of W_m and one of W_x.

    Args:
        model: an ``LMUForTimeSeriesClassification`` of one plain layer, whose ``signals`` are fitted.
        batches: training rows, by which coefficients are scaled and thresholds drawn.
    """
    layer = cast(LMULayer, model.model.layers[0].memory)
    encoder, W_m, W_x = layer.encoder, layer.memory_readout, layer.input_readout
    if encoder is None or W_m is None or W_x is None:
        raise ValueError("kernels are drawn for a layer with a linear encoder and a dense readout")
    windows = len(layer.windows.systems)
    mixed = [_mixtures(layer.d_u // windows, encoder.in_features) for _ in range(windows)]
    encoder.weight.copy_(torch.cat(mixed))
    encoder.bias.zero_()
    memories, signals = _sample(model, layer, batches)
    of_memory, of_signal = _draw(W_m.out_features, layer, memories, signals)
    W_m.weight.copy_(of_memory.flatten(1))
    W_x.weight.copy_(of_signal @ encoder.weight.double())
    # A threshold is the kernel's response at one step of the training rows: a quantile, drawn uniformly.
    at = torch.randint(len(memories), (W_m.out_features,))
    responses = (memories.flatten(1)[at] * W_m.weight).sum(1) + (signals[at] * of_signal).sum(1)
    W_x.bias.copy_(-responses)
    freeze(model)


def _mixtures(mixtures: int, width: int) -> Tensor:
    """(mixtures, width): what is written to one window's memories: each channel, or, of many, mixtures of a few."""
    if mixtures == width:
        return torch.eye(width)
    mixed = torch.randn(mixtures, width) * (torch.rand(mixtures, width) < CHANNELS_OF_A_MIXTURE / width)
    single = torch.zeros(mixtures, width).scatter(1, torch.randint(width, (mixtures, 1)), 1.0)
    mixed = torch.where(mixed.any(1, keepdim=True), mixed, single)
    return mixed / mixed.norm(dim=1, keepdim=True)


def _sample(model: Any, layer: LMULayer, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    """Memories (steps, d_u, d) and written signals (steps, d_u) at steps of training rows, not of silence; float64."""
    memories, signals = [], []
    rows = sum(len(batch["input_values"]) for batch in batches)
    of_a_row = max(1, SAMPLED // rows)
    for batch in batches[:: max(1, rows // SAMPLED)]:
        layout, values = model.standardise(**{name: value for name, value in batch.items() if name != "labels"})
        u = cast(Any, layer.encoder)(layout.pack(values)).float()
        m, _ = layer.windows.read(layer.memory_form, u, Reading(layout))
        steps = (torch.arange(u.shape[1]) < batch["attention_mask"].sum(1, keepdim=True)).nonzero()
        steps = steps[torch.randperm(len(steps))[: of_a_row * len(u)]]
        memories.append(m[steps[:, 0], steps[:, 1]].double())
        signals.append(u[steps[:, 0], steps[:, 1]].double())
    return torch.cat(memories), torch.cat(signals)


def _draw(kernels: int, layer: LMULayer, memories: Tensor, signals: Tensor) -> tuple[Tensor, Tensor]:
    """Kernels, (kernels, d_u, d) on memories and (kernels, d_u) on written signals, each of one window.

    A direction is drawn in coefficients of deviation 1. Coefficient 0, the mean over the window, has no part in it.
    """
    systems, d = layer.windows.systems, layer.windows.order
    width = layer.d_u // len(systems)  # channels of a window
    of_memory = torch.zeros(kernels, layer.d_u, d, dtype=torch.float64)
    of_signal = torch.zeros(kernels, layer.d_u, dtype=torch.float64)
    for window, system in enumerate(systems):
        channels = slice(window * width, (window + 1) * width)
        m, u = memories[:, channels], signals[:, channels]
        change, jump = _of_differences(torch.eye(d, dtype=torch.float64), system)
        for number, of in enumerate((m, m @ change.T + u[..., None] * jump)):
            rows = torch.arange(window + number * len(systems), kernels, 2 * len(systems))
            directions = _choose_channels(len(rows), width)[..., None] * torch.randn(len(rows), width, d)
            directions[..., 0] = 0
            directions = directions / of.std(0).clamp(min=1e-4)
            directions = directions / directions.norm(dim=(1, 2), keepdim=True)
            if number == 1:
                of_signal[rows, channels] = directions @ jump
                directions = directions @ change
            of_memory[rows, channels] = directions
    return of_memory, of_signal


def _choose_channels(kernels: int, width: int) -> Tensor:
    """(kernels, width) of ones and zeros: which channels a kernel reads, their number uniform in its logarithm."""
    most = min(width, MOST_CHANNELS)
    counts = (torch.rand(kernels, 1) * math.log2(most + 1)).exp2().long().clamp(1, most)
    return (torch.rand(kernels, width).argsort(1) < counts).double()


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
