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
WINDOWS = 12  # lengths of kernels
SHORTEST = 3  # steps of the shortest window
KERNELS = 4096
MOST_MEMORIES = 16  # of a window: a series of more channels is mixed
EPOCHS = 100  # where a model is trained by gradients
FARTHEST = 4  # medians of length that windows and silence reach to, at most


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
        # An LSTM is trained by gradients: what follows is its budget. Width and rate were chosen on folds of four sets.
        lstm={"hidden_size": 128, "bidirectional": True, "pooling": "mean_max", "classifier_dropout": 0.3},
        learning_rate=1e-2,
        weight_decay=0.01,
        epochs=EPOCHS,
        batch_size=16,
        averaging=0.99,
        max_grad_norm=1.0,
        label_smoothing=0.05,
        refit=True,
    )


def measure(rows: "LabelledSeries") -> Measured:
    """Measure training rows."""
    lengths = sorted(rows.splits["train"].lengths.tolist())
    return Measured(len(lengths), len(rows.channels), lengths[len(lengths) // 2], lengths[-1])


def reach(of: Measured) -> int:
    """Steps of the longest window, and of the silence behind shorter series: as long as the longest series, almost."""
    return min(of.longest, FARTHEST * of.median)


def make_recipe(of: Measured) -> Made:
    """The recipe that rows make."""
    ratio = max(reach(of), SHORTEST) / SHORTEST
    windows = [round(SHORTEST * ratio ** (number / (WINDOWS - 1)), 2) for number in range(WINDOWS)]
    memories = min(of.channels, MOST_MEMORIES)
    what = "channels" if memories == of.channels else f"mixtures of {of.channels} channels"
    reasons = {
        "theta": f"windows of {windows[0]:g} to {windows[-1]:g} steps: the longest series has {of.longest}, the median "
        f"{of.median}",
        "memory_channels": f"{len(windows)} windows, each of {memories} {what if memories > 1 else 'channel'}",
        "hidden_size": "random kernels, whose shares of positive responses the readout is given",
    }
    base = own_series()
    architecture = {"theta": [windows], "memory_channels": len(windows) * memories}
    steps = EPOCHS * math.ceil(of.rows / base.batch_size)
    made = replace(base, architecture=base.architecture | architecture, eval_steps=max(1, steps))
    return Made(made, {}, reasons)
