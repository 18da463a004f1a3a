"""Votes of n-grams for the class of two sequences: by which of both holds them."""

from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.svm import LinearSVC
from torch.nn.utils.rnn import pad_sequence

from lmu_hf import LMUConfig, LMUForSequencePairClassification
from lmu_hf.data.labels import LabelledText
from lmu_hf.pair_votes import PairVotes
from lmu_hf.training.baselines import classical_lines, shared_words
from lmu_hf.training.linear_votes import fit_votes
from lmu_hf.training.recipes.own import recipe_for
from lmu_hf.training.tasks.classification import ClassificationTask
from lmu_hf.votes import SHARPNESS, Votes

SHAPE = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "order": 2, "theta": 3, "num_labels": 2}


def model_of(normed: bool = True, **votes) -> LMUForSequencePairClassification:
    option = {"sizes": [1, 2], "buckets": 64, "trained": False, "normed": normed} | votes
    return LMUForSequencePairClassification(LMUConfig(**SHAPE, pooling="mean_max", votes=option)).eval()


def draw_pairs(count: int, seed: int = 0) -> tuple[list[torch.Tensor], list[torch.Tensor], np.ndarray]:
    """Sequences of 2 to 6 tokens, and whether both hold two tokens or more in common."""
    draw = np.random.default_rng(seed)
    first, second = ([torch.tensor(draw.integers(1, 20, draw.integers(2, 7))) for _ in range(count)] for _ in range(2))
    labels = [int(len({*a.tolist()} & {*b.tolist()}) >= 2) for a, b in zip(first, second, strict=True)]
    return first, second, np.array(labels)


def fitted(normed: bool) -> LMUForSequencePairClassification:
    torch.manual_seed(0)
    model, (first, second, labels) = model_of(normed), draw_pairs(200)
    fit_votes(model.votes, zip(first, second, strict=True), labels)
    return model


def test_an_ngram_votes_by_where_it_stands():
    votes = PairVotes(Votes([1], 8, trained=False), 2)
    odds, common = torch.randn(24, 2), torch.randn(3, 2)
    votes.write(odds)
    votes.write_common(common)
    first, second = [1, 2, 2, 5], [2, 3, 6]
    where = Counter([(0, 1), (2, 2), (2, 2), (0, 5), (2, 2), (1, 3), (1, 6)])  # table and token
    of_tokens = {token: int(votes.find(torch.tensor([[token]]))[0, 0, 0]) for token in {*first, *second}}
    said = sum(n * odds[8 * place + of_tokens[token]] for (place, token), n in where.items()) * SHARPNESS / 7
    shares = torch.tensor([sum(n for (place, _), n in where.items() if place == at) / 7 for at in range(3)])
    model = model_of(sizes=[1], buckets=8, normed=False)
    model.votes = votes.eval()
    voted = model.voted(torch.tensor([first]), pair_input_ids=torch.tensor([second]))
    torch.testing.assert_close(voted[0], said + shares @ common)


@pytest.mark.parametrize("normed", [True, False])
def test_pairs_in_a_batch_in_one_row_and_packed_have_the_votes_of_each_alone(normed):
    model, (first, second, _) = fitted(normed), draw_pairs(6, seed=1)
    pairs = list(zip(first, second, strict=True))
    alone = torch.cat([model(input_ids=a[None], pair_input_ids=b[None]).logits for a, b in pairs])

    def padded(rows):
        return pad_sequence(rows, batch_first=True), pad_sequence([torch.ones_like(row) for row in rows], True)

    (ids, mask), (others, other_mask) = padded(first), padded(second)
    batch = model(input_ids=ids, attention_mask=mask, pair_input_ids=others, pair_attention_mask=other_mask)
    torch.testing.assert_close(batch.logits, alone)
    rows = [torch.cat(pair) for pair in pairs]
    types = [torch.cat([torch.zeros_like(a), torch.ones_like(b)]) for a, b in pairs]
    (ids, mask), (kinds, _) = padded(rows), padded(types)
    one_row = model(input_ids=ids, attention_mask=mask, token_type_ids=kinds)
    torch.testing.assert_close(one_row.logits, alone)
    places = torch.cat([torch.arange(len(row)) for row in rows])[None]
    packed = model(input_ids=torch.cat(rows)[None], token_type_ids=torch.cat(types)[None], position_ids=places)
    torch.testing.assert_close(packed.logits, alone, atol=1e-5, rtol=1e-5)


