"""A forecaster whose readout is solved and not trained: which memory it has is chosen on rolling origins, in seconds.

The memory of a window is linear in it, m = H u by eq. (25), and the readout is linear in the memory. So the whole
model is linear in its window, and :mod:`~lmu_hf.training.lagged` finds the readout that errs least.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..constants import exact
from ..statespace import LegendreSystem
from .lagged import NormalEquations, Products, lagged_products, shifted

BASIS = "unit"  # the config's default
SHARES = (1 / 8, 1 / 4, 3 / 8, 1 / 2)  # of the order in the steps of its window
MOST_ORDER = 256  # more coefficients gave no better forecasts where they were tried
STRENGTHS = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of ridge regression
LEVELS = ("last", "mean")  # normalizations that are tried
UNIT = 24  # steps, where there is no season
SEASONS = (1, 2, 4, 7, 14, 21, 30)  # contexts that are tried, in seasons
MOST_CONTEXT = 1500  # steps: lagged products take K² numbers
FIRST_ORIGIN = 2 / 3  # of the training part: where the first rolling origin lies


@dataclass(frozen=True)
class Memory:
    """What a linear forecast reads its window with, and how.

    Args:
        context: steps of the window, which are θ too.
        order: Legendre coefficients.
        normalization: as :class:`~lmu_hf.forecasts_lmu.Forecast` has it.
        strength: of ridge regression.
    """

    context: int
    order: int
    normalization: str
    strength: float


def contexts(season: int, horizon: int, train: int) -> list[int]:
    """Lengths of context that are tried: whole seasons, as far as the training part has windows of them to spare.

    Args:
        season: steps.
        horizon: steps that are predicted.
        train: steps of the training part.
    """
    unit = season if season > 1 else UNIT
    most = min(MOST_CONTEXT, int(FIRST_ORIGIN * train) - 2 * horizon, train // 4)
    return [unit * count for count in SEASONS if 4 <= unit * count <= most] or [max(4, min(unit, most))]


def maps(memory: Memory, span: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (d, span) and targets (horizon, span) of a window: the memory at its last known step, and the future.

    Args:
        memory: what reads it.
        span: steps of the window, its last ``horizon`` ones being the future.
        horizon: steps.
    """
    unit = shifted(span, memory.context, horizon, memory.normalization)
    past = span - horizon
    response = exact("H_reversed", LegendreSystem(memory.order, float(memory.context), "zoh", BASIS), memory.context)
    # Row j of the response is what step j of the context leaves in the memory at its end.
    return response.numpy().T @ unit[past - memory.context : past], unit[past:]


def origins(train: int, validation: int, context: int, horizon: int) -> Iterator[tuple[range, range]]:
    """Starts of the windows to fit to and to judge by, for two rolling origins: within the training part and behind it.

    Args:
        train, validation: steps of each part.
        context, horizon: steps.
    """
    span = context + horizon
    for origin, end in ((int(FIRST_ORIGIN * train), train), (train, train + validation)):
        # All that is fitted to lies before the origin, and all that is judged behind it; contexts may reach across.
        yield range(origin - span + 1), range(origin - context, end - span + 1)


def choose_memory(
    values: np.ndarray, horizon: int, season: int, train: int, lengths: Sequence[int] | None = None
) -> tuple[Memory, dict[str, float]]:
    """The memory whose forecasts err least in the square, mean over two rolling origins; and by how much at each.

    Args:
        values: (T, channels) of the training and the validation part, in units of each channel's deviation.
        horizon: steps that are predicted.
        season: steps.
        train: steps of the training part.
        lengths: of the context that are tried; None for :func:`contexts`.

    Raises:
        ValueError: a part is too short for a window.
    """
    tried = list(lengths or contexts(season, horizon, train))
    longest = max(tried)
    folds = list(origins(train, len(values) - train, longest, horizon))
    found = lagged_products(values, longest + horizon, [starts for fold in folds for starts in fold])
    scored = []
    for context in tried:
        orders = sorted({max(1, min(MOST_ORDER, int(share * context))) for share in SHARES})
        for order in orders:
            for level in LEVELS:
                scored += _score(Memory(context, order, level, 0.0), found, longest + horizon, horizon)
    errors, best = min(scored, key=lambda pair: sum(pair[0]))
    return best, {"within training": errors[0], "validation": errors[1]}


def _score(
    memory: Memory, found: Sequence[Products], span: int, horizon: int
) -> list[tuple[tuple[float, ...], Memory]]:
    """The errors of a memory at both origins, for each strength."""
    features, targets = maps(memory, span, horizon)
    equations = [NormalEquations(features, targets, products) for products in found]
    scored = []
    for strength in STRENGTHS:
        errors = tuple(
            judged.mean_squared_error(fitted.solve(strength))
            for fitted, judged in zip(equations[::2], equations[1::2], strict=True)
        )
        scored.append((errors, Memory(memory.context, memory.order, memory.normalization, strength)))
    return scored


def solve_readout(values: np.ndarray, memory: Memory, horizon: int) -> np.ndarray:
    """W (horizon, order), fitted to all windows of a series.

    Args:
        values: (T, channels), in units of each channel's deviation.
        memory: what reads them.
        horizon: steps that are predicted.
    """
    span = memory.context + horizon
    (products,) = lagged_products(values, span, [range(len(values) - span + 1)])
    return NormalEquations(*maps(memory, span, horizon), products).solve(memory.strength)


@torch.no_grad()
def write_readout(model: Any, values: np.ndarray, memory: Memory, covariates: np.ndarray | None = None) -> None:
    """Solve a model's readout on a series, and write it into its head; of several quantiles the same into each.

    Effects of covariates are found first, by least squares; the readout is of what they leave.

    Args:
        model: of one bare memory of one channel, which is its own readout, and a linear head.
        values: (T, channels), in units of each channel's deviation.
        memory: as the model's config has it.
        covariates: (T, covariates), if the model has any.

    Raises:
        ValueError: the model is none of that kind.
    """
    config, found = model.config, model.option
    bare = config.block_type == "lmu" and config.encoder == "identity" and config.readout == "memory"
    if not bare or config.num_hidden_layers != 1 or config.head_hidden_size or config.basis != BASIS:
        raise ValueError(
            "a readout can be solved of one bare memory alone: block_type='lmu', num_hidden_layers=1, "
            "encoder='identity', readout='memory', head_hidden_size=0; train others: give --num_train_epochs"
        )
    if covariates is not None:
        effects = covariate_effects(values, covariates)
        model.effects.weight.copy_(torch.from_numpy(effects.T))
        values = values - covariates @ effects
    weights = torch.from_numpy(solve_readout(values, memory, found.prediction_length))
    levels = found.outputs // found.prediction_length
    # The head's outputs run over steps first and levels last.
    model.head.out.weight.copy_(weights.repeat_interleave(levels, 0))
    model.head.out.bias.zero_()


def covariate_effects(values: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """(covariates, channels): what one unit of each adds to each channel, by least squares beside a constant."""
    moves = covariates - covariates.mean(0)
    return np.linalg.lstsq(moves, values - values.mean(0), rcond=None)[0]
