"""What of a recipe is otherwise where it goes on from a pre-trained model; and whether rows are for the one in the box.

The rule is what experiments on validation folds gave (docs/log.md).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # recipes are listed by commands that need nothing of this
    from transformers import PreTrainedTokenizerBase

MODEL = "lmu-small-en"
LOOKED_AT = 1000  # texts of which the language is asked
# Tokens of the model for each word: of English it has most words whole, of other languages parts.
MOST_PIECES = 1.7
MOST_ROWS = 20_000  # more rows teach a model of their own as much, in the time that they take
SPEED = 4000  # tokens a second of two cores, forwards and backwards
FEWEST_EPOCHS = 2  # within the minutes: less teaches the head too little
WHY = {
    "model_name_or_path": "a language model that has read English; --from_scratch does without",
    "learning_rate": "of the head; the lower a layer, the lower its own",
    "layer_decay": "the lower a layer of the pre-trained model, the less it is changed",
    "embedding_dropout": "share of a word's numbers left out in training: little, since the model is pre-trained",
}


@dataclass(frozen=True)
class FineTuning:
    """What rows make of a pre-trained model's training.

    Args:
        changes: fields of the recipe.
        architecture: fields of the head, and dropouts.
        reasons: of each value, a few words.
    """

    changes: dict[str, Any]
    architecture: dict[str, Any]
    reasons: dict[str, str]


def pieces_per_word(texts: Iterable[str], tokenizer: "PreTrainedTokenizerBase") -> float:
    """How many tokens a tokenizer makes of a word, in the first thousand texts."""
    from ...tokenization_lmu import WORD_PATTERN

    looked_at = list(islice(texts, LOOKED_AT))
    words = sum(len(re.findall(WORD_PATTERN, text)) for text in looked_at)
    return sum(map(len, tokenizer(looked_at)["input_ids"])) / max(words, 1)


def suits(rows: int, tokens: float, pieces: float, minutes: float) -> bool:
    """Whether rows are few and English, and fine-tuning on them keeps to the minutes.

    Args:
        rows: how many train.
        tokens: of all of them.
        pieces: tokens of a word.
        minutes: of training.
    """
    return rows <= MOST_ROWS and pieces <= MOST_PIECES and _epochs_within(tokens, minutes) >= FEWEST_EPOCHS


def fine_tuning(rows: int, tokens: float, minutes: float, may_refit: bool) -> FineTuning:
    """How a pre-trained model goes on.

    Args:
        rows: how many train.
        tokens: of all of them.
        minutes: of training.
        may_refit: rows are held out, with which it may be trained once more.
    """
    wanted = next((epochs for most, epochs in ((500, 12), (2000, 8), (5000, 5)) if rows <= most), 3)
    refit = may_refit and _epochs_within(tokens, minutes / 2) >= wanted
    epochs = max(1, min(wanted, _epochs_within(tokens, minutes)))
    allowed = f"; {minutes:.3g} minutes of training allow {epochs} of {wanted} (--minutes)" if epochs < wanted else ""
    batch = 16 if rows <= 2000 else 32
    changes = {"learning_rate": 3e-3, "layer_decay": 0.7, "batch_size": batch, "epochs": epochs}
    changes["eval_steps"] = epochs * -(-rows // batch)  # at the end alone, as of any few rows
    return FineTuning(
        changes | {"refit": refit, "minutes": float(f"{minutes / (2 if refit else 1):.6g}")},
        {"embedding_dropout": 0.1, "hidden_dropout": 0.1, "classifier_dropout": 0.3},
        WHY | {"epochs": f"passes over {rows:,} rows{allowed}"},
    )


def _epochs_within(tokens: float, minutes: float) -> int:
    return int(60 * minutes * SPEED / max(tokens, 1))
