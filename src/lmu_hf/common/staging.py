"""Files and folders that are there whole or not at all, and failures to write them that name them.

What is not whole yet lies beside its place, on the same file system: only there is a rename atomic. A file is
``NAME.PID.partial``, so that two processes never write into one, and what a killed process has left is known by its
number. A folder is ``NAME.partial``: whoever writes one holds what it lies in (:func:`lmu_hf.common.lock.owned`).
"""

import errno
import glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = re.compile(r"(?P<name>.+?)(\.\d+)?\.partial|(?P<folder>.+)\.earlier")
HALF = re.compile(r".+\.\d+\.partial")  # a file, which nobody can use
STAGING = ".staging"
CLOCK_SECONDS = 2.0  # by which the clocks of processes and of files may differ
# What a disk says of itself: that it is full, holds no file as large, fails, or may only be read.
FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
OF_RUST = re.compile(r"os error (\d+)")  # how safetensors and tokenizers say it, in an exception of another class


class BeingWrittenError(ValueError):
    """Another process writes to the same folder; the message names both."""


def unfinished(name: str) -> str | None:
    """The file or folder that something of this name would have become; None if it is none of this module's."""
    found = UNFINISHED.fullmatch(name)
    return None if found is None else found["name"] or found["folder"]


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Where to write what shall become the file ``path`` once all of it is there, in place of an earlier one.

    If writing fails, the earlier file stays as it was and what was written so far is removed. A link goes on pointing
    where it did. What is there and is no file, ``/dev/stdout`` say, is written to as it comes. Of two processes that
    write the same file, the one that ends last has it.

    Raises:
        OSError: the disk took not all of it; the error names ``path``.
    """
    path = path.resolve()  # or the link would be replaced by a file
    if path.exists() and not path.is_file():
        with named_in_errors(path, path):
            yield path
        return
    staged = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with named_in_errors(path, staged):
        try:
            for left in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
                number = left.name.removeprefix(f"{path.name}.").removesuffix(".partial")
                if number.isdigit() and _writer_is_gone(int(number), left):
                    left.unlink(missing_ok=True)
            yield staged
            staged.replace(path)
        finally:
            if staged.exists():  # asked first: on a disk that may only be read, deleting nothing fails as well
                staged.unlink()


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Where to make the folder that shall become ``path``, in place of an earlier one, once all of it is there.

    No rename replaces a folder with files in it, so the earlier one steps aside for a moment, as ``NAME.earlier``. If
    the process is killed in that moment, the next call puts it back.

    Raises:
        OSError: the disk took not all of it; the error names ``path``.
    """
    staged, earlier = path.with_name(f"{path.name}.partial"), path.with_name(f"{path.name}.earlier")
    with named_in_errors(path, staged, earlier):
        if _is_there(earlier) and not _is_there(path):
            earlier.rename(path)
        for left in (staged, earlier):
            delete(left)
        try:
            yield staged
            if _is_there(path):
                path.rename(earlier)
            try:
                staged.rename(path)
            except OSError:
                if _is_there(earlier):
                    earlier.rename(path)
                raise
            delete(earlier)
        finally:
            delete(staged)


@contextmanager
def written_together(folder: Path, last: str) -> Iterator[Path]:
    """Where to write files that move into ``folder`` once all of them are there; other files of it stay as they are.

    The file ``last`` says that the others belong together. An earlier one goes before the first file moves, and the new
    one comes behind them all: a folder that has one is whole, whenever a process is killed. If writing fails, the
    folder is as it was.

    Raises:
        BeingWrittenError: another process writes to the folder in this way.
        OSError: the disk took not all of it; the error names ``folder``.
    """
    staged = folder / f"{STAGING}.{os.getpid()}"
    with named_in_errors(folder, folder):
        folder.mkdir(parents=True, exist_ok=True)
        delete(staged)
        staged.mkdir()
        try:
            # Looked for when this one is there: of two that begin at once each sees the other, and neither goes on.
            for other in folder.glob(f"{STAGING}.*"):
                number = int(other.name.removeprefix(f"{STAGING}."))
                if other != staged and not _writer_is_gone(number, other):
                    message = f"{folder} is being written to by process {number}: wait until it has ended"
                    raise BeingWrittenError(message)
                if other != staged:
                    delete(other)
            yield staged
            _move(staged, folder, last)
        finally:
            delete(staged)


def _move(staged: Path, folder: Path, last: str) -> None:
    files = sorted(path.relative_to(staged) for path in staged.rglob("*") if path.is_file())
    for file in files:  # all that can fail, before the first one moves
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        if (folder / file).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / file))
    (folder / last).unlink(missing_ok=True)
    for file in sorted(files, key=lambda file: file == Path(last)):
        (staged / file).replace(folder / file)


def write_text(path: Path, text: str) -> None:
    """Write a text file, in UTF-8, as :func:`written_whole` has it."""
    with written_whole(path) as staged:
        staged.write_text(text, encoding="utf-8")


def append_text(path: Path, text: str) -> None:
    """Add text to the end of a file, all of it or nothing.

    Raises:
        OSError: the disk took not all of it; the error names ``path``, which is as it was.
    """
    size = path.stat().st_size if path.exists() else 0
    with named_in_errors(path, path):
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            if path.exists():
                os.truncate(path, size)  # a full disk has taken the first bytes
            raise


def delete(path: Path) -> None:
    """Delete a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():  # of a link only the link goes, not what it points to
        shutil.rmtree(path)
    elif _is_there(path):
        path.unlink()


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _writer_is_gone(number: int, path: Path) -> bool:
    """Whether the process of this number that left ``path`` has ended; one of another host is taken to have ended.

    A number is given again: a process that began after ``path`` was last changed is another one.
    """
    if number == os.getpid():
        return True
    import psutil  # of an extra: `doctor`, which writes nothing, must do without it

    try:
        return psutil.Process(number).create_time() > path.stat().st_mtime + CLOCK_SECONDS
    except (psutil.NoSuchProcess, FileNotFoundError):
        return True


@contextmanager
def named_in_errors(path: Path, *staged: Path) -> Iterator[None]:
    """Have a failure to write ``path``, or below a place where it is staged, name ``path``, which the user knows.

    A write that fails says that the disk is full, but not of which file: only one that opens a file knows its name.
    """
    try:
        yield
    except Exception as error:
        number = _fault(error, (path, *staged))
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _fault(raised: BaseException, places: tuple[Path, ...]) -> int | None:
    """The number of the system's error that stands behind an exception, if that is one of writing to these places."""
    error: BaseException | None = raised
    while error is not None:
        named = getattr(error, "filename", None)
        if isinstance(error, OSError) and error.errno is not None:
            # What stands behind another exception may have been dealt with, unless it is the disk's.
            disk = error.errno in FAULTS
            if (disk and named is None) or ((disk or error is raised) and _is_below(named, places)):
                return error.errno
        elif (found := OF_RUST.search(str(error))) and int(found[1]) in FAULTS:
            return int(found[1])
        error = error.__cause__ or error.__context__
    return None


def _is_below(named: object, places: tuple[Path, ...]) -> bool:
    path = Path(os.fsdecode(named)).absolute() if isinstance(named, str | bytes | os.PathLike) else None
    return path is not None and any(path.is_relative_to(place.absolute()) for place in places)
