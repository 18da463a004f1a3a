"""Translation: what the decoder says depends on the source, on the target so far, and on nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from transformers import DynamicCache, EncoderDecoderCache, StaticCache, set_seed

from lmu_hf import LMUForConditionalGeneration
from lmu_hf.blocks_lmu import Source
from lmu_hf.recording import cache_of
from old_torch import marked, offloads
from tiny_translators import KINDS, PAD, START, assert_near, build, draw, each_kind, greedy, started, tiny

SHALLOW = {"num_hidden_layers": 1, "theta": 30.0, "num_decoder_layers": 2, "decoder_theta": [4.0, 20.0]}
FEW = settings(max_examples=8)


@st.composite
def masks(draw_from, rows: int = 3, longest: int = 9) -> Tensor:
    """Any mask that leaves every row a real step: padding on the left, on the right, and holes."""
    n = draw_from(st.integers(1, longest))
    row = st.lists(st.booleans(), min_size=n, max_size=n).filter(any)
    return torch.tensor(draw_from(st.lists(row, min_size=rows, max_size=rows)))


# --------------------------------------------------------------------------- the parallel pass and the single steps


@each_kind
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
def test_step_by_step_is_the_parallel_pass(changes, dtype, tolerance):
    model, source, target = build(dtype, scale=0.4, **changes), draw(2, 11), draw(2, 12, seed=1)
    whole = model(source, decoder_input_ids=target).logits
    encoded, cache = model.get_encoder()(source), None
    for t in range(12):
        output = model(encoder_outputs=encoded, decoder_input_ids=target[:, t : t + 1], past_key_values=cache)
        cache = output.past_key_values
        assert_near(output.logits[:, 0], whole[:, t], tolerance)
    assert cache.get_seq_length() == 12


def test_every_split_of_64_tokens_into_two_is_the_whole():
    model, source, target = build(**SHALLOW), draw(2, 11), draw(2, 64, seed=1)
    whole, encoded = model(source, decoder_input_ids=target).logits, model.get_encoder()(source)
    for cut in range(1, 64):
        cache = EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache())
        pieces = [
            model(encoder_outputs=encoded, decoder_input_ids=piece, past_key_values=cache).logits
            for piece in (target[:, :cut], target[:, cut:])
        ]
        assert_near(torch.cat(pieces, dim=1), whole)


def test_a_cache_that_was_reset_serves_another_source():
    model, target = build(), draw(2, 6, seed=1)
    cache = EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache())
    for n in (11, 4):
        output = model(draw(2, n), decoder_input_ids=target, past_key_values=cache)
        assert torch.equal(output.logits, model(draw(2, n), decoder_input_ids=target).logits)
        cache.reset()


# --------------------------------------------------------------------------- padding, of both sides


@pytest.mark.parametrize("changes", [KINDS["residual"], KINDS["highway"], KINDS["both ways"]])
def test_a_masked_step_does_not_exist_in_source_or_target(changes):
    model = build(**changes)

    @FEW
    @given(masks(), masks(), st.sampled_from([PAD, -100, 10**9]), st.integers(0, 9))
    def check(source_mask, target_mask, junk, seed):
        source, target = draw(*source_mask.shape, seed=seed), draw(*target_mask.shape, seed=seed + 1)
        together = model(
            source.masked_fill(~source_mask, junk),
            attention_mask=source_mask.long(),
            decoder_input_ids=target.masked_fill(~target_mask, junk),
            decoder_attention_mask=target_mask.long(),
            output_attentions=True,
        )
        for row, (real, read) in enumerate(zip(source_mask, target_mask, strict=True)):
            alone = model(source[row : row + 1, real], decoder_input_ids=target[row : row + 1, read])
            assert_near(together.logits[row, read], alone.logits[0])
            assert not together.logits[row, ~read].any()

    check()


@FEW
@given(masks(), masks(), st.integers(0, 9))
def test_attention_weights_sum_to_one_over_what_is_real_and_are_zero_elsewhere(source_mask, target_mask, seed):
    model = build()
    source, target = draw(*source_mask.shape, seed=seed), draw(*target_mask.shape, seed=seed + 1)
    output = model(
        source, attention_mask=source_mask, decoder_input_ids=target, decoder_attention_mask=target_mask,
        output_attentions=True,
    )  # fmt: skip
    assert len(output.cross_attentions) == 3
    for layer in output.cross_attentions:
        assert layer.shape == (3, 2, target.shape[1], source.shape[1])
        assert_near(layer.sum(-1), target_mask[:, None].double().expand(3, 2, -1))
        assert not layer.masked_select(~(target_mask[:, None, :, None] & source_mask[:, None, None])).any()
    alone = model(source[:1, source_mask[0]], decoder_input_ids=target[:1, target_mask[0]], output_attentions=True)
    for layer, expected in zip(output.cross_attentions, alone.cross_attentions, strict=True):
        assert_near(layer[0][:, target_mask[0]][:, :, source_mask[0]], expected[0])


@FEW
@given(masks(), st.integers(0, 9))
def test_a_ragged_target_carries_what_each_row_alone_would(target_mask, seed):
    model, source, following = build(), draw(3, 7), draw(3, 1, seed=seed)
    target = draw(*target_mask.shape, seed=seed)
    cache = model(source, decoder_input_ids=target, decoder_attention_mask=target_mask).past_key_values
    both = torch.cat([target_mask, torch.ones(3, 1, dtype=torch.bool)], dim=1)
    after = model(source, decoder_input_ids=following, decoder_attention_mask=both, past_key_values=cache)
    for row, real in enumerate(target_mask):
        alone = torch.cat([target[row, real], following[row]])[None]
        assert_near(after.logits[row, 0], model(source[row : row + 1], decoder_input_ids=alone).logits[0, -1])


def test_left_padded_prompts_of_the_decoder_go_on_as_each_alone_does():
    model, source = build(), draw(3, 7)
    prompts = [started(draw(1, n, seed=n))[0] for n in (2, 6, 4)]
    ids = torch.stack([torch.cat([torch.full((7 - len(prompt),), PAD), prompt]) for prompt in prompts])
    how = {"max_new_tokens": 9, "do_sample": False}
    for use_cache in (True, False):
        made = model.generate(
            source, decoder_input_ids=ids, decoder_attention_mask=(ids != PAD).long(), use_cache=use_cache, **how
        )
        for row, prompt in enumerate(prompts):
            alone = model.generate(source[row : row + 1], decoder_input_ids=prompt[None], **how)
            assert torch.equal(made[row, 7:], alone[0, len(prompt) :])


# --------------------------------------------------------------------------- who sees whom


@pytest.mark.parametrize("both_ways", [False, True])
def test_the_decoder_sees_no_future_and_the_encoder_only_where_it_should(both_ways):
    model = build(bidirectional=both_ways)
    source = torch.randn(1, 6, 12, dtype=torch.float64, requires_grad=True)
    target = torch.randn(1, 7, 12, dtype=torch.float64, requires_grad=True)
    logits = model(inputs_embeds=source, decoder_inputs_embeds=target).logits
    states = model.get_encoder()(inputs_embeds=source).last_hidden_state
    for t in range(6):
        for_source, for_target = torch.autograd.grad(logits[0, t].sum(), (source, target), retain_graph=True)
        assert (for_source[0].abs().sum(1) > 0).all()
        assert ((for_target[0].abs().sum(1) > 0) == (torch.arange(7) <= t)).all()
        (within,) = torch.autograd.grad(states[0, t].sum(), source, retain_graph=True)
        assert ((within[0].abs().sum(1) > 0) == (torch.arange(6) <= t) | both_ways).all()


@each_kind
def test_gradients_reach_every_parameter(changes):
    model = build(**changes).train()
    model(draw(2, 6), labels=draw(2, 5, seed=1)).loss.backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_cross_attention_is_the_textbook_formula():
    model, x, states = build(), torch.randn(2, 4, 12).double(), torch.randn(2, 5, 12).double()
    layer = model.get_decoder().layers[0].cross_attention
    q, k, v = (
        part.view(2, -1, 2, 6).transpose(1, 2) for part in (layer.query(x), layer.key(states), layer.value(states))
    )
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    kept = EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache())
    for cache in (None, kept, kept):
        source = model.get_decoder().layers[0].cross_attention(x, states, Source(states, cache=cache))
        assert_near(source, layer.output(expected.transpose(1, 2).reshape(2, 4, 12)), 1e-12)


# --------------------------------------------------------------------------- generate


@each_kind
def test_greedy_generation_is_the_argmax_of_the_parallel_pass(changes):
    model, source = build(**changes), draw(2, 7)
    made, expected = greedy(model, source, tokens=8), torch.full((2, 1), START)
    for _ in range(8):
        step = model(source, decoder_input_ids=expected).logits[:, -1:].argmax(-1)
        expected = torch.cat([expected, step], dim=1)
    assert torch.equal(made, expected)


HOWS = {
    "no cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static"},
    "offloaded cache": {"cache_implementation": "offloaded"},
    "offloaded static cache": {"cache_implementation": "offloaded_static"},
    "prompt in pieces": {"prefill_chunk_size": 3},
}


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("how", marked(HOWS, {"offloaded cache", "offloaded static cache"}, offloads))
def test_the_choice_of_cache_changes_no_token(how, beams):
    model, source, prompt = build(), draw(2, 7), started(draw(2, 4, seed=1))
    expected = greedy(model, source, decoder_input_ids=prompt, num_beams=beams)
    for _ in range(2):
        assert torch.equal(greedy(model, source, decoder_input_ids=prompt, num_beams=beams, **how), expected)


def test_use_cache_false_is_heeded_after_the_model_was_made():
    model = build()
    model.config.use_cache = False
    model.config.output_attentions = model.config.output_hidden_states = True
    output = model(draw(2, 5), decoder_input_ids=draw(2, 4))
    assert output.past_key_values is None
    assert len(output.cross_attentions) == 3
    assert len(output.encoder_hidden_states) == 3


@pytest.mark.parametrize("beams", [1, 4])
def test_a_source_is_read_once_and_its_keys_are_made_once(beams):
    model, source, calls = build(), draw(2, 7), []
    model.get_encoder().register_forward_hook(lambda *_: calls.append("encoder"))
    for layer in model.get_decoder().layers:
        layer.cross_attention.key.register_forward_hook(lambda *_: calls.append("key"))
        layer.cross_attention.value.register_forward_hook(lambda *_: calls.append("value"))
    greedy(model, source, num_beams=beams)
    assert calls == ["encoder"] + ["key", "value"] * 3


def test_a_padded_batch_generates_what_each_source_alone_does():
    model, sources = build(bidirectional=True), [draw(1, n, seed=n) for n in (3, 8, 5)]
    for side in ("left", "right"):
        padding = [torch.full((1, 8 - source.shape[1]), PAD) for source in sources]
        pairs = zip(padding, sources, strict=True)
        ids = torch.cat([torch.cat(pair if side == "left" else pair[::-1], dim=1) for pair in pairs])
        for beams in (1, 3):
            made = greedy(model, ids, attention_mask=(ids != PAD).long(), num_beams=beams)
            for row, source in zip(made, sources, strict=True):
                assert torch.equal(row, greedy(model, source, num_beams=beams)[0])


def rescored(model: LMUForConditionalGeneration, source: Tensor, made: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability and length of each row, its end-of-sequence token included, by one parallel pass."""
    logits = model(source, decoder_input_ids=made[:, :-1]).logits.log_softmax(-1)
    picked = logits.gather(2, made[:, 1:, None])[..., 0]
    ended = torch.isin(made[:, 1:], ends).cumsum(1)
    real = (ended == 0) | ((ended == 1) & torch.isin(made[:, 1:], ends))
    return (picked * real).sum(1), real.sum(1)


