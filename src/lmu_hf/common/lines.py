"""Whether a run beats the lines that take seconds: for the console and the card."""

from .record import RunRecord

LOWER_IS_BETTER = ("loss", "mae", "rmse", "nrmse")
WHAT_TO_TRY = (
    "it is the one to use on these rows; more rows, or a pre-trained model (--model_name_or_path), may turn that round"
)


def compared_split(record: RunRecord) -> str:
    """The split on which a run is held against its lines: the test where it has been read."""
    return "test" if "test" in record.metrics else "validation"


def better_line(record: RunRecord) -> str | None:
    """The line that beats a run's model, by the score that chooses weights; None if none does."""
    split, metric = compared_split(record), record.metric
    score = record.metrics.get(split, {}).get(metric)
    rivals = {name: scores[split][metric] for name, scores in record.lines.items() if metric in scores.get(split, {})}
    if score is None or not rivals:
        return None
    sign = -1 if metric in LOWER_IS_BETTER else 1
    best = max(rivals, key=lambda name: sign * rivals[name])
    return best if sign * rivals[best] > sign * score else None


def verdict(record: RunRecord) -> str:
    """One sentence where a line beats the model, and what to try; empty where none does."""
    best = better_line(record)
    return "" if best is None else f"{best} is better on {compared_split(record)}: {WHAT_TO_TRY}"
