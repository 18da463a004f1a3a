"""A verb that is killed leaves whole files and runs again.

Training has its own tests: two hundred kills in test_resume, a full disk in test_checkpoint, two owners in test_runs.
"""

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
}
KILLS = {"label": 6}  # places that a verb is killed at, from first to last


def is_write(event: str, args: tuple) -> bool:
    """Whether an event of the interpreter changes the disk."""
    if event == "open":
        return isinstance(args[2], int) and bool(args[2] & WRITING)
    return event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def child(script: str, words: list[str], folder: Path, last: int, streams: Path) -> None:
    """Run a verb; at its write number ``last`` the process is killed."""
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(streams / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.chdir(folder)
    writes = 0

    def hook(event: str, args: tuple) -> None:
        nonlocal writes
        if not is_write(event, args) or isinstance(args[0], int):
            return
        path = folder / os.fsdecode(args[0])
        if not path.is_relative_to(folder / "out"):
            return
        writes += 1
        if writes == last:
            os.kill(os.getpid(), signal.SIGKILL)

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

    def call(name: str, folder: Path, last: int = 0) -> tuple[int, str, int]:
        script, words, _ = VERBS[name]
        (streams / "writes").write_text("0")
        words = [word.format(run=folder / "run") for word in words]
        process = _server().Process(target=child, args=(script, words, folder, last, streams))
        process.start()
        process.join()
        return process.exitcode, (streams / "err").read_text(), int((streams / "writes").read_text())

    return call


@pytest.fixture
def folder(tmp_path) -> Path:
    make_run(tmp_path / "run", "text-classification")
    (tmp_path / "texts.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in TEXTS), encoding="utf-8")
    (tmp_path / "out").mkdir()
    return tmp_path


def content(path: Path) -> object:
    """What a file holds, of which two runs give the same; a file that is cut off raises."""
    if path.suffix == ".json":
        made = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(made, dict)
        return sorted(made)
    return path.read_bytes()


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("out/*") if ".partial" in path.name]


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
