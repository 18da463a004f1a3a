"""A linear classifier in closed form: ridge regression on ±1, its strength chosen by leave-one-out, no row held out."""

from dataclasses import dataclass

import numpy as np

STRENGTHS = tuple(10.0**power for power in np.arange(-3, 5.5, 0.5))  # of features of variance 1, times one row
SHARPNESS = tuple(2.0**power for power in np.arange(-2, 6.5, 0.5))  # log odds for a margin of 1
CHUNK = 4096  # rows whose features are float64 at a time


@dataclass(frozen=True)
class Ridge:
    """What was fitted.

    Args:
        weight: (classes, features) and
        bias: (classes,): logits are weight · features + bias.
        strength: of the regularisation.
        left_out: (rows, classes) the logits of each training row by the model fitted to all others.
        error: the mean squared error of these, before they are scaled.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    left_out: np.ndarray
    error: float


def fit_ridge(features: np.ndarray, labels: np.ndarray, classes: int) -> Ridge:
    """Regress ±1 for each class on standardised features, as RidgeClassifierCV of scikit-learn does.

    Of few rows the Gram matrix of rows is decomposed, of many that of features. Either gives every leave-one-out error
    at once: with the hat matrix P of a regression, row i is missed by (y − P y)_i / (1 − P_ii). Logits are margins
    times the number that makes leave-one-out probabilities most honest (log loss).

    Args:
        features: (rows, features), float32 or float64.
        labels: (rows,) class ids.
        classes: how many there are; one without a row is never decided for.
    """
    mean, scale = _moments(features)
    targets = np.where(labels[:, None] == np.arange(classes), 1.0, -1.0)
    constant = targets.mean(0)
    found, strength, left_out = _fit(features, mean, scale, targets - constant)
    left_out = left_out + constant
    sharpness = min(SHARPNESS, key=lambda factor: _log_loss(factor * left_out, labels))
    weight = found.T * scale
    bias = constant - weight @ mean
    error = float(((left_out - targets) ** 2).mean())
    return Ridge(sharpness * weight, sharpness * bias, strength, sharpness * left_out, error)


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(features,) means, and what makes each deviation 1; 0 for a feature that is the same in all rows."""
    mean = features.mean(0, dtype=np.float64)
    deviation = features.std(0, dtype=np.float64)
    # A constant feature has a deviation of rounding alone.
    told = deviation > 1e-6 * np.maximum(1.0, np.abs(mean))
    return mean, np.where(told, 1 / np.where(told, deviation, 1), 0)


def _fit(
    features: np.ndarray, mean: np.ndarray, scale: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray]:
    """Weights (features, classes) of standardised features, the strength, and predictions with each row left out."""
    rows, width = features.shape
    if rows <= width:
        standard = (features - mean) * scale
        values, vectors = np.linalg.eigh(standard @ standard.T)
        rotated = vectors  # (rows, rows): P = rotated · shrunk · rotatedᵀ
    else:
        gram = np.zeros((width, width))
        for start in range(0, rows, CHUNK):
            part = (features[start : start + CHUNK] - mean) * scale
            gram += part.T @ part
        values, vectors = np.linalg.eigh(gram)
        roots = np.sqrt(np.maximum(values, 1e-12 * values.max()))
        rotated = np.concatenate(
            [((features[start : start + CHUNK] - mean) * scale) @ (vectors / roots) for start in range(0, rows, CHUNK)]
        )
    values = np.maximum(values, 0)
    projected = rotated.T @ targets
    best: tuple[float, float, np.ndarray] | None = None
    for strength in STRENGTHS:
        shrunk = values / (values + strength)
        # The constant that every model has beside its weights takes 1/rows of each row, too.
        own = np.minimum((rotated**2) @ shrunk + 1 / rows, 1 - 1e-9)
        missed = (targets - rotated @ (shrunk[:, None] * projected)) / (1 - own)[:, None]
        error = float((missed**2).mean())
        if best is None or error < best[0]:
            best = error, strength, targets - missed
    assert best is not None  # there is a strength
    _, strength, left_out = best
    if rows <= width:
        found = standard.T @ (vectors @ (projected / (values + strength)[:, None]))
    else:
        found = vectors @ (roots[:, None] * projected / (values + strength)[:, None])
    return found, strength, left_out


def _log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    logits = logits - logits.max(1, keepdims=True)
    return float((np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]).mean())
