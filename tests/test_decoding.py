"""One token after another: recorded, compiled, a million times; never anything but what the model itself would give."""

import gc
import threading
from collections.abc import Iterator
from functools import wraps
from itertools import islice

import pytest
import torch
from torch import Tensor
from transformers import CompileConfig, DynamicCache, StaticCache, set_seed

from lmu_hf import LegendreSystem, LMUConfig, LMUForCausalLM
from lmu_hf.memory import memory_final, memory_step
from lmu_hf.recording import TokenStep
from old_torch import reuses_compiled

VOCABULARY = 29
BLOCKS = {
    "lmu": {"block_type": "lmu", "embedding_size": 5},
    "highway": {"block_type": "highway", "num_highway_layers": 1, "deep_representations": True},
    "residual": {"block_type": "residual", "hidden_dropout": 0.1, "embedding_dropout": 0.1},
    "memory": {"block_type": "lmu", "readout": "memory", "memory_channels": 4},
    "tied": {"block_type": "residual", "tie_word_embeddings": True, "basis": "unit", "norm": "layer"},
}
every_block = pytest.mark.parametrize("changes", BLOCKS.values(), ids=BLOCKS)


def build(changes: dict | None = None) -> LMUForCausalLM:
    set_seed(0)
    fields = {"vocab_size": VOCABULARY, "hidden_size": 12, "num_hidden_layers": 2, "order": 3, "theta": [5.0, 30.0]}
    return LMUForCausalLM(LMUConfig(**{**fields, **(changes or {})})).eval()


def draw(*shape: int) -> Tensor:
    return torch.randint(1, VOCABULARY, shape)


def caches(model: LMUForCausalLM, ids: Tensor, kind: type = DynamicCache) -> Iterator:
    """Caches that have read the same."""
    while True:
        cache = kind(config=model.config, **({"max_cache_len": 64} if kind is StaticCache else {}))
        model(ids, past_key_values=cache)
        yield cache


def generate(model: LMUForCausalLM, ids: Tensor, tokens: int = 30, **how) -> Tensor:
    return model.generate(ids, max_new_tokens=tokens, do_sample=False, pad_token_id=0, **how)


def calls_of(model: LMUForCausalLM, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that takes down the length of whatever the class's forward is given."""
    lengths, forward = [], LMUForCausalLM.forward

    @wraps(forward)
    def noted(self, *args, **kwargs):
        lengths.append(kwargs["input_ids"].shape[1])
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(LMUForCausalLM, "forward", noted)
    return lengths


# --------------------------------------------------------------------------- played back


@every_block
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_a_recorded_step_equals_the_models_own_bit_for_bit(changes, batch):
    model = build(changes)
    played, own = islice(caches(model, draw(batch, 7)), 2)
    step = TokenStep(model)
    for _ in range(40):
        token = draw(batch, 1)
        assert torch.equal(step.logits(token, played), model(token, past_key_values=own, logits_to_keep=1).logits)
    for layer, other in zip(played.layers, own.layers, strict=True):
        assert torch.equal(layer.memory, other.memory)
    assert played.get_seq_length() == own.get_seq_length() == 47


@every_block
def test_generation_is_the_same_with_and_without_recording(changes):
    model, ids = build(changes), draw(2, 7)
    assert torch.equal(generate(model, ids), generate(model, ids, disable_compile=True))
    sampled = [
        (set_seed(1), model.generate(ids, max_new_tokens=30, do_sample=True, pad_token_id=0, disable_compile=plain))[1]
        for plain in (False, True)
    ]
    assert torch.equal(*sampled)


def test_the_model_itself_runs_only_for_the_prompt_and_the_recording(monkeypatch):
    model, ids = build(), draw(1, 7)
    lengths = calls_of(model, monkeypatch)
    generate(model, ids)
    assert lengths == [7, 1]
    lengths.clear()
    list(model.stream(ids, max_new_tokens=30))
    assert lengths == [7, 1]
    lengths.clear()
    generate(model, ids, disable_compile=True)
    assert lengths == [7] + [1] * 29


HOWS = {
    "hidden states": {"output_hidden_states": True, "return_dict_in_generate": True},
    "no cache": {"use_cache": False},
    "beams": {"num_beams": 2},
}


@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS)
def test_outputs_beyond_logits_come_from_the_model_itself(how):
    model, ids = build(), draw(2, 7)
    found, expected = generate(model, ids, **how), generate(model, ids, **how, disable_compile=True)
    if "output_hidden_states" in how:
        assert [len(states) for states in found.hidden_states] == [3] * 30
        found, expected = found.sequences, expected.sequences
    assert torch.equal(found, expected)


@torch.no_grad()
def test_a_recorded_step_uses_the_memories_it_is_given():
    model = build()
    first, second, own = islice(caches(model, draw(2, 7)), 3)
    step, order = TokenStep(model), torch.tensor([1, 0])
    for turn in range(12):
        token, cache = draw(2, 1), (first, second)[turn % 2]
        if turn == 6:
            for moved in (first, second, own):
                moved.reorder_cache(order)
        found = step.logits(token, cache)
        if cache is first:
            assert torch.equal(found, model(token, past_key_values=own).logits)
    first.reset()
    own.reset()
    for _ in range(3):
        token = draw(2, 1)
        assert torch.equal(step.logits(token, first), model(token, past_key_values=own).logits)


def test_hooks_are_called_at_every_token():
    model, ids, called = build(), draw(1, 7), []
    hook = model.model.layers[0].register_forward_hook(lambda *_: called.append(1))
    hooked = generate(model, ids)
    assert len(called) == 30
    hook.remove()
    assert torch.equal(hooked, generate(model, ids))


