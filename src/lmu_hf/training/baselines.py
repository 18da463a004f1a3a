"""What a result is compared with: the LSTM of an architecture, and lines that take seconds."""

import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from transformers import AutoConfig, PreTrainedConfig

from ..configuration_lmu import LMUConfig
from ..configuration_lstm import OF_MEMORIES, LSTMConfig

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # inverse strengths of regularisation that are tried on pixels
MOST_IMAGES = 10_000  # to which a linear model of pixels is fitted: more take minutes
RIDGES = (0.1, 1.0, 10.0)  # strengths of regularisation that are tried
WORD = re.compile(r"\w\w")  # what scikit-learn's vectors are made of: words of at least two letters or digits
Texts = Sequence[Sequence[str]]  # columns of texts: one, or two of pairs
Lines = dict[str, dict[str, dict[str, float]]]  # scores by line and split
Score = Callable[[np.ndarray, np.ndarray], dict[str, float]]  # decisions and truth to scores


def lstm_baseline(architecture: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The architecture with an LSTM in every memory's place, everything else being equal.

    Args:
        architecture: fields of :class:`LMUConfig`.
        changes: fields to have other values, such as a ``hidden_size`` that makes the parameters as many.
    """
    # `LSTMConfig` refuses fields of a memory: an LSTM would ignore them.
    stack = {name: value for name, value in architecture.items() if name not in OF_MEMORIES}
    return {**stack, **changes, "model_type": LSTMConfig.model_type}


def make_config(fields: dict[str, Any]) -> PreTrainedConfig:
    """The config of a model of the family, or of the baseline that ``model_type`` names.

    Args:
        fields: of that config. Classes in ``architectures`` are called by their names in the family.
    """
    model_type = fields.get("model_type", LMUConfig.model_type)
    fields = {name: value for name, value in fields.items() if name != "model_type"}
    # Tasks name the family's classes; `LMUForCausalLM` has its baseline in `LSTMForCausalLM`.
    if model_type == LSTMConfig.model_type and (classes := fields.get("architectures")):
        fields["architectures"] = [name.replace("LMU", "LSTM") for name in classes]
    return AutoConfig.for_model(model_type, **fields)


def classical_lines(
    texts: dict[str, Texts],
    labels: dict[str, np.ndarray],
    score: Score,
    lower_is_better: bool = False,
    refit: bool = True,
) -> Lines:
    """The lines that a result must beat: the majority class, and tf-idf of 1- and 2-grams with a linear model.

    Of pairs the linear model also reads how their vectors differ, their product, and how many words they share.
    Of several classes at once, each is found by itself. Of numbers to predict the lines are their mean and ridge
    regression. The kind of linear model (logistic regression or support vectors; the strength of ridge) is chosen on
    validation. What the test is scored with may then be fitted to training and validation rows together, as the votes
    of the model beside are.

    Args:
        texts: columns of texts for ``train``, ``validation`` and perhaps ``test``.
        labels: of each row its class, 0 or 1 for each of several classes, or a number.
        score: decisions to scores; the first of them chooses.
        lower_is_better: whether a smaller score is a better one.
        refit: whether the validation rows are fitted to, too, once they have chosen.

    Returns:
        Scores by the name of the line and the split. Texts without a word of two letters have the first line alone.
    """
    name, constant = _simplest(labels["train"])
    others = [split for split in texts if split != "train"]
    alike = {split: np.repeat(np.asarray(constant)[None], len(labels[split]), 0) for split in others}
    lines: Lines = {name: {split: score(alike[split], labels[split]) for split in others}}
    if not any(WORD.search(text) for column in texts["train"] for text in column):
        return lines
    makers = _linear_models(labels["train"])
    seen, held = _features(texts["train"], texts["validation"])
    found = {
        name: score(make().fit(seen, labels["train"]).predict(held), labels["validation"])
        for name, make in makers.items()
    }
    choose = min if lower_is_better else max
    best = choose(found, key=lambda name: next(iter(found[name].values())))
    of_both = ", shared words" if len(texts["train"]) > 1 else ""
    line = lines[f"tf-idf{of_both} and {best}"] = {"validation": found[best]}
    if "test" in texts:
        fitted = ("train", "validation") if refit else ("train",)
        columns = [
            [text for column in some for text in column]
            for some in zip(*(texts[split] for split in fitted), strict=True)
        ]
        seen, held = _features(columns, texts["test"])
        model = makers[best]().fit(seen, np.concatenate([labels[split] for split in fitted]))
        line["test"] = score(model.predict(held), labels["test"])
    return lines


def image_lines(pixels: dict[str, np.ndarray], labels: dict[str, np.ndarray], score: Score) -> Lines:
    """The lines that a classifier of images must beat: the majority class, and logistic regression on pixels.

    The strength of regularisation is chosen on validation. Both are fitted to the training images alone, as the model
    beside is, and the second to 10,000 of them at most.

    Args:
        pixels: (rows, numbers) for ``train``, ``validation`` and perhaps ``test``, standardised.
        labels: of each row its class.
        score: decisions to scores; the first of them chooses.

    Returns:
        Scores by the name of the line and the split.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    others = [split for split in pixels if split != "train"]
    name, constant = _simplest(labels["train"])
    lines: Lines = {name: {split: score(np.repeat(constant, len(labels[split])), labels[split]) for split in others}}
    chosen = np.unique(np.linspace(0, len(labels["train"]) - 1, MOST_IMAGES).astype(int))
    seen, truth = pixels["train"][chosen], labels["train"][chosen]
    with warnings.catch_warnings():
        # Stopped early it is regularised the more, and validation has chosen the strength as it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [LogisticRegression(C=strength, max_iter=100).fit(seen, truth) for strength in STRENGTHS]
    best = max(
        models, key=lambda model: next(iter(score(model.predict(pixels["validation"]), labels["validation"]).values()))
    )
    lines["logistic regression on pixels"] = {
        split: score(best.predict(pixels[split]), labels[split]) for split in others
    }
    return lines


def _simplest(labels: np.ndarray) -> tuple[str, np.ndarray]:
    """What says one thing of every row: its name, and what it says."""
    if labels.ndim == 2:
        return "majority", (labels.mean(0) > 0.5).astype(labels.dtype)
    if np.issubdtype(labels.dtype, np.integer):
        classes, counts = np.unique(labels, return_counts=True)
        return "majority", classes[counts.argmax()]
    return "mean", labels.mean()


def _features(fitted: Texts, others: Texts) -> tuple[Any, Any]:
    """tf-idf of the texts that it is fitted to, and of others; of pairs that of both texts and what they share."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(ngram_range=(1, 2)).fit([text for column in fitted for text in column])
    if len(fitted) == 1:
        return vectors.transform(fitted[0]), vectors.transform(others[0])
    return _compared(vectors, fitted), _compared(vectors, others)


def _compared(vectors: Any, pairs: Texts) -> Any:
    """Of each pair both vectors, how far they differ, their product, and what the texts share."""
    from scipy.sparse import csr_matrix, hstack

    first, second = (vectors.transform(column) for column in pairs)
    common = csr_matrix([shared_words(*texts) for texts in zip(*pairs, strict=True)])
    return hstack([first, second, abs(first - second), first.multiply(second), common]).tocsr()


def shared_words(text: str, other: str) -> list[float]:
    """What two texts have in common: words as parts of either's and of both's, the cosine, and their lengths' ratio."""
    a, b = set(text.lower().split()), set(other.lower().split())
    both, lengths = len(a & b), (max(len(a), 1), max(len(b), 1))
    return [
        both / lengths[0],
        both / lengths[1],
        both / max(len(a | b), 1),
        both / (lengths[0] * lengths[1]) ** 0.5,
        min(lengths) / max(lengths),
    ]


def _linear_models(labels: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The linear models that are tried, by name."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import LinearSVC

    if labels.ndim == 1 and not np.issubdtype(labels.dtype, np.integer):
        return {f"ridge regression ({strength:g})": partial(Ridge, alpha=strength) for strength in RIDGES}
    makers: dict[str, Callable[[], Any]] = {
        "logistic regression": partial(LogisticRegression, max_iter=1000),
        "linear SVM": LinearSVC,
    }
    if labels.ndim == 2:
        return {name: partial(OneVsRestClassifier, make()) for name, make in makers.items()}
    return makers
