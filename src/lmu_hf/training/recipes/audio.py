"""Sounds, read frame by frame: the recipe that is made by the sounds, and tones and chirps for a first try."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .base import Recipe, recipe
from .own import Made, passes

if TYPE_CHECKING:  # recipes are listed by commands that need nothing of this
    from ...data.audio import Sounds

KIND = "audio"
MINUTES = 8.0  # of one core; what a plain command may take
PREPARED = 0.2  # of the budget goes to reading, the line beside and evaluations
FEW = 500
HOP_SECONDS, LONG_HOP_SECONDS = 0.016, 0.032  # from frame to frame; a frame is half as long again
LOWEST = 100.0  # Hz; hum and the offset of a recording lie below
MELS = 100  # of a band: wider than the harmonics of a voice are apart, so that its pitch does not show
FEWEST_BANDS = 8
RELATIVE_FLOOR = 1e-3  # 30 dB below the mean power so far: above what most rooms and microphones add
LONG = 4.0  # seconds: sounds of this median have frames half as dense
WIDTH, SMALL_WIDTH = 102, 64
WINDOWS = (0.08, 0.32)  # seconds that the two groups of a block's channels look back over
# Operations a second, forwards and backwards, that a core is taken to get out of short frames: an estimate.
SPEED = 2.5e10
MOST_EPOCHS = 30
WHY = {
    "hop_length": "samples from one frame to the next; frames are half as long again, so that they overlap by a third",
    "bands": f"mel bands of a frame, each {MELS} mels wide, from {LOWEST:g} Hz to half the sampling rate",
    "relative_floor": "power in units of a sound's mean power so far below which nothing is told apart: cancels level "
    "and background",
    "adaptation": "frames of the training mean that a sound's own mean so far is mixed with: cancels voice and room",
    "hidden_size": f"width of a block; {SMALL_WIDTH} below {FEW} training sounds, {WIDTH} from there on",
    "theta": "frames that each half of a block's channels looks back over: 80 ms and 320 ms",
    "pooling": "the mean over time, which a stream carries as a running mean",
    "variations": "speed, pace, formants, level, colour, noise, masks and the quiet at both ends are varied, so that "
    "new voices and other recordings are less new",
    "eval_steps": "one validation, at the end: the schedule ends in the best weights, and their average is kept",
}


@dataclass(frozen=True)
class Heard:
    """What the rule asks of the training sounds.

    Args:
        rows: how many there are.
        classes: how many classes.
        rate: samples a second.
        seconds: of all of them.
        median: seconds of a sound in the middle.
    """

    rows: int
    classes: int
    rate: int
    seconds: float
    median: float


def _stack(hop: float) -> dict[str, Any]:
    """Two causal residual blocks with two windows each; what a stream of frames is classified by."""
    windows = [max(2, round(seconds / hop)) for seconds in WINDOWS]
    return {
        "block_type": "residual",
        "num_hidden_layers": 2,
        "order": 4,
        "theta": [windows, windows],
        "pooling": "mean",
    }


@recipe
def own_audio() -> Recipe:
    """Sounds of your own: the default where a folder or a table is named. What they decide is printed. No record.

    Cost: at most eight minutes of one core, or ``--minutes``.
    Source: made up here; Park et al. (2019) for the masks, Jaitly and Hinton (2013) for the warped frequency axis.
    """
    return Recipe(
        name="own-audio",
        kind=KIND,
        architecture=_stack(HOP_SECONDS) | {"hidden_size": WIDTH, "intermediate_size": WIDTH},
        data={"made_by_rows": True},
        learning_rate=4e-3,
        weight_decay=0.05,
        batch_size=32,
        averaging=0.998,
        max_grad_norm=1.0,
        label_smoothing=0.1,
    )


@recipe
def chirps() -> Recipe:
    """Tones and chirps that are made up: which way does the pitch go? What a plain command trains. No record.

    Cost: a minute of one core.
    Source: made up here.
    """
    return replace(
        own_audio(),
        name="chirps",
        architecture=_stack(HOP_SECONDS) | {"hidden_size": 48, "intermediate_size": 48},
        data={"bands": 40, "adaptation": 20.0},
        epochs=6,
        batch_size=16,
        averaging=0.95,
    )


def measure(sounds: "Sounds") -> Heard:
    """Measure training sounds."""
    import numpy as np

    seconds = sounds.seconds("train")
    return Heard(
        rows=len(seconds),
        classes=len(sounds.labels),
        rate=sounds.rate,
        seconds=float(seconds.sum()),
        median=float(np.median(seconds)),
    )


def make_recipe(of: Heard, minutes: float = MINUTES) -> Made:
    """The recipe that sounds make.

    Args:
        of: the sounds.
        minutes: the budget, of one core.
    """
    reasons: dict[str, str] = {}

    def say(name: str, value: Any, why: str = "") -> Any:
        reasons[name] = why or WHY[name]
        return value

    hop = LONG_HOP_SECONDS if of.median > LONG else HOP_SECONDS
    frames = {
        "hop_length": say("hop_length", max(1, round(hop * of.rate))),
        "frame_length": max(2, round(1.5 * hop * of.rate)),
        "bands": say("bands", bands_of(of.rate)),
        "lowest": min(LOWEST, of.rate / 20),
        "floor": 1e-10,  # of silence in numbers alone: what is quiet is levelled
        "relative_floor": say("relative_floor", RELATIVE_FLOOR),
        "adaptation": say("adaptation", 20.0),
    }
    small = of.rows < FEW
    width = say("hidden_size", SMALL_WIDTH if small else WIDTH)
    base = own_audio()
    architecture = _stack(hop) | {"hidden_size": width, "intermediate_size": width, "hidden_dropout": 0.1}
    say("theta", None)
    say("pooling", None)
    cost = of.seconds / hop * 6 * numbers(width, frames["bands"], of.classes)
    epochs = say("epochs", *_epochs(of, cost, minutes))
    batch = say("batch_size", 16 if of.rows < 4000 else 32, "sounds in a training step; the fewer sounds, the smaller")
    steps = epochs * -(-of.rows // batch)
    share = float(f"{(1 - PREPARED) * minutes:.6g}")
    made = replace(
        base,
        architecture=base.architecture | architecture,
        lstm=dict.fromkeys(("hidden_size", "intermediate_size"), lstm_width(width)),
        epochs=epochs,
        batch_size=batch,
        # The average reaches over a twentieth of the run, however long that is.
        averaging=round(max(0.9, min(0.999, 1 - 20 / steps)), 4),
        eval_steps=say("eval_steps", steps),
        minutes=say("minutes", share, f"for training, of {minutes:g} in all (--minutes)"),
    )
    options = {**frames, "variations": say("variations", True)}
    return Made(made, options, reasons)


def bands_of(rate: int) -> int:
    """How many mel bands a recipe has at a sampling rate: one for every :data:`MELS` mels."""
    top, bottom = (2595 * math.log10(1 + hertz / 700) for hertz in (rate / 2, min(LOWEST, rate / 20)))
    return max(FEWEST_BANDS, round((top - bottom) / MELS))


def numbers(width: int, bands: int, classes: int) -> int:
    """Weights of the stack of this rule, nearly: what a frame costs twice of forwards, and four times of backwards."""
    # A block: encoder w·w, readout of 4 coefficients 4w·w and of its input w·w, gate, up and down 3 w·w.
    return 2 * 9 * width**2 + bands * width + width * classes


def lstm_width(width: int) -> int:
    """The width of an LSTM's blocks that have about as many weights."""
    # An LSTM has 8 w·w in the place of a memory's 6 w·w, and the same 3 w·w behind it.
    return round(width * math.sqrt(9 / 11))


def _epochs(of: Heard, cost: float, minutes: float) -> tuple[int, str]:
    """Passes over the sounds, and why.

    Args:
        of: the sounds.
        cost: operations of one epoch.
        minutes: the budget.
    """
    most = int((1 - PREPARED) * 60 * minutes * SPEED / cost)
    return passes(f"{of.seconds:,.0f} s of sound", MOST_EPOCHS, most, minutes)


def recipe_for(sounds: "Sounds", minutes: float = MINUTES) -> Made:
    """The recipe that labelled sounds make."""
    made = make_recipe(measure(sounds), minutes)
    return Made(replace(made.recipe, data=made.options), made.options, made.reasons)
