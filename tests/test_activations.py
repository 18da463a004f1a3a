"""Products that go tile by tile with their activation, against plain operations; and whole layers made so."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import lmu_hf.activations as activations
from lmu_hf.activations import ACTIVATIONS, Rest, activated_product, goes_by_tiles, round_once
from lmu_hf.chunks import Plan, Sequences
from lmu_hf.layers import LMULayer
from lmu_hf.layout import Layout, Reading
from lmu_hf.statespace import LegendreSystem

EVERY = sorted(ACTIVATIONS)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture
def tiny_tiles(monkeypatch):
    monkeypatch.setattr(activations, "TILE_OUTPUTS", 24)
    monkeypatch.setattr(activations, "TILE_DEPTH", 0)


@pytest.fixture
def fused(monkeypatch):
    """Layers of any size are read by the fused plan, in chunks of eight steps."""
    monkeypatch.setattr("lmu_hf.readout.plan_readout", lambda shape, may_fuse=True: Plan(True, min(8, shape.n)))


def factors(rows: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(part.requires_grad_() for part in (noise(rows, 3), noise(rows, 2), noise(5, 6)))


def plain(left: Tensor, right: Tensor, K: Tensor, activation: str) -> Tensor:
    return ACTIVATIONS[activation](torch.cat([left, right], dim=1) @ K)


@pytest.mark.parametrize("activation", EVERY)
@pytest.mark.parametrize("rows", [1, 4, 7])
def test_tiles_give_the_product_and_its_gradients(activation, rows, tiny_tiles):
    parts, pull = factors(rows), noise(rows, 6)
    outcomes = []
    for product in (activated_product, plain):
        o = product(*parts, activation)
        outcomes.append([o, *torch.autograd.grad(o, parts, pull)])
    for got, want in zip(*outcomes, strict=True):
        assert torch.allclose(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("activation", EVERY)
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (0, 1)], ids=str)
def test_only_the_gradients_that_are_asked_for(activation, wanted, tiny_tiles):
    parts = [part.detach().requires_grad_(place in wanted) for place, part in enumerate(factors())]
    asked, pull = [parts[place] for place in wanted], noise(7, 6)
    got, want = (torch.autograd.grad(f(*parts, activation), asked, pull) for f in (activated_product, plain))
    for one, other in zip(got, want, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("activation", EVERY)
def test_it_differentiates_twice(activation, tiny_tiles):
    parts = tuple(part.detach().add(0.1).requires_grad_() for part in factors(3))
    assert torch.autograd.gradgradcheck(lambda *given: activated_product(*given, activation), parts)


@pytest.mark.parametrize("activation", EVERY)
def test_it_is_mapped_recorded_and_differentiated_forwards(activation):
    left, right, K = (part.detach() for part in factors())
    want = plain(left, right, K, activation)
    mapped = torch.func.vmap(lambda a, b: activated_product(a[None], b[None], K, activation)[0])(left, right)
    assert torch.allclose(mapped, want, rtol=0, atol=1e-13)
    torch._dynamo.reset()
    compiled = torch.compile(activated_product, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(left, right, K, activation), want, rtol=0, atol=1e-13)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(left, torch.ones_like(left))
        tangents = [forward_ad.unpack_dual(f(dual, right, K, activation)).tangent for f in (activated_product, plain)]
    assert torch.allclose(*tangents, rtol=0, atol=1e-13)


@pytest.mark.parametrize("activation", EVERY)
def test_gradients_of_several_pulls_are_mapped(activation, tiny_tiles):
    parts, pulls = factors(), noise(2, 7, 6)
    got, want = (
        torch.autograd.grad(f(*parts, activation), parts, pulls, is_grads_batched=True)
        for f in (activated_product, plain)
    )
    for one, other in zip(got, want, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-13)


def test_what_is_kept_is_no_product_where_the_output_or_a_second_product_serves():
    left, right, K = (part.detach().float().requires_grad_() for part in (noise(64, 3), noise(64, 2), noise(5, 600)))
    kept: list[Tensor] = []
    for activation in EVERY:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            o = activated_product(left, right, K, activation)
        wide = [t for t in kept if t.numel() == o.numel()]
        assert kept and all(t.data_ptr() == o.data_ptr() for t in wide), activation


def test_an_accelerator_gets_plain_operations():
    assert goes_by_tiles(torch.zeros(1)) and not goes_by_tiles(torch.zeros(1, device="meta"))


@pytest.mark.parametrize("d_x", [2, activations.NARROW_INPUT + 1])
def test_the_rest_of_a_layer_is_added_before_the_activation(d_x):
    y, x, weight, bias = noise(2, 3, 4), noise(2, 3, d_x), noise(4, d_x), noise(4)
    want = torch.relu(y + x @ weight.T + bias)
    assert torch.allclose(Rest(x, weight, bias, "relu").complete(y), want, rtol=0, atol=1e-13)


def test_an_input_is_rounded_as_autocast_would():
    x = torch.randn(3)
    with torch.autocast("cpu", torch.bfloat16):
        assert round_once(x).dtype == torch.bfloat16
        assert round_once(x.double()).dtype == torch.float64


def layers(d_x: int, hidden_act: str, d_u: int) -> tuple[LMULayer, LMULayer]:
    """A layer that goes as one product, and one of equal weights that walks step by step."""
    system = LegendreSystem(3, 9.0)
    torch.manual_seed(0)
    fast, slow = (
        LMULayer(d_x, 160, d_u, system, hidden_act=hidden_act, memory_form=form).double()
        for form in ("auto", "recurrent")
    )
    slow.load_state_dict(fast.state_dict())
    return fast, slow


def outcome(layer: LMULayer, x: Tensor, initial: Tensor | None, reading: Reading | None) -> list[Tensor]:
    x = x.clone().requires_grad_()
    o, final = layer(x, initial, reading, return_final=True)
    torch.manual_seed(1)
    pulled = [x, *layer.parameters()]
    return [o, final, *torch.autograd.grad((o * noise(*o.shape)).sum() + (final * noise(*final.shape)).sum(), pulled)]


@pytest.mark.parametrize("hidden_act", EVERY)
@pytest.mark.parametrize("d_x, d_u", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("carried", [False, True], ids=["fresh", "carried"])
@pytest.mark.parametrize("n", [2, 64, 131])
def test_a_layer_of_a_narrow_input_is_that_of_the_recurrence(hidden_act, d_x, d_u, carried, n, fused, tiny_tiles):
    fast, slow = layers(d_x, hidden_act, d_u)
    x, initial = noise(3, n, d_x), noise(3, d_u, 3) if carried else None
    for got, want in zip(outcome(fast, x, initial, None), outcome(slow, x, initial, None), strict=True):
        assert torch.allclose(got, want, rtol=0, atol=1e-11 * max(1.0, want.abs().max().item()))


@pytest.mark.parametrize("hidden_act", ["gelu", "relu"])
def test_packed_sequences_of_a_narrow_input_begin_afresh(hidden_act, fused):
    fast, _ = layers(1, hidden_act, 1)
    lengths = (40, 1, 23)
    x = noise(1, sum(lengths), 1)
    layout = Layout(x.shape[1])
    layout.sequences = Sequences(lengths)
    packed = fast(x, None, Reading(layout))[0]
    ends = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    alone = torch.cat([fast(x[:, start:end])[0] for start, end in pairwise(ends)], dim=1)
    assert torch.allclose(packed, alone, rtol=0, atol=1e-12)


def test_one_product_is_what_a_narrow_layer_makes(fused, monkeypatch):
    fast, _ = layers(1, "gelu", 1)
    made: list[int] = []
    monkeypatch.setattr("lmu_hf.readout.activated_product", lambda *given: made.append(1) or activated_product(*given))
    fast(noise(2, 64, 1))
    assert made


@pytest.mark.parametrize("hidden_act", ["identity", "gelu"])
@pytest.mark.parametrize("carried", [False, True], ids=["fresh", "carried"])
@pytest.mark.parametrize("n", [2, 7, 64])
def test_the_last_state_of_numbers_is_that_of_the_recurrence(hidden_act, carried, n):
    fast, slow = layers(1, hidden_act, 1)
    for layer in (fast, slow):
        layer.encoder.weight.data.fill_(1.3)
        layer.encoder.bias.data.fill_(-0.7)
    x, initial, reading = noise(3, n, 1), noise(3, 1, 3) if carried else None, Reading(Layout(n), "last")
    assert fast._writes_numbers(x, reading.layout) and not slow._writes_numbers(x, reading.layout)
    for got, want in zip(outcome(fast, x, initial, reading), outcome(slow, x, initial, reading), strict=True):
        assert torch.allclose(got, want, rtol=0, atol=1e-11)


def test_a_hooked_encoder_is_called_for_the_last_state():
    fast, _ = layers(1, "gelu", 1)
    x, reading, calls = noise(2, 9, 1), Reading(Layout(9), "last"), []
    want = fast(x, None, reading)[0]
    fast.encoder.register_forward_hook(lambda *_: calls.append(1))
    assert torch.allclose(fast(x, None, reading)[0], want, rtol=0, atol=1e-12) and calls == [1]
