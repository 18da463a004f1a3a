"""Small stacks of every kind with every parameter drawn anew, what they read, and how near their outputs must lie."""

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from families import config_of
from lmu_hf import LMUConfig, LMUModel

VOCABULARY, WIDTH = 11, 6
TINY = {
    **{"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "order": 3, "theta": [5.0, 9.0]},
    "num_highway_layers": 1,
}
MEMORY_READOUT = {"encoder": "identity", "readout": "memory", "num_hidden_layers": 1, "theta": 9.0, "block_type": "lmu"}
CAUSAL = {
    "lmu": {"block_type": "lmu"},
    "narrow": {"block_type": "lmu", "memory_channels": 2, "embedding_size": 4},
    "memory": {**MEMORY_READOUT, "embedding_size": 2},
    "highway": {"block_type": "highway", "embedding_size": 4},
    "residual": {"block_type": "residual", "basis": "unit"},
    "windows": {"block_type": "residual", "theta": [[3.0, 20.0], 9.0]},
    "deep lmu": {"block_type": "lmu", "deep_representations": True},
    "deep highway": {"block_type": "highway", "deep_representations": True},
    "n-grams": {"ngrams": {"sizes": [2, 4], "buckets": 50, "width": 3, "dropout": 0.0}},
    "deep residual": {"block_type": "residual", "deep_representations": True, "memory_channels": 2},
}
BOTH_WAYS = {
    "both ways memory": {**MEMORY_READOUT, "embedding_size": 1, "bidirectional": True, "pooling": "mean"},
    "both ways lmu": {"block_type": "lmu", "bidirectional": True, "pooling": "mean"},
    "both ways deep": {"block_type": "highway", "bidirectional": True, "pooling": "max", "deep_representations": True},
    "both ways residual": {"block_type": "residual", "bidirectional": True, "pooling": "mean"},
    "both ways windows": {"theta": [[3.0, 20.0], [5.0, 9.0, 30.0]], "bidirectional": True, "pooling": "mean"},
}
EVERY = CAUSAL | BOTH_WAYS
LONG = {"num_hidden_layers": 1, "block_type": "lmu", "order": 32, "theta": 100.0}


def tiny(**changes) -> LMUConfig:
    return config_of({**TINY, **changes})


def randomised(model: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Every parameter drawn anew, so that no bias is zero and no gate neutral."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.to(dtype).eval()


def build(changes: dict, dtype: torch.dtype = torch.float64) -> LMUModel:
    return randomised(LMUModel(tiny(**changes)), dtype)


def draw_ids(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def memories(output) -> list[Tensor]:
    """What each layer carries on, if anything."""
    return [layer.memory for layer in output.past_key_values.layers] if output.past_key_values is not None else []


def assert_near(actual: Tensor, expected: Tensor) -> None:
    """Within 1e-12 in float64; within 1e-6 of the largest number in float32, some ten roundings."""
    tolerance = 1e-12 if actual.dtype == torch.float64 else 1e-6
    assert_close(actual, expected, rtol=0, atol=tolerance * max(expected.abs().max().item(), 1))


def padded(kind: str, n: int) -> Tensor:
    """Three rows of n steps, masked in one way; the last row is whole."""
    t = torch.arange(n)
    rows = {
        "left": [t >= n - 2, t >= n // 3, t >= 0],
        "right": [t < 2, t < n // 2, t >= 0],
        "both sides": [(t > 0) & (t < n - 3), (t > n // 3) & (t < n // 2), t >= 0],
        "holes": [t % 3 == 1, (t < n // 4) | (t > n // 2), t >= 0],
    }
    return torch.stack(rows[kind])


def written_and_carried(model: LMUModel, ids: Tensor, piece: int) -> tuple[Tensor, Tensor]:
    """The signal that the first layer wrote, and the memory after it, reading in pieces."""
    written, cache = [], None
    handle = model.layers[0].memory.encoder.register_forward_hook(lambda _, __, u: written.append(u))
    with torch.no_grad():
        for part in ids.split(piece, dim=1):
            cache = model(part, past_key_values=cache, use_cache=True).past_key_values
    handle.remove()
    return torch.cat(written, dim=1), cache.layers[0].memory
