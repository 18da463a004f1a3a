"""Votes of n-grams for the class of their sequence: what they are, who is counted, and what they are refused."""

from collections import Counter
from itertools import pairwise
from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification, set_seed

from lmu_hf import LMUForCausalLM, LMUForSequenceClassification
from lmu_hf.training.transfer import transfer_body
from lmu_hf.votes import GAIN, SHARPNESS, NGramVotes, Votes
from tiny_stacks import draw_ids, tiny

FIELDS = {"votes": {"sizes": [1, 3], "buckets": 50}, "num_labels": 3}


def build(**changes) -> LMUForSequenceClassification:
    """In float64, with votes counted in nine sequences and weights drawn."""
    set_seed(0)
    model = LMUForSequenceClassification(tiny(**{"pooling": "mean_max", **FIELDS, **changes})).double().eval()
    model.votes.count([draw_ids(7, seed=seed) for seed in range(9)], [0, 1, 2] * 3)
    with torch.no_grad():
        model.votes.change.weight.normal_(std=0.1)
    return model


def of_the_stack(model: LMUForSequenceClassification, ids: torch.Tensor) -> torch.Tensor:
    return model.classifier(model.pool(input_ids=ids)[0])


# --------------------------------------------------------------------------- what they are


@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 5), min_size=1, max_size=6)), max_size=9))
def test_a_vote_is_the_log_ratio_of_an_n_grams_frequency_in_a_class(drawn):
    rows = [*drawn, *((label, [label]) for label in range(3))]  # no class is empty
    votes = NGramVotes(Votes([1, 2], 10_007), 3)
    votes.count([torch.tensor(ids) for _, ids in rows], [label for label, _ in rows])
    padded = [(label, [None, *ids]) for label, ids in rows]
    of_class = Counter(label for label, _ in rows)
    holding = Counter((label, pair) for label, ids in padded for pair in {*pairwise(ids)})
    ids = drawn[-1][1] if drawn else [0]
    for pair, number in zip(pairwise([None, *ids]), votes.find(torch.tensor([ids]))[0, :, 1], strict=True):
        logs = [log(1 + holding[label, pair] * len(rows) / 3 / of_class[label]) for label in range(3)]
        assert votes.odds.weight[number].tolist() == pytest.approx([each - sum(logs) / 3 for each in logs], abs=1e-5)


def test_a_sequence_is_judged_by_its_stack_and_the_mean_vote():
    model, ids = build(), draw_ids(2, 9)
    votes = model.votes
    rows = votes.find(ids)
    weighed = votes.odds.weight[rows] * (1 + GAIN * votes.change.weight[rows])
    total = SHARPNESS * weighed.flatten(1, 2).mean(1)
    assert total.abs().min() > 1e-3
    torch.testing.assert_close(model(ids).logits, of_the_stack(model, ids) + total)


def test_counts_are_exact_beyond_the_precision_of_bfloat16():
    votes = NGramVotes(Votes([1], 7), 2).bfloat16()
    votes.count([torch.tensor([1])] * 400 + [torch.tensor([2])] * 400, [0] * 400 + [1] * 400)
    [said] = votes.odds.weight[votes.find(torch.tensor([[1]]))[0, :, 0]].float().tolist()
    assert said == pytest.approx([log(401) / 2, -log(401) / 2], rel=0.01)


def test_an_unseen_n_gram_has_no_vote():
    votes = NGramVotes(Votes([1], 10_007), 2)
    votes.count([torch.tensor([1, 2]), torch.tensor([1]), torch.tensor([1, 3])], [0, 0, 1])
    said = votes.eval()(torch.tensor([[1, 2, 3, 4]]))[0]
    assert said[3].tolist() == [0.0, 0.0]
    assert said[0].abs().max() < 1e-6  # both always have it, though one of them is twice as large
    assert said[1, 0] > 0 > said[1, 1]
    assert said[2, 1] > 0 > said[2, 0]


