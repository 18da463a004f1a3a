"""Images read one pixel at a time."""

from dataclasses import replace

from ...data.augmentation import Augmentation
from .base import Recipe, recipe


def _single_memory(order: int, theta: float, hidden_size: int, **more) -> dict:
    """The paper's image classifier: one memory that is written pixels, equations (18) to (20), last state only."""
    return {
        "block_type": "lmu",
        "num_hidden_layers": 1,
        "order": order,
        "theta": theta,
        "memory_channels": 1,
        "hidden_size": hidden_size,
        "hidden_act": "gelu",
    } | more


@recipe
def psmnist() -> Recipe:
    """The paper's architecture for permuted sequential MNIST, 166,092 parameters, trained on deformed images."""
    return Recipe(
        name="psmnist",
        kind="images",
        architecture=_single_memory(order=468, theta=784, hidden_size=346),
        learning_rate=6e-3,
        epochs=60,
        batch_size=256,
        warmup=0.25,
        label_smoothing=0.03,
        averaging=0.999,
        augmentation=Augmentation(),
    )


@recipe
def psmnist_plain() -> Recipe:
    """The same on images as they are: what to compare with marks that were made without deformed images."""
    return replace(
        psmnist(),
        name="psmnist-plain",
        architecture=_single_memory(order=468, theta=784, hidden_size=346, hidden_act="relu", classifier_dropout=0.5),
        learning_rate=2e-3,
        batch_size=128,
        label_smoothing=0.1,
        augmentation=None,
    )


@recipe
def psmnist_large() -> Recipe:
    """The same memory with highway layers behind it, the paper's deep block, under 400,000 parameters."""
    return replace(
        psmnist(),
        name="psmnist-large",
        architecture=_single_memory(order=468, theta=784, hidden_size=256, block_type="highway", num_highway_layers=2),
    )


@recipe
def smnist() -> Recipe:
    """The large recipe on pixels in raster order; give ``--permutation_seed none``."""
    return replace(psmnist_large(), name="smnist")


@recipe
def smnist_wide() -> Recipe:
    """Twice as wide, twice as long, deformed a little more: the highway layers run once a sequence and cost little."""
    return replace(
        psmnist_large(),
        name="smnist-wide",
        architecture=_single_memory(
            order=468, theta=784, hidden_size=512, block_type="highway", num_highway_layers=2, hidden_dropout=0.1
        ),
        epochs=120,
        learning_rate=4e-3,
        augmentation=Augmentation(rotation=12.0, scale=0.12, shear=0.12, elastic=0.8),
    )


@recipe
def digits() -> Recipe:
    """Scikit-learn's 8x8 digits as permuted pixel sequences: what ``make demo`` trains."""
    return Recipe(
        name="digits",
        kind="images",
        architecture=_single_memory(order=48, theta=64, hidden_size=128),
        learning_rate=4e-3,
        epochs=100,
        batch_size=64,
        label_smoothing=0.03,
        averaging=0.99,
        augmentation=Augmentation(rotation=5.0, scale=0.05, shear=0.05, shift=0.4, elastic=0.15, knots=3),
    )
