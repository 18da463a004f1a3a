"""The layer against equations (18) to (20) written as loops; ragged batches against each row alone; the small parts."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, ndtr, softmax
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lmu_hf.blocks_lmu import NORMS, DeepRepresentation, GatedMLP, Highway
from lmu_hf.layers import LMULayer
from lmu_hf.layout import Padded, Reading
from lmu_hf.memory import memory_recurrent
from lmu_hf.readout import TILE_NUMBERS
from lmu_hf.statespace import LegendreSystem, discrete_system
from readings import reading

SYSTEM = LegendreSystem(4, 9.0)
TWO = (LegendreSystem(4, 3.0), LegendreSystem(4, 40.0))
STATEFUL_FORMS = ("auto", "recurrent", "chunked", "scanned", "fft", "toeplitz")
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * ndtr(x),
    "silu": lambda x: x * expit(x),
    "tanh": np.tanh,
}


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def layer_of(**switches) -> LMULayer:
    widths = {"d_x": 3, "d_o": 5, "d_u": 2}
    return LMULayer(**{**widths, "system": SYSTEM, **switches}).double()


def affine(linear: torch.nn.Linear, x: np.ndarray) -> np.ndarray:
    y = linear.weight.detach().numpy() @ x
    return y if linear.bias is None else y + linear.bias.detach().numpy()


# --------------------------------------------------------------------------- equations (18) to (20)


def states_as_written(u: np.ndarray, layer: LMULayer, memory: np.ndarray) -> list[np.ndarray]:
    """Eq. (19): for u (n, d_u) and memory (d_u, d), the n states that follow."""
    group = layer.d_u // len(layer.windows.systems)
    systems = [[constant.numpy() for constant in discrete_system(system)] for system in layer.windows.systems]
    states = []
    for u_t in u:
        channels = enumerate(zip(memory, u_t, strict=True))
        memory = np.stack([systems[c // group][0] @ m + systems[c // group][1] * u_tc for c, (m, u_tc) in channels])
        states.append(memory)
    return states


def layer_as_written(layer: LMULayer, x: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """Equations (18) to (20), one row (n, d_x) at a time, one step at a time."""
    f1, f2 = ACTIVATIONS[layer.encoder_activation], ACTIVATIONS[layer.hidden_act]
    u = np.stack([x_t if layer.encoder is None else f1(affine(layer.encoder, x_t)) for x_t in x])
    states = [m.flatten() for m in states_as_written(u, layer, memory)]
    if layer.bidirectional:
        backwards = states_as_written(u[::-1], layer, np.zeros_like(memory))[::-1]
        states = [np.concatenate([m, back.flatten()]) for m, back in zip(states, backwards, strict=True)]
    if layer.memory_readout is None:
        return np.stack(states)
    reads = zip(states, x, strict=True)
    return np.stack([f2(affine(layer.memory_readout, m) + affine(layer.input_readout, x_t)) for m, x_t in reads])


SWITCHES = [
    *({"encoder_activation": name} for name in ACTIVATIONS),
    *({"hidden_act": name} for name in ACTIVATIONS),
    {"encoder": "identity", "d_u": 3},
    {"readout": "memory", "d_o": 8},
    {"encoder": "identity", "readout": "memory", "d_u": 3, "d_o": 12},
    {"bidirectional": True, "encoder_activation": "tanh", "hidden_act": "gelu"},
    {"bidirectional": True, "encoder": "identity", "readout": "memory", "d_u": 3, "d_o": 24},
    {"system": LegendreSystem(6, 20.5, basis="unit"), "hidden_act": "relu"},
    {"system": LegendreSystem(1, 30.0, "euler", "orthonormal")},
    {"system": TWO},
    {"system": [*TWO, SYSTEM], "d_u": 6, "bidirectional": True, "hidden_act": "gelu"},
    {"system": TWO, "readout": "memory", "d_u": 4, "d_o": 32, "bidirectional": True},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("carried", [False, True], ids=["fresh", "carried"])
def test_the_layer_is_equations_18_to_20(switches, carried):
    layer = layer_of(**switches)
    x = noise(2, 45, 3)
    memory = torch.zeros(2, layer.d_u, layer.windows.order, dtype=torch.float64)
    memory = torch.randn_like(memory) if carried else memory
    o, _ = layer(x, initial=memory if carried else None)
    for row in range(2):
        expected = layer_as_written(layer, x[row].numpy(), memory[row].numpy())
        assert o[row].shape == expected.shape == (45, switches.get("d_o", 5))
        assert np.abs(o[row].detach().numpy() - expected).max() < 1e-12


def test_the_layer_has_a_state_size_and_a_readable_repr():
    layer = layer_of(d_u=7, memory_form="fft")
    assert layer.state_size == 7 * 4
    assert all(word in repr(layer) for word in ("d_u=7", "order=4", "theta=9.0", "memory_form='fft'"))


def test_windows_that_cannot_share_a_layers_channels_are_refused():
    with pytest.raises(ValueError, match=r"one order, got orders \[4, 5\]"):
        layer_of(system=[SYSTEM, LegendreSystem(5, 9.0)])
    with pytest.raises(ValueError, match="3 channels do not fall into 2 equal groups"):
        layer_of(system=TWO, d_u=3)
    with pytest.raises(ValueError, match=r"got orders \[\]"):
        layer_of(system=[])


def test_the_dynamics_are_neither_trained_nor_stored():
    names = {name for name, _ in (*layer_of().named_parameters(), *layer_of().named_buffers())}
    readouts = {"memory_readout.weight", "input_readout.weight", "input_readout.bias"}
    assert names == {"encoder.weight", "encoder.bias"} | readouts


# --------------------------------------------------------------------------- one layer, many ways to run it


@pytest.mark.parametrize("form", STATEFUL_FORMS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("system", [SYSTEM, TWO], ids=["one window", "two"])
def test_every_memory_form_gives_the_same_output_and_gradient(form, bidirectional, system):
    layer, x = layer_of(bidirectional=bidirectional, system=system), noise(2, 70, 3).requires_grad_()
    initial = noise(2, 2, 4)

    def run(form: str) -> tuple[Tensor, ...]:
        layer.memory_form = form
        o, final = layer(x, initial, return_final=True)
        return o, final, *torch.autograd.grad(o.square().sum() + final.sum(), [x, *layer.parameters()])

    for got, want in zip(run(form), run("recurrent"), strict=True):
        assert torch.allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", STATEFUL_FORMS)
@pytest.mark.parametrize("lengths", [None, torch.tensor([40, 1, 17])], ids=["whole", "ragged"])
def test_the_last_output_alone_is_the_last_of_all_outputs(form, lengths):
    layer, x, initial = layer_of(memory_form=form, hidden_act="tanh"), noise(3, 40, 3), noise(3, 2, 4)
    o, final = layer(x, initial, reading(40, lengths), return_final=True)
    last, last_final = layer(x, initial, reading(40, lengths, "last"), return_final=True)
    assert last.shape == (3, 1, 5)
    assert torch.allclose(last, reading(40, lengths).layout.last(o), rtol=0, atol=1e-12)
    assert torch.allclose(last_final, final, rtol=0, atol=1e-12)


@given(n=st.integers(1, 40), seed=st.integers(0, 2**20))
def test_one_step_at_a_time_is_the_parallel_pass(n, seed):
    torch.manual_seed(seed)
    layer, x = layer_of(encoder_activation="relu", system=SYSTEM if seed % 2 else TWO), noise(2, n, 3)
    memory = noise(2, 2, 4)
    o, final = layer(x, memory, return_final=True)
    for x_t, o_t in zip(x.split(1, dim=1), o.split(1, dim=1), strict=True):
        step, memory = layer(x_t, memory, return_final=True)
        assert torch.allclose(step, o_t, rtol=0, atol=1e-12)
    assert torch.allclose(memory, final, rtol=0, atol=1e-12)


def test_a_final_memory_is_returned_only_when_asked_for():
    assert layer_of()(noise(1, 3, 3))[1] is None
    assert layer_of()(noise(1, 3, 3), reading=reading(3, wanted="last"))[1] is None


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_dense_readout_never_writes_many_states(bidirectional, monkeypatch):
    monkeypatch.setitem(TILE_NUMBERS, "cpu", 2**15)

    class LargestTensor(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            for leaf in torch.utils._pytree.tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self.numbers = max(self.numbers, leaf.untyped_storage().nbytes() // leaf.element_size())
            return result

    layer, x = layer_of(system=LegendreSystem(64, 100.0), bidirectional=bidirectional), noise(32, 1024, 3)
    layer(x)  # constants are derived, and remembered
    with LargestTensor() as seen:
        layer(x)[0].sum().backward()
    assert seen.numbers < x.shape[0] * x.shape[1] * layer.state_size / 4


def test_a_readout_that_is_more_than_its_weight_is_asked_itself():
    layer, x = layer_of(hidden_act="tanh"), noise(2, 40, 3)
    plain, _ = layer(x)
    handle = layer.memory_readout.register_forward_hook(lambda module, args, output: 2 * output)
    twice, _ = layer(x)
    assert (twice - plain).abs().max() > 1e-3
    handle.remove()
    adapted = torch.nn.Sequential(layer.memory_readout)
    layer.memory_readout = adapted  # as an adapter's or a quantiser's module takes its place
    assert torch.allclose(layer(x)[0], plain, rtol=0, atol=1e-12)


# --------------------------------------------------------------------------- ragged batches


@st.composite
def masks(draw) -> Tensor:
    """(b, n) masks, row by row left- or right-padded, padded on both sides, holed or empty."""
    n = draw(st.integers(1, 12))
    k, end = (st.integers(0, n) for _ in range(2))
    row = st.one_of(
        k.map(lambda k: [t >= k for t in range(n)]),
        k.map(lambda k: [t < k for t in range(n)]),
        st.tuples(k, end).map(lambda edges: [min(edges) <= t < max(edges) for t in range(n)]),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
    return torch.tensor(draw(st.lists(row, min_size=1, max_size=4)))


garbage = st.sampled_from([math.nan, math.inf, -math.inf, 1e30, 0.0])
switches = st.sampled_from(
    [{}, {"hidden_act": "gelu"}, {"bidirectional": True}, {"readout": "memory", "d_o": 8}, {"memory_form": "fft"}]
    + [{"system": TWO, "bidirectional": both} for both in (False, True)]
)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=str)
@given(mask=masks(), junk=garbage, switches=switches, carried=st.booleans(), seed=st.integers(0, 2**20))
def test_masked_steps_change_nothing(dtype, tolerance, mask, junk, switches, carried, seed):
    torch.manual_seed(seed)
    b, n = mask.shape
    layer = layer_of(**switches).to(dtype)
    x, initial = torch.randn(b, n, 3, dtype=dtype), torch.randn(b, 2, 4, dtype=dtype)
    packing = Padded.from_mask(mask)
    packed = packing.pack(x.masked_fill(~mask[..., None], junk))
    o, final = layer(packed, initial if carried else None, Reading(packing), return_final=True)
    o = packing.unpack(o)
    assert o[~mask].eq(0).all()
    for row in range(b):
        memory = initial[row : row + 1] if carried else torch.zeros_like(initial[:1])
        if not mask[row].any():
            assert torch.equal(final[row], memory[0])
            continue
        alone, alone_final = layer(x[row][mask[row]][None], memory, return_final=True)
        assert torch.allclose(o[row][mask[row]], alone[0], rtol=0, atol=tolerance * max(1, alone.abs().max().item()))
        assert torch.allclose(
            final[row], alone_final[0], rtol=0, atol=tolerance * max(1, alone_final.abs().max().item())
        )


@given(mask=masks(), junk=garbage, seed=st.integers(0, 2**20))
def test_unpacking_undoes_packing_on_real_steps(mask, junk, seed):
    torch.manual_seed(seed)
    x = noise(*mask.shape, 2)
    packing = Padded.from_mask(mask)
    packed = packing.pack(x.masked_fill(~mask[..., None], junk))
    assert packed.shape[1] == max(1, mask.sum(1).max())
    assert torch.equal(packing.lengths, mask.sum(1))
    assert torch.equal(packing.unpack(packed), x.masked_fill(~mask[..., None], 0))
    for row, length in enumerate(packing.lengths):
        assert torch.equal(packed[row, :length], x[row][mask[row]])
        assert packed[row, length:].eq(0).all()


@given(mask=masks(), junk=garbage, seed=st.integers(0, 2**20))
def test_gradients_reach_real_steps_and_no_others(mask, junk, seed):
    torch.manual_seed(seed)
    layer, packing = layer_of(), Padded.from_mask(mask)
    x = noise(*mask.shape, 3)
    soiled = x.masked_fill(~mask[..., None], junk).requires_grad_()
    o = packing.unpack(layer(packing.pack(soiled), reading=Reading(packing))[0])
    gradient, weight_gradient = torch.autograd.grad(o.square().sum(), (soiled, layer.encoder.weight))
    assert weight_gradient.isfinite().all()
    assert gradient[~mask].eq(0).all()
    for row in range(len(mask)):
        if mask[row].any():
            alone = x[row][mask[row]][None].requires_grad_()
            (expected,) = torch.autograd.grad(layer(alone)[0].square().sum(), alone)
            assert torch.allclose(gradient[row][mask[row]], expected[0], rtol=0, atol=1e-12)


def test_a_mask_may_be_of_any_type_that_is_zero_where_a_step_is_masked():
    mask = torch.tensor([[0, 1, 1], [1, 0, 0]])
    x = noise(2, 3, 1)
    expected = Padded.from_mask(mask.bool()).pack(x)
    for dtype in (torch.int64, torch.uint8, torch.float32):
        assert torch.equal(Padded.from_mask(mask.to(dtype)).pack(x), expected)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_steps_beyond_a_rows_length_are_ignored(bidirectional):
    layer, x, lengths = layer_of(bidirectional=bidirectional), noise(3, 40, 3), torch.tensor([40, 1, 17])
    behind = torch.arange(40) >= lengths[:, None]
    how = reading(40, lengths)
    o, final = layer(x, reading=how, return_final=True)
    other, other_final = layer(torch.where(behind[..., None], noise(3, 40, 3), x), reading=how, return_final=True)
    assert torch.allclose(o[~behind], other[~behind], rtol=0, atol=1e-12)
    if not bidirectional:
        assert torch.equal(final, other_final)


@given(mask=masks(), seed=st.integers(0, 2**20))
def test_reversing_time_twice_changes_nothing(mask, seed):
    torch.manual_seed(seed)
    x, lengths = noise(*mask.shape, 2), mask.sum(1)
    n = x.shape[1]
    ragged, whole = (reading(n, ends).layout for ends in (lengths, torch.full_like(lengths, n)))
    back = ragged.reverse(x)
    assert torch.equal(ragged.reverse(back), x)
    assert torch.equal(whole.reverse(x), x.flip(1))
    for row, length in enumerate(lengths):
        assert torch.equal(back[row, :length], x[row, :length].flip(0))
        assert torch.equal(back[row, length:], x[row, length:])


def test_a_ragged_batch_compiles_without_a_graph_break():
    torch._dynamo.reset()
    layer, x, mask = layer_of(), noise(3, 6, 3), torch.tensor([[1, 1, 0, 0, 1, 1], [0] * 6, [1] * 6])

    def run(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        packing = Padded.from_mask(mask)
        o, final = layer(packing.pack(x), reading=Reading(packing), return_final=True)
        return packing.unpack(o), final

    compiled = torch.compile(run, fullgraph=True, backend="eager")
    for got, want in zip(compiled(x, mask), run(x, mask), strict=True):
        assert torch.allclose(got, want, rtol=0, atol=1e-12)


# --------------------------------------------------------------------------- precision

# Blocks round a float32 state a few dozen times, 1e-7 each: 1e-6 seen. Single steps round the carried memory at every
# step of a window: 1.4e-5 seen. A memory in bf16 would be off by more than 1e-2, and grow without bound.
FLOAT32 = 1e-5
FLOAT32_STEPS = 3e-5
LONG_SYSTEM = LegendreSystem(64, 1000.0)


def error_of(final: Tensor, u: Tensor) -> float:
    """Of a final memory, relative to float64 run on the same, already rounded, u."""
    _, expected = memory_recurrent(u.double(), LONG_SYSTEM)
    return ((final.double() - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["auto", "fft"])
@torch.no_grad()
def test_a_half_precision_layer_carries_its_memory_in_float32(form, dtype):
    layer = LMULayer(3, 5, 2, LONG_SYSTEM, memory_form=form).to(dtype)
    x = torch.randn(1, 2000, 3, dtype=dtype)
    for wanted in ("all", "last"):
        o, final = layer(x, reading=reading(x.shape[1], wanted=wanted), return_final=True)
        assert o.dtype == dtype
        assert final.dtype == torch.float32
        assert error_of(final, layer.encoder(x)) < FLOAT32


@torch.no_grad()
def test_half_precision_single_steps_carry_their_memory_in_float32():
    layer = LMULayer(3, 5, 2, LONG_SYSTEM).bfloat16()
    x, memory = torch.randn(1, 2000, 3, dtype=torch.bfloat16), None
    for x_t in x.split(1, dim=1):
        _, memory = layer(x_t, memory, return_final=True)
    u = torch.cat([layer.encoder(x_t) for x_t in x.split(1, dim=1)], dim=1)
    assert error_of(memory, u) < FLOAT32_STEPS


@torch.no_grad()
def test_autocast_leaves_the_memory_in_float32():
    layer, x = LMULayer(3, 5, 2, LONG_SYSTEM), torch.randn(1, 2000, 3)
    with torch.autocast("cpu", torch.bfloat16):
        u = layer.encoder(x)
        o, final = layer(x, return_final=True)
        _, last_final = layer(x, reading=reading(x.shape[1], wanted="last"), return_final=True)
    assert u.dtype == o.dtype == torch.bfloat16
    assert final.dtype == last_final.dtype == torch.float32
    assert error_of(final, u) < FLOAT32
    assert error_of(last_final, u) < FLOAT32


def test_a_half_precision_layer_trains():
    layer, x = layer_of().bfloat16(), torch.randn(2, 40, 3, dtype=torch.bfloat16, requires_grad=True)
    layer(x)[0].float().square().sum().backward()
    for parameter in (x, *layer.parameters()):
        assert parameter.grad.dtype == torch.bfloat16
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0


# --------------------------------------------------------------------------- small parts of a block


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_a_highway_mixes_its_transform_with_its_input(act):
    highway, x = Highway(4, act).double(), noise(2, 3, 4)
    o = highway(x)
    for place in np.ndindex(2, 3):
        x_t = x[place].numpy()
        t = expit(affine(highway.gate, x_t))
        expected = t * ACTIVATIONS[act](affine(highway.transform, x_t)) + (1 - t) * x_t
        assert np.abs(o[place].detach().numpy() - expected).max() < 1e-14


@pytest.mark.parametrize("kind", NORMS)
def test_half_precision_is_normed_with_a_weight_of_its_own_dtype(kind):
    norm, x = NORMS[kind](8, eps=1e-5), noise(3, 8)
    torch.nn.init.normal_(norm.weight)
    centred = x - x.mean(-1, keepdim=True) * (kind == "layer")
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight
    assert (norm(x.float()) - expected).abs().max() < 1e-5
    torch.set_warn_always(True)  # torch says only once that two dtypes have no kernel in common
    try:
        with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16):
            warnings.simplefilter("error")
            half = norm(x.bfloat16())
    finally:
        torch.set_warn_always(False)
    assert half.dtype == torch.bfloat16
    assert (half - expected).abs().max() < 0.02 * expected.abs().max()


def test_a_highway_with_a_closed_gate_is_the_identity():
    highway, x = Highway(4, "relu").double(), noise(2, 3, 4)
    torch.nn.init.constant_(highway.gate.bias, -1e3)
    assert torch.equal(highway(x), x)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_a_gated_mlp_is_its_formula(act):
    mlp, x = GatedMLP(4, 6, act).double(), noise(2, 3, 4)
    o = mlp(x)
    for place in np.ndindex(2, 3):
        x_t = x[place].numpy()
        inside = ACTIVATIONS[act](affine(mlp.gate_proj, x_t)) * affine(mlp.up_proj, x_t)
        assert np.abs(o[place].detach().numpy() - affine(mlp.down_proj, inside)).max() < 1e-14


def test_a_deep_representation_is_a_softmax_weighted_sum_times_a_scale():
    mixture, states = DeepRepresentation(3).double(), [noise(2, 5, 4) for _ in range(3)]
    torch.nn.init.normal_(mixture.scores)
    torch.nn.init.constant_(mixture.scale, 1.7)
    weights = 1.7 * softmax(mixture.scores.detach().numpy())
    expected = sum(weight * state.numpy() for weight, state in zip(weights, states, strict=True))
    assert np.abs(mixture(states).detach().numpy() - expected).max() < 1e-14


def test_a_deep_representation_starts_as_the_mean_and_refuses_another_number_of_states():
    mixture, states = DeepRepresentation(3).double(), [noise(2, 5, 4) for _ in range(4)]
    assert torch.allclose(mixture(states[:3]), torch.stack(states[:3]).mean(0), rtol=0, atol=1e-15)
    with pytest.raises((ValueError, RuntimeError)):
        mixture(states)
