"""A verb that is killed, or whose disk is full or read-only, leaves whole files, names the fault and runs again.

Training has its own tests: two hundred kills in test_resume, a full disk in test_checkpoint, two owners in test_runs.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from script_runs import _server, call_verb
from tiny_runs import TEXTS, make_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked: they need not import everything anew"),
]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What a verb writes below its folder; {run} is a run of a text classifier.
VERBS: dict[str, tuple[str, list[str], list[str]]] = {
    "label": (
        "label",
        ["{run}", "--train_file", "texts.csv", "--output_file", "out/labels.csv"],
        ["out/labels.csv", "out/labels.json"],
    ),
    "evaluate": (
        "evaluate",
        ["{run}/model", "--test_file", "scored.csv", "--output", "out/scores.json"],
        ["out/scores.json"],
    ),
    "export": ("export_onnx", ["{run}/model", "out"], ["out/model.onnx", "out/export.json"]),
    "push": ("push_to_hub", ["{run}"], ["run/hub/README.md", "run/hub/model.safetensors", "run/hub/config.json"]),
}
KILLS = {"label": 6, "evaluate": 3, "export": 4, "push": 8}  # places that a verb is killed at, from first to last
FAULTS = {"read-only": errno.EROFS, "full": errno.ENOSPC}


def is_write(event: str, args: tuple) -> bool:
    """Whether an event of the interpreter changes the disk."""
    if event == "open":
        return isinstance(args[2], int) and bool(args[2] & WRITING)
    return event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def child(script: str, words: list[str], folder: Path, last: int, number: int, streams: Path) -> None:
    """Run a verb; at its write number ``last`` the process is killed, or from there on every write fails."""
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(streams / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.chdir(folder)
    watched, writes = [folder / place for place in ("out", "run/hub", "run/hub.partial")], 0

    def hook(event: str, args: tuple) -> None:
        nonlocal writes
        if not is_write(event, args) or isinstance(args[0], int):
            return
        path = folder / os.fsdecode(args[0])
        if not any(path.is_relative_to(place) for place in watched):
            return
        writes += 1
        if writes >= last > 0 and number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        # What was there may be removed from a disk that is full.
        if writes >= last > 0 and (number == errno.EROFS or event in {"open", "os.mkdir"}):
            raise OSError(number, os.strerror(number), os.fsdecode(args[0]))

    sys.addaudithook(hook)
    try:
        call_verb(script, *words)
    except SystemExit as ended:
        print(ended.code, file=sys.stderr)
        raise
    finally:
        (streams / "writes").write_text(str(writes))


@pytest.fixture(scope="module")
def run_in_a_child(tmp_path_factory) -> Callable[..., tuple[int, str, int]]:
    """Call a verb in a process of its own: its exit status, what it said of errors, and how often it wrote."""
    streams = tmp_path_factory.mktemp("streams")

    def call(name: str, folder: Path, last: int = 0, number: int = 0) -> tuple[int, str, int]:
        script, words, _ = VERBS[name]
        (streams / "writes").write_text("0")
        words = [word.format(run=folder / "run") for word in words]
        process = _server().Process(target=child, args=(script, words, folder, last, number, streams))
        process.start()
        process.join()
        return process.exitcode, (streams / "err").read_text(), int((streams / "writes").read_text())

    return call


@pytest.fixture
def folder(tmp_path) -> Path:
    make_run(tmp_path / "run", "text-classification")
    (tmp_path / "texts.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in TEXTS), encoding="utf-8")
    rows = "".join(f'"{text}",{("negative", "positive")[place % 2]}\n' for place, text in enumerate(TEXTS))
    (tmp_path / "scored.csv").write_text("text,label\n" + rows, encoding="utf-8")
    (tmp_path / "out").mkdir()
    return tmp_path


def content(path: Path) -> object:
    """What a file holds, of which two runs give the same; a file that is cut off raises."""
    if path.suffix == ".onnx":
        import onnx

        return sorted(node.name for node in onnx.load(path).graph.output)
    if path.suffix == ".json":
        made = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(made, dict)
        return sorted(made)
    return path.read_bytes()


def left_over(folder: Path) -> list[str]:
    names = [path.name for path in (*folder.glob("out/**/*"), *folder.glob("run/*"))]
    return [name for name in names if ".partial" in name or ".staging" in name]


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_that_is_killed_at_any_write_leaves_whole_files_and_runs_again(name, folder, run_in_a_child):
    status, errors, writes = run_in_a_child(name, folder)
    assert status == 0, errors[-2000:]
    files = [folder / path for path in VERBS[name][2]]
    expected = [content(path) for path in files]
    assert writes > 0 and not left_over(folder)
    places = sorted({1 + (writes - 1) * place // max(1, KILLS[name] - 1) for place in range(KILLS[name])})
    for last in places:
        for path in files:  # begun anew, and beside what an earlier run has left, in turn
            if last % 2 and path.exists():
                path.unlink()
        assert run_in_a_child(name, folder, last)[0] == -signal.SIGKILL
        assert all(content(path) == held for path, held in zip(files, expected, strict=True) if path.exists())
        status, errors, _ = run_in_a_child(name, folder)
        assert status == 0, errors[-2000:]
        assert [content(path) for path in files] == expected
        assert not left_over(folder)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", VERBS)
def test_a_disk_that_takes_nothing_is_named_in_one_line(name, fault, folder, run_in_a_child):
    status, errors, _ = run_in_a_child(name, folder, 1, FAULTS[fault])
    assert status == 1
    said = [line for line in errors.splitlines() if "error: " in line]
    assert len(said) == 1 and os.strerror(FAULTS[fault]) in said[0], errors[-2000:]
    assert "Traceback" not in errors
    assert not any((folder / path).exists() for path in VERBS[name][2])
