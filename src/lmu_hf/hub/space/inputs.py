"""What visitors may give the demo. The page keeps to these limits by itself; a call of its API need not."""

from typing import Any

CHARACTERS = 5_000  # of a text
TOKENS = 512  # of a text, where the model itself does not read fewer


def number(value: Any, name: str, low: float, high: float) -> float:
    """A number within limits.

    Raises:
        ValueError: it is none, or outside.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:,g} to {high:,g}, got {str(value)[:40]!r}")
    return value


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number within limits.

    Raises:
        ValueError: it is none, or outside.
    """
    if number(value, name, low, high) != int(value):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return int(value)


def short(text: Any, tokenizer: Any) -> str:
    """A text that is not too long to be read while somebody waits.

    Raises:
        ValueError: it is no text, or too long.
    """
    if not isinstance(text, str):
        raise ValueError(f"a text is needed, got {type(text).__name__}")
    if len(text) > CHARACTERS:
        raise ValueError(f"the text has {len(text):,} characters; here at most {CHARACTERS:,} are read")
    text = text.encode("utf-8", "replace").decode()  # half a character, as JSON can hold it
    tokens, longest = len(tokenizer(text)["input_ids"]), min(TOKENS, tokenizer.model_max_length)
    if tokens > longest:
        raise ValueError(f"the text has {tokens:,} tokens; here at most {longest:,} are read")
    return text
