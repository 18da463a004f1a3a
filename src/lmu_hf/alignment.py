"""Two sequences side by side: what of one stands for each step of the other."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .activations import ACTIVATIONS
from .fields_lmu import Option, option

SHARPNESS = 8.0  # at first, of a choice among cosines
SHORTEST = 1e-2  # a step that is shorter, as of a word without a vector, has no direction; so gradients stay finite


@option
@dataclass(frozen=True)
class AlignmentOption(Option):
    """``LMUConfig(alignment={…})``: a pair classifier compares two sequences step by step.

    Args:
        size: width of what each comparison gives, which is then pooled.
    """

    name = "alignment"

    size: int

    def __post_init__(self) -> None:
        self._check_whole("size")

    def check(self, config: Any) -> None:
        """All steps are compared, so that all have to be pooled."""
        if config.pooling == "last":
            raise ValueError("alignment compares all steps: choose pooling 'mean', 'max' or 'mean_max'")

    def count_numbers(self, config: Any) -> dict[str, int]:
        """The comparison, and the first layer of the head that reads it."""
        read = self.size * 2 * len(config.pair_features)
        return {"alignment: size": 4 * config.hidden_size * self.size + config.head_hidden_size * read}


class Alignment(nn.Module):
    """Compares every step of a sequence with what stands for it in another.

    Beside step x of one sequence, c = Σ_j softmax_j(s · cos(x, y_j)) y_j is its counterpart among the steps y of the
    other, and f(W [x, c, |x − c|, x ⊙ c] + b) says how they differ: decomposable attention (Parikh et al. 2016,
    equations (1) to (3)), but that the weights follow from cosines of the steps themselves, with one number s to train
    in place of a network: frozen vectors say by themselves which words are alike. All pairs of steps are looked at, so
    that time and memory grow with the product of both lengths.

    Args:
        width: of a step.
        size: width of what comes out.
        hidden_act: f, a key of ``ACTIVATIONS``.
    """

    def __init__(self, width: int, size: int, hidden_act: str) -> None:
        super().__init__()
        self.hidden_act = hidden_act
        self.comparison = nn.Linear(4 * width, size)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))

    def draw_weights(self) -> None:
        """A choice that is neither soft nor final."""
        nn.init.constant_(self.sharpness, SHARPNESS)

    def forward(self, x: Tensor, other: Tensor, seen: Tensor | None = None) -> Tensor:
        """Comparisons (b, n, size) of the steps x (b, n, width) with their counterparts in ``other`` (b, n', width).

        Args:
            x: one sequence.
            other: the other one.
            seen: (b, n or 1, n'), true where a step of the other one may stand for a step of x, at least once for each;
                None if all may.
        """
        # Cosines lie in [−1, 1]: without s, the softmax could never single out one step.
        scores = self.sharpness * (_directions(x) @ _directions(other).mT)
        if seen is not None:
            scores = scores.masked_fill(~seen, -torch.inf)  # a row of these alone would be NaN
        # In half precision a sum over many steps would lose the small weights.
        weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))
        counterpart = weights.to(other.dtype) @ other
        pairs = torch.cat([x, counterpart, (x - counterpart).abs(), x * counterpart], dim=-1)
        return ACTIVATIONS[self.hidden_act](self.comparison(pairs))


def _directions(steps: Tensor) -> Tensor:
    return F.normalize(steps, dim=-1, eps=SHORTEST)
