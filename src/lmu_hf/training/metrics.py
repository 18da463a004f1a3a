"""What models are judged by: `evaluate.Metric` classes on scikit-learn, scipy and sacrebleu that never ask the network.

``evaluate.load("accuracy")`` fetches its code from the Hub; these are made like any other object:

>>> Accuracy().compute(predictions=[0, 1, 1], references=[0, 1, 0])
{'accuracy': 0.6666666666666666}
"""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Features, Value


@contextmanager
def _not_from_beside_the_script() -> Iterator[None]:
    """Python looks for a module beside the running script first, and there lies `scripts/evaluate.py`."""
    whole = list(sys.path)
    sys.path[:] = [folder for folder in whole if not (Path(folder) / "evaluate.py").is_file()]
    try:
        yield
    finally:
        sys.path[:] = whole


# Once imported, the library is in `sys.modules`, and the path no longer matters.
with _not_from_beside_the_script():
    import evaluate


class OfflineMetric(evaluate.Metric):
    """A metric that says what it is in class attributes, and keeps its rows in memory.

    Attributes:
        description: what the number says.
        citation: whom to thank for it.
        prediction, reference: the types of one row, as `datasets` names them.
    """

    description: str
    citation: str = ""
    prediction: str = "int64"
    reference: str = "int64"

    def __init__(self, **how: Any) -> None:
        # By default `evaluate` writes every batch to an Arrow file in the user's cache.
        super().__init__(**{"keep_in_memory": True, **how})

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.description,
            citation=self.citation,
            inputs_description=f"predictions: {self.prediction}, references: {self.reference}; one of each per row",
            features=Features({"predictions": Value(self.prediction), "references": Value(self.reference)}),
        )


class Accuracy(OfflineMetric):
    """The share of rows whose class is found."""

    description = "The share of rows whose class is found."

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        # Here and below scikit-learn, scipy and sacrebleu are imported where they are used: they are slow to load.
        from sklearn.metrics import accuracy_score

        return {"accuracy": float(accuracy_score(references, predictions))}  # scikit-learn's order: truth first


class F1(OfflineMetric):
    """The harmonic mean of precision and recall; 0 where no row of the class is found.

    ``compute`` takes ``average`` as scikit-learn does; ``"binary"``, the default, judges class 1.
    """

    description = "The harmonic mean of precision and recall."

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int], average: str = "binary"
    ) -> dict[str, float]:
        from sklearn.metrics import f1_score

        # 0 without the warning that scikit-learn gives by default.
        return {"f1": float(f1_score(references, predictions, average=average, zero_division=0))}


class Matthews(OfflineMetric):
    """Matthews' correlation of two classifications; 0 where one of them is constant."""

    description = "Matthews' correlation of two classifications, from -1 to 1."

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        from sklearn.metrics import matthews_corrcoef

        return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}


class _Numbers(OfflineMetric):
    prediction = reference = "float64"


class Pearson(_Numbers):
    """Pearson's correlation; 0 where it is undefined, the predictions or the references being constant."""

    description = "Pearson's correlation of two columns of numbers."

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        from scipy.stats import pearsonr

        constant = _is_constant(predictions) or _is_constant(references)
        return {"pearson": 0.0 if constant else float(pearsonr(predictions, references).statistic)}


class Spearman(_Numbers):
    """Spearman's correlation of ranks; 0 where it is undefined, the predictions or the references being constant."""

    description = "Spearman's correlation of the ranks of two columns of numbers."

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        from scipy.stats import spearmanr

        constant = _is_constant(predictions) or _is_constant(references)
        return {"spearmanr": 0.0 if constant else float(spearmanr(predictions, references).statistic)}


def _is_constant(numbers: Sequence[float]) -> bool:
    return len(set(numbers)) < 2


class NRMSE(_Numbers):
    """Root mean squared error over the references' own root mean square: 1 for a prediction of nothing but zeros."""

    description = "Root mean squared error, in units of the references' root mean square."

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        target = np.asarray(references)
        power = np.square(target).mean()  # not the variance: the mean is not taken off
        if power == 0:
            raise ValueError("the references are all zero: an error relative to them is not defined")
        return {"nrmse": math.sqrt(np.square(np.asarray(predictions) - target).mean() / power)}


