"""Linear forecasts in closed form, from the lagged products of a series: no pass over its windows, no gradient.

A window of L past and H future steps is a vector z of K = L + H numbers. Whatever forecasts linearly sees it through
two matrices: features F z, such as the memory at the end of the past, and targets Y z, such as the future less the last
value. Ridge regression of one on the other needs no window by itself, only Σ z zᵀ over all windows and channels. Its
entries are lagged products of the series, Σ_s x_{s+i} x_{s+j}, so one running sum for each lag gives them all:
K·T products in place of K²·T.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Products:
    """What windows of a series add up to.

    Args:
        matrix: (K, K), Σ z zᵀ.
        windows: how many there are, over all channels.
    """

    matrix: np.ndarray
    windows: int


def lagged_products(values: np.ndarray, span: int, starts: Sequence[range]) -> list[Products]:
    """Σ z zᵀ over windows of all channels.

    Args:
        values: (T, channels), in units in which channels may be added up.
        span: K, steps of a window.
        starts: of each set of windows, the steps that they begin at, one after another.

    Raises:
        ValueError: a set is empty or a window would not end within the series.
    """
    steps, channels = values.shape
    for some in starts:
        if len(some) == 0 or some.step != 1 or some[0] < 0 or some[-1] + span > steps:
            raise ValueError(f"windows of {span} steps cannot begin at {some} in a series of {steps} steps")
    series = np.ascontiguousarray(values.T, dtype=np.float64)
    matrices = [np.empty((span, span)) for _ in starts]
    for lag in range(span):
        products = np.einsum("ct,ct->t", series[:, : steps - lag], series[:, lag:])
        # Entry (i, i + lag) sums products[s + i] over all starts s: a difference of two running sums.
        running = np.concatenate([[0.0], np.cumsum(products)])
        for matrix, some in zip(matrices, starts, strict=True):
            first, behind, i = some[0], some[-1] + 1, np.arange(span - lag)
            entries = running[behind + i] - running[first + i]
            matrix[i, i + lag] = matrix[i + lag, i] = entries
    return [Products(matrix, len(some) * channels) for matrix, some in zip(matrices, starts, strict=True)]


class NormalEquations:
    """Regression of targets on features, over the windows of some products.

    Args:
        features: (d, K), F.
        targets: (H, K), Y.
        products: of the windows.
    """

    def __init__(self, features: np.ndarray, targets: np.ndarray, products: Products) -> None:
        seen = features @ products.matrix
        self.gram = seen @ features.T  # (d, d)
        self.cross = seen @ targets.T  # (d, H)
        self.power = float(np.einsum("hk,hk->", targets @ products.matrix, targets))
        self.terms = products.windows * len(targets)

    def solve(self, strength: float) -> np.ndarray:
        """W (H, d) that errs least in the mean square, plus ``strength`` · mean(diag F M Fᵀ) · ‖W‖²."""
        ridge = strength * self.gram.trace() / len(self.gram)
        return np.linalg.solve(self.gram + ridge * np.eye(len(self.gram)), self.cross).T

    def mean_squared_error(self, weights: np.ndarray) -> float:
        """Of W (H, d), over all windows, channels and steps of the horizon."""
        explained = 2 * np.einsum("hd,dh->", weights, self.cross) - np.einsum("hd,hd->", weights @ self.gram, weights)
        return (self.power - float(explained)) / self.terms


def shifted(span: int, context: int, horizon: int, normalization: str) -> np.ndarray:
    """N (K, K): a window less the last value or the mean of the last ``context`` steps of its past."""
    past = span - horizon
    level = np.zeros(span)
    if normalization == "last":
        level[past - 1] = 1.0
    elif normalization == "mean":
        level[past - context : past] = 1.0 / context
    return np.eye(span) - level
