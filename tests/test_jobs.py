"""From a file to a model for every kind of label: what is said, trained, saved, scored and labelled."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from transformers import pipeline

from lmu_hf import LMUConfig, LMUForSequenceClassification
from lmu_hf.common.record import RunRecord
from lmu_hf.data.label_rules import MULTI, REGRESSION, SINGLE
from lmu_hf.data.labelled import labelled_files
from lmu_hf.data.labelling import write_rows
from lmu_hf.data.labels import Columns
from lmu_hf.data.sources import stem
from lmu_hf.hub.card import Shown, render
from lmu_hf.hub.records import checked
from lmu_hf.training.judging import choose_metric, choose_thresholds
from lmu_hf.training.run_folder import folder_of_its_own
from lmu_hf.training.tasks.classification import ClassificationTask
from script_runs import call_verb as call

CASES = Path(__file__).parents[2] / "shared" / "cases"
SHORT = ["--quiet", "--report_to", "none", "--eval_steps", "20", "--max_train_steps"]

pytestmark = pytest.mark.usefixtures("cache")


def write_csv(path: Path, names: list[str], rows: list[list]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def house(n: int) -> list:
    rooms = n % 9 + 1
    return [f"house number {n} with " + "room " * rooms, f"{50_000 * rooms}.0"]


# --------------------------------------------------------------------------- numbers to predict


def regressor(**more) -> LMUForSequenceClassification:
    fields = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "problem_type": REGRESSION, "num_labels": 1}
    return LMUForSequenceClassification(LMUConfig(**fields, **more))


def test_a_regression_head_learns_on_its_own_scale_and_answers_in_the_users_unit():
    model, ids = regressor(), torch.randint(20, (4, 6))
    before = model(ids).logits
    targets = torch.tensor([50_000.0, 100_000.0, 450_000.0, 200_000.0])
    model.targets.fit(targets)
    mean, deviation = targets.mean(), targets.std(correction=0)
    after = model(ids, labels=targets)
    torch.testing.assert_close(after.logits, before * deviation + mean)
    torch.testing.assert_close(after.loss, ((after.logits[:, 0] - targets) / deviation).square().mean())
    some = targets.clone()
    some[1] = -100  # nothing to learn there
    torch.testing.assert_close(
        model(ids, labels=some).loss, ((after.logits[:, 0] - targets) / deviation)[[0, 2, 3]].square().mean()
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_unit_stays_exact_in_half_precision_and_on_disk(dtype, tmp_path):
    model = regressor()
    model.targets.fit(torch.tensor([243_750.0, 243_751.0]))
    model.save_pretrained(tmp_path)
    for other in (LMUForSequenceClassification.from_pretrained(tmp_path, dtype=dtype), model.to(dtype)):
        assert other.targets.mean.item() == 243_750.5
        assert other.classifier.out.weight.dtype == dtype
        assert other(torch.tensor([[1, 2]])).logits.dtype == torch.float32


def test_a_checkpoint_without_units_predicts_as_before(tmp_path):
    from safetensors.torch import load_file, save_file

    model, ids = regressor().eval(), torch.tensor([[1, 2, 3]])
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(path).items() if not name.startswith("targets.")}
    save_file(kept, path, metadata={"format": "pt"})
    old = LMUForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(old(ids).logits, model(ids).logits)
    constant = regressor()
    constant.targets.fit(torch.tensor([3.0, 3.0]))
    assert constant.targets.scale.item() == 1


def test_a_label_of_minus_a_hundred_is_a_number_like_any_other(tmp_path):
    rows = [[f"word {n}", f"{value}"] for n, value in enumerate([-100.0, 3.5, 2.5] * 8)]
    read = labelled_files({"train": write_csv(tmp_path / "rows.csv", ["text", "label"], rows)})
    smallest = min(label for part in read.splits.values() for label in part["label"])
    assert smallest != -100
    assert smallest == pytest.approx(-100)


def test_prices_are_predicted_in_their_own_unit(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_csv(Path("prices.csv"), ["text", "price"], [house(n) for n in range(200)])
    words = ["--train_file", "prices.csv", "--label_column", "price", *SHORT, "120"]
    record = call("train_glue", *words)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("price: a number to predict, 50,000 to 450,000, mean ")
    assert said[0].endswith("20 for validation; nothing cut")
    assert (record.metric, record.problem_type) == ("r2", REGRESSION)
    assert list(record.metrics["validation"]) == ["r2", "mae", "rmse", "pearson", "spearmanr"]
    assert record.metrics["validation"]["r2"] > 0.9
    folder = Path("runs/prices-seed0")
    answer = pipeline("text-classification", model=str(folder / "model"))("house number 7 with " + "room " * 8)
    assert 300_000 < answer[0]["score"] < 500_000
    write_csv(Path("more.csv"), ["text", "price"], [house(n) for n in range(200, 230)])
    assert call("evaluate", str(folder / "model"), "--test_file", "more.csv")["r2"] > 0.9
    call("label", str(folder / "model"), "--train_file", "more.csv", "--output_file", "more.parquet")
    labelled = datasets.Dataset.from_parquet("more.parquet")
    assert labelled.column_names == ["text", "label", "score"]
    np.testing.assert_allclose(
        labelled["score"][:], [float(house(n)[1]) for n in range(200, 230)], rtol=0.5, atol=60_000
    )


# --------------------------------------------------------------------------- several classes a row


def remark(n: int) -> list:
    toxic, rude = n % 2, n // 2 % 2
    return [f"remark {n} is " + "poison " * toxic + "boorish " * rude + "so", toxic, rude]


def test_columns_of_zeros_and_ones_are_multi_label(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_csv(Path("remarks.csv"), ["text", "toxic", "rude"], [remark(n) for n in range(240)])
    words = ["--train_file", "remarks.csv", "--label_column", "toxic,rude", *SHORT, "80"]
    record = call("train_glue", *words)
    assert capsys.readouterr().out.startswith(
        "toxic,rude: 2 classes, several a row, toxic: 108, rude: 111; 216 training rows"
    )
    assert (record.metric, record.problem_type) == ("macro_f1", MULTI)
    assert record.metrics["validation"]["macro_f1"] > 0.9
    details = record.details["validation"]
    assert set(details["classes"]) == {"toxic", "rude"}
    assert len(details["thresholds"]) == 2
    model = "runs/remarks-seed0/model"
    found = pipeline("text-classification", model=model)("remark 3 is poison so", top_k=None)
    assert {entry["label"]: entry["score"] > 0.5 for entry in found} == {"toxic": True, "rude": False}
    # Alone, a model's folder knows its classes, and finds their columns.
    Path(model).rename("model")
    scores = call("evaluate", "model", "--test_file", "remarks.csv")
    assert scores["micro_f1"] > 0.9
    call("label", "model", "--train_file", "remarks.csv", "--output_file", "found.parquet")
    labelled = datasets.Dataset.from_parquet("found.parquet")
    assert labelled.column_names == ["text", "label", "score_toxic", "score_rude"]
    assert sorted(labelled[3]["label"]) == ["rude", "toxic"]
    call("label", "model", "--train_file", "remarks.csv", "--output_file", "found.csv")
    with Path("found.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == labelled.column_names and len(rows) == 240
    assert [row["label"].split("|") if row["label"] else [] for row in rows] == labelled["label"][:]
    card = str(render(Shown(checked(record, "run.json")), "lmu-remarks"))
    assert "finds which of `toxic`, `rude` hold" in card
    assert "top_k=None" in card
    assert "remark 0 is so" in card or "remark 1 is poison so" in card
    assert "| toxic | 100.0 |" in card


def test_labels_are_written_by_name_where_people_open_the_file(tmp_path):
    labels = datasets.ClassLabel(names=["bad", "good"])
    rows = datasets.Dataset.from_dict({"text": ['größer, "so"\nlala', "b"], "label": [1, 0], "score_bad": [0.25, 0.5]})
    rows = rows.cast_column("label", labels)
    for suffix in (".parquet", ".csv", ".jsonl"):
        write_rows(rows, tmp_path / f"rows{suffix}", suffix)
    assert datasets.Dataset.from_parquet(str(tmp_path / "rows.parquet")).features["label"] == labels
    told = [{"text": 'größer, "so"\nlala', "label": "good", "score_bad": 0.25}]
    told += [{"text": "b", "label": "bad", "score_bad": 0.5}]
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()] == told
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        assert [row | {"score_bad": float(row["score_bad"])} for row in csv.DictReader(file)] == told


def test_lists_and_separated_labels_are_multi_label(tmp_path):
    rows = [{"text": f"row {n}", "label": ["a", "b"][: n % 3]} for n in range(30)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = labelled_files({"train": path})
    assert (read.problem_type, read.labels) == (MULTI, ["a", "b"])
    assert sorted({tuple(label) for label in read.splits["train"]["label"]}) == [(0, 0), (1, 0), (1, 1)]
    task = ClassificationTask(read)
    batch = next(iter(task.loader("train", 4)))
    assert batch["labels"].shape == (4, 2)
    assert batch["labels"].dtype == torch.float32
    with pytest.raises(ValueError, match=r"votes are for one class a row; rows\.jsonl has multi_label"):
        task.make_model({"hidden_size": 8, "num_hidden_layers": 1, "votes": {"sizes": [1]}})


def test_thresholds_are_chosen_for_classes_with_enough_rows():
    scores = np.linspace(0, 1, 40)
    probabilities = np.stack([scores, scores], 1)
    truth = np.stack([scores > 0.82, scores > 0.99], 1).astype(int)
    assert choose_thresholds(probabilities, truth) == [0.8, 0.5]  # of the second class one row is too few


# --------------------------------------------------------------------------- one class


def test_a_rare_class_can_choose_the_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [[f"number {n} " + ("fraud" if n % 100 == 7 else "fine"), int(n % 100 == 7)] for n in range(400)]
    write_csv(Path("cards.csv"), ["text", "label"], rows)
    words = ["--train_file", "cards.csv", "--metric_for_best_model", "f1", *SHORT, "40"]
    record = call("train_glue", *words)
    said = capsys.readouterr().out
    assert "label: 2 classes, 0: 356, 1: 3 (majority 99.2%); 359 training rows" in said
    assert record.metric == "macro_f1"
    details = record.details["validation"]
    assert details["classes"]["1"]["support"] == 1
    assert np.sum(details["confusion"]) == 41
    assert "class  precision  recall      F1  support" in said
    folder = Path("runs/cards-seed0")
    assert (folder / "figures" / "confusion_matrix.png").stat().st_size > 5_000
    assert RunRecord.read(folder).details == json.loads(json.dumps(record.details))
    again = call("train_glue", *words[:2], *SHORT, "1")
    assert Path("runs/cards-seed0-2/run.json").is_file()
    assert again.data["title"] == "cards"
    card = str(render(Shown(checked(record, "run.json")), "lmu-cards"))
    assert "recipe `own-text` on cards.csv" in card
    assert "figures/confusion_matrix.png" in card


@pytest.mark.parametrize(
    "asked, problem, metrics, chosen",
    [
        (None, SINGLE, ("accuracy", "macro_f1"), "accuracy"),
        ("f1", SINGLE, ("accuracy", "macro_f1"), "macro_f1"),
        ("f1", SINGLE, ("accuracy", "f1"), "f1"),  # GLUE's own
        ("f1", MULTI, ("macro_f1",), "macro_f1"),
        ("loss", REGRESSION, ("r2",), "loss"),
    ],
)
def test_a_flag_chooses_the_metric(asked, problem, metrics, chosen):
    assert choose_metric(asked, problem, metrics, "rows") == chosen


@pytest.mark.parametrize("asked, problem", [("accuracy", REGRESSION), ("r2", SINGLE), ("accuracy", MULTI)])
def test_a_metric_that_does_not_apply_is_refused_by_name(asked, problem):
    with pytest.raises(ValueError, match=rf"--metric_for_best_model {asked} does not apply to rows \({problem}\)"):
        choose_metric(asked, problem, ("r2",), "rows")


def test_several_label_columns_must_all_exist_unless_one_name_holds_commas(tmp_path):
    path = write_csv(tmp_path / "rows.csv", ["text", "a", "b"], [[f"row {n}", n % 2, 1] for n in range(30)])
    with pytest.raises(ValueError, match="no column 'c' in train: --label_column must be one of text, a, b"):
        labelled_files({"train": path}, Columns(label="a,c"))
    odd = write_csv(tmp_path / "odd.csv", ["text", "a,b"], [[f"row {n}", n % 2] for n in range(30)])
    assert labelled_files({"train": odd}, Columns(label="a,b")).labels == ["0", "1"]  # a name with a comma


def test_labels_of_a_validation_file_may_be_typed_otherwise(tmp_path):
    train = write_csv(tmp_path / "train.csv", ["text", "label"], [[f"row {n}", n % 2] for n in range(30)])
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({"text": f"row {n}", "label": str(n % 2)}) + "\n" for n in range(6)))
    read = labelled_files({"train": train, "validation": other})
    assert read.labels == ["0", "1"]
    assert read.splits["validation"]["label"][:] == [0, 1] * 3


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared files of cases are not here")
@pytest.mark.parametrize(
    "name, label, problem, labels",
    [
        ("multi_onehot.csv", "toxic,rude,other", MULTI, ["toxic", "rude", "other"]),
        ("multi.jsonl", "label", MULTI, ["a", "b"]),
        ("mixed.jsonl", "label", SINGLE, ["0", "1", "unknown"]),
        ("zeros.csv", "label", SINGLE, ["000", "001"]),
        ("imbalance.csv", "label", SINGLE, ["0", "1"]),
        ("chunk_label.csv", "label", SINGLE, None),
        ("strfloat.jsonl", "label", REGRESSION, None),
        ("prices.csv", "label", REGRESSION, None),
    ],
)
def test_files_of_common_shapes_become_rows(name, label, problem, labels):
    read = labelled_files({"train": CASES / name}, Columns(label=label))
    assert read.problem_type == problem
    assert labels is None or read.labels == labels


# --------------------------------------------------------------------------- folders and names


def test_a_run_gets_a_folder_of_its_own(tmp_path):
    folder = tmp_path / "reviews-seed0"
    assert folder_of_its_own(folder, False) == folder_of_its_own(folder, True) == folder
    folder.mkdir()
    assert folder_of_its_own(folder, False) == folder  # empty
    (folder / "metrics.jsonl").touch()
    second = tmp_path / "reviews-seed0-2"
    assert folder_of_its_own(folder, False) == second
    assert folder_of_its_own(folder, True) == folder
    second.mkdir()
    (second / "run.json").touch()
    assert folder_of_its_own(folder, True) == second
    assert folder_of_its_own(folder, False) == tmp_path / "reviews-seed0-3"


@pytest.mark.parametrize(
    "path, name",
    [
        ("reviews.csv", "reviews"),
        ("reviews.v2.CSV.gz", "reviews.v2"),
        ("data/my reviews.tsv", "my-reviews"),
        ("reviews/train.jsonl", "reviews-train"),
        ("übung.xlsx", "übung"),
    ],
)
def test_a_run_is_called_after_its_file(path, name):
    assert stem(Path(path)) == name


def test_damaged_details_are_no_record(tmp_path):
    record = RunRecord(
        recipe="own", task="text-classification", head="LMUForSequenceClassification", data={"name": "rows.csv"},
        seed=0,
        hyperparameters={}, architecture={}, parameters={"total": 1, "trainable": 1},
        metrics={"validation": {"accuracy": 0.5}}, details={"validation": {"classes": {"a": {"f1": 1.0}}}},
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"details\['validation'\]\['classes'\]\['a'\] lacks precision"):
        checked(record, "run.json")
    assert "details" in asdict(record)
