"""Votes of n-grams found by a linear model before training, in the model's own table: exact, in seconds."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..pair_votes import PairVotes
from ..votes import PLACES, SHARPNESS, SMALLEST, NGramVotes


class Way(NamedTuple):
    """How a linear model is fitted.

    Args:
        exponent: of the unevenness of an n-gram, by which its feature is weighed.
        strength: scikit-learn's C of a logistic regression; None for support vectors.
        scale: what its decisions are multiplied by.
        normed: whether each row's features are divided by the length of the row.
        buckets: of pairs, n-grams of each place and length: what share of a row's stands where is read, too. Else 0.
    """

    exponent: float
    strength: float | None = None
    scale: float = 1.0
    normed: bool = False
    buckets: int = 0


EXPONENT = 0.5  # of the unevenness of an n-gram, where a row has one class
# Where a row may have several, logistic regression: the exponent and scikit-learn's C for features of unit length,
# where there are few n-grams to count and where there are more.
FEW_NGRAMS = 60_000  # different ones of a row, over all rows
WAYS = Way(0.0, 300.0), Way(1.0, 30.0)
SCALES = tuple(2.0**power for power in np.arange(-1, 6.5, 0.5))  # log odds for a margin of 1
RIDGES = (0.01, 0.1, 1.0, 10.0)  # of numbers to predict; folds choose
FOLDS = 5
ITERATIONS, TOLERANCE = 200, 1e-3  # of the solver: beyond it no fold changed
COUNTS = (0.0, 0.25, 0.35, 0.5, 0.7, 1.0)
BALANCES = [(stack, votes) for stack in COUNTS for votes in COUNTS if stack or votes]
SHARED = [(part, 1 - part) for part in (0.0, 0.25, 0.5, 0.75, 1.0)]  # of numbers: a mean of both
FEW = 100  # validation rows below which the balance of classes is not chosen but CAUTIOUS
CAUTIOUS = (0.25, 1.0)


class Fitted(NamedTuple):
    """What a linear model has found.

    Args:
        votes: (classes, n-grams).
        constants: (classes,).
        squares: (n-grams,) squared norms by whose mean over a row its votes are divided; None where they are not.
        common: (classes, places) what shares of a row's n-grams say; None where they are not read.
        buckets: as of :class:`Way`.
    """

    votes: np.ndarray
    constants: np.ndarray
    squares: np.ndarray | None = None
    common: np.ndarray | None = None
    buckets: int = 0

    def logits(self, shares: Any) -> np.ndarray:
        """(rows, classes), as the votes of the model will have them."""
        said = shares @ self.votes.T
        said = said if self.squares is None else said / _norms(shares, self.squares)[:, None]
        return said + self.constants + (0 if self.common is None else _stand(shares, self.buckets) @ self.common.T)


def fit_votes(votes: NGramVotes, sequences: Iterable[tuple[Tensor, ...]], labels: np.ndarray) -> None:
    """Find what every n-gram votes for by a linear model, and write it into the model's table.

    Features are the shares of a sequence's n-grams, weighed by how rare an n-gram is (idf) and by how unevenly classes
    hold it (as naive Bayes counts; Wang and Manning, "Baselines and Bigrams", ACL 2012, call the like NBSVM). Where the
    votes are normed, each row then has unit length. All of it is folded into the tables of the votes, so that the saved
    model needs nothing else.

    Args:
        votes: whose table is written.
        sequences: (n,) token ids of each row, or of both sequences of a pair.
        labels: of each row its class, 0 or 1 for each of several classes, or a number, on the scale of the head.
    """
    shares = _shares(votes, sequences)
    if labels.ndim == 2:
        found = _several(shares, labels, WAYS[shares.nnz >= FEW_NGRAMS])
    elif np.issubdtype(labels.dtype, np.integer):
        way, classes = Way(EXPONENT, normed=votes.squares is not None), votes.odds.weight.shape[1]
        if isinstance(votes, PairVotes):
            way = way._replace(exponent=0.0, buckets=votes.buckets)
        found = _single(shares, labels, way._replace(scale=_margin(shares, labels, way, classes)), classes)
    else:
        found = _number(shares, labels, _strength(shares, labels))
    weights, squares = torch.from_numpy(found.votes.T), None
    if found.squares is not None:  # see :func:`_shares`
        weights, squares = weights * (len(votes.sizes) ** 0.5 / SHARPNESS), torch.from_numpy(found.squares).float()
    votes.write(weights.float(), torch.from_numpy(found.constants).float(), squares)
    if isinstance(votes, PairVotes) and found.common is not None:
        votes.write_common(torch.from_numpy(found.common.T).float())


def choose_balance(
    votes: NGramVotes, stack: Tensor, voted: Tensor, loss: Callable[[Tensor], float], numbers: bool = False
) -> Tensor:
    """Choose by loss what the stack and the votes count, note it in the model, and give the logits that follow.

    A loss and not a count of errors: few rows tell many balances apart by it, and probabilities are then honest, too.

    Args:
        votes: whose balance is chosen.
        stack, voted: the logits of the validation rows, of the stack alone and of the votes alone.
        loss: what it is chosen by: of logits, the mean over the rows.
        numbers: they are predictions themselves, and not evidence that adds up.
    """
    chosen = CAUTIOUS
    if numbers or len(stack) >= FEW:
        balances = SHARED if numbers else BALANCES
        chosen = min(balances, key=lambda pair: loss(pair[0] * stack + pair[1] * voted))
    votes.set_balance(*chosen)
    return chosen[0] * stack + chosen[1] * voted


def _strength(shares: Any, labels: np.ndarray) -> float:
    """The strength of ridge regression that errs least on rows held out in turn."""
    if len(labels) < 2 * FOLDS:
        return RIDGES[-1]  # the most careful one
    folds = np.random.default_rng(0).permutation(len(labels)) % FOLDS

    def error(strength: float) -> float:
        total = 0.0
        for held in (folds == fold for fold in range(FOLDS)):
            found = _number(shares[~held], labels[~held], strength)
            total += float(((found.logits(shares[held])[:, 0] - labels[held]) ** 2).sum())
        return total

    return min(RIDGES, key=error)


def _margin(shares: Any, labels: np.ndarray, way: Way, classes: int) -> float:
    """How many log odds a margin of 1 is, as honest as may be on rows that are held out in turn.

    It is Platt scaling ("Probabilistic outputs for support vector machines", 1999) with one number. As he does, it
    doubts labels by about one row in all, or rows that can be told apart would be scaled without end.
    """
    if len(labels) < 2 * FOLDS:
        return 1.0
    folds, said = np.random.default_rng(0).permutation(len(labels)) % FOLDS, np.empty((len(labels), classes))
    for held in (folds == fold for fold in range(FOLDS)):
        said[held] = _single(shares[~held], labels[~held], way, classes).logits(shares[held])

    doubt = 1 / (len(labels) + 2)

    def loss(scale: float) -> float:
        scaled = scale * (said - said.max(1, keepdims=True))
        truth = (1 - doubt) * scaled[np.arange(len(labels)), labels] + doubt * scaled.mean(1)
        return float((np.log(np.exp(scaled).sum(1)) - truth).mean())

    return min(SCALES, key=loss)


def _single(shares: Any, labels: np.ndarray, way: Way, classes: int) -> Fitted:
    """One class a row: logistic regression, or support vectors where ``way`` names no strength."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    seen, counts = np.unique(labels, return_counts=True)
    found = np.zeros((classes, shares.shape[1]))
    # A class that no training row has is as seldom as half a row; where there is but one, there is nothing to find.
    constants = np.log(np.maximum(np.bincount(labels, minlength=classes), 0.5)) - np.log(counts).mean()
    if len(seen) == 1:
        return Fitted(found, constants)
    weighed = _rarity(shares) * _unevenness(shares, labels) ** way.exponent
    weighed[np.bincount(shares.indices, minlength=shares.shape[1]) == 0] = 0.0  # or unseen n-grams would count as norms
    squares = weighed**2 if way.normed else None
    features, scale = _scaled(shares, weighed, squares)
    features, scale, beside = _with_places(features, scale, shares, way.buckets)
    if way.strength is None:
        model = LinearSVC(random_state=0).fit(features, labels)
    else:
        model = LogisticRegression(C=way.strength, max_iter=ITERATIONS, tol=TOLERANCE).fit(features, labels)
    weights = way.scale * model.coef_ * scale
    constant = way.scale * model.intercept_ - weights @ beside
    if len(seen) == 2:  # scikit-learn tells one number z; here the two classes have −z/2 and z/2
        weights, constant = np.concatenate([-weights, weights]) / 2, np.concatenate([-constant, constant]) / 2
    found[seen], constants[seen] = weights[:, : shares.shape[1]], constant
    common = None
    if way.buckets:
        common = np.zeros((classes, shares.shape[1] // way.buckets))
        common[seen] = weights[:, shares.shape[1] :]
    return Fitted(found, constants, squares, common, way.buckets)


def _with_places(features: Any, scale: np.ndarray, shares: Any, buckets: int) -> tuple[Any, Any, Any]:
    """Features with the standardised share of n-grams at each place beside them; their scales, and their means."""
    from scipy.sparse import csr_matrix, hstack

    if not buckets:
        return features, scale, np.zeros(features.shape[1])
    stand = _stand(shares, buckets)
    means, deviations = stand.mean(0), np.maximum(stand.std(0), SMALLEST) * stand.shape[1] ** 0.5
    features = hstack([features, csr_matrix((stand - means) / deviations)]).tocsr()
    return features, np.concatenate([scale, 1 / deviations]), np.concatenate([np.zeros(shares.shape[1]), means])


def _stand(shares: Any, buckets: int) -> np.ndarray:
    """(rows, places · lengths): how large a part of a row's n-grams of a length stands at each place."""
    from scipy.sparse import csr_matrix

    # Of entries at one place, a matrix made dense holds the sum.
    shape = shares.shape[0], shares.shape[1] // buckets
    held = csr_matrix((shares.data, shares.indices // buckets, shares.indptr), shape=shape).toarray()
    return held * (shape[1] // PLACES) / held.sum(1, keepdims=True)


def _several(shares: Any, labels: np.ndarray, way: Way) -> Fitted:
    """Logistic regression on each of several classes by itself, as the logarithm of its odds."""
    fitted = [_single(shares, column.astype(int), way, 2) for column in labels.T]
    votes = np.stack([one.votes[1] - one.votes[0] for one in fitted])
    return Fitted(votes, np.array([one.constants[1] - one.constants[0] for one in fitted]))


def _number(shares: Any, labels: np.ndarray, strength: float) -> Fitted:
    """Ridge regression."""
    from sklearn.linear_model import Ridge

    features, scale = _scaled(shares, _rarity(shares))
    model = Ridge(alpha=strength).fit(features, labels)
    return Fitted((model.coef_ * scale)[None], np.array([model.intercept_]))


def _shares(votes: NGramVotes, sequences: Iterable[tuple[Tensor, ...]]) -> Any:
    """What each sequence's logits hold of each vote: a sparse matrix (sequences, rows of the table).

    Where votes are normed, how often each is there: what they are divided by, :func:`_norms`, takes the length of the
    sequence out of it. Of N counts over L lengths of n-grams the model has SHARPNESS / √L · Σ N v / √(Σ N s²).
    """
    from scipy.sparse import csr_matrix

    columns, values, ends = [], [], [0]
    for ids in sequences:
        rows, shares = votes.shares(*ids)
        columns.append(rows.numpy())
        steps = sum(map(len, ids))
        values.append(shares.numpy() * (1 if votes.squares is None else steps * len(votes.sizes) / SHARPNESS))
        ends.append(ends[-1] + len(rows))
    shape = len(ends) - 1, len(votes.odds.weight)
    return csr_matrix((np.concatenate(values), np.concatenate(columns), ends), shape=shape, dtype=np.float64)


def _scaled(shares: Any, scale: np.ndarray, squares: np.ndarray | None = None) -> tuple[Any, np.ndarray]:
    """Shares times a number for each n-gram, so that rows are of unit length in the mean of squares; those numbers.

    Where there are squared norms, each row is divided by its own norm first.
    """
    features = shares.multiply(scale).tocsr()
    if squares is not None:
        features = features.multiply(1 / _norms(shares, squares)[:, None]).tocsr()
    length = np.sqrt(features.multiply(features).sum() / features.shape[0]) or 1.0
    return features / length, scale / length


def _norms(shares: Any, squares: np.ndarray) -> np.ndarray:
    """(rows,) what the votes of each row are divided by; :meth:`NGramVotes.finish` has the derivation."""
    return np.sqrt(np.maximum(shares @ squares, SMALLEST))


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
