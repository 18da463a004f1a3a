"""The table of a search's trials: as a file, and for the console."""

import csv
from collections.abc import Iterable
from pathlib import Path

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ..common.staging import written_whole

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}
SHOWN = 20  # rows on the console; the file holds them all


def row_of(trial: FrozenTrial, metric: str, fields: Iterable[str]) -> dict[str, str]:
    """What is to be known of a trial, by column.

    Args:
        trial: one that has ended, or is running.
        metric: the validation score that decides.
        fields: that are searched.
    """
    settings = trial.user_attrs.get("settings", {})  # a process that was killed may have left none
    return {
        "trial": str(trial.number),
        "state": STATES.get(trial.state, "running"),
        f"validation {metric}": "" if trial.state != TrialState.COMPLETE else f"{trial.value:.6g}",
        "seconds": str(trial.user_attrs.get("seconds", "")),
        **{field: settings.get(field, "") for field in fields},
        "why": trial.user_attrs.get("why", "ended from outside" if trial.state == TrialState.FAIL else ""),
    }


def say_trial(trial: FrozenTrial, metric: str) -> str:
    """One line of what came of a trial."""
    row = row_of(trial, metric, ())
    came = f"validation {metric} {row[f'validation {metric}']}" if row["state"] == "complete" else row["why"]
    settings = ", ".join(f"{name} {word}" for name, word in trial.user_attrs["settings"].items())
    return f"trial {trial.number}: {came}; {row['seconds']} s; {settings}"


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    """Write the trials as CSV, whole or not at all."""
    with written_whole(path) as staged, staged.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def plain_table(rows: list[dict[str, str]], direction: StudyDirection) -> str:
    """The trials as lines of text, the best one first; those without a score come last, in order."""
    (score,) = (name for name in rows[0] if name.startswith("validation "))
    sign = 1 if direction == StudyDirection.MINIMIZE else -1
    ranked = sorted(rows, key=lambda row: (not row[score], sign * float(row[score] or 0)))
    names = [name for name in rows[0] if name != "why"]  # a sentence, which the file has
    lines = [names, *([row[name] for name in names] for row in ranked[:SHOWN])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(f"{word:>{width}}" for word, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([*text, *([f"… {len(rows) - SHOWN} more in the file"] if len(rows) > SHOWN else [])])
