"""The paper's argument, equation by equation: one linear recurrence, run in several ways that never differ.

In float64 every form is held to 1e-11 of the largest number it returns: 16,384 roundings of 1e-16, which add up to
about 4e-12 at order 468 and θ = 100,000, and some room. A gradient is measured against the largest gradient of the
call, since what an initial memory leaves after many windows may be as small as 1e-300.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import dlsim
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lmu_hf.chunks import chunk_length, steps_walked
from lmu_hf.constants import exact
from lmu_hf.memory import (
    MEMORY_FORMS,
    advance,
    free_response,
    memory_chunked,
    memory_fft,
    memory_final,
    memory_recurrent,
    memory_step,
    memory_toeplitz,
)
from lmu_hf.statespace import BASES, LegendreSystem, discrete_system, impulse_response
from old_torch import exports_strictly, marked, scans

ORDERS = (1, 2, 6, 64, 256, 468)
SYSTEM = LegendreSystem(4, 9.0)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def any_memory(b: int, d_u: int, system: LegendreSystem) -> Tensor:
    """A random memory of a size that the basis gives to the memory of noise."""
    return noise(b, d_u, system.order) * exact("scale", system)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()


# --------------------------------------------------------------------------- (19) to (23): the recurrence is right


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("order, theta", [(1, 1.0), (6, 20.0), (64, 100.0)])
def test_equation_19_the_recurrence_is_scipys_simulation(order, theta, basis):
    system = LegendreSystem(order, theta, basis=basis)
    A_bar, B_bar = (constant.numpy() for constant in discrete_system(system))
    u, initial = noise(1, 50, 1), any_memory(1, 1, system)
    # scipy puts the state before the step out, so that m_t is A x_t + B u_t.
    spoken = (A_bar, B_bar[:, None], A_bar, B_bar[:, None], 1)
    _, expected, _ = dlsim(spoken, u[0].numpy(), x0=initial[0, 0].numpy())
    m, final = memory_recurrent(u, system, initial)
    assert relative_error(m[0, :, 0], torch.from_numpy(expected)) < 1e-13
    assert torch.equal(final, m[:, -1])


def test_equation_22_the_recurrence_is_a_sum_over_the_past():
    system = LegendreSystem(6, 20.0)
    A_bar, B_bar = (constant.numpy() for constant in discrete_system(system))
    u = noise(1, 30, 1)
    m, _ = memory_recurrent(u, system)
    for t in range(30):
        expected = sum(np.linalg.matrix_power(A_bar, t - j) @ B_bar * u[0, j, 0].item() for j in range(t + 1))
        assert np.abs(m[0, t, 0].numpy() - expected).max() < 1e-14


def test_equation_23_an_impulse_leaves_the_columns_of_H():
    impulse = torch.zeros(1, 40, 1, dtype=torch.float64)
    impulse[0, 0] = 1
    H = impulse_response(*discrete_system(SYSTEM), 40)
    for form in (memory_recurrent, memory_chunked, memory_toeplitz, memory_fft):
        assert (form(impulse, SYSTEM)[0][0, :, 0] - H.T).abs().max() < 1e-15


# --------------------------------------------------------------------------- (24) to (26): every form is the recurrence


class Case(NamedTuple):
    order: int
    theta: float
    n: int
    b: int = 2
    d_u: int = 3
    carried: bool = True
    basis: str = "legendre"
    discretization: str = "zoh"

    @property
    def system(self) -> LegendreSystem:
        return LegendreSystem(self.order, self.theta, self.discretization, self.basis)

    def __str__(self) -> str:
        return "-".join(str(field) for field in self)


def around_a_chunk(order: int) -> tuple[int, ...]:
    L = chunk_length(16384, order)
    return (1, 2, L - 1, L, L + 1, 784)


def awkward_cases() -> list[Case]:
    """Every order at every awkward length; windows, channels and bases take turns."""
    cases = []
    for row, order in enumerate(ORDERS):
        for column, n in enumerate(around_a_chunk(order)):
            theta = (float(order), 1.5 * order + 0.7, 1e5)[(row + column) % 3]
            b, d_u = (2, 3) if column % 2 else (1, 1)
            carried, basis = (row + column // 2) % 2 == 0, BASES[(row + 2 * column) % 3]
            cases.append(Case(order, theta, n, b, d_u, carried, basis))
    return cases


EULER = [Case(order, 1e5, 100, discretization="euler") for order in (1, 6, 64)]
LONG = [Case(order, theta, 16384, 1, 1) for order, theta in product(ORDERS[:4], (5.0, 1e5)) if theta >= order]
LONGEST = [Case(256, 8192.0, 16384, 1, 1), Case(468, 1e5, 16384, 1, 1), Case(6, 50.0, 16384, 1, 1, carried=False)]
TOEPLITZ_LONG = [Case(64, 784.0, 4096, 1, 1), Case(6, 1000.0, 16384, 1, 1)]  # the second writes 2 GiB
SHORT = awkward_cases() + EULER


def slow(cases: list[Case]) -> list:
    return [pytest.param(case, marks=pytest.mark.slow) for case in cases]


Pull = tuple[Tensor | None, Tensor]


class Outcome(NamedTuple):
    m: Tensor
    final: Tensor
    gradients: tuple[Tensor, ...]


def outcome(form: Callable, case: Case, u: Tensor, initial: Tensor | None, pull: Pull) -> Outcome:
    """What a form returns, and the gradients of ⟨m, pull_m⟩ + ⟨final, pull_final⟩ with respect to all its inputs."""
    inputs = [x.clone().requires_grad_() for x in (u, initial) if x is not None]
    m, final = form(inputs[0], case.system, *inputs[1:])
    pulled = (final * pull[1]).sum()
    if pull[0] is not None:
        pulled = pulled + (m * pull[0]).sum()
    return Outcome(m.detach(), final.detach(), torch.autograd.grad(pulled, inputs))


def assert_same(actual: Outcome, expected: Outcome, form: str) -> None:
    assert relative_error(actual.m, expected.m) < 1e-11, f"m of {form}"
    assert relative_error(actual.final, expected.final) < 1e-11, f"final of {form}"
    largest = max(gradient.abs().max() for gradient in expected.gradients)
    for name, got, want in zip(("u", "initial"), actual.gradients, expected.gradients, strict=False):
        assert (got - want).abs().max() / largest < 1e-11, f"gradient of {form} with respect to {name}"


def question(case: Case) -> tuple[Tensor, Tensor | None, Pull]:
    u = noise(case.b, case.n, case.d_u)
    initial = any_memory(case.b, case.d_u, case.system) if case.carried else None
    return u, initial, (noise(case.b, case.n, case.d_u, case.order), noise(case.b, case.d_u, case.order))


@pytest.mark.parametrize("case", SHORT + slow(LONG + LONGEST), ids=str)
def test_every_form_gives_the_states_of_the_recurrence_and_all_its_gradients(case):
    u, initial, pull = question(case)
    truth = outcome(memory_recurrent, case, u, initial, pull)
    forms = {"chunked", "fft"} | ({"toeplitz"} if case.n <= 784 else set()) | ({"step"} if case.n == 1 else set())
    for form in sorted(forms):
        assert_same(outcome(MEMORY_FORMS[form], case, u, initial, pull), truth, form)


@pytest.mark.parametrize("case", SHORT + slow(LONGEST), ids=str)
def test_equation_25_the_last_state_alone_is_the_recurrences(case):
    u, initial, (_, pull) = question(case)
    truth = outcome(memory_recurrent, case, u, initial, (None, pull))
    last = outcome(memory_final, case, u, initial, (None, pull))
    assert torch.equal(last.m, last.final[:, None])
    assert_same(last, truth._replace(m=truth.m[:, -1:]), "final")


@pytest.mark.slow
@pytest.mark.parametrize("case", TOEPLITZ_LONG, ids=str)
def test_equation_24_the_toeplitz_form_serves_thousands_of_steps(case):
    u, initial, pull = question(case)
    expected = outcome(memory_recurrent, case, u, initial, pull)
    assert_same(outcome(memory_toeplitz, case, u, initial, pull), expected, "toeplitz")


SMALL_FORMS = {
    "step": memory_step,
    "recurrent": memory_recurrent,
    "chunked": memory_chunked,
    "chunked by 2": partial(memory_chunked, chunk=2),
    "fft": memory_fft,
    "toeplitz": memory_toeplitz,
    "final": memory_final,
}


@pytest.mark.parametrize("name", SMALL_FORMS)
@pytest.mark.parametrize("carried", [False, True], ids=["fresh", "carried"])
def test_every_form_differentiates_twice(name, carried):
    system = LegendreSystem(3, 4.0)
    inputs = [noise(2, 1 if name == "step" else 5, 2)] + ([noise(2, 2, 3)] if carried else [])
    for x in inputs:
        x.requires_grad_()

    def run(u: Tensor, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
        m, final = SMALL_FORMS[name](u, system, initial)
        return m.square(), final.sin()  # else the second derivative of a linear map is zero, and shows nothing

    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


# --------------------------------------------------------------------------- float32


@pytest.mark.slow
def test_float32_is_as_close_to_float64_as_its_number_of_roundings_allows():
    """d = 256, θ = 8192, n = 16,384, in the paper's basis.

    Each state is rounded once a product that it goes through, by at most half a unit, 2⁻²⁴ of the largest: the FFT's
    log₂ 2n = 15 times; the blocks' once for each that is walked to reach it, and once within its own.
    Single steps round the carried memory 16,384 times, and it forgets a rounding only after a window: 1.2e-5 seen.
    """
    system, n = LegendreSystem(256, 8192.0), 16384
    u = noise(1, n, 1)
    m, _ = memory_fft(u, system)
    largest = m.abs().max()
    length = chunk_length(n, system.order)
    for form, products in ((memory_fft, 15), (memory_chunked, steps_walked(n // length, length) + 1)):
        assert (form(u.float(), system)[0].double() - m).abs().max() / largest < products * 2**-24, form.__name__
    assert (memory_final(u.float(), system)[1].double() - m[:, -1]).abs().max() / largest < 1e-6
    memory, worst = None, 0.0
    for u_t, m_t in zip(u.float().split(1, dim=1), m.unbind(1), strict=True):
        _, memory = memory_step(u_t, system, memory)
        worst = max(worst, (memory.double() - m_t).abs().max().item())
    assert worst / largest < 3e-5


@pytest.mark.parametrize("form", ["recurrent", "chunked", "fft", "toeplitz", "final"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_form_answers_in_the_dtype_it_was_asked_in(form, dtype):
    m, final = MEMORY_FORMS[form](noise(1, 40, 1).to(dtype), SYSTEM, noise(1, 1, 4).to(dtype))
    assert m.dtype == final.dtype == dtype


# --------------------------------------------------------------------------- the last state costs no states


class LargestTensor(TorchDispatchMode):
    """Notes the largest storage that any operation writes or looks at, forward or backward, in bytes."""

    nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in torch.utils._pytree.tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.nbytes = max(self.nbytes, leaf.untyped_storage().nbytes())
        return result


def largest_tensor(form: Callable, b: int, n: int, d_u: int, system: LegendreSystem) -> int:
    u = noise(b, n, d_u).requires_grad_()
    initial = any_memory(b, d_u, system).requires_grad_()
    form(u, system, initial)  # H is derived and remembered: it has n·d numbers, and no batch
    with LargestTensor() as seen:
        form(u, system, initial)[1].sum().backward()
    return seen.nbytes // u.element_size()


@pytest.mark.parametrize("n", [1000, 5000])
def test_the_last_state_never_materialises_the_others(n):
    b, d_u, d = 3, 2, 16
    system = LegendreSystem(d, 500.0)
    assert largest_tensor(memory_final, b, n, d_u, system) < b * n * d_u * d / 4
    # It does not grow with the batch beyond u itself, in blocks that are a power of two.
    assert largest_tensor(memory_final, 16 * b, n, d_u, system) <= 2 * 16 * b * n * d_u
    assert largest_tensor(memory_chunked, b, n, d_u, system) >= b * n * d_u * d  # the probe sees what there is to see


# --------------------------------------------------------------------------- what a linear, causal system must be

PARALLEL = (memory_chunked, memory_fft, memory_toeplitz)
lengths = st.integers(1, 80)
seeds = st.integers(0, 2**20)


@pytest.mark.parametrize("form", PARALLEL)
def test_channels_are_independent(form):
    u, initial = noise(2, 40, 3), noise(2, 3, 4)
    m, final = form(u, SYSTEM, initial)
    for c in range(3):
        alone, alone_final = form(u[..., c : c + 1], SYSTEM, initial[:, c : c + 1])
        assert torch.allclose(m[:, :, c : c + 1], alone, rtol=0, atol=1e-14)
        assert torch.allclose(final[:, c : c + 1], alone_final, rtol=0, atol=1e-14)


@pytest.mark.parametrize("form", [*PARALLEL, memory_final])
@given(n=lengths, seed=seeds, factor=st.floats(-10, 10))
def test_every_form_is_linear_in_input_and_memory(form, n, seed, factor):
    torch.manual_seed(seed)
    (u, v), (p, q) = noise(2, 1, n, 2), noise(2, 1, 2, 4)
    together, _ = form(u + factor * v, SYSTEM, p + factor * q)
    apart = form(u, SYSTEM, p)[0] + factor * form(v, SYSTEM, q)[0]
    assert (together - apart).abs().max() < 1e-13 * (1 + abs(factor))


@pytest.mark.parametrize("form", PARALLEL)
@given(n=lengths, delay=lengths, seed=seeds)
def test_a_delayed_input_gives_delayed_states(form, n, delay, seed):
    torch.manual_seed(seed)
    u = noise(1, n, 2)
    later, _ = form(torch.cat([u.new_zeros(1, delay, 2), u], dim=1), SYSTEM)
    assert later[:, :delay].abs().max() < 1e-14
    assert torch.allclose(later[:, delay:], form(u, SYSTEM)[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", PARALLEL)
@given(n=lengths, change=lengths, seed=seeds)
def test_no_state_depends_on_a_later_input(form, n, change, seed):
    torch.manual_seed(seed)
    u = noise(1, n, 1)
    changed = u.clone()
    changed[:, min(change, n - 1) + 1 :] += 1
    until = min(change, n - 1) + 1
    assert torch.allclose(form(u, SYSTEM)[0][:, :until], form(changed, SYSTEM)[0][:, :until], rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", [*PARALLEL, memory_final])
@given(n=st.integers(2, 80), cuts=st.sets(st.integers(1, 79), max_size=4), seed=seeds)
def test_a_sequence_split_anywhere_continues_from_the_carried_memory(form, n, cuts, seed):
    torch.manual_seed(seed)
    u, memory = noise(2, n, 1), noise(2, 1, 4)
    m, final = memory_recurrent(u, SYSTEM, memory)
    edges = [0, *sorted(cut for cut in cuts if cut < n), n]
    pieces = []
    for start, end in pairwise(edges):
        states, memory = form(u[:, start:end], SYSTEM, memory)
        pieces.append(states)
        assert torch.allclose(memory, m[:, end - 1], rtol=0, atol=1e-13)
    assert torch.allclose(memory, final, rtol=0, atol=1e-13)
    if form is not memory_final:
        assert torch.allclose(torch.cat(pieces, dim=1), m, rtol=0, atol=1e-13)


@given(n=lengths, chunk=st.integers(1, 100), seed=seeds)
def test_the_size_of_a_chunk_does_not_matter(n, chunk, seed):
    torch.manual_seed(seed)
    u, initial = noise(1, n, 2), noise(1, 2, 4)
    expected = memory_recurrent(u, SYSTEM, initial)
    for got, want in zip(memory_chunked(u, SYSTEM, initial, chunk=chunk), expected, strict=True):
        assert torch.allclose(got, want, rtol=0, atol=1e-13)


@given(n=st.integers(1, 10**6), order=st.integers(1, 1000))
def test_the_chosen_chunk_is_never_longer_than_the_sequence_nor_its_constant_than_the_bound(n, order):
    L = chunk_length(n, order)
    assert 1 <= L <= n
    assert (order + L) * L * order <= 8e6 or L <= 16


@pytest.mark.parametrize("form", [*PARALLEL, memory_final])
def test_no_length_is_frozen(form):
    u = noise(1, 100, 1)
    m, _ = memory_recurrent(u, SYSTEM)
    for n in (100, 1, 33, 64, 7, 100):
        assert torch.allclose(form(u[:, :n], SYSTEM)[1], m[:, n - 1], rtol=0, atol=1e-13)


# --------------------------------------------------------------------------- a memory left alone


def left_alone(memory: Tensor, steps: int) -> Tensor:
    A_bar = discrete_system(SYSTEM)[0]
    for _ in range(steps):
        memory = memory @ A_bar.T
    return memory


@given(steps=st.integers(0, 200))
def test_advance_is_repeated_multiplication(steps):
    memory = noise(2, 3, 4)
    assert torch.allclose(advance(memory, SYSTEM, steps), left_alone(memory, steps), rtol=0, atol=1e-13)


@given(steps=st.lists(st.integers(0, 200), min_size=1, max_size=5))
def test_advance_moves_each_row_by_its_own_steps(steps):
    memory = noise(len(steps), 3, 4)
    expected = torch.cat([left_alone(row[None], k) for row, k in zip(memory, steps, strict=True)])
    assert torch.allclose(advance(memory, SYSTEM, torch.tensor(steps)), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 3, 31, 64, 65])
def test_the_free_response_is_the_recurrence_without_input(n):
    initial = noise(2, 3, 4)
    expected, _ = memory_recurrent(torch.zeros(2, n, 3, dtype=torch.float64), SYSTEM, initial)
    assert torch.allclose(free_response(initial, SYSTEM, n), expected, rtol=0, atol=1e-13)


# --------------------------------------------------------------------------- what is refused, and in which words


@pytest.mark.parametrize("form", MEMORY_FORMS)
@pytest.mark.parametrize(
    "u, initial, error, message",
    [
        (torch.zeros(5, 1), None, ValueError, r"u must be \(batch ≥ 1, time ≥ 1, channels ≥ 1\), got \(5, 1\)"),
        (torch.zeros(0, 1, 1), None, ValueError, r"got \(0, 1, 1\)"),
        (torch.zeros(1, 0, 1), None, ValueError, r"got \(1, 0, 1\)"),
        (torch.zeros(1, 1, 0), None, ValueError, r"got \(1, 1, 0\)"),
        (torch.zeros(1, 1, 1, dtype=torch.bfloat16), None, TypeError, "u must be float32 or float64.*bfloat16"),
        (torch.zeros(1, 1, 1, dtype=torch.float16), None, TypeError, "u must be float32 or float64.*float16"),
        (torch.zeros(1, 1, 1, dtype=torch.int64), None, TypeError, "u must be float32 or float64.*int64"),
        (torch.zeros(2, 1, 3), torch.zeros(2, 3, 5), ValueError, r"initial .* = \(2, 3, 4\), got \(2, 3, 5\)"),
        (torch.zeros(2, 1, 3), torch.zeros(1, 3, 4), ValueError, r"initial .* = \(2, 3, 4\), got \(1, 3, 4\)"),
        (torch.zeros(1, 1, 1), noise(1, 1, 4), TypeError, "initial must have u's dtype torch.float32, .*float64"),
    ],
)
def test_every_form_names_what_was_wrong_with_its_inputs(form, u, initial, error, message):
    with pytest.raises(error, match=message):
        MEMORY_FORMS[form](u, SYSTEM, initial)


def test_a_step_is_one_step():
    with pytest.raises(ValueError, match="memory_step takes one time step, got 2"):
        memory_step(noise(1, 2, 1), SYSTEM)


@pytest.mark.parametrize("basis", BASES)
def test_steps_forget_a_window_of_a_million_as_slowly_as_they_should(basis):
    """Ā is within 3e-5 of I: rounded to float32 beside the ones, it forgets at a rate that is wrong by 6 %."""
    system, u = LegendreSystem(16, 1e6, basis=basis), torch.rand(1, 310_000, 1, generator=torch.manual_seed(0))
    before, u = u.split([300_000, 10_000], dim=1)
    start = memory_final(before.double(), system)[1]
    memory = start.float()
    for step in u.split(1, dim=1):
        memory = memory_step(step, system, memory)[1]
    exactly = memory_final(u.double(), system, start)[1]
    assert (memory - exactly).abs().max() < 3e-5 * exactly.abs().max()  # by the product alone: 3e-4


def test_a_toeplitz_matrix_that_fits_no_machine_is_refused_before_it_is_written():
    with pytest.raises(ValueError, match=r"memory_form='toeplitz' would write 74.5 GiB for u \(1, 100000, 1\)"):
        memory_toeplitz(noise(1, 100_000, 1), SYSTEM)


# --------------------------------------------------------------------------- the rest of PyTorch


@pytest.mark.parametrize("form", ["recurrent", "chunked", "fft", "toeplitz", "final"])
def test_a_form_vectorises_over_a_further_axis(form):
    run = partial(MEMORY_FORMS[form], system=SYSTEM)
    u, initial = noise(3, 2, 40, 1), noise(3, 2, 1, 4)
    m, final = torch.func.vmap(lambda u, initial: run(u, initial=initial))(u, initial)
    for k in range(3):
        expected = run(u[k], initial=initial[k])
        assert torch.allclose(m[k], expected[0], rtol=0, atol=1e-13)
        assert torch.allclose(final[k], expected[1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", ["recurrent", "chunked", "fft", "toeplitz", "final"])
def test_per_sample_gradients_are_the_gradients_of_each_sample(form):
    def energy(u: Tensor) -> Tensor:
        return MEMORY_FORMS[form](u[None], SYSTEM)[1].square().sum()

    u = noise(3, 40, 2)
    per_sample = torch.func.vmap(torch.func.grad(energy))(u)
    for k in range(3):
        row = u[k].clone().requires_grad_()
        (expected,) = torch.autograd.grad(energy(row), row)
        assert torch.allclose(per_sample[k], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("form", marked({name: name for name in MEMORY_FORMS}, {"scanned"}, scans))
def test_a_form_compiles_without_a_graph_break(form, backend):
    torch._dynamo.reset()
    u, initial = noise(2, 1 if form == "step" else 40, 1).requires_grad_(), noise(2, 1, 4).requires_grad_()
    plain = partial(MEMORY_FORMS[form], system=SYSTEM)
    compiled = torch.compile(lambda u, initial: plain(u, initial=initial), fullgraph=True, backend=backend)
    found, expected = compiled(u, initial), plain(u, initial=initial)
    found_gradients, expected_gradients = (
        torch.autograd.grad(m.square().sum() + final.sin().sum(), (u, initial)) for m, final in (found, expected)
    )
    for got, want in zip((*found, *found_gradients), (*expected, *expected_gradients), strict=True):
        assert torch.allclose(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("strict", marked({"False": False, "True": True}, {"True"}, exports_strictly))
@pytest.mark.parametrize("form", marked({name: name for name in MEMORY_FORMS}, {"scanned"}, scans))
def test_a_form_exports_with_its_shape(form, strict):
    class Memory(nn.Module):
        def forward(self, u: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
            return MEMORY_FORMS[form](u, SYSTEM, initial)

    shape = (2, 1 if form == "step" else 40, 1)
    program = torch.export.export(Memory(), (noise(*shape), noise(2, 1, 4)), strict=strict).module()
    u, initial = noise(*shape), noise(2, 1, 4)
    for got, want in zip(program(u, initial), MEMORY_FORMS[form](u, SYSTEM, initial), strict=True):
        assert torch.allclose(got, want, rtol=0, atol=1e-13)
