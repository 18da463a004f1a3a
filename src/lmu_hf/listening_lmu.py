"""Listening: a classifier of sounds reads its signal in pieces of any size, and carries what the next piece needs.

Four things are carried: the samples that the next frame has in common with those read, the running sum that frames are
standardised by, the memories of all layers, and the pooled hidden states so far. None grows with time.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.utils import logging

from .configuration_lmu import POOLINGS
from .frames_lmu import Frames, cut, features_of, standardise
from .layers import is_bare
from .layout import Layout, Reading
from .recording import CannotRecordError, Recording, carried_tensors

logger = logging.get_logger(__name__)

MOST_RECORDED = 64  # frames of a piece from which on its products outweigh what a recording saves
SETTLED = 8  # pieces of a length after which a recording of that length, which takes a few calls, pays
# What an integer sample is divided by: the largest magnitude of its type.
FULL_SCALE = {"int16": 2.0**15, "int32": 2.0**31, "int8": 2.0**7}


@dataclass(frozen=True)
class Heard:
    """What a model makes of a sound so far.

    Args:
        seconds: how much sound the logits are of, to the end of the last frame.
        logits: (num_labels,), those of the model for that much sound.
        scores: (num_labels,), probabilities of classes; of a regression the numbers themselves.
    """

    seconds: float
    logits: Tensor
    scores: Tensor


class Pool:
    """Hidden states of a growing sequence, pooled as a head reads them.

    Args:
        words: ``"mean"``, ``"max"`` and ``"last"``, side by side.
    """

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words, self.count = words, 0
        self.held: dict[str, Tensor] = {}

    def add(self, hidden: Tensor) -> Tensor:
        """Hidden states (b, n, width) of the next steps; what all steps so far are pooled to, (b, words · width)."""
        self.count += hidden.shape[1]
        parts = {"mean": hidden.double().sum(1), "max": hidden.amax(1), "last": hidden[:, -1]}
        for word in self.words:
            self.held[word] = join(word, self.held.get(word), parts[word])
        # float64 sums: after an hour of frames a float32 one would have lost the small change of each.
        pooled = [self.held[w] / self.count if w == "mean" else self.held[w] for w in self.words]
        return torch.cat([part.to(hidden.dtype) for part in pooled], dim=-1)


def join(word: str, before: Tensor | None, part: Tensor) -> Tensor:
    """What is held of steps before and what follows them, as one: sums add up, and of maxima the larger counts."""
    if before is None or word == "last":
        return part
    return before + part if word == "mean" else torch.maximum(before, part)


class Listener:
    """One sound as it comes in. Made anew for every sound; its model may serve many listeners at once.

    Args:
        model: a classifier of sounds; it is put into evaluation mode.
        sampling_rate: of the sound; if given, it must be the model's.

    Raises:
        ValueError: the model cannot read a sound in pieces.
    """

    def __init__(self, model: Any, sampling_rate: int | None = None) -> None:
        frames = Frames.of(model.config)
        if model.config.bidirectional:
            raise ValueError("listen needs a causal model: one with bidirectional=True reads from the end of the sound")
        if frames is None:
            raise ValueError("listen needs config.audio, which says how sound is cut into frames; this model has none")
        if sampling_rate not in (None, frames.sampling_rate):
            raise ValueError(
                f"listen reads {frames.sampling_rate} samples a second, got sampling_rate={sampling_rate}: resample "
                "the sound first"
            )
        self.model, self.frames = model.eval(), frames
        self.cache = DynamicCache(config=model.config)
        self.pool = Pool(POOLINGS[model.config.pooling])
        self.samples = torch.zeros(1, 0, dtype=torch.float64)  # not yet passed by a frame
        self.sums = torch.zeros(1, frames.sums, dtype=torch.float64)
        self._recordings: dict[int, Recording | None] = {}  # by how many frames a piece ends
        self._seen: Counter[int] = Counter()

    @property
    def seconds(self) -> float:
        """How much sound the frames so far cover."""
        covered = self.frames.overlap + self.pool.count * self.frames.hop if self.pool.count else 0
        return covered / self.frames.sampling_rate

    @property
    def state_bytes(self) -> int:
        """How many bytes are carried from piece to piece: fewer than a frame's samples, and numbers as many as ever."""
        held = [self.samples, self.sums, *carried_tensors(self.cache), *self.pool.held.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    @torch.no_grad()
    def hear(self, piece: Any) -> Heard | None:
        """Read the next samples (n,); what the sound is so far, or None if they end no frame."""
        self.samples = torch.cat([self.samples, as_samples(piece)[None]], dim=1)
        ready = self.frames.count(self.samples.shape[1])
        return self._read(ready) if ready else None

    @torch.no_grad()
    def end(self) -> Heard | None:
        """The sound is over: of one that is shorter than a frame, what it is; else None, since all has been said.

        Raises:
            ValueError: there was no sound.
        """
        if self.pool.count:
            return None
        if not self.samples.shape[1]:
            raise ValueError("listen was given no samples: a sound has at least one")
        return self._read(1)

    def hear_all(self, pieces: Iterable[Any]) -> Iterator[Heard]:
        """Read pieces to their end; see :meth:`LMUForAudioClassification.listen`."""
        for piece in pieces:
            if (heard := self.hear(piece)) is not None:
                yield heard
        if (heard := self.end()) is not None:
            yield heard

    def _read(self, ready: int) -> Heard:
        model, frames = self.model, self.frames
        features = features_of(cut(self.samples, frames)[:, :ready], frames)
        self.samples = self.samples[:, ready * frames.hop :]
        values, self.sums = standardise(features, frames, self.sums, self.pool.count)
        logits = model.classifier(self.pool.add(self._states(values.to(model.device, torch.float32))))
        logits = model.in_units(logits)[0]
        return Heard(self.seconds, logits, scores_of(logits, model.config.problem_type))

    def _states(self, values: Tensor) -> Tensor:
        """Hidden states (1, n, width) of the next frames, whose memories are then in the cache."""
        n = values.shape[1]
        if n not in self._recordings and n <= MOST_RECORDED:
            self._seen[n] += 1
            if self._seen[n] == SETTLED:
                self._recordings[n] = self._recorded(values)
        if (recording := self._recordings.get(n)) is not None:
            return recording(values)
        return self.model.model(input_values=values, cache=self.cache, use_cache=True, return_dict=True)[0]

    def _recorded(self, values: Tensor) -> Recording | None:
        """The blocks' torch calls for so many more frames; None where something stands between them and the modules."""
        stack = self.model.model
        if not all(map(is_bare, self.model.modules())):
            return None
        state, reading = carried_tensors(self.cache), Reading(Layout(values.shape[1]), "all", None)

        def read(values: Tensor) -> Tensor:
            # Behind the stack's checks, which look at numbers; `as_samples` has looked at these.
            return stack._through_blocks(values.to(stack.dtype), reading, self.cache, False)[-1]

        try:
            return Recording(read, values, values + 1, state)
        except CannotRecordError as error:
            logger.warning_once(f"{error}, so every piece of a sound takes a full call of the model")
            return None


def scores_of(logits: Tensor, problem_type: str | None) -> Tensor:
    """Logits (…, labels) as probabilities; of a regression, as they are."""
    if problem_type == "regression":
        return logits
    return logits.sigmoid() if problem_type == "multi_label_classification" else logits.softmax(-1)


def as_samples(piece: Any) -> Tensor:
    """Samples (n,) in float64: integers over their type's full scale, so that all lie in [−1, 1].

    Raises:
        ValueError: they are not mono or not finite.
        TypeError: they are no numbers.
    """
    array = piece.detach().cpu().numpy() if isinstance(piece, Tensor) else np.asarray(piece)
    if array.ndim != 1:
        raise ValueError(f"a mono signal has the shape (samples,), got {array.shape}: mix its channels down first")
    return torch.from_numpy(scaled(array))


def scaled(array: np.ndarray) -> np.ndarray:
    """Samples of any type as float64 in [−1, 1].

    Raises:
        ValueError: a sample is not finite.
        TypeError: they are no numbers.
    """
    if array.dtype == np.uint8:  # unsigned: silence is 128
        return (array.astype(np.float64) - 128) / 128
    if (scale := FULL_SCALE.get(array.dtype.name)) is not None:
        return array / scale
    if array.dtype.kind != "f":
        raise TypeError(f"samples must be floats in [-1, 1], int16, int32, int8 or uint8, got {array.dtype}")
    array = array.astype(np.float64)
    if not np.isfinite(array.sum()) and not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array.reshape(-1)))[0])
        raise ValueError(f"samples must be finite, got {array.reshape(-1)[place]} at sample {place}")
    return array
