"""Votes of n-grams found by a linear model before training, in the model's own table: exact, in seconds."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ngrams import NGramVotes

# How much the unevenness of an n-gram weighs (an exponent), and scikit-learn's C, for features of unit length. Few rows
# choose among these; of more rows than TRIED the last one is taken, which won on all data sets of some thousand rows.
WAYS = ((0.0, 10.0), (0.0, 100.0), (1.0, 10.0), (1.0, 100.0))
RIDGES = (0.01, 0.1, 1.0, 10.0)
TRIED = 2500
FOLDS = 5
ITERATIONS, TOLERANCE = 200, 1e-3  # of the solver: beyond it no fold changed
BALANCES = (0.0, 0.25, 0.35, 0.5, 0.7, 1.0)  # of the stack, and of the votes
FEW = 100  # validation rows below which a balance is not chosen but CAUTIOUS
CAUTIOUS = (0.25, 1.0)

Fitted = tuple[np.ndarray, np.ndarray]  # (classes, n-grams) votes and (classes,) constants


def fit_votes(votes: NGramVotes, sequences: Iterable[Tensor], labels: np.ndarray) -> None:
    """Find what every n-gram votes for by a linear model, and write it into the model's table.

    Features are the shares of a sequence's n-grams, weighed by how rare an n-gram is (idf) and perhaps by how unevenly
    classes hold it (as naive Bayes counts; Wang and Manning, "Baselines and Bigrams", ACL 2012, call the like NBSVM).
    Both weights are folded into the votes, so that the saved model needs neither.

    Args:
        votes: whose table is written.
        sequences: (n,) token ids of each row.
        labels: of each row its class, 0 or 1 for each of several classes, or a number, on the scale of the head.
    """
    shares = _shares(votes, sequences)
    fit = _chosen(shares, labels, votes.odds.weight.shape[1])
    found, constants = fit(shares, labels)
    votes.write(torch.from_numpy(found.T).float(), torch.from_numpy(constants).float())


def choose_balance(votes: NGramVotes, stack: Tensor, voted: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Choose by loss what the stack and the votes count, note it in the model, and give the logits that follow.

    A loss and not a count of errors: few rows tell many balances apart by it, and probabilities are then honest, too.

    Args:
        votes: whose balance is chosen.
        stack, voted: the logits of the validation rows, of the stack alone and of the votes alone.
        loss: what it is chosen by: of logits, the mean over the rows.
    """
    chosen = CAUTIOUS
    if len(stack) >= FEW:
        grid = [(a, b) for a in BALANCES for b in BALANCES if a or b]
        chosen = min(grid, key=lambda pair: float(loss(pair[0] * stack + pair[1] * voted)))
    votes.set_balance(*chosen)
    return chosen[0] * stack + chosen[1] * voted


def _chosen(shares: Any, labels: np.ndarray, classes: int) -> Callable[[Any, np.ndarray], Fitted]:
    """The way to fit that decides most held-out rows rightly, of rows that are few."""
    if labels.ndim == 2:
        return partial(_several, way=WAYS[-1])
    single = np.issubdtype(labels.dtype, np.integer)
    ways: list[Callable[[Any, np.ndarray], Fitted]] = (
        [partial(_single, way=way, classes=classes) for way in WAYS]
        if single
        else [partial(_number, strength=strength) for strength in RIDGES]
    )
    if single and len(labels) > TRIED:
        return ways[-1]
    folds = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    return max(ways, key=lambda fit: sum(_goodness(fit, shares, labels, folds == fold) for fold in range(FOLDS)))


def _goodness(fit: Callable[[Any, np.ndarray], Fitted], shares: Any, labels: np.ndarray, held: np.ndarray) -> float:
    """How many held-out rows are decided rightly, or, of numbers, the squared error with its sign turned."""
    found, constants = fit(shares[~held], labels[~held])
    said = shares[held] @ found.T + constants
    if np.issubdtype(labels.dtype, np.integer):
        return float((said.argmax(1) == labels[held]).sum())
    return -float(((said[:, 0] - labels[held]) ** 2).sum())


