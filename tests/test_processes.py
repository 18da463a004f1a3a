"""Several processes compute what one computes, outlive any end, and refuse to be fewer than were asked for."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from lmu_hf.cli import launch
from lmu_hf.cli.launch import asked_processes, check_processes
from lmu_hf.common.errors import InputError
from lmu_hf.common.lock import owned
from lmu_hf.common.record import RunRecord
from lmu_hf.training.checkpoint import CheckpointError, load, newest, verify
from lmu_hf.training.resuming import load_run
from lmu_hf.training.shards import read_shards
from lmu_hf.training.sharing import make_sharing
from lmu_hf.training.tasks.text import TextTask
from test_resume import RECIPE, assert_same_run, curve, noise, run, wait_for_steps
from two_processes import READER, every_gradient, gradients, read_folder, read_text, run_eight

HERE = Path(__file__).parent
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
ENVIRONMENT = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def launch_two(*words: object, launcher: tuple[str, ...] = TORCHRUN) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *launcher, str(HERE / "two_processes.py"), *map(str, words)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, seconds: float = 300) -> str:
    output, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, output[-1000:] + errors[-4000:]
    return output


@pytest.mark.slow
def test_two_processes_resume_after_any_step(tmp_path):
    output = finish(launch_two("resume", tmp_path))
    assert output.count("is done") == 2
    assert len(list(tmp_path.glob("again*"))) == 2 * 6 + 2 * 2


@pytest.mark.slow
def test_two_processes_compute_what_one_computes(tmp_path):
    finish(launch_two("gradients", tmp_path / "two"))
    two = load_file(tmp_path / "two" / "gradients.safetensors")
    one = gradients(tmp_path / "one", batch_size=4)
    assert set(one) == set(two) and len({name.split("/")[0] for name in one}) == 6
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-12)
    # 7 rows to validate on in batches of 3, and 5 to test on: some processes have fewer.
    assert RunRecord.read(tmp_path / "two").metrics == RunRecord.read(tmp_path / "one").metrics
    for first, second in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert first["train_loss"] == pytest.approx(second["train_loss"], rel=1e-6)


@pytest.mark.slow
def test_two_processes_that_read_a_part_of_each_row_compute_what_one_computes(tmp_path):
    finish(launch_two("parts", tmp_path))
    with every_gradient() as one:
        # Two processes see 4 rows at a time, not 8: so many as one process.
        whole = read_text(tmp_path / "one", replace(READER, accumulation=2))
    two, parts = load_file(tmp_path / "gradients.safetensors"), RunRecord.read(tmp_path / "parts")
    assert parts.sequence_parallel and parts.processes == 2 and parts.steps == whole.steps == 2 * 2
    assert set(one) == set(two) and len({name.split("/")[0] for name in one}) == 4
    largest = max(grad.abs().max().item() for grad in one.values())
    for name in one:  # transformers makes the loss in float32
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-6 * largest)
    for first, second in zip(curve(tmp_path / "one"), curve(tmp_path / "parts"), strict=True):
        assert first["train_loss"] == pytest.approx(second["train_loss"], rel=1e-6)
        assert first["validation_bits_per_character"] == pytest.approx(second["validation_bits_per_character"], 1e-6)
    assert len(list(tmp_path.glob("again-*"))) == 2 * 3
    # What two processes began one goes on with, by rows.
    with every_gradient():
        half = tmp_path / "parts" / "checkpoints" / "step-00000002"
        read_text(tmp_path / "alone", replace(READER, accumulation=2), resume=half)
    for first, second in zip(curve(tmp_path / "one"), curve(tmp_path / "alone"), strict=True):
        assert first["train_loss"] == pytest.approx(second["train_loss"], rel=1e-6)


def test_one_process_alone_has_nobody_to_share_a_row_with(tmp_path):
    with pytest.raises(ValueError, match=r"needs several processes.*accelerate launch --num_processes 2"):
        read_text(tmp_path / "run", sequence_parallel=True)
    assert not (tmp_path / "run").exists()


def test_compiled_steps_exchange_no_parts(tmp_path):
    with pytest.raises(ValueError, match="one of --torch_compile and --sequence_parallel"):
        read_text(tmp_path / "run", sequence_parallel=True, torch_compile=True)


def test_rows_that_cannot_be_cut_are_refused():
    letters = TextTask("letters", {split: ["some letters"] for split in ("train", "validation")}, tokenizer="char")
    for task, made, message in (
        (noise(), RECIPE, "cuts rows of running text, not those of noise"),
        (letters, READER.baseline("lstm"), "an LSTM's is not"),
    ):
        with pytest.raises(ValueError, match=message):
            make_sharing(True, 2, 0, task, task.make_model(made.architecture))


@pytest.mark.slow
def test_one_process_killed_ends_all_and_the_run_goes_on(tmp_path):
    process = launch_two("train", tmp_path, 2000)
    wait_for_steps(tmp_path, 8)
    ranks = psutil.Process(process.pid).children(recursive=True)
    victim = next(rank for rank in ranks if rank.environ().get("RANK") == "1")
    victim.send_signal(signal.SIGKILL)
    began = time.monotonic()
    process.communicate(timeout=300)
    assert process.returncode != 0 and time.monotonic() - began < 60
    _, alive = psutil.wait_procs(ranks, timeout=10)
    assert not alive
    path = newest(tmp_path / "checkpoints")
    verify(path)
    came_to = int(path.name.removeprefix("step-"))
    logged = len(curve(tmp_path))
    assert came_to >= logged - 3
    process = launch_two("train", tmp_path, 2000)
    wait_for_steps(tmp_path, logged + 3)  # it goes on
    steps = [row["step"] for row in curve(tmp_path)]  # read once: the run writes on
    assert steps == list(range(1, len(steps) + 1))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert int(newest(tmp_path / "checkpoints").name.removeprefix("step-")) == len(curve(tmp_path)) > came_to


@pytest.mark.slow
def test_a_weight_that_is_not_finite_in_one_process_ends_all(tmp_path):
    process = launch_two("diverge", tmp_path)
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    for rank in ("the weight ", "the weight (in another process) "):
        assert f"training has diverged: after step 2 {rank}" in errors, errors[-4000:]
    assert newest(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "step-00000001"
    assert not (tmp_path / "run.json").exists()


@pytest.mark.slow
def test_a_folder_that_another_run_holds_is_refused_by_all_processes(tmp_path):
    with owned(tmp_path):
        process = launch_two("train", tmp_path, 1)
        _, errors = process.communicate(timeout=300)
    assert process.returncode != 0 and errors.count(f"{tmp_path} is in use by process {os.getpid()} on") >= 2
    assert not (tmp_path / "checkpoints").exists()


def rows_by_step(folder: Path, rank: int) -> dict[int, list[int]]:
    """What a process read at each step; of a step that was taken again, the last time."""
    return dict(map(json.loads, folder.with_name(f"{folder.name}-rows-{rank}").read_text().splitlines()))


@pytest.mark.slow
def test_a_corpus_is_read_once_an_epoch_by_two_processes_of_which_one_is_killed(tmp_path):
    (texts := tmp_path / "texts").mkdir()
    draw = random.Random(0)
    for name in ("a.txt", "b.txt", "c.txt"):
        (texts / name).write_text("".join(draw.choices("abcd \n", k=250)))
    process = launch_two("corpus", tmp_path / "two", texts, 6)
    process.communicate(timeout=300)
    assert process.returncode != 0 and newest(tmp_path / "two" / "checkpoints").name == "step-00000004"
    finish(launch_two("corpus", tmp_path / "two", texts))
    read_folder(tmp_path / "one", texts, batch_size=4)
    one, first, second = rows_by_step(tmp_path / "one", 0), *(rows_by_step(tmp_path / "two", rank) for rank in (0, 1))
    assert sorted(one) == sorted(first) == sorted(second) == list(range(RunRecord.read(tmp_path / "two").steps))
    for step, rows in one.items():
        assert first[step] == rows[::2] and second[step] == rows[1::2]
    epoch = len(one) // 2
    for begin in (0, epoch):
        read = [row for step in range(begin, begin + epoch) for row in one[step]]
        assert sorted(read) == list(range(42))  # of 16 characters, in nine tenths of the text


MAIN = "127.0.0.2"  # gloo itself talks on 127.0.0.1


@pytest.mark.slow
def test_two_machines_train_what_one_trains(tmp_path):
    finish(launch_two("train", tmp_path / "one", 1))
    # Two launchers that know of each other by an address and a port alone, as on two machines.
    with socket.socket() as probe:
        probe.bind((MAIN, 0))
        port = probe.getsockname()[1]
    launchers = [
        launch_two(
            *("train", tmp_path / "two", 1),
            launcher=(
                *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "2", "--num_processes", "2"),
                *("--machine_rank", str(rank), "--main_process_ip", MAIN, "--main_process_port", str(port)),
                *("--mixed_precision", "no", "--dynamo_backend", "no"),
            ),
        )
        for rank in (0, 1)
    ]
    said = [finish(launcher) for launcher in launchers]
    assert "rank 0 is done" in said[0] and "rank 1 is done" in said[1]
    assert RunRecord.read(tmp_path / "two").processes == 2
    assert_same_run(tmp_path / "one", tmp_path / "two")


def fsdp(processes: int) -> tuple[str, ...]:
    """What launches processes that shard a model."""
    return (
        *("-m", "accelerate.commands.launch", "--use_fsdp", "--fsdp_version", "2", "--num_processes", str(processes)),
        *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
        *("--fsdp_cpu_ram_efficient_loading", "false", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"),
        *("--fsdp_transformer_layer_cls_to_wrap", "LMUResidualBlock"),
    )


FSDP = fsdp(2)


@pytest.mark.slow
def test_a_run_sharded_on_two_processes_is_reloaded_in_one(tmp_path):
    process = launch_two("train", tmp_path / "two", 2, launcher=FSDP)
    finish(process)
    record = RunRecord.read(tmp_path / "two")
    assert record.processes == 2
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(tmp_path / "two" / "model")
    assert model.num_parameters() == record.parameters["total"]
    run(tmp_path / "one", replace(RECIPE, batch_size=8))
    # Without dropout they would be equal; with it, they learn from the same rows.
    assert len(curve(tmp_path / "one")) == len(curve(tmp_path / "two")) == record.steps


def saved_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint but those of single processes, whole, by its group and name."""
    saved = load_run(path)
    groups = saved.tensors
    if "shards" in saved.state:
        groups |= read_shards(path, saved.state["shards"], {})
    return {f"{group}/{name}": x for group, part in groups.items() for name, x in part.items() if group != "processes"}


