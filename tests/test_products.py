"""Routes of float32 products: measured, chosen, entered and left; and kept by a run that is resumed."""

import threading

import pytest
import torch

from lmu_hf.common import products
from lmu_hf.common.errors import InputError
from lmu_hf.common.products import Measured, choose_route, describe, fast_products, measure

SWITCH = products._switch()
needs_switch = pytest.mark.skipif(SWITCH is None, reason="this release of torch has no switch for oneDNN's products")


def setting() -> str | None:
    return None if SWITCH is None else SWITCH.fp32_precision


@pytest.fixture
def found(monkeypatch):
    """Pretend that routes were measured so; what is entered is not torch's own switch."""

    def pretend(**speeds: tuple[float, bool]) -> None:
        measured = tuple(Measured(route, speed, 1e-6, exact) for route, (speed, exact) in speeds.items())
        monkeypatch.setattr(products, "measure", lambda: measured)
        monkeypatch.setattr(products, "_is_untouched", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    return pretend


def test_torchs_own_route_is_exact_and_measuring_leaves_the_switch():
    before = setting()
    own, *others = measure()
    assert setting() == before
    assert own.route == "torch" and own.exact and 0 < own.error < 1e-5 and own.gflops > 0
    assert [other.route for other in others] == ([] if SWITCH is None else ["onednn"])


def test_numbers_that_are_hard_to_round_tell_every_shorter_format_from_float32():
    x, weight = products._hard(64, 256), products._hard(32, 256)
    exact = x.double() @ weight.double().T
    assert x.min() > 1 and x.max() < 2

    def error(y: torch.Tensor) -> float:
        return ((y.double() - exact).abs() / exact).max().item()

    def parts(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        high = t.bfloat16().float()
        return high, (t - high).bfloat16().float()

    def tf32(t: torch.Tensor) -> torch.Tensor:
        return (t.view(torch.int32) & -(2**13)).view(torch.float32)

    own = error(x @ weight.T)
    (x_high, x_low), (w_high, w_low) = parts(x), parts(weight)
    limit = products.TIMES_FLOAT32 * own
    assert own < 1e-6
    assert error(x_high @ w_high.T) > limit  # bfloat16, as tiles of AMX would round
    assert error(tf32(x) @ tf32(weight).T) > limit
    assert error(x_high @ w_high.T + x_high @ w_low.T + x_low @ w_high.T) > limit  # a sum of two bfloat16


def test_the_fastest_exact_route_is_chosen(found):
    found(torch=(100.0, True), onednn=(230.0, True))
    assert choose_route("auto") == "onednn" and choose_route("torch") == "torch"
    found(torch=(100.0, True), onednn=(230.0, False))
    assert choose_route("auto") == "torch"
    with pytest.raises(InputError, match="error of 1e-06"):
        choose_route("onednn")
    found(torch=(100.0, True), onednn=(102.0, True))  # no gain to speak of
    assert choose_route("auto") == "torch"
    found(torch=(100.0, True))
    with pytest.raises(InputError, match="no route of products"):
        choose_route("onednn")


def test_the_environment_names_the_route(found, monkeypatch):
    found(torch=(100.0, True), onednn=(230.0, True))
    monkeypatch.setenv("LMU_HF_MATMUL", "torch")
    assert choose_route() == "torch" and describe()["asked"] == "torch"
    monkeypatch.setenv("LMU_HF_MATMUL", "")
    assert choose_route() == "onednn"
    monkeypatch.setenv("LMU_HF_MATMUL", "mkl")
    with pytest.raises(InputError, match="LMU_HF_MATMUL must be auto, torch or onednn, got 'mkl'"):
        choose_route()


@needs_switch
def test_the_switch_is_turned_for_as_long_as_it_is_entered(found, monkeypatch):
    found(torch=(100.0, True), onednn=(230.0, True))
    before = setting()
    with fast_products("onednn") as route, fast_products("onednn"):
        assert route == "onednn" and setting() == "bf16"
    assert setting() == before
    with fast_products("torch"):
        assert setting() == before
    with pytest.raises(KeyError), fast_products("onednn"):
        raise KeyError
    assert setting() == before


@needs_switch
def test_threads_share_the_switch_and_the_last_one_turns_it_back(found, monkeypatch):
    found(torch=(100.0, True), onednn=(230.0, True))
    before, inside, leave = setting(), threading.Event(), threading.Event()

    def other() -> None:
        with fast_products("onednn"):
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    with fast_products("onednn"):
        thread.start()
        assert inside.wait(30)
        with pytest.raises(RuntimeError, match="by onednn until that is left"), fast_products("torch"):
            pass
    assert setting() == "bf16"  # the other thread is still inside
    monkeypatch.setenv("LMU_HF_MATMUL", "auto")
    with fast_products() as route:
        assert route == "onednn"
    leave.set()
    thread.join()
    assert setting() == before


@needs_switch
def test_what_somebody_has_set_himself_is_left():
    before = setting()
    SWITCH.fp32_precision = "ieee"
    try:
        with fast_products("auto") as route:
            assert route == "torch" and setting() == "ieee"
    finally:
        SWITCH.fp32_precision = before


@needs_switch
def test_a_layer_by_either_route_is_the_same_to_float32():
    if not all(measured.exact for measured in measure()):
        pytest.skip("on this processor oneDNN rounds to less than float32")
    layer, x = torch.nn.Linear(256, 128), torch.randn(64, 256)

    def gradients() -> list[torch.Tensor]:
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        return [y.detach(), *torch.autograd.grad(y.square().sum(), (leaf, layer.weight))]

    own = gradients()
    with fast_products("onednn"):
        other = gradients()
    # Sums of 256 terms in another order: some units in the last place.
    for one, two in zip(own, other, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5 * one.abs().max().item())


def test_bfloat16_is_timed_beside_the_fastest_exact_route():
    before = setting()
    assert products.bfloat16_gain() > 0 and setting() == before