def test_masked_and_packed_sequences_vote_as_if_alone():
    model, first, second = build(), draw_ids(1, 9), draw_ids(1, 6, seed=1)
    alone = torch.cat([model(first).logits, model(second).logits])
    holed = torch.zeros(1, 9, dtype=torch.long)
    real = torch.tensor([[0, 1, 1, 0, 1, 1, 0, 1, 1]])
    holed[real.bool()] = second[0]
    rows = torch.cat([first, holed])
    torch.testing.assert_close(model(rows, attention_mask=torch.cat([torch.ones_like(real), real])).logits, alone)
    packed, places = torch.cat([first, second], dim=1), torch.cat([torch.arange(9), torch.arange(6)])[None]
    torch.testing.assert_close(model(packed, position_ids=places).logits, alone)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_votes_work_with_every_pooling(pooling):
    model, ids = build(pooling=pooling), draw_ids(2, 9)
    assert not torch.allclose(model(ids).logits, of_the_stack(model, ids))


def normed() -> LMUForSequenceClassification:
    """In float64, with votes, norms and a constant drawn, of which the last two count only where votes are normed."""
    set_seed(0)
    option = {"sizes": [1, 3], "buckets": 50, "trained": False, "normed": True}
    model = LMUForSequenceClassification(tiny(pooling="mean_max", votes=option, num_labels=3)).double().eval()
    model.votes.write(torch.randn(100, 3), torch.randn(3), torch.rand(100))
    return model


def test_normed_votes_are_divided_by_the_length_of_their_sequences_norms():
    model, ids = normed(), draw_ids(2, 9)
    rows = model.votes.find(ids).flatten(1)
    votes, squares = model.votes.odds.weight[rows], model.votes.squares.weight[rows]
    cosine = votes.sum(1) / squares.sum(1).sqrt()
    # A share of SHARPNESS in each of 2 · 9 n-grams, whose root of 9 steps is in the sum of votes.
    expected = SHARPNESS / 2**0.5 * cosine + model.votes.constant.weight
    torch.testing.assert_close(model.voted(ids), expected)


def test_normed_votes_of_masked_and_packed_sequences_are_as_if_alone():
    model, first, second = normed(), draw_ids(1, 9), draw_ids(1, 6, seed=1)
    alone = torch.cat([model(first).logits, model(second).logits])
    padded = torch.cat([first, torch.cat([torch.zeros(1, 3, dtype=torch.long), second], dim=1)])
    mask = torch.tensor([[1] * 9, [0] * 3 + [1] * 6])
    torch.testing.assert_close(model(padded, attention_mask=mask).logits, alone)
    packed, places = torch.cat([first, second], dim=1), torch.cat([torch.arange(9), torch.arange(6)])[None]
    torch.testing.assert_close(model(packed, position_ids=places).logits, alone)


def test_normed_votes_are_saved_with_the_model(tmp_path):
    model, ids = normed(), draw_ids(2, 9)
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64)
    assert torch.equal(again(ids).logits, model(ids).logits)


# --------------------------------------------------------------------------- in training


def test_training_changes_the_weights_of_votes_and_not_the_counts():
    model, ids = build().train(), draw_ids(2, 9)
    odds = model.votes.odds.weight.clone()
    model(ids, labels=torch.tensor([0, 2])).loss.backward()
    moved = model.votes.change.weight.grad != 0
    assert set(moved.nonzero()[:, 0].tolist()) <= set(model.votes.find(ids).flatten().tolist())
    assert moved.any()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert torch.equal(model.votes.odds.weight, odds)


