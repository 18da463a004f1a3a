"""Sounds of any kind as the frames that an audio classifier reads: files, arrays, int16, stereo, other rates."""

import io
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, SequenceFeatureExtractor

from .frames_lmu import Frames, frames_of
from .listening_lmu import scaled
from .remote_code import copy_code, naming, reference

logger = logging.getLogger(__name__)

ENTRIES = tuple(entry.name for entry in fields(Frames))
MOST_CHANNELS = 8  # of an array with two axes, the shorter one: more are no channels
INSTALL = "pip install 'lmu-hf[audio]'"


class LMUFeatureExtractor(SequenceFeatureExtractor):
    """Sounds to frames, with the mask of a padded batch; see :class:`Frames` for what a frame is.

    A sound is an array or a tensor (samples,) or with a short axis of channels, which are mixed down; a list of
    numbers; the path or the bytes of a file that libsndfile reads (WAV, FLAC, OGG, MP3 and others); or a dictionary
    with ``"array"`` or ``"raw"`` and ``"sampling_rate"``, or with ``"path"`` or ``"bytes"``, as a row of ``datasets``
    has it.

    Args:
        sampling_rate: samples a second that the model reads; every file and dictionary is resampled to it.
        entries: those of :class:`Frames`, by name.
        kwargs: those of transformers' ``SequenceFeatureExtractor``, and what it saves.
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(self, sampling_rate: int = 16_000, **kwargs: Any) -> None:
        kwargs.pop("feature_size", None)  # derived
        entries = {name: kwargs.pop(name) for name in ENTRIES if name in kwargs}
        frames = Frames.read({"sampling_rate": sampling_rate, **entries})
        kwargs.setdefault("padding_value", 0.0)
        super().__init__(feature_size=frames.size, sampling_rate=sampling_rate, **kwargs)
        for name, value in frames.record.items():  # as attributes they are saved and read back
            setattr(self, name, value)

    @property
    def frames(self) -> Frames:
        """The record that says what a frame is: what ``config.audio`` of a model of these frames holds."""
        return Frames.read({name: getattr(self, name) for name in ENTRIES})

    def __call__(
        self,
        raw_speech: Any,
        sampling_rate: int | None = None,
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """One sound or a batch of them as frames.

        Args:
            raw_speech: a sound, or a list of sounds. An array with two axes is a batch, as everywhere in transformers,
                unless one axis is so short that it must be channels.
            sampling_rate: of arrays, in samples a second. They are resampled where it is not the model's; without it
                they are taken to have the model's.
            padding, max_length, truncation, pad_to_multiple_of: as in ``SequenceFeatureExtractor.pad``, in frames.
            return_attention_mask: whether to tell real frames from padding (default: yes).
            return_tensors: ``"pt"`` or ``"np"``.

        Returns:
            ``input_values`` (b, n, bands), or (b, n) where a step is one sample; ``attention_mask`` (b, n).

        Raises:
            ValueError: a sound is empty or not finite, has an impossible rate, or a file is none.
            TypeError: something is no sound.
        """
        sounds = raw_speech if _is_batch(raw_speech) else [raw_speech]
        if not len(sounds):
            raise ValueError("give at least one sound, got an empty list")
        record, rows = self.frames, []
        for place, sound in enumerate(sounds):
            try:
                signal = self.signal(sound, sampling_rate)
            except (ValueError, TypeError) as error:
                if len(sounds) == 1:
                    raise
                raise type(error)(f"sound {place} of {len(sounds)}: {error}") from error
            frames = frames_of(torch.from_numpy(signal)[None], record)[0].numpy()
            rows.append(frames[:, 0] if record.size == 1 else frames)
        return self.pad(
            BatchFeature({"input_values": rows}),
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_attention_mask=return_attention_mask,
            return_tensors=return_tensors,
        )

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, with_code: bool = False, **kwargs: Any):
        """As transformers' own, with the extractor's code if it is asked for; see :class:`CodeCarrier`."""
        if with_code:
            copy_code(self, save_directory)
        with naming(self, {"AutoFeatureExtractor": reference(type(self))} if with_code else {}):
            return super().save_pretrained(save_directory, *args, **kwargs)

    def signal(self, sound: Any, sampling_rate: int | None = None) -> np.ndarray:
        """One sound as mono float64 samples (n,) in [−1, 1] at the model's rate; arguments as in a call.

        Raises:
            ValueError: it is empty or not finite, its rate is impossible, or a file holds no sound.
            TypeError: it is no sound.
        """
        array, rate, name = _opened(sound)
        rate = sampling_rate if rate is None else rate
        try:
            mono = mix_down(scaled(array), name)
            if not len(mono):
                raise ValueError("it holds no samples")
            return resample(mono, self.sampling_rate if rate is None else rate, self.sampling_rate)
        except (ValueError, TypeError) as error:
            if not name:
                raise
            raise type(error)(f"{name}: {error}") from error


def _is_batch(given: Any) -> bool:
    """Whether what is given is several sounds."""
    if isinstance(given, np.ndarray | Tensor):
        return given.ndim > 1 and min(given.shape) > MOST_CHANNELS
    if isinstance(given, str | bytes | Path | Mapping) or not isinstance(given, Sequence):
        return False
    return not given or not isinstance(given[0], int | float)  # a list of numbers is one sound


def _opened(sound: Any) -> tuple[np.ndarray, int | None, str]:
    """Samples as they come, their rate where it is known, and what the sound is called in a message."""
    if isinstance(sound, Mapping):
        for name in ("array", "raw"):
            if sound.get(name) is not None:
                rate = sound.get("sampling_rate")
                if rate is None:
                    raise ValueError(f"a dictionary with {name!r} needs 'sampling_rate', samples a second")
                return _opened(sound[name])[0], rate, str(sound.get("path") or "")
        inside = sound.get("bytes") or sound.get("path")
        if inside is None:
            raise ValueError(f"a sound as a dictionary holds 'array' and 'sampling_rate', or 'path'; got {list(sound)}")
        return _opened(inside)
    if isinstance(sound, str | Path | bytes):
        samples, rate = read_audio(sound)
        return samples, rate, "" if isinstance(sound, bytes) else str(sound)
    if isinstance(sound, Tensor):
        return sound.detach().cpu().numpy(), None, ""
    array = np.asarray(sound)
    return (
        (array.astype(np.float64) if isinstance(sound, list | tuple) and array.dtype.kind in "iu" else array),
        None,
        "",
    )


def read_audio(file: str | Path | bytes) -> tuple[np.ndarray, int]:
    """The samples (n, channels) of a file in float32 and their rate.

    Raises:
        ImportError: soundfile is not installed.
        FileNotFoundError: there is no such file.
        ValueError: it holds no sound that libsndfile reads.
    """
    try:
        import soundfile
    except ImportError as error:
        raise ImportError(f"files of sound are read by soundfile, which is not installed: {INSTALL}") from error
    name = "the sound" if isinstance(file, bytes) else str(file)
    if not isinstance(file, bytes) and not Path(file).is_file():
        raise FileNotFoundError(f"there is no file {file}")
    if not (len(file) if isinstance(file, bytes) else Path(file).stat().st_size):
        raise ValueError(f"{name} is empty, 0 bytes: leave it out")
    try:
        there = io.BytesIO(file) if isinstance(file, bytes) else str(file)
        return soundfile.read(there, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        why = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise ValueError(f"{name} is not a file of sound that can be read ({why})") from error


def mix_down(array: np.ndarray, name: str = "") -> np.ndarray:
    """Channels as their mean (n,), and a warning that says so; of mono samples (n,), themselves.

    Args:
        array: (n,), (n, channels) or (channels, n); the shorter axis is that of the channels.
        name: of the sound, in the warning.

    Raises:
        ValueError: there are more axes, or more channels than can be meant.
    """
    if array.ndim == 1:
        return array
    if array.ndim != 2 or min(array.shape) > MOST_CHANNELS:
        raise ValueError(f"a sound has the shape (samples,) or (samples, channels), got {array.shape}")
    axis = int(np.argmin(array.shape)) if array.size else 1
    channels = array.shape[axis]
    if channels > 1:
        logger.warning(f"{name or 'A sound'} has {channels} channels; their mean is read.")
    return array.mean(axis)


def resample(signal: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """A signal at another rate, by scipy's polyphase filter; the end of one of n samples is at n · wanted / rate.

    Raises:
        ImportError: another rate is wanted, and scipy is not installed.
        ValueError: the rate is no positive whole number.
    """
    # datasets and JSON may give 8000.0.
    if isinstance(rate, bool) or rate != int(rate) or not 0 < rate <= 10**6:
        raise ValueError(f"a sampling rate is a whole number of samples a second, from 1 to 1,000,000, got {rate!r}")
    if rate == wanted:
        return signal
    try:
        from scipy.signal import resample_poly
    except ImportError as error:
        raise ImportError(
            f"{rate} samples a second become {wanted} by scipy, which is not installed: {INSTALL}"
        ) from error
    common = gcd(int(rate), wanted)
    return resample_poly(signal, wanted // common, int(rate) // common)
