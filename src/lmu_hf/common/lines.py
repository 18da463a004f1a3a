"""Whether a run beats the lines that take seconds: for the console and the card."""

import math

from .record import RunRecord

LOWER_IS_BETTER = ("loss", "mae", "rmse", "nrmse", "mse", "mase", "bits_per_character", "bits_per_token", "perplexity")
READ_ON = "a model that has read before (--model_name_or_path; lmu-small-en has read English, in lower case)"
# By the recipe of a record, or else by its task, what may help a model; each flag is one that its verb has.
WHAT_TO_TRY = {
    "own-lm": f"more text, more time (--minutes) or {READ_ON}",
    "text-generation": f"more text, more passes over it (--num_train_epochs) or {READ_ON}",
    "audio-classification": "more sounds, or more passes over them (--num_train_epochs)",
    "image-classification": "more pictures, or another --image_size",
    "text-classification": "more rows, or a pre-trained model (--model_name_or_path)",
    "token-classification": "more rows, or a pre-trained model (--model_name_or_path)",
    "translation": "more pairs, or more time for the recipe that they make (--minutes)",
}
ELSE_TO_TRY = "more rows, or more passes over them (--num_train_epochs)"

CLEAR = 2.0  # standard errors of a difference; chance alone exceeds them once in twenty times


def digits(value: float) -> str:
    """A number in four significant digits; those before the point are never left out."""
    return f"{value:,.0f}" if abs(value) >= 999.95 else f"{value:#.4g}"


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


def standard_error(metric: str, score: float, rows: int) -> float:
    """By how much a score on so many rows, drawn anew, would differ: one standard deviation, nearly.

    Of bits per character the rows are characters. A share of rows that are right is binomial, which is close for F1,
    too. Errors are taken to be normal, and a correlation's is Fisher's.
    """
    if metric == "bits_per_character":  # the lengths of codes spread about as widely as they are long
        return score / math.sqrt(rows)
    if metric == "mae":
        return score * math.sqrt((math.pi / 2 - 1) / rows)
    if metric in ("rmse", "nrmse"):
        return score / math.sqrt(2 * rows)
    if metric == "mse":
        return score * math.sqrt(2 / rows)
    if metric == "r2":
        return (1 - score) * math.sqrt(2 / rows)
    if metric in ("pearson", "spearmanr", "matthews_correlation"):
        return (1 - score**2) / math.sqrt(rows)
    if metric in ("bleu", "chrf"):  # per cent; single sentences vary less than right and wrong do, so this is too large
        return 100 * standard_error("accuracy", score / 100, rows)
    return math.sqrt(max(0.0, score * (1 - score)) / rows)


def is_clear(metric: str, score: float, other: float, rows: int) -> bool:
    """Whether two scores on so many rows differ by more than two standard errors of their difference.

    Errors are taken to be independent. On the same rows they are alike in part, so that this calls too little clear
    rather than too much.
    """
    errors = (standard_error(metric, some, rows) for some in (score, other))
    return abs(score - other) > CLEAR * math.hypot(*errors)


def verdict(record: RunRecord) -> str:
    """One sentence where a line beats the model: what to try, or that it may be chance; empty where none does."""
    if (best := better_line(record)) is None:
        return ""
    split, metric = compared_split(record), record.metric
    score, other = record.metrics[split][metric], record.lines[best][split][metric]
    unit = "characters" if metric == "bits_per_character" else "rows"
    amount = record.data[unit][split]
    if not is_clear(metric, score, other, amount):
        return f"{best} scores better on {split}, but there is no clear difference on {amount:,} {unit}"
    tried = WHAT_TO_TRY.get(record.task, ELSE_TO_TRY)
    hint = WHAT_TO_TRY.get(record.baseline_of or record.recipe, tried)
    # What predicts a text better need not be able to write one.
    use = "it is the one to use on these rows; " if unit == "rows" else ""
    return f"{best} is better on {split}: {use}{hint} may turn that round"
