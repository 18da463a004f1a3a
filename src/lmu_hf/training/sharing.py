"""How the processes of a run share a batch: each reads rows of its own, or every one a part of each row.

A step weighs the terms of all processes and averages their gradients. By rows, each counts its own; by parts, each
counts the terms of the whole rows, and each has the loss of the whole rows: so the same step serves both.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from ..configuration_lstm import LSTMConfig
from ..distributed import sequence_parallel
from .tasks.base import Task


@dataclass(frozen=True)
class ByRows:
    """Data parallel: of a batch each process reads rows of its own.

    Args:
        readers: how many processes read different rows.
        reader: which of them this one is.
    """

    readers: int = 1
    reader: int = 0

    @contextmanager
    def reading(self, inputs: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """What this process's model takes of a batch; forward and backward passes belong into the context."""
        yield inputs


class ByParts(ByRows):
    """Sequence parallel: all processes read the same rows, of each of which every one takes its own part."""

    @contextmanager
    def reading(self, inputs: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """This process's part of every row (b, n); what looks across the cuts is exchanged."""
        with sequence_parallel() as ranks:
            yield {name: ranks.cut(x) for name, x in inputs.items()}


def make_sharing(by_parts: bool, processes: int, rank: int, task: Task, model: PreTrainedModel) -> ByRows:
    """How a run's processes share a batch.

    Args:
        by_parts: whether every process reads a part of each row.
        processes: of the run.
        rank: which of them this one is.
        task: whose rows they read.
        model: that reads them.

    Raises:
        ValueError: rows cannot be cut; the message says why.
    """
    if not by_parts:
        return ByRows(processes, rank)
    refuse_alone(processes)
    if not task.cuts_rows:
        raise ValueError(f"--sequence_parallel cuts rows of running text, not those of {task.name}: leave it out")
    if isinstance(model.config, LSTMConfig):
        raise ValueError("--sequence_parallel needs a memory that is linear, and an LSTM's is not: leave it out")
    return ByParts()


def refuse_alone(processes: int) -> None:
    """Refuse a single process, which has nobody to share a row with.

    Raises:
        ValueError: there is one process.
    """
    if processes == 1:
        raise ValueError(
            "--sequence_parallel needs several processes, and this is one alone: start a script with "
            "`accelerate launch --num_processes 2` or `torchrun --nproc_per_node 2`, or leave it out"
        )
