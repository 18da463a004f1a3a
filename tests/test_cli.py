"""What the training scripts share: flags, overrides, resuming, trackers and precision."""

import json
import sys

import pytest
import torch

from lmu_hf.cli import loading
from lmu_hf.cli import train as cli
from lmu_hf.cli.train import asked_recipe, asked_running
from lmu_hf.cli.training_flags import RECIPE_FLAGS, training_parser
from lmu_hf.common.record import MetricsLog, RunRecord
from lmu_hf.layers import Windows
from lmu_hf.training import loop
from lmu_hf.training.evaluation import evaluate, load_model
from lmu_hf.training.recipes import RECIPES, get_recipe
from lmu_hf.training.tasks.mackey_glass import MackeyGlassTask
from lmu_hf_cli import run

SHORT = ["--max_train_steps", "4", "--eval_steps", "2", "--quiet", "--per_device_train_batch_size", "8"]


class Series:
    """The verb `train forecast`, run in this process as its script runs it."""

    def main(self, words: list[str]):
        return run("train forecast", argv=["--recipe", "mackey-glass", *words])


@pytest.fixture
def series(monkeypatch) -> Series:
    """The Mackey-Glass verb on series short enough for a test."""
    monkeypatch.setattr(sys, "argv", ["train_mackey_glass.py"])
    monkeypatch.setattr(loading, "load_task", lambda args, recipe: MackeyGlassTask(args.horizon, 200, window=50))
    return Series()


def parsed(*words: str):
    return training_parser("manual", "forecast", "mackey-glass").parse_args(list(words))


def test_every_flag_reaches_its_field():
    numbers, names = {float: 0.125, int: 3}, {"optimizer": "muon", "schedule": "linear"}
    values = {flag: names.get(field, numbers.get(kind)) for flag, field, kind, _ in RECIPE_FLAGS}
    recipe = asked_recipe(parsed(*(word for flag, value in values.items() for word in (f"--{flag}", str(value)))))
    for flag, field, _, _ in RECIPE_FLAGS:
        assert getattr(recipe, field) == values[flag], field
    assert asked_recipe(parsed()) == get_recipe("mackey-glass")


def test_fields_of_the_config_are_overridden():
    words = ["--config_overrides", "order=12", "theta=[4, 8.5]", "hidden_act=relu", "embedding_size=null"]
    architecture = asked_recipe(parsed(*words)).architecture
    assert (architecture["order"], architecture["theta"], architecture["hidden_act"]) == (12, [4, 8.5], "relu")
    assert architecture["embedding_size"] is None and architecture["hidden_size"] == 140


@pytest.mark.parametrize(
    "words, message",
    [
        (["--config_overrides", "order"], "FIELD=VALUE, got 'order'"),
        (["--config_overrides", "oder=3"], "--config_overrides: LMUConfig has no field 'oder'; did you mean 'order'"),
    ],
)
def test_impossible_values_are_named(words, message):
    with pytest.raises(ValueError, match=message):
        asked_recipe(parsed(*words))


@pytest.mark.parametrize("value", ["0", "-3", "often", "1.5"])
def test_checkpointing_steps_must_be_a_number_or_epoch(value):
    with pytest.raises(ValueError, match=f"--checkpointing_steps must be .* got '{value}'"):
        asked_running(parsed("--checkpointing_steps", value))


@pytest.mark.parametrize(
    "words, message",
    [
        (["--config_overrides", "orderr=3"], "error: .*orderr"),
        (["--lr_scheduler_type", "steep"], "error: --lr_scheduler_type must be one of linear, .*, got 'steep'"),
        (["--resume_from_checkpoint", "nowhere"], "error: .*nowhere.*is not a checkpoint"),
        (["--horizon", "200"], "error: horizon must lie between"),
    ],
)
def test_a_run_that_cannot_begin_says_so_in_one_line(series, tmp_path, words, message):
    with pytest.raises(SystemExit, match=f"train_mackey_glass.py: {message}"):
        series.main([*SHORT, "--report_to", "none", "--output_dir", str(tmp_path / "run"), *words])
    assert not (tmp_path / "run" / "run.json").exists()


