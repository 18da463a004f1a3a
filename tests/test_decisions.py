"""A saved classifier carries its own decision: what any tool reads off its logits is what its training scored."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import AutoModelForSequenceClassification, pipeline, set_seed

from lmu_hf import LMUConfig, LMUForImageClassification, LMUForSequenceClassification
from lmu_hf.common.record import count_parameters
from lmu_hf.data.labelled import made_up
from lmu_hf.data.labelling import label_rows
from lmu_hf.training.evaluation import evaluate, load_model
from lmu_hf.training.tasks.classification import ClassificationTask
from lmu_hf.training.transfer import classifier_from_pretrained

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "order": 2, "theta": 8}

pytestmark = pytest.mark.usefixtures("cache")


def task_of(kind: str, **how) -> ClassificationTask:
    return ClassificationTask(made_up(kind, rows=120), max_length=32, **how)


def trained(task: ClassificationTask, architecture: dict) -> torch.nn.Module:
    """A model whose answers differ from row to row, and are of both classes."""
    set_seed(0)
    model = task.make_model({**TINY, **architecture})
    step = torch.optim.AdamW(model.parameters(), lr=0.02)
    batch = task.collate("train")(task.splits["train"].__getitems__(list(range(60))))
    for _ in range(20):
        model(**batch).loss.backward()
        step.step()
        step.zero_grad()
    return model.eval()


CASES = {
    "one number": ("opinions", {"single_output": True}, {}),
    "two numbers": ("opinions", {}, {}),
    "one number beside votes": ("opinions", {"single_output": True}, {"votes": {"sizes": [1], "buckets": 1009}}),
    "one number behind a hidden layer": ("opinions", {"single_output": True}, {"head_hidden_size": 4}),
    "one number for a pair": ("paraphrases", {"single_output": True}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_stock_pipeline_decides_as_the_task_does(case, tmp_path):
    kind, how, architecture = CASES[case]
    task = task_of(kind, **how)
    trained(task, architecture).save_pretrained(tmp_path)
    task.processor().save_pretrained(tmp_path)
    model, rows = load_model(str(tmp_path), task), task.rows.splits["validation"]
    texts = [{"text": text} for text in rows["text"]]
    if task.rows.pairs:
        texts = [{**row, "text_pair": other} for row, other in zip(texts, rows["text_pair"], strict=True)]
    answers = pipeline("text-classification", model=str(tmp_path))(texts)
    batch = task.collate("validation")(
        [{**row, "label": 0} for row in task.splits["validation"]]
    )  # in the order of their lengths, as are the labels below
    with torch.no_grad():
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    shares = {label: [a["label"] for a in answers].count(label) for label in task.rows.labels}
    decided = [task.rows.labels[number] for number in task.decide(logits).tolist()]
    assert shares == {label: decided.count(label) for label in task.rows.labels}
    assert min(shares.values()) > 0
    right = sum(a["label"] == task.rows.labels[label] for a, label in zip(answers, rows["label"], strict=True))
    assert right / len(rows) == pytest.approx(evaluate(model, task, "validation")["accuracy"])
    assert all(answer["score"] >= 0.5 for answer in answers)


def test_a_single_output_is_one_logit_with_the_sigmoid_loss():
    task, plain = task_of("opinions", single_output=True), task_of("opinions")
    model = trained(task, {})
    two = count_parameters(plain.make_model(TINY))["total"]
    assert two - count_parameters(model)["total"] == TINY["hidden_size"] + 1
    batch = task.collate("train")(task.splits["train"].__getitems__(list(range(10))))
    logits = model(**batch).logits
    assert logits.shape == (10, 2) and not logits[:, 0].any()
    expected = binary_cross_entropy_with_logits(logits[:, 1], batch["labels"].float())
    torch.testing.assert_close(model(**batch).loss, expected)
    torch.testing.assert_close(logits.softmax(-1)[:, 1], logits[:, 1].sigmoid())


def test_rows_are_labelled_by_a_model_with_a_single_output():
    task = task_of("opinions", single_output=True)
    model, rows = trained(task, {}), task.rows.splits["validation"]
    labelled = label_rows(model, task.tokenizer, rows)
    assert labelled.features["label"].names == ["negative", "positive"]
    right = sum(a == b for a, b in zip(labelled["label"], rows["label"], strict=True)) / len(rows)
    assert right == pytest.approx(evaluate(model, task, "validation")["accuracy"])


def test_other_labels_get_a_head_of_their_own(tmp_path):
    trained(task_of("opinions", single_output=True), {}).save_pretrained(tmp_path)
    model = classifier_from_pretrained(str(tmp_path), num_labels=3)
    assert model(torch.tensor([[1, 2]])).logits.shape == (1, 3)
    with pytest.raises(ValueError, match="output_size=1 does not fit num_labels=3: a classifier has one output per"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3)


@pytest.mark.parametrize("fields", [{"output_size": 3}, {"output_size": 1, "num_labels": 3}])
@pytest.mark.parametrize("make", [LMUForSequenceClassification, LMUForImageClassification])
def test_an_output_size_that_fits_no_labels_is_refused(make, fields):
    signal = {"input_size": 1, "image_size": 4}
    with pytest.raises(ValueError, match=r"output_size=\d does not fit num_labels=\d: a classifier"):
        make(LMUConfig(**TINY, **signal, **fields))
