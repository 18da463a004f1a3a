"""A class for every token: the head against a plain loop, its labels, its folder, and the stock pipeline."""

import json
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    DataCollatorWithFlattening,
    pipeline,
)

from lmu_hf import LMUForTokenClassification, LSTMForTokenClassification, train_tokenizer
from lmu_hf.hub.folder import build as build_folder
from tiny_heads import FEW, LABELS, build, draw, masks, tiny
from tiny_runs import make_run
from tiny_stacks import CAUSAL, assert_near, draw_ids

BOTH_WAYS = {"bidirectional": True, "pooling": "mean"}  # of a pooling nothing is read here
STACKS = {
    "causal": {},
    "both ways": BOTH_WAYS,
    "hidden layer": {"head_hidden_size": 5},
    "highway": CAUSAL["highway"],
    "lstm": {"model_type": "lmu_lstm"},
}
IDS, TAGS = draw_ids(2, 7), torch.tensor([[0, 2, -100, 1, 1, -100, 0], [-100, -100, 2, 0, 1, 2, 1]])


def make(**changes) -> LMUForTokenClassification:
    kind = LSTMForTokenClassification if "model_type" in changes else LMUForTokenClassification
    return build(kind, **changes)


@torch.no_grad()
def by_loop(model: LMUForTokenClassification, ids: Tensor) -> Tensor:
    """(b, n, labels): a causal model's answers, one token at a time, from the memories so far."""
    answers, cache = [], None
    for step in ids.split(1, dim=1):
        output = model(step, cache=cache, use_cache=True)
        answers, cache = [*answers, output.logits], output.past_key_values if "cache" not in output else output.cache
    return torch.cat(answers, dim=1)


@pytest.mark.parametrize("name", ["causal", "hidden layer", "highway", "lstm"])
def test_a_whole_sequence_is_tagged_as_token_by_token(name):
    model = make(**STACKS[name])
    assert_near(model(IDS).logits, by_loop(model, IDS))


@pytest.mark.parametrize("name", STACKS)
def test_each_step_is_classified_from_its_hidden_state(name):
    model = make(**STACKS[name])
    states = model.model(IDS).last_hidden_state
    for row in range(2):
        for step in range(IDS.shape[1]):
            assert_near(model(IDS).logits[row, step], model.classifier(states[row, step]))


@FEW
@given(mask=masks())
@pytest.mark.parametrize("name", ["causal", "both ways"])
def test_masked_steps_change_nothing(name, mask):
    model, ids = make(**STACKS[name]), draw_ids(*mask.shape)
    together = model(ids, attention_mask=mask.long()).logits
    for row, real in enumerate(mask):
        assert_near(together[row, real], model(ids[row, real][None]).logits[0])


@pytest.mark.parametrize("name", ["causal", "both ways"])
def test_packed_sequences_have_the_answers_and_the_loss_of_each_alone(name):
    model = make(**STACKS[name])
    rows = [(draw_ids(n, seed=n), torch.arange(n) % LABELS) for n in (3, 1, 6)]
    batch = DataCollatorWithFlattening(return_tensors="pt")(
        [{"input_ids": ids.tolist(), "labels": tags.tolist()} for ids, tags in rows]
    )
    alone = torch.cat([model(ids[None]).logits[0] for ids, _ in rows])
    assert_near(model(**{**batch, "labels": None}).logits[0], alone)
    kept = batch["labels"][0] != -100  # the collator has no label for the first token of a sequence
    assert_near(model(**batch).loss, cross_entropy(alone[kept], batch["labels"][0][kept]))


@pytest.mark.parametrize("name", STACKS)
def test_the_loss_is_the_mean_over_the_tags_that_there_are(name):
    model = make(**STACKS[name])
    output, real = model(IDS, labels=TAGS), TAGS != -100
    terms = [
        -output.logits[row, step].log_softmax(0)[TAGS[row, step]] for row in range(2) for step in range(7)
        if real[row, step]
    ]  # fmt: skip
    assert_near(output.loss, sum(terms) / len(terms))
    output.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.classifier.parameters())
    parts = [model(IDS[row : row + 1], labels=TAGS[row : row + 1], num_items_in_batch=10).loss for row in range(2)]
    assert_near(sum(parts), output.loss)


def test_gradients_are_those_of_finite_differences():
    model = make()
    embeds = draw(2, 4, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model(inputs_embeds=x, labels=TAGS[:, :4]).loss, embeds)


def test_smoothed_labels_are_torchs_own_and_only_in_training():
    model = make(label_smoothing=0.2)
    plain = cross_entropy(model(IDS).logits.flatten(0, 1), TAGS.flatten())
    assert_near(model(IDS, labels=TAGS).loss, plain)
    model.train()
    expected = cross_entropy(model(IDS).logits.flatten(0, 1), TAGS.flatten(), label_smoothing=0.2)
    assert_near(model(IDS, labels=TAGS).loss, expected)


