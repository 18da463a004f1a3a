"""Votes for the class of two sequences, by the n-grams that either or both of them hold."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .layout import Layout
from .votes import PLACES, SHARPNESS, Constant, NGramVotes, Votes, count_steps


class PairVotes(NGramVotes):
    """What the n-grams of two sequences say of their class together, as a linear model has found it.

    An n-gram votes by where it stands: in the first sequence alone, in the second alone, or in both; there is a table
    for each. How large a share of all n-grams stands where adds to that, since a rare n-gram has no vote, but that both
    sequences hold it says something.

    Args:
        option: as of :class:`NGramVotes`.
        classes: how many classes there are.

    Raises:
        ValueError: the votes are to be trained, or of words.
    """

    def __init__(self, option: Votes, classes: int) -> None:
        if option.trained or option.words:
            raise ValueError("votes of pairs are a linear model's, of tokens: set trained and words to false in votes")
        super().__init__(option, classes, places=PLACES)
        self.common = Constant(PLACES * len(self.sizes), classes)

    @property
    def table(self) -> int:
        """Rows of the table of one place."""
        return len(self.sizes) * self.buckets

    def compare(self, ids: Sequence[Tensor], packings: Sequence[Layout], seen: Sequence[Tensor | None]) -> Tensor:
        """Logits (b, classes) of pairs.

        Args:
            ids: (b, n) token ids of the first sequences, and (b, n') of the second.
            packings: how rows hold either.
            seen: of either, (b, n or 1, n'), true where a step of the other one is of the same pair; None if all are.

        Raises:
            RuntimeError: weights are to be trained beside votes that were never written.
        """
        self._check_found(ids[0].device)
        found = [self.find(one, packing) for one, packing in zip(ids, packings, strict=True)]
        rows = [packing.unpack(one) for one, packing in zip(found, packings, strict=True)]
        sums: Tensor | float = 0.0
        steps: Tensor | int = 0
        for place, packing in enumerate(packings):
            places = packing.pack(self._places(rows[place], rows[1 - place], seen[place], place))
            stand = F.one_hot(places, PLACES).transpose(-1, -2).flatten(-2)  # a column for each place and length
            votes = self._votes_of(found[place] + places * self.table)
            said = packing.unpack(torch.cat([votes, stand.to(votes)], dim=-1))
            count = count_steps(ids[place], packing)[:, None]
            sums, steps = sums + count * packing.pool(said, ("mean",)), steps + count
        means, columns = cast(Tensor, sums) / steps, len(self.common.weight)
        return self._normed(means[:, :-columns], cast(Tensor, steps)) + means[:, -columns:] @ self.common.weight

    def _places(self, rows: Tensor, others: Tensor, seen: Tensor | None, place: int) -> Tensor:
        """(b, n, lengths): 2 where the other sequence of the pair holds the n-gram as well, or else its own place."""
        parts = []
        for own, other in zip(rows.unbind(-1), others.unbind(-1), strict=True):
            alike = own[:, :, None] == other[:, None]
            parts.append((alike if seen is None else alike & seen).any(2))
        return torch.stack(parts, dim=-1).long() * (2 - place) + place

    @torch.no_grad()
    def shares(self, *ids: Tensor) -> tuple[Tensor, Tensor]:
        """As of :class:`NGramVotes`, of one pair.

        Args:
            ids: (n,) token ids of the first sequence, and (n',) of the second.
        """
        found = [self.find(one[None]) for one in ids]
        rows = [
            found[place] + self._places(found[place], found[1 - place], None, place) * self.table for place in range(2)
        ]
        held, counts = torch.cat(rows, dim=1).flatten().unique(return_counts=True)
        return held, counts * (SHARPNESS / (sum(map(len, ids)) * len(self.sizes)))

    @torch.no_grad()
    def write_common(self, common: Tensor) -> None:
        """Take on what shares of n-grams say, (places × lengths, classes), of the first place all lengths first."""
        self.common.weight.copy_(common)