@pytest.mark.parametrize(("penalty", "kept"), [(0.0, 1), (1.0, 3), (2.0, 3), (-0.5, 1)])
def test_beams_score_what_the_parallel_pass_scores(penalty, kept):
    model, source = build(), draw(3, 6)
    lengths, free = set(), greedy(model, source, num_beams=4)
    for end in (None, int(free[0, 3]), free[1:, 5].tolist()):
        found = model.generate(
            source, max_new_tokens=8, num_beams=4, num_return_sequences=kept, do_sample=False, length_penalty=penalty,
            eos_token_id=end, pad_token_id=PAD, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        ends = torch.tensor([] if end is None else end, dtype=torch.int64).flatten()
        scores, n = rescored(model, source.repeat_interleave(kept, dim=0), found.sequences, ends)
        assert_close(found.sequences_scores.double(), scores / n.double() ** penalty, rtol=0, atol=1e-5)
        by_row = found.sequences_scores.view(3, kept)
        assert (by_row[:, :-1] >= by_row[:, 1:]).all()
        assert all(len(found.sequences[row : row + kept].unique(dim=0)) == kept for row in range(0, 3 * kept, kept))
        lengths |= set(n.tolist())
    assert len(lengths) > 1 or penalty > 1  # a strong penalty leaves no short ones


def test_beams_find_nothing_worse_than_the_greedy_path():
    model, source, none = build(), draw(8, 6), torch.tensor([], dtype=torch.int64)
    by_beams = rescored(model, source, greedy(model, source, num_beams=5, length_penalty=0.0), none)[0]
    by_steps = rescored(model, source, greedy(model, source), none)[0]
    assert (by_beams >= by_steps - 1e-9).float().mean() > 0.8
    assert (by_beams > by_steps + 1e-3).any()


def test_sampling_is_decided_by_its_seed():
    model, source = build(), draw(2, 6)

    def sampled(seed: int, **how) -> Tensor:
        set_seed(seed)
        return model.generate(source, max_new_tokens=9, do_sample=True, num_return_sequences=3, **how)

    assert sampled(0).shape == (6, 10)
    assert torch.equal(sampled(0), sampled(0))
    assert not torch.equal(sampled(0), sampled(1))
    assert torch.equal(sampled(0, top_k=1), greedy(model, source, tokens=9).repeat_interleave(3, dim=0))


def test_a_permuted_batch_gives_permuted_tokens_and_calls_are_independent():
    model, source, order = build(), draw(4, 6), torch.tensor([2, 0, 3, 1])
    for beams in (1, 3):
        first = greedy(model, source, num_beams=beams)
        assert torch.equal(greedy(model, source[order], num_beams=beams), first[order])
        assert torch.equal(greedy(model, source, num_beams=beams), first)


def test_a_translation_goes_on_from_a_returned_cache():
    model, source = build(), draw(2, 7)
    first = greedy(model, source, tokens=5, return_dict_in_generate=True)
    more = greedy(model, source, 7, decoder_input_ids=first.sequences, past_key_values=first.past_key_values)
    assert torch.equal(more, greedy(model, source, tokens=12))
    with pytest.raises(ValueError, match=r"has read 12 target steps.* got 2"):
        greedy(model, source, decoder_input_ids=more[:, :2], past_key_values=first.past_key_values)


def test_other_sources_give_other_logits():
    model, source = build(basis="legendre"), draw(8, 6)
    assert len(greedy(model, source).unique(dim=0)) == 8


def test_a_source_may_come_as_embeddings_or_already_read():
    model, source = build(), draw(2, 7)
    expected, embeds = greedy(model, source), model.get_input_embeddings()(source)
    assert torch.equal(greedy(model, None, inputs_embeds=embeds), expected)
    assert torch.equal(greedy(model, None, encoder_outputs=model.get_encoder()(source)), expected)


def test_generation_can_return_everything_that_was_seen():
    model, source = build(), draw(2, 7)
    found = greedy(
        model, source, 4, num_beams=2,
        return_dict_in_generate=True, output_attentions=True, output_hidden_states=True, output_scores=True,
    )  # fmt: skip
    assert [layer.shape for layer in found.cross_attentions[2]] == [(4, 2, 1, 7)] * 3
    assert len(found.encoder_hidden_states) == 3
    assert len(found.decoder_hidden_states[2]) == 4


def test_decoding_that_rolls_back_a_memory_is_refused():
    with pytest.raises(ValueError, match="stateful"):
        greedy(build(), draw(1, 5), prompt_lookup_num_tokens=2)


def test_one_graph_holds_a_decoding_step():
    torch._dynamo.reset()
    model, source, target = build(**SHALLOW), draw(2, 7), draw(2, 6, seed=1)
    mask = torch.tensor([[1] * 7, [1] * 5 + [0] * 2])
    with torch.no_grad():
        whole = model(source, attention_mask=mask, decoder_input_ids=target).logits
        encoded = model.get_encoder()(source, attention_mask=mask)
        cache = EncoderDecoderCache(StaticCache(config=model.config, max_cache_len=9), DynamicCache())
        shared = {"encoder_outputs": encoded, "attention_mask": mask, "past_key_values": cache}
        model(decoder_input_ids=target[:, :2], **shared)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        with torch._dynamo.config.patch(error_on_recompile=True):
            for t in range(2, 6):
                assert_near(compiled(decoder_input_ids=target[:, t : t + 1], **shared).logits[:, 0], whole[:, t])


def test_attention_over_the_source_starts_smaller_where_the_config_says_so():
    ends = []
    for scale in (1.0, 0.125):
        torch.manual_seed(0)
        decoder = LMUForConditionalGeneration(tiny(residual_initializer_scale=scale)).get_decoder()
        ends.append([block.cross_attention.output.weight for block in decoder.layers])
    assert_close(ends[1], [0.125 * weight for weight in ends[0]])


@pytest.mark.parametrize("mask", [None, [[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]]], ids=["whole", "padded"])
def test_states_and_weights_that_are_returned_have_gradients(mask):
    model, source, target = build(), draw(2, 7), started(draw(2, 4))
    mask = None if mask is None else torch.tensor(mask)
    read = model(
        input_ids=source,
        attention_mask=torch.tensor([[1] * 7, [0, 0, 1, 1, 1, 1, 1]]),
        decoder_input_ids=target,
        decoder_attention_mask=mask,
        output_hidden_states=True,
        output_attentions=True,
    )
    assert read.cross_attentions[0].shape == (2, 2, 5, 7)
    returned = (*read.encoder_hidden_states, *read.decoder_hidden_states, *read.cross_attentions)
    assert all(bool(gradient.any()) for gradient in torch.autograd.grad(read.logits.square().sum(), returned))


def test_embeddings_are_a_source():
    model, source = build(), draw(2, 7)
    mask = torch.tensor([[1] * 7, [0, 0, 1, 1, 1, 1, 1]])
    embedded = model.get_input_embeddings()(source)
    expected = greedy(model, source, attention_mask=mask)
    assert torch.equal(greedy(model, None, inputs_embeds=embedded, attention_mask=mask), expected)


@pytest.mark.parametrize("reentrant", [False, True], ids=["", "reentrant"])
def test_a_translator_in_training_under_checkpoints_generates(reentrant):
    model, source = build(), draw(2, 7)
    target, expected = started(draw(2, 4)), greedy(model, source)
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    assert torch.equal(greedy(model, source), expected)
    read = model(input_ids=source, decoder_input_ids=target, use_cache=True)
    assert cache_of(read) is None
    read.logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_turn_after_a_padded_target_is_one_long_call():
    model, source, target = build(), draw(2, 7), started(draw(2, 8))
    mask = torch.ones(2, 9, dtype=torch.int64)
    mask[0, 1:4], mask[1, 2:3] = 0, 0
    read = model(input_ids=source, decoder_input_ids=target[:, :5], decoder_attention_mask=mask[:, :5], use_cache=True)
    cache = cache_of(read)
    assert cache.get_seq_length() == 5
    given = {"decoder_input_ids": target, "decoder_attention_mask": mask}
    assert torch.equal(greedy(model, source, 4, **given, cache=cache), greedy(model, source, 4, **given))


@pytest.mark.parametrize("name", ["decoder_input_ids", "input_ids"])
def test_a_wrong_source_or_target_is_refused_in_one_line(name):
    model = build()
    given = {"input_ids": draw(1, 3), "decoder_input_ids": started(draw(1, 3))}
    for wrong, kind, message in (
        ([[1, 2]], TypeError, f"^{name} must be a tensor, got list"),
        (torch.tensor([1, 2]), ValueError, rf"^{name} must be \(batch, time\), got \(2,\)"),
        (draw(1, 0), ValueError, f"^{name} must hold at least one sequence of at least one step"),
    ):
        for call in (model, model.generate):
            with pytest.raises(kind, match=message):
                call(**{**given, name: wrong})
