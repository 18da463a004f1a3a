"""Files that are there whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Where to write what shall become the file ``path`` once all of it is there, in place of an earlier one.

    If writing fails, the earlier file stays as it was and what was written so far is removed. A link goes on pointing
    where it did. What is there and is no file, ``/dev/stdout`` say, is written to as it comes.
    """
    path = path.resolve()  # or the link would be replaced by a file
    if path.exists() and not path.is_file():
        yield path
        return
    # In the same folder: only within one file system is a rename atomic.
    staged = path.with_name(f"{path.name}.partial")
    try:
        yield staged
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


@contextmanager
def written_with_others(path: Path) -> Iterator[Path]:
    """Where to write what shall become the file ``path``, and any others that its writer lays beside it.

    All are moved into the folder of ``path`` once all are there, ``path`` last. If writing fails, what was written so
    far is removed; what a killed process has left is removed by the next call for this folder.
    """
    staged = path.parent / ".staging"
    if staged.exists():
        shutil.rmtree(staged)
    staged.mkdir()
    try:
        yield staged / path.name
        for file in sorted(staged.iterdir(), key=lambda file: file.name == path.name):
            file.replace(path.parent / file.name)
    finally:
        shutil.rmtree(staged)


def write_text(path: Path, text: str) -> None:
    """Write a text file, in UTF-8, as :func:`written_whole` has it."""
    with written_whole(path) as staged:
        staged.write_text(text, encoding="utf-8")
