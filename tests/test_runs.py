"""What a run keeps, whom its folder answers to, who may write there, and what is deleted when it is begun anew."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmu_hf.cli import launch
from lmu_hf.cli.launch import typed_command
from lmu_hf.common.finite import first_not_finite
from lmu_hf.common.lock import RunFolderError, owned
from lmu_hf.common.record import RunRecord
from lmu_hf.data.augmentation import Augmentation
from lmu_hf.hub.folder import build
from lmu_hf.training import budget, identity, loop
from lmu_hf.training.checkpoint import CheckpointError, load, newest, save
from lmu_hf.training.identity import AnotherRunError
from lmu_hf.training.learner import Learner
from lmu_hf.training.loop import train
from lmu_hf.training.resuming import Progress
from lmu_hf.training.tasks.images import ImageTask
from test_resume import RECIPE, assert_same_run, curve, noise, run, weights
from tiny_runs import make_run

SHORT = replace(RECIPE, max_steps=4)
STEPS = [f"step-{step:08d}" for step in (1, 2, 3, 4)]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


# --------------------------------------------------------------------------- numbers that are not finite


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_the_first_tensor_that_is_not_finite_is_named(number, dtype):
    tensors = {"ids": torch.tensor([2**62]), "good": torch.ones(2, dtype=dtype), "empty": torch.zeros(0)}
    assert first_not_finite(tensors) is None
    assert first_not_finite(tensors | {"bad": torch.tensor([1, number], dtype=dtype)}) == "bad"


def spoil_weight(learner: Learner) -> None:
    learner.parameters[0].view(-1)[0] = float("nan")


def spoil_average(learner: Learner) -> None:
    learner.average[0].view(-1)[0] = float("inf")


def spoil_moment(learner: Learner) -> None:
    next(iter(learner.prepared_optimizer.optimizer.state.values()))["exp_avg_sq"].view(-1)[0] = float("inf")


@pytest.mark.parametrize("eval_steps", [1, 4])  # found by an evaluation, and by a save where there is none
@pytest.mark.parametrize("spoil", [spoil_weight, spoil_average, spoil_moment])
def test_weights_that_are_not_finite_push_out_nothing_and_end_the_run(tmp_path, monkeypatch, spoil, eval_steps):
    update = Learner.update

    def spoiling(learner):
        update(learner)
        if learner.schedule.last_epoch == 3:
            spoil(learner)

    monkeypatch.setattr(Learner, "update", spoiling)
    with pytest.raises(FloatingPointError) as raised:
        run(tmp_path, replace(SHORT, eval_steps=eval_steps), checkpointing_steps=1, checkpoints=2)
    message = str(raised.value)
    assert "after step 3" in message and "is not finite" in message and "\n" not in message
    assert f"the last good checkpoint is {tmp_path / 'checkpoints' / STEPS[1]}" in message
    assert "--overwrite_output_dir" in message and "--learning_rate below 0.002" in message
    assert names(tmp_path / "checkpoints") == set(STEPS[:2])
    assert not {"run.json", "model"} & names(tmp_path)


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_never_the_best(tmp_path, monkeypatch, number, final):
    scores, calls = ImageTask.scores, []

    def spoilt(task, *args):
        calls.append(args)
        bad = args[-1] if final else len(calls) == 2
        return {"accuracy": number} if bad else scores(task, *args)

    monkeypatch.setattr(ImageTask, "scores", spoilt)
    with pytest.raises(FloatingPointError, match=f"after step {4 if final else 2} accuracy.* is not finite"):
        run(tmp_path, SHORT)
    assert not {"run.json", "model"} & names(tmp_path)


def test_of_equal_scores_the_lower_loss_is_the_best():
    rows = [{"step": 1, "validation_loss": 2.0}, {"step": 2, "validation_loss": 3.0}]
    so_far = Progress(best=0.5, best_step=2, rows=rows)
    for goodness, scores, better in (
        (0.5, {"loss": 2.9}, True),
        (0.5, {"loss": 3.0}, False),  # equal in both: the first is kept
        (0.5, {}, False),
        (0.4, {"loss": 0.1}, False),
        (0.6, {"loss": 9.0}, True),
    ):
        assert so_far.is_best(goodness, scores) is better
    assert Progress().is_best(0.0, {})


def test_a_model_whose_outputs_overflow_is_not_chosen_for_its_accuracy(tmp_path):
    """Its weights are finite, if large, and of not-a-number some class is the greatest."""
    with pytest.raises(FloatingPointError, match="logits, of validation, are not finite; no checkpoint had been"):
        run(tmp_path, replace(RECIPE, max_steps=1, learning_rate=1e30, warmup=0.0, averaging=0.0))
    assert not {"run.json", "model"} & names(tmp_path)


# --------------------------------------------------------------------------- which run it is


def changed(task: ImageTask, **fields) -> ImageTask:
    return replace(task, **fields)


def other_rows() -> ImageTask:
    task = noise()
    task.splits["validation"].images[0, 0, 0] ^= 1
    return task


def asked(folder: Path, recipe=SHORT, seed: int = 3, task=None, weights_seed: int = 0, **how) -> RunRecord:
    torch.manual_seed(weights_seed)
    task = task or noise()
    return train(task.make_model(recipe.architecture), recipe, task, seed, folder, quiet=True, resume=True, **how)


OTHER_RUNS = {
    "seed": ({"seed": 4}, "seed=3; this run has seed=4"),
    "learning rate": ({"recipe": replace(SHORT, learning_rate=1.0)}, "hyperparameters.learning_rate=0.002; "),
    "budget": ({"recipe": replace(SHORT, max_steps=8)}, "hyperparameters.max_steps=4; this run has .*=8"),
    "recipe": ({"recipe": replace(SHORT, name="else")}, "recipe='noise'; this run has recipe='else'"),
    "architecture": (
        {"recipe": replace(SHORT, architecture={**SHORT.architecture, "order": 4})},
        "architecture.order=",
    ),
    "data": ({"task": other_rows()}, "data.fingerprint="),
    "standardisation": ({"task": changed(noise(), mean=0.25)}, r"options.mean=0\.5.*; this run has options.mean=0\.25"),
    "augmentation": ({"task": changed(noise(), augmentation=Augmentation(knots=3))}, "options.augmentation.knots=2"),
    "pixel order": ({"task": changed(noise(), permutation_seed=1)}, "permutation_seed=0.*this run has .*seed=1"),
    "initial weights": ({"weights_seed": 1}, "initial_model="),
}


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("complete") / "run"
    run(folder, SHORT, checkpointing_steps=2)
    return folder


def copied(complete: Path, folder: Path, *, finished: bool) -> Path:
    subprocess.run(["cp", "-r", str(complete), str(folder)], check=True)
    if not finished:
        (folder / "run.json").unlink()
    return folder


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("other", OTHER_RUNS)
def test_a_folder_answers_to_its_own_run_alone(complete, tmp_path, other, finished):
    change, named = OTHER_RUNS[other]
    folder = copied(complete, tmp_path / "run", finished=finished)
    before = weights(folder)
    with pytest.raises(AnotherRunError, match=named) as raised:
        asked(folder, **change)
    assert "--overwrite_output_dir" in str(raised.value) and "\n" not in str(raised.value)
    assert all(torch.equal(before[name], value) for name, value in weights(folder).items())
    assert (folder / "run.json").exists() == finished


@pytest.mark.parametrize("finished", [True, False])
def test_precision_and_processes_may_not_change(complete, tmp_path, finished, monkeypatch):
    folder = copied(complete, tmp_path / "run", finished=finished)
    describe = loop.describe_run
    for name, value in {"mixed_precision": "bf16", "processes": 2}.items():

        def told(*args, name=name, value=value):
            return replace(describe(*args), **{name: value})

        monkeypatch.setattr(loop, "describe_run", told)
        with pytest.raises(AnotherRunError, match=f"{name}=.*this run has {name}={value!r}"):
            asked(folder)


def test_a_checkpoint_of_another_run_is_refused_wherever_it_lies(complete, tmp_path):
    checkpoint = complete / "checkpoints" / STEPS[1]
    with pytest.raises(AnotherRunError, match="seed=3; this run has seed=4"):
        run(tmp_path / "new", SHORT, seed=4, resume=checkpoint)
    run(tmp_path / "other", SHORT, seed=4, checkpointing_steps=2)
    (tmp_path / "other" / "run.json").unlink()
    with pytest.raises(AnotherRunError, match=r"other.*seed=4; this run has seed=3"):  # its checkpoints would be lost
        run(tmp_path / "other", SHORT, resume=checkpoint)


def test_a_complete_run_answers_with_its_record_and_its_weights(complete):
    stamp = (complete / "run.json").stat().st_mtime_ns
    task = noise()
    torch.manual_seed(0)
    model = task.make_model(SHORT.architecture)
    record = train(model, SHORT, task, 3, complete, quiet=True, resume=True)
    assert record == RunRecord.read(complete) and (complete / "run.json").stat().st_mtime_ns == stamp
    saved = weights(complete)
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


def test_other_versions_are_logged_and_not_refused(complete, tmp_path, monkeypatch, caplog):
    describe = loop.describe_run

    def elsewhere(*args):
        record = describe(*args)
        return replace(record, versions=record.versions | {"torch": "1.0"}, initial_model="other last digits")

    monkeypatch.setattr(loop, "describe_run", elsewhere)
    assert asked(complete).steps == 4
    assert "torch" in caplog.text and "here 1.0" in caplog.text and "weights that it began with" in caplog.text
    caplog.clear()
    folder = copied(complete, tmp_path / "run", finished=False)
    asked(folder)
    assert "here 1.0" in caplog.text


def test_a_record_of_an_earlier_version_is_compared_in_what_it_says(complete, tmp_path):
    folder = copied(complete, tmp_path / "run", finished=True)
    record = json.loads((folder / "run.json").read_text())
    for name in ("options", "inputs", "initial_model"):
        del record[name]
    (folder / "run.json").write_text(json.dumps(record))
    assert asked(folder).metrics == record["metrics"]
    with pytest.raises(AnotherRunError, match="seed"):
        asked(folder, seed=4)


def test_every_field_of_a_record_identifies_its_run_or_is_an_outcome():
    outcomes = {own.name for own in fields(RunRecord) if own.metadata.get("outcome")}
    assert outcomes == {
        *("metrics", "best_step", "best_epoch", "steps", "wall_seconds", "peak_memory_bytes"),
        *("command", "commit", "versions", "hardware", "scorer", "remarks", "details", "lines", "parts", "reasons"),
        *("matmul", "products", "compile_seconds"),
    }


def test_identifying_a_run_draws_no_random_number(tmp_path):
    task = noise()
    before = torch.get_rng_state()
    first = identity._digest_inputs(task)
    assert torch.equal(torch.get_rng_state(), before) and identity._digest_inputs(task) == first


def test_where_no_checkpoint_is_good_nothing_is_begun_unasked(complete, tmp_path):
    folder = copied(complete, tmp_path / "run", finished=False)
    for step in (STEPS[1], STEPS[3]):
        (folder / "checkpoints" / step / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints .* is good: .*--overwrite_output_dir"):
        asked(folder)


def test_a_checkpoint_with_unexpected_content_is_skipped(complete, tmp_path, caplog):
    folder = copied(complete, tmp_path / "run", finished=False)
    good = load(folder / "checkpoints" / STEPS[3])
    for number, spoilt in enumerate(
        [
            {"progress": "none"},
            {"progress": {"strides": 4}},
            {"progress": {"step": "4"}},
            {"record": []},
            {"record": None},
        ]
    ):
        good_state = dict(good.state)
        good.state |= spoilt
        save(folder / "checkpoints", 5 + number, good, keep=99)
        good.state = good_state
    asked(folder)
    assert caplog.text.count("passed over") == 5
    assert_same_run(complete, folder)


# --------------------------------------------------------------------------- who may write

HOLD = """
import sys, time
from pathlib import Path
from lmu_hf.common.lock import owned
with owned(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_folder_has_one_owner_until_that_is_gone(tmp_path, holder):
    folder = tmp_path / "run"
    staging = folder / "checkpoints" / ".staging-step-00000007"
    staging.mkdir(parents=True)
    for how in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(RunFolderError, match=f"run is in use by process {holder.pid} on .*: wait .*--output_dir"):
            run(folder, SHORT, **how)
    assert staging.is_dir()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert run(folder, SHORT, resume=True).steps == 4
    assert ".owner" not in names(folder)


def test_one_process_may_own_a_folder_twice(tmp_path):
    with owned(tmp_path):
        with owned(tmp_path / "." / ""):
            pass
        assert json.loads((tmp_path / ".owner").read_text())["pid"] == os.getpid()
    assert not names(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"file/run cannot be written to .*--output_dir"):
        run(tmp_path / "file" / "run", SHORT)


# --------------------------------------------------------------------------- begun anew


def test_a_run_begun_anew_leaves_nothing_of_the_one_before(complete, tmp_path):
    folder = copied(complete, tmp_path / "run", finished=True)
    for left in ("model/tokenizer.json", "hub/tokenizer.json", "figures/old.png", "trackers/noise/events.old"):
        (folder / left).parent.mkdir(parents=True, exist_ok=True)
        (folder / left).touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (folder / "model.partial").symlink_to(elsewhere)
    run(folder, SHORT, overwrite=True)
    assert names(folder) == {"model", "metrics.jsonl", "run.json", "trackers"}
    assert names(folder / "model") == names(complete / "model")
    assert not (folder / "trackers" / "noise" / "events.old").exists()
    assert (elsewhere / "kept").exists()


@pytest.mark.parametrize("foreign", ["thesis.tex", "src"])
def test_files_that_no_run_wrote_are_not_deleted(complete, tmp_path, foreign):
    folder = copied(complete, tmp_path / "run", finished=True)
    (folder / foreign).touch()
    with pytest.raises(FileExistsError, match=f"holds {foreign}, which no run wrote .*--output_dir"):
        run(folder, SHORT, overwrite=True)
    assert {foreign, "run.json", "model", "checkpoints"} <= names(folder)


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_a_folder_that_is_no_run_is_left_alone(tmp_path, how):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious.py").touch()
    for _ in range(2):  # nor does it become one by being refused
        with pytest.raises(FileExistsError, match=r"holds .*model"):
            run(tmp_path, SHORT, **how)
    assert (tmp_path / "model" / "precious.py").exists()


def test_nothing_is_deleted_before_a_step_is_taken(complete, tmp_path, monkeypatch):
    folder = copied(complete, tmp_path / "run", finished=True)
    record, saved = RunRecord.read(folder), weights(folder)

    def refused(task, *args):
        raise ValueError("label_smoothing would be ignored")

    monkeypatch.setattr(ImageTask, "terms", refused)
    with pytest.raises(ValueError, match="would be ignored"):
        run(folder, SHORT, overwrite=True)
    assert RunRecord.read(folder) == record and len(curve(folder)) == 4
    assert all(torch.equal(saved[name], value) for name, value in weights(folder).items())


def test_a_run_that_ended_before_its_first_checkpoint_is_replaced_unasked(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "model.partial").mkdir()
    assert run(tmp_path, SHORT).steps == len(curve(tmp_path)) == 4
    assert "model.partial" not in names(tmp_path)


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}])
def test_a_run_that_was_killed_at_its_first_file_is_in_nobodys_way(tmp_path, how):
    (tmp_path / "metrics.jsonl.999999999.partial").touch()  # no process has such a number
    assert run(tmp_path, SHORT, **how).steps == 4
    assert not [name for name in names(tmp_path) if name.endswith(".partial")]


