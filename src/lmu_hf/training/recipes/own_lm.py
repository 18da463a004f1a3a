"""The recipe for a language model of somebody's own text: every value follows from it, with its reason.

The rule is what experiments on validation text gave (docs/log.md).
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .base import Recipe, recipe
from .own import Made

if TYPE_CHECKING:  # recipes are listed by commands that need nothing of this
    from ..tasks.text import TextTask

KIND = "characters"
MINUTES = 10.0  # of two cores; what a plain command may take
PREPARED = 0.2  # of the budget goes to reading, the lines beside and the last scores
# Operations a second, forwards and backwards, that training gets out of two cores without AVX-512; one was measured.
SPEED = 6e10
MOST_PASSES, MOST_READ = 12, 30_000_000  # passes over a text, and tokens that are read in all
MOST_GOING_ON = 2  # passes of a model that has read before: after more it knows the text by heart
WINDOWS = ((4, 16), (4, 16), (8, 64))  # characters; two in each block, the lowest block first
SIZES = (1, 2, 3, 4, 5, 6)  # characters of an n-gram, as far as they are two tokens
ORDER = 6
NGRAM_WIDTH = 32
CURVE = 5  # evaluations of a run at least: its curve shows how it goes
AVERAGED = 20  # the mean of weights reaches over this part of a run
# The rule's steps: tokens of the training text below which a value holds.
WIDTHS = ((50_000, 96), (300_000, 128), (2_000_000, 192), (math.inf, 240))
BUCKETS = ((50_000, 2048), (300_000, 4096), (2_000_000, 16_384), (math.inf, 32_768))
BATCHES = ((300_000, 8), (math.inf, 16))
LENGTHS = ((50_000, 128), (math.inf, 256))
# Passes up to which dropouts hold: of blocks, and of n-grams.
DROPOUTS = ((1, 0.0, 0.0), (4, 0.05, 0.25), (8, 0.1, 0.25), (math.inf, 0.2, 0.5))


@dataclass(frozen=True)
class Measured:
    """What the rule asks of the training text.

    Args:
        tokens, characters: how many it has.
        vocabulary: how many tokens there are to choose from.
        spelt: a token is a byte or a character.
    """

    tokens: int
    characters: int
    vocabulary: int = 259
    spelt: bool = True

    @property
    def stretch(self) -> float:
        """Tokens of a character, in halves: two bytes of a Greek letter, three of a Chinese sign."""
        return max(1.0, round(2 * self.tokens / self.characters) / 2) if self.spelt else 1.0


@recipe
def own_lm() -> Recipe:
    """Text of your own: the default where a file or a data set is named. What it decides is printed. No record.

    Cost: at most ten minutes of two cores, or ``--minutes``.
    Source: blocks of Chilkuri and Eliasmith, arXiv 2102.11417; n-grams by hash as in Pagnoni et al., arXiv 2412.09871.
    """
    return Recipe(
        name="own-lm",
        kind=KIND,
        architecture={
            "num_hidden_layers": len(WINDOWS),
            "order": ORDER,
            "theta": [list(pair) for pair in WINDOWS],
            "basis": "orthonormal",
            "norm": "layer",
        },
        # In every pass windows begin elsewhere.
        data={"made_by_rows": True, "shifted": True},
        learning_rate=8e-3,
        weight_decay=0.1,
        warmup=0.05,
        max_grad_norm=1.0,
    )


def make_recipe(of: Measured, minutes: float = MINUTES, length: int | None = None) -> Made:
    """The recipe of a new model that a text makes.

    Args:
        of: the text.
        minutes: the budget, of two cores.
        length: tokens of a training window, if they are given.
    """
    base, width = own_lm(), _below(WIDTHS, of.tokens)
    allowed = 60 * (1 - PREPARED) * minutes * SPEED / (cost(width, of.vocabulary) * of.tokens)
    passes = min(allowed, _passes_wanted(of.tokens))
    hidden, ngrams = next((ours, theirs) for most, ours, theirs in DROPOUTS if passes <= most)
    architecture = base.architecture | {
        "hidden_size": width,
        "memory_channels": width // 4,
        "theta": [[round(of.stretch * window) for window in pair] for pair in WINDOWS],
        "hidden_dropout": hidden,
        "ngrams": _ngrams(of) | {"dropout": ngrams},
    }
    if not of.spelt:  # a head of its own would have as many weights as the embeddings
        architecture |= {"tie_word_embeddings": True, "initializer_range": 0.07, "residual_initializer_scale": 0.05}
    made = replace(
        _paced(of, passes, minutes, length), architecture=architecture, lstm={"hidden_size": lstm_width(width)}
    )
    times = "not even once" if passes < 1 else "once" if passes < 2 else f"about {passes:.0f} times"
    longer = f"; a character of this text has about {of.stretch:g}" if of.stretch > 1 else ""
    reasons = {
        "hidden_size": "numbers that a block gives out; the more text there is, the wider",
        "theta": f"tokens that the two halves of a block's channels look back over{longer}",
        "ngrams": "tokens in a row, each of which has numbers that are looked up, and so cost little time",
        "hidden_dropout": f"share of a block's output left out in training: the text is read {times}",
    }
    return _made(made, of, reasons, minutes, allowed)


def go_on(of: Measured, minutes: float = MINUTES, length: int | None = None) -> Made:
    """The recipe of a saved model that goes on: its body stays as it is, and what a step takes is not known.

    Args:
        of: the text, in that model's tokens.
        minutes: the budget, of two cores.
        length: tokens of a training window, if they are given.
    """
    passes = min(MOST_GOING_ON, _passes_wanted(of.tokens))
    made = replace(_paced(of, passes, minutes, length), architecture={}, learning_rate=1e-3, averaging=0.99)
    return _made(made, of, {}, minutes)


def _paced(of: Measured, passes: float, minutes: float, length: int | None) -> Recipe:
    """The recipe with windows, steps and what depends on their number.

    Args:
        of: the text.
        passes: over it, nearly.
        minutes: the budget.
        length: tokens of a window; None for the rule's.
    """
    length, batch = length or _below(LENGTHS, of.tokens), _below(BATCHES, of.tokens)
    steps = max(1, round(passes * of.tokens / (length * batch)))
    return replace(
        own_lm(),
        data={"sequence_length": length, "shifted": True},
        batch_size=batch,
        epochs=math.ceil(passes),
        eval_steps=None if passes >= CURVE else -(-steps // CURVE),
        averaging=round(max(0.9, min(0.999, 1 - AVERAGED / steps)), 4),
        minutes=float(f"{(1 - PREPARED) * minutes:.6g}"),
    )


def _made(made: Recipe, of: Measured, reasons: dict[str, str], minutes: float, allowed: float = math.inf) -> Made:
    """A recipe with its options and the reasons for all that was decided.

    Args:
        made: the recipe.
        of: the text.
        reasons: for its architecture; none where that is a saved model's.
        minutes: the budget.
        allowed: passes over the text for which that is enough, nearly.
    """
    wanted, over = _passes_wanted(of.tokens), f"passes over {of.characters:,} characters"
    budget = f", or as many as {minutes:g} minutes allow"
    if allowed < wanted:
        budget = f"; {minutes:g} minutes allow about {allowed:.2g} of {wanted}"
    paced = {
        "learning_rate": "the peak, from which it falls to nothing"
        + ("" if reasons else "; the model has read before"),
        "sequence_length": "tokens of a training window (--block_size)",
        "batch_size": "windows in a training step; the less text, the fewer, so that there are enough steps",
        "epochs": f"{over}{budget} (--minutes); the weights that validate best are kept",
        "averaging": "share of the mean of weights that each step keeps; the mean is what is kept in the end",
        "minutes": f"for training, of {minutes:g} in all (--minutes); the rest goes to reading and scoring",
    }
    return Made(made, dict(made.data), reasons | paced)


def _ngrams(of: Measured) -> dict[str, Any]:
    """Lengths of n-grams, and tables for them."""
    sizes = sorted({round(of.stretch * size) for size in SIZES} - {1}) if of.spelt else [2, 3]
    return {"sizes": sizes, "buckets": _below(BUCKETS, of.tokens), "width": NGRAM_WIDTH}


def _below(steps: tuple[tuple[float, Any], ...], tokens: int) -> Any:
    """The rule's value for so many tokens."""
    return next(value for most, value in steps if tokens < most)


