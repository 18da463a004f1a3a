"""Sounds varied at random in training: another voice, another pace, another room; what is said stays the same."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ..frames_lmu import Frames, mel_powers, power_spectra, standardise

ENVELOPE = 250.0  # Hz over which a spectrum's mean is its envelope: more than most voices' pitch, less than a formant
SILENCE = 1e-10  # power of a bin that is none
KNOTS = 6
HUSH = 15.0, 60.0  # decibels below a sound's mean power that the quiet beside it has


@dataclass(frozen=True)
class SoundAugmentation:
    """How far sounds are varied. Every number is the most that is drawn, and 0 leaves that out.

    Args:
        speed: playback of 1 / (1 + s) to 1 + s times the speed, which moves pitch, formants and pace together.
        silence: so many seconds of quiet noise before a sound, and behind it, since recordings are cut more or less
            closely; half of the sounds have none before, and half none behind.
        pace: the hop is so much shorter or longer, which moves the pace alone.
        warp: the frequency axis is stretched by up to this share, as by a longer or shorter vocal tract (Jaitly and
            Hinton 2013).
        formants: the envelope of the spectrum is stretched by up to this share and its fine structure is not, so that
            the pitch stays where it was: a longer or shorter vocal tract at the same vocal folds.
        gain: louder or softer, in decibels.
        tilt: a spectrum that rises or falls from end to end by so many decibels, as of another microphone.
        curve: a spectrum that is lifted or lowered by so many decibels at each of ``KNOTS`` frequencies, and between
            them in straight lines, as of a room.
        noise: the share of sounds that get noise, ``quietest`` to ``loudest`` decibels below the signal's mean power.
        loudest, quietest: signal-to-noise ratios in decibels.
        time_masks, time_share: how many stretches of frames are hidden, each up to this share of the sound.
        band_masks, band_share: how many ranges of bands are hidden, each up to this share of all (Park et al. 2019).
    """

    speed: float = 0.2
    silence: float = 0.15
    pace: float = 0.2
    warp: float = 0.15
    formants: float = 0.15
    gain: float = 20.0
    tilt: float = 20.0
    curve: float = 10.0
    noise: float = 0.8
    loudest: float = 3.0
    quietest: float = 50.0
    time_masks: int = 2
    time_share: float = 0.12
    band_masks: int = 2
    band_share: float = 0.2

    def __call__(self, signals: Tensor, lengths: Tensor, frames: Frames, generator: Generator) -> tuple[Tensor, Tensor]:
        """A padded batch of signals (b, samples) as varied log-mel frames (b, n, bands), and how many each has (b,).

        Args:
            signals: zero behind the end of each.
            lengths: (b,) samples of each.
            frames: what a frame is.
            generator: of all that is drawn.
        """
        signals, lengths = self._played(signals, lengths, generator)
        signals, lengths = self._framed(signals, lengths, frames.sampling_rate, generator)
        hop = max(1, round(frames.hop * float(_between(1, self.pace, (), generator))))
        short = frames.length - signals.shape[1]
        signals = torch.nn.functional.pad(signals, (0, max(0, short)))
        powers = power_spectra(signals.unfold(1, frames.length, hop), frames.length)
        counts = ((lengths - frames.length) // hop + 1).clamp(min=1)
        real = torch.arange(powers.shape[1]) < counts[:, None]
        powers = self._shaped(self._warped(powers, generator), frames, generator)
        features = mel_powers(self._coloured(powers, real, generator), frames)
        before = features.new_zeros(len(features), frames.sums)
        values = standardise(features, frames, before, 0)[0]
        return self._masked(values, counts, generator), counts

    def _played(self, signals: Tensor, lengths: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Each signal at a speed of its own, by linear interpolation."""
        if not self.speed:
            return signals, lengths
        rates = _between(1, self.speed, (len(signals),), generator)
        played = ((lengths - 1) / rates).floor().long() + 1
        places = torch.arange(int(played.max())) * rates[:, None]
        return _at(signals, places), played

    def _framed(self, signals: Tensor, lengths: Tensor, rate: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Each signal with quiet noise before it and behind it."""
        if not self.silence:
            return signals, lengths
        drawn = self.silence * rate * (2 * torch.rand(2, len(signals), generator=generator) - 1)
        before, behind = drawn.clamp(min=0).long()
        longer = before + lengths + behind
        places = torch.arange(int(longer.max())) - before[:, None]
        sounds = (places >= 0) & (places < lengths[:, None])
        heard = signals.gather(1, places.clamp(0, signals.shape[1] - 1)) * sounds
        loud, quiet = HUSH
        decibels = loud + (quiet - loud) * torch.rand(len(signals), generator=generator)
        level = (heard.square().sum(1) / lengths).sqrt() * 10 ** (-decibels / 20)
        noise = level[:, None] * torch.randn(heard.shape, generator=generator)
        quiet_there = ~sounds & (places < (lengths + behind)[:, None])
        return heard + noise * quiet_there, longer

    def _warped(self, powers: Tensor, generator: Generator) -> Tensor:
        """Power spectra (b, n, bins), each sound's with a frequency axis of its own."""
        return _stretched(powers, _between(1, self.warp, (len(powers),), generator)) if self.warp else powers

    def _shaped(self, powers: Tensor, frames: Frames, generator: Generator) -> Tensor:
        """Power spectra (b, n, bins) with their envelope moved along the frequency axis."""
        if not self.formants:
            return powers
        bins = powers.shape[-1]
        reach = round(ENVELOPE / 2 / (frames.sampling_rate / 2) * (bins - 1))  # bins to either side
        envelope = torch.nn.functional.avg_pool1d(powers, 2 * reach + 1, 1, reach, count_include_pad=False)
        envelope = envelope.clamp(min=SILENCE)
        return powers * _stretched(envelope, _between(1, self.formants, (len(powers),), generator)) / envelope

    def _coloured(self, powers: Tensor, real: Tensor, generator: Generator) -> Tensor:
        """Louder or softer, tilted, and with noise."""
        b, n, bins = powers.shape
        slope = torch.linspace(-0.5, 0.5, bins)

        def drawn(most: float) -> Tensor:
            return most * (2 * torch.rand(b, 1, 1, generator=generator) - 1)

        knots = self.curve * (2 * torch.rand(b, 1, KNOTS, generator=generator) - 1)
        curve = torch.nn.functional.interpolate(knots, size=bins, mode="linear", align_corners=True)
        powers = powers * 10 ** ((drawn(self.gain) + drawn(self.tilt) * slope + curve) / 10)
        if self.noise:
            level = (powers.mean(2) * real).sum(1) / real.sum(1)
            ratio = self.loudest + (self.quietest - self.loudest) * torch.rand(b, generator=generator)
            gets = torch.rand(b, generator=generator) < self.noise
            colour = 10 ** (drawn(20.0) * slope / 10)
            # The periodogram of noise is exponential about its mean, bin by bin; what it has in common with the signal
            # is left out.
            spectrum = (
                -torch.rand(b, n, bins, generator=generator).clamp(min=1e-12).log() * colour / colour.mean(2, True)
            )
            powers = powers + (gets * level * 10 ** (-ratio / 10))[:, None, None] * spectrum
        return powers

    def _masked(self, values: Tensor, counts: Tensor, generator: Generator) -> Tensor:
        """Stretches of time and of frequency set to zero, the mean."""
        b, n, bands = values.shape
        hidden = torch.zeros(b, n, bands, dtype=torch.bool)
        for _ in range(self.time_masks):
            hidden |= _stretch(counts, self.time_share, n, generator)[:, :, None]
        for _ in range(self.band_masks):
            hidden |= _stretch(torch.full((b,), bands), self.band_share, bands, generator)[:, None]
        return values.masked_fill(hidden, 0.0)


def _between(middle: float, share: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Numbers from middle / (1 + share) to middle · (1 + share), uniform in their logarithm."""
    return middle * (1 + share) ** (2 * torch.rand(shape, generator=generator) - 1)


def _stretched(spectra: Tensor, stretch: Tensor) -> Tensor:
    """Spectra (b, n, bins), each row's frequency axis stretched by a factor of its own (b,)."""
    b, n, bins = spectra.shape
    places = (torch.arange(bins) * stretch[:, None])[:, None].expand(b, n, bins)
    return _at(spectra.flatten(0, 1), places.flatten(0, 1)).view(b, n, bins)


def _at(rows: Tensor, places: Tensor) -> Tensor:
    """Rows (r, n) read between their numbers at places (r, m) by linear interpolation; beyond their end the last."""
    last = rows.shape[1] - 1
    places = places.clamp(0, last)
    below = places.floor().long()
    part = (places - below).to(rows.dtype)
    upper = rows.gather(1, (below + 1).clamp(max=last))
    return torch.lerp(rows.gather(1, below), upper, part)


def _stretch(lengths: Tensor, share: float, size: int, generator: Generator) -> Tensor:
    """(b, size): true in one stretch of each row, of up to a share of its length."""
    widths = torch.rand(len(lengths), generator=generator) * share * lengths
    starts = torch.rand(len(lengths), generator=generator) * (lengths - widths)
    places = torch.arange(size)
    return (places >= starts[:, None]) & (places + 1 <= (starts + widths)[:, None])