@pytest.mark.slow
def test_a_run_sharded_on_four_processes_goes_on_on_two_and_on_one(tmp_path, caplog):
    four, two, one = (tmp_path / name / "checkpoints" for name in ("four", "two", "one"))
    run_eight(one.parent, 1)
    finish(launch_two("eight", four.parent, launcher=fsdp(4)))
    finish(launch_two("eight", two.parent, four / "step-00000002", launcher=fsdp(2)))
    run_eight(tmp_path / "again", 1, resume=two / "step-00000004")
    again = tmp_path / "again" / "checkpoints"
    for step, folders in (("step-00000002", [four]), ("step-00000006", [four, two, again])):
        expected = saved_tensors(one / step)
        assert {key.split("/")[0] for key in expected} >= {"model", "average", "optimizer"}
        for folder in folders:
            found = saved_tensors(folder / step)
            assert set(found) == set(expected)
            for name in expected:  # sums in another order
                torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-12)
            state = [load_run(path / step).state["schedule"] for path in (folder, one)]
            assert state[0] == state[1]
    for folder in (four, two, again):
        for first, second in zip(curve(one.parent), curve(folder.parent), strict=True):
            assert first["train_loss"] == pytest.approx(second["train_loss"], rel=1e-6)
    files = sorted(path.name for path in (four / "step-00000004").iterdir())
    shards = [f"shard-0000{rank}-model-00001-of-00001.safetensors" for rank in range(1, 5)]
    assert files == sorted(["manifest.json", "processes.safetensors", "state.json", *shards])
    # Each process wrote about a fourth; a weight of 3 rows leaves the last process nothing.
    sizes = [(four / "step-00000004" / name).stat().st_size for name in shards]
    assert max(sizes) < 0.5 * sum(sizes)
    shard = four / "step-00000006" / shards[2]
    shard.write_bytes(shard.read_bytes()[:-1] + b"\1")
    assert newest(four) == four / "step-00000005" and f"{shard} is not what was written" in caplog.text
    (four / "step-00000005" / shards[0].replace("1-model", "9-model")).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"shard-00009.* is not of the checkpoint that it lies in: delete it"):
        load(four / "step-00000005")


