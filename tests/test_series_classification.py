"""Training a classifier of series: polynomial kernels, exact leave-one-out, and a run from file to labels."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as TheirRidge

from lmu_hf import LMUForTimeSeriesClassification, LSTMForTimeSeriesClassification
from lmu_hf.common.record import RunRecord
from lmu_hf.data.series import LabelledSeries, RawSeries, assemble, made_up_waves, pad_series
from lmu_hf.layout import Layout, Reading
from lmu_hf.training.kernels import _choose_channels, _of_differences, draw_kernels, find_readout
from lmu_hf.training.recipes import get_recipe
from lmu_hf.training.recipes.series_classification import Measured, make_recipe
from lmu_hf.training.ridge import fit_ridge
from lmu_hf.training.series_lines import ON_FEATURES, ON_VALUES, series_lines
from lmu_hf.training.tasks.series_classification import SeriesClassificationTask
from script_runs import call_verb

SMALL = {"hidden_size": 64}


def task_of(rows: LabelledSeries) -> tuple[SeriesClassificationTask, dict]:
    task = SeriesClassificationTask(rows)
    lengths = rows.splits["train"].lengths
    of = Measured(len(lengths), len(rows.channels), int(np.median(lengths)), int(lengths.max()))
    return task, {**make_recipe(of).recipe.architecture, **SMALL}


@pytest.fixture(scope="module")
def waves() -> LabelledSeries:
    return made_up_waves(rows=60)


def made(waves: LabelledSeries, seed: int = 0):
    torch.manual_seed(seed)
    task, architecture = task_of(waves)
    return task, task.make_model(architecture)


def test_few_validation_rows_of_ones_own_are_warned_of(waves):
    few = len(waves.splits["validation"])
    said = SeriesClassificationTask(replace(waves, title="walks")).announce()
    assert f"\nwarning: only {few} validation rows, which score and choose by little more than chance" in said
    assert "warning" not in SeriesClassificationTask(replace(waves, title=None)).announce()


def draw_rows(rows: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.normal(3, 2, (rows, width)), draw.integers(classes, size=rows)


@pytest.mark.parametrize(("rows", "width"), [(20, 50), (50, 20)], ids=["few rows", "many rows"])
def test_leave_one_out_is_what_leaving_one_out_gives(rows, width):
    features, labels = draw_rows(rows, width, 3)
    found = fit_ridge(features, labels, 3)
    standard = (features - features.mean(0)) / features.std(0)
    targets = np.where(labels[:, None] == np.arange(3), 1.0, -1.0)
    left_out = []
    for row in range(rows):
        others = np.arange(rows) != row
        model = TheirRidge(alpha=found.strength).fit(standard[others], targets[others])
        left_out.append(model.predict(standard[row][None])[0])
    whole = TheirRidge(alpha=found.strength).fit(standard, targets).predict(standard)
    logits = features @ found.weight.T + found.bias
    sharpness = np.linalg.norm(logits) / np.linalg.norm(whole)
    np.testing.assert_allclose(logits, sharpness * whole, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.left_out, sharpness * np.array(left_out), rtol=1e-6, atol=1e-6)


def test_a_constant_feature_is_given_no_weight():
    features, labels = draw_rows(20, 5, 2)
    features[:, 2] = 0.1
    found = fit_ridge(features, labels, 3)
    assert (found.weight[:, 2] == 0).all()
    assert np.isfinite(found.weight).all()
    assert (features @ found.weight.T + found.bias).argmax(1).max() < 2  # a class that no row has


def test_a_kernel_on_differences_is_a_kernel_on_memory_and_signal(waves):
    _, model = made(waves)
    layer = model.model.layers[0].memory
    for system in layer.windows.systems[:3]:
        directions = torch.randn(4, system.order, dtype=torch.float64)
        of_memory, of_signal = _of_differences(directions, system)
        from lmu_hf.memory import memory_recurrent

        u = torch.randn(1, 30, 1, dtype=torch.float64)
        m, _ = memory_recurrent(u, system)
        changes, _ = memory_recurrent(torch.diff(u, dim=1, prepend=torch.zeros(1, 1, 1, dtype=torch.float64)), system)
        found = m[0, :, 0] @ of_memory.T + u[0] * of_signal
        torch.testing.assert_close(found, changes[0, :, 0] @ directions.T, rtol=1e-8, atol=1e-8)


def test_a_kernel_reads_few_channels_as_often_as_many():
    torch.manual_seed(0)
    chosen = _choose_channels(4000, 12).sum(1)
    assert (chosen.min(), chosen.max()) == (1, 9)
    assert float((chosen < 3).double().mean()) == pytest.approx(np.log2(3) / np.log2(10), abs=0.03)
    assert (_choose_channels(10, 1) == 1).all()


def test_a_kernel_does_not_see_a_level(waves):
    """No kernel on the signal has a part in coefficient 0, and one on differences sees none: a step far in is 0."""
    _, model = made(waves)
    layer = model.model.layers[0].memory
    layer.input_readout.bias.zero_()
    layer.encoder.weight.data = layer.encoder.weight.double()
    with torch.no_grad():
        outputs, _ = layer.double()(torch.ones(1, 2000, 2, dtype=torch.float64), reading=Reading(Layout(2000)))
    assert float(outputs[0, -1].abs().max()) < 1e-3 < float(outputs[0, 0].abs().max())


def test_thresholds_lie_within_the_responses_on_training_rows(waves):
    task, model = made(waves)
    model.signals.silence.fill_(0)  # in which they were drawn
    with torch.no_grad():
        shares = torch.cat([model.read(**inputs(batch))[0] for batch in task.loader("train", 8)])
    assert 0.4 < float(shares.mean()) < 0.6  # quantiles are uniform
    assert (shares.std(0) > 0).float().mean() > 0.95


def inputs(batch: dict) -> dict:
    return {name: value for name, value in batch.items() if name != "labels"}


def test_a_drawn_model_has_nothing_to_train_and_depends_on_the_seed_alone(waves):
    _, model = made(waves)
    assert not any(weight.requires_grad for weight in model.parameters())
    _, again = made(waves)
    _, other = made(waves, seed=1)
    same, differs = (model.state_dict(), again.state_dict()), other.state_dict()
    assert all(torch.equal(value, same[1][name]) for name, value in same[0].items())
    assert not torch.equal(same[0]["classifier.out.weight"], differs["classifier.out.weight"])


def test_padding_and_missing_steps_change_no_decision(waves):
    _task, model = made(waves)
    rows = [waves.splits["test"][row] for row in range(6)]
    with torch.no_grad():
        together = model(**inputs(pad_series(rows))).logits
        alone = torch.cat([model(**inputs(pad_series([row]))).logits for row in rows])
    # A response that is 0 but for rounding may fall to either side of its threshold.
    torch.testing.assert_close(together, alone, rtol=1e-2, atol=2e-2)


def test_a_kernel_reads_the_layer_and_nothing_else(waves):
    """What the head pools is what eq. (19) and (20) give with the weights that were drawn."""
    task, model = made(waves)
    model.signals.silence.fill_(0)
    batch = inputs(next(iter(task.loader("test", 3))))
    layer = model.model.layers[0].memory
    with torch.no_grad():
        layout, values = model.standardise(**batch)
        outputs, _ = layer(layout.pack(values), reading=Reading(layout))
        shares = layout.pool(layout.unpack(outputs), ("share",))
        torch.testing.assert_close(model.read(**batch)[0], shares, rtol=0, atol=0.05)


def of_length(longest: int) -> LabelledSeries:
    """Noise, whose length alone tells the class."""
    draw = np.random.default_rng(0)
    raw = {split: RawSeries(channels=["1"]) for split in ("train", "validation")}
    for split, part in raw.items():
        for row in range(40):
            steps = (20, longest)[row % 2]
            part.add(f"{split} {row}", draw.standard_normal((steps, 1)).astype(np.float32), "ab"[row % 2])
    return assemble("lengths", raw, {split: split for split in raw})


def test_where_lengths_tell_the_class_short_series_are_followed_by_silence():
    rows = of_length(60)
    task, model = made(rows)
    assert float(model.signals.silence) == 60
    batch = next(iter(task.loader("validation", 40)))
    with torch.no_grad():
        assert (model(**inputs(batch)).logits.argmax(-1) == batch["labels"]).float().mean() > 0.9


def test_of_equal_lengths_there_is_no_silence():
    assert float(made(of_length(20))[1].signals.silence) == 0


def test_kernels_need_a_plain_layer(waves):
    task, architecture = task_of(waves)
    model = LMUForTimeSeriesClassification(
        get_model_config(
            {**task.config_fields(), **architecture, "encoder": "identity", "memory_channels": None, "theta": 5}
        )
    )
    with pytest.raises(ValueError, match="linear encoder"):
        draw_kernels(model, [])


def get_model_config(fields: dict):
    from lmu_hf.training.baselines import make_config

    return make_config(fields)


def test_the_readout_learns_classes_that_random_guessing_does_not():
    rows = made_up_waves(rows=80)
    task, model = made(rows)
    found = find_readout(model, task.loader("train", 16))
    truth = np.concatenate([batch["labels"].numpy() for batch in task.loader("train", 16)])
    assert (found.left_out.argmax(1) == truth).mean() > 0.8  # a third by chance


@pytest.mark.parametrize(
    ("of", "windows", "channels"),
    [
        (Measured(50, 1, 150, 150), (3, 150), 12),
        (Measured(50, 1, 12, 20), (3, 20), 12),
        (Measured(50, 1, 1, 2), (3, 3), 12),
        (Measured(50, 3, 100, 100), (3, 100), 36),
        (Measured(50, 60, 100, 900), (3, 400), 192),
    ],
)
def test_rows_make_the_recipe(of, windows, channels):
    made = make_recipe(of)
    (thetas,) = made.recipe.architecture["theta"]
    assert (thetas[0], thetas[-1]) == windows
    assert made.recipe.architecture["memory_channels"] == channels
    assert set(made.reasons) <= set(made.recipe.architecture)
    get_model_config({**made.recipe.architecture, "input_size": of.channels, "num_labels": 2})


def test_lines_beside_need_no_equal_lengths_and_no_whole_values(waves):
    lines = series_lines(waves, ["validation", "test"])
    assert set(lines) == {"majority", ON_VALUES, ON_FEATURES}
    assert lines[ON_FEATURES]["test"]["accuracy"] > 0.6 > lines["majority"]["test"]["accuracy"]


def test_lines_stand_odd_series():
    raw = RawSeries(channels=["1", "2"])
    for row in range(12):
        values = np.full((1 + row % 3, 2), np.nan, dtype=np.float32)
        values[0, 0] = row
        raw.add(str(row), values, "ab"[row % 2])
    rows = assemble("odd", {"train": raw, "validation": raw}, {"train": "t", "validation": "v"})
    lines = series_lines(rows, ["validation"])
    assert all(np.isfinite(by["validation"]["accuracy"]) for by in lines.values())


def ts(rows: LabelledSeries, split: str, labelled: bool = True) -> str:
    lines = ["@classLabel true", "@data"] if labelled else ["@classLabel false", "@data"]
    part = rows.splits[split]
    for values, label in zip(part.values, part.labels, strict=True):
        channels = [",".join("?" if np.isnan(value) else f"{value:.4f}" for value in column) for column in values.T]
        lines.append(":".join([*channels, *([rows.labels[label]] if labelled else [])]))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def run(waves, tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    for split in ("train", "test"):
        (folder / f"{split}.ts").write_text(ts(waves, split))
    (folder / "new.ts").write_text(ts(waves, "test", labelled=False))
    files = ("--train_file", str(folder / "train.ts"), "--test_file", str(folder / "test.ts"))
    small = ("--config_overrides", "hidden_size=64")
    call_verb("train_series", *files, *small, "--output_dir", str(folder / "run"), "--quiet")
    return folder


def test_a_readout_that_is_fitted_again_counts_as_training(tmp_path, monkeypatch):
    refit = SeriesClassificationTask._refit

    def slow(self, model):
        refit(self, model)
        self.spent["refit"] += 1000

    monkeypatch.setattr(SeriesClassificationTask, "_refit", slow)
    words = ("--rows", "60", "--config_overrides", "hidden_size=64", "--quiet", "--output_dir", str(tmp_path / "run"))
    assert 1000 < call_verb("train_series", *words).wall_seconds < 2000


def test_a_run_takes_no_step_and_says_what_it_found(run):
    record = RunRecord.read(run / "run")
    assert (record.steps, record.head, record.task) == (0, "LMUForTimeSeriesClassification", "tabular-classification")
    assert record.metrics["test"]["accuracy"] > record.lines["majority"]["test"]["accuracy"]
    assert record.reasons["left_out"].startswith("leave-one-out accuracy of the readout on 30 rows of training and")
    assert not re.search(r"\d s\b", record.reasons["left_out"])  # the run's seconds are those of wall_seconds alone
    assert set(record.details["test"]) == {"classes", "confusion"}
    assert record.data["rows"] == {"train": 27, "validation": 3, "test": 15}
    assert (run / "run" / "model" / "model.safetensors").is_file()


def test_a_run_is_scored_again_to_the_same_figure(run, capsys):
    record = RunRecord.read(run / "run")
    assert call_verb("evaluate", str(run / "run")) == record.metrics["test"]
    other = call_verb("evaluate", str(run / "run"), "--test_file", str(run / "train.ts"))
    assert other["accuracy"] > record.metrics["test"]["accuracy"] - 0.2
    assert "train.ts" in capsys.readouterr().out


def test_a_run_labels_series_without_labels(run, capsys):
    counts = call_verb(
        "label", str(run / "run"), "--train_file", str(run / "new.ts"), "--output_file", str(run / "labels.csv")
    )
    with (run / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(counts.values()) == len(rows) == 15
    assert set(rows[0]) == {"series", "label", "probability", "score_sawtooth", "score_sine", "score_square"}
    said = np.mean([row["label"] for row in rows] == np.array(true_labels(run)))
    assert said == pytest.approx(RunRecord.read(run / "run").metrics["test"]["accuracy"])
    assert json.loads((run / "labels.json").read_text())["labels"] == counts
    assert "15 series" in capsys.readouterr().out


def true_labels(run) -> list[str]:
    return [line.rpartition(":")[2] for line in (run / "test.ts").read_text().splitlines()[2:]]


def test_a_finished_run_answers_to_the_same_flags(run, capsys):
    call_verb(
        *("train_series", "--train_file", str(run / "train.ts"), "--test_file", str(run / "test.ts"), "--quiet"),
        *("--config_overrides", "hidden_size=64", "--output_dir", str(run / "run"), "--resume_from_checkpoint", "auto"),
    )
    assert "is complete already" in capsys.readouterr().out


@pytest.mark.parametrize("how", [("--baseline", "lstm"), ("--config_overrides", "pooling=mean_max", "hidden_size=16")])
def test_other_models_train_by_gradients(run, how, tmp_path):
    call_verb(
        *("train_series", "--train_file", str(run / "train.ts"), "--output_dir", str(tmp_path / "run"), "--quiet"),
        *("--max_train_steps", "2", *how),
    )
    record = RunRecord.read(tmp_path / "run")
    assert record.steps == 2 and "left_out" not in record.reasons
    kind = LSTMForTimeSeriesClassification if "lstm" in how else LMUForTimeSeriesClassification
    assert record.head == kind.__name__
    assert kind.from_pretrained(tmp_path / "run" / "model").signals.mean.abs().sum() > 0


def test_a_model_that_is_trained_by_gradients_is_trained_again_on_the_rows_held_out():
    raw = RawSeries(channels=["1"])
    for row in range(20):
        raw.add(str(row), np.full((3, 1), row, dtype=np.float32), "ab"[row % 2])
    task = SeriesClassificationTask(assemble("numbers", {"train": raw}, {"train": "file"}))
    whole = task.whole()
    assert sorted(values[0, 0] for values, _ in whole.splits["train"]) == list(range(20))
    assert all(label == values[0, 0] % 2 for values, label in whole.splits["train"])
    assert len(task.splits["train"]) == 18
    assert SeriesClassificationTask(made_up_waves(rows=60)).whole() is None  # validation was given


def test_the_default_needs_no_file():
    recipe = get_recipe("own-series")
    assert recipe.kind == "series-classification" and recipe.architecture["pooling"] == "share"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--dataset_name", "Walks"), "--dataset_name Walks needs --data_dir"),
        (("--test_file", "{}"), "need a --train_file"),
        (("--rows", "24", "--train_file", "{}"), "--rows has no effect"),
        (("--id_column", "id"), "--id_column has no effect"),
    ],
)
def test_flags_that_do_not_fit_are_refused(words, said, run, capsys):
    with pytest.raises((SystemExit, ValueError)) as complaint:
        call_verb("train_series", *(word.format(run / "test.ts") for word in words))
    assert said in f"{complaint.value}{capsys.readouterr().err}"
