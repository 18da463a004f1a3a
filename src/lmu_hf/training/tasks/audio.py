"""Sounds to classify: frames of a signal in, a class out."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoModelForAudioClassification, PreTrainedModel

from ...data.audio import Sounds
from ...data.batches import order_by_length
from ...data.sound_augmentation import SoundAugmentation
from ...data.telling import few_rows
from ...feature_extraction_lmu import LMUFeatureExtractor
from ...frames_lmu import Frames, frames_of, plain_features
from .base import Gather, Task

RIDGE = "ridge classifier of log-mel means"
STRENGTHS = tuple(10.0**power for power in range(-2, 5))  # of the ridge classifier, one of which its own folds choose
PARTS = 3  # thirds of a sound, whose means a linear model reads one by one
Sound = tuple[Tensor, int]


class SoundRows(Dataset):
    """Signals of a split and their classes.

    Args:
        signals: float32 samples of each.
        classes: their numbers.
    """

    def __init__(self, signals: list[np.ndarray], classes: np.ndarray) -> None:
        self.signals = [torch.from_numpy(signal) for signal in signals]
        self.classes = classes

    def __len__(self) -> int:
        return len(self.signals)

    def __getitem__(self, index: int) -> Sound:
        """One signal and its class."""
        return self.signals[index], int(self.classes[index])


def pad_sounds(rows: Sequence[Sound]) -> dict[str, Tensor]:
    """Signals padded with zeros (b, samples), how long each is (b,), and their classes (b,)."""
    signals = [signal for signal, _ in rows]
    return {
        "signals": torch.nn.utils.rnn.pad_sequence(signals, batch_first=True),
        "lengths": torch.tensor([len(signal) for signal in signals]),
        "labels": torch.tensor([label for _, label in rows]),
    }


def fit_frames(signals: Sequence[np.ndarray], frames: Frames) -> Frames:
    """The same frames with the mean and the deviation of each band over training signals."""
    count, total, squares = 0, torch.zeros(frames.size).double(), torch.zeros(frames.size).double()
    for signal in signals:
        features = plain_features(torch.from_numpy(signal)[None], frames)[0]
        count += len(features)
        total, squares = total + features.sum(0), squares + features.square().sum(0)
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=1e-6).sqrt()
    # Rounded, so that configs are short; what is rounded away is far below what differs from sound to sound.
    return replace(frames, mean=mean.numpy().round(4).tolist(), deviation=deviation.numpy().round(4).tolist())


@dataclass
class AudioTask(Task):
    """A set of sounds to classify.

    Args:
        sounds: the labelled signals.
        frames: how they are cut into steps; its mean and deviation are found here, in the training signals, unless they
            are ``fitted``: a saved model's.
        fitted: whether they are.
        augmentation: how training sounds are varied, or None.
    """

    sounds: Sounds
    frames: Frames
    fitted: bool = False
    augmentation: SoundAugmentation | None = None
    # Class attributes in other tasks; of a dataclass fields, which `init=False` keeps out of its arguments.
    metric: str = field(default="accuracy", init=False)
    task: str = field(default="audio-classification", init=False)
    problem_type: str | None = field(default="single_label_classification", init=False)
    auto_class: type = field(default=AutoModelForAudioClassification, init=False)
    evaluation_batch: int = field(default=64, init=False)
    length_unit: str = field(default="frames", init=False)

    def __post_init__(self) -> None:
        if self.augmentation is not None and self.frames.features == "raw":
            raise ValueError("sounds are varied in their spectrum: of raw features leave the augmentation out")
        self.name, self.title = self.sounds.name, self.sounds.title
        if not self.fitted:
            self.frames = fit_frames(self.sounds.signals["train"], self.frames)
        self.splits = {
            split: SoundRows(signals, self.sounds.classes[split]) for split, signals in self.sounds.signals.items()
        }
        self.lengths = {
            split: np.array([max(1, self.frames.count(len(signal))) for signal in signals])
            for split, signals in self.sounds.signals.items()
        }
        self._details: dict[str, dict[str, Any]] = {}

    @property
    def smooths_labels(self) -> bool:
        """Always."""
        return True

    def announce(self) -> str:
        """How many sounds of how many classes, and how long they are."""
        sounds, seconds = self.sounds, self.sounds.seconds("train")
        groups = len(set(sounds.groups.get("train", [])) - {""})
        said = [
            f"{len(sounds.labels)} classes: {', '.join(sounds.labels[:10])}{', …' if len(sounds.labels) > 10 else ''}",
            f"{len(seconds):,} training sounds at {sounds.rate:,} Hz, {np.median(seconds):.2f} s in the middle and at "
            f"most {seconds.max():.2f} s",
            *([f"{groups} groups"] if groups > 1 else []),
            *(f"{len(part):,} for {split}" for split, part in self.splits.items() if split != "train"),
            *sounds.notes,
        ]
        validation = self.splits.get("validation") if self.title is not None else None
        return "; ".join(said) + ("" if validation is None else few_rows(len(validation), "sound"))

    @cached_property
    def description(self) -> dict:
        """What :meth:`describe` says, found once."""
        sounds = self.sounds
        return {
            "name": self.name,
            "rows": {split: len(part) for split, part in self.splits.items()},
            "splits": sounds.origin,
            "labels": sounds.labels,
            "sampling_rate": sounds.rate,
            "seconds": {split: round(float(sounds.seconds(split).sum()), 1) for split in self.splits},
            "fingerprint": sounds.fingerprint(),
        }

    def describe(self) -> dict:
        """Name, rows, origin and seconds of each split, classes, and a fingerprint of every sample."""
        return self.description

    def config_fields(self) -> dict[str, Any]:
        """Frames of a sound, how they are made, and the names of its classes."""
        return {
            "input_size": self.frames.size,
            "audio": self.frames.record,
            "problem_type": self.problem_type,
            "id2label": dict(enumerate(self.sounds.labels)),
            "label2id": {label: number for number, label in enumerate(self.sounds.labels)},
        }

    def processor(self) -> Any:
        """The feature extractor that turns any sound into what this task's models read."""
        return LMUFeatureExtractor(**self.frames.record)

    def order(self, split: str, batch_size: int, generator: torch.Generator) -> list[int]:
        """An epoch's sounds at random, but so that those of a batch are of about one length."""
        return order_by_length(self.lengths[split], batch_size, generator)

    def row_lengths(self, split: str) -> np.ndarray:
        """How many frames each sound has."""
        return self.lengths[split]

    def collate(self, split: str) -> Callable[[Sequence[Sound]], dict[str, Tensor]]:
        """What turns sounds into a padded batch."""
        return pad_sounds

    def inputs(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """A batch as a model takes it; varied if a generator is given and the task has an augmentation."""
        signals, lengths = batch["signals"], batch["lengths"]
        if generator is not None and self.augmentation is not None:
            values, counts = self.augmentation(signals, lengths, self.frames, generator)
        else:
            values = frames_of(
                signals, self.frames
            )  # causal: what pads a row behind its end changes none of its frames
            counts = ((lengths - self.frames.overlap) // self.frames.hop).clamp(min=1)
        mask = (torch.arange(values.shape[1]) < counts[:, None]).long()
        return {"input_values": values * mask[..., None], "attention_mask": mask, "labels": batch["labels"]}

    def scores(
        self, model: PreTrainedModel, split: str, batches: Iterable, gather: Gather, final: bool = False
    ) -> dict[str, float]:
        """The share of sounds whose class is found, and the mean F1 of classes."""
        from ..judging import class_details
        from ..metrics import judge

        found: list[int] = []
        labels: list[int] = []
        for batch in batches:
            inputs = {name: value.to(model.device) for name, value in self.inputs(batch).items()}
            truth = inputs.pop("labels")
            predicted = model(**inputs).logits.argmax(-1)
            predicted, truth = gather((predicted, truth))  # without the rows that fill up the last batch
            found += predicted.tolist()
            labels += truth.tolist()
        if final:
            self._details[split] = class_details(np.array(found), np.array(labels), self.sounds.labels)
        return judge(["accuracy", "macro_f1"], found, labels)

    def details(self, split: str) -> dict[str, Any]:
        """A table of the classes."""
        return self._details.get(split, {})

    def lines(self, splits: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
        """The majority class, and a ridge classifier on means of the log-mel bands: scores by line and split."""
        from ..metrics import judge

        train, classes = self.sounds.signals["train"], self.sounds.classes
        ridge = fit_ridge(self._summaries(train), classes["train"])
        majority = np.bincount(classes["train"]).argmax()
        lines: dict[str, dict[str, dict[str, float]]] = {"majority": {}, RIDGE: {}}
        for split in splits:
            if split == "train":
                continue
            said = {
                "majority": np.full(len(classes[split]), majority),
                RIDGE: ridge.predict(self._summaries(self.sounds.signals[split])),
            }
            for name, decided in said.items():
                lines[name][split] = judge(["accuracy", "macro_f1"], decided.tolist(), classes[split].tolist())
        return lines

    def _summaries(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        frames = self.frames if self.frames.features == "log-mel" else Frames(self.frames.sampling_rate)
        return np.stack([summary_of(signal, frames) for signal in signals])


def summary_of(signal: np.ndarray, frames: Frames) -> np.ndarray:
    """What a linear model reads of a sound: mean and deviation of every band, and its mean in each third."""
    features = plain_features(torch.from_numpy(signal)[None], frames)[0].numpy()
    thirds = [part.mean(0) for part in np.array_split(features, PARTS) if len(part)]
    thirds += [thirds[-1]] * (PARTS - len(thirds))  # of a sound that has fewer frames than parts
    return np.concatenate([features.mean(0), features.std(0), *thirds])


def fit_ridge(summaries: np.ndarray, classes: np.ndarray) -> Any:
    """A ridge classifier of standardised summaries, its strength chosen by leaving out one row at a time."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeClassifierCV(STRENGTHS)).fit(summaries, classes)
