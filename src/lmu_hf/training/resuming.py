"""Where a run goes on: the checkpoint that it takes up, and what must stand in its folder for that."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..common.record import RunRecord
from .checkpoint import CheckpointError, load, pass_over, steps
from .identity import check_same_run
from .run_folder import refuse_occupied


@dataclass
class Progress:
    """How far a run has come: what a checkpoint says beside its tensors."""

    step: int = 0
    best: float | None = None  # higher is better: a score to be low has its sign turned
    best_step: int = 0
    worse: int = 0  # evaluations since the best one, against the recipe's patience
    loss_steps: int = 0  # steps in the running sum of the loss
    seconds: float = 0.0  # in training, before interruptions, too
    steps: int = 0  # of the whole run, where a budget of minutes has changed their number; else 0
    memory_bytes: int = 0  # the most held by the main process, or by one before it that was interrupted
    rows: list[dict] = field(default_factory=list)

    def is_best(self, goodness: float, scores: dict[str, float]) -> bool:
        """Whether a validation is better than the best so far: by its metric, or of equal ones by the lower loss.

        Metrics that count, as BLEU of a model that has hardly begun, are often equal. Where a task gives no loss, or
        that is equal, too, the first is kept.
        """
        if self.best is None or goodness != self.best:
            return self.best is None or goodness > self.best
        row = next(row for row in self.rows if row["step"] == self.best_step)
        return scores.get("loss", math.inf) < row.get("validation_loss", math.inf)


@dataclass
class SavedRun:
    """A run as a checkpoint holds it.

    Args:
        record: what identifies it, and where it ran.
        progress: how far it had come.
        tensors: weights, moments, and what each process holds of its own; of what is in shards nothing.
        state: of optimiser and schedule.
    """

    record: RunRecord
    progress: Progress
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def load_run(path: Path) -> SavedRun:
    """Read a run's checkpoint.

    Raises:
        CheckpointError: it is damaged, or not what this version writes.
    """
    checkpoint = load(path)
    try:
        # A field that another version had is a TypeError here.
        record, progress = RunRecord(**checkpoint.state["record"]), Progress(**checkpoint.state["progress"])
        complete = {"optimizer", "schedule"} <= checkpoint.state.keys()
        complete &= {"model", "optimizer", "processes"} <= {*checkpoint.tensors, *checkpoint.state.get("shards", ())}
        if not complete or not isinstance(progress.step, int) or not isinstance(progress.rows, list):
            raise LookupError("a part is missing")
    except (LookupError, TypeError) as error:
        raise CheckpointError(f"{path} is not what this version of lmu_hf writes: {error}") from error
    return SavedRun(record, progress, checkpoint.tensors, checkpoint.state)


def find_checkpoint(folder: Path, resume: bool | Path, overwrite: bool, ours: RunRecord) -> Path | None:
    """The checkpoint that a run takes up; None if it begins, for which there is then room in its folder.

    Args:
        folder: the run folder.
        resume: from the newest good checkpoint in the folder, or from the checkpoint at a path.
        overwrite: an earlier run in the folder may be lost.
        ours: the record of the run.

    Raises:
        AnotherRunError: the checkpoint, or what else lies in the folder, is of another run.
        CheckpointError: there are checkpoints, and none is good.
        FileExistsError: what stands in the folder is in the way.
    """
    there = steps(folder / "checkpoints") if resume else []
    path, saved = _newest_good(there)
    if saved is not None:
        assert path is not None
        check_same_run(path, saved.record, ours)
    # With a path, another checkpoint is asked for: damaged ones here are no hindrance.
    elif there and resume is True:
        raise CheckpointError(
            f"none of the {len(there)} checkpoints in {folder / 'checkpoints'} is good: begin anew with "
            "--overwrite_output_dir, or choose another --output_dir"
        )
    else:
        refuse_occupied(folder, overwrite, bool(resume))
    if isinstance(resume, Path):
        check_same_run(resume, load_run(resume).record, ours)
        return resume
    return path


def _newest_good(paths: list[Path]) -> tuple[Path | None, SavedRun | None]:
    for path in paths:
        try:
            # Read in full, not verified alone: good bytes may be of another version.
            return path, load_run(path)
        except CheckpointError as error:
            pass_over(path, error)
    return None, None
