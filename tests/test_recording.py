"""A recorded function: the same torch calls again, on new inputs, and nothing that would not be the same."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from lmu_hf.recording import CannotRecordError, Recording
from old_torch import compiles_in_modes, marked

WEIGHT = torch.linspace(-1, 1, 6)


def draw() -> Tensor:
    return torch.randn(2, 6)


def gathered(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=1)
    return torch.stack([second, first], dim=1)[:, :, torch.tensor([2, 0])]


def written(x: Tensor) -> Tensor:
    y = torch.empty(2, 6)
    torch.mul(x, 2, out=y)
    y += x
    y[:, 0] = x[:, 1]
    return y.clamp_(min=-1)


FUNCTIONS = {
    "a module": nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.Dropout(0.0), nn.Linear(4, 6)).eval(),
    "lists and several results": gathered,
    "names": lambda x: rms_norm(input=x, normalized_shape=(6,), weight=torch.sigmoid(x[0]), eps=1e-5),
    "what is only handed on": lambda x: x.float().contiguous().to(torch.float32).exp(),
    "a loop": lambda x: torch.stack([row * k for k, row in enumerate(x)]),
    "compiled code": torch.compile(lambda x: x.sin() * 2, backend="eager"),
    "what is only asked": lambda x: x.view(x.shape[0], -1) * x.numel() if x.dtype == torch.float32 else x,
    "results of two kinds": lambda x: x.max(dim=1).values + x.max(dim=1)[1],
    "writing": written,
}


@pytest.mark.parametrize("function", marked(FUNCTIONS, {"compiled code"}, compiles_in_modes))
def test_a_recording_does_what_the_function_does(function):
    with torch.no_grad():
        recording = Recording(function, draw(), draw())
        for x in (draw(), draw()):
            assert torch.equal(recording(x), function(x))


def test_a_recording_updates_its_state_in_place():
    state, twin = torch.zeros(2, 6), torch.zeros(2, 6)

    def step(x: Tensor, memory: Tensor) -> Tensor:
        memory.copy_(0.9 * memory + x)
        return memory @ WEIGHT

    recording = Recording(lambda x: step(x, state), draw(), draw(), [state])
    assert not state.any()  # recording leaves no trace
    for _ in range(5):
        x = draw()
        assert torch.equal(recording(x), step(x, twin))
        assert torch.equal(state, twin)


def test_a_recording_reads_weights_that_change_in_place():
    layer = nn.Linear(6, 6)
    with torch.no_grad():
        recording, x = Recording(layer, draw(), draw()), draw()
        layer.weight.mul_(2)
        assert torch.equal(recording(x), layer(x))


def test_calls_without_computation_are_not_recorded():
    assert len(Recording(lambda x: x.float().contiguous() + x.shape[0], draw(), draw())) == 1


def test_results_that_nothing_takes_are_not_picked_out():
    assert len(Recording(lambda x: x.max(dim=1)[0] + x.sort(dim=1)[0][:, 0], draw(), draw())) == 6


READING = {
    "item": lambda x: x * x.sum().item(),
    "__bool__": lambda x: x if x.sum() > 0 else -x,
    "__int__": lambda x: x[: int(x.sum()) or 1],
    "tolist": lambda x: torch.tensor(x.tolist()),
    "equal": lambda x: x if torch.equal(x, x) else -x,
}


@pytest.mark.parametrize("name, function", READING.items(), ids=READING)
def test_a_function_that_looks_at_values_is_refused_by_name(name, function):
    with pytest.raises(CannotRecordError, match=f"by {name}$"):
        Recording(function, draw(), draw())


class Elsewhere:
    """Hands a tensor's numbers on without torch."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __dlpack__(self, **how):
        with torch._C.DisableTorchFunction():
            return self.x.mul(3).__dlpack__(**how)

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()


class Counting(nn.Module):
    """Python that decides something else at every call."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


ELSEWHERE = {
    "a counter": Counting(),
    "randomness": nn.Dropout(0.5),
    "numpy": lambda x: torch.from_numpy(2 * x.numpy()),
    "another language": lambda x: torch.from_dlpack(Elsewhere(x)) * 2,
}


@pytest.mark.parametrize("function", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_function_that_is_more_than_its_torch_calls_is_refused(function):
    state = torch.ones(3)

    def step(x: Tensor) -> Tensor:
        state.add_(1)
        return function(x)

    with torch.no_grad(), pytest.raises(CannotRecordError):
        Recording(step, draw(), draw(), [state])
    assert state.tolist() == [1, 1, 1]
