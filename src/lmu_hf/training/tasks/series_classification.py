"""Series of real values, in one channel or several, each of one class."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from ...data.series import LabelledSeries, pad_series
from ...data.telling import few_rows
from ..baselines import Lines
from ..kernels import draw_and_fit, find_readout
from ..recipes.series_classification import measure, reach
from ..series_lines import series_lines
from .base import Gather, Task

logger = logging.getLogger(__name__)

NUMBERS = 2**26  # responses that are held at once while series are only read: 256 MiB
SHARE = "share"  # the pooling of a model whose kernels are drawn and not trained


class SeriesClassificationTask(Task):
    """Find the class of a series.

    Args:
        rows: the labelled series.
    """

    task = "tabular-classification"  # the Hub has no word for series
    problem_type = "single_label_classification"
    metric = "accuracy"
    evaluation_batch = 64
    auto_class = AutoModelForSequenceClassification
    length_unit = "steps"

    def __init__(self, rows: LabelledSeries) -> None:
        self.rows, self.name, self.title = rows, rows.name, rows.title
        self.splits = dict(rows.splits)
        self._details: dict[str, dict[str, Any]] = {}
        self._findings: dict[str, str] = {}
        self._is_drawn = False
        self.spent: dict[str, float] = {}

    @property
    def smooths_labels(self) -> bool:
        """Always."""
        return True

    @cached_property
    def description(self) -> dict:
        """What :meth:`describe` says, found once."""
        rows = self.rows
        return {
            "name": rows.name,
            "rows": {split: len(part) for split, part in rows.splits.items()},
            "splits": rows.origin,
            "labels": rows.labels,
            "channels": rows.channels,
            "steps": {split: [int(part.lengths.min()), int(part.lengths.max())] for split, part in rows.splits.items()},
            "fingerprint": rows.fingerprint(),
        }

    def describe(self) -> dict:
        """Rows, origin and lengths of each split, classes, channels, and a fingerprint of every value."""
        return self.description

    def announce(self) -> str:
        """What is to be found, in how many series of which length, and what is odd about them."""
        train = self.rows.splits["train"]
        lengths, counts = train.lengths, np.bincount(train.labels, minlength=len(self.rows.labels))
        shown = ", ".join(f"{name}: {count:,}" for name, count in list(zip(self.rows.labels, counts, strict=True))[:6])
        steps = (
            f"{lengths.min()} steps" if lengths.min() == lengths.max() else f"{lengths.min()} to {lengths.max()} steps"
        )
        others = [f"{len(part):,} for {split}" for split, part in self.rows.splits.items() if split != "train"]
        channels = f"{len(self.rows.channels)} channel{'s' * (len(self.rows.channels) > 1)}"
        more = ", …" * (len(counts) > 6)
        said = [
            f"{len(counts)} classes, {shown}{more}",
            f"{len(train):,} training rows of {channels} and {steps}",
            ", ".join(others),
            *self.rows.notes,
        ]
        validation = self.rows.splits.get("validation") if self.title is not None else None
        return "; ".join(said) + ("" if validation is None else few_rows(len(validation)))

    def config_fields(self) -> dict[str, Any]:
        """Numbers a step, and the names of the classes."""
        labels = self.rows.labels
        return {
            # Several classes answer to one Auto class; this name decides which.
            "architectures": ["LMUForTimeSeriesClassification"],
            "input_size": len(self.rows.channels),
            "problem_type": self.problem_type,
            "id2label": dict(enumerate(labels)),
            "label2id": {label: number for number, label in enumerate(labels)},
        }

    def make_model(self, architecture: dict[str, Any]) -> PreTrainedModel:
        """A fresh model that knows the units of the channels; one that pools shares is drawn and fitted at once."""
        model: Any = super().make_model(architecture)
        train = self.rows.splits["train"]
        model.signals.fit(torch.from_numpy(np.concatenate(train.values)))
        self._is_drawn = model.config.pooling == SHARE and model.config.model_type == "lmu"
        if self._is_drawn:
            start = time.perf_counter()
            if PartialState().is_main_process:  # it may take minutes in which no bar moves
                logger.warning("drawing kernels and fitting the readout: there are no steps, and no bar")
            model.eval()
            is_equal = train.lengths.min() == train.lengths.max()
            draw_and_fit(model, self._batches(model, "train"), 0 if is_equal else reach(measure(self.rows)))
            self.spent = {"solution": time.perf_counter() - start}
        return model

    def _batches(self, model: Any, *splits: str) -> list[dict[str, Tensor]]:
        """The rows of some splits, in batches of which the model's responses fit into memory."""
        longest = max(int(self.rows.splits[split].lengths.max()) for split in splits)
        size = max(1, min(self.evaluation_batch, NUMBERS // (longest * model.config.hidden_size)))
        return [batch for split in splits for batch in self.loader(split, size)]

    def row_lengths(self, split: str) -> np.ndarray:
        """How many steps each series has."""
        return self.rows.splits[split].lengths

    def collate(self, split: str) -> Callable[[Any], dict[str, Tensor]]:
        """What pads series to the longest and says which steps and values there are."""
        return pad_series

    def scores(
        self, model: PreTrainedModel, split: str, batches: Iterable, gather: Gather, final: bool = False
    ) -> dict[str, float]:
        """Accuracy and macro F1; the final scores of validation rows that were held out give these rows back."""
        from ..judging import class_details
        from ..metrics import judge

        decided, truth = [], []
        for batch in batches:
            logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
            found, labels = gather((logits.argmax(-1), batch["labels"]))
            decided += found.tolist()
            truth += labels.tolist()
        if final:
            self._details[split] = class_details(np.array(decided), np.array(truth), self.rows.labels)
        if final and split == "validation" and self._is_drawn:
            self._refit(model)
        return judge(["accuracy", "macro_f1"], decided, truth)

    def whole(self) -> "SeriesClassificationTask | None":
        """The task with the rows held out among its training rows; None where none were, or the readout is solved."""
        if not self.rows.held_out or self._is_drawn:
            return None
        whole = copy(self)
        train = self.splits["train"].joined(self.splits["validation"])
        whole.rows = replace(self.rows, splits=self.rows.splits | {"train": train})
        whole.splits = dict(whole.rows.splits)
        return whole

    def _refit(self, model: Any) -> None:
        """Fit the readout once more, to the rows held out as well, and note what leave-one-out says of it."""
        splits = ("train", "validation") if self.rows.held_out else ("train",)
        start = time.perf_counter()
        found = find_readout(model, self._batches(model, *splits))
        self.spent["refit"] = time.perf_counter() - start
        labels = np.concatenate([self.rows.splits[split].labels for split in splits])
        share = float((found.left_out.argmax(1) == labels).mean())
        rows = f"{len(labels):,} rows{' of training and validation together' * (len(splits) > 1)}"
        self._findings = {"left_out": f"leave-one-out accuracy of the readout on {rows}: {share:.1%}"}

    def details(self, split: str) -> dict[str, Any]:
        """Precision, recall, F1 and rows of every class, and which was taken for which."""
        return self._details.get(split, {})

    def findings(self) -> dict[str, str]:
        """What leave-one-out says of a readout that was found in closed form."""
        return self._findings

    def lines(self, splits: Sequence[str]) -> Lines:
        """The majority, logistic regression on values, and ridge regression on features of the signal."""
        return series_lines(self.rows, splits)

    def processor(self) -> None:
        """None: the model standardises by itself."""
        return
