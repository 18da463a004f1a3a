"""What the training loop asks of data, of whatever kind."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from transformers import PreTrainedModel

from ...shipped import bare_name
from ..baselines import make_config

Gather = Callable[[Any], Any]


def say_amounts(amounts: dict[str, int]) -> str:
    """How much each split has of something: "800 for train, 100 for validation"."""
    return ", ".join(f"{amount:,} for {split}" for split, amount in amounts.items())


class Task(ABC):
    """Rows in three splits, how a batch of them becomes a model's inputs, and how a model is judged.

    Attributes:
        name: what the data is called in a run record.
        task: the Hub's word for what the models do that it trains.
        problem_type: what their head predicts, as a config has it; None where the head leaves no choice.
        dataset, dataset_config: the data set's name on the Hub and its configuration; None if it is not there.
        example: an input to try a model on, a text or two; None where any of its kind will do.
        title: what runs on this data are called; None for the name of their recipe.
        splits: rows for each of ``SPLITS``.
        metric: the score that weights are chosen by, on validation.
        lower_is_better: whether a smaller score is a better one.
        scorer: how scores are computed, where that needs saying (BLEU's signature, for one).
        evaluation_batch: rows a batch when evaluating.
        auto_class: the Auto class of the models that it trains.
        length_unit: what :meth:`row_lengths` counts.
        cuts_rows: whether a model may read every row (b, n) in parts, one on each of several processes.
        spent: seconds that finding weights before training took, by what was done; they count as training. So does
            "refit", of finding them once more after they were scored.
        made: the :class:`~lmu_hf.training.recipes.Recipe` that these rows have made; None if one was named.
        reasons: why that has the values that it has.
    """

    name: str
    task: str
    problem_type: str | None = None
    dataset: str | None = None
    dataset_config: str | None = None
    example: str | list[str] | None = None
    title: str | None = None
    auto_class: Any
    splits: dict[str, Any]
    metric: str
    lower_is_better: bool = False
    scorer: str = ""
    evaluation_batch: int = 1000
    length_unit: str = ""
    cuts_rows: bool = False
    spent: dict[str, float] = {}
    made: Any = None
    reasons: dict[str, str] = {}

    @property
    def smooths_labels(self) -> bool:
        """Whether the loss of its models can be smoothed: that of classes and of translations can."""
        return False

    @abstractmethod
    def describe(self) -> dict:
        """What a run record says of the data: name, rows per split, and a fingerprint of them all."""

    def source(self) -> dict[str, Any]:
        """What a run record says beside :meth:`describe`: data set and configuration on the Hub, example and title."""
        # What is None is left out, not written as null: a record without it says the same.
        said = {
            "dataset": self.dataset,
            "dataset_config": self.dataset_config,
            "example": self.example,
            "title": self.title,
        }
        return {name: value for name, value in said.items() if value is not None}

    @abstractmethod
    def config_fields(self) -> dict[str, Any]:
        """The fields of :class:`LMUConfig` that the data decides."""

    def make_model(self, architecture: dict[str, Any]) -> PreTrainedModel:
        """A fresh model of an architecture: fields of :class:`LMUConfig`, beside those that the data decides."""
        # The architecture comes last: a recipe may differ from what the data suggests.
        return self.auto_class.from_config(make_config({**self.config_fields(), **architecture}))

    def announce(self) -> str:
        """One line for the console, before training: what is to be found, in which rows."""
        return f"{self.name}, rows: {say_amounts({split: len(rows) for split, rows in self.splits.items()})}"

    def details(self, split: str) -> dict[str, Any]:
        """What the last final scoring of a split found beside its scores, as JSON has it: a table of classes, say."""
        return {}

    @abstractmethod
    def processor(self) -> Any:
        """What makes a model's input of raw data, with its ``save_pretrained``: a tokenizer, say; or None."""

    @abstractmethod
    def scores(
        self, model: PreTrainedModel, split: str, batches: Iterable, gather: Gather, final: bool = False
    ) -> dict[str, float]:
        """A model's scores over a split's batches.

        Args:
            model: in evaluation mode.
            split: its name.
            batches: as :meth:`loader` gives them.
            gather: joins tensors of equal rows over all processes, each row once.
            final: the run's last reading, when a costlier and better search may be used.
        """

    def order(self, split: str, batch_size: int, generator: torch.Generator) -> list[int]:
        """The order in which one epoch of training reads a split's rows, drawn from ``generator`` alone."""
        # The generator is new in each epoch, so a resumed run draws what the first one drew.
        return torch.randperm(len(self.splits[split]), generator=generator).tolist()

    def collate(self, split: str) -> Callable[[Any], Any]:
        """What makes a batch of a split's rows; it must not draw from any random generator."""
        return _as_it_is

    def loader(self, split: str, batch_size: int, workers: int = 0, rows: Sequence[int] | None = None) -> DataLoader:
        """Batches of a split in its own order, or of some of its rows, for evaluation."""
        data = self.splits[split] if rows is None else Subset(self.splits[split], rows)
        return DataLoader(data, batch_size, collate_fn=self.collate(split), num_workers=workers)

    def row_lengths(self, split: str) -> np.ndarray:
        """How long each row of a split is, in the order of :meth:`loader`, in ``length_unit``.

        Raises:
            ValueError: rows of this data have no lengths to tell them apart.
        """
        raise ValueError(f"the rows of {self.name} are not texts, so there are no lengths to tell them apart by")

    def inputs(self, batch: Any, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """A batch as a model takes it, with ``labels``; varied at random if a generator is given."""
        return batch

    def terms(self, inputs: dict[str, Tensor]) -> Tensor:
        """How many terms the model's loss is the mean of: what a batch weighs beside others of its step."""
        return (inputs["labels"] != -100).sum()  # -100: torch's ignore_index

    def lines(self, splits: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
        """The scores that a model must beat on splits that have been read, by name and split, on one process."""
        return {}

    def parts(self, splits: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
        """The scores of a model's parts alone on splits that have been scored, by name and split."""
        return {}

    def whole(self) -> "Task | None":
        """The same task with the rows among its training rows that were held out of them; None where none were."""
        return None

    def findings(self) -> dict[str, str]:
        """What the last scoring of validation found of the model that a reader of the scores must know, by name."""
        return {}

    def draw(self, model: PreTrainedModel, folder: Path) -> None:
        """Leave pictures of what a model does in a folder, on one process; of most data there are none."""
        return

    def extras(self) -> dict[str, Any]:
        """What else a record says of the data once the test split has been read, computed once, on one process."""
        return {}


def text_description(task: Any) -> dict:
    """What a record says of labelled texts, whatever their labels are: all but what a kind of task has of its own.

    Args:
        task: one with ``rows``, a ``tokenizer``, a ``max_length``, the ``lengths`` of its splits' rows and the model
            that it fine-tunes.
    """
    kind = type(task.tokenizer.backend_tokenizer.model).__name__
    return {
        "name": task.name,
        "rows": {split: len(part) for split, part in task.splits.items()},
        "splits": task.rows.origin,
        "labels": task.rows.labels,
        "tokenizer": f"{kind} of {len(task.tokenizer)}",
        "max_length": task.max_length,
        "stack": None if task.model_name_or_path is None else bare_name(task.model_name_or_path),
        "longest": {split: int(lengths.max()) for split, lengths in task.lengths.items()},
        "fingerprint": task.rows.fingerprint(),
    }


def _as_it_is(batch: Any) -> Any:
    return batch
