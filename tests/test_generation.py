"""A next-token head: trained in parallel, generating as a recurrent network. One network, two ways to run it."""

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache, TextIteratorStreamer, set_seed

from families import config_of
from lmu_hf import LMUConfig, LMUForCausalLM, load_memories, save_memories
from lmu_hf.cache_lmu import PROMPT_TOKENS
from lmu_hf.recording import TokenStep, cache_of
from old_torch import marked, offloads

VOCABULARY = 29
BLOCKS = {
    "lmu": {"block_type": "lmu", "embedding_size": 5},
    "highway": {"block_type": "highway", "num_highway_layers": 1, "deep_representations": True},
    "residual": {"block_type": "residual", "basis": "orthonormal"},
    "layer norm": {"block_type": "residual", "norm": "layer"},
    "tied": {"block_type": "residual", "tie_word_embeddings": True},
    "n-grams": {"ngrams": {"sizes": [2, 4], "buckets": 50, "width": 3}},
    "windows": {"theta": [[3.0, 5.0], [30.0, 4.0, 9.0]]},
}


def build(changes: dict | None = None, dtype: torch.dtype = torch.float64) -> LMUForCausalLM:
    set_seed(0)
    fields = {"vocab_size": VOCABULARY, "hidden_size": 12, "num_hidden_layers": 2, "order": 3, "theta": [5.0, 30.0]}
    return (
        LMUForCausalLM(config_of({**fields, "eos_token_id": None, "bos_token_id": 1, **(changes or {})}))
        .to(dtype)
        .eval()
    )


def draw(*shape: int) -> Tensor:
    return torch.randint(1, VOCABULARY, shape)


def greedy(model: LMUForCausalLM, ids: Tensor, tokens: int = 12, **how) -> Tensor:
    return model.generate(ids, max_new_tokens=tokens, do_sample=False, pad_token_id=0, **how)


# --------------------------------------------------------------------------- the parallel pass and the single steps


@pytest.mark.parametrize("changes", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
def test_step_by_step_is_the_parallel_pass(changes, dtype, tolerance):
    model, ids, cache = build(changes, dtype), draw(3, 64), None
    whole = model(ids).logits
    for t in range(64):
        output = model(ids[:, t : t + 1], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        assert (output.logits[:, 0] - whole[:, t]).abs().max() < tolerance


def test_every_split_of_64_tokens_into_two_is_the_whole():
    model, ids = build(), draw(2, 64)
    whole = model(ids).logits
    for cut in range(1, 64):
        cache = DynamicCache(config=model.config)
        pieces = [model(piece, past_key_values=cache).logits for piece in (ids[:, :cut], ids[:, cut:])]
        assert (torch.cat(pieces, dim=1) - whole).abs().max() < 1e-10


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=4), side=st.sampled_from(["left", "right"]))
def test_a_ragged_prefill_carries_what_each_row_alone_would(lengths, side):
    model, n = build(), max(lengths)
    mask = torch.zeros(len(lengths), n, dtype=torch.int64)
    for row, length in zip(mask, lengths, strict=True):
        row[n - length :] = 1 if side == "left" else row[n - length :]
        row[:length] = 1 if side == "right" else row[:length]
    ids, following = draw(len(lengths), n), draw(len(lengths), 1)
    cache = model(ids, attention_mask=mask, use_cache=True).past_key_values
    after = model(following, past_key_values=cache).logits
    for row, length in enumerate(lengths):
        alone = torch.cat([ids[row][mask[row].bool()], following[row]])[None]
        assert len(alone[0]) == length + 1
        assert (model(alone).logits[0, -1] - after[row, 0]).abs().max() < 1e-10


# --------------------------------------------------------------------------- generate


