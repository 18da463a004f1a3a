"""One named function per result that we claim: architecture, data, optimiser, budget."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from .augmentation import Augmentation


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run, but for its seed and where its data lies.

    Args:
        name: what the run is called.
        kind: the kind of data that it is for: ``"images"``, ``"characters"`` or ``"translation"``.
        architecture: fields of :class:`LMUConfig`, but for those that the data decides.
        data: what the task is told beside where its rows lie.
        learning_rate, weight_decay: AdamW's; biases, norms and other vectors are not decayed.
        epochs, batch_size: the budget; ``batch_size`` is per process.
        max_steps: end after so many steps instead, however many epochs that is.
        eval_steps: evaluate every so many steps; None for once an epoch.
        schedule: a scheduler's name in transformers.
        warmup: the fraction of all steps over which the learning rate rises.
        label_smoothing: of the cross-entropy in training.
        averaging: decay per step of the exponential average of weights that is evaluated; 0 for none.
        augmentation: deformations of training images, or None.
        max_grad_norm: gradients are clipped to this norm; None to leave them.

    Raises:
        ValueError: a number is out of its range.
    """

    name: str
    kind: str
    architecture: dict
    data: dict = field(default_factory=dict)
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    epochs: int = 60
    batch_size: int = 128
    max_steps: int | None = None
    eval_steps: int | None = None
    schedule: str = "cosine"
    warmup: float = 0.1
    label_smoothing: float = 0.0
    averaging: float = 0.0
    augmentation: Augmentation | None = None
    max_grad_norm: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "max_steps", "eval_steps"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
        for name in ("warmup", "label_smoothing", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be a fraction in [0, 1), got {getattr(self, name)}")

    def hyperparameters(self) -> dict:
        """What a run record says of the recipe, beside its name and its architecture."""
        return {name: value for name, value in asdict(self).items() if name not in ("name", "kind", "architecture")}


RECIPES: dict[str, Callable[[], Recipe]] = {}


def recipe(build: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Enter a recipe under its function's name, with ``_`` as ``-``."""
    RECIPES[build.__name__.replace("_", "-")] = build
    return build


def get_recipe(name: str, **changes) -> Recipe:
    """A recipe by name, with some of its fields changed (None changes nothing).

    Raises:
        ValueError: there is no recipe of that name.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}; there are {', '.join(sorted(RECIPES))}")
    return replace(RECIPES[name](), **{name: value for name, value in changes.items() if value is not None})


def _single_memory(order: int, theta: float, hidden_size: int, **more) -> dict:
    """The paper's image classifier: one memory that is written pixels, equations (18) to (20), last state only."""
    return {
        "block_type": "lmu",
        "num_hidden_layers": 1,
        "order": order,
        "theta": theta,
        "memory_channels": 1,
        "hidden_size": hidden_size,
        "basis": "unit",
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


@recipe
def multi30k() -> Recipe:
    """English to German captions: bidirectional encoder, attention, one hour on two cores."""
    return Recipe(
        name="multi30k",
        kind="translation",
        data={"dataset_name": "multi30k-en-de", "vocab_size": 6000, "max_length": 96},
        architecture={
            "hidden_size": 256,
            "num_hidden_layers": 2,
            "num_decoder_layers": 2,
            "order": 4,
            "theta": [4, 12],
            "memory_channels": 96,
            "basis": "unit",
            "bidirectional": True,
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "embedding_dropout": 0.2,
            "hidden_dropout": 0.2,
            "attention_dropout": 0.1,
            "label_smoothing": 0.1,
            "tie_word_embeddings": True,
            "initializer_range": 0.06,
        },
        learning_rate=2e-3,
        epochs=12,
        batch_size=64,
        averaging=0.999,
        max_grad_norm=1.0,
    )


@recipe
def dates() -> Recipe:
    """Dates and quantities in two languages: what ``train_translation.py`` trains with nothing to download."""
    return replace(
        multi30k(),
        name="dates",
        data={"vocab_size": 1000},
        architecture=multi30k().architecture | {"hidden_size": 128, "intermediate_size": 256, "hidden_dropout": 0.05},
        epochs=6,
        averaging=0.99,
    )


@recipe
def python_sources() -> Recipe:
    """Python's own sources, byte by byte, two minutes on two cores: what ``train_char_lm.py`` trains by default."""
    return Recipe(
        name="python-sources",
        kind="characters",
        data={"sequence_length": 256},
        architecture={
            "hidden_size": 96,
            "num_hidden_layers": 3,
            "order": 6,
            "theta": [8, 24, 96],
            "memory_channels": 32,
            "basis": "unit",
        },
        learning_rate=6e-3,
        batch_size=8,
        max_steps=1300,
        eval_steps=650,
        averaging=0.99,
        max_grad_norm=1.0,
    )
