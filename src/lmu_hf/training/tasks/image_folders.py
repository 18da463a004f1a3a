"""Folders of somebody's own pictures to classify, of any size, grey or in colour."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ...common.errors import loading
from ...data.augmentation import Augmentation
from ...data.images import Known, LabelledImages, labelled_images
from ...data.sources import SPLITS
from ...data.telling import few_rows
from ..baselines import Lines, image_lines
from ..recipes.own import MINUTES
from ..recipes.own_images import recipe_for_images
from .base import Gather
from .images import ImageRows, ImageTask

SHOWN = 6  # classes that are counted one by one


class ImageFolderTask(ImageTask):
    """Find the class of a picture.

    Pictures with colour that a grey model reads keep their three channels up to the model's input, which is their mean:
    so the model reads them in its pipeline, too.

    Args:
        rows: the labelled images.
        augmentation: random deformations of training images, or None.
        permutation_seed: of the order in which pixels are read; None for raster order.
        scale: mean and standard deviation of the pixels as a saved model reads them; None for those of training.
    """

    evaluation_batch = 250

    def __init__(
        self,
        rows: LabelledImages,
        augmentation: Augmentation | None = None,
        permutation_seed: int | None = None,
        scale: tuple[Any, Any] | None = None,
    ) -> None:
        splits = {split: ImageRows(images, rows.classes[split]) for split, images in rows.images.items()}
        mean, std = _scale(rows) if scale is None else scale
        super().__init__(rows.name, splits, rows.labels, mean, std, augmentation, permutation_seed)
        self.rows, self.channels = rows, 3 if rows.colour else 1
        self.metrics = ("accuracy", "macro_f1")
        # What deformations move in from beyond a picture's border: the colour that most borders have.
        self.fill = _border(splits["train"].images) if "train" in splits else None
        self._details: dict[str, dict[str, Any]] = {}

    @property
    def image_size(self) -> int:
        """Side of an image in pixels."""
        return self.rows.side

    def announce(self) -> str:
        """The classes, how many pictures each split has, and what is odd about them."""
        rows, labels = self.rows, self.rows.classes["train"]
        counts = np.bincount(labels, minlength=len(rows.labels))
        order = np.argsort(-counts, kind="stable")
        shown = range(len(counts)) if len(counts) <= SHOWN else order[[0, 1, -1]]
        counted = ", ".join(f"{rows.labels[at]}: {counts[at]:,}" for at in shown)
        sentences = [
            f"{len(counts)} classes, {counted} (majority {counts.max() / len(labels):.1%})",
            ", ".join(f"{len(part):,} for {split}" for split, part in self.splits.items()),
            *rows.notes,
        ]
        return "; ".join(sentences) + few_rows(len(self.splits["validation"]), "picture", "{} or more in validation/")

    def describe(self) -> dict:
        """What a run record says of the pictures: name, size, rows and origin of each split, and a fingerprint."""
        digest = sha256()
        for split in (split for split in SPLITS if split in self.splits):
            digest.update(self.splits[split].images.numpy().tobytes())
            digest.update(self.splits[split].labels.numpy().tobytes())
        return {
            "name": self.name,
            "rows": {split: len(part) for split, part in self.splits.items()},
            "splits": self.rows.origin,
            "labels": self.rows.labels,
            "fingerprint": digest.hexdigest()[:16],
        }

    def config_fields(self) -> dict:
        """As of any images, with as many numbers a pixel as the model reads."""
        return super().config_fields() | {"input_size": self.channels}

    def inputs(self, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """A batch as a model takes it; deformed if a generator is given and the task has an augmentation."""
        images, labels = batch
        pixels = images.float() / 255  # (b, 1 or 3, side, side) in [0, 1]
        if generator is not None and self.augmentation is not None and self.fill is not None:
            # The deformation moves zeros in, so zero is to be the border's colour while it acts.
            pixels = self.augmentation(pixels - self.fill, generator) + self.fill
        if self.channels == 1:
            pixels = pixels.mean(1, keepdim=True)
        return {"pixel_values": (pixels - _channelwise(self.mean)) / _channelwise(self.std), "labels": labels}

    def scores(
        self, model: PreTrainedModel, split: str, batches: Iterable, gather: Gather, final: bool = False
    ) -> dict[str, float]:
        """The share of pictures whose class is found, and the mean F1 of the classes."""
        from ..judging import class_details

        found: list[Tensor] = []
        labels: list[Tensor] = []
        for batch in batches:
            inputs = self.inputs(batch)
            said = gather((model(pixel_values=inputs["pixel_values"]).logits.argmax(-1), inputs["labels"]))
            for column, part in zip((found, labels), said, strict=True):
                column.append(part.cpu())
        decided, truth = torch.cat(found).numpy(), torch.cat(labels).numpy()
        if final:
            self._details[split] = class_details(decided, truth, self.labels)
        return self._judge(decided, truth)

    def _judge(self, decided: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        from ..metrics import judge

        return judge(list(self.metrics), decided.tolist(), truth.tolist())

    def details(self, split: str) -> dict[str, Any]:
        """Precision, recall, F1 and pictures of every class, and which were taken for which."""
        return self._details.get(split, {})

    def lines(self, splits: Sequence[str]) -> Lines:
        """The majority class, and logistic regression on the pixels of the resized pictures."""
        pixels = {split: self._pixels(split) for split in dict.fromkeys(["train", *splits])}
        return image_lines(pixels, {split: self.splits[split].labels.numpy() for split in pixels}, self._judge)

    def _pixels(self, split: str) -> np.ndarray:
        """(rows, numbers): what a model reads of each picture, in one row."""
        parts = self.splits[split].images.split(self.evaluation_batch)
        return np.concatenate([self.inputs((part, part))["pixel_values"].flatten(1).numpy() for part in parts])

    def processor(self) -> Any:
        """The image processor that turns any picture into what this task's models read."""
        processor = super().processor()
        processor.do_convert_rgb = True  # a palette's numbers are no colours, and transparency is none
        return processor


