"""The recipe for somebody's own pictures: every value follows from them, with its reason."""

from dataclasses import replace
from typing import TYPE_CHECKING

from ...data.augmentation import Augmentation
from .base import Recipe, recipe
from .images import single_memory
from .own import FEW_TO_CHOOSE, MINUTES, PREPARED, SPEED, Made, passes, why_minutes

if TYPE_CHECKING:  # recipes are listed by commands that need nothing of this
    from ...data.images import LabelledImages

ORDER = 0.6  # of a picture's pixels: psMNIST's 468 of 784, which the paper found by search
LARGEST_ORDER = 768  # its matrices are made in seconds
REFERENCE = 28  # pixels of a side for which deformations are given


@recipe
def own_images() -> Recipe:
    """Pictures of your own: the default where ``--data_dir`` holds a folder for each class. No record.

    Cost: at most five minutes of two cores, or ``--minutes``.
    Source: Chilkuri and Eliasmith, arXiv 2102.11417, section 4.1; what the pictures decide is printed.
    """
    return Recipe(
        name="own-images",
        kind="images",
        # Layers behind the memory, which run once a picture, since only the last state is read.
        architecture=single_memory(order=468, theta=784, hidden_size=256, block_type="highway", num_highway_layers=2),
        learning_rate=4e-3,
        weight_decay=0.05,
        warmup=0.25,
        averaging=0.99,
        label_smoothing=0.03,
        augmentation=Augmentation(),
    )


def recipe_for_images(rows: "LabelledImages", minutes: float = MINUTES, augmented: bool = True) -> Made:
    """The recipe that labelled images make.

    Args:
        rows: the images.
        minutes: the budget, of two cores.
        augmented: deform training images.
    """
    count, side, channels = len(rows.classes["train"]), rows.side, 3 if rows.colour else 1
    base = own_images()
    data = {"image_size": side, "colour": rows.colour}
    reasons = dict.fromkeys(data, "given") | rows.reasons
    pixels = side * side
    order = min(max(1, round(ORDER * pixels)), LARGEST_ORDER)
    reasons["theta"] = f"steps that the memory looks back over: all {side} · {side} pixels of a picture"
    reasons["order"] = (
        f"numbers that it keeps of each colour: {ORDER:.0%} of the pixels, as psMNIST's"
        if order < LARGEST_ORDER
        else "numbers that it keeps of each colour: the most that is still fast"
    )
    architecture = base.architecture | {"theta": pixels, "order": order}
    if rows.colour:  # each colour has a memory of its own
        architecture = {**architecture, "encoder": "identity", "memory_channels": None}
    batch = next((size for most, size in ((2000, 32), (20_000, 64)) if count <= most), 128)
    reasons["batch_size"] = (
        "pictures in a training step; the fewer pictures, the smaller, so that there are enough steps"
    )
    hidden = base.architecture["hidden_size"]
    epochs, reasons["epochs"] = _epochs(count, 6 * channels * order * (pixels + hidden), minutes)
    made = replace(base, data=data, architecture=architecture, batch_size=batch, epochs=epochs)
    made = replace(made, augmentation=_deformations(side) if augmented else None)
    reasons["augmentation"] = (
        "small turns, shifts and bends of training pictures, another at each pass (--no_augmentation)"
        if augmented
        else "training pictures are read as they are"
    )
    if count < FEW_TO_CHOOSE:
        made = replace(made, eval_steps=epochs * -(-count // batch))
        reasons["eval_steps"] = "one validation, at the end: with few pictures the best of several is mostly chance"
    share = float(f"{(1 - PREPARED) * minutes:.6g}")
    reasons["minutes"] = why_minutes(minutes)
    return Made(replace(made, minutes=share), {}, reasons)


def _epochs(count: int, cost: float, minutes: float) -> tuple[int, str]:
    """Passes over the pictures, and why.

    Args:
        count: pictures to train on.
        cost: operations for one of them, forwards and backwards.
        minutes: the budget.
    """
    wanted = next((epochs for most, epochs in ((1000, 60), (5000, 40), (20_000, 25)) if count <= most), 15)
    most = int((1 - PREPARED) * 60 * minutes * SPEED / (count * cost))
    return passes(f"{count:,} pictures", wanted, most, minutes)


def _deformations(side: int) -> Augmentation:
    """MNIST's deformations, those in pixels in proportion to the pictures' side."""
    usual, part = Augmentation(), side / REFERENCE
    return replace(usual, shift=part * usual.shift, elastic=part * usual.elastic, knots=usual.knots if side > 12 else 3)
