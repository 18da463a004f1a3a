"""A pre-trained body under a new head: what is kept, what is new, and what is refused."""

import pytest
import torch
from transformers import AutoModelForCausalLM, set_seed

from lmu_hf import LMUConfig, LMUForCausalLM, LMUForSequenceClassification, LMUForSequencePairClassification
from lmu_hf.training.transfer import classifier_from_pretrained, transfer_body

SMALL = {"vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 2, "order": 2, "theta": [4, 8]}


@pytest.fixture(scope="module")
def body(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("pretrained")
    set_seed(0)
    LMUForCausalLM(LMUConfig(**SMALL)).save_pretrained(folder)
    return str(folder)


def test_the_body_is_kept_and_only_the_head_is_new(body):
    transfer = transfer_body(body, num_labels=3, pooling="mean")
    assert isinstance(transfer.model, LMUForSequenceClassification)
    assert transfer.new == ("classifier.out.bias", "classifier.out.weight")
    assert transfer.unused == ("lm_head.weight",)
    before = AutoModelForCausalLM.from_pretrained(body).model.state_dict()
    after = transfer.model.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert transfer.model.config.pooling == "mean"
    assert transfer.model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3)


def test_the_lowest_blocks_alone_may_be_taken_over(body):
    transfer = transfer_body(body, num_labels=2, num_hidden_layers=1)
    before = AutoModelForCausalLM.from_pretrained(body).model.state_dict()
    after = transfer.model.model.state_dict()
    assert after.keys() == {name for name in before if not name.startswith("layers.1.")}
    assert all(torch.equal(before[name], after[name]) for name in after)
    assert transfer.model.config.theta == [4]
    assert {name for name in transfer.unused if name.startswith("model.layers.1.")}


def test_a_mixture_of_layers_is_added_and_starts_as_their_mean(body):
    transfer = transfer_body(body, num_labels=2, deep_representations=True, num_highway_layers=1)
    parts = {name.rsplit(".", 1)[0].split(".")[0:2][-1] for name in transfer.new if name.startswith("model.")}
    assert parts == {"mixture", "mixture_highways"}
    assert not transfer.model.model.mixture.scores.any()
    transfer.model(torch.tensor([[1, 2, 3]]), labels=torch.tensor([1])).loss.backward()
    assert transfer.model.model.mixture.scores.grad.abs().sum() > 0


def test_a_classifier_gives_its_body_to_another_with_other_classes(body, tmp_path):
    first = classifier_from_pretrained(body, id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    first.save_pretrained(tmp_path)
    same = transfer_body(str(tmp_path))
    assert same.new == ()
    assert same.model.config.id2label == {0: "bad", 1: "good"}
    other = transfer_body(str(tmp_path), num_labels=5)
    assert other.new == ("classifier.out.bias", "classifier.out.weight")
    assert other.model.config.num_labels == 5


def test_a_pair_classifier_takes_over_the_same_body(body):
    transfer = transfer_body(body, architectures=["LMUForSequencePairClassification"], pair_features=["product"])
    assert isinstance(transfer.model, LMUForSequencePairClassification)
    aligned = {"pooling": "mean", "alignment": {"size": 3}}
    transfer = transfer_body(body, architectures=["LMUForSequencePairClassification"], **aligned)
    assert {name.split(".")[0] for name in transfer.new} == {"alignment", "classifier"}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"hidden_size": 16}, r"hidden_size cannot change .* has 8, asked was 16"),
        ({"theta": 4}, r"theta cannot change"),
        ({"vocab_size": 41}, r"vocab_size cannot change"),
        ({"bidirectional": True, "pooling": "mean"}, r"bidirectional cannot change"),
        ({"poolin": "mean"}, r"no field 'poolin'; did you mean 'pooling'"),
    ],
)
def test_another_body_is_refused_by_its_field(body, changes, message):
    with pytest.raises(ValueError, match=message):
        classifier_from_pretrained(body, **changes)


def test_an_unusable_body_is_refused_by_name(body, tmp_path):
    with pytest.raises(ValueError, match=r"no model can be loaded from .*nowhere"):
        transfer_body(str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match="must be a model of the LMU family, its model_type is 'gpt2'"):
        transfer_body(str(tmp_path))
    LMUForCausalLM(LMUConfig(**{**SMALL, "num_hidden_layers": 1, "theta": 4})).save_pretrained(tmp_path)
    config = LMUConfig(**SMALL)
    config.save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"does not hold the body that its config describes: model\.layers\.1\..* missing"
    ):
        transfer_body(str(tmp_path))
