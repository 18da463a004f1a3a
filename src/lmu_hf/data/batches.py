"""Which rows a process reads at which step: the seed and the step alone decide it, so that a run can go on anywhere."""

from collections.abc import Callable, Iterator
from math import ceil
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

GROUP = 50  # batches whose rows are sorted by length together, as in transformers' own grouping


class Rows(Protocol):
    """What batches are made of: rows in splits, the order of an epoch, and what makes a batch of some of them."""

    splits: dict[str, Any]

    def order(self, split: str, batch_size: int, generator: torch.Generator) -> list[int]:
        """The order in which one epoch of training reads a split's rows, drawn from ``generator`` alone."""

    def collate(self, split: str) -> Callable[[Any], Any]:
        """What makes a batch of a split's rows; it must not draw from any random generator."""


class Schedule:
    """The rows of every step of training.

    A step reads ``batch_size`` rows for each process and each of ``accumulation`` turns: of each turn's rows, process r
    takes every so-manieth from the r-th on. An epoch's last step reads what is left, in as few turns as that takes.

    Args:
        task: what knows the order of an epoch's rows.
        batch_size: rows a process reads in a turn.
        accumulation: turns of a step.
        seed: of the orders.
        processes: how many read.
        rank: which of them this one is.
    """

    def __init__(
        self, task: Rows, batch_size: int, accumulation: int, seed: int, processes: int = 1, rank: int = 0
    ) -> None:
        self.task, self.batch_size, self.accumulation, self.seed = task, batch_size, accumulation, seed
        self.processes, self.rank = processes, rank
        self.rows = len(task.splits["train"])
        self.turn_rows = batch_size * processes
        self.step_rows = self.turn_rows * accumulation
        self.steps_per_epoch = ceil(self.rows / self.step_rows)

    def turns(self, step: int) -> list[int]:
        """The number of rows that this process reads in each turn of a step (counted from 0); 0 where none are left."""
        begin = (step % self.steps_per_epoch) * self.step_rows
        left = min(self.rows - begin, self.step_rows)
        sizes = [min(left - start, self.turn_rows) for start in range(0, left, self.turn_rows)]
        # len(range(r, n, P)) is the length of rows[r::P], without making the rows.
        return [len(range(self.rank, size, self.processes)) for size in sizes]

    def turn_batches(self, epoch: int, start: int = 0) -> Iterator[list[int]]:
        """This process's rows in each turn of an epoch, from the step ``start`` of the epoch on.

        A process for which a turn has no row reads one all the same, which is to count for nothing.
        """
        # A prime above any number of epochs, so that no two pairs of seed and epoch draw the same order.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        # Every process draws the whole order and takes its share, so nothing has to be sent.
        order = self.task.order("train", self.turn_rows, generator)
        for begin in range(start * self.step_rows, self.rows, self.turn_rows):
            rows = order[begin : begin + self.turn_rows]
            # A process without a batch would miss the turn's collective calls, and the others would wait without end.
            yield rows[self.rank :: self.processes] or rows[:1]


class _Turns(Sampler[list[int]]):
    def __init__(self, schedule: Schedule, epoch: int, start: int) -> None:
        self.schedule, self.epoch, self.start = schedule, epoch, start

    def __iter__(self) -> Iterator[list[int]]:
        return self.schedule.turn_batches(self.epoch, self.start)


def training_batches(schedule: Schedule, step: int, workers: int = 0) -> Iterator:
    """Batches of a process, turn after turn, epoch after epoch, from a step on."""
    task, epoch, start = schedule.task, *divmod(step, schedule.steps_per_epoch)
    while True:
        # With a generator of its own, the loader draws nothing from the one that dropout draws from.
        yield from DataLoader(
            task.splits["train"],
            batch_sampler=_Turns(schedule, epoch, start),
            collate_fn=task.collate("train"),
            num_workers=workers,
            generator=torch.Generator(),
        )
        epoch, start = epoch + 1, 0


def order_by_length(lengths: np.ndarray, batch_size: int, generator: torch.Generator) -> list[int]:
    """An epoch's rows at random, but so that those of a batch are of about one length.

    Args:
        lengths: of all rows.
        batch_size: rows in a batch.
        generator: of all that is drawn.
    """
    drawn = torch.randperm(len(lengths), generator=generator).numpy()
    # Transformers' own grouping leaves a group's batches in order of length; here whole batches are shuffled, too.
    group = GROUP * batch_size
    batches: list[np.ndarray] = []
    for start in range(0, len(drawn), group):
        rows = drawn[start : start + group]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        batches += [rows[begin : begin + batch_size] for begin in range(0, len(rows), batch_size)]
    whole = len(drawn) // batch_size  # a shorter batch stays last, or it would shift all behind it
    turns = [*torch.randperm(whole, generator=generator).tolist(), *range(whole, len(batches))]
    return np.concatenate([batches[turn] for turn in turns]).tolist()