def test_votes_decide_as_scikit_learns_support_vectors_do():
    model, (first, second, labels) = fitted(normed=True), draw_pairs(200)
    votes, pairs = model.votes, list(zip(first, second, strict=True))
    counts, shares = np.zeros((200, len(votes.odds.weight))), np.zeros((200, 6))
    for row, share, pair in zip(counts, shares, pairs, strict=True):
        places, said = votes.shares(*pair)
        row[places] = said * sum(map(len, pair)) * 2 / SHARPNESS
        np.add.at(share, places // 64, row[places] / sum(map(len, pair)))
    held = (counts > 0).sum(0)
    weighed = counts * np.where(held, np.log(201 / (1 + held)) + 1, 0)
    unit = weighed / np.sqrt((counts * np.where(held, np.log(201 / (1 + held)) + 1, 0) ** 2).sum(1, keepdims=True))
    unit /= np.sqrt((unit**2).sum(1).mean())
    beside = (shares - shares.mean(0)) / (shares.std(0) * 6**0.5)
    expected = LinearSVC(random_state=0).fit(np.hstack([unit, beside]), labels)
    margins = expected.decision_function(np.hstack([unit, beside]))
    said = torch.cat([model.voted(a[None], pair_input_ids=b[None]) for a, b in pairs])
    ratio = (said[:, 1] - said[:, 0]).numpy() / margins
    assert np.allclose(ratio, ratio.mean(), rtol=1e-2)  # one scale, which folds have chosen


def test_saved_votes_of_pairs_are_loaded_again(tmp_path):
    model, (first, second, _) = fitted(normed=True), draw_pairs(40, seed=2)
    model.save_pretrained(tmp_path)
    again = LMUForSequencePairClassification.from_pretrained(tmp_path).eval()
    said = [
        torch.cat([one.voted(a[None], pair_input_ids=b[None]) for a, b in zip(first, second, strict=True)])
        for one in (model, again)
    ]
    assert torch.equal(*said) and said[0].abs().min() > 0


def test_the_stack_of_a_pair_trains_alone():
    model, (first, second, _) = fitted(normed=True), draw_pairs(1, seed=3)
    inputs = {"input_ids": first[0][None], "pair_input_ids": second[0][None], "labels": torch.tensor([1])}
    model.votes.set_balance(0.0, 1.0)  # in use the votes decide; training goes on as if they were not there
    model.train()(**inputs).loss.backward()
    assert model.classifier.out.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in model.votes.parameters())


def test_votes_of_pairs_that_cannot_be_are_refused():
    for wrong in ({"trained": True, "normed": False}, {"words": True}):
        with pytest.raises(ValueError, match="votes of pairs are a linear model's, of tokens"):
            model_of(**wrong)
    model = model_of()
    with pytest.raises(RuntimeError, match=r"call votes\.write\(votes\) before training"):
        model.train()(input_ids=torch.tensor([[1, 2]]), pair_input_ids=torch.tensor([[3]]))
    with pytest.raises(ValueError, match="votes are of token ids"):
        model.eval()(inputs_embeds=torch.zeros(1, 3, 8), token_type_ids=torch.tensor([[0, 0, 1]]))
    plain = LMUForSequencePairClassification(LMUConfig(**SHAPE))
    with pytest.raises(ValueError, match="this model has no votes"):
        plain.voted(torch.tensor([[1]]), pair_input_ids=torch.tensor([[1]]))


def test_the_longest_row_of_pairs_is_both_texts_so_that_nothing_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    texts = {"text": ["one two three four"] * 30, "text_pair": ["five six seven eight nine ten"] * 30}
    splits = {split: Dataset.from_dict({**texts, "label": [0, 1] * 15}) for split in ("train", "validation")}
    rows = LabelledText("some.csv", splits, ["no", "yes"], dict.fromkeys(splits, "here"), metrics=("accuracy",))
    made = recipe_for(rows)
    assert made.options["max_length"] == 12  # ten words, and where each text begins
    assert ClassificationTask(rows, **made.options).announce().split("\n")[0].endswith("nothing cut")


def test_the_linear_line_of_pairs_reads_what_both_texts_share():
    assert shared_words("a red cat", "A cat sat on") == [2 / 3, 0.5, 0.4, 2 / 12**0.5, 0.75]
    draw = np.random.default_rng(0)
    words = [f"word{number}" for number in range(400)]

    def pairs(count):
        first = [draw.choice(words, 6, replace=False) for _ in range(count)]
        labels = np.arange(count) % 2
        second = [
            a[::-1] if label else draw.choice(words, 6, replace=False) for a, label in zip(first, labels, strict=True)
        ]
        return [[" ".join(a) for a in first], [" ".join(b) for b in second]], labels

    (train, truth), (held, held_truth) = pairs(100), pairs(50)
    lines = classical_lines(
        {"train": train, "validation": held},
        {"train": truth, "validation": held_truth},
        lambda said, labels: {"accuracy": float((said == labels).mean())},
    )
    [name] = [name for name in lines if name.startswith("tf-idf, shared words and ")]
    assert lines[name]["validation"]["accuracy"] > 0.9  # no word tells: only that they are the same ones
