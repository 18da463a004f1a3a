"""What visitors may give the demo. The page keeps to these limits by itself; a call of its API need not."""

from typing import Any

import numpy as np

CHARACTERS = 5_000  # of a text
SECONDS = 20.0  # of a sound
SILENCE = 1e-4  # root mean square of a sound that holds nothing, where full scale is 1
QUIET = 1e-3  # of the loudest power, below which the ends of a sound are cut
ABOVE_NOISE = 4.0  # times the noise, below which they are, too,
LOUD = 0.05  # but never above this part of the loudest power
NOISE = 0.02  # the quantile of the powers that is taken for noise
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


def spoken_part(signal: np.ndarray, rate: int) -> np.ndarray:
    """A sound (n,) without the silence before and behind what is said in it.

    Raises:
        ValueError: it is too long, or silent.
    """
    if len(signal) > SECONDS * rate:
        raise ValueError(f"the sound lasts {len(signal) / rate:,.0f} s; here at most {SECONDS:g} s are heard")
    if not len(signal) or np.sqrt(np.square(signal).mean()) < SILENCE:
        raise ValueError("the sound is silent: record it again, nearer to the microphone")
    block = rate // 100  # samples of 10 ms
    count = len(signal) // block
    if count < 4:
        return signal
    power = np.square(signal[: count * block]).reshape(count, block).mean(1)
    power = np.convolve(power, np.ones(3) / 3, "same")
    noise = min(ABOVE_NOISE * np.quantile(power, NOISE), LOUD * power.max())
    loud = np.flatnonzero(power >= max(QUIET * power.max(), noise))
    return signal[max(0, loud[0] - 2) * block : (loud[-1] + 3) * block]


def drawn_signal(ink: np.ndarray, steps: int) -> np.ndarray:
    """A line drawn from left to right as a signal (steps,) in −1 … 1; a sample signal where nothing is drawn."""
    if not (ink > 0).any():
        t = np.arange(steps)
        return 0.6 * np.sin(2 * np.pi * t / 97) * np.cos(2 * np.pi * t / 310) + 0.35 * np.sin(2 * np.pi * t / 31)
    heights = np.arange(ink.shape[0])[:, None]
    weight = (ink > 0).astype(float)
    columns = np.nonzero(weight.sum(0))[0]
    # A column's value is the mean height of its ink; between inked columns it is interpolated.
    middle = (weight * heights).sum(0)[columns] / weight.sum(0)[columns]
    place = np.linspace(0, ink.shape[1] - 1, steps)
    # Row 0 of a picture is its top: 1 there, −1 at the bottom.
    return 1 - 2 * np.interp(place, columns, middle) / (ink.shape[0] - 1)
