"""A run that is complete: it answers to whoever asks for the same run, and may still read its test split."""

import shlex
from pathlib import Path

from transformers import PreTrainedModel

from ..common.lock import owned
from ..common.record import RunRecord
from .evaluation import evaluate, load_model
from .identity import check_same_run
from .processes import on_main
from .speed import still_there
from .tasks.base import Task


def is_complete(folder: Path) -> bool:
    """Whether a run has come to its end here; every process is told the same."""
    return on_main((folder / "run.json").is_file)


def finished(folder: Path, asked: RunRecord, model: PreTrainedModel, task: Task, read_test: bool) -> RunRecord:
    """The record of a complete run, after making sure that it is the one that was asked for.

    Args:
        folder: the run folder.
        asked: the record of the run that was asked for.
        model: takes on the saved weights.
        task: the run's data.
        read_test: score the test split, if there is one that has not been read, and write that to the record, whose
            command is then the one that trained, less the flag that left the test unread.

    Raises:
        AnotherRunError: it is another run.
        FileNotFoundError: its model is gone.
        RunFolderError: the test is to be read, and another process writes to the folder.
    """
    record = on_main(lambda: RunRecord.read(folder))
    on_main(lambda: check_same_run(folder / "run.json", record, asked))
    if not (folder / "model" / "config.json").is_file():
        raise FileNotFoundError(f"{folder} holds a run.json and no model: begin anew with --overwrite_output_dir")
    # The caller's model object is the one that it goes on with, so that takes the weights on.
    saved = load_model(str(folder / "model"), task)
    model.load_state_dict(saved.state_dict())
    if (thresholds := getattr(saved.config, "thresholds", None)) is not None:
        model.config.thresholds = thresholds
    if read_test and "test" in task.splits and "test" not in record.metrics:
        # On every process: rows are shared out. Only the write is the main one's.
        record.metrics["test"] = evaluate(model, task, "test", products=still_there(record.matmul))
        if details := task.details("test"):
            record.details["test"] = details
        # Typed again, the command shall lead to this record, test and all.
        record.command = shlex.join(word for word in shlex.split(record.command) if word != "--skip_test")
        on_main(lambda: _write(folder, record, task))
    return record


def _write(folder: Path, record: RunRecord, task: Task) -> None:
    with owned(folder):
        record.data |= task.extras()
        record.lines = task.lines(tuple(record.metrics))
        for name, scores in task.parts(("test",)).items():
            record.parts.setdefault(name, {}).update(scores)
        record.write(folder)
