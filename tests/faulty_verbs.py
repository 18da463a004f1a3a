"""Verbs in processes of their own that meet a fault at a write: a kill, a disk that is full, read-only or broken."""

import errno
import io
import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from script_runs import _server, call_verb

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}
ERRORS = {"read-only": errno.EROFS, "error": errno.EIO}
FAULTS = ("kill", "full", *ERRORS)
SAYS = {
    "full": os.strerror(errno.EFBIG),
    **{fault: os.strerror(code) for fault, code in ERRORS.items()},
}  # what is told


class Call(NamedTuple):
    """A verb's call.

    Args:
        script: that calls it, without its ending.
        words: of its command line.
        folder: that it runs in; what it changes below ``out/`` is counted.
        hub: where the Hub answers, and the token that may write there.
    """

    script: str
    words: list[str]
    folder: Path
    hub: tuple[str, str] | None = None


class Ended(NamedTuple):
    """How a call ended: ``said`` is 0, the line that it ended with, or a traceback; None of one that was killed."""

    status: int | None
    said: int | str | None
    writes: int


def run_verb(call: Call, fault: str = "", last: int = 0) -> Ended:
    """Run a verb, which meets a fault at its write number ``last``, from 1; 0 for none."""
    ours, theirs = _server().Pipe()
    process = _server().Process(target=_child, args=(call, fault, last, theirs))
    process.start()
    theirs.close()
    try:
        said, writes = ours.recv()
    except EOFError:  # it was killed
        said, writes = None, 0
    process.join()
    return Ended(process.exitcode, said, writes)


def _child(call: Call, fault: str, last: int, talk: Connection) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    sys.stdout = sys.stderr = io.StringIO()  # no file, which would be as full as any other
    os.chdir(call.folder)
    _prepare(call)
    disk = _Disk(call.folder, fault, last)
    sys.addaudithook(disk.hear)
    said: Any = 0
    try:
        call_verb(call.script, *call.words)
    except SystemExit as ended:
        said = ended.code
    except BaseException:
        said = traceback.format_exc()
    talk.send((said, disk.writes))


def _prepare(call: Call) -> None:
    import datasets
    from huggingface_hub import constants

    datasets.config.HF_DATASETS_CACHE = call.folder / "cache"
    if call.hub is not None:
        constants.ENDPOINT, os.environ["HF_TOKEN"] = call.hub
        # Made of the endpoint when the client was imported.
        constants.HUGGINGFACE_CO_URL_TEMPLATE = call.hub[0] + "/{repo_id}/resolve/{revision}/{filename}"
        constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_XET = False, True
        os.environ["NO_PROXY"] = "127.0.0.1"


class _Disk:
    """Hears of every change below ``out/`` before it happens, and spoils one; of a connection, too, before a kill."""

    def __init__(self, folder: Path, fault: str, last: int) -> None:
        self.folder, self.fault, self.last, self.writes = folder, fault, last, 0

    def hear(self, event: str, args: tuple) -> None:
        if event == "socket.connect":
            if self.fault == "kill" or not self.fault:
                self._count(None)
            return
        changes = event in CHANGES or (event == "open" and isinstance(args[2], int) and bool(args[2] & WRITING))
        if not changes or isinstance(args[0], int):
            return
        path = self.folder / os.fsdecode(args[0])
        if path.is_relative_to(self.folder / "out"):
            self._count(path)

    def _count(self, path: Path | None) -> None:
        self.writes += 1
        # A disk that may only be read stays so; a device fails once.
        if self.writes != self.last and not (self.fault == "read-only" and self.writes > self.last):
            return
        if code := ERRORS.get(self.fault):
            raise OSError(code, os.strerror(code), str(path))
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "full":
            import resource

            # From here on no file takes a byte; Python, Rust and C++ hear of it alike.
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
