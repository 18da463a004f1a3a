"""What of a recipe is otherwise where it goes on from a pre-trained model; and whether rows are for the one in the box.

The rule is what experiments on validation folds gave (docs/log.md).
"""

import math
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


def suits(rows: int, pieces: float) -> bool:
    """Whether rows are few and English.

    Args:
        rows: how many train.
        pieces: tokens of a word.
    """
    return rows <= MOST_ROWS and pieces <= MOST_PIECES


def minutes_needed(rows: int, step_seconds: float) -> float:
    """Minutes of training that teach the head enough.

    Args:
        rows: how many train.
        step_seconds: what a step takes on this machine.
    """
    return FEWEST_EPOCHS * _steps(rows) * step_seconds / 60


def batch_of(rows: int) -> int:
    """Rows in a training step, of so many rows in all."""
    return 16 if rows <= 2000 else 32


def fine_tuning(rows: int, step_seconds: float, minutes: float, may_refit: bool) -> FineTuning:
    """How a pre-trained model goes on.

    Args:
        rows: how many train.
        step_seconds: what a step takes on this machine; 0 for no time.
        minutes: of training.
        may_refit: rows are held out, with which it may be trained once more.
    """
    wanted = next((epochs for most, epochs in ((500, 12), (2000, 8), (5000, 5)) if rows <= most), 3)
    within = 60 * minutes / (_steps(rows) * step_seconds) if step_seconds else math.inf
    refit = may_refit and within >= 2 * wanted
    epochs = wanted if within >= wanted else max(1, int(within))
    pace = f"a step takes {step_seconds:.2g} s here"
    allowed = f"; {pace}, so {minutes:.3g} minutes allow {epochs} of {wanted} (--minutes)" if epochs < wanted else ""
    changes = {"learning_rate": 3e-3, "layer_decay": 0.7, "batch_size": batch_of(rows), "epochs": epochs}
    changes["eval_steps"] = epochs * _steps(rows)  # at the end alone, as of any few rows
    return FineTuning(
        changes | {"refit": refit, "minutes": float(f"{minutes / (2 if refit else 1):.6g}")},
        {"embedding_dropout": 0.1, "hidden_dropout": 0.1, "classifier_dropout": 0.3},
        WHY | {"epochs": f"passes over {rows:,} rows{allowed}"},
    )


def _steps(rows: int) -> int:
    """Of an epoch."""
    return -(-rows // batch_of(rows))