@pytest.mark.parametrize("changes", BLOCKS.values(), ids=BLOCKS)
def test_greedy_generation_is_the_argmax_of_the_parallel_pass(changes):
    model, ids = build(changes), draw(2, 7)
    made = greedy(model, ids)
    expected = ids
    for _ in range(12):
        expected = torch.cat([expected, model(expected).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(made, expected)


HOWS = {
    "no cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static"},
    "offloaded cache": {"cache_implementation": "offloaded"},
    "prompt in pieces": {"prefill_chunk_size": 3},
}


@pytest.mark.parametrize("how", marked(HOWS, {"offloaded cache"}, offloads))
def test_the_choice_of_cache_changes_no_token(how):
    model, ids = build(), draw(2, 7)
    assert torch.equal(greedy(model, ids, **how), greedy(model, ids))


@pytest.mark.parametrize("padding", [None, [37, 0, 3]], ids=["whole", "left-padded"])
@pytest.mark.parametrize("changes", BLOCKS.values(), ids=BLOCKS)
def test_a_long_prompt_is_read_in_chunks(changes, padding, monkeypatch):
    model, ids, lengths = build(changes), draw(3, 50), []
    how = {} if padding is None else {"attention_mask": (torch.arange(50) >= torch.tensor(padding)[:, None]).long()}
    whole = greedy(model, ids, **how)
    monkeypatch.setitem(PROMPT_TOKENS, "cpu", 3 * 24)
    model.model.register_forward_pre_hook(
        lambda module, args, inputs: lengths.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    assert torch.equal(greedy(model, ids, **how), whole)
    assert lengths == [24, 24, 2] + 11 * [1]


def test_a_stream_reads_its_prompt_in_chunks(monkeypatch):
    model, ids = build(), draw(50)
    whole = list(model.stream(ids, max_new_tokens=12))
    monkeypatch.setitem(PROMPT_TOKENS, "cpu", 24)
    with monkeypatch.context() as patch:
        lengths, call = [], TokenStep.logits
        patch.setattr(TokenStep, "logits", lambda step, *args: (lengths.append(args[0].shape[1]), call(step, *args))[1])
        assert list(model.stream(ids, max_new_tokens=12)) == whole
    assert lengths == [24, 24, 2] + 11 * [1]


def test_states_of_the_whole_prompt_are_given_where_they_are_asked_for(monkeypatch):
    model, ids = build(), draw(1, 50)
    monkeypatch.setitem(PROMPT_TOKENS, "cpu", 16)
    made = model.generate(
        ids, max_new_tokens=2, pad_token_id=0, return_dict_in_generate=True, output_hidden_states=True
    )
    assert made.hidden_states[0][0].shape[1] == 50


def test_a_left_padded_batch_generates_what_each_prompt_alone_does():
    model, prompts = build(), [draw(3), draw(8), draw(5)]
    ids = torch.stack([torch.cat([torch.zeros(8 - len(prompt), dtype=torch.int64), prompt]) for prompt in prompts])
    made = greedy(model, ids, attention_mask=(ids != 0).long())
    for row, prompt in zip(made, prompts, strict=True):
        assert torch.equal(row[8:], greedy(model, prompt[None])[0, len(prompt) :])


def test_a_conversation_goes_on_from_a_returned_cache():
    model, ids = build(), draw(2, 7)
    first = model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0, return_dict_in_generate=True)
    more = greedy(model, first.sequences, tokens=7, past_key_values=first.past_key_values)
    assert torch.equal(more, greedy(model, ids, tokens=12))


def test_beams_score_what_the_parallel_pass_scores():
    model, ids = build(), draw(2, 6)
    found = model.generate(
        ids, max_new_tokens=8, num_beams=4, do_sample=False, pad_token_id=0, length_penalty=0.0,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    logits = model(found.sequences).logits[:, 5:-1].log_softmax(-1)
    rescored = logits.gather(2, found.sequences[:, 6:, None]).sum((1, 2))
    assert (rescored - found.sequences_scores).abs().max() < 1e-5
    assert (rescored >= model_score(model, greedy(model, ids, tokens=8), 6) - 1e-9).all()


def model_score(model: LMUForCausalLM, ids: Tensor, prompt: int) -> Tensor:
    return model(ids).logits[:, prompt - 1 : -1].log_softmax(-1).gather(2, ids[:, prompt:, None]).sum((1, 2))


def test_a_permuted_batch_gives_permuted_tokens_and_calls_are_independent():
    model, ids = build(), draw(4, 6)
    order = torch.tensor([2, 0, 3, 1])
    first = greedy(model, ids)
    assert torch.equal(greedy(model, ids[order]), first[order])
    assert torch.equal(greedy(model, ids), first)


def test_assisted_decoding_is_refused():
    model = build()
    with pytest.raises(ValueError, match="stateful"):
        model.generate(draw(1, 5), max_new_tokens=3, prompt_lookup_num_tokens=2, pad_token_id=0)


class Tokens:
    """As much of a tokenizer as a streamer asks for."""

    def decode(self, ids, **kwargs) -> str:
        return " ".join(str(int(token)) for token in ids) + " "


def test_tokens_can_be_streamed_as_they_are_made():
    model, ids = build(), draw(1, 5)
    streamer = TextIteratorStreamer(Tokens(), skip_prompt=True)
    made = greedy(model, ids, streamer=streamer)
    assert "".join(streamer).split() == [str(token) for token in made[0, 5:].tolist()]


# --------------------------------------------------------------------------- stream()


def test_stream_makes_what_generate_makes_and_stops_where_it_should():
    model, ids = build(), draw(1, 5)
    expected = greedy(model, ids)[0, 5:].tolist()
    assert list(model.stream(ids, max_new_tokens=12)) == expected
    model.config.eos_token_id = expected[4]
    assert list(model.stream(ids[0])) == expected[: expected.index(expected[4]) + 1]


def test_a_sampled_stream_is_decided_by_its_generator_and_keeps_to_the_likeliest():
    model, ids = build(), draw(1, 5)

    def sampled(seed: int, **how) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return list(model.stream(ids, max_new_tokens=20, temperature=1.0, generator=generator, **how))

    assert sampled(0) == sampled(0) != sampled(1)
    assert sampled(0, top_k=1) == list(model.stream(ids, max_new_tokens=20))


@pytest.mark.parametrize(
    "ids, how, words",
    [
        (draw(2, 5), {}, r"one prompt.*\(2, 5\)"),
        (draw(1, 5), {"temperature": -1.0}, "temperature must be"),
        (draw(1, 5), {"temperature": 1.0, "top_k": 0}, "top_k at least 1"),
        (draw(1, 0), {}, "at least one step"),
    ],
)
def test_a_stream_that_cannot_be_is_refused_by_name(ids, how, words):
    with pytest.raises(ValueError, match=words):
        next(build().stream(ids, **how))


# --------------------------------------------------------------------------- the head itself


def test_labels_are_shifted_inside():
    model, ids = build(), draw(2, 9)
    labels = ids.masked_fill(torch.rand(2, 9) < 0.3, -100)
    output = model(ids, labels=labels)
    expected = cross_entropy(output.logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten())
    assert abs(output.loss - expected) < 1e-6


def test_only_the_logits_that_are_asked_for_are_computed():
    model, ids = build(), draw(2, 9)
    whole = model(ids).logits
    for asked, expected in ((2, whole[:, -2:]), (torch.tensor([0, 4]), whole[:, [0, 4]])):
        kept = model(ids, logits_to_keep=asked).logits
        assert kept.shape == expected.shape
        assert (kept - expected).abs().max() < 1e-12


def test_tied_embeddings_are_one_tensor_saved_once(tmp_path):
    model, ids = build(BLOCKS["tied"]), draw(2, 9)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)
    assert (again(ids).logits - model(ids).logits).abs().max() < 1e-12


@pytest.mark.parametrize(
    "fields",
    [{"input_size": 1}, {"bidirectional": True, "pooling": "mean"}, {"tie_word_embeddings": True, "embedding_size": 5}],
)
def test_models_that_cannot_predict_the_next_token_are_refused(fields):
    with pytest.raises(ValueError, match="|".join(fields)):
        LMUForCausalLM(LMUConfig(**fields))


def test_the_cache_keeps_its_size_and_counts_its_tokens():
    model = build()
    sizes = set()
    for cache in (DynamicCache(config=model.config), StaticCache(config=model.config, max_cache_len=100)):
        for n in (1, 50, 1):
            model(draw(2, n), past_key_values=cache)
            sizes.add(sum(layer.memory.numel() for layer in cache.layers))
        assert cache.get_seq_length() == 52
    assert sizes == {2 * model.config.state_size}


# --------------------------------------------------------------------------- turns after padded batches

PADDED = {
    "one row on the left": [[0, 0, 1, 1, 1, 1]],
    "every row on the left": [[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]],
    "every row on the right": [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]],
    "holes": [[0, 1, 0, 1, 0, 0], [0, 1, 1, 0, 1, 0]],
}
HOW = {
    "dynamic": {},
    "static": {"cache_implementation": "static"},
    "one column at a time": {"prefill_chunk_size": 1},
    "two columns at a time": {"prefill_chunk_size": 2},
}


