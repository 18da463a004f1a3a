"""Series of real values to classify: the recipe follows from the rows, as it does for texts."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .base import Recipe, recipe
from .own import Made

if TYPE_CHECKING:  # recipes are listed by commands that need nothing of this
    from ...data.series import LabelledSeries

KIND = "series-classification"
ORDER = 8
WINDOWS = 8  # lengths of kernels
SHORTEST = 9  # steps of the shortest window, as of MiniRocket's kernels
KERNELS = 2048
MIXTURES = 8  # of a series of several channels, at most


@dataclass(frozen=True)
class Measured:
    """What the rule asks of the training rows.

    Args:
        rows, channels: how many.
        median, longest: steps of a series in the middle, and of the longest one.
    """

    rows: int
    channels: int
    median: int
    longest: int


@recipe
def own_series() -> Recipe:
    """Series of your own, or made-up waves: the default of ``lmu-hf train series``. No record.

    Cost: seconds of one core.
    Source: Dempster, Schmidt and Webb, arXiv 2012.08791, with polynomials for kernels.
    """
    return Recipe(
        name="own-series",
        kind=KIND,
        architecture={
            "block_type": "lmu",
            "num_hidden_layers": 1,
            "order": ORDER,
            "theta": [[9.0, 99.0]],  # the rows decide
            "memory_channels": 2,
            "hidden_size": KERNELS,
            "hidden_act": "identity",
            "pooling": "share",
        },
        # An LSTM is trained by gradients: what follows is its budget, a plain one, not yet chosen by experiments.
        lstm={"hidden_size": 64, "bidirectional": True, "pooling": "mean_max", "classifier_dropout": 0.3},
        learning_rate=3e-3,
        weight_decay=0.01,
        epochs=100,
        batch_size=16,
        averaging=0.99,
        max_grad_norm=1.0,
        label_smoothing=0.05,
    )


def measure(rows: "LabelledSeries") -> Measured:
    """Measure training rows."""
    lengths = sorted(rows.splits["train"].lengths.tolist())
    return Measured(len(lengths), len(rows.channels), lengths[len(lengths) // 2], lengths[-1])


def make_recipe(of: Measured) -> Made:
    """The recipe that rows make."""
    shortest = min(SHORTEST, max(1.0, of.median / 2))
    ratio = max(of.median, shortest) / shortest
    windows = [round(shortest * ratio ** (number / (WINDOWS - 1)), 2) for number in range(WINDOWS)]
    mixtures = 1 if of.channels == 1 else min(MIXTURES, 2 * of.channels)
    reasons = {
        "theta": f"windows of {windows[0]:g} to {windows[-1]:g} steps: the median series has {of.median}",
        "memory_channels": f"{len(windows)} windows, each of {mixtures} mixture{'s' * (mixtures > 1)} of "
        f"{of.channels} channel{'s' * (of.channels > 1)}",
        "hidden_size": "random kernels, whose shares of positive responses the readout is given",
    }
    base = own_series()
    architecture = {"theta": [windows], "memory_channels": len(windows) * mixtures}
    steps = 100 * math.ceil(of.rows / base.batch_size)
    made = replace(base, architecture=base.architecture | architecture, eval_steps=max(1, steps))
    return Made(made, {}, reasons)
