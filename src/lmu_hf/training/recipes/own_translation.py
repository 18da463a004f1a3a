"""The recipe for somebody's own pairs of sentences: every value follows from the pairs, with its reason."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .base import Recipe, recipe
from .own import Made, why_minutes
from .translation import TRANSLATOR

KIND = "translation"
MINUTES = 10.0  # of two cores; what a plain command may take
PREPARED = 0.25  # of the budget goes to reading, the lines beside and the final search
MEASURED = 20_000  # pairs whose tokens are counted at most: more change no percentile
LEAST_TOKENS, MOST_TOKENS, STEP = 300, 8000, 50  # of the vocabulary; 259 of them are bytes and special tokens
BYTES_PER_TOKEN = 1400  # of training text, so that most tokens are seen often enough to be learnt
SHORTEST, LONGEST = 16, 256  # tokens of a sentence
NEIGHBOURS = 4  # tokens that the shorter of two windows looks back over
SHORTEST_WINDOW, LONGEST_WINDOW = 12, 128  # the other one
CHANNELS = {64: 48, 128: 64, 256: 160}  # of the memory, by the width of a block
ENOUGH = {64: 0, 128: 1000, 256: 20_000}  # pairs from which on a width is tried
FEWEST_EPOCHS = 4  # that must fit into the minutes for a width above the smallest
OUTLIER = 2  # times as long as 99 of 100 pairs: such sentences are cut. Others cost little, among those of their length
FEW = 5000  # pairs below which more is dropped out
PAIRS_READ = 300_000  # passes are as many as make so many pairs
MOST_EPOCHS, LEAST_EPOCHS = 100, 3
EVALUATIONS = 4  # on the way: each translates the validation split
# Operations a second, forwards and backwards, that training gets out of two cores: measured on captions.
SPEED = 4e10
WHY = {
    "hidden_size": "width of a block; the more pairs, and the more minutes for them, the wider",
    "memory_channels": "numbers that a block writes to its memory; they follow from the width",
    "theta": f"tokens that each half of a block's channels looks back over: {NEIGHBOURS} neighbours, and three times a "
    "median sentence",
    "embedding_dropout": f"share of a token's numbers left out in training; more below {FEW:,} pairs, which overfit",
    "hidden_dropout": f"share of a block's output left out in training; more below {FEW:,} pairs",
    "residual_initializer_scale": "blocks begin small, so that attention finds words from the first steps on",
    "optimizer": "Muon for the matrices of the blocks, AdamW for the rest: attention is found in half the steps",
    "batch_size": "pairs in a training step; the fewer pairs, the smaller, so that there are enough steps",
    "eval_steps": f"steps between evaluations: about {EVALUATIONS} in all, since each translates the validation split",
}


@dataclass(frozen=True)
class Measured:
    """What the rule asks of the training pairs.

    Args:
        rows: how many there are.
        words: how many different words both languages have.
        size: bytes of text on both sides.
    """

    rows: int
    words: int
    size: int


@dataclass(frozen=True)
class Lengths:
    """Tokens of the training pairs.

    Args:
        median: of a sentence in the middle.
        percentile: that 99 of 100 pairs stay within on both sides.
        longest: of the longest sentence.
        mean: of a sentence on the whole.
    """

    median: int
    percentile: int
    longest: int
    mean: float


@recipe
def own_translation() -> Recipe:
    """Pairs of your own: the default where a file or a data set is named. What the pairs decide is printed. No record.

    Cost: at most ten minutes of two cores, or ``--minutes``.
    Source: made up here; Muon by Jordan et al. (2024), byte pairs by Sennrich et al. (2016).
    """
    return Recipe(
        name="own-translation",
        kind=KIND,
        architecture=TRANSLATOR
        | {
            "hidden_size": 128,
            "intermediate_size": 256,
            "theta": [[4, 48], [4, 48]],
            "memory_channels": 64,
            "norm": "layer",
            "residual_initializer_scale": 0.05,
            "initializer_range": 0.09,
        },
        data={"source_lang": "en", "target_lang": "de", "made_by_rows": True},
        optimizer="muon",
        learning_rate=2e-3,
        max_grad_norm=1.0,
    )


def measure(pairs: Sequence[tuple[str, str]]) -> Measured:
    """Measure training pairs."""
    from ...tokenization_lmu import WORD_PATTERN

    words: set[str] = set()
    size = 0
    for pair in pairs:
        for text in pair:
            words.update(re.findall(WORD_PATTERN, text))
            size += len(text.encode())
    return Measured(len(pairs), len(words), size)


def vocabulary(of: Measured) -> tuple[int, str]:
    """How many byte pairs the text of the training pairs supports, and why."""
    supported = min(of.size / BYTES_PER_TOKEN, of.words) + LEAST_TOKENS
    size = max(LEAST_TOKENS, min(MOST_TOKENS, STEP * int(supported / STEP)))
    return size, f"byte pairs of both languages, at most: {of.size:,} bytes of text with {of.words:,} different words"


def lengths_of(tokens: Sequence[tuple[int, int]]) -> Lengths:
    """The lengths of pairs.

    Args:
        tokens: of the source and the target of each.
    """
    import numpy as np

    counts = np.array(tokens)
    longer = counts.max(1)
    return Lengths(
        median=int(np.median(counts)),
        percentile=int(np.ceil(np.percentile(longer, 99))),
        longest=int(longer.max()),
        mean=float(counts.mean()),
    )


def make_recipe(of: Measured, lengths: Lengths, vocab_size: int, minutes: float = MINUTES) -> Made:
    """The recipe that pairs make.

    Args:
        of: the pairs.
        lengths: their tokens.
        vocab_size: of the tokenizer that made these.
        minutes: the budget, of two cores.
    """
    reasons: dict[str, str] = {}

    def say(name: str, value: Any, why: str = "") -> Any:
        reasons[name] = why or WHY[name]
        return value

    length = say("max_length", *_length(lengths))
    width = say("hidden_size", _width(of.rows, lengths, vocab_size, minutes))
    few = of.rows < FEW
    window = min(LONGEST_WINDOW, max(SHORTEST_WINDOW, 3 * lengths.median))
    base = own_translation()
    architecture = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "memory_channels": say("memory_channels", CHANNELS[width]),
        "theta": say("theta", [[NEIGHBOURS, window]] * 2),
        "embedding_dropout": say("embedding_dropout", 0.2 if few else 0.1),
        "hidden_dropout": say("hidden_dropout", 0.1 if few else 0.05),
        "initializer_range": round(1 / math.sqrt(width), 3),  # so that tied logits begin near 1
    }
    say("residual_initializer_scale", None)
    say("optimizer", None)
    epochs = min(MOST_EPOCHS, max(LEAST_EPOCHS, PAIRS_READ // of.rows))
    say("epochs", None, f"passes over {of.rows:,} pairs, or as many as {minutes:g} minutes allow (--minutes)")
    batch = say("batch_size", next((size for most, size in ((1000, 16), (10_000, 32)) if of.rows <= most), 64))
    # The clock, not this estimate, ends training.
    steps = min(epochs, _affordable(of.rows, lengths, vocab_size, width, minutes)) * -(-of.rows // batch)
    share = float(f"{(1 - PREPARED) * minutes:.6g}")
    made = replace(
        base,
        architecture=base.architecture | architecture,
        data={"vocab_size": vocab_size, "max_length": length},
        epochs=epochs,
        batch_size=batch,
        # The average reaches over a twentieth of the run, however long that is.
        averaging=round(min(0.999, 1 - 20 / max(200, steps)), 4),
        eval_steps=say("eval_steps", max(1, math.ceil(steps / EVALUATIONS))),
        minutes=say("minutes", share, why_minutes(minutes)),
    )
    return Made(made, dict(made.data), reasons)


def _length(of: Lengths) -> tuple[int, str]:
    """Tokens of a sentence beyond which it is cut, and why."""
    if of.longest <= min(LONGEST, OUTLIER * of.percentile):
        # Sentences to be translated later may be a little longer.
        length = max(SHORTEST, math.ceil(1.2 * of.longest))
        return length, f"the longest sentence has {of.longest} tokens: nothing is cut, and a fifth more is allowed"
    length = min(LONGEST, max(SHORTEST, of.percentile))
    return length, f"99 of 100 pairs have at most {of.percentile} tokens a sentence, the longest has {of.longest}"


def _width(rows: int, lengths: Lengths, vocab_size: int, minutes: float) -> int:
    """The largest width that there are pairs enough for, and minutes for some passes over them."""
    fitting = [
        width
        for width, enough in ENOUGH.items()
        if rows >= enough and _affordable(rows, lengths, vocab_size, width, minutes) >= FEWEST_EPOCHS
    ]
    return max(fitting, default=min(ENOUGH))


def _affordable(rows: int, lengths: Lengths, vocab_size: int, width: int, minutes: float) -> float:
    """Passes that the minutes allow, as it is estimated.

    Args:
        rows: pairs of a pass.
        lengths: their tokens.
        vocab_size: of the head.
        width: of the blocks.
        minutes: the budget, of two cores.
    """
    # Two blocks on either side, whose attention, memory and MLP have about 13 w·w weights each; the head is read once
    # for each token of the target.
    weights = 2 * 2 * 13 * width**2 + vocab_size * width
    cost = 3 * 2 * rows * lengths.mean * weights
    return (1 - PREPARED) * 60 * minutes * SPEED / cost
