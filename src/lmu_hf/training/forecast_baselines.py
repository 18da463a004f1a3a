"""What a forecast is compared with: the season before, and a linear forecaster; and the scores of all of them."""

from collections.abc import Iterator

import numpy as np

from .lagged import NormalEquations, lagged_products

LINEAR_CONTEXT = 336  # steps, as DLinear's published results have it
TREND = 25  # steps of its moving average
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)
ROWS = 256  # windows at a time


class ForecastScores:
    """Sums over windows, from which scores follow.

    Args:
        naive: (channels,) mean absolute error of the season before on the training part, in the unit of the errors.
    """

    def __init__(self, naive: np.ndarray) -> None:
        self.naive = naive
        self.squares = self.absolutes = self.counts = np.zeros((0, 0))

    def add(self, errors: np.ndarray, observed: np.ndarray) -> None:
        """Errors (windows, horizon, channels), and where there is a true value to err from."""
        errors = np.where(observed, errors, 0.0)
        self.add_sums((errors**2).sum(0), np.abs(errors).sum(0), observed.sum(0))

    def add_sums(self, squares: np.ndarray, absolutes: np.ndarray, counts: np.ndarray) -> None:
        """The same, (horizon, channels) each, summed over windows already."""
        if not self.counts.size:
            self.squares, self.absolutes, self.counts = squares, absolutes, counts
            return
        self.squares, self.absolutes = self.squares + squares, self.absolutes + absolutes
        self.counts = self.counts + counts

    def scores(self) -> dict[str, float]:
        """MSE and MAE over all values, and MASE, the mean over channels.

        MASE is the mean absolute error in units of that of the season before on the training part: Hyndman and Koehler,
        "Another look at measures of forecast accuracy", 2006.
        """
        total = self.counts.sum()
        by_channel = self.absolutes.sum(0) / self.counts.sum(0)
        return {
            "mse": float(self.squares.sum() / total),
            "mae": float(self.absolutes.sum() / total),
            "mase": float((by_channel / self.naive).mean()),
        }

    def by_channel(self, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """MSE, MAE and MASE of each channel."""
        counts = self.counts.sum(0)
        squares, absolutes = self.squares.sum(0) / counts, self.absolutes.sum(0) / counts
        columns = zip(names, squares, absolutes, absolutes / self.naive, strict=True)
        return {name: {"mse": float(s), "mae": float(a), "mase": float(m)} for name, s, a, m in columns}

    def by_step(self) -> list[float]:
        """MSE of each step of the horizon."""
        return [round(float(error), 6) for error in self.squares.sum(1) / self.counts.sum(1)]


def seasonal_errors(values: np.ndarray, season: int) -> np.ndarray:
    """(channels,) the mean absolute difference between steps of (T, channels) that lie a season apart."""
    apart = np.abs(values[season:] - values[:-season]).mean(0)
    return np.where(apart > 0, apart, 1.0)


def seasonal_naive(season: int, horizon: int) -> np.ndarray:
    """(horizon, season): every step is what it was at this point of the last season."""
    return np.eye(season)[np.arange(horizon) % season]


def linear_forecaster(values: np.ndarray, horizon: int, train: int, context: int, validate: bool = True) -> np.ndarray:
    """(horizon, context): a linear map of a trend and of what remains, solved on the training part.

    DLinear's form (Zeng et al., "Are Transformers Effective for Time Series Forecasting?", 2023): one linear layer on a
    moving average of 25 steps and one on the rest, shared by all channels. The strength of ridge regression is the one
    that errs least on validation.

    Args:
        values: (T, channels) of the training part and of validation, in units of each channel's deviation.
        horizon: steps that are predicted.
        train: steps of the training part.
        context: steps that are read.
        validate: choose the strength; else the middle one.
    """
    span = context + horizon
    average = moving_average(context, TREND)
    split = np.concatenate([average, np.eye(context) - average])  # (2 context, context)
    features, targets = np.zeros((len(split), span)), np.eye(span)[context:]
    features[:, :context] = split
    starts = [range(train - span + 1)]
    starts += [range(train - context, len(values) - span + 1)] if validate else []
    fitted, *judged = (NormalEquations(features, targets, some) for some in lagged_products(values, span, starts))
    strengths = RIDGES if judged else RIDGES[len(RIDGES) // 2 :][:1]
    weights = [fitted.solve(strength) for strength in strengths]
    return (min(weights, key=judged[0].mean_squared_error) if judged else weights[0]) @ split


def moving_average(steps: int, width: int) -> np.ndarray:
    """(steps, steps): the mean of each step and its neighbours; beyond an end stands its last value."""
    average, half = np.zeros((steps, steps)), width // 2
    for step in range(steps):
        places = np.clip(np.arange(step - half, step + half + 1), 0, steps - 1)
        np.add.at(average[step], places, 1 / (2 * half + 1))
    return average


def linear_scores(
    weights: np.ndarray, values: np.ndarray, observed: np.ndarray, starts: range, naive: np.ndarray
) -> dict[str, float]:
    """Scores of a linear map (horizon, context).

    Args:
        weights: the map.
        values, observed: (T, channels).
        starts: the first step of each horizon.
        naive: as of :class:`ForecastScores`.
    """
    found = ForecastScores(naive)
    for past, future, there in _windows(weights.shape, values, observed, starts):
        found.add(np.einsum("hk,bkc->bhc", weights, past, optimize=True) - future, there)
    return found.scores()


def _windows(
    shape: tuple[int, ...], values: np.ndarray, observed: np.ndarray, starts: range
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    horizon, context = shape
    for first in range(0, len(starts), ROWS):
        at = np.array(starts[first : first + ROWS])[:, None]
        ahead = at + np.arange(horizon)
        yield values[at + np.arange(-context, 0)], values[ahead], observed[ahead]
