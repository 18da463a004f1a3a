"""The mean of all states without the states, against the states: the function, the layer, the heads."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from families import LSTM, config_of
from lmu_hf import LMUConfig, LMUForSequenceClassification, LMUForSequencePairClassification, LMUModel
from lmu_hf.constants import exact
from lmu_hf.layers import LMULayer
from lmu_hf.lstm import LSTMLayer
from lmu_hf.memory import memory_chunked, memory_mean, memory_recurrent
from lmu_hf.statespace import LegendreSystem, discrete_system
from readings import reading

SYSTEM = LegendreSystem(4, 9.0)
TWO = (SYSTEM, LegendreSystem(SYSTEM.order, 40.0))


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def near(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> bool:
    a, b = a.detach(), b.detach()
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance * max(float(b.abs().max()), 1.0))


def mean_of_states(u: Tensor, system: LegendreSystem, initial: Tensor | None, lengths: list[int]) -> Tensor:
    rows = []
    for row, n in enumerate(lengths):
        first = None if initial is None else initial[row : row + 1]
        rows.append(memory_recurrent(u[row : row + 1, :n], system, first)[0].mean(1, keepdim=True))
    return torch.cat(rows)


# --------------------------------------------------------------------------- the function


@pytest.mark.parametrize("system", [SYSTEM, LegendreSystem(64, 500.0, basis="unit"), LegendreSystem(1, 300.0)], ids=str)
@pytest.mark.parametrize("n", [1, 2, 65, 700])
@pytest.mark.parametrize("carried", [False, True], ids=["fresh", "carried"])
@pytest.mark.parametrize("ragged", [False, True])
def test_the_pooled_mean_is_the_mean_of_the_recurrences_states(system, n, carried, ragged):
    u, initial = noise(3, n, 2), noise(3, 2, system.order) * exact("scale", system) if carried else None
    lengths = [n, max(n // 2, 1), max(n - 3, 1)] if ragged else [n] * 3
    mean, final = memory_mean(u, system, initial, torch.tensor(lengths) if ragged else None)
    assert near(mean, mean_of_states(u, system, initial, lengths))
    for row, length in enumerate(lengths):
        first = None if initial is None else initial[row : row + 1]
        assert near(final[row : row + 1], memory_recurrent(u[row : row + 1, :length], system, first)[1])


def test_beyond_the_longest_stored_response_blocks_are_joined():
    u, initial = noise(1, 9001, 1), noise(1, 1, 4)
    assert near(memory_mean(u, SYSTEM, initial)[0], mean_of_states(u, SYSTEM, initial, [9001]))


def test_a_constant_signal_ends_in_its_steady_state():
    A_bar, B_bar = discrete_system(SYSTEM)
    steady = torch.linalg.solve(torch.eye(4, dtype=torch.float64) - A_bar, B_bar)
    mean, final = memory_mean(torch.ones(1, 3000, 1, dtype=torch.float64), SYSTEM, steady[None, None])
    assert near(mean[0, 0, 0], steady) and near(final[0, 0], steady)


def test_the_mean_of_no_steps_is_zero():
    mean, final = memory_mean(noise(2, 5, 3), SYSTEM, noise(2, 3, 4), torch.tensor([0, 5]))
    assert not mean[0].any() and mean[1].all() and final.all()


def test_the_gradients_of_the_pooled_mean_are_right():
    system, lengths = LegendreSystem(2, 4.0), torch.tensor([5, 3])
    inputs = [noise(2, 5, 2).requires_grad_(), noise(2, 2, 2).requires_grad_()]
    for run in (partial(memory_mean, system=system), partial(memory_mean, system=system, lengths=lengths)):
        assert torch.autograd.gradcheck(lambda u, initial, run=run: run(u, initial=initial), inputs)
        assert torch.autograd.gradgradcheck(lambda u, initial, run=run: run(u, initial=initial), inputs)


@pytest.mark.parametrize("n, theta", [(20, 1000.0), (784, 784.0), (5000, 50.0)])
def test_the_pooled_mean_in_float32_is_as_exact_as_the_states(n, theta):
    system, u = LegendreSystem(32, theta, basis="unit"), noise(4, n, 1)
    exactly = memory_mean(u, system)[0]
    error, size = (memory_mean(u.float(), system)[0] - exactly).abs().max(), exactly.abs().max()
    of_states = (memory_chunked(u.float(), system)[0].mean(1, keepdim=True) - exactly).abs().max()
    assert error <= max(4 * of_states, 2e-7 * size)


# --------------------------------------------------------------------------- the layer

LINEAR = [
    {"readout": "memory", "d_o": 8},
    {"hidden_act": "identity"},
    {"hidden_act": "identity", "encoder_activation": "tanh", "memory_form": "chunked"},
    {"hidden_act": "identity", "bidirectional": True},
    {"readout": "memory", "d_o": 16, "bidirectional": True},
    {"hidden_act": "identity", "bidirectional": True, "system": TWO},
    {"readout": "memory", "d_o": 8, "system": TWO},
]


def layer_of(**switches) -> LMULayer:
    return LMULayer(**{"d_x": 3, "d_o": 5, "d_u": 2, "system": SYSTEM, **switches}).double()


@pytest.mark.parametrize("switches", LINEAR, ids=str)
@pytest.mark.parametrize("ragged", [False, True])
def test_a_linear_layers_mean_is_the_mean_of_its_outputs(switches, ragged):
    layer, x = layer_of(**switches), noise(2, 70, 3).requires_grad_()
    lengths = torch.tensor([41, 70]) if ragged else None
    initial = None if layer.bidirectional else noise(2, 2, 4).requires_grad_()
    assert layer.is_linear_in_memory
    outcomes = []
    for wanted in ("mean", "all"):
        how = reading(70, lengths, wanted)
        o, final = layer(x, initial, how, return_final=True)
        o = o if wanted == "mean" else how.layout.mean(o)
        inputs = [x, *([] if initial is None else [initial]), *layer.parameters()]
        outcomes.append([o, final, *torch.autograd.grad(o.sin().sum(), inputs)])
    for a, b in zip(*outcomes, strict=True):
        assert near(a, b)


@pytest.mark.parametrize("switches", [{"hidden_act": "relu"}, {"memory_form": "fft"}], ids=str)
def test_a_layer_not_linear_in_memory_refuses_the_mean(switches):
    layer = layer_of(**switches)
    assert not layer.is_linear_in_memory
    with pytest.raises(ValueError, match="linear in its memory"):
        layer(noise(1, 4, 3), reading=reading(4, wanted="mean"))


def test_readings_that_give_no_mean_are_refused_by_name():
    with pytest.raises(ValueError, match="packed"):
        layer_of()(noise(1, 4, 3), reading=reading(4, (1, 3), "mean"))
    with pytest.raises(ValueError, match="an LSTM is not"):
        LSTMLayer(3, 5)(torch.zeros(1, 4, 3), reading=reading(4, wanted="mean"))
    with pytest.raises(ValueError, match="can_skip_to_mean"):
        LMUModel(LMUConfig(vocab_size=5, hidden_size=8, num_hidden_layers=1))(torch.zeros(1, 3).long(), wanted="mean")


def test_a_hooked_or_replaced_readout_is_asked_step_by_step():
    layer = layer_of()
    layer.memory_readout.register_forward_hook(lambda module, inputs, output: output.relu())
    assert not layer.is_linear_in_memory


# --------------------------------------------------------------------------- the heads


class Largest(TorchDispatchMode):
    """The largest tensor that anything makes."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for part in result if isinstance(result, tuple | list) else [result]:
            if isinstance(part, Tensor):
                self.numbers = max(self.numbers, part.numel())
        return result