@pytest.mark.parametrize("changes", [{}, BLOCKS["n-grams"]], ids=["plain", "n-grams"])
@pytest.mark.parametrize("mask", PADDED.values(), ids=PADDED)
@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_a_turn_after_a_padded_batch_is_one_long_call(changes, mask, how):
    model, mask = build(changes), torch.tensor(mask)
    full = {"return_dict_in_generate": True, "output_logits": True}
    first = greedy(model, draw(*mask.shape), 3, attention_mask=mask, **how, **full)
    cache = cache_of(first)
    assert cache.get_seq_length() == mask.shape[1] + 2  # columns; the last token has not been read
    ids = torch.cat([first.sequences, draw(len(mask), 4)], dim=1)
    mask = torch.cat([mask, torch.ones(len(mask), 7, dtype=torch.int64)], dim=1)
    pieces = {name: value for name, value in how.items() if name == "prefill_chunk_size"}
    second = greedy(model, ids, 5, attention_mask=mask, past_key_values=cache, **pieces, **full)
    expected = greedy(model, ids, 5, attention_mask=mask, **full)
    assert (torch.stack(second.logits) - torch.stack(expected.logits)).abs().max() < 1e-10
    assert torch.equal(second.sequences, expected.sequences)


def test_beams_go_on_from_a_padded_batch():
    model, ids, mask = build(), draw(2, 9), torch.ones(2, 9, dtype=torch.int64)
    mask[0, :3], mask[1, :1] = 0, 0
    cache = cache_of(model(ids[:, :5], attention_mask=mask[:, :5], use_cache=True))
    cache.batch_repeat_interleave(3)
    beams = {"attention_mask": mask, "num_beams": 3}
    assert torch.equal(greedy(model, ids, 5, cache=cache, **beams), greedy(model, ids, 5, **beams))


