"""Translation: what the decoder says depends on the source, on the target so far, and on nothing else."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    DataCollatorForSeq2Seq,
    DynamicCache,
    EncoderDecoderCache,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    StaticCache,
    set_seed,
)
from transformers.modeling_outputs import BaseModelOutput

from lmu_hf import LMUConfig, LMUEncoderDecoderModel, LMUForCausalLM, LMUForConditionalGeneration, LMUModel
from lmu_hf.blocks_lmu import BLOCKS, Source

VOCABULARY, PAD, START, END = 29, 0, 1, 2
TINY = {
    **{"vocab_size": VOCABULARY, "hidden_size": 12, "num_hidden_layers": 2, "order": 3, "theta": [5.0, 30.0]},
    **{"num_decoder_layers": 3, "decoder_theta": [4.0, 9.0, 20.0], "num_highway_layers": 1, "num_attention_heads": 2},
    **{"is_encoder_decoder": True, "pad_token_id": PAD, "decoder_start_token_id": START, "eos_token_id": None},
}
KINDS = {
    f"{block}, {attention}": {"block_type": block, "cross_attention": attention}
    for block in BLOCKS
    for attention in ("dot", "additive")
} | {
    "both ways": {"bidirectional": True},
    "deep": {"deep_representations": True, "embedding_size": 5, "block_type": "lmu"},
    "one depth": {"num_decoder_layers": None, "decoder_theta": None, "num_attention_heads": 1},
    "tied": {"tie_word_embeddings": True, "basis": "orthonormal"},
    "order attention": {"readout": "attention", "block_type": "sandwich", "encoder": "identity"},
}
SHALLOW = {"num_hidden_layers": 1, "theta": 30.0, "num_decoder_layers": 2, "decoder_theta": [4.0, 20.0]}
FEW = settings(max_examples=8)
each_kind = pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)


def tiny(**changes) -> LMUConfig:
    return LMUConfig(**{**TINY, **changes})


def build(dtype: torch.dtype = torch.float64, kind: type = LMUForConditionalGeneration, scale: float = 0.6, **changes):
    """A model whose every parameter is drawn anew and large: no bias is zero, and other sources say other things."""
    model = kind(tiny(**changes))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.to(dtype).eval()


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Tokens that are none of the special ones."""
    return torch.randint(END + 1, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def assert_near(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    assert_close(actual, expected, rtol=0, atol=tolerance * max(expected.abs().max().item(), 1))


@st.composite
def masks(draw_from, rows: int = 3, longest: int = 9) -> Tensor:
    """Any mask that leaves every row a real step: padding on the left, on the right, and holes."""
    n = draw_from(st.integers(1, longest))
    row = st.lists(st.booleans(), min_size=n, max_size=n).filter(any)
    return torch.tensor(draw_from(st.lists(row, min_size=rows, max_size=rows)))


def started(target: Tensor) -> Tensor:
    return torch.cat([torch.full_like(target[:, :1], START), target], dim=1)


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


@pytest.mark.parametrize("changes", [KINDS["residual, dot"], KINDS["highway, additive"], KINDS["both ways"]])
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


@pytest.mark.parametrize("name", ["dot", "additive"])
def test_cross_attention_is_the_textbooks(name):
    model, x, states = build(cross_attention=name), torch.randn(2, 4, 12).double(), torch.randn(2, 5, 12).double()
    layer = model.get_decoder().layers[0].cross_attention
    q, k, v = (
        part.view(2, -1, 2, 6).transpose(1, 2) for part in (layer.query(x), layer.key(states), layer.value(states))
    )
    if name == "dot":
        expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    else:
        scores = torch.stack([layer.score((q + k[:, :, j : j + 1]).tanh())[..., 0] for j in range(5)], dim=-1)
        expected = scores.softmax(-1) @ v
    kept = EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache())
    for cache in (None, kept, kept):
        source = model.get_decoder().layers[0].cross_attention(x, states, Source(states, cache=cache))
        assert_near(source, layer.output(expected.transpose(1, 2).reshape(2, 4, 12)), 1e-12)


# --------------------------------------------------------------------------- generate


def greedy(model: LMUForConditionalGeneration, source: Tensor, tokens: int = 12, **how) -> Tensor:
    return model.generate(source, max_new_tokens=tokens, do_sample=False, **how)


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
@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS)
def test_how_the_past_is_kept_changes_nothing(how, beams):
    model, source, prompt = build(), draw(2, 7), started(draw(2, 4, seed=1))
    expected = greedy(model, source, decoder_input_ids=prompt, num_beams=beams)
    for _ in range(2):
        assert torch.equal(greedy(model, source, decoder_input_ids=prompt, num_beams=beams, **how), expected)


