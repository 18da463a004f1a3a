"""The readout without states against the states of the recurrence, read out: values, gradients, and what it keeps."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lmu_hf.chunks import LENGTHS, Plan, Shape, plan_readout, plans_for, readout_cost
from lmu_hf.constants import FEWEST_OUTPUTS, exact
from lmu_hf.memory import memory_recurrent
from lmu_hf.readout import (
    COLUMNS,
    LARGEST_WHOLE,
    TILE_NUMBERS,
    _pieces,
    read_states,
)
from lmu_hf.statespace import LegendreSystem
from old_torch import exports_strictly, marked

SYSTEM = LegendreSystem(4, 9.0)
WAYS = [(True, False), (False, False), (False, True)]  # fused, tiled, kept
PLANS = [Plan(fused, L, kept) for fused, kept in WAYS for L in (1, 4, 7)]
CHANNELS = (1, 3, COLUMNS)
OUTPUTS = (5, FEWEST_OUTPUTS)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def as_written(
    u: Tensor, system: LegendreSystem, weight: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    m, final = memory_recurrent(u, system, initial)
    return m.flatten(2) @ weight.T, final


def outcome(run: Callable, u: Tensor, system: LegendreSystem, weight: Tensor, initial: Tensor | None) -> list[Tensor]:
    """What is returned, and the gradients of a random pull on all of it."""
    inputs = [x.clone().requires_grad_() for x in (u, weight, initial) if x is not None]
    y, final = run(inputs[0], system, inputs[1], *inputs[2:])
    torch.manual_seed(1)
    pulled = (y * noise(*y.shape)).sum() + (final * noise(*final.shape)).sum()
    return [y.detach(), final.detach(), *torch.autograd.grad(pulled, inputs)]


def assert_same(got: list[Tensor], want: list[Tensor], tolerance: float = 1e-11) -> None:
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert (a - b).abs().max() <= tolerance * b.abs().max()


def question(b: int, n: int, d_u: int, system: LegendreSystem, d_o: int, carried: bool) -> tuple:
    initial = noise(b, d_u, system.order) * exact("scale", system) if carried else None
    return noise(b, n, d_u), system, noise(d_o, d_u * system.order), initial


@pytest.mark.parametrize("plan", [None, *PLANS], ids=str)
@pytest.mark.parametrize("d_u", CHANNELS)
@pytest.mark.parametrize("carried", [False, True], ids=["fresh", "carried"])
@pytest.mark.parametrize("n", [1, 3, 4, 70])
@pytest.mark.parametrize("d_o", OUTPUTS)
def test_the_dense_readout_and_its_gradients_are_those_of_the_recurrence(plan, d_u, carried, n, d_o):
    case = question(2, n, d_u, SYSTEM, d_o, carried)
    assert_same(outcome(partial(read_states, plan=plan), *case), outcome(as_written, *case))


@pytest.mark.parametrize("basis", ["legendre", "unit"])
@pytest.mark.parametrize("order, theta, n, d_u", [(64, 100.0, 600, 2), (6, 12.0, 1500, 16), (256, 1e5, 300, 1)])
@pytest.mark.parametrize("fused, kept", WAYS)
def test_high_orders_and_long_sequences_agree_to_rounding(order, theta, n, d_u, basis, fused, kept):
    case = question(1, n, d_u, LegendreSystem(order, theta, basis=basis), 3, True)
    for L in (2, 16):
        got = outcome(partial(read_states, plan=Plan(fused, L, kept)), *case)
        assert_same(got, outcome(as_written, *case))


@given(
    n=st.integers(1, 700),
    L=st.sampled_from(LENGTHS),
    d_u=st.sampled_from(CHANNELS),
    d_o=st.sampled_from(OUTPUTS),
    way=st.sampled_from(WAYS),
)
def test_no_length_and_no_block_matters(n, L, d_u, d_o, way):
    u, system, weight, initial = question(1, n, d_u, SYSTEM, d_o, True)
    got = read_states(u, system, weight, initial, Plan(way[0], L, way[1]))
    for a, b in zip(got, as_written(u, system, weight, initial), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("plan", [Plan(True, 2), Plan(False, 2), Plan(False, 2, kept=True)], ids=str)
@pytest.mark.parametrize("d_u, d_o", [(1, 2), (COLUMNS, 2), (2, FEWEST_OUTPUTS)])
def test_the_dense_readout_differentiates_twice(plan, d_u, d_o):
    system = LegendreSystem(2, 4.0)
    inputs = [noise(1, 5, d_u), noise(d_o, d_u * 2), noise(1, d_u, 2)]
    for x in inputs:
        x.requires_grad_()

    def run(u: Tensor, weight: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
        y, final = read_states(u, system, weight, initial, plan)
        return y.square(), final.sin()

    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_tiles_join_to_the_whole(monkeypatch):
    case = question(3, 50, COLUMNS, SYSTEM, 5, True)
    want = outcome(partial(read_states, plan=Plan(False, 4)), *case)
    monkeypatch.setitem(TILE_NUMBERS, "cpu", 5 * 4 * COLUMNS * 4)
    assert_same(outcome(partial(read_states, plan=Plan(False, 4)), *case), want, 1e-14)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("d_u", CHANNELS)
@pytest.mark.parametrize("carried", [False, True], ids=["fresh", "carried"])
def test_a_readout_too_large_for_one_piece_is_split(fused, d_u, carried, monkeypatch):
    case = question(3, 50, d_u, SYSTEM, 5, carried)
    two_blocks = 2 * 3 * d_u * (SYSTEM.order + 4)
    monkeypatch.setitem(LARGEST_WHOLE, "cpu", 4 * two_blocks)
    plan = Plan(fused, 4)
    assert [piece.shape[1] for piece in _pieces(case[0], plan, SYSTEM.order)] == [8] * 6 + [2]
    assert [piece.shape[1] for piece in _pieces(case[0][:, :32], plan, SYSTEM.order)] == [32]
    assert_same(outcome(partial(read_states, plan=plan), *case), outcome(as_written, *case))


def test_a_split_readout_compiles_without_a_graph_break(monkeypatch):
    monkeypatch.setitem(LARGEST_WHOLE, "cpu", 1)
    torch._dynamo.reset()
    case = question(2, 40, 3, SYSTEM, 5, True)
    compiled = torch.compile(lambda *inputs: read_states(*inputs), fullgraph=True, backend="aot_eager")
    assert_same(outcome(compiled, *case), outcome(as_written, *case))


# --------------------------------------------------------------------------- what it keeps


@pytest.mark.parametrize("plan", [Plan(True, 8), Plan(False, 8)], ids=str)
@pytest.mark.parametrize("d_u", [1, COLUMNS])
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "in pieces"])
def test_tensors_saved_for_the_backward_pass_do_not_grow_with_the_order(plan, d_u, pieces, monkeypatch):
    monkeypatch.setitem(LARGEST_WHOLE, "cpu", 2**16 if pieces else 2**24)

    def size_of(order: int) -> int:
        system = LegendreSystem(order, 100.0)
        u, weight = noise(32, 1024, d_u).requires_grad_(), noise(3, d_u * order).requires_grad_()
        held: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            _graph = read_states(u, system, weight, plan=plan)
        # Constants are remembered with the system, whatever is saved; they have neither batch nor length.
        return sum(size for size in held.values() if size >= u.nbytes)

    assert size_of(2) == size_of(16) <= 2 * 8 * 32 * 1024 * d_u


# --------------------------------------------------------------------------- precision


@pytest.mark.parametrize("d_u", [1, COLUMNS])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_weight_in_half_precision_reads_states_rounded_to_it(d_u, dtype):
    u, _, weight, _ = question(2, 70, d_u, SYSTEM, 5, False)
    u, weight = u.float().requires_grad_(), weight.to(dtype).requires_grad_()
    y, final = read_states(u, SYSTEM, weight)
    m, _ = memory_recurrent(u, SYSTEM)
    expected, size = m.flatten(2) @ weight.float().T, m.flatten(2).abs() @ weight.float().abs().T
    assert y.dtype == dtype and final.dtype == torch.float32
    assert ((y.float() - expected).abs() <= 2 * torch.finfo(dtype).eps * size).all()  # m rounded once, and y once
    y.float().square().sum().backward()
    assert u.grad.dtype == torch.float32 and weight.grad.dtype == dtype


# --------------------------------------------------------------------------- the rest of PyTorch


@pytest.mark.parametrize("plan", [Plan(True, 8), Plan(False, 8), Plan(False, 8, kept=True)], ids=str)
@pytest.mark.parametrize("d_u", [1, COLUMNS])
def test_the_dense_readout_vectorises_and_gives_per_sample_gradients(plan, d_u):
    u, system, weight, _ = question(3, 40, d_u, SYSTEM, 5, False)

    def energy(weight: Tensor, u: Tensor) -> Tensor:
        y, final = read_states(u[None], system, weight, plan=plan)
        return y.square().sum() + final.sin().sum()

    got = torch.func.vmap(torch.func.grad(energy, argnums=(0, 1)), in_dims=(None, 0))(weight, u)
    for k in range(3):
        inputs = (weight.clone().requires_grad_(), u[k].clone().requires_grad_())
        want = torch.autograd.grad(energy(*inputs), inputs)
        for a, b in zip(got, want, strict=True):
            assert torch.allclose(a[k], b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("plan", [None, Plan(True, 8), Plan(False, 8), Plan(False, 8, kept=True)], ids=str)
@pytest.mark.parametrize("d_u", [1, COLUMNS])
def test_the_dense_readout_compiles_without_a_graph_break(backend, plan, d_u):
    torch._dynamo.reset()
    case = question(2, 40, d_u, SYSTEM, 5, True)

    def run(u: Tensor, weight: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
        return read_states(u, SYSTEM, weight, initial, plan)

    compiled = torch.compile(run, fullgraph=True, backend=backend)
    got = outcome(lambda u, _, weight, initial: compiled(u, weight, initial), *case)
    assert_same(got, outcome(as_written, *case))


@pytest.mark.parametrize("strict", marked({"False": False, "True": True}, {"True"}, exports_strictly))
@pytest.mark.parametrize("plan", [Plan(True, 8), Plan(False, 8), Plan(False, 8, kept=True)], ids=str)
def test_the_dense_readout_exports_with_its_shape(strict, plan):
    class Readout(torch.nn.Module):
        def forward(self, u: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
            return read_states(u, SYSTEM, weight, plan=plan)

    u, _, weight, _ = question(2, 40, COLUMNS, SYSTEM, 5, False)
    program = torch.export.export(Readout(), (u, weight), strict=strict).module()
    for got, want in zip(program(2 * u, weight), as_written(2 * u, SYSTEM, weight), strict=True):
        assert torch.allclose(got, want, rtol=0, atol=1e-12)


# --------------------------------------------------------------------------- the plan

sizes = st.builds(
    Shape,
    b=st.integers(1, 128),
    n=st.integers(1, 10**6),
    d=st.integers(1, 500),
    d_u=st.integers(1, 512),
    d_o=st.integers(1, 512),
)


@given(shape=sizes, may_fuse=st.booleans())
def test_a_plan_fits_the_sequence_and_costs_no_more_than_single_steps(shape, may_fuse):
    plan = plan_readout(shape, may_fuse)
    assert plan.chunk <= shape.n
    assert may_fuse or not plan.fused
    assert readout_cost(plan, shape) <= readout_cost(Plan(False, 1), shape)


@given(shape=sizes)
def test_cost_grows_with_the_batch_and_with_every_width(shape):
    plan = plan_readout(shape)
    for name in ("b", "d", "d_u", "d_o"):
        wider = shape._replace(**{name: 2 * getattr(shape, name)})
        assert readout_cost(plan, wider) > readout_cost(plan, shape)


@pytest.mark.parametrize(
    "shape, fused",
    [(Shape(100, 784, 468, 1, 346), True), (Shape(32, 5000, 40, 1, 140), True), (Shape(16, 1024, 6, 512, 512), False)],
)
def test_one_channel_is_fused_and_many_of_low_order_are_tiled(shape, fused):
    assert plan_readout(shape).fused == fused


def test_states_are_kept_only_where_they_are_few_and_not_packed():
    few = Shape(16, 256, 4, 64, 192)
    assert plan_readout(few).kept
    for other in (few._replace(b=256), few._replace(packed=True)):
        assert not any(plan.kept for plan in plans_for(other))


# --------------------------------------------------------------------------- what is refused


def test_a_weight_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"weight must be \(d_o, channels · order\) = \(d_o, 8\), got \(5, 9\)"):
        read_states(noise(1, 3, 2), SYSTEM, noise(5, 9))
