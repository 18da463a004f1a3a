"""Images read one pixel at a time: MNIST by Hub name or from a folder, and scikit-learn's bundled digits."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoModelForImageClassification, PreTrainedModel

from ...data.augmentation import Augmentation
from ...data.sources import SPLITS, hub_name, load_rows
from .base import Gather, Task


class ImageRows(Dataset):
    """Images as uint8 and their labels, handed out a whole batch at a time.

    Args:
        images: (rows, side, side) uint8, or (rows, channels, side, side).
        labels: (rows,) integers.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        if len(images) != len(labels) or len(images) == 0:
            raise ValueError(
                f"a split needs as many labels as images, and at least one; got {len(images)}, {len(labels)}"
            )
        self.images = torch.from_numpy(np.array(images))  # a copy: torch cannot write to Arrow's memory and warns
        self.labels = torch.from_numpy(labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One image and its label."""
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """A batch of images and their labels: what torch's loader asks for first."""
        rows = torch.as_tensor(indices)
        return self.images[rows], self.labels[rows]  # one indexing in place of a stack of single rows


@dataclass
class ImageTask(Task):
    """A set of images to classify.

    Args:
        name: what the set is called in a run record.
        splits: rows for ``"train"``, ``"validation"`` and ``"test"``.
        labels: the classes' names.
        mean, std: of the training pixels scaled to [0, 1]; the model sees (pixel − mean) / std. Of pixels in colour
            three each.
        augmentation: random deformations of training images, or None.
        permutation_seed: of the order in which pixels are read; None for raster order.
        dataset: the set's name on the Hub; None if it is not there.
    """

    name: str
    splits: dict[str, ImageRows]
    labels: list[str]
    mean: Any
    std: Any
    augmentation: Augmentation | None = None
    permutation_seed: int | None = 0
    dataset: str | None = None
    # Class attributes in other tasks; of a dataclass fields, which `init=False` keeps out of its arguments.
    metric: str = field(default="accuracy", init=False)
    task: str = field(default="image-classification", init=False)
    problem_type: str | None = field(default="single_label_classification", init=False)
    auto_class: type = field(default=AutoModelForImageClassification, init=False)

    @property
    def image_size(self) -> int:
        """Side of an image in pixels."""
        return self.splits["train"].images.shape[-1]

    @property
    def smooths_labels(self) -> bool:
        """Always."""
        return True

    def describe(self) -> dict:
        """What a run record says of the data: name, split sizes, and a fingerprint of every byte."""
        digest = sha256()
        for name in SPLITS:  # in a fixed order, or the digest would depend on the dict's
            digest.update(self.splits[name].images.numpy().tobytes())
            digest.update(self.splits[name].labels.numpy().tobytes())
        return {
            "name": self.name,
            "rows": {name: len(self.splits[name]) for name in SPLITS},
            "fingerprint": digest.hexdigest()[:16],
        }

    def config_fields(self) -> dict:
        """Square grey images, in raster order or permuted, and the names of their classes."""
        return {
            "input_size": 1,  # one pixel a step
            "image_size": self.image_size,
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: number for number, label in enumerate(self.labels)},
            "permutation_seed": self.permutation_seed,  # the model permutes; rows stay images
        }

    def inputs(self, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """A batch as a model takes it; deformed if a generator is given and the task has an augmentation."""
        images, labels = batch
        pixels = images[:, None].float() / 255  # (b, 1, side, side) in [0, 1]
        if generator is not None and self.augmentation is not None:
            # Before standardising: the augmentation fills what it moves in with zeros, which is black only here.
            pixels = self.augmentation(pixels, generator)
        return {"pixel_values": (pixels - self.mean) / self.std, "labels": labels}

    def scores(
        self, model: PreTrainedModel, split: str, batches: Iterable, gather: Gather, final: bool = False
    ) -> dict[str, float]:
        """The share of images whose class is found."""
        from ..metrics import Accuracy

        accuracy = Accuracy()
        for batch in batches:
            inputs = self.inputs(batch)  # no generator: as they are
            predicted = model(pixel_values=inputs["pixel_values"]).logits.argmax(-1)
            predicted, labels = gather((predicted, inputs["labels"]))  # without the rows that fill up the last batch
            accuracy.add_batch(predictions=predicted.tolist(), references=labels.tolist())
        return accuracy.compute()

    def processor(self) -> Any:
        """The image processor that turns any picture into what this task's models read."""
        from transformers import ViTImageProcessorPil

        size = {"height": self.image_size, "width": self.image_size}
        # ViT's processor only scales, rescales by 1/255 and standardises: nothing in it is about patches.
        return ViTImageProcessorPil(size=size, image_mean=self.mean, image_std=self.std)


def mnist(name: str = "ylecun/mnist", data_dir: Path | None = None, validation_rows: int = 10_000) -> ImageTask:
    """MNIST: 50,000 / 10,000 / 10,000, the validation rows being the last of the training file.

    Args:
        name: of the data set, on the Hub or below ``data_dir``.
        data_dir: a folder of data sets laid out as on the Hub; None for the Hub.
        validation_rows: how many training rows to hold out.

    Raises:
        FileNotFoundError: the folder does not hold it.
        ValueError: it cannot be read, lacks a split or a column, or has too few rows.
    """
    rows = load_rows(name, data_dir, needed=("train", "test"), columns=("image", "label"))
    train, test = (_pixels(rows[split]) for split in ("train", "test"))
    if len(train[1]) <= validation_rows:
        raise ValueError(f"{name} has {len(train[1])} training rows; {validation_rows} are needed for validation alone")
    return _image_task(
        name,
        {
            "train": ImageRows(train[0][:-validation_rows], train[1][:-validation_rows]),
            "validation": ImageRows(train[0][-validation_rows:], train[1][-validation_rows:]),
            "test": ImageRows(*test),
        },
        hub_name(name, data_dir),
    )


def _pixels(rows) -> tuple[np.ndarray, np.ndarray]:
    """A split's images, decoded once and remembered by `datasets`, as (rows, side, side), and its labels."""
    from datasets import Features, List, Value

    # Bytes, given and not guessed from the first batch: their buffer is viewed as images below.
    features = Features({"pixels": List(Value("uint8")), "label": rows.features["label"]})
    flat = rows.map(
        _decode, batched=True, batch_size=1000, features=features, remove_columns=["image"], desc="Decoding"
    )
    # From Arrow's own buffers: by rows, `datasets` would make a Python number of each of MNIST's 55 million pixels.
    pixels = flat.data.column("pixels").combine_chunks().flatten().to_numpy()
    side = round((len(pixels) / len(flat)) ** 0.5)  # square images
    return pixels.reshape(len(flat), side, side), np.asarray(flat["label"])


def _decode(batch: dict) -> dict:
    return {"pixels": [np.asarray(image.convert("L")).reshape(-1) for image in batch["image"]]}


def digits(seed: int = 0) -> ImageTask:
    """Scikit-learn's bundled 8x8 digits: 1,797 images, split 1,197 / 300 / 300 with equal shares of each class."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images, labels = np.round(bunch.images * (255 / 16)).astype(np.uint8), bunch.target  # their pixels run from 0 to 16
    # The test comes off first, so that it stays if the validation split is ever cut otherwise.
    rest, test = train_test_split(np.arange(len(labels)), test_size=300, random_state=seed, stratify=labels)
    train, validation = train_test_split(rest, test_size=300, random_state=seed, stratify=labels[rest])
    parts = zip(SPLITS, (train, validation, test), strict=True)
    return _image_task("scikit-learn digits", {name: ImageRows(images[rows], labels[rows]) for name, rows in parts})


def _image_task(name: str, splits: dict[str, ImageRows], dataset: str | None = None) -> ImageTask:
    # Of the training split alone. The saved image processor has these very numbers, rounded.
    pixels = splits["train"].images.double() / 255
    return ImageTask(
        name,
        splits,
        [str(digit) for digit in range(10)],
        mean=round(pixels.mean().item(), 4),
        std=round(pixels.std().item(), 4),
        dataset=dataset,
    )