def test_a_config_that_keeps_nothing_is_heeded_after_the_model_was_made():
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


def test_a_permuted_batch_gives_permuted_tokens_and_no_call_leaves_a_trace():
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
    with pytest.raises(ValueError, match=r"have read 12 target steps.* got 2"):
        greedy(model, source, decoder_input_ids=more[:, :2], past_key_values=first.past_key_values)


def test_other_sources_say_other_things():
    model, source = build(), draw(8, 6)
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


def test_what_a_memory_cannot_take_back_is_refused():
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


# --------------------------------------------------------------------------- losses


def test_labels_are_what_each_step_should_say_and_are_not_shifted():
    model, source, labels = build(), draw(2, 6), draw(2, 9, seed=1)
    output = model(source, labels=labels)
    logits = model(source, decoder_input_ids=started(labels)[:, :-1]).logits
    assert torch.equal(output.logits, logits)
    assert_near(output.loss, cross_entropy(logits.flatten(0, 1), labels.flatten()))
    assert output.past_key_values is None


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("training", [False, True])
def test_labels_are_smoothed_in_training_only_and_as_torch_does(smoothing, training):
    model, source, labels = build(label_smoothing=smoothing).train(training), draw(2, 6), draw(2, 9, seed=1)
    labels[0, 5:] = labels[1, 3] = -100
    output = model(source, labels=labels)
    how = {"label_smoothing": smoothing * training}
    assert_near(output.loss, cross_entropy(output.logits.flatten(0, 1), labels.flatten(), **how))
    summed = cross_entropy(output.logits.flatten(0, 1), labels.flatten(), reduction="sum", **how)
    assert_near(model(source, labels=labels, num_items_in_batch=torch.tensor(40)).loss, summed / 40)


def test_rows_padded_to_one_length_weigh_by_their_labels():
    model, sources, targets = build(), [draw(1, n, seed=n) for n in (3, 8, 5)], [draw(1, n, seed=n) for n in (6, 2, 9)]
    batch = collate(sources, targets, model)
    assert batch["decoder_input_ids"][1].tolist() == [
        START,
        *targets[1][0, :-1].tolist(),
        targets[1][0, -1],
        *[PAD] * 6,
    ]
    alone = [model(s, labels=t, num_items_in_batch=17).loss for s, t in zip(sources, targets, strict=True)]
    assert_near(model(**batch).loss, torch.stack(alone).sum())


def words() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({str(i): i for i in range(VOCABULARY)}, unk_token="3"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="0", model_input_names=["input_ids", "attention_mask"]
    )


def collate(sources: list[Tensor], targets: list[Tensor], model=None, side: str = "right") -> dict[str, Tensor]:
    tokenizer = words()
    tokenizer.padding_side = side
    rows = [{"input_ids": s[0].tolist(), "labels": t[0].tolist()} for s, t in zip(sources, targets, strict=True)]
    return DataCollatorForSeq2Seq(tokenizer, model=model)(rows)


def test_labels_padded_on_the_left_are_refused():
    with pytest.raises(ValueError, match=r"padded on the right.*row 1"):
        collate([draw(1, 3), draw(1, 3)], [draw(1, 5), draw(1, 4)], build(), side="left")


def test_a_row_without_labels_adds_nothing():
    model, source, labels = build(), draw(2, 6), draw(2, 4, seed=1)
    labels[1] = -100
    assert_near(model(source, labels=labels).loss, model(source[:1], labels=labels[:1]).loss)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("changes", [{}, {"cross_attention": "additive", "block_type": "highway"}])