def test_columns_of_padding_only_are_counted_but_not_read():
    model, ids = build(BLOCKS["n-grams"]), draw(2, 5)
    cache = cache_of(model(ids, use_cache=True))
    (layer,) = cache.layers[:1]
    before = layer.memory.clone(), layer.tokens.clone()
    model(draw(2, 4), attention_mask=torch.zeros(2, 4, dtype=torch.int64), cache=cache)
    assert cache.get_seq_length() == 9
    assert torch.equal(layer.memory, before[0]) and torch.equal(layer.tokens, before[1])


def test_memories_of_a_padded_batch_are_kept_with_their_count(tmp_path):
    model, ids, mask = build(), draw(2, 8), torch.ones(2, 8, dtype=torch.int64)
    mask[:, :3] = 0
    cache = cache_of(model(ids[:, :6], attention_mask=mask[:, :6], use_cache=True))
    save_memories(cache, tmp_path / "memories.safetensors", model.config)
    again = load_memories(tmp_path / "memories.safetensors", model.config)
    assert again.get_seq_length() == 6
    assert torch.equal(greedy(model, ids, attention_mask=mask, cache=again), greedy(model, ids, attention_mask=mask))


# --------------------------------------------------------------------------- other prompts, and other modes


def test_embeddings_are_a_prompt():
    model, ids, mask = build(), draw(2, 6), torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6])
    embedded = model.get_input_embeddings()(ids)
    expected = greedy(model, ids, attention_mask=mask)
    assert torch.equal(greedy(model, None, inputs_embeds=embedded, attention_mask=mask), expected[:, 6:])
    assert torch.equal(greedy(model, ids, inputs_embeds=embedded, attention_mask=mask), expected)
    with pytest.raises(ValueError, match="prefill_chunk_size cuts token ids into pieces: leave it out"):
        greedy(model, None, inputs_embeds=embedded, prefill_chunk_size=2)


