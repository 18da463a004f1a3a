"""What a classifier of series is compared with: lines of scikit-learn that take seconds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.series import LabelledSeries, SeriesSplit
from .baselines import Lines

MOST_VALUES = 2000  # of a row that logistic regression is given: longer series are read at so many points
BANDS = 8  # of the spectrum
QUANTILES = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
LAGS = (1, 2, 4, 8)
PIECES = 4  # of a series, each with a mean and a slope of its own
ON_VALUES, ON_FEATURES = "logistic regression on values", "ridge classifier on signal features"


def series_lines(rows: LabelledSeries, splits: Sequence[str]) -> Lines:
    """The lines that a result must beat, fitted on the rows that the model beside is fitted on.

    Validation is scored by a fit to training rows, test by a fit to the rows held out as well.

    Args:
        rows: the series.
        splits: that have been read.
    """
    lines: Lines = {name: {} for name in ("majority", ON_VALUES, ON_FEATURES)}
    points = max(2, min(int(np.median(rows.splits["train"].lengths)), MOST_VALUES // len(rows.channels)))
    for split in splits:
        fitted = ["train"] + ["validation"] * (split == "test" and rows.held_out)
        labels = np.concatenate([rows.splits[name].labels for name in fitted])
        truth = rows.splits[split].labels
        constant = np.bincount(labels).argmax()
        lines["majority"][split] = _score(np.full(len(truth), constant), truth)
        for name, features in ((ON_VALUES, lambda part: _values(part, points)), (ON_FEATURES, _features)):
            seen = np.concatenate([features(rows.splits[one]) for one in fitted])
            model = _model(name).fit(seen, labels)
            lines[name][split] = _score(model.predict(features(rows.splits[split])), truth)
    return lines


def _score(decided: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    from .metrics import judge

    return judge(["accuracy", "macro_f1"], decided.tolist(), truth.tolist())


def _model(name: str) -> Any:
    from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if name == ON_VALUES:
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)))


def _filled(values: np.ndarray) -> np.ndarray:
    """A series without gaps: what is missing lies on the line between its neighbours; 0 in an empty channel."""
    filled, steps = np.zeros(values.shape), np.arange(len(values))
    for channel in range(values.shape[1]):
        there = ~np.isnan(values[:, channel])
        if there.any():
            filled[:, channel] = np.interp(steps, steps[there], values[there, channel])
    return filled


def _values(rows: SeriesSplit, points: int) -> np.ndarray:
    """(rows, points · channels): the values, of series of other lengths at so many points between their ends."""
    found = []
    for values in map(_filled, rows.values):
        at = np.linspace(0, len(values) - 1, points)
        found.append([np.interp(at, np.arange(len(values)), column) for column in values.T])
    return np.asarray(found).reshape(len(rows), -1)


def _features(rows: SeriesSplit) -> np.ndarray:
    """(rows, features): of each channel its moments, quantiles, pieces, autocorrelations and spectrum; lengths."""
    return np.stack([_features_of(values) for values in map(_filled, rows.values)])


def _features_of(values: np.ndarray) -> np.ndarray:
    found: list[Any] = [np.log([len(values)])]
    for x in values.T:
        mean, deviation = x.mean(), x.std() + 1e-9
        z, changes = (x - mean) / deviation, np.diff(x, prepend=x[0])
        found += [
            [
                mean,
                deviation,
                (z**3).mean(),
                (z**4).mean(),
                np.abs(changes).mean(),
                (np.diff(z > 0) != 0).mean() if len(x) > 1 else 0.0,
            ]
        ]
        found.append(np.quantile(x, QUANTILES))
        found.append([x.argmax() / len(x), x.argmin() / len(x)])
        found.append([(z[lag:] * z[:-lag]).mean() if len(z) > lag else 0.0 for lag in LAGS])
        for piece in np.array_split(x, PIECES):
            found.append([piece.mean(), piece[-1] - piece[0]] if len(piece) else [mean, 0.0])
        power = np.abs(np.fft.rfft(z, n=max(len(z), 2 * BANDS)))[1:] ** 2
        found.append(np.log1p([band.mean() for band in np.array_split(power, BANDS)]))
    return np.concatenate([np.asarray(part, dtype=float) for part in found])
