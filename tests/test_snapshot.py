"""A step that was recorded sees what changed under it between two tokens, and gives what an unrecorded one gives."""

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations, prune
from transformers import DynamicCache

from lmu_hf import LMUConfig, LMUForCausalLM
from lmu_hf.recording import Snapshot, TokenStep

FIELDS = {"vocab_size": 29, "hidden_size": 12, "num_hidden_layers": 2, "order": 3, "theta": [5.0, 30.0]}


class Adapter(nn.Module):
    """A linear module with more beside it, switched by what only its own Python knows."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.up = base, nn.Linear(base.in_features, base.out_features)
        self.on, self.merged, self.scaling = True, [], {"default": 1.0}

    def forward(self, x: Tensor) -> Tensor:
        plain = not self.on or self.merged
        return self.base(x) if plain else self.base(x) + self.scaling["default"] * self.up(x)


class Doubling(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def block(model: LMUForCausalLM) -> nn.Module:
    return model.model.layers[1]


def replaced(model: LMUForCausalLM) -> None:
    readout = block(model).memory.input_readout
    readout.forward = lambda x: 2 * nn.functional.linear(x, readout.weight, readout.bias)


def adapted(model: LMUForCausalLM) -> None:
    block(model).mlp.up_proj = Adapter(block(model).mlp.up_proj).eval()


def assigned(model: LMUForCausalLM) -> None:
    model.load_state_dict({name: 0.5 * weight for name, weight in model.state_dict().items()}, assign=True)


def loaded(model: LMUForCausalLM) -> None:
    model.load_state_dict({name: 0.5 * weight for name, weight in model.state_dict().items()})


def scaled(model: LMUForCausalLM) -> None:
    for parameter in model.parameters():
        parameter.mul_(0.5)


def swapped(model: LMUForCausalLM) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data * 0.5


def biased(model: LMUForCausalLM) -> None:
    model.lm_head.bias = nn.Parameter(torch.linspace(-1, 1, 29))


def unbiased(model: LMUForCausalLM) -> None:
    block(model).mlp.up_proj.bias = None


def classed(model: LMUForCausalLM) -> None:
    model.lm_head.__class__ = Doubling


def renewed(model: LMUForCausalLM) -> None:
    weight = block(model).memory.encoder.weight
    block(model).memory.encoder.weight = nn.Parameter(weight.detach() * 0.5)


CHANGES: dict[str, Callable[[LMUForCausalLM], object]] = {
    "nothing": lambda model: None,
    "a hook": lambda model: block(model).mlp.register_forward_hook(lambda module, args, output: 2 * output),
    "a hook before": lambda model: model.lm_head.register_forward_pre_hook(lambda module, args: (2 * args[0],)),
    "another forward": replaced,
    "an adapter": adapted,
    "other parameters": assigned,
    "other numbers": loaded,
    "numbers in place": scaled,
    "numbers elsewhere": swapped,
    "one other parameter": renewed,
    "a bias": biased,
    "no bias": unbiased,
    "another class": classed,
    "resized embeddings": lambda model: model.resize_token_embeddings(40, mean_resizing=False),
    "fewer embeddings": lambda model: model.resize_token_embeddings(25, mean_resizing=False),
    "float64": lambda model: model.to(torch.float64),
    "bfloat16": lambda model: model.to(torch.bfloat16),
    "training": lambda model: model.train(),
    "gradients": lambda model: model.requires_grad_(False),
    "pruning": lambda model: prune.l1_unstructured(model.lm_head, "weight", amount=0.5),
    "weight norm": lambda model: parametrizations.weight_norm(block(model).mlp.down_proj),
    "another block": lambda model: model.model.layers.__setitem__(0, copy.deepcopy(block(model)).bfloat16().float()),
    "compiled": lambda model: model.compile(backend="eager"),
    "threads": lambda model: torch.set_num_threads(1),
}


def build() -> LMUForCausalLM:
    torch.manual_seed(0)
    return LMUForCausalLM(LMUConfig(**FIELDS, block_type="residual")).eval()


def both(model: LMUForCausalLM) -> tuple[TokenStep, DynamicCache, DynamicCache]:
    """A step to be recorded, and two caches that have read the same."""
    played, own = DynamicCache(config=model.config), DynamicCache(config=model.config)
    for cache in (played, own):
        model(torch.tensor([[1, 2, 3]]), past_key_values=cache)
    return TokenStep(model), played, own


def go_on(model: LMUForCausalLM, step: TokenStep, played: DynamicCache, own: DynamicCache, tokens: int = 4) -> None:
    for token in range(5, 5 + tokens):
        ids = torch.tensor([[token]])
        found, expected = step.logits(ids, played), model(ids, past_key_values=own, logits_to_keep=1).logits
        assert found.dtype == expected.dtype and torch.equal(found, expected)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@torch.no_grad()
def test_a_change_between_two_tokens_is_seen(change):
    model = build()
    step, played, own = both(model)
    go_on(model, step, played, own)
    assert step._recording is not None
    torch.manual_seed(1)
    change(model)
    go_on(model, step, played, own)


class Casting(Adapter):
    """An adapter that computes in the dtype of its own weights, as a LoRA does."""

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(x.to(self.up.weight.dtype)).to(x.dtype)


@torch.no_grad()
def test_an_adapter_of_another_dtype_is_seen():
    model = build()
    block(model).mlp.up_proj = adapter = Casting(block(model).mlp.up_proj).eval()
    step, played, own = both(model)
    go_on(model, step, played, own)
    assert step._recording is not None
    adapter.up.bfloat16()
    go_on(model, step, played, own)


@torch.no_grad()
def test_a_model_that_stops_changing_is_recorded_again():
    model = build()
    step, played, own = both(model)
    go_on(model, step, played, own)
    first = step._recording
    adapted(model)
    go_on(model, step, played, own, 6)
    assert step._recording is not None and step._recording is not first
    hook = model.register_forward_hook(lambda module, args, output: None)
    go_on(model, step, played, own)
    assert step._recording is None
    hook.remove()
    go_on(model, step, played, own)
    assert step._recording is not None


@torch.no_grad()
def test_switches_of_an_adapter_are_seen():
    model = build()
    adapted(model)
    adapter = block(model).mlp.up_proj
    step, played, own = both(model)
    for switch in (
        lambda: None,
        lambda: setattr(adapter, "on", False),
        lambda: setattr(adapter, "on", True),
        lambda: adapter.scaling.update(default=3.0),
        lambda: adapter.merged.append("default"),
    ):
        switch()
        go_on(model, step, played, own, 6)


@torch.no_grad()
def test_a_hook_on_all_modules_is_called_at_every_token():
    model, called = build(), []
    step, played, own = both(model)
    go_on(model, step, played, own)
    handle = register_module_forward_hook(lambda module, args, output: called.append(module))
    try:
        step.logits(torch.tensor([[5]]), played)
        assert model.lm_head in called and block(model).mlp in called
    finally:
        handle.remove()


@torch.no_grad()
def test_a_hook_on_another_model_changes_nothing():
    model = build()
    snapshot = Snapshot(model)
    nn.Linear(2, 2).register_forward_hook(lambda *_: None)
    assert snapshot.holds() and snapshot.holds()


@torch.no_grad()
def test_a_class_that_reads_gradients_or_autocast_is_called():
    model = build()
    step, played, own = both(model)
    go_on(model, step, played, own)
    with torch.autocast("cpu", torch.bfloat16):
        go_on(model, step, played, own)
    with torch.enable_grad():
        assert step.logits(torch.tensor([[5]]), played).requires_grad


@pytest.mark.parametrize("change", [adapted, assigned, biased, swapped], ids=lambda change: change.__name__)
def test_a_stream_goes_on_with_what_the_model_is_now(change):
    model = build()
    found = []
    for made, token in enumerate(model.stream(torch.tensor([1, 2, 3]), max_new_tokens=12)):
        found.append(token)
        if made == 5:
            with torch.no_grad():
                torch.manual_seed(1)
                change(model)
    twin = build()
    cache, ids, expected = DynamicCache(config=twin.config), torch.tensor([[1, 2, 3]]), []
    with torch.inference_mode():
        for made in itertools.count():
            ids = twin(ids, past_key_values=cache, logits_to_keep=1).logits[0].argmax(-1, keepdim=True)
            expected.append(int(ids))
            if made == 11:
                break
            if made == 5:
                torch.manual_seed(1)
                with torch.inference_mode(False), torch.no_grad():
                    change(twin)
    assert found == expected
