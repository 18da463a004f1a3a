"""Narrower weights, chosen by the user: bfloat16, and int8 as torch packs it, through `generate` and `stream`."""

import copy
import warnings

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from lmu_hf import LMUConfig, LMUForCausalLM
from lmu_hf.recording import TokenStep, carried_tensors

PROMPT = torch.tensor([[5, 17, 3, 40, 8]])


@pytest.fixture
def model() -> LMUForCausalLM:
    config = LMUConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, memory_channels=8, order=4, theta=20.0)
    return LMUForCausalLM(config).eval()


def packed(model: LMUForCausalLM) -> nn.Module:
    if torch.backends.quantized.engine == "none":
        pytest.skip("this build of torch packs no int8 weights")
    from torch.ao.quantization import quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch tells everybody to take torchao
        return quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)


def narrowed(model: LMUForCausalLM, weights: str) -> nn.Module:
    return packed(model) if weights == "int8" else copy.deepcopy(model).to(torch.bfloat16)


@pytest.mark.parametrize("weights", ["bf16", "int8"])
def test_a_stream_takes_the_tokens_that_generate_takes(model, weights):
    narrow = narrowed(model, weights)
    streamed = list(narrow.stream(PROMPT, max_new_tokens=24))
    generated = narrow.generate(PROMPT, max_new_tokens=24, do_sample=False, pad_token_id=0, eos_token_id=None)
    assert generated[0, PROMPT.shape[1] :].tolist() == streamed


@pytest.mark.parametrize("weights, tolerance", [("bf16", 2**-5), ("int8", 0.1)])  # some units of their last places
def test_logits_are_near_those_of_float32(model, weights, tolerance):
    wanted = model(PROMPT).logits
    found = narrowed(model, weights)(PROMPT).logits.float()
    assert (found - wanted).abs().max() < tolerance * wanted.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("weights", ["bf16", "int8"])
def test_memories_stay_in_float32(model, weights):
    cache = DynamicCache(config=model.config)
    narrowed(model, weights)(PROMPT, past_key_values=cache, use_cache=True)
    memories = [tensor for tensor in carried_tensors(cache) if tensor.is_floating_point()]
    assert len(memories) == 2 and all(memory.dtype == torch.float32 for memory in memories)


def test_a_step_of_packed_weights_is_recorded(model):
    """Torch leaves in training mode what it packs; that must not cost the recording."""
    narrow = packed(model)
    assert any(module.training for module in narrow.modules())
    step, cache = TokenStep(narrow), DynamicCache(config=model.config)
    with torch.inference_mode():
        step.logits(PROMPT, cache)
        for _ in range(4):
            found = step.logits(PROMPT[:, :1], cache)
    assert step._recording is not None and found.shape == (1, 1, 50)
