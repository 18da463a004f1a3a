"""What is written is there whole or not at all, and a disk that does not take it is told of by the file's name."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from lmu_hf.common.lock import RunFolderError, owned
from lmu_hf.common.staging import (
    BeingWrittenError,
    append_text,
    folder_written_whole,
    unfinished,
    write_text,
    written_together,
    written_whole,
)


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def other():
    """Another process, which runs."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process.pid
    process.kill()
    process.wait()


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def limit():
    """Sets how many bytes a file may hold, which is how a full disk looks to whoever writes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


FULL = {
    "of a write": OSError(errno.ENOSPC, "No space left on device"),
    "of safetensors": SafetensorError("Error while serializing: No space left on device (os error 28)"),
}


@pytest.mark.parametrize("error", FULL.values(), ids=FULL)
def test_a_full_disk_names_the_file_and_leaves_the_earlier_one(tmp_path, error):
    path = tmp_path / "labels.csv"
    path.write_text("before")
    with pytest.raises(OSError) as raised, written_whole(path) as staged:
        staged.write_text("half")
        raise error
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    assert content(tmp_path) == {"labels.csv": "before"}


def test_a_reason_behind_another_exception_is_found(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: .*table\.csv"), written_whole(tmp_path / "table.csv"):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise ValueError("the writer failed") from error


@pytest.mark.parametrize(
    "error", [ValueError("os error 2"), OSError(errno.ENOENT, "none", "elsewhere.txt"), KeyError(1)]
)
def test_what_is_no_fault_of_the_disk_stays_what_it_is(tmp_path, error):
    with pytest.raises(type(error)) as raised, written_whole(tmp_path / "a"):
        raise error
    assert raised.value is error


def test_a_file_that_may_not_be_as_large_is_named_and_the_earlier_one_stays(tmp_path, limit):
    path = tmp_path / "long.txt"
    write_text(path, "before")
    limit(1000)
    with pytest.raises(OSError) as raised:
        write_text(path, "x" * 100_000)
    assert raised.value.filename == str(path) and content(tmp_path) == {"long.txt": "before"}


def test_text_is_added_whole_or_not_at_all(tmp_path, limit):
    path = tmp_path / "log.jsonl"
    append_text(path, "first\n")
    limit(10)
    with pytest.raises(OSError) as raised:
        append_text(path, "second\n")
    assert raised.value.filename == str(path) and path.read_text() == "first\n"
    limit(100)
    append_text(path, "second\n")
    assert path.read_text() == "first\nsecond\n"


def test_a_folder_that_is_read_only_is_named(tmp_path):
    (tmp_path / "file").touch()  # nothing can be made below a file, by root neither
    with pytest.raises(NotADirectoryError) as raised:
        write_text(tmp_path / "file" / "a.txt", "a")
    assert raised.value.filename == str(tmp_path / "file" / "a.txt")


def test_two_processes_never_write_into_one_file(tmp_path, other):
    path, theirs = tmp_path / "a.txt", tmp_path / f"a.txt.{other}.partial"
    theirs.write_text("theirs, half")
    (left := tmp_path / f"a.txt.{gone()}.partial").touch()
    (foreign := tmp_path / "a.txt.1x.partial").touch()
    write_text(path, "ours")
    assert theirs.read_text() == "theirs, half" and foreign.exists() and not left.exists()
    theirs.replace(path)
    assert path.read_text() == "theirs, half"


def test_what_was_to_become_a_file_is_known_by_its_name():
    names = {"run.json.12.partial": "run.json", "model.partial": "model", "hub.earlier": "hub", "run.json": None}
    assert {name: unfinished(name) for name in names} == names


def test_a_folder_takes_the_place_of_another_once_it_is_whole(tmp_path):
    path = tmp_path / "model"
    for text in ("first", "second"):
        with folder_written_whole(path) as staged:
            staged.mkdir()
            (staged / "a").write_text(text)
        assert content(tmp_path) == {"model/a": text}
    with pytest.raises(OSError) as raised, folder_written_whole(path) as staged:
        staged.mkdir()
        (staged / "b").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(path) and content(tmp_path) == {"model/a": "second"}


@pytest.mark.parametrize("target", ["partial", "earlier"])
def test_a_folder_whose_rename_fails_puts_the_earlier_one_back(tmp_path, monkeypatch, target):
    path = tmp_path / "model"
    path.mkdir()
    (path / "a").write_text("before")
    rename = Path.rename

    def failing(source, place):
        # The step aside, or the step into the place.
        if (source.name if target == "partial" else place.name) == f"model.{target}":
            raise OSError(errno.EIO, "Input/output error", str(source))
        return rename(source, place)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output error"), folder_written_whole(path) as staged:
        staged.mkdir()
    assert content(tmp_path) == {"model/a": "before"}


def test_an_earlier_folder_that_a_killed_process_had_set_aside_is_put_back(tmp_path):
    path = tmp_path / "model"
    path.with_name("model.earlier").mkdir()
    (path.with_name("model.earlier") / "a").write_text("before")
    with pytest.raises(ValueError, match="no model"), folder_written_whole(path):
        raise ValueError("no model")
    assert content(tmp_path) == {"model/a": "before"}


def test_files_move_together_and_the_last_one_says_that_all_are_there(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for text in ("first", "second"):
        with written_together(tmp_path, "record") as staged:
            for name in ("record", "z", "inner/a"):
                (staged / name).parent.mkdir(exist_ok=True)
                (staged / name).write_text(text)
        assert content(tmp_path) == {"mine.txt": "mine", "record": text, "z": text, "inner/a": text}
    before = content(tmp_path)
    with pytest.raises(OSError) as raised, written_together(tmp_path, "record") as staged:
        (staged / "z").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(tmp_path) and content(tmp_path) == before
    (tmp_path / "y").mkdir()
    with pytest.raises(IsADirectoryError), written_together(tmp_path, "record") as staged:
        for name in ("a", "record", "y"):
            (staged / name).write_text("third")
    assert content(tmp_path) == before


@pytest.mark.parametrize("moves", range(3))
def test_a_folder_that_is_whole_says_so_after_a_kill_at_any_move(tmp_path, monkeypatch, moves):
    class Gone(BaseException):
        pass

    def write(text: str) -> None:
        with written_together(tmp_path, "record") as staged:
            for name in ("a", "b", "record"):
                (staged / name).write_text(text)

    write("first")
    replace, done = Path.replace, []

    def counted(source, place):
        if len(done) == moves:
            raise Gone
        done.append(source)
        return replace(source, place)

    with monkeypatch.context() as patched, pytest.raises(Gone):
        patched.setattr(Path, "replace", counted)
        write("second")
    assert "record" not in content(tmp_path)
    write("third")
    assert set(content(tmp_path).values()) == {"third"} and len(list(tmp_path.iterdir())) == 3


def test_a_folder_is_written_together_by_one_process_at_a_time(tmp_path, other):
    (theirs := tmp_path / f".staging.{other}").mkdir()
    (left := tmp_path / f".staging.{gone()}").mkdir()
    message = rf"is being written to by process {other}: wait"
    with pytest.raises(BeingWrittenError, match=message), written_together(tmp_path, "record") as staged:
        (staged / "record").touch()
    assert [path.name for path in tmp_path.iterdir() if path != left] == [theirs.name]
    theirs.rmdir()
    with written_together(tmp_path, "record") as staged:
        (staged / "record").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


def test_a_number_that_was_given_again_holds_no_folder(tmp_path, other):
    (left := tmp_path / f".staging.{other}").mkdir()
    os.utime(left, (1, 1))  # long before that process began
    with written_together(tmp_path, "record") as staged:
        (staged / "record").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


def test_a_folder_on_a_full_disk_has_no_owner_and_can_be_held_later(tmp_path, limit):
    limit(0)
    with pytest.raises(RunFolderError, match=r"run cannot be written to .*File too large"), owned(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / ".owner").exists()
    limit(1000)
    with owned(tmp_path / "run"):
        assert (tmp_path / "run" / ".owner").exists()
