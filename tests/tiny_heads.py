"""Small heads with every parameter drawn anew, what they read, and how near their outputs must lie."""

import torch
from torch import Tensor
from torch.testing import assert_close

from lmu_hf import LMUConfig

VOCABULARY, WIDTH, LABELS = 11, 6, 3
TINY = {
    **{"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "order": 3, "theta": [5.0, 9.0]},
    **{"num_highway_layers": 1, "num_labels": LABELS},
}
SMALL_IMAGE = {"input_size": 1, "image_size": 4}
SERIES = {"input_size": 2, "output_size": 2}
POOLINGS = {
    **{pooling: {"pooling": pooling} for pooling in ("last", "mean", "max")},
    **{f"{pooling} both ways": {"pooling": pooling, "bidirectional": True} for pooling in ("mean", "max")},
}


def tiny(**changes) -> LMUConfig:
    return LMUConfig(**{**TINY, **changes})


def build(kind: type, dtype: torch.dtype = torch.float64, **changes):
    """A model whose every parameter is drawn anew, so that no bias is zero and no gate neutral."""
    model = kind(tiny(**changes))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.to(dtype).eval()


def draw_ids(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def assert_near(actual: Tensor, expected: Tensor) -> None:
    """Within 1e-12 in float64; within 1e-6 of the largest number in float32, some ten roundings."""
    tolerance = 1e-12 if actual.dtype == torch.float64 else 1e-6
    assert_close(actual, expected, rtol=0, atol=tolerance * max(expected.abs().max().item(), 1))


def in_one_row(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    types = [torch.zeros_like(first), torch.ones_like(second)]
    return {"input_ids": torch.cat([first, second], 1), "token_type_ids": torch.cat(types, 1)}


IDS = draw_ids(2, 5)
