"""How the logits of a whole split are judged: decisions, scores, and a table of every class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from ..checking import IGNORED
from ..data.label_rules import MULTI, REGRESSION, SINGLE

# What a split may be judged by, for each problem type; the loss is on the scale that the head learns on.
ALLOWED: dict[str, tuple[str, ...]] = {
    SINGLE: ("accuracy", "f1", "macro_f1", "matthews_correlation", "loss"),
    MULTI: ("macro_f1", "micro_f1", "subset_accuracy", "loss"),
    REGRESSION: ("r2", "mae", "rmse", "pearson", "spearmanr", "loss"),
}
# Thresholds that are tried: coarse, since few rows choose them. A class with fewer rows than FEW on a side keeps 0.5.
THRESHOLDS = [round(0.05 * step, 2) for step in range(1, 20)]
FEW = 5
MOST_CLASSES = 100  # of a confusion matrix in a record: it grows with their square


def choose_metric(asked: str | None, problem_type: str, metrics: Sequence[str], name: str) -> str:
    """The metric that weights are chosen by.

    Args:
        asked: by a flag; ``"f1"`` is the macro F1 where the data has no other by that name. None for the first.
        problem_type: of the data.
        metrics: by which the data is judged.
        name: of the data.

    Raises:
        ValueError: it does not apply to this problem type.
    """
    if asked is None:
        return metrics[0]
    allowed = ALLOWED[problem_type]
    metric = "macro_f1" if asked == "f1" and "f1" not in metrics else asked
    if metric not in allowed:
        there = ", ".join(allowed if problem_type == SINGLE else ("f1", *allowed) if problem_type == MULTI else allowed)
        raise ValueError(
            f"--metric_for_best_model {asked} does not apply to {name} ({problem_type}): give one of {there}"
        )
    return metric


def choose_thresholds(probabilities: np.ndarray, truth: np.ndarray) -> list[float]:
    """For each of several classes the probability from which on it is said to hold: that of the best F1.

    Args:
        probabilities: (rows, classes).
        truth: (rows, classes), 0 or 1.
    """
    thresholds = []
    for held, true in zip(probabilities.T, truth.T, strict=True):
        # F1 as 2 TP / (predicted + true), for every threshold at once.
        said = held[None] >= np.array(THRESHOLDS)[:, None]
        f1 = 2 * (said & (true > 0)).sum(1) / np.maximum(said.sum(1) + true.sum(), 1)
        enough = FEW <= true.sum() <= len(true) - FEW
        # The nearest to 0.5 of those that are best.
        best = min(np.flatnonzero(f1 == f1.max()), key=lambda at: abs(THRESHOLDS[at] - 0.5))
        thresholds.append(THRESHOLDS[best] if enough else 0.5)
    return thresholds


def several_scores(decided: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The scores of several classes a row: F1 of every class and of all decisions, and rows without any mistake."""
    from sklearn.metrics import f1_score

    return {
        "macro_f1": float(f1_score(truth, decided, average="macro", zero_division=0)),
        "micro_f1": float(f1_score(truth, decided, average="micro", zero_division=0)),
        "subset_accuracy": float((decided == truth).all(1).mean()),
    }


def class_table(decided: np.ndarray, truth: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and rows of every class; of one class a row or, as columns of 0 and 1, of several."""
    from sklearn.metrics import precision_recall_fscore_support

    labels = list(range(len(classes)))
    columns = precision_recall_fscore_support(truth, decided, labels=labels, zero_division=0)
    return {
        name: {
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "support": int(support),
        }
        for name, precision, recall, f1, support in zip(classes, *columns, strict=True)
    }


def confusion(decided: np.ndarray, truth: np.ndarray, classes: Sequence[str]) -> list[list[int]] | None:
    """How many rows of each class (down) were taken for each (across); None where there are too many classes."""
    from sklearn.metrics import confusion_matrix

    if len(classes) > MOST_CLASSES:
        return None
    return confusion_matrix(truth, decided, labels=list(range(len(classes)))).tolist()


def class_details(decided: np.ndarray, truth: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """What a record keeps of rows with one class each: the table of classes and, of not too many, the confusions."""
    matrix = confusion(decided, truth, classes)
    return {"classes": class_table(decided, truth, classes)} | ({"confusion": matrix} if matrix else {})


def mean_loss(logits: Tensor, labels: Tensor, scale: Tensor | None = None) -> float:
    """The mean loss of rows, as training has it but for smoothing.

    Args:
        logits: (rows, classes), or (rows, 1) of numbers to predict.
        labels: as a model takes them: classes as integers, (rows, classes) of 0 and 1, or numbers.
        scale: the unit of numbers to predict, by which errors are divided.
    """
    if not labels.is_floating_point():
        return float(F.cross_entropy(logits, labels))
    if labels.ndim == 2:
        return float(F.binary_cross_entropy_with_logits(logits, labels))
    unit = 1 if scale is None else scale.to(logits)
    errors = (logits - labels.view_as(logits)) / unit
    return float(errors[labels.view_as(logits) != IGNORED].square().mean())


def plain_table(table: dict[str, dict[str, Any]]) -> str:
    """A table of classes as lines of text."""
    width = max(5, *(len(name) for name in table))
    lines = [f"{'class':<{width}}  precision  recall      F1  support"]
    for name, row in table.items():
        numbers = f"{row['precision']:>9.3f}  {row['recall']:>6.3f}  {row['f1']:>6.3f}  {row['support']:>7,}"
        lines.append(f"{name:<{width}}  {numbers}")
    return "\n".join(lines)