def known_images(name: str) -> tuple[Known, tuple[Any, Any], int | None]:
    """What a saved image classifier reads: classes, size and colour; mean and deviation; and its order of pixels.

    Args:
        name: the model's folder, or its name on the Hub.

    Raises:
        InputError: it cannot be loaded, or is no image classifier of the family.
    """
    from transformers import AutoConfig, AutoImageProcessor

    with loading("image classifier", name):
        config = AutoConfig.from_pretrained(name)
        labels = tuple(config.id2label[number] for number in range(len(config.id2label)))
        known = Known(labels, config.image_size, config.input_size == 3)
    with loading("image processor", name):
        # The processor on PIL, as training saved it; the other needs torchvision.
        saved = AutoImageProcessor.from_pretrained(name, use_fast=False)
    return known, (saved.image_mean, saved.image_std), config.permutation_seed


def _scale(rows: LabelledImages) -> tuple[Any, Any]:
    """Mean and deviation of the training pixels, of each colour or of their mean, as the processor has them."""
    pixels = torch.from_numpy(rows.images["train"]).double().div(255)
    if not rows.colour:
        grey = pixels.mean(1)
        return round(grey.mean().item(), 4), max(round(grey.std().item(), 4), 1e-4)
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    return [round(one, 4) for one in mean.tolist()], [max(round(one, 4), 1e-4) for one in std.tolist()]


def _channelwise(value: float | list[float]) -> Tensor:
    return torch.tensor(value).view(-1, 1, 1)


def _border(images: Tensor) -> Tensor:
    """(channels, 1, 1) in [0, 1]: the middle value of the pixels on the borders of training images."""
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], dim=-1)
    return border.transpose(0, 1).flatten(1).float().median(1).values.view(-1, 1, 1) / 255


def own_image_folder(
    folder: Path,
    image_size: int | None = None,
    colour: bool | None = None,
    minutes: float = MINUTES,
    augmented: bool = True,
    permutation_seed: int | None = None,
) -> ImageFolderTask:
    """A folder of somebody's own pictures, with the recipe that they make.

    Args:
        folder, image_size, colour: as for :func:`~lmu_hf.data.images.labelled_images`.
        minutes: what the run may take, on two cores.
        augmented: deform training pictures.
        permutation_seed: of the order in which pixels are read; None for raster order.

    Raises:
        InputError: as :func:`~lmu_hf.data.images.labelled_images` says.
    """
    rows = labelled_images(folder, image_size, colour)
    made = recipe_for_images(rows, minutes, augmented)
    task = ImageFolderTask(rows, made.recipe.augmentation, permutation_seed)
    task.made, task.reasons = made.recipe, made.reasons
    return task


def saved_image_folder(folder: Path, name: str) -> ImageFolderTask:
    """A folder of pictures as a saved model reads them.

    Args:
        folder: of the pictures.
        name: the model's folder, or its name on the Hub.

    Raises:
        InputError: there is no such model, or the pictures will not do.
    """
    known, scale, permutation_seed = known_images(name)
    return ImageFolderTask(labelled_images(folder, known=known), None, permutation_seed, scale)
