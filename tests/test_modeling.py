"""Block → model: a masked step does not exist, pieces make the whole, and what is refused."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from transformers.cache_utils import DynamicCache

from lmu_hf import LMUModel
from lmu_hf.layout import Layout, Reading
from lmu_hf.memory import MEMORY_FORMS, memory_recurrent
from lmu_hf.recording import carried_tensors
from tiny_stacks import (
    BOTH_WAYS,
    CAUSAL,
    EVERY,
    LONG,
    WIDTH,
    assert_near,
    build,
    draw_ids,
    memories,
    padded,
    tiny,
    written_and_carried,
)


def assert_as_if_removed(model: LMUModel, ids: Tensor, mask: Tensor, junk: int) -> None:
    """Hidden states and carried memories are those of the rows without their masked steps."""
    output = model(ids.masked_fill(~mask, junk), attention_mask=mask.long(), output_hidden_states=True)
    for row, real in enumerate(mask):
        assert not any(state[row, ~real].any() for state in output.hidden_states)
        if not real.any():
            assert not any(memory[row].any() for memory in memories(output))
            continue
        alone = model(ids[row : row + 1, real], output_hidden_states=True)
        for state, expected in zip(output.hidden_states, alone.hidden_states, strict=True):
            assert_near(state[row, real], expected[0])
        for memory, expected in zip(memories(output), memories(alone), strict=True):
            assert_near(memory[row], expected[0])


@st.composite
def masks(draw, longest: int = 10) -> Tensor:
    """Any mask whatever, rows without a real step included."""
    b, n = draw(st.integers(1, 3)), draw(st.integers(1, longest))
    row = st.lists(st.booleans(), min_size=n, max_size=n)
    return torch.tensor(draw(st.lists(row, min_size=b, max_size=b)))


JUNK = st.sampled_from([0, -100, -1, 11, 2**62])
FEW = settings(max_examples=25, deadline=None)


# --------------------------------------------------------------------------- a masked step does not exist


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("kind", ["left", "right", "both sides", "holes"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_padding_changes_nothing(changes, kind, dtype):
    mask = padded(kind, 70)  # more than two chunks of time
    assert_as_if_removed(build(changes, dtype), draw_ids(3, 70), mask, junk=-100)


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
def test_any_mask_over_any_junk_changes_nothing(changes):
    model = build(changes)

    @FEW
    @given(masks(), JUNK, st.integers(0, 9))
    def check(mask, junk, seed):
        assert_as_if_removed(model, draw_ids(*mask.shape, seed=seed), mask, junk)

    check()


@pytest.mark.parametrize("form", [form for form in MEMORY_FORMS if form not in ("step", "final", "mean")])
def test_every_form_of_the_memory_is_the_same_model(form):
    ids, mask = draw_ids(3, 70), padded("holes", 70)
    expected = build({})(ids, attention_mask=mask)
    actual = build({"memory_form": form})(ids, attention_mask=mask)
    assert_close(actual.last_hidden_state, expected.last_hidden_state, rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.int32, torch.float32], ids=str)
def test_masks_come_in_any_dtype(dtype):
    model, ids, mask = build({}), draw_ids(3, 9), padded("left", 9)
    expected = model(ids, attention_mask=mask).last_hidden_state
    assert torch.equal(model(ids, attention_mask=mask.to(dtype)).last_hidden_state, expected)


def test_a_mask_of_ones_is_no_mask():
    model, ids = build({}), draw_ids(2, 9)
    masked = model(ids, attention_mask=torch.ones(2, 9))
    assert torch.equal(masked.last_hidden_state, model(ids).last_hidden_state)


@pytest.mark.parametrize("block", ["lmu", "highway", "residual"])
@pytest.mark.parametrize("name", ["input_values", "inputs_embeds"])
def test_not_even_nan_leaks_out_of_a_masked_step(block, name):
    model = build({"block_type": block, "input_size": 3})
    mask, x = padded("holes", 9), torch.randn(3, 9, 3, dtype=torch.float64)
    dirty = x.masked_fill(~mask[..., None], float("nan"))
    expected = model(**{name: x}, attention_mask=mask).last_hidden_state
    assert torch.equal(model(**{name: dirty}, attention_mask=mask).last_hidden_state, expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"block_type": "lmu"},
        {"block_type": "highway"},
        {"block_type": "residual"},
        {"block_type": "lmu", "deep_representations": True},
    ],
    ids=str,
)
def test_not_even_nan_leaks_into_a_gradient(changes):
    model = build({"input_size": 3, **changes})
    mask = padded("holes", 9)
    x = torch.randn(3, 9, 3, dtype=torch.float64).masked_fill(~mask[..., None], float("nan"))
    model(input_values=x, attention_mask=mask).last_hidden_state.sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None and p.grad.isnan().any()] == []


# --------------------------------------------------------------------------- pieces make the whole


@pytest.mark.parametrize("changes", CAUSAL.values(), ids=CAUSAL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_step_by_step_is_the_parallel_pass(changes, dtype):
    model, ids = build(changes, dtype), draw_ids(2, 40)
    whole, cache, steps = model(ids), None, []
    for t in range(40):
        output = model(ids[:, t : t + 1], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        steps.append(output.last_hidden_state)
    assert_near(torch.cat(steps, dim=1), whole.last_hidden_state)
    for memory, expected in zip(memories(output), memories(whole), strict=True):
        assert_near(memory, expected)


@pytest.mark.parametrize("changes", CAUSAL.values(), ids=CAUSAL)
@pytest.mark.parametrize("mask_of_the_past", [True, False])
def test_any_split_under_any_mask_is_the_whole(changes, mask_of_the_past):
    model = build(changes)

    @FEW
    @given(masks(longest=14), st.sets(st.integers(1, 13)), st.integers(0, 9))
    def check(mask, cuts, seed):
        n = mask.shape[1]
        ids = draw_ids(*mask.shape, seed=seed)
        whole, cache, pieces = model(ids, attention_mask=mask), None, []
        edges = [0, *sorted(cut for cut in cuts if cut < n), n]
        for start, end in itertools.pairwise(edges):
            seen = mask[:, (0 if mask_of_the_past else start) : end]
            output = model(ids[:, start:end], attention_mask=seen, past_key_values=cache)
            cache = output.past_key_values
            pieces.append(output.last_hidden_state)
        assert_near(torch.cat(pieces, dim=1), whole.last_hidden_state)
        for memory, expected in zip(memories(output), memories(whole), strict=True):
            assert_near(memory, expected)

    check()


def test_a_whole_chunk_may_be_followed_by_a_ragged_one():
    model, ids, mask = build({}), draw_ids(3, 80), padded("holes", 40)
    first = model(ids[:, :40])
    second = model(ids[:, 40:], attention_mask=mask, past_key_values=first.past_key_values)
    whole = model(ids, attention_mask=torch.cat([torch.ones_like(mask), mask], dim=1))
    assert_near(second.last_hidden_state, whole.last_hidden_state[:, 40:])
    assert_near(memories(second)[-1], memories(whole)[-1])


def test_a_callers_own_cache_is_filled():
    model, ids = build({}), draw_ids(2, 9)
    cache = DynamicCache(config=model.config)
    assert model(ids, past_key_values=cache).past_key_values is cache
    assert all(layer.memory.shape == (2, 6, 3) for layer in cache.layers)


@pytest.mark.parametrize("changes", CAUSAL.values(), ids=CAUSAL)
def test_the_config_knows_how_many_numbers_are_carried(changes):
    model = build(changes)
    cache = model(draw_ids(2, 3)).past_key_values
    counters = [id(layer.cumulative_length) for layer in cache.layers]
    carried = [tensor[0] for tensor in carried_tensors(cache) if id(tensor) not in counters]
    assert sum(row.numel() for row in carried) == model.config.state_size


@pytest.mark.parametrize("training", [False, True])
def test_a_cache_is_built_by_default_outside_training_only(training):
    model = build({}).train(training)
    assert (model(draw_ids(2, 3)).past_key_values is None) == training
    assert model(draw_ids(2, 3), use_cache=False).past_key_values is None
    assert model(draw_ids(2, 3), use_cache=True).past_key_values is not None


def test_gradients_flow_through_a_carried_memory():
    model, ids = build({}), draw_ids(2, 12)
    model(ids).last_hidden_state[:, 6:].square().sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    past = model(ids[:, :6]).past_key_values
    model(ids[:, 6:], past_key_values=past).last_hidden_state.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert_close(parameter.grad, expected[name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("situation", ["use_cache=False", "training"])
def test_a_given_cache_is_never_ignored(situation):
    model, ids = build({}), draw_ids(2, 12)
    past, expected = model(ids[:, :6]).past_key_values, model(ids).last_hidden_state[:, 6:]
    model.train(situation == "training")
    use_cache = False if situation == "use_cache=False" else None
    assert_near(model(ids[:, 6:], past_key_values=past, use_cache=use_cache).last_hidden_state, expected)


def test_a_cache_under_gradient_checkpointing_is_refused():
    model, ids = build({}), draw_ids(2, 12)
    past = model(ids[:, :6]).past_key_values
    model.train().gradient_checkpointing_enable()
    with pytest.raises(ValueError, match=r"checkpointing .* cache"):
        model(ids[:, 6:], past_key_values=past)


# --------------------------------------------------------------------------- only the last step


@pytest.mark.parametrize("changes", CAUSAL.values(), ids=CAUSAL)
def test_the_last_step_alone_is_the_last_column(changes):
    model = build(changes)

    @FEW
    @given(masks().filter(lambda mask: bool(mask.any(1).all())), st.booleans())
    def check(mask, with_past):
        ids = draw_ids(*mask.shape)
        past = [model(ids).past_key_values if with_past else None for _ in range(2)]
        whole = model(ids, attention_mask=mask, past_key_values=past[0])
        last = model(ids, attention_mask=mask, past_key_values=past[1], wanted="last")
        assert last.last_hidden_state.shape[1] == 1
        for row, real in enumerate(mask):
            assert_near(last.last_hidden_state[row, 0], whole.last_hidden_state[row, real][-1])
        for memory, expected in zip(memories(last), memories(whole), strict=True):
            assert_near(memory, expected)

    check()


def test_a_bidirectional_model_refuses_to_give_the_last_step_alone():
    with pytest.raises(ValueError, match="the last step alone"):
        build(BOTH_WAYS["both ways lmu"])(draw_ids(2, 5), wanted="last")


# --------------------------------------------------------------------------- what comes out


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
def test_hidden_states_are_the_stacks_input_and_every_blocks_output(changes):
    model, ids = build(changes), draw_ids(2, 7)
    output = model(ids, output_hidden_states=True)
    assert len(output.hidden_states) == len(model.layers) + 1
    for layer, below, above in zip(model.layers[:-1], output.hidden_states, output.hidden_states[1:], strict=False):
        assert_near(layer(below, Reading(Layout(below.shape[1]))), above)
    assert output.hidden_states[-1] is output.last_hidden_state
    embedded = model.embed_tokens(ids) + (0 if model.ngrams is None else model.ngrams(ids))
    assert_near(output.hidden_states[0], model.input_projection(embedded) if model.input_projection else embedded)


def test_hidden_states_are_returned_on_demand_only():
    model, ids = build({}), draw_ids(2, 7)
    assert model(ids).hidden_states is None
    model.config.output_hidden_states = True
    assert len(model(ids).hidden_states) == 3
    assert model(ids, output_hidden_states=False).hidden_states is None


@pytest.mark.parametrize("by_config", [True, False])
def test_outputs_are_a_tuple_on_demand(by_config):
    model, ids = build({}), draw_ids(2, 7)
    expected = model(ids, output_hidden_states=True, use_cache=False).to_tuple()
    if by_config:
        model.config.return_dict = False
    given = {} if by_config else {"return_dict": False}
    actual = model(ids, output_hidden_states=True, use_cache=False, **given)
    assert type(actual) is tuple
    assert torch.equal(actual[0], expected[0])
    assert all(torch.equal(a, b) for a, b in zip(actual[1], expected[1], strict=True))


def test_embeddings_may_be_given_in_place_of_ids():
    model, ids = build({}), draw_ids(2, 7)
    assert torch.equal(model(inputs_embeds=model.embed_tokens(ids))[0], model(ids)[0])


def test_a_signal_of_one_number_needs_no_last_axis():
    model, signal = build({"input_size": 1}), torch.randn(2, 7, dtype=torch.float64)
    assert torch.equal(model(input_values=signal)[0], model(input_values=signal[..., None])[0])


def test_a_signal_takes_the_models_dtype():
    model, signal = build({"input_size": 1}, torch.float32), torch.randn(2, 7, dtype=torch.float64)
    assert torch.equal(model(input_values=signal)[0], model(input_values=signal.float())[0])


def test_causal_models_do_not_look_ahead():
    ids = draw_ids(2, 40)
    for changes in CAUSAL.values():
        model = build(changes)
        changed = torch.cat([ids[:, :20], (ids[:, 20:] + 1) % 11], dim=1)
        assert_near(model(changed)[0][:, :20], model(ids)[0][:, :20])


def test_bidirectional_models_look_both_ways():
    model, ids = build(BOTH_WAYS["both ways lmu"]), draw_ids(1, 9)
    changed = ids.clone()
    changed[0, 4] = (ids[0, 4] + 1) % 11
    assert (model(changed)[0] != model(ids)[0]).any(-1).all()


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
def test_a_sequence_of_one_step_is_read(changes):
    output = build(changes)(draw_ids(3, 1))
    assert output.last_hidden_state.shape == (3, 1, 6)
    assert output.last_hidden_state.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("block", ["lmu", "highway", "residual"])
def test_twenty_thousand_steps_are_two_times_ten_thousand(block):
    model = build({"block_type": block, "order": 8, "theta": 3000})
    ids = draw_ids(1, 20_000)
    with torch.no_grad():
        whole = model(ids)
        past = model(ids[:, :10_000]).past_key_values
        second = model(ids[:, 10_000:], past_key_values=past, wanted="last")
    assert_close(second.last_hidden_state, whole.last_hidden_state[:, -1:], rtol=0, atol=1e-10)


def test_two_calls_give_the_same_bits():
    model, ids, mask = build({}, torch.float32), draw_ids(3, 40), padded("holes", 40)
    assert torch.equal(model(ids, attention_mask=mask)[0], model(ids, attention_mask=mask)[0])


def test_dropout_acts_in_training_only():
    model = build({"hidden_dropout": 0.5, "embedding_dropout": 0.5})
    ids = draw_ids(2, 7)
    assert torch.equal(model(ids)[0], model(ids)[0])
    model.train()
    assert not torch.equal(model(ids)[0], model(ids)[0])


# --------------------------------------------------------------------------- what is refused


def keys_and_values() -> DynamicCache:
    """What an attention model would carry."""
    cache = DynamicCache()
    cache.update(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4), 0)
    return cache


IDS, SIGNAL = draw_ids(2, 5), {"input_size": 3}
REFUSED = [
    # The architecture, the call, the error and its words.
    ({}, {}, ValueError, "one of input_ids, inputs_embeds, input_values must be given, got none"),
    ({}, {"input_ids": IDS, "inputs_embeds": torch.ones(2, 5, 6)}, ValueError, "got input_ids and inputs_embeds"),
    ({}, {"input_ids": IDS[:0]}, ValueError, r"input_ids .*at least one sequence.*\(0, 5\)"),
    ({}, {"input_ids": IDS[:, :0]}, ValueError, r"input_ids .*at least one step.*\(2, 0\)"),
    ({}, {"input_ids": IDS[0]}, ValueError, r"input_ids .*\(5,\)"),
    ({}, {"input_ids": IDS[..., None]}, ValueError, r"input_ids must be \(batch, time\).*\(2, 5, 1\)"),
    ({}, {"input_ids": IDS.float()}, TypeError, r"input_ids must be int64 or int32, got torch.float32"),
    ({}, {"input_ids": IDS * 0 + 11}, ValueError, "input_ids holds 11, outside 0 … 10"),
    ({}, {"input_ids": IDS * 0 - 100}, ValueError, "input_ids holds -100, outside 0 … 10"),
    ({}, {"inputs_embeds": torch.ones(2, 5, 7)}, ValueError, r"inputs_embeds.* 6\), got \(2, 5, 7\)"),
    ({}, {"input_values": torch.ones(2, 5)}, ValueError, "give input_ids, not input_values"),
    (SIGNAL, {"input_ids": IDS}, ValueError, r"give input_values \(b, n, 3\)"),
    (SIGNAL, {"input_values": IDS}, TypeError, "input_values must be floating point, got torch.int64"),
    (SIGNAL, {"input_values": torch.ones(2, 5, 4)}, ValueError, r"input_size=3\), got \(2, 5, 4\)"),
    (SIGNAL, {"input_values": torch.ones(2, 5)}, ValueError, r"input_size=3\), got \(2, 5\)"),
    ({}, {"input_ids": IDS, "attention_mask": torch.ones(2, 4)}, ValueError, r"attention_mask.*\(2, 4\)"),
    ({}, {"input_ids": IDS, "attention_mask": torch.ones(3, 5)}, ValueError, r"attention_mask.*\(3, 5\)"),
    ({}, {"input_ids": IDS, "attention_mask": torch.ones(5)}, ValueError, r"attention_mask.*\(5,\)"),
    ({}, {"input_ids": IDS, "past_key_values": keys_and_values()}, TypeError, "cache must hold LMU memories"),
    (
        BOTH_WAYS["both ways lmu"],
        {"input_ids": IDS, "use_cache": True},
        ValueError,
        "bidirectional model carries nothing",
    ),
]


@pytest.mark.parametrize(("changes", "inputs", "error", "words"), REFUSED, ids=[case[3] for case in REFUSED])
def test_an_error_names_what_was_wrong(changes, inputs, error, words):
    with pytest.raises(error, match=words):
        build(changes, torch.float32)(**inputs)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64], ids=str)
@pytest.mark.parametrize("block", ["lmu", "residual"])
def test_embeddings_of_another_dtype_are_refused_by_name(dtype, block):
    with pytest.raises(TypeError, match="inputs_embeds"):
        build({"block_type": block}, torch.float32)(inputs_embeds=torch.ones(2, 5, 6, dtype=dtype))


def test_a_memory_of_another_batch_is_refused():
    model = build({})
    with pytest.raises(ValueError, match="cache holds memories of 2 sequences for a batch of 3"):
        model(draw_ids(3, 5), past_key_values=model(draw_ids(2, 5)).past_key_values)


@pytest.mark.parametrize("deep", [True, False])
def test_an_input_is_projected_only_where_widths_must_agree(deep):
    model = LMUModel(tiny(block_type="lmu", embedding_size=4, deep_representations=deep))
    assert (model.input_projection is not None) == deep
    assert model(draw_ids(2, 5)).last_hidden_state.shape == (2, 5, 6)


# --------------------------------------------------------------------------- precision


CASTS = {
    "bfloat16": lambda model: model.to(torch.bfloat16),
    "half": lambda model: model.half(),
    "there and back": lambda model: model.half().float(),
}


@pytest.mark.parametrize("piece", [1, 300], ids=["steps", "whole"])
@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
def test_the_memory_stays_float32_whatever_the_models_dtype(cast, piece):
    model = cast(build(LONG, torch.float32))
    u, memory = written_and_carried(model, draw_ids(2, 300), piece)
    assert u.dtype == model.dtype
    assert memory.dtype == torch.float32
    _, expected = memory_recurrent(u.double(), model.layers[0].memory.windows.systems[0])
    assert (memory - expected).norm() < 1e-5 * expected.norm()


def test_autocast_leaves_the_memory_alone():
    model, ids = build(LONG, torch.float32), draw_ids(2, 300)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        u, memory = written_and_carried(model, ids, 300)
    assert (u.dtype, memory.dtype) == (torch.bfloat16, torch.float32)
    _, expected = memory_recurrent(u.double(), model.layers[0].memory.windows.systems[0])
    assert (memory - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_every_block_runs_in_half_precision(changes, dtype):
    ids, mask = draw_ids(3, 20), padded("holes", 20)
    exact = build(changes, torch.float64)(ids, attention_mask=mask).last_hidden_state
    half = build(changes, dtype)(ids, attention_mask=mask).last_hidden_state
    assert half.dtype == dtype
    # Weights and activations of 8 (or 11) bits, over two blocks.
    assert (half - exact).norm() < 16 * torch.finfo(dtype).eps * exact.norm()


# --------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("masked", [True, False])
def test_checkpointing_runs_blocks_twice_for_the_same_gradients(changes, masked):
    model, ids = build(changes).train(), draw_ids(3, 20)
    mask, calls = padded("holes", 20) if masked else None, []
    for layer in model.layers:
        layer.memory.register_forward_pre_hook(lambda *_: calls.append(1))

    def gradients() -> list[Tensor]:
        model.zero_grad()
        calls.clear()
        model(ids, attention_mask=mask).last_hidden_state.square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    expected, once = gradients(), len(calls)
    model.gradient_checkpointing_enable()
    actual = gradients()
    assert len(calls) == 2 * once
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))
    model.gradient_checkpointing_disable()
    gradients()
    assert len(calls) == once


@pytest.mark.parametrize("reentrant", [False, True], ids=["", "reentrant"])
@pytest.mark.parametrize("block", ["lmu", "highway", "residual"])
def test_a_signal_is_learnt_from_under_checkpoints(block, reentrant):
    signal = {"vocab_size": None, "input_size": WIDTH, "block_type": block}
    model, values = build(signal).train(), torch.randn(2, 9, WIDTH, dtype=torch.float64)

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(input_values=values).last_hidden_state.square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    expected = gradients()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    assert all(torch.equal(a, b) for a, b in zip(gradients(), expected, strict=True))
    assert not values.requires_grad


def test_frozen_embeddings_leave_blocks_to_be_learnt_under_checkpoints():
    model = build({}).train()
    model.embed_tokens.requires_grad_(False)
    model.gradient_checkpointing_enable({"use_reentrant": True})
    model(draw_ids(2, 5)).last_hidden_state.sum().backward()
    assert all(parameter.grad is not None for parameter in model.layers.parameters())


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("how", ["left", "right", "holes", "packed"])
def test_states_that_are_returned_have_gradients(changes, how):
    model, ids = build(changes), draw_ids(3, 12)
    given = {"attention_mask": padded(how, 12)} if how != "packed" else {"position_ids": torch.arange(12)[None] % 5}
    plain = model(ids, **given).last_hidden_state
    read = model(ids, **given, output_hidden_states=True)
    assert torch.equal(read.last_hidden_state, plain)
    gradients = torch.autograd.grad(read.last_hidden_state.square().sum(), read.hidden_states)
    for gradient in gradients:
        assert gradient.shape[:2] == ids.shape and bool(gradient.any())
        if how != "packed":
            assert not gradient[~padded(how, 12)].any()


def test_the_older_name_of_checkpointing_works_too():
    model = build({}).train()
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    model(draw_ids(2, 5)).last_hidden_state.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
def test_every_parameter_is_used(changes):
    model = build(changes)
    model(draw_ids(3, 20)).last_hidden_state.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


# --------------------------------------------------------------------------- how a fresh stack starts


def fresh(changes: dict, scale: float) -> LMUModel:
    torch.manual_seed(0)
    return LMUModel(tiny(**changes, residual_initializer_scale=scale)).eval()


@pytest.mark.parametrize("changes", EVERY.values(), ids=EVERY)
def test_only_the_ends_of_residual_branches_start_smaller(changes):
    ordinary, small = fresh(changes, 1.0), dict(fresh(changes, 0.125).named_parameters())
    residual = tiny(**changes).block_type == "residual"
    ends = ("memory.memory_readout.weight", "memory.input_readout.weight", "down_proj.weight")
    for name, parameter in ordinary.named_parameters():
        is_end = residual and name.startswith("layers.") and name.endswith(ends)
        scale = 0.125 if is_end or name == "ngrams.projection.weight" else 1.0
        assert_close(small[name], scale * parameter)


@pytest.mark.parametrize("changes", [CAUSAL["residual"], CAUSAL["windows"]])
def test_a_fresh_stack_with_small_branch_ends_is_nearly_the_identity(changes):
    first, *inner, _ = fresh(changes, 1e-6)(draw_ids(2, 9), output_hidden_states=True).hidden_states
    assert inner and all(torch.allclose(state, first, atol=1e-4) for state in inner)
    first, *inner, _ = fresh(changes, 1.0)(draw_ids(2, 9), output_hidden_states=True).hidden_states
    assert not any(torch.allclose(state, first, atol=0.01) for state in inner)
