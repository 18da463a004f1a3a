"""Who holds a run folder: one process at a time writes to it."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

LOCK, OWNER = ".lock", ".owner"
ORPHANS_SECONDS = 15.0  # in which the workers of a process that was killed see that it is gone, and end


class RunFolderError(ValueError):
    """A run folder cannot be written to, or holds what is not this run's to change; the message says what."""


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold a run folder, made if it is not there, so that no other process writes to it.

    The system ends the hold with the process, however that ends. Within one process it may be held again.

    Raises:
        RunFolderError: another process holds it, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A singleton: a second hold within the process counts up instead of waiting for itself. Resolved, a folder is
        # one lock under all of its names.
        lock = FileLock(folder.resolve() / LOCK, is_singleton=True)
        outermost = not lock.is_locked
        # A worker inherits the lock's open file and holds it for as long as it lives.
        lock.acquire(timeout=ORPHANS_SECONDS if _owner_is_gone(folder) else 0)
        if outermost:
            owner = {"pid": os.getpid(), "host": socket.gethostname()}
            try:
                (folder / OWNER).write_text(json.dumps(owner), encoding="utf-8")
            except OSError:  # a full disk: nobody holds a folder that cannot be written to
                (folder / OWNER).unlink(missing_ok=True)
                lock.release()
                raise
    except Timeout as error:
        raise RunFolderError(
            f"{folder} is in use by {_owner(folder)}: wait until it has ended, or choose another --output_dir"
        ) from error
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be written to ({error}): choose another --output_dir") from error
    try:
        yield
    finally:
        if outermost:
            # Before the release: later, it could be the file of whoever holds the folder next.
            (folder / OWNER).unlink(missing_ok=True)
        lock.release()


def _owner(folder: Path) -> str:
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, LookupError, TypeError):  # it has this moment begun, or ended
        return "another process"


def _owner_is_gone(folder: Path) -> bool:
    """Whether the process that held the folder last was killed, so that only its workers can hold it still."""
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        # A process number means nothing on another host, which a shared disk may serve.
        return owner["host"] == socket.gethostname() and not psutil.pid_exists(owner["pid"])
    except (OSError, ValueError, LookupError, TypeError):
        return False
