"""Votes for the class of a sequence, by the n-grams that it holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .fields_lmu import Option, option
from .layers import is_plain_tensor
from .layout import Layout
from .ngrams import NGramRows, check_tokens

SHARPNESS = 10.0  # of the mean vote over a sequence: about what the few n-grams that matter in a review need
GAIN = 30.0  # of a weight over its parameter, for steps of Adam as small as those of the other weights


@option
@dataclass(frozen=True)
class Votes(Option):
    """``LMUConfig(votes={…})``: n-grams that vote for the class of their sequence.

    Args:
        sizes: lengths of n-grams, each from 1 to 64.
        buckets: votes for n-grams of each length; those of one hash share one.
    """

    name = "votes"

    sizes: list[int]
    buckets: int = 262_144

    def __post_init__(self) -> None:
        self._check_lengths("sizes", range(1, 65))
        self._check_whole("buckets")

    def check(self, config: Any) -> None:
        """Only tokens have n-grams."""
        check_tokens(self.name, config)

    def count_numbers(self, config: Any) -> dict[str, int]:
        """A vote for each class, and a weight."""
        return {"votes: sizes x buckets": len(self.sizes) * self.buckets * ((config.num_labels or 1) + 1)}


class VoteTable(nn.Embedding):
    """Rows that are zeros at first."""

    def reset_parameters(self) -> None:
        """As torch's own, called when the table is made."""
        nn.init.zeros_(self.weight)

    def draw_weights(self) -> None:
        """Nothing votes before it is counted."""
        nn.init.zeros_(self.weight)


class NGramVotes(NGramRows):
    """What the n-grams of a sequence say of its class: naive Bayes, whose votes training weighs anew.

    An n-gram votes for a class by the logarithm of how much more often sequences of that class hold it than those of
    the others, as :meth:`count` finds it, times a weight that is trained and begins at 1. (Wang and Manning, "Baselines
    and Bigrams", ACL 2012, weigh so the features of an SVM.) Before :meth:`count` nothing votes. In training, the votes
    alone and the stack alone are to decide each sequence, in use both together.

    Args:
        option: lengths of n-grams and rows of each table.
        classes: how many classes there are, at least 2.

    Raises:
        ValueError: there is nothing to choose between.
    """

    def __init__(self, option: Votes, classes: int) -> None:
        if classes < 2:
            raise ValueError(f"votes are for one class against others: num_labels is {classes}")
        super().__init__(option.sizes, option.buckets)
        rows = len(self.sizes) * self.buckets
        self.odds = VoteTable(rows, classes).requires_grad_(False)  # counted, not trained
        self.change = VoteTable(rows, 1)
        self._counted = False

    def forward(self, ids: Tensor, packing: Layout | None = None, ranks: Any = None) -> Tensor:
        """Votes (b, n, classes) of the n-grams that end at each of n tokens, zero where they are masked.

        Raises:
            RuntimeError: weights are to be trained of votes that were never counted.
        """
        if self.training and not self._counted and not torch.compiler.is_compiling():
            # By a call and not by its weight, which may be offloaded.
            self._counted = bool(self.odds(torch.arange(len(self.sizes) * self.buckets, device=ids.device)).any())
            if not self._counted:
                raise RuntimeError("no n-gram has a vote yet: call votes.count(sequences, labels) before training")
        rows = self.find(ids, packing, ranks=ranks)
        votes = SHARPNESS * (self.odds(rows) * (1 + GAIN * self.change(rows))).mean(-2)
        return votes if packing is None else packing.unpack(votes)

    @torch.no_grad()
    def count(self, sequences: Iterable[Tensor], labels: Iterable[int]) -> None:
        """Find what every n-gram votes for.

        Of each class, c sequences of which hold an n-gram, log(c + 1) less its mean over classes, as if all classes
        had equally many sequences.

        Args:
            sequences: (n,) token ids of each.
            labels: the class of each.

        Raises:
            ValueError: a class has no sequence, or there is one label more or less than there are sequences.
            RuntimeError: the table of votes is not there to be written: it is offloaded or quantised.
        """
        if not is_plain_tensor(self.odds.weight):
            raise RuntimeError("votes are written into the table odds: count them before it is offloaded or quantised")
        held = torch.zeros_like(self.odds.weight, dtype=torch.float32)  # bfloat16 cannot count beyond 256
        sizes = torch.zeros_like(held[0])
        for ids, label in zip(sequences, labels, strict=True):
            held[self.find(ids[None]).unique(), label] += 1  # once a sequence, however often it holds one
            sizes[label] += 1
        if not bool(sizes.all()):
            raise ValueError(f"every class needs a sequence to count n-grams in; class {int(sizes.argmin())} has none")
        logs = torch.log1p(held * (sizes.mean() / sizes))
        self.odds.weight.copy_(logs - logs.mean(1, keepdim=True))