def test_labels_on_masked_steps_count_for_nothing_unless_they_were_counted():
    model, mask = make(), torch.tensor([[1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1]])
    expected = model(IDS, attention_mask=mask, labels=TAGS.masked_fill(mask == 0, -100)).loss
    assert_near(model(IDS, attention_mask=mask, labels=TAGS).loss, expected)
    with pytest.raises(ValueError, match=r"labels must be -100 on masked steps.*row 1, step 2"):
        model(IDS, attention_mask=mask, labels=TAGS, num_items_in_batch=8)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (TAGS.float(), TypeError, "labels must be int64 class ids, got torch.float32"),
        (TAGS.tolist(), TypeError, "labels must be a tensor, got list"),
        (TAGS[:, 1:], ValueError, r"labels must be \(batch, time\) = \(2, 7\), got \(2, 6\)"),
        (TAGS[:, 0], ValueError, r"labels must be \(batch, time\) = \(2, 7\), got \(2,\)"),
        (TAGS + 1, ValueError, r"labels hold 3, outside 0 … 2 \(num_labels\), at row 0, step 1"),
        (torch.full((2, 7), -100), ValueError, "leave no real step to compute a loss over"),
    ],
)
def test_labels_out_of_range_are_named(labels, error, message):
    with pytest.raises(error, match=message):
        make()(IDS, labels=labels if not isinstance(labels, Tensor) else labels.where(labels != -99, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem_type": "regression"}, "a token has one class: leave problem_type out, got 'regression'"),
        ({"output_size": 2}, "output_size=2 does not fit num_labels=3"),
        ({"votes": {"sizes": [1], "buckets": 9}}, "leave votes out"),
    ],
)
def test_a_config_for_another_head_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        LMUForTokenClassification(tiny(**changes))


def test_a_signal_is_tagged_step_by_step():
    model, signal = make(vocab_size=None, input_size=2), draw(2, 9, 2)
    assert_near(model(input_values=signal).logits[:, :4], model(input_values=signal[:, :4]).logits)


def test_transformers_collator_pads_rows_of_several_lengths():
    tokenizer = train_tokenizer("word", ["a b c d"])
    rows = [{"input_ids": [4, 5, 6], "labels": [0, -100, 2]}, {"input_ids": [7], "labels": [1]}]
    batch = DataCollatorForTokenClassification(tokenizer)(rows)
    model = make()
    terms = [model(torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss for row in rows]
    assert_near(model(**batch).loss, (2 * terms[0] + terms[1]) / 3)


@pytest.mark.parametrize("name", ["causal", "both ways", "lstm"])
def test_a_saved_head_is_found_by_its_auto_class_and_computes_the_same_bits(name, tmp_path):
    model = make(**STACKS[name]).float()
    model.save_pretrained(tmp_path)
    again = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert torch.equal(again(IDS).logits, model(IDS).logits)


LOADER = """
import json, sys, torch
from transformers import AutoModelForTokenClassification
model = AutoModelForTokenClassification.from_pretrained(sys.argv[1], trust_remote_code=True)
assert "lmu_hf" not in sys.modules and type(model).__module__.startswith("transformers_modules")
print(json.dumps(model(torch.tensor([[4, 5, 6]])).logits.tolist()))
"""


def test_a_pushed_folder_runs_with_transformers_alone(tmp_path):
    folder = build_folder(make_run(tmp_path / "tags-seed0", "token-classification"))
    card = (folder / "README.md").read_text()
    assert "pipeline_tag: token-classification" in card and "one of `O`, `B-PER`, `I-PER`" in card
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOADER, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    here = AutoModelForTokenClassification.from_pretrained(tmp_path / "tags-seed0" / "model")
    expected = here(torch.tensor([[4, 5, 6]])).logits
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), expected)


TEXT = "Anna met Ben Stone in New York, didn't she?"


@pytest.mark.parametrize("kind", ["word", "char"])
def test_the_pipeline_finds_groups_of_words_at_their_places(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    how = {"lowercase": True} if kind == "word" else {}
    tokenizer = train_tokenizer(kind, [TEXT], add_bos=True, **how)
    names = {0: "O", 1: "B-PER", 2: "I-PER"}
    fields = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1, "id2label": names}
    model = build(LMUForTokenClassification, torch.float32, **fields)
    model.save_pretrained(tmp_path), tokenizer.save_pretrained(tmp_path)
    encoding = tokenizer(TEXT, return_offsets_mapping=True, return_tensors="pt")
    places = encoding.pop("offset_mapping")[0, 1:].tolist()
    scores = model(**encoding).logits[0, 1:].softmax(-1)
    plain = pipeline("token-classification", model=str(tmp_path), ignore_labels=[])(TEXT)
    assert [[answer["start"], answer["end"]] for answer in plain] == places
    assert [answer["entity"] for answer in plain] == [names[tag] for tag in scores.argmax(-1).tolist()]
    assert [float(answer["score"]) for answer in plain] == pytest.approx(scores.amax(-1).tolist(), rel=1e-5)
    groups = pipeline("token-classification", model=str(tmp_path), aggregation_strategy="simple")(TEXT)
    found = [(answer["start"], answer["end"]) for answer in plain if answer["entity"] != "O"]
    assert groups and {group["entity_group"] for group in groups} == {"PER"}
    for start, end in found:
        assert sum(group["start"] <= start and end <= group["end"] for group in groups) == 1
    for group in groups:
        assert [group["start"], group["end"]] == [
            min(start for start, _ in found if start >= group["start"]),
            max(end for _, end in found if end <= group["end"]),
        ]
