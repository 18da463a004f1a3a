"""Small heads with every parameter drawn anew; and what they read."""

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from families import config_of
from lmu_hf import LMUConfig
from lmu_hf.configuration_lmu import CHOICES
from tiny_stacks import TINY, draw_ids, randomised

LABELS = 3
SMALL_IMAGE = {"input_size": 1, "image_size": 4}
SERIES = {"input_size": 2, "output_size": 2}
POOLINGS = {
    **{pooling: {"pooling": pooling} for pooling in CHOICES["pooling"]},
    **{f"{pooling} both ways": {"pooling": pooling, "bidirectional": True} for pooling in CHOICES["pooling"][1:]},
}
FEW = settings(max_examples=20, deadline=None)


def tiny(**changes) -> LMUConfig:
    return config_of({**TINY, "num_labels": LABELS, **changes})


def build(kind: type, dtype: torch.dtype = torch.float64, **changes):
    return randomised(kind(tiny(**changes)), dtype)


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def in_one_row(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    types = [torch.zeros_like(first), torch.ones_like(second)]
    return {"input_ids": torch.cat([first, second], 1), "token_type_ids": torch.cat(types, 1)}


IDS = draw_ids(2, 5)


@st.composite
def masks(draw_from, longest: int = 10) -> Tensor:
    """Any mask that leaves every row a real step."""
    b, n = draw_from(st.integers(1, 3)), draw_from(st.integers(1, longest))
    row = st.lists(st.booleans(), min_size=n, max_size=n).filter(any)
    return torch.tensor(draw_from(st.lists(row, min_size=b, max_size=b)))
