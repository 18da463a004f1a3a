"""Implicit self-attention over the order axis: equations (8) to (10) of arXiv 2110.02402 against plain loops."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from scipy.special import expit, ndtr, softmax
from torch import Tensor, nn

from lmu_hf import LMUConfig, LMUForCausalLM, LMUModel
from lmu_hf.blocks_lmu import LMUSandwichBlock
from lmu_hf.layers import GatedMLP, LMULayer, OrderAttention, reduced_order
from lmu_hf.memory import MEMORY_FORMS, memory_recurrent
from lmu_hf.statespace import LegendreSystem

ACTIVATIONS = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * ndtr(x),
    "silu": lambda x: x * expit(x),
    "tanh": np.tanh,
}
ORDERS = [(1, 1), (2, 1), (2, 2), (7, 3), (20, 2), (6, 6)]  # q, q'
SYSTEM = LegendreSystem(5, 9.0)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def attention_of(order: int, reduced: int, act: str = "gelu") -> OrderAttention:
    attention = OrderAttention(order, reduced, act).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(noise(*parameter.shape))
    return attention


def layer_of(**switches) -> LMULayer:
    widths = {"d_x": 3, "d_o": 4, "d_u": 4, "system": SYSTEM, "hidden_act": "gelu"}
    return LMULayer(**{**widths, "readout": "attention", "attention_order": 3, **switches}).double()


def thirds(attention: OrderAttention) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """L_1, L_2, L_3 and b_1, b_2, b_3."""
    weight, bias = (value.detach().numpy() for value in (attention.projection.weight, attention.projection.bias))
    return np.split(weight, 3), np.split(bias, 3)


def attention_as_written(attention: OrderAttention, M: np.ndarray) -> np.ndarray:
    """One step's memory M (q, channels) to one number per channel, one query at a time."""
    f, channels = ACTIVATIONS[attention.hidden_act], M.shape[1]
    Q, K, V = (f(L @ M + b[:, None]) for L, b in zip(*thirds(attention), strict=True))
    o = np.zeros(channels)
    for query, p in zip(Q, attention.mixture.weight.detach().numpy()[0], strict=True):
        attended = softmax([query @ key / np.sqrt(channels) for key in K])
        o += p * sum(weight * value for weight, value in zip(attended, V, strict=True))
    return o


def every_step_as_written(attention: OrderAttention, m: Tensor) -> np.ndarray:
    """M (b, n, channels, q) to (b, n, channels)."""
    return np.stack([[attention_as_written(attention, step.numpy().T) for step in row] for row in m])


# --------------------------------------------------------------------------- equations (8) to (10)


@pytest.mark.parametrize(("order", "reduced"), ORDERS)
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_the_readout_is_equations_8_to_10(order, reduced, act):
    attention, m = attention_of(order, reduced, act), noise(2, 9, 5, order)
    o = attention(m).detach()
    assert o.shape == (2, 9, 5)
    assert np.abs(o.numpy() - every_step_as_written(attention, m)).max() < 1e-12 * max(1, o.abs().max())


def test_one_row_has_no_choice_and_its_value_is_read():
    attention, m = attention_of(1, 1), noise(2, 9, 5, 1)
    (_, _, L_3), (_, _, b_3) = thirds(attention)
    value = nn.functional.gelu(m[..., 0] * L_3.item() + b_3.item())
    assert torch.allclose(attention(m), attention.mixture.weight.item() * value, rtol=0, atol=1e-14)


def test_channels_in_another_order_give_outputs_in_that_order():
    attention, m, other = attention_of(7, 3), noise(2, 9, 5, 7), torch.randperm(5)
    assert torch.allclose(attention(m[:, :, other]), attention(m)[..., other], rtol=0, atol=1e-13)


def test_no_step_sees_another():
    attention, m, other = attention_of(7, 3), noise(2, 9, 5, 7), torch.randperm(9)
    assert torch.allclose(attention(m[:, other]), attention(m)[:, other], rtol=0, atol=1e-13)
    assert torch.allclose(torch.cat([attention(m_t) for m_t in m.split(1, dim=1)], 1), attention(m), rtol=0, atol=1e-13)


def test_the_order_of_queries_and_the_order_of_keys_mean_nothing():
    attention, m, q = attention_of(7, 4), noise(2, 9, 5, 7), 4
    expected = attention(m)
    queries, keys = torch.randperm(q), torch.randperm(q)
    places = torch.cat([queries, q + keys, 2 * q + keys])
    with torch.no_grad():
        attention.projection.weight.copy_(attention.projection.weight[places])
        attention.projection.bias.copy_(attention.projection.bias[places])
        attention.mixture.weight.copy_(attention.mixture.weight[:, queries])
    assert torch.allclose(attention(m), expected, rtol=0, atol=1e-13)


