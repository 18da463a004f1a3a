"""No link that leads out of a folder is followed when the folder is published."""

from pathlib import Path


def inside(path: Path, folder: Path) -> Path:
    """A path of a folder, once it is known to lie in it whatever links are on the way.

    A snapshot in the Hub's cache is a folder of links to its repository's own blobs: those are its files.

    Raises:
        ValueError: a link leads out of the folder, or in a circle.
    """
    here = folder.resolve()
    try:
        there = path.resolve()
    except (OSError, RuntimeError):  # a circle is a RuntimeError before Python 3.13
        raise ValueError(f"{path} is a link that leads in a circle: remove it") from None
    if there.is_relative_to(here) or there.parent in _blobs(here):
        return path
    raise ValueError(f"{path} is a link that leads out of {folder}: nothing is pushed; put a copy in its place")


def _blobs(folder: Path) -> list[Path]:
    """Where a folder's files lie if it is part of a snapshot in the Hub's cache."""
    parents = [folder, *folder.parents]
    # CACHE/models--ORG--NAME/snapshots/COMMIT/file is a link to CACHE/models--ORG--NAME/blobs/HASH.
    return [
        snapshots.parent / "blobs"
        for snapshots in parents
        if snapshots.name == "snapshots" and snapshots.parent.name.startswith(("models--", "datasets--"))
    ]
