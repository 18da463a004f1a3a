"""Images read one pixel at a time."""

from dataclasses import replace
from typing import Any

from ...data.augmentation import Augmentation
from .base import Recipe, Reproduction, recipe


def single_memory(order: int, theta: float, hidden_size: int, **more: Any) -> dict[str, Any]:
    """The paper's image classifier: one memory that is written pixels, equations (18) to (20), last state only."""
    return {
        "block_type": "lmu",
        "num_hidden_layers": 1,
        "order": order,
        "theta": theta,
        "memory_channels": 1,  # the pixel itself is written, nothing else
        "hidden_size": hidden_size,
        "hidden_act": "gelu",
    } | more


@recipe
def psmnist() -> Recipe:
    """Permuted sequential MNIST by the paper's network, on deformed images: 99.26 %, three seeds.

    Cost: 107 s of two cores, 166,092 parameters.
    Source: Chilkuri and Eliasmith, arXiv 2102.11417, section 4.1.
    """
    return Recipe(
        name="psmnist",
        kind="images",
        # The paper's sizes. The window θ is the whole image, 28 · 28 steps, so its last state has seen every pixel.
        architecture=single_memory(order=468, theta=784, hidden_size=346),
        learning_rate=6e-3,
        epochs=60,
        batch_size=256,
        warmup=0.25,
        label_smoothing=0.03,
        averaging=0.999,
        augmentation=Augmentation(),
        # Other orders of the pixels are other tasks: the result is not the luck of one order.
        reproduction=Reproduction(seeds=3, also=("--permutation_seed 1", "--permutation_seed 2")),
    )


@recipe
def psmnist_plain() -> Recipe:
    """Permuted sequential MNIST on images as they are, to compare with published figures: 98.42 %, three seeds.

    Cost: 229 s of one core, 166,092 parameters.
    Source: Chilkuri and Eliasmith, arXiv 2102.11417, section 4.1.
    """
    return replace(
        psmnist(),
        name="psmnist-plain",
        # Dropout and more smoothing regularise in the place of deformed images.
        architecture=single_memory(order=468, theta=784, hidden_size=346, hidden_act="relu", classifier_dropout=0.5),
        learning_rate=2e-3,
        batch_size=128,
        label_smoothing=0.1,
        augmentation=None,
        reproduction=Reproduction(task="psmnist", seeds=3),
    )


@recipe
def smnist_wide() -> Recipe:
    """Sequential MNIST, pixels in raster order (give ``--permutation_seed none``): 99.43 %, one seed.

    Cost: 1957 s of one core, 1,296,396 parameters; the highway layers run once a sequence.
    Source: Chilkuri and Eliasmith, arXiv 2102.11417, figure 2 of its supplement.
    """
    return replace(
        psmnist(),
        name="smnist-wide",
        architecture=single_memory(
            order=468, theta=784, hidden_size=512, block_type="highway", num_highway_layers=2, hidden_dropout=0.1
        ),
        epochs=120,
        learning_rate=4e-3,
        # Larger deformations than `psmnist`'s, for more parameters and twice the epochs.
        augmentation=Augmentation(rotation=12.0, scale=0.12, shear=0.12, elastic=0.8),
        reproduction=Reproduction(task="smnist", flags="--permutation_seed none"),
    )


@recipe
def digits() -> Recipe:
    """Scikit-learn's 8x8 digits as permuted pixel sequences: what ``make demo`` trains. No record.

    Cost: half a minute of one core.
    Source: Chilkuri and Eliasmith, arXiv 2102.11417, section 4.1.
    """
    return Recipe(
        name="digits",
        kind="images",
        architecture=single_memory(order=48, theta=64, hidden_size=128),  # 8 · 8 pixels
        learning_rate=4e-3,
        epochs=100,
        batch_size=64,
        label_smoothing=0.03,
        averaging=0.99,
        # Pixels are 3.5 times as large as MNIST's, so shifts in pixels are smaller.
        augmentation=Augmentation(rotation=5.0, scale=0.05, shear=0.05, shift=0.4, elastic=0.15, knots=3),
    )