def test_what_one_query_reads_lies_between_the_values():
    attention, m = attention_of(7, 3, "identity"), noise(2, 50, 5, 7)
    attention.mixture.weight = nn.Parameter(noise(1, 3).zero_().index_fill_(1, torch.tensor([1]), 1))
    values = attention.projection(m)[..., 6:]
    o = attention(m)
    assert (o <= values.amax(-1) + 1e-12).all() and (o >= values.amin(-1) - 1e-12).all()


@pytest.mark.parametrize("dtype, largest", [(torch.float32, 1e15), (torch.bfloat16, 1e15), (torch.float16, 30.0)])
def test_large_memories_make_sharp_choices_and_no_nan(dtype, largest):
    attention = attention_of(7, 3).to(dtype)
    m = (torch.randn(2, 9, 64, 7) * largest).requires_grad_()
    attention(m).float().sum().backward()
    assert attention(m).isfinite().all()
    assert m.grad.isfinite().all()


@pytest.mark.parametrize("act", ["gelu", "tanh"])
def test_gradients_are_those_of_the_function(act):
    attention, m = attention_of(4, 2, act), noise(1, 2, 3, 4).requires_grad_()
    names, parameters = zip(*attention.named_parameters(), strict=True)

    def function(m: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(attention, dict(zip(names, parameters, strict=True)), (m,))

    assert torch.autograd.gradcheck(function, (m, *parameters))
    assert torch.autograd.gradgradcheck(function, (m, *parameters))


# --------------------------------------------------------------------------- behind a memory


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("carried", [False, True])
def test_a_layer_attends_over_its_memory(bidirectional, carried):
    layer, x = layer_of(bidirectional=bidirectional), noise(2, 40, 3)
    initial = noise(2, 4, 5) if carried else None
    u = layer.encoder(x)
    m = memory_recurrent(u, SYSTEM, initial)[0]
    if bidirectional:  # rows of both directions, side by side
        m = torch.cat([m, memory_recurrent(u.flip(1), SYSTEM)[0].flip(1)], dim=3)
    expected = every_step_as_written(layer.order_attention, m.detach())
    o, _ = layer(x, initial)
    assert o.shape == (2, 40, 4)
    assert np.abs(o.detach().numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("form", [form for form in MEMORY_FORMS if form not in ("step", "final")])
@pytest.mark.parametrize("lengths", [None, torch.tensor([40, 1, 17])], ids=["whole", "ragged"])
def test_the_last_output_alone_is_the_last_of_all_outputs(form, lengths):
    layer, x, initial = layer_of(memory_form=form), noise(3, 40, 3), noise(3, 4, 5)
    o, final = layer(x, initial, lengths, return_final=True)
    last, last_final = layer(x, initial, lengths, last_only=True, return_final=True)
    ends = torch.full((3,), 40) if lengths is None else lengths
    assert torch.allclose(last[:, 0], o[torch.arange(3), ends - 1], rtol=0, atol=1e-12)
    assert torch.allclose(last_final, final, rtol=0, atol=1e-12)


def test_one_step_at_a_time_is_the_parallel_pass():
    layer, x, memory, steps = layer_of(), noise(2, 70, 3), noise(2, 4, 5), []
    o, final = layer(x, memory, return_final=True)
    for x_t in x.split(1, dim=1):
        step, memory = layer(x_t, memory, return_final=True)
        steps.append(step)
    assert torch.allclose(torch.cat(steps, dim=1), o, rtol=0, atol=1e-12)
    assert torch.allclose(memory, final, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_half_precision_layer_reads_a_float32_memory_and_trains(dtype):
    layer, x = layer_of().to(dtype), torch.randn(2, 40, 3, dtype=dtype, requires_grad=True)
    o, final = layer(x, return_final=True)
    assert (o.dtype, final.dtype) == (dtype, torch.float32)
    o.float().square().sum().backward()
    for parameter in (x, *layer.parameters()):
        assert parameter.grad.dtype == dtype
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0


def test_autocast_casts_the_products_and_leaves_the_memory_alone():
    layer, x = layer_of().float(), torch.randn(2, 40, 3)
    exact, expected = layer(x, return_final=True)
    with torch.autocast("cpu", torch.bfloat16):
        o, final = layer(x, return_final=True)
    assert (o.dtype, final.dtype) == (torch.bfloat16, torch.float32)
    assert (final - expected).norm() < 2**-7 * expected.norm()  # u is rounded to 8 bits, and nothing after it
    assert (o - exact).norm() < 2**-5 * exact.norm()


# --------------------------------------------------------------------------- sizes


def numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("order", "reduced"), ORDERS)
def test_parameters_are_those_of_the_equations(order, reduced):
    assert numbers(OrderAttention(order, reduced, "gelu")) == 3 * reduced * (order + 1) + reduced


def test_a_block_has_two_feed_forwards_an_encoder_and_three_norms():
    config = LMUConfig(block_type="sandwich", readout="attention", hidden_size=10, order=20, intermediate_size=7)
    mlp, encoder, attention = 3 * 7 * 10 + 2 * 7 + 10, 10 * 10 + 10, 3 * 2 * 21 + 2
    assert numbers(LMUSandwichBlock(config, 0)) == 2 * mlp + encoder + attention + 3 * 10


@pytest.mark.parametrize(("order", "reduced"), [(1, 1), (2, 2), (4, 2), (20, 2), (30, 3), (250, 25)])
def test_a_tenth_of_the_order_is_attended_over_and_two_rows_where_there_are_two(order, reduced):
    assert reduced_order(order) == reduced
    layer = LMUModel(LMUConfig(hidden_size=2, order=order, readout="attention")).layers[0].memory
    assert layer.order_attention.mixture.in_features == reduced


@pytest.mark.parametrize("fields", [{}, {"attention_order": 7}, {"bidirectional": True, "pooling": "mean"}], ids=str)
def test_the_bytes_of_what_is_new_are_counted(fields):
    config = LMUConfig(block_type="sandwich", readout="attention", hidden_size=6, order=30, **fields)
    model, asked = LMUModel(config), config.asked_bytes()
    attentions = [module for module in model.modules() if isinstance(module, OrderAttention)]
    matrices = [p for m in model.modules() if isinstance(m, GatedMLP) for p in m.parameters() if p.ndim == 2]
    assert asked["attention_order x order"] == 4 * sum(map(numbers, attentions))
    assert asked["hidden_size x intermediate_size"] == 4 * sum(matrix.numel() for matrix in matrices)
    assert asked["memory_channels x order x hidden_size"] == 0


def test_a_wide_layer_of_high_order_is_refused_for_its_dense_readout_alone():
    wide = {"hidden_size": 4096, "order": 250, "theta": 1000, "num_hidden_layers": 8}
    with pytest.raises(StrictDataclassError, match=r"memory_channels x order x hidden_size asks for .* GiB"):
        LMUConfig(**wide)
    assert LMUConfig(**wide, readout="attention").state_size == 8 * 4096 * 250


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("reduced", [0, 6])
def test_more_rows_than_the_memory_has_are_refused(reduced):
    with pytest.raises(ValueError, match=f"attention_order must be from 1 to order=5, got {reduced}"):
        layer_of(attention_order=reduced)


@pytest.mark.parametrize("readout", ["dense", "attention"])
def test_a_config_refuses_them_by_name(readout):
    with pytest.raises(StrictDataclassError, match="attention_order must be at most order=4, got 5"):
        LMUConfig(readout=readout, order=4, attention_order=5)
    with pytest.raises((StrictDataclassError, ValueError), match="attention_order must be at least 1, got 0"):
        LMUConfig(readout=readout, attention_order=0)


def test_there_are_as_many_channels_as_the_layer_is_wide():
    with pytest.raises(
        StrictDataclassError, match=r"readout='attention' hands on 3 numbers .* hidden_size must be 3, got 8"
    ):
        LMUConfig(readout="attention", hidden_size=8, memory_channels=3)
    with pytest.raises(StrictDataclassError, match="in layer 0, so hidden_size must be 5, got 8"):
        LMUConfig(readout="attention", hidden_size=8, embedding_size=5, block_type="lmu")
    assert LMUConfig(readout="attention", hidden_size=8, embedding_size=5, block_type="lmu", memory_channels=8)


# --------------------------------------------------------------------------- it learns

BUDGET = {"vocab_size": 8, "num_hidden_layers": 1, "order": 6, "theta": 8, "basis": "unit"}
EQUAL = {
    "residual": {"block_type": "residual", "hidden_size": 17},
    "attention": {"block_type": "sandwich", "readout": "attention", "attention_order": 3, "hidden_size": 18},
}


@pytest.mark.parametrize("fields", EQUAL.values(), ids=EQUAL)
def test_a_pattern_that_repeats_is_learnt(fields):
    """Five random tokens, over and over: from the second time on, each token is the one five steps ago."""
    model = LMUForCausalLM(LMUConfig(**BUDGET, **fields)).train()
    assert 4_450 < model.num_parameters() < 4_850
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(80):
        ids = torch.randint(0, 8, (32, 5)).repeat(1, 3)
        loss = model(ids, labels=ids.clone().index_fill_(1, torch.arange(5), -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 2.0  # ln 8, that of a guess, is 2.08
    assert sum(losses[-10:]) / 10 < 0.2