def _single(shares: Any, labels: np.ndarray, way: tuple[float, float], classes: int) -> Fitted:
    """Logistic regression on one class a row."""
    from sklearn.linear_model import LogisticRegression

    seen, counts = np.unique(labels, return_counts=True)
    found = np.zeros((classes, shares.shape[1]))
    # A class that no training row has is as seldom as half a row; where there is but one, there is nothing to find.
    constants = np.log(np.maximum(np.bincount(labels, minlength=classes), 0.5)) - np.log(counts).mean()
    if len(seen) == 1:
        return found, constants
    features, scale = _scaled(shares, _rarity(shares) * _unevenness(shares, labels) ** way[0])
    model = LogisticRegression(C=way[1], max_iter=ITERATIONS, tol=TOLERANCE).fit(features, labels)
    weights, beside = model.coef_ * scale, model.intercept_
    if len(seen) == 2:  # scikit-learn tells one number z; here the two classes have −z/2 and z/2
        weights, beside = np.concatenate([-weights, weights]) / 2, np.concatenate([-beside, beside]) / 2
    found[seen], constants[seen] = weights, beside
    return found, constants


def _several(shares: Any, labels: np.ndarray, way: tuple[float, float]) -> Fitted:
    """Logistic regression on each of several classes by itself, as the logarithm of its odds."""
    fitted = [_single(shares, column.astype(int), way, 2) for column in labels.T]
    return np.stack([found[1] - found[0] for found, _ in fitted]), np.array([two[1] - two[0] for _, two in fitted])


def _number(shares: Any, labels: np.ndarray, strength: float) -> Fitted:
    """Ridge regression."""
    from sklearn.linear_model import Ridge

    features, scale = _scaled(shares, _rarity(shares))
    model = Ridge(alpha=strength).fit(features, labels)
    return (model.coef_ * scale)[None], np.array([model.intercept_])


def _shares(votes: NGramVotes, sequences: Iterable[Tensor]) -> Any:
    """What each sequence's logits hold of each vote: a sparse matrix (sequences, rows of the table)."""
    from scipy.sparse import csr_matrix

    columns, values, ends = [], [], [0]
    for ids in sequences:
        rows, shares = votes.shares(ids)
        columns.append(rows.numpy())
        values.append(shares.numpy())
        ends.append(ends[-1] + len(rows))
    shape = len(ends) - 1, len(votes.odds.weight)
    return csr_matrix((np.concatenate(values), np.concatenate(columns), ends), shape=shape, dtype=np.float64)


def _scaled(shares: Any, scale: np.ndarray) -> tuple[Any, np.ndarray]:
    """Shares times a number for each n-gram, so that rows are of unit length in the mean of squares; those numbers."""
    features = shares.multiply(scale).tocsr()
    length = np.sqrt(features.multiply(features).sum() / features.shape[0]) or 1.0
    return features / length, scale / length


def _rarity(shares: Any) -> np.ndarray:
    """(n-grams,) the inverse document frequency of each, smoothed as scikit-learn does."""
    held = np.bincount(shares.indices, minlength=shares.shape[1])
    return np.log((1 + shares.shape[0]) / (1 + held)) + 1


def _unevenness(shares: Any, labels: np.ndarray) -> np.ndarray:
    """(n-grams,) how much more often one class holds an n-gram than another: the spread of their log counts."""
    _, numbers = np.unique(labels, return_inverse=True)
    sizes = np.bincount(numbers)
    of_row = np.repeat(numbers, np.diff(shares.indptr))
    held = np.stack(
        [np.bincount(shares.indices[of_row == number], minlength=shares.shape[1]) for number in range(len(sizes))]
    )
    return np.log1p(held * (sizes.mean() / sizes)[:, None]).std(0)
