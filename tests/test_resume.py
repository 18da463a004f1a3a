"""A run that is stopped anywhere and resumed is the run that was never stopped, bit for bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lmu_hf.common.record import MetricsLog, RunRecord
from lmu_hf.data.augmentation import Augmentation
from lmu_hf.data.batches import Schedule
from lmu_hf.training import loop
from lmu_hf.training.checkpoint import CheckpointError, load, newest, verify
from lmu_hf.training.loop import train
from lmu_hf.training.recipes import Recipe
from lmu_hf.training.tasks.images import ImageRows, ImageTask

RECIPE = Recipe(
    name="noise",
    kind="images",
    architecture={
        **{"block_type": "residual", "num_hidden_layers": 2, "hidden_size": 8, "order": 3, "theta": 16},
        **{"hidden_dropout": 0.2, "classifier_dropout": 0.2},
    },
    epochs=2,
    batch_size=4,
    eval_steps=1,
    averaging=0.9,
    augmentation=Augmentation(knots=2),
    label_smoothing=0.1,
    max_grad_norm=1.0,
)


def noise(rows: int = 22) -> ImageTask:
    """Images of nothing, as few as will do: 22 rows make 6 steps of 4, or 2 of 16, and the last is short."""
    draw = np.random.default_rng(0)

    def split(rows: int) -> ImageRows:
        return ImageRows(draw.integers(0, 256, (rows, 4, 4), dtype=np.uint8), np.arange(rows) % 3)

    splits = {"train": split(rows), "validation": split(7), "test": split(5)}
    return ImageTask("noise", splits, list("abc"), mean=0.5, std=0.3, augmentation=RECIPE.augmentation)


def run(folder: Path, recipe: Recipe = RECIPE, seed: int = 3, **how) -> RunRecord:
    task = noise()
    torch.manual_seed(0)
    return train(task.make_model(recipe.architecture), recipe, task, seed, folder, quiet=True, **how)


def curve(folder: Path) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in MetricsLog.read(folder)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def assert_same_run(first: Path, second: Path) -> None:
    assert curve(first) == curve(second)
    one, other = weights(first), weights(second)
    assert all(torch.equal(one[name], other[name]) for name in one)
    records = [RunRecord.read(folder) for folder in (first, second)]
    assert records[0].metrics == records[1].metrics and records[0].best_step == records[1].best_step


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_run_stopped_after_any_step_resumes_to_the_same_bits(tmp_path, accumulation, workers):
    recipe = replace(RECIPE, accumulation=accumulation)
    whole = run(tmp_path / "whole", recipe, checkpointing_steps=1, checkpoints=99, workers=workers)
    saved = sorted((tmp_path / "whole" / "checkpoints").iterdir())
    assert len(saved) == whole.steps == 2 * {1: 6, 4: 2}[accumulation]
    for checkpoint in saved:
        folder = tmp_path / checkpoint.name
        run(folder, recipe, resume=checkpoint, workers=workers)
        assert_same_run(tmp_path / "whole", folder)


def test_auto_takes_the_newest_good_checkpoint(tmp_path, caplog):
    run(tmp_path / "whole", checkpointing_steps=1, checkpoints=99)
    folder = tmp_path / "cut"
    shutil.copytree(tmp_path / "whole" / "checkpoints", folder / "checkpoints")
    for step in range(8, 13):
        shutil.rmtree(folder / "checkpoints" / f"step-{step:08d}")
    (folder / "checkpoints" / "step-00000007" / "model.safetensors").write_bytes(b"nonsense")
    run(folder, resume=True)
    assert "step-00000007 is damaged" in caplog.text and "resuming from" in caplog.text and "00000006" in caplog.text
    assert_same_run(tmp_path / "whole", folder)


@pytest.mark.parametrize("seconds, share, saved", [(0, 1e9, range(2, 13)), (0, 1e-9, [1]), (60, 1.0, [])])
def test_checkpoints_are_saved_by_the_clock_between_evaluations(tmp_path, monkeypatch, seconds, share, saved):
    monkeypatch.setattr(loop, "SAVE_SECONDS", seconds)  # 60 in earnest
    monkeypatch.setattr(loop, "SAVE_SHARE", share)  # a save that took long is not soon followed by another
    run(tmp_path, replace(RECIPE, eval_steps=12), checkpoints=11)
    there = sorted((tmp_path / "checkpoints").glob("*"))
    assert [int(path.name.removeprefix("step-")) for path in there] == list(saved)


def test_auto_begins_where_there_is_nothing(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "auto", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "auto")


@pytest.mark.parametrize(
    "change, named",
    [
        ({"recipe": replace(RECIPE, learning_rate=1.0)}, "hyperparameters.learning_rate=0.002; this run has .*=1.0"),
        ({"recipe": replace(RECIPE, epochs=3)}, "hyperparameters.epochs=2"),
        ({"recipe": replace(RECIPE, architecture={**RECIPE.architecture, "order": 4})}, "architecture.order=3"),
        ({"seed": 4}, "seed=3; this run has seed=4"),
    ],
)
def test_another_runs_checkpoint_is_refused_and_kept(tmp_path, change, named):
    run(tmp_path, checkpointing_steps=2)
    before = newest(tmp_path / "checkpoints")
    with pytest.raises(CheckpointError, match=named):
        run(tmp_path, resume=True, **change)
    assert newest(tmp_path / "checkpoints") == before


def test_a_folder_with_checkpoints_is_not_begun_anew_unasked(tmp_path):
    run(tmp_path, checkpointing_steps=2)
    (tmp_path / "run.json").unlink()
    with pytest.raises(FileExistsError, match="checkpoints"):
        run(tmp_path)
    run(tmp_path, overwrite=True)
    assert not (tmp_path / "checkpoints").exists()


def test_nothing_but_safetensors_and_json_is_written(tmp_path):
    run(tmp_path, checkpointing_steps="epoch")
    files = {path.name for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()}
    assert files == {"manifest.json", "state.json"} | {
        f"{name}.safetensors" for name in ("model", "average", "best", "optimizer", "processes")
    }
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-00000006", "step-00000012"]


def test_the_order_of_rows_covers_every_epoch_whatever_the_processes():
    task = noise()
    for processes in (1, 2, 3):
        for accumulation in (1, 2):
            schedules = [Schedule(task, 4, accumulation, 0, processes, rank) for rank in range(processes)]
            epochs = []
            for epoch in (0, 1):
                rows = []
                for schedule in schedules:
                    sizes = [n for step in range(schedule.steps_per_epoch) for n in schedule.turns(step)]
                    turns = list(schedule.turn_batches(epoch))
                    assert len(turns) == len(sizes) and all(turn for turn in turns)
                    rows += [row for turn, size in zip(turns, sizes, strict=True) for row in turn[:size]]
                assert sorted(rows) == list(range(22))
                epochs.append(rows)
            assert epochs[0] != epochs[1]
            later = list(schedules[0].turn_batches(1, start=1))
            assert later == list(schedules[0].turn_batches(1))[accumulation:]


@pytest.mark.parametrize("batch_size", [22, 8])
def test_accumulation_equals_the_large_batch(tmp_path, batch_size):
    plain = replace(
        RECIPE,
        architecture={**RECIPE.architecture, "hidden_dropout": 0.0, "classifier_dropout": 0.0},
        augmentation=None,
        batch_size=batch_size,
    )
    small = replace(plain, batch_size=batch_size // 2, accumulation=2)
    torch.set_default_dtype(torch.float64)
    try:
        for name, recipe in (("large", plain), ("small", small)):
            task = replace(noise(), augmentation=None)
            torch.manual_seed(0)
            train(task.make_model(recipe.architecture).double(), recipe, Doubled(task), 3, tmp_path / name, quiet=True)
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(curve(tmp_path / "large"), curve(tmp_path / "small"), strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-6)
    one, other = weights(tmp_path / "large"), weights(tmp_path / "small")
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-12)


class Doubled(ImageTask):
    """A task whose pixels are float64."""

    def __init__(self, task: ImageTask) -> None:
        super().__init__(task.name, task.splits, task.labels, task.mean, task.std, task.augmentation)

    def inputs(self, batch, generator=None):
        inputs = super().inputs(batch, generator)
        return {**inputs, "pixel_values": inputs["pixel_values"].double()}


def test_patience_ends_a_run(tmp_path):
    record = run(tmp_path, replace(RECIPE, epochs=50, patience=3, learning_rate=1e-12))
    assert record.steps == record.best_step + 3 < 300


# --------------------------------------------------------------------------- ends from outside

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_resume import RECIPE, run
from contextlib import suppress
from dataclasses import replace
import torch
torch.set_num_threads(1)
folder, epochs = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
run(folder, replace(RECIPE, epochs=epochs), resume=True, checkpointing_steps=3)
"""


