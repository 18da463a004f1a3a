"""What the demo shows, computed: nothing here knows of buttons."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ... import LegendreSystem, decode_past
from ...memory import memory_chunked
from .inputs import short

UNREAD = (226, 229, 235)  # RGB, of pixels that are still to come
ROWS = 32  # texts that are read at a time


@dataclass
class DigitReading:
    """What is thought of a drawing when so many of its pixels have been read.

    Args:
        pixels: how many.
        chances: by class.
        picture: (side, side, 3) uint8, what has been read; the rest has a colour of its own.
    """

    pixels: int
    chances: dict[str, float]
    picture: np.ndarray


def digit_image(ink: np.ndarray, side: int) -> Image.Image:
    """A drawing as a data set of digits has them: light on dark, cut to the ink, centred in a border.

    Args:
        ink: (height, width), 0 where nothing was drawn.
        side: of the picture, in pixels.

    Raises:
        ValueError: nothing was drawn.
    """
    rows, columns = np.nonzero(ink > 0)
    if not len(rows):
        raise ValueError("nothing is drawn yet")
    cut = Image.fromarray(ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.uint8))
    # MNIST fits a digit into 20 × 20 of its 28 × 28 pixels.
    inside = side if side <= 8 else round(side * 20 / 28)  # eight pixels leave no room for a border
    size = [max(1, round(inside * length / max(cut.size))) for length in cut.size]
    canvas = Image.new("L", (side, side))
    canvas.paste(cut.resize((size[0], size[1]), Image.Resampling.BOX), ((side - size[0]) // 2, (side - size[1]) // 2))
    return canvas


@torch.no_grad()
def read_digit(model: Any, processor: Any, image: Image.Image, frames: int = 16) -> Iterator[DigitReading]:
    """What a classifier thinks as an image's pixels come in, in its own order, in so many looks."""
    pixels = model.pixel_sequence(processor(image, return_tensors="pt")["pixel_values"])
    # One pass: in a causal model the output at step k depends on the first k pixels alone.
    hidden = model.model(input_values=pixels, use_cache=False).last_hidden_state
    chances = model.classifier(hidden)[0].softmax(-1)
    grey = np.asarray(image).reshape(-1)
    order = model.permutation.numpy()
    picture = np.tile(np.array(UNREAD, np.uint8), (len(grey), 1))
    read = 0
    for end in np.linspace(0, len(grey), frames + 1).round().astype(int)[1:]:
        # order[k] is the place of the k-th pixel that is read, counted row by row.
        picture[order[read:end]] = grey[order[read:end], None]
        read = int(end)
        thought = {model.config.id2label[number]: float(chance) for number, chance in enumerate(chances[end - 1])}
        yield DigitReading(read, thought, picture.reshape(*image.size, 3).copy())


@torch.no_grad()
def read_sentence(model: Any, tokenizer: Any, text: str) -> tuple[list[tuple[str, float]], dict[str, float]]:
    """Each word with the score behind it, from −1 (the first class) to 1 (the last); and the chances at the end.

    The score behind a word is that of the text up to it, so that it holds for models that read in both directions too:
    these read every beginning anew, some at a time. That is quadratic in the words, of which there are not many.

    Raises:
        ValueError: there is no word, or there are too many.
    """
    words = short(text, tokenizer).split()
    if not words:
        raise ValueError("there is no word to read yet")
    starts = [" ".join(words[: end + 1]) for end in range(len(words))]
    batches = [
        tokenizer(starts[begin : begin + ROWS], padding=True, return_tensors="pt")
        for begin in range(0, len(starts), ROWS)
    ]
    logits = [model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits for batch in batches]
    chances = torch.cat(logits).softmax(-1)
    scores = (chances[:, -1] - chances[:, 0]).tolist()
    labels = [model.config.id2label[number] for number in range(chances.shape[1])]
    return list(zip(words, scores, strict=True)), dict(zip(labels, chances[-1].tolist(), strict=True))


@dataclass
class Translation:
    """A translation and where each of its tokens looked.

    Args:
        text: the translation.
        weights: (target tokens, source tokens), the mean over layers and heads.
        target, source: the tokens, as they read.
    """

    text: str
    weights: np.ndarray
    target: list[str]
    source: list[str]


@torch.no_grad()
def translate(model: Any, tokenizer: Any, text: str, num_beams: int = 4) -> Translation:
    """Translate a text, and read the attention over it again.

    Raises:
        ValueError: there is no text, or too much of it.
    """
    text = short(text, tokenizer)
    if not text.strip():
        raise ValueError("there is nothing to translate yet")
    batch = tokenizer(text, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    ids = model.generate(**inputs, num_beams=num_beams, do_sample=False, max_new_tokens=64)
    # Read again in one pass: under beam search `generate` returns attention by beam, not by finished text.
    outputs = model(**inputs, decoder_input_ids=ids[:, :-1], output_attentions=True, use_cache=False)
    # (layers, b, heads, target, source) → (target, source).
    weights = torch.stack(outputs.cross_attentions).mean((0, 2))[0].numpy()
    pieces = [
        [tokenizer.decode([token]).strip() or "·" for token in row] for row in (ids[0, 1:], batch["input_ids"][0])
    ]
    return Translation(tokenizer.decode(ids[0], skip_special_tokens=True), weights, *pieces)


def write_on(model: Any, tokenizer: Any, prompt: str, tokens: int, temperature: float, seed: int) -> Iterator[str]:
    """The prompt and what a model writes behind it, one token longer each time.

    Raises:
        ValueError: the prompt is too long.
    """
    prompt = short(prompt, tokenizer)
    # Before it writes, a model must read at least one token.
    ids = tokenizer(prompt or "\n", return_tensors="pt", add_special_tokens=False)["input_ids"]
    generator, made = torch.Generator().manual_seed(seed), []
    for token in model.stream(ids, max_new_tokens=tokens, temperature=temperature, generator=generator):
        made.append(token)
        # The whole again, since a character may be spread over several tokens.
        yield prompt + tokenizer.decode(made, skip_special_tokens=True)


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


@dataclass
class Window:
    """What a memory holds at one moment.

    Args:
        times: (k,) the time steps that it reaches back to.
        decoded: (k,) the signal there, from the memory alone.
        error: root mean square of what is wrong, over the signal's deviation.
    """

    times: np.ndarray
    decoded: np.ndarray
    error: float


def remembered(signal: np.ndarray, theta: float, order: int, moment: int) -> Window:
    """The window that a memory of (θ, order) holds when it has read a signal up to a moment."""
    system = LegendreSystem(order, theta)
    written = torch.from_numpy(signal).double()
    m, _ = memory_chunked(written[None, : moment + 1, None], system)
    # Under zero-order hold the sample of k steps ago lies at the delay k + 1/2.
    delays = torch.arange(0.5, theta, 1.0, dtype=torch.float64)
    decoded = decode_past(m[0, -1, 0], system, delays)
    times = moment - delays + 0.5
    past = _at(written, times.round().long())
    error = (decoded - past).square().mean().sqrt() / written.std().clamp(min=1e-9)  # a flat line has no deviation
    return Window(times.numpy(), decoded.numpy(), float(error))


def _at(signal: Tensor, times: Tensor) -> Tensor:
    """A signal that is zero before it begins."""
    return torch.where(times >= 0, signal[times.clamp(min=0)], 0.0)