def test_checkpointed_gradients_are_the_same(reentrant, changes):
    model, source, labels = build(**changes).train(), draw(2, 6), draw(2, 5, seed=1)
    mask = torch.tensor([[1] * 6, [0] * 2 + [1] * 4])

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        model(source, attention_mask=mask, labels=labels).loss.backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    expected, runs = gradients(), []
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    for layer in model.get_decoder().layers:
        layer.cross_attention.query.register_forward_hook(lambda *_: runs.append("query"))
    for name, gradient in gradients().items():
        assert_near(gradient, expected[name], 1e-12)
    assert len(runs) == 2 * 3


class Pairs(torch.utils.data.Dataset):
    """Sixteen sources of one length, and targets of many."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {"input_ids": draw(5, seed=index).tolist(), "labels": draw(2 + 3 * (index % 4), seed=index + 1).tolist()}


def train(folder: Path, batch: int, accumulation: int, learning_rate: float = 0.5) -> tuple[Seq2SeqTrainer, float]:
    model = build(torch.float32)
    arguments = Seq2SeqTrainingArguments(
        **{"output_dir": str(folder), "use_cpu": True, "report_to": "none", "save_strategy": "no", "seed": 0},
        **{"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "num_train_epochs": 1},
        **{"learning_rate": learning_rate, "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "optim": "sgd"},
        **{"disable_tqdm": True, "logging_strategy": "no", "predict_with_generate": True, "generation_max_length": 6},
    )
    collator = DataCollatorForSeq2Seq(words(), model=model)
    trainer = Seq2SeqTrainer(model, arguments, data_collator=collator, train_dataset=Pairs(), eval_dataset=Pairs())
    return trainer, trainer.train().training_loss


def test_accumulated_batches_train_as_one_of_their_sum(tmp_path):
    whole, expected = train(tmp_path / "whole", batch=8, accumulation=1)
    parts, actual = train(tmp_path / "parts", batch=2, accumulation=4)
    assert actual == pytest.approx(expected, rel=1e-5)
    for name, parameter in parts.model.named_parameters():
        assert_close(parameter, whole.model.get_parameter(name), rtol=0, atol=1e-5)


def test_the_training_loss_is_on_the_scale_of_the_evaluation_loss_and_the_trainer_translates(tmp_path):
    trainer, loss = train(tmp_path, batch=2, accumulation=8, learning_rate=0.0)
    trainer.args.per_device_eval_batch_size = 16
    result = trainer.predict(Pairs())
    assert result.metrics["test_loss"] == pytest.approx(loss, rel=1e-5)
    source = torch.stack([torch.tensor(Pairs()[index]["input_ids"]) for index in range(16)])
    assert (result.predictions[:, :6] == greedy(trainer.model, source, tokens=5).numpy()).all()


# --------------------------------------------------------------------------- outputs and inputs


@each_kind
def test_every_state_is_returned_on_demand(changes):
    model, source, target = build(kind=LMUEncoderDecoderModel, **changes), draw(2, 6), draw(2, 4, seed=1)
    output = model(source, decoder_input_ids=target, output_hidden_states=True)
    config = model.config
    assert len(output.encoder_hidden_states) == config.num_hidden_layers + 1
    assert len(output.decoder_hidden_states) == (config.num_decoder_layers or config.num_hidden_layers) + 1
    assert torch.equal(output.encoder_hidden_states[-1], output.encoder_last_hidden_state)
    assert torch.equal(output.decoder_hidden_states[-1], output.last_hidden_state)
    assert model(source, decoder_input_ids=target).decoder_hidden_states is None


def test_tokens_embeddings_and_what_was_read_before_are_the_same_source():
    model, source, target = build(), draw(2, 6), draw(2, 4, seed=1)
    expected = model(source, decoder_input_ids=target).logits
    encoded = model.get_encoder()(source)
    for other in (
        {"inputs_embeds": model.get_input_embeddings()(source)},
        {"encoder_outputs": encoded},
        {"encoder_outputs": (encoded.last_hidden_state,)},
        {"encoder_outputs": BaseModelOutput(encoded.last_hidden_state)},
    ):
        assert_near(model(**other, decoder_input_ids=target).logits, expected, 1e-12)
    embeds = model.get_decoder().embed_tokens(target)
    assert_near(model(source, decoder_inputs_embeds=embeds).logits, expected, 1e-12)


def test_outputs_may_be_tuples():
    for model in (build(), build(kind=LMUEncoderDecoderModel)):
        named = model(draw(2, 6), decoder_input_ids=draw(2, 4))
        assert torch.equal(model(draw(2, 6), decoder_input_ids=draw(2, 4), return_dict=False)[0], named[0])


# --------------------------------------------------------------------------- saved and loaded


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("translator")
    build(torch.float32, tie_word_embeddings=True, bidirectional=True).save_pretrained(path)
    return path


def test_tied_embeddings_are_one_tensor_saved_once(folder):  # in a fresh process: tests/test_pipelines.py
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    assert [key for key in load_file(folder / "model.safetensors") if "embed" in key or "head" in key] == [
        "model.encoder.embed_tokens.weight"
    ]
    assert model.lm_head.weight is model.get_encoder().embed_tokens.weight is model.get_decoder().embed_tokens.weight


def test_a_body_is_found_under_its_head_and_a_head_put_on_its_body(folder, tmp_path):
    model, source, target = AutoModelForSeq2SeqLM.from_pretrained(folder), draw(2, 6), draw(2, 4, seed=1)
    body, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert type(body) is LMUEncoderDecoderModel
    assert not any(report.values())
    expected = model.model(source, decoder_input_ids=target).last_hidden_state
    assert torch.equal(body(source, decoder_input_ids=target).last_hidden_state, expected)
    body.save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is LMUEncoderDecoderModel
    again = LMUForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(again(source, decoder_input_ids=target).logits, model(source, decoder_input_ids=target).logits)


def test_a_body_is_made_from_its_config_alone():
    assert type(AutoModel.from_config(tiny())) is LMUEncoderDecoderModel
    assert type(AutoModel.from_config(tiny().encoder_config())) is LMUModel


@pytest.mark.parametrize("options", [{"dtype": "auto"}, {"device_map": "auto"}, {"device_map": {"": "cpu"}}], ids=str)
def test_every_way_of_loading_gives_the_same_bits(folder, options):
    model, loaded = (AutoModelForSeq2SeqLM.from_pretrained(folder, **how) for how in ({}, options))
    assert "LMUDecoderBlock" in loaded._no_split_modules
    assert torch.equal(greedy(loaded, draw(2, 6)), greedy(model, draw(2, 6)))


def test_a_model_made_on_the_meta_device_takes_weights():
    model, source = build(torch.float32), draw(2, 6)
    with torch.device("meta"):
        empty = LMUForConditionalGeneration(model.config)
    empty.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(greedy(empty.eval(), source), greedy(model, source))


def test_it_loads_and_translates_in_bfloat16(folder):
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.bfloat16)
    cast = AutoModelForSeq2SeqLM.from_pretrained(folder).to(torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    inputs = {"input_ids": draw(2, 6), "decoder_input_ids": draw(2, 30, seed=1)}
    assert torch.equal(model(**inputs).logits, cast(**inputs).logits)
    exact = AutoModelForSeq2SeqLM.from_pretrained(folder)(**inputs).logits
    assert (model(**inputs).logits.float() - exact).norm() <= 0.03 * exact.norm()
    assert greedy(model, draw(2, 6), num_beams=2).shape == (2, 13)


@pytest.mark.parametrize("tied", [False, True])
def test_a_larger_vocabulary_is_one_of_both_stacks_and_the_head(tied, tmp_path):
    model, source, target = build(torch.float32, tie_word_embeddings=tied), draw(2, 6), draw(2, 4, seed=1)
    before = model(source, decoder_input_ids=target).logits
    model.resize_token_embeddings(40)
    after = model(source, decoder_input_ids=target).logits
    assert after.shape[-1] == 40
    assert_close(after[..., :VOCABULARY], before, rtol=0, atol=1e-6)
    new = torch.full((2, 3), 39)
    assert model(new, labels=new).loss.isfinite()
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert torch.equal(again(new, labels=new).logits, model(new, labels=new).logits)
    assert again.get_decoder().config.vocab_size == again.get_encoder().config.vocab_size == 40


# --------------------------------------------------------------------------- the config


@pytest.mark.parametrize("fields", [{}, TINY, {**TINY, "num_decoder_layers": None, "decoder_theta": None}])
def test_a_config_survives_being_written_down(fields, tmp_path):
    config = LMUConfig(**{**fields, "is_encoder_decoder": True})
    config.save_pretrained(tmp_path)
    again = LMUConfig.from_pretrained(tmp_path)
    assert again.to_json_string(use_diff=False) == config.to_json_string(use_diff=False)
    assert (again.num_decoder_layers, again.decoder_theta) == (config.num_decoder_layers, config.decoder_theta)


def test_the_halves_of_a_config():
    config = tiny(bidirectional=True)
    encoder, decoder = config.get_text_config(encoder=True), config.get_text_config(decoder=True)
    assert config.get_text_config() is config
    assert (encoder.layer_thetas, decoder.layer_thetas) == ([5.0, 30.0], [4.0, 9.0, 20.0])
    assert (len(encoder.layer_types), len(decoder.layer_types)) == (2, 3)
    assert (encoder.bidirectional, decoder.bidirectional) == (True, False)
    assert not encoder.is_encoder_decoder and not decoder.is_encoder_decoder
    assert config.is_encoder_decoder and config.num_hidden_layers == 2


@each_kind
def test_the_bytes_asked_for_are_a_models_bytes(changes):
    config = tiny(**{**changes, "hidden_size": 64, "vocab_size": 500})
    with torch.device("meta"):
        model = LMUForConditionalGeneration(config)
    # Biases, norms and score vectors are left out; a first layer narrower than the rest is counted as one of them.
    assert 0.9 < sum(config.asked_bytes().values()) / (4 * model.num_parameters()) < 1.4


# --------------------------------------------------------------------------- refused by name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_decoder_layers": 0}, "num_decoder_layers must be at least 1"),
        ({"num_decoder_layers": 10**6, "decoder_theta": 4.0}, "num_decoder_layers must be at most"),
        ({"decoder_theta": [4.0, 9.0]}, "decoder_theta lists 2 windows for 3 decoder layers"),
        ({"decoder_theta": None}, "theta lists 2 windows for 3 decoder layers"),
        ({"decoder_theta": 0.5}, "theta"),
        ({"decoder_theta": float("nan")}, "theta"),
        ({"decoder_theta": [4.0, 0.0, 2.0]}, "theta"),
        ({"decoder_theta": 2.0, "discretization": "euler", "theta": 1000.0}, "theta"),
        ({"num_attention_heads": 5}, "num_attention_heads must divide hidden_size=12, got 5"),
        ({"num_attention_heads": 0}, "num_attention_heads must be at least 1"),
        ({"input_size": 3}, "needs a vocab_size; input_size=3"),
        ({"cross_attention": "mean"}, "cross_attention must be one of .*'dot', 'additive'"),
        ({"label_smoothing": 1.0}, "label_smoothing must be a probability"),
        ({"readout": "memory", "memory_channels": 2, "bidirectional": True}, "readout='memory'.*one width"),
        ({"hidden_size": 2**13, "num_decoder_layers": 99, "decoder_theta": 4.0}, "GiB"),
    ],
)
def test_a_config_that_cannot_be_is_refused_by_name(changes, words):
    with pytest.raises(Exception, match=words):
        tiny(**changes)


IDS = draw(2, 5)
BOTH = {"input_ids": IDS, "decoder_input_ids": IDS}


def caches(model, second=None) -> EncoderDecoderCache:
    return EncoderDecoderCache(DynamicCache(config=model.config), second or DynamicCache())


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ({"input_ids": IDS}, ValueError, "decoder_input_ids or decoder_inputs_embeds .*must be given"),
        ({"decoder_input_ids": IDS}, ValueError, "exactly one of input_ids"),
        (
            {**BOTH, "attention_mask": torch.tensor([[1] * 5, [0] * 5])},
            ValueError,
            "no real step in row 1 of the source",
        ),
        ({**BOTH, "attention_mask": torch.ones(2, 4)}, ValueError, r"attention_mask.*\(2, 4\)"),
        ({**BOTH, "attention_mask": torch.ones(2, 6)}, ValueError, r"attention_mask.*\(2, 6\)"),
        ({**BOTH, "attention_mask": torch.ones(1, 5)}, ValueError, r"attention_mask.*\(1, 5\)"),
        ({**BOTH, "decoder_attention_mask": torch.ones(2, 4)}, ValueError, r"decoder_attention_mask.*\(2, 4\)"),
        ({**BOTH, "decoder_attention_mask": torch.ones(3, 5)}, ValueError, r"decoder_attention_mask.*\(3, 5\)"),
        ({**BOTH, "decoder_attention_mask": torch.ones(5)}, ValueError, r"decoder_attention_mask.*\(5,\)"),
        ({"input_ids": IDS, "decoder_input_ids": IDS[:1]}, ValueError, "decoder_input_ids hold 1 rows for 2 sources"),
        ({"input_ids": IDS[:1], "decoder_input_ids": IDS}, ValueError, "decoder_input_ids hold 2 rows for 1 sources"),
        ({"input_ids": IDS, "labels": IDS[0]}, ValueError, r"labels must be .*, got \(5,\)"),
        ({**BOTH, "labels": IDS[:, :4]}, ValueError, r"labels must be .*\(2, 5\), got \(2, 4\)"),
        ({"input_ids": IDS, "labels": IDS + 99}, ValueError, "vocab_size"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(inputs, error, words):
    with pytest.raises(error, match=words):
        build()(**inputs)


def keys_and_values() -> DynamicCache:
    """What an attention model would carry."""
    cache = DynamicCache()
    cache.update(torch.zeros(2, 1, 5, 4), torch.zeros(2, 1, 5, 4), 0)
    return cache


def test_a_cache_of_another_kind_or_of_another_source_is_refused():
    model = build()
    with pytest.raises(TypeError, match="must be an EncoderDecoderCache, got DynamicCache"):
        model(**BOTH, past_key_values=DynamicCache(config=model.config))
    with pytest.raises(TypeError, match="the second cache holds a source's keys and values"):
        model(**BOTH, past_key_values=caches(model, DynamicCache(config=model.config)))
    with pytest.raises(TypeError, match="must hold LMU memories"):
        model(**BOTH, past_key_values=EncoderDecoderCache(keys_and_values(), DynamicCache()))
    kept = model(**BOTH).past_key_values
    with pytest.raises(ValueError, match=r"made for 2 sources of 5 steps, got \(2, 3\)"):
        model(input_ids=IDS[:, :3], decoder_input_ids=IDS, past_key_values=kept)


def test_a_missing_start_or_padding_token_is_named():
    model = build(decoder_start_token_id=None)
    for ask in (lambda: model(IDS, labels=IDS), lambda: greedy(model, IDS)):
        with pytest.raises(ValueError, match="decoder_start_token_id"):
            ask()
    assert build(decoder_start_token_id=None, bos_token_id=START)(IDS, labels=IDS).loss.isfinite()
    with pytest.raises(ValueError, match="pad_token_id must be set"):
        build(pad_token_id=None)(IDS, labels=IDS)


def test_one_stack_is_not_two(folder):
    with pytest.raises(ValueError, match="use LMUEncoderDecoderModel"):
        LMUModel(tiny())
    with pytest.raises(ValueError, match="two stacks"):
        LMUForCausalLM(tiny())
    with pytest.raises(ValueError, match=r"two stacks|forwards"):
        AutoModelForCausalLM.from_pretrained(folder)
    for kind in (LMUEncoderDecoderModel, LMUForConditionalGeneration):
        with pytest.raises(ValueError, match="is_encoder_decoder=True"):
            kind(LMUConfig())
    with pytest.raises(ValueError, match="tie_word_embeddings needs embedding_size"):
        LMUForConditionalGeneration(tiny(tie_word_embeddings=True, embedding_size=5))