def _passes_wanted(tokens: int) -> int:
    """Passes over a text that teach enough, were there time for them."""
    return max(1, min(MOST_PASSES, MOST_READ // tokens))


def cost(width: int, vocabulary: int) -> float:
    """Operations for a token, forwards and backwards, nearly."""
    # A block: encoder w·w/4, readout of 6 coefficients of w/4 channels 1.5 w·w, of its input w·w, gated MLP 6 w·w.
    block = 8.75 * width**2
    looked_up = len(SIZES) * NGRAM_WIDTH * width  # the projection of n-grams
    return 6 * (len(WINDOWS) * block + looked_up + vocabulary * width)


def lstm_width(width: int) -> int:
    """The width of an LSTM's blocks that have about as many weights."""
    # An LSTM has 8 w·w in the place of a memory's 2.75 w·w, and the same 6 w·w behind it.
    return round(width * math.sqrt(8.75 / 14))


def recipe_for(task: "TextTask", minutes: float = MINUTES, sequence_length: int | None = None) -> Made:
    """The recipe that running text makes.

    Args:
        task: its training split is measured.
        minutes: the budget, of two cores.
        sequence_length: tokens of a training window, where a flag says so.
    """
    train = task.encoded["train"]
    of = Measured(len(train.tokens), train.characters, len(task.tokenizer), task.is_spelt)
    make = make_recipe if task.model_name_or_path is None else go_on
    made = make(of, minutes, sequence_length)
    return made if sequence_length is None else replace(made, reasons=made.reasons | {"sequence_length": "given"})
