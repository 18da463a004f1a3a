"""Images read one pixel at a time: MNIST by Hub name or from a folder, and scikit-learn's bundled digits."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..augmentation import Augmentation

SPLITS = ("train", "validation", "test")


class ImageRows(Dataset):
    """Grey images as uint8 (rows, side, side) and their labels, handed out a whole batch at a time.

    Args:
        images: (rows, side, side) uint8.
        labels: (rows,) integers.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        if len(images) != len(labels) or len(images) == 0:
            raise ValueError(
                f"a split needs as many labels as images, and at least one; got {len(images)}, {len(labels)}"
            )
        self.images = torch.from_numpy(np.array(images))
        self.labels = torch.from_numpy(labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One image and its label."""
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """A batch of images and their labels: what torch's loader asks for first."""
        rows = torch.as_tensor(indices)
        return self.images[rows], self.labels[rows]


@dataclass
class ImageTask:
    """A set of images to classify.

    Args:
        name: what the set is called in a run record.
        splits: rows for ``"train"``, ``"validation"`` and ``"test"``.
        labels: the classes' names.
        mean, std: of the training pixels scaled to [0, 1]; the model sees (pixel − mean) / std.
        augmentation: random deformations of training images, or None.
    """

    name: str
    splits: dict[str, ImageRows]
    labels: list[str]
    mean: float
    std: float
    augmentation: Augmentation | None = None
    metric: str = field(default="accuracy", init=False)

    @property
    def image_size(self) -> int:
        """Side of an image in pixels."""
        return self.splits["train"].images.shape[-1]

    def describe(self) -> dict:
        """What a run record says of the data: name, split sizes, and a fingerprint of every byte."""
        digest = sha256()
        for name in SPLITS:
            digest.update(self.splits[name].images.numpy().tobytes())
            digest.update(self.splits[name].labels.numpy().tobytes())
        return {
            "name": self.name,
            "rows": {name: len(self.splits[name]) for name in SPLITS},
            "fingerprint": digest.hexdigest()[:16],
        }

    def inputs(self, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """A batch as a model takes it; deformed if a generator is given and the task has an augmentation."""
        images, labels = batch
        pixels = images[:, None].float() / 255
        if generator is not None and self.augmentation is not None:
            pixels = self.augmentation(pixels, generator)
        return {"pixel_values": (pixels - self.mean) / self.std, "labels": labels}

    def processor(self):
        """The image processor that turns any picture into what this task's models read."""
        from transformers import ViTImageProcessorPil

        size = {"height": self.image_size, "width": self.image_size}
        return ViTImageProcessorPil(size=size, image_mean=self.mean, image_std=self.std)


def mnist(source: str | Path = "ylecun/mnist", validation_rows: int = 10_000) -> ImageTask:
    """MNIST: 50,000 / 10,000 / 10,000, the validation rows being the last of the training file.

    Args:
        source: a data set's name on the Hub, or a folder laid out like one.
        validation_rows: how many training rows to hold out.

    Raises:
        FileNotFoundError: a folder was named that does not exist.
        ValueError: the data set lacks a split or a column.
    """
    from datasets import load_dataset

    if Path(source).is_absolute() and not Path(source).is_dir():
        raise FileNotFoundError(f"no folder {str(source)!r}: --data_dir must hold it; leave --data_dir out for the Hub")
    try:
        rows = load_dataset(str(source))
    except (
        OSError,
        ValueError,
    ) as error:  # nothing there, no way to the Hub, or files that are not what they should be
        raise ValueError(f"{source} cannot be read: {error}") from error
    for split in ("train", "test"):
        if split not in rows or not {"image", "label"} <= set(rows[split].column_names):
            raise ValueError(f"{source} must have a split {split!r} with columns 'image' and 'label'")
    train, test = (_pixels(rows[split]) for split in ("train", "test"))
    if len(train[1]) <= validation_rows:
        raise ValueError(
            f"{source} has {len(train[1])} training rows; {validation_rows} are needed for validation alone"
        )
    return _image_task(
        "ylecun/mnist",
        {
            "train": ImageRows(train[0][:-validation_rows], train[1][:-validation_rows]),
            "validation": ImageRows(train[0][-validation_rows:], train[1][-validation_rows:]),
            "test": ImageRows(*test),
        },
    )


def _pixels(rows) -> tuple[np.ndarray, np.ndarray]:
    """A split's images, decoded once and remembered by `datasets`, as (rows, side, side), and its labels."""
    from datasets import Features, List, Value

    features = Features({"pixels": List(Value("uint8")), "label": rows.features["label"]})
    flat = rows.map(
        _decode, batched=True, batch_size=1000, features=features, remove_columns=["image"], desc="Decoding"
    )
    pixels = flat.data.column("pixels").combine_chunks().flatten().to_numpy()
    side = round((len(pixels) / len(flat)) ** 0.5)
    return pixels.reshape(len(flat), side, side), np.asarray(flat["label"])


def _decode(batch: dict) -> dict:
    return {"pixels": [np.asarray(image.convert("L")).reshape(-1) for image in batch["image"]]}


def digits(seed: int = 0) -> ImageTask:
    """Scikit-learn's bundled 8x8 digits: 1,797 images, split 1,197 / 300 / 300 with equal shares of each class."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images, labels = np.round(bunch.images * (255 / 16)).astype(np.uint8), bunch.target
    rest, test = train_test_split(np.arange(len(labels)), test_size=300, random_state=seed, stratify=labels)
    train, validation = train_test_split(rest, test_size=300, random_state=seed, stratify=labels[rest])
    parts = zip(SPLITS, (train, validation, test), strict=True)
    return _image_task("scikit-learn digits", {name: ImageRows(images[rows], labels[rows]) for name, rows in parts})


def _image_task(name: str, splits: dict[str, ImageRows]) -> ImageTask:
    pixels = splits["train"].images.double() / 255
    return ImageTask(
        name,
        splits,
        [str(digit) for digit in range(10)],
        mean=round(pixels.mean().item(), 4),
        std=round(pixels.std().item(), 4),
    )