def start(folder: Path, epochs: int) -> subprocess.Popen:
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder), str(epochs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def wait_for_steps(folder: Path, steps: int) -> None:
    for _ in range(3000):
        if (folder / "metrics.jsonl").exists() and len((folder / "metrics.jsonl").read_text().splitlines()) >= steps:
            return
        time.sleep(0.05)
    raise AssertionError(f"{folder} has not come to step {steps}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_and_the_run_goes_on(tmp_path, number):
    epochs = 60
    process = start(tmp_path / "cut", epochs)
    wait_for_steps(tmp_path / "cut", 4)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 128 + number, errors
    step = load(newest(tmp_path / "cut" / "checkpoints")).state["progress"]["step"]
    assert step == len(curve(tmp_path / "cut")) >= 4  # the very step that it had come to
    assert not (tmp_path / "cut" / "run.json").exists()
    recipe = replace(RECIPE, epochs=epochs)
    run(tmp_path / "cut", recipe, resume=True, checkpointing_steps=3)
    run(tmp_path / "whole", recipe)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
@pytest.mark.timeout(1900)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked, so that 200 of them need no 200 imports")
def test_two_hundred_kills_never_leave_a_run_that_cannot_resume(tmp_path):
    """Children of a process that has imported everything train, save every third step, and are killed at any moment."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import evaluate, sklearn.metrics  # once, rather than in every child
from test_resume import kill_again_and_again
kill_again_and_again({str(tmp_path)!r}, kills=200)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=1800, check=False, env=WITHOUT_THREADS
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    story = json.loads(done.stdout.splitlines()[-1])
    assert story["kills"] == 200 and story["inside a save"] > 0, story


EVERY = 3
WITHOUT_THREADS = os.environ | {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


def fork() -> int:
    """As `os.fork`, refused where another thread might hold a lock that the child would wait for without end."""
    threads = Path("/proc/self/task")
    assert not threads.exists() or len(list(threads.iterdir())) == 1
    return os.fork()


def in_a_child(folder: Path, recipe: Recipe, **how) -> int:
    """Train in a forked process; its number."""
    child = fork()
    if child == 0:
        run(folder, recipe, **how)
        os._exit(0)
    return child


def kill_again_and_again(tmp: str, kills: int) -> None:
    """Train in children that are killed; after each kill a verified checkpoint is at most one interval old."""
    torch.set_num_threads(1)
    draw, story = random.Random(0), {"kills": 0, "inside a save": 0, "runs": 0}
    recipe = replace(RECIPE, epochs=30)
    assert os.waitpid(in_a_child(Path(tmp) / "whole", recipe), 0)[1] == 0
    while story["kills"] < kills:
        folder = Path(tmp) / f"run{story['runs']}"
        while not (folder / "run.json").exists():
            aimed = story["kills"] % 2 == 1  # every other one at a save, however slow the machine is
            if aimed:
                for left in folder.glob("checkpoints/.staging-*"):
                    shutil.rmtree(left)
            child = in_a_child(folder, recipe, resume=True, checkpointing_steps=EVERY)
            if story["kills"] < kills:
                before = last_step(folder)
                if aimed:
                    wait_for_a_save(folder)
                time.sleep(draw.uniform(0, 0.005) if aimed else draw.uniform(0.02, 0.3))
                os.kill(child, signal.SIGKILL)
                story["kills"] += os.waitpid(child, 0)[1] == signal.SIGKILL
                story["inside a save"] += any((folder / "checkpoints").glob(".staging-*"))
                after = last_step(folder)
                logged = len(curve(folder)) if (folder / "metrics.jsonl").exists() else 0
                assert after >= before and after >= logged - EVERY, (before, after, logged)
            else:
                assert os.waitpid(child, 0)[1] == 0
        assert_same_run(Path(tmp) / "whole", folder)
        shutil.rmtree(folder)
        story["runs"] += 1
    print(json.dumps(story))


def wait_for_a_save(folder: Path) -> None:
    """Until a save has begun, or for ten seconds: the run may have come to its end."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with suppress(FileNotFoundError):  # the folder of checkpoints may go while it is looked through
            if any(folder.glob("checkpoints/.staging-*")):
                return
        time.sleep(0.001)


def last_step(folder: Path) -> int:
    path = newest(folder / "checkpoints")
    if path is None:
        return 0
    verify(path)
    return int(path.name.removeprefix("step-"))
