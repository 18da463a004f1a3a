"""Sound as a model reads it: one vector for every hop of a signal, from the samples up to there and no later one.

Frame t covers the samples hop·t … hop·t + frame_length − 1, so that a signal which comes in pieces has the very frames
of the whole: no frame is centred, and nothing is normalised by what comes later. A signal of n samples has
1 + ⌊(n − frame_length) / hop⌋ frames; one that is shorter than a frame is filled up with zeros to a single one.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank, optimal_fft_length, window_function

from .fields_lmu import Option

FEATURES = ("log-mel", "raw")
MAX_RATE = 10**6  # samples a second: a slip in a unit shows here
MAX_BANDS = 512


@dataclass(frozen=True)
class Frames(Option):
    """``config.audio`` and what a feature extractor is made of: how sound is cut into steps.

    Args:
        sampling_rate: samples a second.
        features: ``"log-mel"``, the logarithm of a power spectrum in mel bands; or ``"raw"``, the samples of each hop.
        frame_length: samples of a frame; 25 ms if not given. For ``"raw"`` it is the hop.
        hop_length: samples from one frame to the next; 10 ms if not given, and one sample for ``"raw"``.
        bands: mel bands, from ``lowest`` to half the sampling rate. For ``"raw"`` the hop.
        lowest: where the bands begin, in Hz.
        floor: the least power of a band; quieter ones are taken for this. In units of samples in [−1, 1], squared.
        relative_floor: if given, powers are counted in units of the signal's mean power so far, and this is added to
            each, so that loudness and faint background noise leave no trace.
        mean, deviation: of each band, or one of all, over the training sounds. What is read is standardised by them.
        adaptation: how many frames of ``mean`` the mean of a signal's own frames so far is counted with before it is
            taken away: it cancels a microphone's or a voice's colour without a look ahead. None takes ``mean`` alone.
    """

    name: ClassVar[str] = "audio"

    sampling_rate: int
    features: str = "log-mel"
    frame_length: int | None = None
    hop_length: int | None = None
    bands: int | None = None
    lowest: float = 0.0
    floor: float = 1e-6
    relative_floor: float | None = None
    mean: Sequence[float] = field(default=(0.0,))
    deviation: Sequence[float] = field(default=(1.0,))
    adaptation: float | None = None

    def __post_init__(self) -> None:
        if self.features not in FEATURES:
            raise ValueError(f"audio: features must be one of {', '.join(FEATURES)}, got {self.features!r}")
        self._check_whole("sampling_rate", MAX_RATE)
        raw, ms = self.features == "raw", self.sampling_rate / 1000
        hop = self.hop_length if self.hop_length is not None else 1 if raw else max(1, round(10 * ms))
        given = {
            "hop_length": hop,
            "frame_length": self.frame_length or (hop if raw else max(2, hop, round(25 * ms))),
            "bands": self.bands or (hop if raw else 40),
        }
        for entry, value in given.items():
            object.__setattr__(self, entry, value)  # the way around a frozen dataclass
            self._check_whole(entry, MAX_BANDS if entry == "bands" and not raw else MAX_RATE)
        self._check_numbers()
        # As tuples the record can be looked up: tables of a record are made once.
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))
        object.__setattr__(self, "deviation", tuple(map(float, self.deviation)))

    def _check_numbers(self) -> None:
        raw = self.features == "raw"
        if raw and not self.frame_length == self.hop_length == self.bands:
            raise ValueError(
                "audio: of raw features frame_length and bands are the hop_length, which each step reads; got "
                f"{self.frame_length}, {self.bands} and {self.hop_length}"
            )
        if (self.frame_length or 0) < (self.hop_length or 0):
            raise ValueError(
                f"audio: frame_length must be at least hop_length={self.hop_length}, or samples would be passed over; "
                f"got {self.frame_length}"
            )
        if not 0 < self.floor < math.inf:
            raise ValueError(f"audio: floor must be a positive power, got {self.floor!r}")
        if not 0 <= self.lowest < self.sampling_rate / 2:
            raise ValueError(
                f"audio: lowest must be a frequency from 0 to below half the sampling rate, in Hz; got {self.lowest!r}"
            )
        if self.relative_floor is not None and (raw or not 0 < self.relative_floor < math.inf):
            raise ValueError(
                f"audio: relative_floor must be a positive number, of log-mel features; got {self.relative_floor!r}"
            )
        if self.adaptation is not None and (raw or not 0 < self.adaptation < math.inf):
            raise ValueError(
                f"audio: adaptation must be a positive number of frames, of log-mel features; got {self.adaptation!r}"
            )
        for entry in ("mean", "deviation"):
            numbers = getattr(self, entry)
            if len(numbers) not in (1, self.bands) or not all(map(math.isfinite, numbers)):
                raise ValueError(f"audio: {entry} must be one finite number, or one for each of {self.bands} bands")
        if min(self.deviation) <= 0:
            raise ValueError(f"audio: deviation must be positive, got {min(self.deviation)!r}")

    @property
    def record(self) -> dict[str, Any]:
        """The entries as JSON has them: what ``config.audio`` holds."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def size(self) -> int:
        """Numbers of a frame: what ``config.input_size`` must be."""
        return self.bands or 0  # set above

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.hop_length or 1  # set above

    @property
    def length(self) -> int:
        """Samples of a frame."""
        return self.frame_length or 1  # set above

    @property
    def overlap(self) -> int:
        """Samples that a frame has in common with the next."""
        return self.length - self.hop

    @property
    def sums(self) -> int:
        """How many sums over a signal's frames so far :func:`standardise` reads: of each band, and of the power."""
        return self.size + (self.relative_floor is not None)

    def count(self, samples: int) -> int:
        """How many whole frames so many samples hold."""
        return max(0, (samples - self.overlap) // self.hop)

    @classmethod
    def of(cls, config: Any) -> Self | None:
        """The record of a config; None where it says nothing of sound."""
        # No declared field of the config: it is of one head, and transformers keeps such attributes as they are.
        record = getattr(config, cls.name, None)
        return None if record is None else cls.read(record)


@lru_cache(maxsize=16)
def _fourier(length: int) -> tuple[Tensor, int]:
    """The windowed Fourier matrix (length, 2·bins), cosines and then sines, in float64; and the number of bins."""
    size = optimal_fft_length(length)
    bins = size // 2 + 1
    window = torch.from_numpy(window_function(length, "hann"))
    angle = 2 * torch.pi / size * torch.outer(torch.arange(length), torch.arange(bins)).double()
    return window[:, None] * torch.cat([angle.cos(), angle.sin()], dim=1), bins


@lru_cache(maxsize=16)
def _filters(bins: int, bands: int, lowest: float, sampling_rate: int) -> Tensor:
    """The mel bands (bins, bands) in float64, from the lowest frequency to half the sampling rate."""
    bank = mel_filter_bank(bins, bands, lowest, sampling_rate / 2, sampling_rate, norm=None, mel_scale="htk")
    return torch.from_numpy(bank)


@lru_cache(maxsize=32)
def _numbers(numbers: tuple[float, ...]) -> Tensor:
    """Numbers of a record in float64; made once, as a stream asks for them at every piece."""
    return torch.tensor(numbers, dtype=torch.float64)


def power_spectra(pieces: Tensor, length: int) -> Tensor:
    """The power spectra (…, bins) of frames (…, length), by one matrix product.

    The product is as exact as a Fourier transform, and every exporter knows it.
    """
    matrix, bins = _fourier(length)
    parts = pieces @ matrix.to(pieces)
    return parts[..., :bins].square() + parts[..., bins:].square()


def mel_powers(powers: Tensor, frames: Frames) -> Tensor:
    """Power spectra (…, bins) to the logarithm of what each mel band holds (…, bands)."""
    filters = _filters(powers.shape[-1], frames.size, frames.lowest, frames.sampling_rate).to(powers)
    return (powers @ filters).clamp(min=frames.floor).log()


def features_of(pieces: Tensor, frames: Frames) -> Tensor:
    """Frames of samples (…, frame_length) to what stands for them (…, bands), not yet standardised."""
    return pieces if frames.features == "raw" else mel_powers(power_spectra(pieces, frames.length), frames)


def cut(signal: Tensor, frames: Frames) -> Tensor:
    """A signal (…, samples) as its frames (…, n, frame_length); a short one is filled up to one frame."""
    if signal.shape[-1] < frames.length:
        signal = torch.nn.functional.pad(signal, (0, frames.length - signal.shape[-1]))
    return signal.unfold(-1, frames.length, frames.hop)


def levelled(features: Tensor, frames: Frames, before: Tensor, count: Tensor | int) -> tuple[Tensor, Tensor]:
    """Powers in units of the signal's mean power so far: log(p_t / P_t + ``relative_floor``), P_t over frames 1 … t.

    Args:
        features: (b, n, bands), logarithms of powers.
        frames: the record; without a ``relative_floor`` the features stay as they are.
        before: (b, 1), the sum of the mean powers of the frames before these; (b, 0) without a ``relative_floor``.
        count: how many those were.

    Returns:
        (b, n, bands), and the sum over all frames so far, as ``before``.
    """
    if frames.relative_floor is None:
        return features, before
    powers = features.exp()
    sums = before + powers.mean(-1).cumsum(1)
    levels = sums / (count + torch.arange(1, features.shape[1] + 1, device=features.device)).to(features)
    return (powers / levels[..., None] + frames.relative_floor).log(), sums[:, -1:]


def standardise(features: Tensor, frames: Frames, before: Tensor, count: Tensor | int) -> tuple[Tensor, Tensor]:
    """Level, take away the mean, and divide by the deviation.

    The mean of frame t is (k·mean + Σ_{s ≤ t} x_s) / (k + t), with k = ``adaptation``, t counted from 1.

    Args:
        features: (b, n, bands), in float64 where sums over hours are to stay exact.
        frames: the record.
        before: (b, :attr:`Frames.sums`), the sums over the frames before these.
        count: how many those were.

    Returns:
        (b, n, bands), and the sums over all frames so far, as ``before``.
    """
    mean, deviation = (_numbers(tuple(numbers)).to(features) for numbers in (frames.mean, frames.deviation))
    of_bands, of_power = before[:, : frames.size], before[:, frames.size :]
    features, of_power = levelled(features, frames, of_power, count)
    if frames.adaptation is None:
        return (features - mean) / deviation, torch.cat([of_bands, of_power], dim=1)
    sums = of_bands[:, None] + features.cumsum(1)
    past = count + torch.arange(1, features.shape[1] + 1, device=features.device)
    means = (frames.adaptation * mean + sums) / (frames.adaptation + past.to(features))[:, None]
    return (features - means) / deviation, torch.cat([sums[:, -1], of_power], dim=1)


def plain_features(signal: Tensor, frames: Frames) -> Tensor:
    """What stands for the frames of whole signals (b, samples), not yet standardised: (b, n, bands) in float64."""
    features = features_of(cut(signal.double(), frames), frames)
    return levelled(features, frames, features.new_zeros(len(features), frames.sums - frames.size), 0)[0]


def frames_of(signal: Tensor, frames: Frames) -> Tensor:
    """What a model reads of whole signals (b, samples): (b, n, bands) in float32."""
    features = features_of(cut(signal.double(), frames), frames)
    before = features.new_zeros(len(features), frames.sums)
    return standardise(features, frames, before, 0)[0].float()