def test_an_earlier_run_is_kept_and_resumed_on_demand(series, tmp_path, capsys):
    words = [*SHORT, "--checkpointing_steps", "2", "--output_dir", str(tmp_path), "--report_to", "none"]
    first = series.main(words)
    with pytest.raises(
        SystemExit,
        match=r"holds an earlier run \(checkpoints\): --resume_from_checkpoint auto .*--overwrite_output_dir",
    ):
        series.main(words)
    capsys.readouterr()
    again = series.main([*words, "--resume_from_checkpoint", "auto"])
    assert again == first and "is complete already; validation nrmse" in capsys.readouterr().out
    (tmp_path / "run.json").unlink()
    resumed = series.main([*words, "--resume_from_checkpoint", "auto"])
    assert resumed.metrics == first.metrics and len(MetricsLog.read(tmp_path)) == 2
    assert series.main([*words, "--overwrite_output_dir", "--seed", "1"]).seed == 1


def test_an_earlier_run_stands_in_the_way_before_any_row_is_read(series, tmp_path, monkeypatch):
    (tmp_path / "run.json").write_text("{}")
    monkeypatch.setattr("lmu_hf.cli.train._task", None)  # to call it would fail
    with pytest.raises(SystemExit, match=r"holds an earlier run \(run\.json\)"):
        series.main([*SHORT, "--output_dir", str(tmp_path)])


def test_what_a_flag_decides_is_not_said_to_follow_from_the_rows(tmp_path, capsys):
    rows = [f"a {word} day number {row},{word}\n" for row in range(60) for word in ("good", "bad")]
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(rows))
    words = [
        "--train_file",
        str(tmp_path / "rows.csv"),
        "--output_dir",
        str(tmp_path / "run"),
        "--num_train_epochs",
        "1",
    ]
    record = run("train text", argv=[*words, "--config_overrides", "theta=4", "--report_to", "none", "--quiet"])
    told = capsys.readouterr().out
    assert "  epochs 1: given\n" in told and "  theta 4: given\n" in told and "  hidden_size 128: numbers that" in told
    assert record.reasons["epochs"] == "given"


def test_a_finished_run_reads_its_test_when_asked_to(series, tmp_path, capsys, monkeypatch):
    words = [*SHORT, "--report_to", "none", "--resume_from_checkpoint", "auto", "--output_dir"]
    at_once = series.main([*words, str(tmp_path / "at_once")])
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--skip_test"])
    chosen = series.main([*words, str(tmp_path / "later"), "--skip_test"])
    assert "test" not in chosen.metrics and "--skip_test" in chosen.command
    monkeypatch.setattr(sys, "argv", sys.argv[:-1])
    asked = series.main([*words, str(tmp_path / "later")])
    assert "test nrmse" in capsys.readouterr().out.splitlines()[-1] and "--skip_test" not in asked.command
    assert asked.metrics == at_once.metrics and RunRecord.read(tmp_path / "later") == asked


def test_a_resumed_run_remembers_how_much_memory_it_took(series, tmp_path, monkeypatch):
    words = [*SHORT, "--report_to", "none", "--checkpointing_steps", "2", "--output_dir", str(tmp_path)]
    whole = series.main(words)
    (tmp_path / "run.json").unlink()
    monkeypatch.setattr(loop, "peak_memory_bytes", lambda: 1)
    resumed = series.main([*words, "--resume_from_checkpoint", "auto"])
    assert resumed.peak_memory_bytes > 1 and resumed.metrics == whole.metrics


def test_a_finished_run_does_not_read_the_test_split_of_other_data(series, tmp_path):
    words = [*SHORT, "--report_to", "none", "--resume_from_checkpoint", "auto", "--output_dir", str(tmp_path)]
    chosen = series.main([*words, "--skip_test"])
    with pytest.raises(SystemExit, match=r"run.json was made with data.horizon=15, .*; this run has data.horizon=5,"):
        series.main([*words, "--horizon", "5"])
    assert RunRecord.read(tmp_path) == chosen


