"""The recipe for few rows in English: it goes on from the language model that came with the package.

The rule is what experiments on validation folds gave (docs/log.md).
"""

import re
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # recipes are listed by commands that need nothing of this
    from transformers import PreTrainedTokenizerBase


MODEL = "lmu-small-en"
LOOKED_AT = 1000  # texts of which the language is asked
# Tokens of the model for each word: of English it has most words whole, of other languages none.
MOST_PIECES = 1.7
MOST_ROWS = 20_000


def is_english(texts: Iterable[str], tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether a tokenizer that has learnt from English cuts texts as it cuts English.

    Args:
        texts: the first thousand are looked at.
        tokenizer: of the pre-trained model.
    """
    from ...tokenization_lmu import WORD_PATTERN

    looked_at = list(islice(texts, LOOKED_AT))
    words = sum(len(re.findall(WORD_PATTERN, text)) for text in looked_at)
    pieces = sum(map(len, tokenizer(looked_at)["input_ids"]))
    return pieces <= MOST_PIECES * words