STACKS = {
    "memory readout": {"readout": "memory", "hidden_size": 16},
    "dense": {"hidden_act": "identity", "hidden_size": 12},
    "two layers": {"hidden_act": "identity", "hidden_size": 12, "num_hidden_layers": 2, "theta": [5, 40]},
    "both ways": {"hidden_act": "identity", "hidden_size": 12, "bidirectional": True},
}


def head_of(model_class: type = LMUForSequenceClassification, **fields) -> torch.nn.Module:
    sizes = {"input_size": 4, "num_hidden_layers": 1, "theta": 20, "block_type": "lmu", "pooling": "mean"}
    fields = {**sizes, **fields}
    if fields["input_size"] is None:
        fields |= {"vocab_size": 9, "embedding_size": 4}
    return model_class(config_of(fields)).double()


@pytest.mark.parametrize("name", STACKS)
def test_a_mean_pooled_head_is_the_mean_over_real_steps(name, monkeypatch):
    model, x = head_of(**STACKS[name]), noise(3, 50, 4)
    mask = torch.ones(3, 50)
    mask[0, :20], mask[1, 30:], mask[2, 7:9] = 0, 0, 0
    assert model.model.can_skip_to_mean
    quick = [model(input_values=x).logits, model(input_values=x, attention_mask=mask).logits]
    states = model(input_values=x, output_hidden_states=True)
    assert states.hidden_states[-1].shape[1] == 50 and near(states.logits, quick[0])
    monkeypatch.setattr(LMUModel, "can_skip_to_mean", False)
    slow = [model(input_values=x).logits, model(input_values=x, attention_mask=mask).logits]
    for a, b in zip(quick, slow, strict=True):
        assert near(a, b)
        given, wanted = (torch.autograd.grad(logits.sin().sum(), list(model.parameters())) for logits in (a, b))
        assert all(near(*pair) for pair in zip(given, wanted, strict=True))