def test_in_training_the_stack_and_the_votes_have_losses_of_their_own():
    model, ids, labels = build(), draw_ids(4, 9), torch.tensor([0, 2, 1, 1])
    used = model(ids, labels=labels)
    assert used.learners is None
    assert used.loss.item() == pytest.approx(cross_entropy(used.logits, labels).item())
    stack = of_the_stack(model, ids)
    trained = model.train()(ids, labels=labels)
    assert torch.equal(trained.logits, used.logits)
    for learner, alone in zip(trained.learners, (stack, used.logits - stack), strict=True):
        assert (learner - alone).abs().max() < 1e-9
    losses = [cross_entropy(learner, labels).item() for learner in trained.learners]
    assert trained.loss.item() == pytest.approx(sum(losses) / 2)


def test_votes_that_were_never_counted_are_not_trained():
    model = LMUForSequenceClassification(tiny(**FIELDS))
    with pytest.raises(RuntimeError, match=r"no n-gram has a vote yet: call votes\.count"):
        model.train()(draw_ids(1, 3))
    assert torch.equal(model.eval()(draw_ids(1, 3)).logits, of_the_stack(model, draw_ids(1, 3)))


# --------------------------------------------------------------------------- kept and taken over


def test_votes_are_saved_with_the_model(tmp_path):
    model, ids = build(), draw_ids(2, 9)
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64)
    assert torch.equal(again(ids).logits, model(ids).logits)


def test_a_pre_trained_body_may_be_given_votes(tmp_path):
    LMUForCausalLM(tiny()).save_pretrained(tmp_path)
    transfer = transfer_body(str(tmp_path), pooling="mean", **FIELDS)
    assert {"votes.change.weight", "votes.odds.weight"} <= set(transfer.new)
    assert not transfer.model.votes.odds.weight.any() and not transfer.model.votes.change.weight.any()


# --------------------------------------------------------------------------- refused


def test_votes_that_are_loaded_or_new_ask_for_no_gradient(tmp_path):
    option = {"sizes": [1], "buckets": 50, "trained": False, "normed": True}
    LMUForCausalLM(tiny()).save_pretrained(tmp_path / "body")
    made = transfer_body(str(tmp_path / "body"), num_labels=3, votes=option).model
    made.save_pretrained(tmp_path / "classifier")
    for model in (made, LMUForSequenceClassification.from_pretrained(tmp_path / "classifier")):
        asked = {name.split(".")[0] for name, held in model.named_parameters() if held.requires_grad}
        assert asked == {"model", "classifier"}


def test_norms_are_of_votes_that_a_linear_model_has_found():
    with pytest.raises(ValueError, match="normed needs trained false"):
        Votes([1], 8, normed=True)
    with pytest.raises(ValueError, match="normed must be true or false, got 1"):
        Votes([1], 8, trained=False, normed=1)
    with pytest.raises(ValueError, match="these votes are not normed: leave squares out"):
        NGramVotes(Votes([1], 8, trained=False), 2).write(torch.zeros(8, 2), squares=torch.ones(8))


def test_parts_of_sequences_and_vectors_are_refused():
    model = build(pooling="last").float()
    read = model(draw_ids(1, 3), use_cache=True).past_key_values
    for given_ in {"input_ids": draw_ids(1, 3), "past_key_values": read}, {"inputs_embeds": torch.zeros(1, 3, 6)}:
        with pytest.raises(ValueError, match="votes are of whole sequences of token ids"):
            model(**given_)


def test_votes_for_a_single_class_are_refused():
    with pytest.raises(ValueError, match="votes are for one class against others: num_labels is 1"):
        LMUForSequenceClassification(tiny(**FIELDS | {"num_labels": 1}))


@pytest.mark.parametrize("labels, message", [([0, 1, 1], "class 2 has none"), ([0, 1], "zip"), ([0, 1, 2, 0], "zip")])
def test_invalid_labels_are_not_counted_and_change_nothing(labels, message):
    votes = NGramVotes(Votes([1], 50), 3)
    with pytest.raises(ValueError, match=message):
        votes.count([torch.tensor([token]) for token in range(3)], labels)
    assert not votes.odds.weight.any()
