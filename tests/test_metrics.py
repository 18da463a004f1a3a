"""Every metric against a definition written out here, and none of them against the network."""

import math
import socket

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from lmu_hf.training.metrics import (
    BLEU,
    CLASSIFICATION_METRICS,
    F1,
    NRMSE,
    Accuracy,
    BitsPerCharacter,
    ChrF,
    Matthews,
    OfflineMetric,
    Pearson,
    Spearman,
    judge,
)

TWO_CLASSES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30)
SENTENCES = ["the cat sat on the mat", "a dog ran", "nobody came to the garden today"]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a metric asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def counts(rows: list[tuple[int, int]]) -> tuple[int, int, int, int]:
    """True and false positives, false and true negatives."""
    return tuple(sum(row == wanted for row in rows) for wanted in ((1, 1), (1, 0), (0, 1), (0, 0)))


@given(rows=TWO_CLASSES)
def test_scores_of_two_classes_are_what_their_counts_make_them(rows):
    predictions, references = zip(*rows, strict=True)
    found, false, missed, rest = counts(rows)
    scores = judge(("accuracy", "f1", "matthews_correlation"), predictions, references)
    product = (found + false) * (found + missed) * (rest + false) * (rest + missed)
    assert scores["accuracy"] == pytest.approx((found + rest) / len(rows))
    assert scores["f1"] == pytest.approx(2 * found / (2 * found + false + missed) if found else 0)
    matthews = (found * rest - false * missed) / math.sqrt(product) if product else 0
    assert scores["matthews_correlation"] == pytest.approx(matthews, abs=1e-12)
    assert list(scores) == ["accuracy", "f1", "matthews_correlation"]


def test_f1_of_several_classes_is_averaged_as_asked():
    rows = {"predictions": [0, 1, 2, 2], "references": [0, 1, 2, 1]}
    assert F1().compute(**rows, average="macro")["f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


def test_correlations_are_numpys_of_the_numbers_and_of_their_ranks():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=50), generator.normal(size=50)
    ranks = [np.argsort(np.argsort(column)) for column in (x, y)]
    assert Pearson().compute(predictions=x, references=y)["pearson"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert Spearman().compute(predictions=x, references=y)["spearmanr"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert judge(("pearson", "spearmanr"), x, np.exp(3 * x))["spearmanr"] == pytest.approx(1)


@pytest.mark.parametrize("name", ["pearson", "spearmanr"])
def test_a_constant_prediction_correlates_with_nothing(name):
    assert judge((name,), [2.0, 2.0, 2.0], [1.0, 2.0, 3.0]) == {name: 0.0}


def test_nrmse_is_the_error_relative_to_the_target():
    target = [3.0, -4.0, 5.0]
    assert NRMSE().compute(predictions=target, references=target)["nrmse"] == 0
    assert NRMSE().compute(predictions=[0.0] * 3, references=target)["nrmse"] == pytest.approx(1)
    assert NRMSE().compute(predictions=[6.0, -8.0, 10.0], references=target)["nrmse"] == pytest.approx(1)
    with pytest.raises(ValueError, match="all zero"):
        NRMSE().compute(predictions=[1.0], references=[0.0])


def test_bits_per_character_are_nats_over_tokens_and_tokens_over_characters():
    nats = [7 * math.log(2), 5 * math.log(2)]
    assert BitsPerCharacter().compute(predictions=nats, references=[3, 1])["bits_per_character"] == pytest.approx(3)
    whole = BitsPerCharacter().compute(predictions=nats, references=[3, 1], tokens=5, characters=10)
    assert whole["bits_per_character"] == pytest.approx(1.5)


@pytest.mark.parametrize("metric, corpus", [(BLEU, sacrebleu.corpus_bleu), (ChrF, sacrebleu.corpus_chrf)])
def test_translations_are_scored_as_sacrebleu_scores_them_and_say_how(metric, corpus):
    judged = metric()
    made = [SENTENCES[0], "a dog runs", SENTENCES[1]]
    key = judged.key
    assert judged.compute(predictions=made, references=SENTENCES)[key] == corpus(made, [SENTENCES]).score
    assert judged.compute(predictions=SENTENCES, references=SENTENCES)[key] == pytest.approx(100)
    assert f"version:{sacrebleu.__version__}" in judged.signature
    assert "case:mixed" in judged.signature


def test_the_signature_of_a_score_names_what_decides_it():
    assert "nw:2" in ChrF(word_order=2).signature
    assert "tok:char" in BLEU(tokenize="char").signature


def test_scores_do_not_depend_on_the_batches():
    accuracy = Accuracy()
    accuracy.add_batch(predictions=[0, 1], references=[0, 0])
    accuracy.add_batch(predictions=[1, 1], references=[1, 1])
    assert accuracy.compute() == {"accuracy": 0.75}


def test_unequal_columns_are_refused():
    with pytest.raises(ValueError, match="Mismatch"):
        Accuracy().compute(predictions=[0, 1], references=[0])


@pytest.mark.parametrize("metric", [*CLASSIFICATION_METRICS.values(), NRMSE, BitsPerCharacter, BLEU, ChrF])
def test_a_metric_is_made_and_described_without_the_network(metric, no_network):
    made = metric()
    assert isinstance(made, OfflineMetric)
    assert made.description
    assert set(made.features) == {"predictions", "references"}


def test_the_random_state_is_left_alone():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    Matthews().compute(predictions=[0, 1, 1], references=[0, 1, 0])
    assert (np.random.get_state()[1] == before).all()
