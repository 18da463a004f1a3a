"""What only a CUDA device can show: every form of the memory, the readout and a model, there and on the processor."""

import copy

import pytest
import torch

from lmu_hf import LMUConfig, LMUForCausalLM
from lmu_hf.layers import LMULayer
from lmu_hf.memory import MEMORY_FORMS
from lmu_hf.statespace import LegendreSystem

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SYSTEM = LegendreSystem(6, 40.0)


@pytest.mark.parametrize("form", [form for form in MEMORY_FORMS if form != "step"])
def test_forms_agree_with_the_processor(form):
    u, initial = torch.randn(2, 65, 3, dtype=torch.float64), torch.randn(2, 3, 6, dtype=torch.float64)
    for given in (None, initial):
        there = MEMORY_FORMS[form](u.cuda(), SYSTEM, None if given is None else given.cuda())
        for one, other in zip(there, MEMORY_FORMS[form](u, SYSTEM, given), strict=True):
            torch.testing.assert_close(one.cpu(), other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels", [1, 16])
def test_a_layer_and_its_gradients_agree_with_the_processor(channels):
    layer = LMULayer(5, 7, channels, SYSTEM, hidden_act="gelu").double()
    x = torch.randn(3, 130, 5, dtype=torch.float64)
    results = []
    for device in ("cpu", "cuda"):
        there, given = copy.deepcopy(layer).to(device), x.to(device).requires_grad_()
        y, final = there(given, return_final=True)
        (y.square().sum() + final.square().sum()).backward()
        results.append([y, final, given.grad, *(p.grad for p in there.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other.detach().cpu(), one.detach(), rtol=1e-9, atol=1e-9)


def test_a_model_generates_the_same_tokens_as_on_the_processor():
    config = LMUConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, memory_channels=8, order=4, theta=20.0)
    model, ids = LMUForCausalLM(config).double().eval(), torch.randint(1, 50, (2, 9))
    told = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    wanted = model.generate(ids, **told)
    assert torch.equal(model.cuda().generate(ids.cuda(), **told).cpu(), wanted)


def test_a_compiled_step_trains_as_one_that_is_not():
    config = LMUConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, memory_channels=8, order=4, theta=20.0)
    model, ids = LMUForCausalLM(config).cuda(), torch.randint(1, 50, (4, 64), device="cuda")
    losses = [call(ids, labels=ids, use_cache=False).loss for call in (model, torch.compile(model, dynamic=False))]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-4)  # float32 sums in another order