def test_resuming_and_overwriting_contradict_each_other(tmp_path):
    with pytest.raises(ValueError, match="one of --resume_from_checkpoint and --overwrite_output_dir"):
        run(tmp_path, SHORT, resume=True, overwrite=True)


# --------------------------------------------------------------------------- told to end


def test_a_budget_is_told_on_a_line_of_its_own_and_the_bar_ends_with_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(budget, "CLOCKED", 2)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    console = logging.StreamHandler(sys.stderr)
    loop.logger.addHandler(console)
    task = noise()
    record = train(task.make_model(RECIPE.architecture), replace(SHORT, minutes=1e-9), task, 3, tmp_path)
    loop.logger.removeHandler(console)
    lines = capsys.readouterr().err.splitlines()  # a bar is drawn anew behind a carriage return
    assert record.steps == 2 and "--minutes allows 2 steps, 0.3 epochs" in lines
    assert "| 2/2 " in [line for line in lines if line.startswith("noise")][-1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_says_where_it_saved_and_the_command_that_goes_on(tmp_path, number):
    script = Path(__file__).parents[1] / "scripts" / "train_psmnist.py"
    words = ["--recipe", "digits", "--max_train_steps", "60", "--eval_steps", "1", "--skip_test"]
    words += ["--report_to", "none", "--output_dir", "my run", "--overwrite_output_dir"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    process = subprocess.Popen([sys.executable, str(script), *words], **pipes)
    log = tmp_path / "my run" / "metrics.jsonl"
    end = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") >= 2) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 128 + number, errors
    step = len(log.read_text().splitlines())
    (line,) = (line for line in errors.splitlines() if "goes on from there" in line)
    name = signal.Signals(number).name
    saved = f"{name} ended training after step {step}, which is saved in my run/checkpoints/step-{step:08d}; "
    assert line.startswith(f"train_psmnist.py: {saved}this goes on from there: ")
    command = line.partition("from there: ")[2]
    assert command.endswith("--resume_from_checkpoint auto --output_dir 'my run'")
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert RunRecord.read(tmp_path / "my run").steps == 60 and newest(tmp_path / "my run" / "checkpoints")


def test_the_command_that_goes_on_is_the_launchers_with_other_flags(monkeypatch):
    script = [
        "train.py",
        "--seed",
        "1",
        "--overwrite_output_dir",
        "--resume_from_checkpoint=old",
        "--output_dir",
        "a b",
    ]
    monkeypatch.setattr(sys, "orig_argv", ["python", "-u", *script])
    expected = "train.py --seed 1 --output_dir 'a b' --resume_from_checkpoint auto"
    assert typed_command(resume_from_checkpoint="auto") == f"python -u {expected}"
    launcher = ["/bin/python", "/bin/torchrun", "--nproc_per_node", "2"]

    class Process:
        def parents(self):
            return [self]

        def cmdline(self):
            return [*launcher, *script[:-2], "--resume_from_checkpoint", "x/step-00000001", *script[-2:]]

    monkeypatch.setattr(launch.psutil, "Process", Process)
    assert typed_command(resume_from_checkpoint="auto") == f"{' '.join(launcher)} {expected}"


def test_a_run_that_diverges_is_one_line_and_a_failure(tmp_path):
    script = Path(__file__).parents[1] / "scripts" / "train_psmnist.py"
    words = [
        "--recipe",
        "digits",
        "--learning_rate",
        "1e38",
        "--max_train_steps",
        "1",
        "--quiet",
        "--output_dir",
        "run",
    ]
    done = subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("train_psmnist.py: error: training has diverged: after step 1 ")
    assert "Traceback" not in done.stderr and not {"run.json", "model", "checkpoints"} & names(tmp_path / "run")


# --------------------------------------------------------------------------- what is passed on


def test_a_weight_that_is_not_finite_is_never_pushed(tmp_path):
    make_run(tmp_path, "text-classification")
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[-1]
    tensors[name].view(-1)[-1] = float("inf")
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(ValueError, match=rf"model.safetensors is not pushed: {name} holds numbers that are not finite"):
        build(tmp_path)
    assert "hub" not in names(tmp_path)


def test_a_run_folder_in_use_is_not_built_for_the_hub(tmp_path, holder):
    make_run(tmp_path / "run", "text-classification")
    with pytest.raises(RunFolderError, match="in use by process"):
        build(tmp_path / "run")