class BitsPerCharacter(OfflineMetric):
    """The length of a text's code under a model, in bits per character.

    Predictions are the nats lost over parts of the text, references the tokens judged in each. Every token but the
    first is judged; with ``characters`` and ``tokens`` of the whole text, what the first would cost is taken to be the
    mean, and bits per token become bits per character.
    """

    description = "Code length of a text under a model, in bits per character."
    prediction = "float64"

    def _compute(
        self,
        predictions: Sequence[float],
        references: Sequence[int],
        tokens: int | None = None,
        characters: int | None = None,
    ) -> dict[str, float]:
        bits = math.fsum(predictions) / math.log(2) / sum(references)  # bits per judged token; nats / ln 2
        # bits per character = bits per token · tokens / characters
        return {"bits_per_character": bits * (tokens or 1) / (characters or 1)}


class _OfText(OfflineMetric):
    """A metric of sacrebleu's, with one reference per sentence; further arguments are those of sacrebleu's class."""

    prediction = reference = "string"
    key: str
    scorer_name: str

    def __init__(self, **how: Any) -> None:
        import sacrebleu.metrics

        super().__init__()
        self.scorer = getattr(sacrebleu.metrics, self.scorer_name)(**how)
        self.scorer.corpus_score(["a"], [["a"]])  # it has no signature before it has scored

    @property
    def signature(self) -> str:
        """Everything that decides the score: what must stand beside it wherever it is printed."""
        return self.scorer.get_signature().format()

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        # Sacrebleu takes a list of streams of references; here there is one.
        return {self.key: self.scorer.corpus_score(list(predictions), [list(references)]).score}


class BLEU(_OfText):
    """Sacrebleu's corpus BLEU of detokenised text, 0 to 100."""

    description = "Sacrebleu's corpus BLEU of detokenised, cased text, from 0 to 100."
    citation = "Post 2018, A call for clarity in reporting BLEU scores"
    key, scorer_name = "bleu", "BLEU"


class ChrF(_OfText):
    """Sacrebleu's chrF, an F score of character n-grams, 0 to 100; ``word_order=2`` makes it chrF++."""

    description = "Sacrebleu's corpus chrF, from 0 to 100."
    citation = "Popović 2015, chrF: character n-gram F-score for automatic MT evaluation"
    key, scorer_name = "chrf", "CHRF"


class MacroF1(F1):
    """The mean of every class's F1, in which a rare class counts like a common one.

    Its mean is over the classes that rows have or predictions name; of a class with neither there is no F1.
    """

    description = "The mean of every class's harmonic mean of precision and recall."

    def _compute(  # type: ignore[override]
        self, predictions: Sequence[int], references: Sequence[int]
    ) -> dict[str, float]:
        return {"macro_f1": super()._compute(predictions, references, average="macro")["f1"]}


class R2(_Numbers):
    """The share of the references' variance that predictions explain; 0 where it is undefined: they do not vary."""

    description = "Coefficient of determination: 1 less the squared error over the references' variance."

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        from sklearn.metrics import r2_score

        return {"r2": 0.0 if _is_constant(references) else float(r2_score(references, predictions))}


class MeanAbsoluteError(_Numbers):
    """The mean distance of a prediction from its reference, in the references' unit."""

    description = "Mean absolute error, in the references' unit."

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        from sklearn.metrics import mean_absolute_error

        return {"mae": float(mean_absolute_error(references, predictions))}


class RootMeanSquaredError(_Numbers):
    """The root of the mean squared distance of a prediction from its reference, in the references' unit."""

    description = "Root mean squared error, in the references' unit."

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        from sklearn.metrics import root_mean_squared_error

        return {"rmse": float(root_mean_squared_error(references, predictions))}


# By the names that `evaluate`'s metrics on the Hub give their scores.
CLASSIFICATION_METRICS: dict[str, type[OfflineMetric]] = {
    "accuracy": Accuracy,
    "f1": F1,
    "macro_f1": MacroF1,
    "matthews_correlation": Matthews,
    "pearson": Pearson,
    "spearmanr": Spearman,
    "r2": R2,
    "mae": MeanAbsoluteError,
    "rmse": RootMeanSquaredError,
}


def judge(names: Sequence[str], predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
    """The scores of those names, out of ``CLASSIFICATION_METRICS``, in their order."""
    scores: dict[str, float] = {}
    for name in names:
        scores |= CLASSIFICATION_METRICS[name]().compute(predictions=predictions, references=references)
    return scores
