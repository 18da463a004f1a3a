"""A run folder: what a run writes there, and what is deleted when it is begun anew."""

from pathlib import Path

from ..common.lock import LOCK, OWNER
from ..common.record import MetricsLog, RunRecord
from ..common.staging import HALF, unfinished
from .checkpoint import MANIFEST, STAGING, steps

RESULTS = ("run.json", "checkpoints", "model", "figures", "hub")  # what nobody should lose unasked
# All that a killed run may leave, besides what was to become one of these.
LEFTOVERS = ("metrics.jsonl", "data.json", "trackers")


def refuse_occupied(folder: Path, overwrite: bool, resume: bool = False) -> None:
    """Make sure that a run may begin here: nothing that somebody may want to keep stands in the folder.

    Args:
        folder: the run folder.
        overwrite: an earlier run may be lost, if the folder holds nothing but that.
        resume: so may what a run left that ended before its first checkpoint.

    Raises:
        FileExistsError: something stands in the way; the message names it.
    """
    # The lock is this process's own: it holds the folder by now.
    there = [name for name in sorted(path.name for path in folder.iterdir()) if not _is_nothing(name)]
    holds_a_run = _holds_a_run(folder)
    if overwrite:
        # Deleted is only what a run is known to write; notes or another tool's files stop it.
        if foreign := [name for name in there if not (holds_a_run and _is_of_a_run(name))]:
            raise FileExistsError(
                f"{folder} holds {', '.join(foreign[:3])}{', …' * (len(foreign) > 3)}, which no run wrote there: "
                "--overwrite_output_dir deletes runs alone; move it away, or choose another --output_dir"
            )
        return
    # In a folder that no run wrote, files of these names are somebody else's.
    in_the_way = [name for name in there if (name in RESULTS if holds_a_run else _is_of_a_run(name))]
    if in_the_way and not (resume and holds_a_run):
        raise FileExistsError(
            f"{folder} holds an earlier run ({in_the_way[0]}): --resume_from_checkpoint auto goes on with it, "
            "--overwrite_output_dir deletes it; or choose another --output_dir"
        )


def folder_of_its_own(folder: Path, goes_on: bool) -> Path:
    """A folder that no run has, by counting on from its name: reviews, reviews-2, reviews-3.

    Args:
        folder: the first to be tried.
        goes_on: the run goes on with an earlier one, or takes its place: it gets the last folder that a run has.
    """
    number, last = 1, folder
    while _is_taken(here := folder if number == 1 else folder.with_name(f"{folder.name}-{number}")):
        number, last = number + 1, here
    return last if goes_on else here


def _is_taken(folder: Path) -> bool:
    # What only held its lock never began.
    return folder.exists() and (not folder.is_dir() or any(path.name not in (LOCK, OWNER) for path in folder.iterdir()))


def earlier_files(folder: Path) -> list[Path]:
    """What an earlier run wrote, if there was one; of its trackers, which write beside each other, the single files."""
    if not _holds_a_run(folder):
        return []
    trackers = folder / "trackers"
    ours = sorted(path for path in folder.iterdir() if _is_of_a_run(path.name) and path != trackers)
    return [*ours, *(path for path in trackers.rglob("*") if path.is_file())]


def _is_nothing(name: str) -> bool:
    """Whether a file of this name is of no worth to anybody: the lock's, or half of a file that a kill has left."""
    return name in (LOCK, OWNER) or (HALF.fullmatch(name) is not None and _is_of_a_run(name))


def _is_of_a_run(name: str) -> bool:
    return (unfinished(name) or name) in (*RESULTS, *LEFTOVERS)


def _holds_a_run(folder: Path) -> bool:
    """Whether a run wrote here: its record, its log or a checkpoint tells of it."""
    try:
        if (folder / "run.json").is_file():
            return RunRecord.read(folder) is not None
        if (folder / "metrics.jsonl").is_file():
            return all("step" in row for row in MetricsLog.read(folder))
    except (ValueError, TypeError):  # somebody else's file of that name
        return False
    whole = (path / MANIFEST for path in steps(folder / "checkpoints"))
    return any(path.is_file() for path in whole) or any((folder / "checkpoints").glob(f"{STAGING}*"))
