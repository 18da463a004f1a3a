"""The recipe for somebody's own texts: every value follows from the rows, with its reason.

The rule is what experiments on validation folds gave (docs/log.md). A recipe made for a benchmark is never the default
for a file.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...data.label_rules import SINGLE
from ...shipped import bare_name
from .base import Recipe, recipe
from .fine_tuned import MODEL, batch_of, fine_tuning, minutes_needed, pieces_per_word, suits

if TYPE_CHECKING:  # recipes are listed by commands that need nothing of this
    from transformers import PreTrainedTokenizerBase

    from ...data.labels import LabelledText

KIND = "classification"
MINUTES = 5.0  # of two cores; what a plain command may take
MEASURED = 20_000  # rows that are measured at most: more change no percentile
LONGEST_ROW, SHORTEST_ROW = 1024, 8  # tokens
LONG_ROW = 100
MOST_WORDS = 30_000
# Operations a second, forwards and backwards, that training gets out of one core: measured on short rows, with room.
SPEED = 1.5e10
MOST_FITTED = 10_000_000  # tokens to which a linear model is fitted
FEW = 1000
FEW_TO_CHOOSE = 10_000  # rows of which a tenth is too few to choose among epochs: its best one was the first
OF_THE_BODY = (
    *("block_type", "num_hidden_layers", "encoder", "hidden_act"),
    *("embedding_size", "hidden_size", "theta", "order"),
)
PLAIN = ("max_length", "vocab_size", "token_dropout")  # options that a record names
PREPARED = 0.25  # of the budget goes to reading, votes, the linear models beside and evaluations
# Why, where that is the same for all rows: what the number is, and what speaks for it. Experiments: docs/log.md.
WHY = {
    "embedding_size": f"numbers for each word; 64 below {FEW:,} training rows, 128 from there on",
    "theta": "words that the memory looks back over; a longer look back gave no better scores where it was tried",
    "hidden_size": "numbers that the memory is read into; twice those of a word (embedding_size)",
    "embedding_dropout": "share of a word's numbers left out in training, so that the model overfits less",
    "batch_size": "rows in a training step; the fewer rows, the smaller, so that there are enough steps",
    "eval_steps": "one validation, at the end: with few rows the best of several epochs is mostly chance",
    "refit": "after validation the model is trained once more, on all rows: those held out for it are many among few",
    "token_dropout": "share of words hidden in training, so that the model copes with words it has never seen",
    "pooling": "each text of a pair is read by itself, and both are compared",
}
VOTES = {  # by whether rows are few
    True: "words and pairs of words are weighed by a linear model, in seconds; the memory is added to what it says",
    False: "words and pairs of words are counted and weighed in training; the memory is added to what they say",
}
VOTES_OF_PAIRS = (
    "words and pairs of words are weighed by a linear model, by which of both texts hold them; the memory is added"
)


@dataclass(frozen=True)
class Measured:
    """What the rule asks of the training rows.

    Args:
        rows: how many there are.
        classes: how many classes; 0 where a number is to be predicted.
        words: how many different words are seen.
        longest: tokens of the longest row, of a pair in both texts.
        percentile: tokens that 99 of 100 rows stay within, of a pair in both texts.
        median: tokens of a row in the middle, of a pair in its longer text.
        pairs: a row holds two texts.
        held_out: rows are held out of them to validate on.
        pieces: tokens of a word, by a tokenizer that is given.
        step_seconds: what a training step of a pre-trained model takes on this machine; 0 if it was not timed.
    """

    rows: int
    classes: int
    words: int
    longest: int
    percentile: int
    median: int
    pairs: bool = False
    held_out: bool = False
    pieces: float = 1.0
    step_seconds: float = 0.0

    @property
    def batch(self) -> tuple[int, int]:
        """Rows of such a step, and tokens of a row on the whole."""
        return batch_of(self.rows) * (2 if self.pairs else 1), max(1, round(1.2 * self.median * self.pieces))


@dataclass(frozen=True)
class Made:
    """A recipe that rows have made.

    Args:
        recipe: the recipe.
        options: of the task: how texts become rows of tokens.
        reasons: of each value that was decided, a few words.
    """

    recipe: Recipe
    options: dict[str, Any]
    reasons: dict[str, str]


@recipe
def own_text() -> Recipe:
    """Rows of your own: the default where a file or a data set is named. What the rows decide is printed. No record.

    Cost: at most five minutes of two cores, or ``--minutes``.
    Source: made up here; Wang and Manning (2012) for the votes of n-grams.
    """
    return Recipe(
        name="own-text",
        kind=KIND,
        architecture={
            "block_type": "lmu",
            "num_hidden_layers": 1,
            "encoder": "identity",
            "hidden_act": "relu",
            "pooling": "mean_max",
        },
        data={"made_by_rows": True},
        learning_rate=2e-3,
        weight_decay=0.05,
        averaging=0.99,
        max_grad_norm=1.0,
    )


def measure(texts: Sequence[Iterable[str]], classes: int) -> Measured:
    """Measure training rows: words as the tokenizer of words takes them, and one more token for where a text begins.

    Args:
        texts: those of all rows, or, of pairs, the first and the second ones.
        classes: how many classes there are.
    """
    import numpy as np

    from ...tokenization_lmu import WORD_PATTERN

    counts: Counter[str] = Counter()
    columns, rows = [], 0
    for column in texts:
        lengths: list[int] = []
        for rows, text in enumerate(column, start=1):
            if rows <= MEASURED:
                words = re.findall(WORD_PATTERN, text.lower())
                counts.update(words)
                lengths.append(len(words) + 1)
        columns.append(lengths)
    whole = np.sum(columns, axis=0)  # a tokenizer counts, and cuts, both texts of a pair together
    return Measured(
        rows=rows,
        classes=classes,
        words=len(counts),
        longest=int(whole.max()),
        percentile=int(np.ceil(np.percentile(whole, 99))),
        median=int(np.median(np.max(columns, axis=0))),
        pairs=len(texts) > 1,
    )


def make_recipe(of: Measured, minutes: float = MINUTES) -> Made:
    """The recipe that rows make.

    Args:
        of: the rows.
        minutes: the budget, of two cores.
    """
    reasons: dict[str, str] = {}

    def say(name: str, value: Any, why: str = "") -> Any:
        reasons[name] = why or WHY[name]
        return value

    length = say("max_length", *_length(of))
    words = say("vocab_size", min(MOST_WORDS, of.words + 4), f"{of.words:,} different words in the training rows")
    small = of.rows < FEW
    width = say("embedding_size", 64 if small else 128)
    window = say("theta", 3)
    hidden = say("hidden_size", 2 * width)
    dropout = say("embedding_dropout", 0.3)
    batch = say("batch_size", _batch(of.rows))
    cost = 3 * 2 * of.rows * min(of.median * 1.2, length) * (width * window) * hidden
    epochs = say("epochs", *_epochs(of, cost, minutes))
    architecture = {
        "embedding_size": width,
        "hidden_size": hidden,
        "theta": window,
        "order": window,
        "embedding_dropout": dropout,
        "classifier_dropout": 0.5,
    }
    few = of.rows * of.median <= MOST_FITTED
    if of.pairs:
        reasons["pooling"] = WHY["pooling"]
    if few or not of.pairs:
        # Four buckets for each token's n-gram: few share one.
        buckets = 2 ** min(18, max(12, math.ceil(math.log2(4 * of.rows * of.median))))
        normed = few and of.classes > 0
        architecture["votes"] = {"sizes": [1, 2], "buckets": buckets, "trained": not few, "normed": normed}
        reasons["votes"] = VOTES_OF_PAIRS if of.pairs else VOTES[few]
    base = own_text()
    made = replace(base, architecture=base.architecture | architecture, epochs=epochs, batch_size=batch)
    if of.rows < FEW_TO_CHOOSE:
        steps = epochs * -(-of.rows // batch)
        made = replace(made, eval_steps=say("eval_steps", steps))
    if _refits(of):
        made = replace(made, refit=say("refit", True))
    share = float(f"{_share(of) * minutes:.6g}")
    made = replace(made, minutes=say("minutes", share, why_minutes(minutes, made.refit)))
    options = {"max_length": length, "vocab_size": words, "token_dropout": 0.1}
    reasons["token_dropout"] = WHY["token_dropout"]
    if of.classes:
        made = replace(made, label_smoothing=0.1)
    return Made(made, options, reasons)


def _length(of: Measured) -> tuple[int, str]:
    """Tokens of a row, and why."""
    if of.longest <= max(SHORTEST_ROW, min(LONGEST_ROW, 1.25 * of.percentile)):
        return max(SHORTEST_ROW, of.longest), f"the longest row has {of.longest} tokens: nothing is cut"
    length = min(LONGEST_ROW, max(SHORTEST_ROW, of.percentile))
    return length, f"99 of 100 rows have at most {of.percentile} tokens, the longest has {of.longest}"


def _batch(rows: int) -> int:
    return next((batch for most, batch in ((2000, 16), (20_000, 32), (100_000, 64)) if rows <= most), 128)


def _epochs(of: Measured, cost: float, minutes: float) -> tuple[int, str]:
    """Passes over the rows, and why.

    Args:
        of: the rows.
        cost: operations of one epoch.
        minutes: the budget.
    """
    wanted = next((n for most, n in ((500, 15), (2000, 8), (20_000, 6), (100_000, 4)) if of.rows <= most), 2)
    if long := of.median > LONG_ROW:
        wanted = min(wanted, 5)  # a long row has many windows in each pass
    most = int(_share(of) * 60 * minutes * SPEED / cost)
    return passes(f"{of.rows:,}{' long' if long else ''} rows", wanted, most, minutes)


def why_minutes(minutes: float, refit: bool = False) -> str:
    """Where a budget goes.

    Args:
        minutes: the budget.
        refit: the model is trained a second time.
    """
    twice = "training once more, " if refit else ""
    return f"for training, of {minutes:g} in all (--minutes); the rest goes to {twice}reading and scoring"


def passes(over: str, wanted: int, most: int, minutes: float) -> tuple[int, str]:
    """How many passes training begins with, and why. The clock, not the estimate, ends it.

    Args:
        over: what is passed over.
        wanted: what would teach enough.
        most: what the budget allows, as it is estimated.
        minutes: the budget.
    """
    if most < wanted:
        epochs = max(1, most)
        return epochs, f"passes over {over}; {minutes:g} minutes allow about {epochs} of {wanted} (--minutes)"
    return wanted, f"passes over {over}, or as many as {minutes:g} minutes allow (--minutes)"


def _share(of: Measured) -> float:
    """The part of the budget that the first training may take."""
    return (1 - PREPARED) / (2 if _refits(of) else 1)


def _refits(of: Measured) -> bool:
    return of.held_out and of.rows < FEW_TO_CHOOSE


def measure_rows(rows: "LabelledText", tokenizer: "PreTrainedTokenizerBase | None" = None) -> Measured:
    """Measure the training rows of labelled text.

    Args:
        rows: the labelled text.
        tokenizer: whose tokens are counted, too.
    """
    train = rows.splits["train"]
    columns = [train[name] for name in ("text", "text_pair") if name in train.column_names]
    pieces = 1.0 if tokenizer is None else pieces_per_word(columns[0], tokenizer)
    return replace(measure(columns, len(rows.labels or ())), held_out=rows.held_out, pieces=pieces)


def goes_on(rows: "LabelledText", of: Measured) -> bool:
    """Whether rows are like those that gained by a pre-trained model: few, English, of one class each.

    Pairs, numbers to predict and several classes a row were not tried.

    Args:
        rows: the labelled text.
        of: its measures, by the tokenizer of that model.
    """
    return not rows.pairs and rows.job.problem_type == SINGLE and suits(of.rows, of.pieces)


def lacks_minutes(of: Measured, minutes: float = MINUTES) -> float:
    """The budget that a pre-trained model would need to go on, if it is more than this one; else 0.

    Args:
        of: the rows, with the time of a step.
        minutes: the budget.
    """
    needed = minutes_needed(of.rows, of.step_seconds) / (1 - PREPARED)
    return needed if needed > minutes else 0.0


def recipe_for(rows: "LabelledText", minutes: float = MINUTES, measured: Measured | None = None, **given: Any) -> Made:
    """The recipe that labelled rows make.

    Args:
        rows: its training rows are measured.
        minutes: the budget.
        measured: what they measure, if that is known already; of a pre-trained model with the time of a step.
        given: options of the task that stand whatever the rows say, as flags do. A tokenizer or a pre-trained model
            among them decides the vocabulary; a model, all but the head.
    """
    from ...tokenization_lmu import token_bytes

    measured = measured or measure_rows(rows, given.get("tokenizer"))
    made = make_recipe(measured, minutes)
    options, reasons, recipe = {**made.options}, {**made.reasons}, made.recipe
    if "tokenizer" in given:
        del options["vocab_size"], reasons["vocab_size"]
        # Some rows have more pieces a word than others.
        options["max_length"] = math.ceil(1.2 * measured.pieces * options["max_length"])
        reasons["max_length"] += f"; times {measured.pieces:.3g} tokens a word, and a fifth more"
        if votes := recipe.architecture.get("votes"):  # of words all the same, where tokens are pieces of them
            of_words = not (votes["trained"] or measured.pairs) and token_bytes(given["tokenizer"]) is not None
            recipe = replace(recipe, architecture=recipe.architecture | {"votes": votes | {"words": of_words}})
    if given.get("model_name_or_path") is not None:
        how = fine_tuning(measured.rows, measured.step_seconds, (1 - PREPARED) * minutes, _refits(measured))
        architecture = {field: value for field, value in recipe.architecture.items() if field not in OF_THE_BODY}
        recipe = replace(recipe, **how.changes, architecture=architecture | how.architecture)
        reasons = {name: why for name, why in reasons.items() if name not in OF_THE_BODY} | how.reasons
        reasons["minutes"] = why_minutes(minutes, recipe.refit)
        if not recipe.refit:  # there is no time for it
            reasons.pop("refit", None)
    for name in given.keys() & options.keys():
        reasons[name] = "given"
    options |= given
    plain = {name: options[name] for name in PLAIN if name in options}
    if (model := options.get("model_name_or_path")) is not None:
        plain["model_name_or_path"] = bare_name(model)
        if bare_name(model) != MODEL:
            reasons["model_name_or_path"] = "given"
    return Made(replace(recipe, data=plain), options, reasons)


def explain(recipe: Recipe, reasons: dict[str, str]) -> str:
    """A recipe that rows have made, for the console: each value and why, a line each."""
    values = {**recipe.architecture, **recipe.data, **recipe.hyperparameters()}
    lines = [f"  {name} {_short(values[name])}: {why}" for name, why in reasons.items() if name in values]
    return "\n".join(["recipe made by the rows (each has a flag, or --config_overrides):", *lines])


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and "rotation" in value:
        return f"of up to {value['rotation']:g} degrees"
    if isinstance(value, dict):
        of = "of" if "width" in value else "of n-grams of"  # a vector each, or votes
        return f"{of} {', '.join(map(str, value['sizes']))}" if "sizes" in value else "given"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