def test_reading_the_test_split_later_keeps_the_training_command(series, tmp_path, monkeypatch):
    words = [*SHORT, "--report_to", "none", "--resume_from_checkpoint", "auto", "--output_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["train_mackey_glass.py", "--learning_rate", "0.001", "--skip_test"])
    series.main([*words, "--learning_rate", "0.001", "--skip_test"])
    monkeypatch.setattr(sys, "argv", ["train_mackey_glass.py"])
    with pytest.raises(SystemExit, match=r"made with hyperparameters.learning_rate=0.001; this run has .*=0.01: give"):
        series.main(words)
    assert (
        series.main([*words, "--learning_rate", "0.001"]).command
        == "python train_mackey_glass.py --learning_rate 0.001"
    )


def test_a_run_is_tracked_by_tensorboard_unless_told_otherwise(series, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    series.main([*SHORT, "--output_dir", str(tmp_path)])
    files = (tmp_path / "trackers").rglob("events.out.tfevents.*")  # one of them holds the hyper-parameters
    found = [EventAccumulator(str(file)).Reload() for file in files]
    (events,) = (events for events in found if "validation_nrmse" in events.Tags()["scalars"])
    logged = {row["step"]: row["validation_nrmse"] for row in MetricsLog.read(tmp_path)}
    told = {event.step: event.value for event in events.Scalars("validation_nrmse")}
    assert told == pytest.approx(logged, rel=1e-6)


def test_an_unknown_tracker_is_named(series, tmp_path):
    with pytest.raises(SystemExit, match=r"error: .*carrier-pigeon"):
        series.main([*SHORT, "--report_to", "carrier-pigeon", "--output_dir", str(tmp_path)])


def test_bf16_training_keeps_the_memory_in_float32(series, tmp_path, monkeypatch):
    seen = set()
    read = Windows.read

    def watched(self, form, u, *how, **more):
        m, final = read(self, form, u, *how, **more)
        seen.add((u.dtype, u.dtype if final is None else final.dtype, torch.is_autocast_enabled("cpu")))
        return m, final

    monkeypatch.setattr(Windows, "read", watched)
    monkeypatch.setattr(cli, "train", half(cli.train))
    series.main([*SHORT, "--report_to", "none", "--mixed_precision", "bf16", "--output_dir", str(tmp_path)])
    assert seen == {(torch.float32, torch.float32, False)}
    series.main([*SHORT, "--report_to", "none", "--output_dir", str(tmp_path / "whole")])
    records = [RunRecord.read(path) for path in (tmp_path, tmp_path / "whole")]
    assert [record.mixed_precision for record in records] == ["bf16", "no"]
    half_way, whole = (record.metrics["validation"]["nrmse"] for record in records)
    assert half_way == pytest.approx(whole, rel=0.02) and half_way != whole
    logged = min(row["validation_nrmse"] for row in MetricsLog.read(tmp_path))
    assert half_way == pytest.approx(logged, rel=0.02) and half_way != logged
    task = MackeyGlassTask(15, 200, window=50)
    saved = evaluate(load_model(str(tmp_path / "model"), task), task, "validation")
    assert saved == records[0].metrics["validation"]


def half(train):
    """Accelerate remembers its first precision for a process; a fresh state is a fresh process."""

    def fresh(*args, **how):
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(True)
        try:
            return train(*args, **how)
        finally:
            AcceleratorState._reset_state(True)

    return fresh


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_is_named_after_itself_and_written_as_json(name):
    recipe = get_recipe(name)
    assert recipe.name == name
    assert json.loads(json.dumps(recipe.hyperparameters()))["learning_rate"] == recipe.learning_rate


def test_whoever_watches_a_run_sees_every_evaluation_and_may_end_the_run(tmp_path, monkeypatch):
    class EnoughError(Exception):
        """What nobody but the watcher knows."""

    def load(flags, recipe):
        return MackeyGlassTask(15, 200, window=50)

    def stop(row, share):
        raise EnoughError(f"after {share:.0%}")

    seen = []
    monkeypatch.setattr(sys, "argv", ["train_mackey_glass.py"])
    words = [*SHORT, "--report_to", "none", "--output_dir"]
    cli.run(parsed(*words, str(tmp_path / "whole")), load, watch=lambda *told: seen.append(told))
    assert [row for row, _ in seen] == MetricsLog.read(tmp_path / "whole")
    assert [(row["step"], share) for row, share in seen] == [(2, 0.5), (4, 1.0)]
    with pytest.raises(EnoughError, match="after 50%"):
        cli.run(parsed(*words, str(tmp_path / "stopped")), load, watch=stop)
    assert [row["step"] for row in MetricsLog.read(tmp_path / "stopped")] == [2]
    assert not (tmp_path / "stopped" / "run.json").exists()
