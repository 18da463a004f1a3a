"""Small translation models of every kind with every parameter drawn anew, and what they read."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from families import config_of
from lmu_hf import LMUConfig, LMUForConditionalGeneration
from lmu_hf.blocks_lmu import BLOCKS

VOCABULARY, PAD, START, END = 29, 0, 1, 2
TINY = {
    **{"vocab_size": VOCABULARY, "hidden_size": 12, "num_hidden_layers": 2, "order": 3, "theta": [5.0, 30.0]},
    **{"num_decoder_layers": 3, "decoder_theta": [4.0, 9.0, 20.0], "num_highway_layers": 1, "num_attention_heads": 2},
    **{"is_encoder_decoder": True, "pad_token_id": PAD, "decoder_start_token_id": START, "eos_token_id": None},
}
KINDS = {
    **{block: {"block_type": block} for block in BLOCKS},
    "both ways": {"bidirectional": True},
    "deep": {"deep_representations": True, "embedding_size": 5, "block_type": "lmu"},
    "one depth": {"num_decoder_layers": None, "decoder_theta": None, "num_attention_heads": 1},
    "tied": {"tie_word_embeddings": True, "basis": "orthonormal"},
    "lstm": {"model_type": "lmu_lstm"},
    "windows": {"decoder_theta": [[2.0, 20.0], 9.0, [4.0, 5.0]], "bidirectional": True},
    "n-grams": {"ngrams": {"sizes": [2, 4], "buckets": 50, "width": 3, "dropout": 0.0}},
}
each_kind = pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)


def tiny(**changes) -> LMUConfig:
    return config_of({**TINY, **changes})


def build(dtype: torch.dtype = torch.float64, kind: type = LMUForConditionalGeneration, scale: float = 0.6, **changes):
    """A model whose every parameter is drawn anew and large: no bias is zero, and other sources say other things."""
    model = kind(tiny(**changes))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.to(dtype).eval()


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Tokens that are none of the special ones."""
    return torch.randint(END + 1, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def assert_near(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert_close(actual, expected, rtol=0, atol=tolerance * max(expected.abs().max().item(), 1))


def started(target: Tensor) -> Tensor:
    return torch.cat([torch.full_like(target[:, :1], START), target], dim=1)


def greedy(model: LMUForConditionalGeneration, source: Tensor, tokens: int = 12, **how) -> Tensor:
    return model.generate(source, max_new_tokens=tokens, do_sample=False, **how)