def test_a_backbone_without_parameters_is_pooled():
    model, x = head_of(encoder="identity", readout="memory", hidden_size=16), noise(2, 50, 4)
    assert not list(model.model.parameters())
    system = LegendreSystem(4, 20.0, basis="unit")
    want = model.classifier(memory_recurrent(x, system)[0].mean(1).flatten(1))
    assert near(model(input_values=x).logits, want)


def test_a_pair_of_sequences_is_pooled_without_states(monkeypatch):
    model = head_of(LMUForSequencePairClassification, input_size=None, **STACKS["dense"])
    ids, types = torch.randint(9, (2, 30)), (torch.arange(30) > 12).long().expand(2, -1)
    quick = model(ids, token_type_ids=types).logits
    monkeypatch.setattr(LMUModel, "can_skip_to_mean", False)
    assert near(quick, model(ids, token_type_ids=types).logits)


def test_no_sequence_of_outputs_is_made():
    model, x = head_of(readout="memory", hidden_size=4 * 64, order=64, basis="unit"), noise(2, 3000, 4)
    with Largest() as made, torch.no_grad():
        model(input_values=x)
    assert made.numbers <= 2 * 3000 * 4 * 64 / 2  # half of one (b, n, hidden_size)


@pytest.mark.parametrize("fields", [{"hidden_act": "gelu"}, {"block_type": "residual"}, LSTM], ids=str)
def test_stacks_that_are_not_linear_at_their_end_are_pooled_step_by_step(fields):
    model, x = head_of(**{"hidden_size": 12, **fields}), noise(2, 20, 4)
    assert not model.model.can_skip_to_mean
    states = model(input_values=x, output_hidden_states=True)
    assert near(states.logits, model.classifier(states.hidden_states[-1].mean(1)))
    assert near(states.logits, model(input_values=x).logits)


def test_dropout_behind_the_memory_needs_every_output():
    model = head_of(hidden_dropout=0.5, **STACKS["dense"])
    assert not model.train().model.can_skip_to_mean and model.eval().model.can_skip_to_mean


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_mean_in_half_precision_is_near_the_mean_of_states(dtype):
    model, x = head_of(**STACKS["dense"]).eval(), noise(2, 300, 4)
    want = model(input_values=x).logits
    got = model.to(dtype)(input_values=x.to(dtype)).logits
    assert got.dtype == dtype and (got.double() - want).abs().max() <= 16 * torch.finfo(dtype).eps * want.abs().max()
