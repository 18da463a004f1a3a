"""How a run is run: beside its recipe, its data and its seed, what does not decide its numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def _unwatched(row: dict, share: float) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Running:
    """How a run is run: nothing here changes what it computes, but for the last three, which its record holds.

    Args:
        quiet: no progress bar.
        read_test: read the test split, once, with the chosen weights (if the task has one).
        resume: from the newest good checkpoint in the run folder (or begin, if there is none), or from the
            checkpoint at a path.
        overwrite: begin anew in a folder that holds an earlier run, which is lost once this one has taken a step.
        checkpointing_steps: save a checkpoint every so many steps, or ``"epoch"``; None for once a minute, or more
            seldom where saving is slow.
        checkpoints: how many are kept.
        workers: processes that make batches.
        watch: called after each evaluation, on every process, with its row of ``metrics.jsonl`` and the share of all
            steps that has been taken; what it raises ends the run.
        report_to: a tracker that accelerate knows (``"tensorboard"``, ``"wandb"``, ``"trackio"``, …), or ``"none"``.
        mixed_precision: ``"no"`` or ``"bf16"``, the memory and the final scores staying float32, or ``"auto"`` for
            what the recipe allows and is faster here; None for what accelerate was launched with.
        torch_compile: whether training steps are compiled; scores are not, for the saved model will not be.
        sequence_parallel: whether all processes read the same rows in training, of each of which every one takes a
            part, in place of rows of their own. Scores are made by rows, for those are never longer than a device.

    Raises:
        ValueError: the run is to be gone on with and to be begun anew, or compiled and its rows cut.
    """

    quiet: bool = False
    read_test: bool = True
    resume: bool | Path = False
    overwrite: bool = False
    checkpointing_steps: int | str | None = None
    checkpoints: int = 2
    workers: int = 0
    watch: Callable[[dict, float], None] = _unwatched
    report_to: str = "none"
    mixed_precision: str | None = None
    torch_compile: bool = False
    sequence_parallel: bool = False

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise ValueError("give one of --resume_from_checkpoint and --overwrite_output_dir")
        if self.torch_compile and self.sequence_parallel:
            raise ValueError("give one of --torch_compile and --sequence_parallel: what parts exchange is not compiled")
