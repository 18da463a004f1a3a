"""Folders of pictures, a class a folder: found, decoded, resized, and held out as labelled texts are.

Pillow decodes, as the image pipeline of transformers does, so that a saved model is given the very pixels that it was
trained on. The folders are walked here and not by the ``imagefolder`` builder of `datasets`: of classes car, plane and
train that one takes the third for the training split, leaves out the other two and gives no labels.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..common.errors import InputError, explained, one_line
from .labels import three_splits

if TYPE_CHECKING:  # `--help` need not wait for it
    from PIL.Image import Image

SPLIT_FOLDERS = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
NO_PICTURES = {"thumbs.db", "desktop.ini"}  # left by a file manager, as hidden files are
LARGEST_SIDE = 32  # pixels, unless a size is asked for: a picture has as many steps as pixels
COLOURED = 16  # of 255: a pixel whose channels differ by more has colour
PART_COLOURED = 0.01  # of a picture's pixels, or of all pictures: fewer are grey as a whole
# Modes whose range Pillow cuts at 255 where it makes them RGB: nearly all of a picture would be white.
WIDE_MODES = {"I", "F"}
Classes = dict[str, list[Path]]


@dataclass(frozen=True)
class Known:
    """What a saved model reads, whatever the pictures are.

    Args:
        labels: its classes.
        image_size: the side of its images, in pixels.
        colour: whether it reads three numbers a pixel.
    """

    labels: tuple[str, ...]
    image_size: int
    colour: bool


@dataclass(frozen=True)
class LabelledImages:
    """Splits of labelled images of one size.

    Args:
        name: of the folder.
        images: by split (rows, channels, side, side) uint8; of one channel where a grey model reads grey pictures,
            else of three.
        classes: by split (rows,) indices of ``labels``.
        labels: the classes' names.
        origin: what each split was where it comes from.
        colour: whether a model is to read three numbers a pixel, and not their mean.
        reasons: why images have this size, and colour or none.
        notes: what is odd about the pictures, a few words each.
        held_out: whether the validation images were held out of the training images.
    """

    name: str
    images: dict[str, np.ndarray]
    classes: dict[str, np.ndarray]
    labels: list[str]
    origin: dict[str, str]
    colour: bool
    reasons: dict[str, str]
    notes: tuple[str, ...] = ()
    held_out: bool = False

    @property
    def side(self) -> int:
        """Of an image, in pixels."""
        return next(iter(self.images.values())).shape[-1]


def labelled_images(
    folder: Path, image_size: int | None = None, colour: bool | None = None, known: Known | None = None
) -> LabelledImages:
    """The pictures of a folder: a folder for each class, in ``train/`` and perhaps ``validation/`` and ``test/``.

    Where there is no ``train/``, all pictures are to train on. Without a folder for validation a tenth of each class is
    held out, the same in every run.

    Args:
        folder: of the data.
        image_size: side that pictures are resized to, in pixels; their aspect is not kept. None for the middle one of
            the training pictures' shorter sides, at most ``LARGEST_SIDE``.
        colour: read three numbers a pixel; None if more than one in a hundred training pictures has colour.
        known: a saved model's; there need then be no pictures to train on.

    Raises:
        InputError: the folder is laid out in another way, holds what is no picture or will not do, or a class that
            training has not seen.
    """
    there = find_pictures(folder)
    if known is None and "train" not in there:
        raise InputError(f"--data_dir {folder} has {', '.join(there)} and no folder train/ to learn from")
    labels = _class_names(folder, there, known)
    splits, origin = _split(folder, there, labels)
    reasons: dict[str, str] = {}
    if known is not None:
        image_size, colour = known.image_size, known.colour
    if image_size is None:
        image_size, reasons["image_size"] = _choose_size(splits["train"][0])
    images, remarks = {}, Counter[str]()
    for split, (paths, _) in splits.items():
        images[split], found = read_pictures(paths, image_size)
        remarks.update(found)
    if colour is None:
        colour, reasons["colour"] = _choose_colour(images["train"])
    notes = (*(f"{count:,} {words}" for words, count in remarks.items()), *_shared(images))
    if not colour and all(_channels_agree(part) for part in images.values()):
        images = {split: part[:, :1] for split, part in images.items()}
    return LabelledImages(
        name=folder.absolute().name,
        images=images,
        classes={split: numbers for split, (_, numbers) in splits.items()},
        labels=labels,
        origin=origin,
        colour=colour,
        reasons=reasons,
        notes=notes,
        held_out="validation" not in there,
    )


def find_pictures(folder: Path) -> dict[str, Classes]:
    """The files of a folder of pictures, by split and by class, each in the order of their names.

    Raises:
        InputError: it is laid out in another way, or a class has no file.
    """
    subfolders = _subfolders(folder)
    if not subfolders:
        holds = "files and no folder" if _files(folder) else "nothing"
        raise InputError(
            f"--data_dir {folder} holds {holds}: it must hold a folder for each class, as {folder}/cat/1.png, or "
            f"train/ and test/ with such folders"
        )
    names = {path.name: split for split, words in SPLIT_FOLDERS.items() for path in subfolders if path.name in words}
    # A split holds the folders of its classes; a class that is called train or test holds files.
    if not names or not any(_subfolders(folder / name) for name in names):
        return {"train": _classes(folder, subfolders)}
    if others := [path.name for path in subfolders if path.name not in names]:
        raise InputError(
            f"--data_dir {folder} holds the splits {', '.join(names)} and {others[0]}, which is none: move it away"
        )
    if len(set(names.values())) < len(names):
        raise InputError(f"--data_dir {folder} holds {', '.join(names)}: two of them are one split, so leave one")
    return {split: _classes(folder / name, _subfolders(folder / name)) for name, split in sorted(names.items())}


def list_pictures(folder: Path) -> list[Path]:
    """All files of a folder and of its folders, whatever their classes, in the order of their names.

    Raises:
        InputError: there is none.
    """
    if not (files := sorted(_all_files(folder))):
        raise InputError(f"--data_dir {folder} holds no picture")
    return files


def _classes(folder: Path, subfolders: list[Path]) -> Classes:
    if loose := _files(folder):
        raise InputError(f"{loose[0]} lies beside the folders of the classes: move it into one of them, or away")
    classes = {path.name: sorted(_all_files(path)) for path in subfolders}
    if empty := [name for name, files in classes.items() if not files]:
        raise InputError(f"the folder {folder / empty[0]} holds no picture: fill it, or delete it")
    if not classes:
        raise InputError(f"the folder {folder} holds no class: it must hold a folder for each, as {folder}/cat/1.png")
    return classes


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and _is_meant(path))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and _is_meant(path))


def _all_files(folder: Path) -> list[Path]:
    """The files of a folder and of its folders."""
    return [path for path in folder.rglob("*") if path.is_file() and _is_meant(path)]


def _is_meant(path: Path) -> bool:
    """Whether a file or a folder is there for its own sake, and not for a file manager's or an archiver's."""
    return not path.name.startswith((".", "__MACOSX")) and path.name.lower() not in NO_PICTURES


def _class_names(folder: Path, there: dict[str, Classes], known: Known | None) -> list[str]:
    """The classes: a saved model's, or those to train on.

    Raises:
        InputError: there is one class alone, or a class in another split that is none of them.
    """
    labels = list(known.labels) if known is not None else list(there["train"])
    if known is None and len(labels) == 1:
        inner = [path.name for path in _subfolders(folder / labels[0])] if "validation" not in there else []
        hint = f": give --data_dir {folder / labels[0]}" if len(inner) > 1 else ", and a classifier needs two"
        raise InputError(f"--data_dir {folder} holds one class, {labels[0]!r}{hint}")
    for split, classes in there.items():
        if unknown := [name for name in classes if name not in labels]:
            whose = "the model knows" if known is not None else "there is to train on"
            raise InputError(
                f"--data_dir {folder}: {split} has the class {unknown[0]!r}, and {whose} {', '.join(labels[:10])}"
            )
    return labels


def _split(
    folder: Path, there: dict[str, Classes], labels: list[str]
) -> tuple[dict[str, tuple[list[Path], np.ndarray]], dict[str, str]]:
    """Files and the numbers of their classes by split, and what each split was; validation is held out as of texts."""
    from datasets import Dataset

    listed, origin = {}, {}
    for split, classes in there.items():
        rows = [(str(path), labels.index(name)) for name, paths in classes.items() for path in paths]
        paths, numbers = zip(*rows, strict=True)
        listed[split] = Dataset.from_dict({"image": list(paths), "label": list(numbers)})
        origin[split] = split if len(there) > 1 else folder.absolute().name
    if "train" in listed:
        with explained(f"--data_dir {folder}"):
            listed, origin = three_splits(listed, origin, promote=False, validation_block=1, by_class=True)
    parts = {
        split: ([Path(path) for path in rows["image"][:]], np.asarray(rows["label"][:]))
        for split, rows in listed.items()
    }
    return parts, origin


def _choose_size(paths: Sequence[Path]) -> tuple[int, str]:
    """The side that pictures are resized to, and why."""
    sizes = np.array([_size(path) for path in paths])
    middle = int(np.median(sizes.min(1)))
    largest, smallest = sizes.max(0), sizes.min(0)
    seen = f"{largest[0]} × {largest[1]} pixels"
    if (largest != smallest).any():
        seen = f"{smallest[0]} to {largest[0]} × {smallest[1]} to {largest[1]} pixels"
    size = min(LARGEST_SIDE, middle)
    if (sizes == size).all():
        return size, f"the pictures are {seen}: nothing is resized"
    return size, f"pixels of a side; the pictures are {seen}, and each is resized to {size} × {size}"


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with _named(path), Image.open(path) as picture:
        return picture.size


def _choose_colour(images: np.ndarray) -> tuple[bool, str]:
    """Whether enough pictures have colour, and how many."""
    spread = images.max(1).astype(np.int16) - images.min(1)  # (rows, side, side)
    coloured = int(((spread > COLOURED).mean((1, 2)) > PART_COLOURED).sum())
    colour = coloured > PART_COLOURED * len(images)
    if colour:
        return True, f"{coloured:,} of {len(images):,} pictures have colour (--grey)"
    some = f"{coloured:,} of {len(images):,} pictures have colour" if coloured else "no picture has colour"
    return False, f"{some} (--colour)"


def _channels_agree(images: np.ndarray) -> bool:
    return bool((images[:, 0] == images[:, 1]).all() and (images[:, 0] == images[:, 2]).all())


def read_pictures(paths: Sequence[Path], side: int) -> tuple[np.ndarray, Counter[str]]:
    """Pictures as (rows, 3, side, side) uint8, and how many have something that is not read.

    Raises:
        InputError: a file is no picture that will do; the message names it.
    """
    images, remarks = np.empty((len(paths), 3, side, side), np.uint8), Counter[str]()
    # Threads: Pillow lets go of the interpreter while it decodes and resizes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, (image, said) in enumerate(pool.map(partial(read_picture, side=side), paths)):
            images[row] = image
            remarks.update(said)
    return images, remarks


def read_picture(path: Path, side: int) -> tuple[np.ndarray, list[str]]:
    """A picture as (3, side, side) uint8, resized by bilinear interpolation, and what of it is not read.

    Raises:
        InputError: as :func:`open_picture` says.
    """
    from PIL import Image

    picture, clear = open_picture(path)
    array = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))
    return array.transpose(2, 0, 1), ["with transparency, which is not read"] if clear else []


def open_picture(path: Path) -> tuple["Image", bool]:
    """A picture in RGB, turned as its camera noted, as the image pipeline opens it; and whether it is transparent.

    Raises:
        InputError: it is no picture, is damaged, moves, or has more than 8 bits a channel; the message names it.
    """
    from PIL import Image, ImageOps

    with _named(path), Image.open(path) as picture:
        frames = getattr(picture, "n_frames", 1)
        # A camera's MPO holds the picture again, for a preview or another eye.
        if frames > 1 and picture.format != "MPO":
            raise InputError(f"it has {frames} frames: save the one that counts as a picture of its own")
        if picture.mode.partition(";")[0] in WIDE_MODES:
            raise InputError(f"its mode is {picture.mode}, more than 8 bits a channel: save it with 8 bits")
        clear = picture.has_transparency_data
        return ImageOps.exif_transpose(picture).convert("RGB"), clear


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which file it is that cannot be read.

    Raises:
        InputError: with the file's path first.
    """
    from PIL import UnidentifiedImageError

    try:
        yield
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is no picture that Pillow can read: delete it, or move it away") from error
    # Pillow's readers raise errors of many classes on damaged files.
    except Exception as error:
        raise InputError(f"{path} cannot be used as a picture: {one_line(error)}") from error


def _shared(images: dict[str, np.ndarray]) -> list[str]:
    """A remark on pictures that are in the training split, too, pixel for pixel."""
    if "train" not in images:
        return []
    seen = {image.tobytes() for image in images["train"]}
    found = {
        split: sum(image.tobytes() in seen for image in part) for split, part in images.items() if split != "train"
    }
    return [f"{count:,} of the {split} pictures are training pictures, too" for split, count in found.items() if count]