@pytest.mark.parametrize("reentrant", [False, True], ids=["", "reentrant"])
def test_a_model_in_training_under_checkpoints_generates(reentrant):
    model, ids = build(), draw(2, 6)
    expected = greedy(model, ids)
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    assert torch.equal(greedy(model, ids), expected)
    asked = model(ids, labels=ids, use_cache=True)
    given = model(ids, labels=ids, cache=DynamicCache(config=model.config))
    assert cache_of(asked) is None and cache_of(given) is None
    assert asked.loss == given.loss == model(ids, labels=ids).loss


WRONG_PROMPTS = {
    "a list": ([[1, 2]], TypeError, r"must be a tensor, got list: give torch.as_tensor\("),
    "an array": (numpy.array([[1, 2]]), TypeError, r"must be a tensor, got ndarray: give torch.as_tensor\("),
    "what a tokenizer returns": (
        {"input_ids": torch.ones(1, 2)},
        TypeError,
        r".*got dict: give what it holds .*as \*\*",
    ),
    "nothing": (torch.zeros(1, 0, dtype=torch.int64), ValueError, r".*at least one step, got .*such as bos_token_id"),
    "one number": (torch.tensor(3), ValueError, r"must be \(batch, time\), got \(\)"),
    "one row": (torch.tensor([1, 2]), ValueError, r"must be \(batch, time\), got \(2,\): of a single sequence, give"),
}


@pytest.mark.parametrize("wrong, kind, message", WRONG_PROMPTS.values(), ids=WRONG_PROMPTS)
def test_an_invalid_prompt_is_refused_in_one_line(wrong, kind, message):
    model = build()
    with pytest.raises(kind, match=f"^inputs {message}"):
        greedy(model, wrong)
    with pytest.raises(kind, match=f"^input_ids {message}"):
        greedy(model, None, input_ids=wrong)
    with pytest.raises(kind, match=f"^input_ids {message}"):
        model(wrong)
    if not (isinstance(wrong, Tensor) and wrong.ndim == 1):  # a stream has one row
        with pytest.raises(kind, match=f"^input_ids {message}"):
            next(model.stream(wrong))
    with pytest.raises(TypeError, match=r"^attention_mask must be a tensor, got list"):
        greedy(model, draw(1, 2), attention_mask=[[1, 1]])
    with pytest.raises(TypeError, match=r"^attention_mask must be a tensor, got list"):
        model(draw(1, 2), attention_mask=[[1, 1]])


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_prompt_that_a_cache_has_read_whole_is_not_read_again(chunk):
    model, ids = build(), draw(2, 6)
    with torch.no_grad():
        cache = cache_of(model(ids, use_cache=True))
    before = cache.layers[0].memory.clone()
    for prompt in ({"inputs": ids}, {"inputs": ids[:, :2]}, {"inputs": ids, "attention_mask": torch.ones_like(ids)}):
        with pytest.raises(ValueError, match="the cache has read 6 steps: give input_ids of the whole sequence"):
            model.generate(**prompt, cache=cache, max_new_tokens=2, prefill_chunk_size=chunk)
    embeds = model.get_input_embeddings()(ids)
    for part in (embeds, embeds[:, 4:]):
        with pytest.raises(ValueError, match="the cache has read 6 steps: give inputs_embeds of the whole sequence"):
            model.generate(inputs_embeds=part, cache=cache, max_new_tokens=2)
    assert torch.equal(cache.layers[0].memory, before)
    new = draw(2, 2)
    whole = torch.cat([ids, new], dim=1)
    made = greedy(model, new, attention_mask=torch.ones_like(whole), cache=cache, prefill_chunk_size=chunk)
    assert torch.equal(made[:, 2:], greedy(model, whole)[:, 8:])


@pytest.mark.parametrize(
    "changes", [{}, {"model_type": "lmu_lstm"}, {"ngrams": {"sizes": [2, 3], "buckets": 50}}], ids=str
)
def test_beams_go_on_from_memories_that_were_repeated(changes):
    model, ids = build(changes), draw(2, 7)
    with torch.no_grad():
        cache = cache_of(model(ids[:, :4], use_cache=True))
    with pytest.raises(ValueError, match=r"memories of 2 sequences for a batch of 6: .*batch_repeat_interleave"):
        greedy(model, ids, cache=cache, num_beams=3)
    cache.batch_repeat_interleave(3)
    assert torch.equal(greedy(model, ids, cache=cache, num_beams=3), greedy(model, ids, num_beams=3))
