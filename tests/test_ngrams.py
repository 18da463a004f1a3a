"""Vectors of n-grams: which row each n-gram has, what is carried from call to call, and what they are refused."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given
from hypothesis import strategies as st

from lmu_hf import LMUConfig, LMUForCausalLM, LMUForSequencePairClassification, load_memories, save_memories
from lmu_hf.blocks_lmu import MULTIPLIER, NGramEmbedding, NGrams
from lmu_hf.recording import TokenStep
from tiny_stacks import VOCABULARY, build, draw_ids, tiny

FIELDS = {"ngrams": {"sizes": [2, 4], "buckets": 50, "width": 3}}


def by_hand(ngrams: NGramEmbedding, ids: list[int]) -> torch.Tensor:
    """(n, d_o), by whole numbers of any size and one n-gram after another."""
    vectors = []
    for end in range(1, len(ids) + 1):
        parts = []
        for table, size in enumerate(ngrams.sizes):
            gram = [0] * max(size - end, 0) + [number + 1 for number in ids[max(end - size, 0) : end]]
            row = sum(number * MULTIPLIER ** (size - 1 - place) for place, number in enumerate(gram))
            parts.append(ngrams.tables.weight[table * ngrams.buckets + row % ngrams.buckets])
        vectors.append(ngrams.projection(torch.cat(parts)))
    return torch.stack(vectors)


@given(
    st.lists(st.integers(2, 6), min_size=1, max_size=3, unique=True),
    st.sampled_from([1, 2, 7, 64, 2**31 - 1]),
    st.lists(st.integers(0, 200_000), min_size=1, max_size=9),
)
def test_the_row_of_an_n_gram_is_a_polynomial_modulo_the_buckets(sizes, buckets, ids):
    with torch.device("meta" if buckets > 1000 else "cpu"):
        ngrams = NGramEmbedding(NGrams(sizes, buckets, 2), 3)
    if buckets > 1000:  # too many to hold: the rows alone
        numbers = torch.cat([torch.zeros(1, ngrams.carried, dtype=torch.int64), torch.tensor([ids]) + 1], dim=1)
        for size in sizes:
            expected = [
                sum(number * MULTIPLIER ** (size - 1 - place) for place, number in enumerate(gram)) % buckets
                for gram in numbers[0, ngrams.carried + 1 - size :].unfold(0, size, 1).tolist()
            ]
            assert ngrams._rows(numbers, size, None)[0].tolist() == expected
    else:
        assert torch.allclose(ngrams(torch.tensor([ids]))[0], by_hand(ngrams, ids), atol=1e-6)


def test_an_n_gram_depends_on_all_its_tokens_and_on_none_before():
    ngrams, ids = NGramEmbedding(NGrams([3], 10_007, 4), 4), draw_ids(1, 12)
    vectors = ngrams(ids)
    for changed in range(12):
        others = ids.clone()
        others[0, changed] = VOCABULARY
        moved = (ngrams(others) - vectors).abs().amax(-1)[0] > 0
        assert moved.nonzero()[:, 0].tolist() == [t for t in range(12) if changed <= t <= changed + 2]


def test_each_n_gram_length_has_its_own_table():
    ngrams, ids = NGramEmbedding(NGrams([2, 3], 8, 4), 4), draw_ids(2, 30)
    ngrams(ids)[..., 0].sum().backward()
    rows = ngrams.tables.weight.grad.abs().amax(-1).view(2, 8) > 0
    assert rows.any(1).all()
    torch.testing.assert_close(ngrams.tables.weight.shape, torch.Size([16, 4]))


def test_in_training_whole_n_grams_drop_out_and_the_rest_make_up_for_them():
    torch.manual_seed(0)
    ngrams, ids = NGramEmbedding(NGrams([2, 3], 50, 4, dropout=0.25), 8), draw_ids(3, 400)
    ngrams.projection = torch.nn.Identity()
    kept = (ngrams(ids) / ngrams.eval()(ids)).unflatten(-1, (2, 4)).round(decimals=4)
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3], abs=1e-4)
    assert bool((kept == kept[..., :1]).all())  # a row goes as a whole
    assert not torch.equal(kept[..., 0, 0], kept[..., 1, 0])  # and each length by itself
    assert float(kept.mean()) == pytest.approx(1, abs=0.05)


def test_n_grams_do_not_cross_from_one_text_of_a_pair_to_the_other():
    torch.manual_seed(0)
    model = LMUForSequencePairClassification(tiny(**FIELDS, pooling="mean", num_labels=2)).eval()
    first, second = draw_ids(1, 5), draw_ids(1, 7, seed=1)
    types = torch.tensor([[0] * 5 + [1] * 7])
    with torch.no_grad():
        joined = model(input_ids=torch.cat([first, second], dim=1), token_type_ids=types).logits
        swapped = model(input_ids=torch.cat([second, first], dim=1), token_type_ids=1 - types.flip(1)).logits
        alone = [model.model(part).last_hidden_state.mean(1) for part in (first, second)]
    assert not torch.allclose(joined, swapped)
    features = [*alone, (alone[0] - alone[1]).abs(), alone[0] * alone[1]]
    torch.testing.assert_close(joined, model.classifier(torch.cat(features, dim=-1)))


# --------------------------------------------------------------------------- carried


def test_the_last_tokens_are_carried_beside_the_first_memory():
    model, ids = build(FIELDS), draw_ids(2, 9)
    read = model(ids, use_cache=True).past_key_values
    assert torch.equal(read.layers[0].tokens, ids[:, -3:] + 1)
    assert read.layers[1].tokens is None
    read.reset()
    assert not read.layers[0].tokens.any()
    again = model(ids, past_key_values=read).last_hidden_state
    assert torch.equal(again, model(ids).last_hidden_state)


def test_rows_of_a_cache_move_with_their_tokens():
    model, ids = build(FIELDS), draw_ids(2, 9)
    read, following = model(ids, use_cache=True).past_key_values, draw_ids(4, 1, seed=1)
    read.batch_repeat_interleave(2)
    read.reorder_cache(torch.tensor([3, 0, 2, 1]))
    rows = ids.repeat_interleave(2, dim=0)[[3, 0, 2, 1]]
    after = model(following, past_key_values=read).last_hidden_state[:, -1]
    whole = model(torch.cat([rows, following], dim=1)).last_hidden_state[:, -1]
    torch.testing.assert_close(after, whole)


def test_a_recorded_step_carries_the_last_tokens():
    torch.manual_seed(0)
    model = LMUForCausalLM(tiny(**FIELDS)).eval()
    ids = draw_ids(1, 12)
    with torch.inference_mode():
        step = TokenStep(model)
        read = model(ids[:, :4], use_cache=True).past_key_values
        made = [step.logits(ids[:, t : t + 1], read)[:, 0] for t in range(4, 12)]
        whole = model(ids).logits
    assert step._recording is not None
    torch.testing.assert_close(torch.stack(made, dim=1), whole[:, 4:])


def test_the_last_tokens_are_kept_in_the_file_of_memories(tmp_path):
    model, ids = build(FIELDS), draw_ids(2, 9)
    read = model(ids[:, :6], use_cache=True).past_key_values
    save_memories(read, tmp_path / "m", model.config)
    again = load_memories(tmp_path / "m", model.config)
    expected = model(ids).last_hidden_state[:, 6:]
    torch.testing.assert_close(model(ids[:, 6:], past_key_values=again).last_hidden_state, expected)
    for other in (tiny(), tiny(**{"ngrams": {**FIELDS["ngrams"], "sizes": [2, 5]}})):
        with pytest.raises(ValueError, match="holds memories of"):
            load_memories(tmp_path / "m", other)


# --------------------------------------------------------------------------- refused


def test_vectors_in_place_of_ids_are_refused():
    with pytest.raises(ValueError, match="ngrams are of token ids: give input_ids, not inputs_embeds"):
        build(FIELDS)(inputs_embeds=torch.zeros(1, 3, 6, dtype=torch.float64))


@pytest.mark.parametrize(
    "field, least, sizes",
    [
        *(("ngrams", 2, sizes) for sizes in ([], [1], [2, 2], [65], [0, 3])),
        *(("votes", 1, sizes) for sizes in ([], [0], [2, 2], [65])),
    ],
    ids=str,
)
def test_lengths_that_make_no_sense_are_refused(field, least, sizes):
    with pytest.raises(ValueError, match=rf"{field}: sizes must be a list of lengths from {least} to 64, none twice"):
        LMUConfig(**{field: {"sizes": sizes}})


@pytest.mark.parametrize("field", ["ngrams", "votes"])
def test_a_signal_has_no_n_grams(field):
    with pytest.raises(StrictDataclassError, match=f"{field} are of token ids; input_size=1 has none"):
        LMUConfig(**{field: {"sizes": [2]}}, vocab_size=None, input_size=1)


@pytest.mark.parametrize("field", ["ngrams", "votes"])
def test_more_buckets_than_hash_values_are_refused(field):
    with pytest.raises(ValueError, match=f"{field}: buckets must be a whole number from 1 to 2147483647"):
        LMUConfig(**{field: {"sizes": [2], "buckets": 2**31}})
