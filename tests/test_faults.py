"""A verb that is killed, or whose disk is full, read-only or broken, leaves what was there or is new, and runs again.

Training has more tests: two hundred kills in test_resume, a full disk in test_checkpoint, two owners of a run folder in
test_runs; a Hub that fails has test_hub, and two processes that write the same files have test_staging.
"""

import json
import os
import shutil
import signal
import zipfile
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NamedTuple

import pytest
from PIL import Image

from faulty_verbs import FAULTS, SAYS, Call, run_verb
from loopback import LoopbackHub
from tiny_runs import TEXTS, make_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked: they need not import everything anew"),
]
EARLIER = b"earlier"  # what stands in every file of an earlier call
ROWS = ["--train_file", "rows.csv", "--test_file", "more.csv", "--text_column", "review", "--label_column", "verdict"]
STEPS = ["--max_train_steps", "4", "--eval_steps", "2", "--checkpointing_steps", "2", "--quiet", "--report_to", "none"]


class Verb(NamedTuple):
    """A verb under test.

    Args:
        script: that calls it.
        words: of its command line.
        written: the files and folders below ``out/`` that it writes.
        places: how many of its writes meet each fault, from the first to the last.
    """

    script: str
    words: list[str]
    written: list[str]
    places: dict[str, int]


VERBS = {
    "label": Verb(
        "label",
        ["trained", "--train_file", "texts.csv", "--output_file", "out/labels.csv"],
        ["labels.csv", "labels.json"],
        {"kill": 5, "full": 3, "read-only": 2, "error": 2},
    ),
    "evaluate": Verb(
        "evaluate",
        ["trained", "--output", "out/scores.json"],
        ["scores.json"],
        {"kill": 3, "full": 2, "read-only": 2, "error": 2},
    ),
    "export": Verb(
        "export_onnx",
        ["writer", "out", "--format", "pt2"],
        ["prompt.pt2", "step.pt2", "export.json"],
        {"kill": 5, "full": 3, "read-only": 2, "error": 2},
    ),
    "push": Verb(
        "push_to_hub",
        ["out/run", "--push", "--repo_id", "org/faults"],
        ["run/hub"],
        {"kill": 8, "full": 4, "read-only": 2, "error": 2},
    ),
    "train": Verb(
        "train_glue",
        [*ROWS, "--from_scratch", *STEPS, "--output_dir", "out/run", "--resume_from_checkpoint", "auto"],
        ["run/model", "run/run.json", "run/metrics.jsonl", "run/data.json", "run/figures"],
        {"kill": 5, "full": 4, "read-only": 2, "error": 2},
    ),
}


@pytest.fixture(scope="module")
def hub():
    with LoopbackHub() as running:
        yield running


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A finished run on somebody's own files, with those files beside it."""
    folder = tmp_path_factory.mktemp("trained")
    for name, begin, count in (("rows.csv", 0, 60), ("more.csv", 100, 20)):
        lines = (f"film {begin + n} was {('bad', 'good')[n % 2]},{('no', 'yes')[n % 2]}\n" for n in range(count))
        (folder / name).write_text("review,verdict\n" + "".join(lines), encoding="utf-8")
    (folder / "texts.csv").write_text("review\n" + "".join(f'"{text}"\n' for text in TEXTS), encoding="utf-8")
    (folder / "out").mkdir()
    ended = run_verb(Call(VERBS["train"].script, VERBS["train"].words, folder))
    assert ended.said == 0, ended.said
    (folder / "out" / "run").rename(folder / "trained")
    make_run(folder / "writer", "text-generation")
    return folder


@pytest.fixture
def call(trained, hub, tmp_path, request) -> Call:
    """The verb's call, in a folder that holds what it reads."""
    name = request.getfixturevalue("name")
    folder = tmp_path / "here"
    shutil.copytree(trained, folder)
    if name == "push":
        shutil.copytree(folder / "trained", folder / "out" / "run")
    return Call(VERBS[name].script, VERBS[name].words, folder, (hub.url, hub.token))


def files_of(call: Call, name: str) -> dict[str, Path]:
    """The files that a verb has written, by their place."""
    found = {}
    for path in (call.folder / "out" / place for place in VERBS[name].written):
        inner = path.rglob("*") if path.is_dir() else [path]
        found |= {file.relative_to(call.folder).as_posix(): file for file in inner if file.is_file()}
    return found


def content(path: Path) -> Any:
    """What a file holds, of which two calls give the same; one that is cut off raises."""
    if path.read_bytes() == EARLIER:
        return EARLIER
    if path.suffix in (".json", ".jsonl"):
        text = path.read_text(encoding="utf-8")
        made = [json.loads(line) for line in (text.splitlines() if path.suffix == ".jsonl" else [text])]
        return [sorted(row) if isinstance(row, dict) else len(row) for row in made]
    if path.suffix == ".pt2":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            return sorted(archive.namelist())
    if path.suffix == ".png":
        with Image.open(path) as picture:
            picture.load()
            return picture.size
    return path.read_bytes()


def held(call: Call, name: str) -> dict[str, Any]:
    return {place: content(path) for place, path in files_of(call, name).items()}


def is_whole(place: str, kept: Any, expected: Any) -> bool:
    """Whether a file is the earlier one or the new one; a log grows by lines: it may be the new one's begin."""
    begins = place.endswith(".jsonl") and kept != EARLIER and kept == expected[: len(kept)]
    return begins or kept in (EARLIER, expected)


def left_over(folder: Path) -> list[Path]:
    return [
        path for path in folder.rglob("*") if path.name.endswith((".partial", ".earlier")) or ".staging" in path.name
    ]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", VERBS)
def test_what_was_there_or_what_is_new_is_whole_and_the_verb_runs_again(name, fault, call, hub):
    ended = run_verb(call)
    assert ended.said == 0, ended.said
    expected, writes = held(call, name), ended.writes
    assert expected and writes and not left_over(call.folder)
    if fault != "kill":
        writes = run_verb(call, fault, 10**6).writes  # connections do not count there
    count, failed = VERBS[name].places[fault], 0
    for last in sorted({1 + (writes - 1) * place // max(1, count - 1) for place in range(count)}):
        if name == "train":
            shutil.rmtree(call.folder / "out" / "run")
        else:
            for path in files_of(call, name).values():
                path.write_bytes(EARLIER)
        ended = run_verb(call, fault, last)
        there = held(call, name)
        torn = [place for place, kept in there.items() if not is_whole(place, kept, expected[place])]
        assert not torn, (last, ended.said)
        if fault == "kill":
            assert ended.status == -signal.SIGKILL
        elif ended.said != 0:
            failed += 1
            assert isinstance(ended.said, str) and "\n" not in ended.said and SAYS[fault] in ended.said, ended.said
            assert any(place in ended.said for place in ("out", gettempdir())), ended.said  # it says where
            assert ".partial" not in ended.said and ".staging" not in ended.said, ended.said
        if fault == "full" and name != "train":
            assert ended.said != 0 or there == expected
            assert there == expected or set(map(str, there.values())) == {str(EARLIER)}, (last, ended.said)
        if name == "push":
            check_the_hub(call, hub)
        again = run_verb(call)
        assert again.said == 0, again.said
        assert held(call, name) == expected and not left_over(call.folder)
        if name == "push":
            assert hub.repository("org/faults")["refs"]["main"]["files"].keys() >= {"model.safetensors", "README.md"}
    assert fault == "kill" or failed


def check_the_hub(call: Call, hub: LoopbackHub) -> None:
    """The repository holds one commit, of a whole folder: no other was made by a push of the same run."""
    assert hub.repository("org/faults")["commits"] <= 2
