"""The Legendre system, judged in float64 by scipy and by formulas written out as loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import cont2discrete
from scipy.special import eval_sh_legendre
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from lmu_hf import constants
from lmu_hf.constants import constant, exact
from lmu_hf.memory import memory_chunked, memory_recurrent
from lmu_hf.statespace import (
    BASES,
    LegendreSystem,
    continuous_system,
    decode_past,
    discrete_system,
    discretize_euler,
    discretize_zoh,
    impulse_response,
    shifted_legendre,
    spectral_radius,
)

ORDERS = (1, 2, 6, 64, 256, 468)
WINDOWS = [(order, theta) for order in ORDERS for theta in (order, 1.3 * order + 0.5, 784, 1e5) if theta >= order]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()


# --------------------------------------------------------------------------- continuous → discrete


@pytest.mark.parametrize("order, theta", [(1, 1.0), (2, 3.5), (7, 20.0), (64, 784.0)])
def test_the_continuous_system_is_the_written_formula(order, theta):
    A, B = continuous_system(order, theta)
    for i in range(order):
        assert B[i].item() == pytest.approx((2 * i + 1) * (-1) ** i / theta, rel=1e-15)
        for j in range(order):
            sign = -1 if i < j else (-1) ** (i - j + 1)
            assert A[i, j].item() == pytest.approx((2 * i + 1) / theta * sign, rel=1e-15)


@pytest.mark.parametrize("order, theta", WINDOWS)
def test_zero_order_hold_is_scipys(order, theta):
    A, B = continuous_system(order, theta)
    A_bar, B_bar = discretize_zoh(A, B)
    unread = np.zeros((1, order)), np.zeros((1, 1))
    expected_A, expected_B, *_ = cont2discrete((A.numpy(), B.numpy()[:, None], *unread), 1.0, method="zoh")
    assert np.abs(A_bar.numpy() - expected_A).max() < 1e-10
    assert np.abs(B_bar.numpy() - expected_B[:, 0]).max() < 1e-10


def test_euler_is_the_identity_plus_one_step_of_the_derivative():
    A, B = continuous_system(6, 50.0)
    A_bar, B_bar = discretize_euler(A, B)
    assert torch.equal(A_bar, torch.eye(6, dtype=torch.float64) + A)
    assert torch.equal(B_bar, B)


@pytest.mark.parametrize("order, theta", WINDOWS)
def test_the_memory_forgets_even_after_rounding_to_float32(order, theta):
    A_bar, _ = discrete_system(LegendreSystem(order, theta))
    assert spectral_radius(A_bar) < 1
    assert spectral_radius(A_bar.float()) < 1


def test_the_spectral_radius_is_the_largest_modulus():
    rotation = torch.tensor([[0.0, -0.9], [0.9, 0.0]])
    assert spectral_radius(rotation) == pytest.approx(0.9, abs=1e-6)


@pytest.mark.parametrize("order, theta", [(6, 6), (64, 128), (256, 784)])
def test_unstable_euler_is_refused_by_the_names_of_its_fields(order, theta):
    with pytest.raises(ValueError, match=rf"discretization='euler' with order={order} and theta={theta} is unstable"):
        discrete_system(LegendreSystem(order, theta, "euler"))


def test_euler_nears_the_zero_order_hold_as_the_window_grows():
    def gap(theta: float) -> float:
        zoh, euler = (discrete_system(LegendreSystem(6, theta, method))[0] for method in ("zoh", "euler"))
        return (zoh - euler).abs().max().item()

    # A first-order method: the error of one step falls with the square of the step, here 1/theta.
    assert gap(2e4) / gap(2e3) == pytest.approx(1e-2, rel=0.05)


# --------------------------------------------------------------------------- bases, impulse response


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("order, theta", [(1, 1.0), (6, 20.0), (64, 784.0), (256, 400.0)])
def test_a_basis_only_rescales_the_papers_coefficients(order, theta, basis):
    scale = exact("scale", LegendreSystem(order, theta, basis=basis))
    assert (scale > 0).all()
    paper, other = (
        impulse_response(*discrete_system(LegendreSystem(order, theta, basis=name)), 500)
        for name in ("legendre", basis)
    )
    # Each basis runs its own recurrence: rounding grows along 500 steps, hence not 1e-15.
    assert relative_error(other / scale[:, None], paper) < 1e-11


def test_the_scales_are_those_of_their_names():
    order = torch.arange(9, dtype=torch.float64)
    assert torch.equal(exact("scale", LegendreSystem(9, 30, basis="legendre")), torch.ones(9, dtype=torch.float64))
    orthonormal = exact("scale", LegendreSystem(9, 30, basis="orthonormal"))
    assert torch.allclose(orthonormal * torch.sqrt(2 * order + 1), torch.ones_like(order), atol=1e-15)


@pytest.mark.parametrize("order, theta", [(1, 1.0), (6, 20.0), (64, 100.0), (256, 784.0)])
def test_unit_rows_of_the_impulse_response_have_norm_one(order, theta):
    A_bar, B_bar = discrete_system(LegendreSystem(order, theta, basis="unit"))
    H = impulse_response(A_bar, B_bar, int(40 * theta) + 100)  # by then e^(-40) of the slowest coefficient is left
    assert torch.allclose(H.norm(dim=1), torch.ones(order, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 65])
def test_the_impulse_response_is_repeated_multiplication(length):
    A_bar, column = discrete_system(LegendreSystem(6, 20.0))
    H = impulse_response(A_bar, column, length)
    assert H.shape == (6, length)
    for j in range(length):
        assert torch.allclose(H[:, j], column, rtol=0, atol=1e-14)
        column = A_bar @ column


# --------------------------------------------------------------------------- the past, read out again


@pytest.mark.parametrize("order", [1, 2, 3, 6, 64, 256])
def test_shifted_legendre_polynomials_are_scipys(order):
    position = torch.linspace(0, 1, 41, dtype=torch.float64).reshape(41, 1)
    expected = eval_sh_legendre(np.arange(order), position.numpy())
    # scipy's own recurrence and ours round differently: 1e-12 at order 256, where |P| ≤ 1.
    assert np.abs(shifted_legendre(order, position)[:, 0].numpy() - expected).max() < 1e-11


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("order, theta, dtype", [(24, 200.0, torch.float64), (64, 784.0, torch.float32)])
def test_a_slow_signal_is_read_back_at_half_integer_delays(order, theta, dtype, basis):
    system = LegendreSystem(order, theta, basis=basis)
    n = int(3 * theta)

    def signal(t: Tensor) -> Tensor:
        # d coefficients resolve periods down to about 2θ/d; the shortest here is 6 times that, and long beside a step.
        shortest = 12 * theta / order
        return sum(torch.sin(2 * math.pi * t / (shortest * k) + k) / k for k in (1, 1.7, 2.9))

    t = torch.arange(n, dtype=torch.float64)
    u = signal(t).to(dtype)[None, :, None]
    _, memory = memory_chunked(u, system)
    held = torch.arange(0, int(theta) - 1)  # u held over step k stands for the signal half a step before the step's end
    decoded = decode_past(memory[0, 0], system, held + 0.5)
    assert decoded.dtype == dtype
    truth = signal(n - 1 - held.double())
    inner = slice(int(0.02 * theta), int(0.98 * theta))  # a polynomial fit is loosest at the window's two ends
    assert (decoded.double() - truth)[inner].abs().max() < 5e-3


def test_decoding_keeps_leading_axes_and_gradients():
    system = LegendreSystem(5, 20.0)
    memory = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    delays = torch.tensor([0.0, 7.5, 20.0])
    assert decode_past(memory, system, delays).shape == (2, 3, 4, 3)
    assert torch.autograd.gradcheck(lambda m: decode_past(m, system, delays), (memory[:1, :1],))


@pytest.mark.parametrize(
    "memory, delays, message",
    [
        (torch.zeros(2, 4), torch.tensor([1.0]), "4 coefficients .* the system has 5"),
        (torch.zeros(2, 5), torch.tensor([-0.5, 1.0]), r"delays must lie in \[0, theta=20\], got -0.5 to 1"),
        (torch.zeros(2, 5), torch.tensor([3.0, 21.0]), r"delays must lie in \[0, theta=20\], got 3 to 21"),
        (torch.zeros(2, 5), torch.tensor([math.nan]), "delays must lie in"),
    ],
)
def test_decoding_refuses_what_the_memory_cannot_hold(memory, delays, message):
    with pytest.raises(ValueError, match=message):
        decode_past(memory, LegendreSystem(5, 20.0), delays)


# --------------------------------------------------------------------------- fields


@given(order=st.one_of(st.integers(max_value=0), st.floats(), st.sampled_from(["4", None])))
def test_an_order_that_is_no_positive_integer_is_refused_by_name(order):
    with pytest.raises(ValueError, match="order must be an integer ≥ 1"):
        LegendreSystem(order, 10.0)


@given(
    theta=st.one_of(
        st.floats(max_value=1, exclude_max=True), st.sampled_from([math.nan, math.inf, 2e7, 10**400, True, "10", None])
    )
)
def test_a_window_that_is_no_number_of_steps_is_refused_by_name(theta):
    with pytest.raises(ValueError, match="theta must be a number of time steps from 1 to 1e\\+07"):
        LegendreSystem(4, theta)


@pytest.mark.parametrize("word", ["", "ZOH", "zoh ", "bilinear", "fourier", None])
def test_unknown_words_are_refused_by_name(word):
    with pytest.raises(ValueError, match="discretization must be one of"):
        LegendreSystem(4, 10.0, discretization=word)
    with pytest.raises(ValueError, match="basis must be one of"):
        LegendreSystem(4, 10.0, basis=word)


@given(order=st.integers(1, 500), theta=st.floats(1, 1e6) | st.integers(1, 10**6), basis=st.sampled_from(BASES))
def test_systems_of_equal_numbers_are_equal(order, theta, basis):
    system = LegendreSystem(order, theta, basis=basis)
    assert system == LegendreSystem(order, float(theta), basis=basis)
    assert hash(system) == hash(LegendreSystem(order, float(theta), basis=basis))
    assert isinstance(system.theta, float)


# --------------------------------------------------------------------------- constants, derived once

KINDS = ("A_bar", "B_bar", "scale", "A_power", "H_reversed", "H_spectrum", "chunk")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_is_built_once_and_then_the_same_object(dtype):
    system = LegendreSystem(5, 41.0)
    for kind in KINDS:
        first = constant(kind, system, 8, dtype, "cpu")
        assert constant(kind, LegendreSystem(5, 41.0), 8, dtype, torch.device("cpu")) is first
        assert first.dtype in (dtype, dtype.to_complex())


def test_a_constant_is_built_in_float64_and_rounded_last():
    system = LegendreSystem(64, 100.0)
    for kind in KINDS:
        double, single = (constant(kind, system, 8, dtype, "cpu") for dtype in (torch.float64, torch.float32))
        assert torch.equal(single, double.to(single.dtype))


AMBIENT = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "meta device": lambda: torch.device("meta"),
    "fake tensors": FakeTensorMode,
}


def assert_sound(kind: str, system: LegendreSystem, size: int, dtype: torch.dtype) -> None:
    """The remembered constant is an ordinary tensor of the right numbers, fit to be saved for a backward pass."""
    value = constant(kind, system, size, dtype, "cpu")
    assert type(value) is Tensor
    assert value.device.type == "cpu"
    assert value.dtype in (dtype, dtype.to_complex())
    assert not value.is_inference()
    assert not torch._C._functorch.is_functorch_wrapped_tensor(value)
    with constants._cache_lock:
        constants._cache.clear()
    assert torch.equal(value, constant(kind, system, size, dtype, "cpu"))
    x = torch.ones_like(value, requires_grad=True)
    (gradient,) = torch.autograd.grad((x * value).sum().abs(), x)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("name", AMBIENT)
def test_a_constant_derived_inside_a_torch_mode_is_valid_outside(name, basis, dtype):
    system = LegendreSystem(4, 30.0 + list(AMBIENT).index(name), basis=basis)
    with constants._cache_lock:
        constants._cache.clear()
    with AMBIENT[name]():
        for kind in KINDS:
            constant(kind, system, 8, dtype, "cpu")
    for kind in KINDS:
        assert_sound(kind, system, 8, dtype)


@pytest.mark.parametrize("name", [name for name in AMBIENT if name != "fake tensors"])  # never called under those
@pytest.mark.parametrize("kind", ["A_bar", "B_bar", "scale"])
def test_an_exact_constant_derived_inside_a_torch_mode_is_valid_outside(kind, name):
    system = LegendreSystem(4, 50.0 + list(AMBIENT).index(name), basis="unit")
    with constants._cache_lock:
        constants._cache.clear()
    with AMBIENT[name]():
        exact(kind, system)
    assert_sound(kind, system, 0, torch.float64)


@pytest.mark.parametrize("transform", ["grad", "vmap", "jvp", "vmap of grad"])
def test_constants_derived_inside_a_transform_are_valid_outside(transform):
    system = LegendreSystem(4, 70.0 + len(transform), basis="unit")
    with constants._cache_lock:
        constants._cache.clear()
    u = torch.randn(3, 2, 8, 1, dtype=torch.float64)

    def energy(u: Tensor) -> Tensor:
        for kind in KINDS:
            constant(kind, system, 8, torch.float64, "cpu")
        return memory_chunked(u, system)[0].square().sum()

    {
        "grad": lambda: torch.func.grad(energy)(u[0]),
        "vmap": lambda: torch.func.vmap(energy)(u),
        "jvp": lambda: torch.func.jvp(energy, (u[0],), (u[1],)),
        "vmap of grad": lambda: torch.func.vmap(torch.func.grad(energy))(u),
    }[transform]()
    for kind in KINDS:
        assert_sound(kind, system, 8, torch.float64)


def test_a_past_read_in_inference_mode_does_not_break_training():
    system = LegendreSystem(4, 90.0, basis="unit")
    with torch.inference_mode():
        decode_past(torch.zeros(1, 4, dtype=torch.float64), system, torch.tensor([0.5]))
        exact("A_bar", system)  # as LMUConfig does to check an Euler system
    u = torch.randn(1, 5, 1, dtype=torch.float64, requires_grad=True)
    memory_recurrent(u, system)[1].sum().backward()
    assert u.grad.isfinite().all()


def test_the_cache_of_constants_stays_under_its_budget(monkeypatch):
    monkeypatch.setattr(constants, "CACHE_BYTES", 64 * 2**10)
    system = LegendreSystem(16, 100.0)
    for length in range(1, 60):
        kept = constant("H_reversed", system, length, torch.float32, "cpu")
        assert sum(tensor.nbytes for tensor in constants._cache.values()) <= 64 * 2**10
    assert constant("H_reversed", system, 59, torch.float32, "cpu") is kept  # the newest is the one that stays
    dropped = constant("H_reversed", system, 1, torch.float32, "cpu")
    assert torch.allclose(dropped[0], discrete_system(system)[1].float())


def test_a_constant_larger_than_the_budget_is_still_served(monkeypatch):
    monkeypatch.setattr(constants, "CACHE_BYTES", 100)
    H = constant("H_reversed", LegendreSystem(16, 100.0), 300, torch.float64, "cpu")
    assert torch.allclose(H[-1], discrete_system(LegendreSystem(16, 100.0))[1])
    assert len(constants._cache) <= 1
