"""What not to expect of a model, with numbers: chance, the weakest class, the worst length, what is cut off."""

import math
from typing import Any

from ..common.record import RunRecord
from .kinds import kind_of
from .markup import code, text
from .results import metric_name, show, split_of_details

SURE = 1.96  # standard deviations of a normal distribution on each side that hold 95 % of it


def limits_of(record: RunRecord, lengths: dict[str, Any] | None = None) -> list[str]:
    """A sentence for each limit that the record says something of, and those of its kind.

    Args:
        record: of the run.
        lengths: what ``lmu-hf evaluate --by_length`` wrote of it, if anything.
    """
    found = [_chance(record), _weakest_class(record), _worst_length(record, lengths), _longest(record)]
    return [*filter(None, found), *kind_of(record).limits]


def _chance(record: RunRecord) -> str:
    """How far an accuracy may lie from that of many more rows."""
    split = "test" if "test" in record.metrics else "validation"
    rows = record.data.get("rows", {}).get(split, 0)
    if record.metric != "accuracy" or not rows:
        return ""
    score = record.metrics[split]["accuracy"]
    # Wilson's interval: it has a width where not one answer was wrong, too.
    half = 100 * SURE * math.sqrt(score * (1 - score) / rows + (SURE / (2 * rows)) ** 2) / (1 + SURE**2 / rows)
    return (
        f"The accuracy was measured on {rows:,} {split} rows: with other rows of the same kind, 95 % of such figures "
        f"lie within {half:#.2g} points of it."
    )


def _weakest_class(record: RunRecord) -> str:
    if (split := split_of_details(record, "classes")) is None:
        return ""
    classes = record.details[split]["classes"]
    name = min(classes, key=lambda name: classes[name]["f1"])
    row = classes[name]
    return (
        f"Its weakest class is {code(name)}: {show('f1', row['recall'])} % of its {row['support']:,} {text(split)} "
        f"rows are found, and {show('f1', row['precision'])} % of what is called so is right."
    )


def _worst_length(record: RunRecord, lengths: dict[str, Any] | None) -> str:
    if lengths is None:
        return ""
    groups, metric = lengths["by_length"]["groups"], record.metric
    lower_is_better = metric in ("bits_per_character", "nrmse", "mase", "loss", "mae", "rmse", "mse")
    worst = (max if lower_is_better else min)(groups, key=lambda group: group["scores"][metric])
    words = " to ".join(dict.fromkeys(f"{length:,}" for length in worst["length"]))
    scored = f"{text(metric_name(record, metric))} {show(metric, worst['scores'][metric])}"
    return f"It does worst at {words} {text(lengths['by_length']['unit'])}: {scored}."


def _longest(record: RunRecord) -> str:
    longest = record.data.get("max_length")
    if not isinstance(longest, int):
        return ""
    return f"In training, a text was cut after {longest:,} tokens: of what stands behind, nothing was learnt."