def test_a_forward_that_was_replaced_is_the_one_that_runs():
    model, ids = build(), draw(1, 7)
    expected, called = generate(model, ids), []
    forward = model.forward

    def replaced(*args, **kwargs):
        called.append(1)
        return forward(*args, **kwargs)

    model.forward = replaced
    assert torch.equal(generate(model, ids), expected)
    assert len(called) == 30


def test_autocast_reaches_every_token():
    model = build({"hidden_size": 32})
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        played, own = islice(caches(model, draw(1, 7)), 2)
        step = TokenStep(model)
        for _ in range(5):
            token = draw(1, 1)
            found = step.logits(token, played)
            assert found.dtype == torch.bfloat16
            assert torch.equal(found, model(token, past_key_values=own, logits_to_keep=1).logits)


def test_a_model_that_cannot_be_recorded_runs_unrecorded_and_says_so(monkeypatch):
    class Deciding(torch.nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum() > 0 else super().forward(2 * x)

    said: list[str] = []
    monkeypatch.setattr("lmu_hf.recording.logger.warning_once", said.append)
    model, ids = build(), draw(2, 7)
    model.lm_head.__class__ = Deciding
    found = generate(model, ids)
    assert [word in said[0] for word in ("__bool__", "full call")] == [True, True]
    assert torch.equal(found, generate(model, ids, disable_compile=True))
    assert len(said) == 1


def test_a_model_in_training_is_not_recorded(monkeypatch):
    model, ids = build({"hidden_dropout": 0.5}).train(), draw(1, 7)
    lengths = calls_of(model, monkeypatch)
    assert (
        len(set(map(tuple, (model.generate(ids, max_new_tokens=9, use_cache=True).tolist()[0] for _ in range(5))))) > 1
    )
    assert lengths == ([7] + [1] * 8) * 5


def test_threads_record_independently():
    model, prompts = build(), [draw(1, n) for n in (3, 5, 8, 13)]
    expected = [generate(model, prompt, 60) for prompt in prompts]
    found: dict[int, Tensor] = {}

    def run(number: int) -> None:
        found[number] = generate(model, prompts[number], 60)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, tokens in enumerate(expected):
        assert torch.equal(found[number], tokens)


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("way", ["stream", "calls"])
def test_three_hundred_tokens_leak_no_memory(way):
    model = build()

    def calls() -> Iterator[int]:
        cache, token = DynamicCache(config=model.config), draw(1, 5)
        while True:
            with torch.no_grad():
                token = model(token, past_key_values=cache).logits[:, -1:].argmax(-1)
            yield int(token)

    tokens = model.stream(draw(1, 5)) if way == "stream" else calls()
    list(islice(tokens, 20))
    before = live_tensors()
    list(islice(tokens, 300))
    assert live_tensors() <= before  # what earlier tests left may go meanwhile


# --------------------------------------------------------------------------- compiled


@pytest.fixture
def backend() -> Iterator:
    """A backend that keeps the graphs that it is given and needs no compiler."""

    def keep(graph: torch.fx.GraphModule, inputs: list, **how):
        keep.graphs.append(graph)
        return graph.forward

    keep.graphs = []
    torch._dynamo.reset()
    yield keep
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["tied", *(pytest.param(name, marks=pytest.mark.slow) for name in list(BLOCKS)[:-1])])
@reuses_compiled
@torch.no_grad()
def test_twenty_lengths_of_prompt_share_one_compiled_step(name, backend):
    model = build(BLOCKS[name])
    step = torch.compile(model, fullgraph=True, backend=backend)
    for length in range(1, 21):
        compiled, own = islice(caches(model, draw(2, length), StaticCache), 2)
        for _ in range(3):
            token = draw(2, 1)
            found, expected = step(token, past_key_values=compiled), model(token, past_key_values=own)
            assert (found.logits - expected.logits).abs().max() < 1e-6  # float32, a few roundings
        assert compiled.get_seq_length() == length + 3
    assert len(backend.graphs) <= 3  # the first, and at most two recompilations


@reuses_compiled
def test_generate_compiles_once_for_twenty_lengths_of_prompt(backend):
    model, compilation = build(), CompileConfig(backend=backend, fullgraph=True)
    compilation._compile_all_devices = True  # left alone, generate compiles on accelerators only
    for length in range(1, 21):
        ids = draw(2, length)
        found = generate(model, ids, 6, cache_implementation="static", compile_config=compilation)
        assert torch.equal(found, generate(model, ids, 6, disable_compile=True))
    assert 1 <= len(backend.graphs) <= 3


# --------------------------------------------------------------------------- a million


@pytest.mark.slow
@pytest.mark.parametrize("order, theta", [(4, 16), (64, 512)])
@torch.inference_mode()
def test_a_million_steps_do_not_drift(order, theta):
    system, channels, piece = LegendreSystem(order, theta, basis="unit"), 8, 50_000
    memory, exact, errors = None, None, []
    for _ in range(20):
        u = torch.randn(1, piece, channels)
        for now in u.split(1, dim=1):
            _, memory = memory_step(now, system, memory)
        _, exact = memory_final(u.double(), system, exact)
        errors.append(((memory - exact).square().mean().sqrt() / exact.square().mean().sqrt()).item())
    print(f"relative error {errors[0]:.1e} after 50,000 steps, {errors[-1]:.1e} after 1,000,000")
    assert errors[-1] <= 2 * errors[0]
    assert max(errors) < 1e-5
