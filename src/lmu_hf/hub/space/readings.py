"""What the tabs of models show, computed: nothing here knows of buttons."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .inputs import short, spoken_part

UNREAD = (226, 229, 235)  # RGB, of pixels that are still to come
ROWS = 32  # texts that are read at a time
PARTS = 64  # of a text that are scored at most
PIECE = 0.05  # seconds of a sound between two scores


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
    """Parts of a text with the score behind each, −1 (the first class) to 1 (the last); and the chances at the end.

    The score behind a part is that of the text up to its end, which holds for models that read in both directions too.
    A part is a word; of a text with more than ``PARTS`` words it is several, so that the cost is linear in the words.

    Raises:
        ValueError: there is no word, or there are too many.
    """
    words = short(text, tokenizer).split()
    if not words:
        raise ValueError("there is no word to read yet")
    ends = np.unique(np.linspace(0, len(words), min(PARTS, len(words)) + 1).round().astype(int)).tolist()
    starts = [" ".join(words[:end]) for end in ends[1:]]
    batches = [
        tokenizer(starts[begin : begin + ROWS], padding=True, return_tensors="pt")
        for begin in range(0, len(starts), ROWS)
    ]
    logits = [model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits for batch in batches]
    chances = torch.cat(logits).softmax(-1)
    scores = (chances[:, -1] - chances[:, 0]).tolist()
    parts = [" ".join(words[begin:end]) for begin, end in pairwise(ends)]
    labels = [model.config.id2label[number] for number in range(chances.shape[1])]
    return list(zip(parts, scores, strict=True)), dict(zip(labels, chances[-1].tolist(), strict=True))


def hear(model: Any, processor: Any, path: str) -> Iterator[tuple[float, dict[str, float]]]:
    """The seconds of a sound that have been heard, and the scores of its classes, piece by piece.

    Raises:
        ValueError: the file holds no sound, or one that is silent or too long.
    """
    try:
        signal = processor.signal(path)
    except ValueError as error:
        raise ValueError(str(error).replace(path, Path(path).name)) from error
    rate = processor.sampling_rate
    spoken = spoken_part(signal, rate)
    pieces = np.split(spoken, range(int(PIECE * rate), len(spoken), int(PIECE * rate)))
    for heard in model.listen(pieces, sampling_rate=rate):
        yield heard.seconds, {model.config.id2label[at]: score for at, score in enumerate(heard.scores.tolist())}


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