def test_a_model_that_accelerate_would_not_shard_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match="--use_fsdp has no effect here"):
        run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --------------------------------------------------------------------------- fewer than were asked for


@pytest.mark.parametrize(
    "command, asked",
    [
        ("python accelerate launch --cpu --num_processes 2 train.py", 2),
        ("/usr/bin/python /usr/bin/accelerate launch --num_processes=3 train.py --num_processes 9", 3),
        ("python -m accelerate.commands.launch --num-processes 4 train.py", 4),
        ("python /bin/torchrun --nproc_per_node 2 train.py", 2),
        ("python accelerate launch train.py --num_processes 2", None),
        ("python train.py --num_processes 2", None),
        ("bash -c accelerate", None),
        ("", None),
    ],
)
def test_the_launchers_command_says_how_many_processes(command, asked):
    assert asked_processes(command.split()) == asked


def test_fewer_processes_than_were_asked_for_are_refused(monkeypatch):
    class Parent:
        def cmdline(self):
            return ["python", "accelerate", "launch", "--cpu", "--num_processes", "2", "train.py"]

    class Here:
        def parents(self):
            return [Parent()]

    monkeypatch.setattr(launch.psutil, "Process", Here)
    with pytest.raises(SystemExit, match=r"2 processes were asked for and 1 runs(.|\n)*--multi_gpu --num_processes 2"):
        check_processes()


@pytest.mark.slow
def test_accelerates_silent_single_process_is_refused_by_the_scripts(tmp_path):
    words = ("--recipe", "digits", "--num_train_epochs", "1", "--output_dir", str(tmp_path))
    script = HERE.parent / "scripts" / "train_psmnist.py"
    for launcher, succeeds in (
        (("--cpu", "--num_processes", "2"), False),
        (("--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"), True),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "accelerate.commands.launch", *launcher, str(script), *words],
            **{"env": ENVIRONMENT, "capture_output": True, "text": True, "timeout": 300, "check": False},
        )
        assert (done.returncode == 0) == succeeds, done.stderr[-3000:]
        if not succeeds:
            assert "2 processes were asked for and 1 runs" in done.stderr
            assert not any(tmp_path.iterdir())
    assert RunRecord.read(tmp_path).processes == 2
