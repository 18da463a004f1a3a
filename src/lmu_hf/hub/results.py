"""The tables of results on a model card: scores of splits, seeds and baselines, of classes, and of earlier pushes."""

import statistics
from collections.abc import Sequence
from typing import Any

from ..common.lines import digits, verdict
from ..common.record import RunRecord
from .kinds import kind_of
from .markup import code, table, text

# A name that ends in % is of a fraction, which `show` multiplies by 100.
METRIC_NAMES = {
    "accuracy": "accuracy, %",
    "f1": "F1, %",
    "macro_f1": "macro F1, %",
    "micro_f1": "micro F1, %",
    "subset_accuracy": "rows without a mistake, %",
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "mse": "mean squared error",
    "mase": "MASE",
    "pearson": "Pearson's correlation",
    "spearmanr": "Spearman's correlation",
    "matthews_correlation": "Matthews correlation",
    "bleu": "BLEU",
    "bits_per_character": "bits per character",
    "nrmse": "NRMSE",
    "loss": "loss per token, nats",
}
# What a score says, for who has not met it.
MEANINGS = {
    "accuracy": "accuracy is the share of rows whose class is right",
    "f1": "F1 is the harmonic mean of precision and recall of the second class",
    "macro_f1": "macro F1 is the mean over classes of the harmonic mean of precision and recall",
    "bleu": "BLEU compares word sequences with a human translation, from 0 to 100; more is better",
    "bits_per_character": "bits per character say how well the next character is guessed; fewer is better",
    "nrmse": "NRMSE is the root mean squared error in units of the target's root mean square; 0 is perfect",
    "mase": "MASE is the mean absolute error in units of that of the season before; below 1 is better than the season",
    "r2": "R² is the share of the variance that is explained; 1 is perfect",
    "mae": "the mean absolute error is in the unit of the labels",
    "rmse": "the root mean squared error is in the unit of the labels",
}
MOST_CLASSES = 40  # that a card lists


def results_table(record: RunRecord, group: Sequence[RunRecord], baselines: Sequence[RunRecord]) -> str:
    """This model's scores, those of all seeds of its training, itself among them, and the baselines'."""
    recipes: dict[str, list[RunRecord]] = {}
    for baseline in baselines:
        recipes.setdefault(baseline.recipe, []).append(baseline)  # one column a recipe, whatever its seeds
    header = ["split", "score", f"this model (seed {record.seed})"]
    several = len(group) > 1
    header += [f"seeds {', '.join(str(run.seed) for run in group)}: mean (range)"] if several else []
    header += [
        f"{str(runs[0].baseline).upper()} ({code(recipe)}), {total_parameters(runs[0])} parameters"
        for recipe, runs in recipes.items()
    ]
    rows = []
    for split, scores in record.metrics.items():
        for metric, value in scores.items():
            row = [text(split), text(metric_name(record, metric)), show(metric, value)]
            row += [_spread(group, split, metric)] if several else []
            row += [_spread(runs, split, metric) for runs in recipes.values()]
            rows.append(row)
    return table(header, rows)


def split_of_details(record: RunRecord, what: str) -> str | None:
    """The split whose details a card shows: the test, or else validation; None where a record has no such details."""
    return next((split for split in ("test", "validation") if what in record.details.get(split, {})), None)


def classes_table(record: RunRecord) -> str:
    """Precision, recall and F1 of every class, the commonest first where there are many; empty for older records."""
    if (split := split_of_details(record, "classes")) is None:
        return ""
    classes, thresholds = record.details[split]["classes"], record.details[split].get("thresholds")
    cuts = dict(zip(classes, thresholds, strict=True)) if thresholds else {}
    shown = sorted(classes, key=lambda name: -classes[name]["support"])[:MOST_CLASSES]
    names = list(classes) if len(classes) <= MOST_CLASSES else shown
    header = ["class", "precision, %", "recall, %", "F1, %", f"{text(split)} rows", *(["threshold"] if cuts else [])]
    rows = [
        [
            text(name),
            *(show("f1", classes[name][score]) for score in ("precision", "recall", "f1")),
            f"{classes[name]['support']:,}",
            *([f"{cuts[name]:g}"] if cuts else []),
        ]
        for name in names
    ]
    left = f"\n\nThe {len(names)} commonest of {len(classes):,} classes." if len(names) < len(classes) else ""
    return table(header, rows) + left


