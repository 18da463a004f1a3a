"""Votes for tests, written or counted."""

import torch

from lmu_hf.pair_votes import PairVotes
from lmu_hf.votes import NGramVotes

OF_PAIRS = {"sizes": [1, 2], "buckets": 40, "trained": False, "normed": True}


def write_votes(votes: NGramVotes) -> None:
    """As a linear model might find them in pairs, or counted in three sequences."""
    if isinstance(votes, PairVotes):
        rows = len(votes.odds.weight)
        votes.write(0.01 * torch.randn_like(votes.odds.weight), squares=torch.rand(rows))  # so that logits are near 1
        votes.write_common(torch.randn_like(votes.common.weight))
    else:
        votes.count([torch.tensor([label, 3, 4]) for label in range(3)], range(3))