def beside_table(record: RunRecord) -> str:
    """The model, its parts alone and the lines to beat, by the score that chooses weights; empty for older records."""
    if not record.lines:
        return ""
    splits, metric = list(record.metrics), record.metric
    rows = [
        [
            text(name),
            *(show(metric, scores[split][metric]) if metric in scores.get(split, {}) else "" for split in splits),
        ]
        for name, scores in {"this model": record.metrics, **record.parts, **record.lines}.items()
    ]
    scores_table = table(["", *(text(f"{split} {metric_name(record, metric)}") for split in splits)], rows)
    # What the memory adds shows beside the n-grams alone, and so must be on the card.
    return "\n\n".join(filter(None, [scores_table, text(record.reasons.get("balance", "")), text(verdict(record))]))


def lengths_table(record: RunRecord, report: dict[str, Any]) -> str:
    """The scores of rows by their length, from what ``lmu-hf evaluate --by_length`` wrote."""
    lengths = report["by_length"]
    metrics = [metric for metric in lengths["groups"][0]["scores"] if metric != "loss"]
    rows = []
    for group in lengths["groups"]:
        words = " to ".join(dict.fromkeys(f"{length:,}" for length in group["length"]))
        scores = [show(metric, group["scores"][metric]) for metric in metrics]
        rows.append([words, f"{group['rows']:,}", *scores])
    header = [text(lengths["unit"]), f"{text(report['split'])} rows"]
    return table([*header, *(text(metric_name(record, metric)) for metric in metrics)], rows)


def meaning(record: RunRecord) -> str:
    """A sentence that says how the scores are to be read; empty where nobody need be told."""
    found = [MEANINGS[metric] for metric in record.metrics["validation"] if metric in MEANINGS]
    return "; ".join([found[0][:1].upper() + found[0][1:], *found[1:]]) + "." if found else ""


def history_table(history: Sequence[RunRecord]) -> str:
    """The scores of earlier pushes, the oldest first."""
    rows = []
    for record in history:
        metric = metric_name(record, record.metric)
        scores = [
            f"{text(f'{split} {metric}')}: {show(record.metric, values[record.metric])}"
            for split, values in record.metrics.items()
        ]
        data = text(record.data["name"])
        rows.append([code(record.recipe), str(record.seed), data, total_parameters(record), "; ".join(scores)])
    return table(["recipe", "seed", "data", "parameters", "scores"], rows)


def metric_name(record: RunRecord, metric: str) -> str:
    """A score in words, with its unit."""
    if metric == "loss" and kind_of(record).name.endswith("classification"):
        return "loss"
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def show(metric: str, value: float) -> str:
    """A score in four significant digits, of a fraction as a percentage."""
    shown = 100 * value if METRIC_NAMES.get(metric, "").endswith("%") else value
    return digits(shown)


def total_parameters(record: RunRecord) -> str:
    """How many there are, with commas."""
    return f"{record.parameters['total']:,}"


def _spread(group: Sequence[RunRecord], split: str, metric: str) -> str:
    # A run that left the test unread has no score of it, and no part in its mean.
    values = [record.metrics[split][metric] for record in group if metric in record.metrics.get(split, {})]
    if not values:
        return ""
    several = f" ({show(metric, min(values))} to {show(metric, max(values))})" if len(values) > 1 else ""
    return f"{show(metric, statistics.mean(values))}{several}"
