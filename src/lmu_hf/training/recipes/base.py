"""What a recipe is, and the list of them all."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ...data.augmentation import Augmentation
from ..schedules import check_schedule

POSITIVE: tuple[str, ...] = ("epochs", "batch_size", "accumulation", "max_steps", "eval_steps", "patience")
POSITIVE += ("learning_rate", "max_grad_norm", "minutes")  # these need not be whole
FRACTIONS = ("warmup", "label_smoothing", "averaging")  # in [0, 1)
OPTIMIZERS = ("adamw", "muon")
BASELINES = ("lstm",)


@dataclass(frozen=True)
class Reproduction:
    """How the records of a recipe are made again, beside where its data lies.

    Args:
        task: the recipes of one task are reproduced together; empty for the recipe's own name.
        seeds: how many, from 0.
        flags: of the training script.
        also: more flags, each for one run of seed 0.
        lstm: flags of the LSTM baseline's runs, after ``flags``; None where no baseline is on record.
        word_vectors: flags of ``lmu-hf train vectors`` that make its frozen word vectors.
        starts_from: the recipe whose model it fine-tunes.
        hub_name: the data set's name on the Hub, where the recipe's is a folder's.
    """

    task: str = ""
    seeds: int = 1
    flags: str = ""
    also: tuple[str, ...] = ()
    lstm: str | None = None
    word_vectors: str | None = None
    starts_from: str | None = None
    hub_name: str | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run, but for its seed and where its data lies.

    Args:
        name: what the run is called.
        kind: the kind of data that it is for, by which verbs and scripts find it: ``"images"``, ``"characters"``, …
        architecture: fields of :class:`LMUConfig`, but for those that the data decides.
        lstm: what its LSTM baseline has otherwise of the architecture, such as a ``hidden_size`` that makes the
            parameters as many.
        baseline_kind, baseline_of: of a baseline, what stands in the memory's place (``"lstm"``), and the recipe that
            it is to be compared with.
        data: what the task is told beside where its rows lie.
        optimizer: ``"adamw"``, or ``"muon"`` for :class:`~lmu_hf.training.muon.Muon` on the matrices of the body.
        learning_rate, weight_decay: the optimiser's; biases, norms and other vectors are not decayed.
        layer_decay: a block's learning rate in units of that of the block above it, and so on from the head down to the
            embeddings, so that what was learnt before is changed less the deeper it lies (Howard and Ruder, arXiv
            1801.06146, section 3.2); 1 for one learning rate.
        epochs, batch_size: the budget; ``batch_size`` is per process.
        accumulation: batches whose gradients make one step, as one batch of all their rows would.
        max_steps: end after so many steps instead, however many epochs that is.
        eval_steps: evaluate every so many steps; None for once an epoch.
        patience: end after so many evaluations in a row that were no better than the best; None to go on.
        schedule: one of :func:`~lmu_hf.training.schedules.schedule_names`.
        warmup: the fraction of all steps over which the learning rate rises.
        label_smoothing: of the model's own loss in training, entered into the architecture; None to leave it as it is
            there.
        averaging: decay per step of the exponential average of weights that is evaluated, at most (1 + t) / (10 + t) at
            step t; 0 for none.
        augmentation: deformations of training images, or None.
        max_grad_norm: gradients are clipped to this norm; None to leave them.
        minutes: what training may take; where it would take longer, it has fewer steps, and the schedule ends with
            them. None for as long as it takes.
        refit: train again, from the start and as long, on all rows, where the task has held rows out; the second
            model is kept, the scores on validation are the first one's.
        allows_bf16: ``--mixed_precision auto`` may make its products in bfloat16, where the processor gains by it: its
            scores on record were reached so.
        solved: the weights are found before training, in closed form, and no step is taken. Its baseline is trained.
        reproduction: how its records are made again.

    Raises:
        ValueError: a number is out of its range.
    """

    name: str
    kind: str
    architecture: dict
    lstm: dict = field(default_factory=dict)
    baseline_kind: str | None = None
    baseline_of: str | None = None
    data: dict = field(default_factory=dict)
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    layer_decay: float = 1.0
    epochs: int = 60
    batch_size: int = 128
    accumulation: int = 1
    max_steps: int | None = None
    eval_steps: int | None = None
    patience: int | None = None
    schedule: str = "cosine"
    warmup: float = 0.1
    label_smoothing: float | None = None
    averaging: float = 0.0
    augmentation: Augmentation | None = None
    max_grad_norm: float | None = None
    minutes: float | None = None
    refit: bool = False
    allows_bf16: bool = False
    solved: bool = False
    reproduction: Reproduction = Reproduction()

    def __post_init__(self) -> None:
        # A slip in a recipe or a flag shows before any data is read.
        for name, value in vars(self).items():
            if wrong := fault(name, value):
                raise ValueError(f"{name} {wrong}, got {value!r}")
        check_schedule(self.schedule)
        if self.label_smoothing is not None:  # losses are the heads', so that a saved config says what was made small
            # The way around a frozen dataclass.
            object.__setattr__(self, "architecture", {**self.architecture, "label_smoothing": self.label_smoothing})

    def count_steps(self, steps_per_epoch: int, model: Any) -> int:
        """Steps of training, if no budget of minutes ends it before: none where weights were found in closed form."""
        if self.solved or not any(weight.requires_grad for weight in model.parameters()):
            return 0
        return self.max_steps or self.epochs * steps_per_epoch

    def hyperparameters(self) -> dict:
        """What a run record says of the recipe, beside its name and its architecture."""
        # The record has name, architecture and baseline in fields of their own. Smoothing is part of the architecture,
        # and the rest decides none of this run's numbers.
        others: tuple[str, ...] = (
            "name",
            "kind",
            "architecture",
            "lstm",
            "label_smoothing",
            "reproduction",
            "allows_bf16",  # the record says what was made of it
            "solved",  # its record has no steps
            "baseline_kind",
            "baseline_of",
        )
        if not self.refit:
            others = (*others, "refit")  # as records have it that are older than the word
        return {name: value for name, value in asdict(self).items() if name not in others}

    def baseline(self, name: str) -> "Recipe":
        """The recipe of this recipe's baseline: the same data, budget, blocks and head.

        Raises:
            ValueError: there is no such baseline.
        """
        if name not in BASELINES:
            raise ValueError(f"baseline must be one of {', '.join(BASELINES)}, got {name!r}")
        from ..baselines import lstm_baseline  # it needs transformers, which reading a recipe does not

        architecture = lstm_baseline(self.architecture, **self.lstm)
        called = f"{self.name}-{name}"
        named = replace(self, name=called, baseline_kind=name, baseline_of=self.name)
        return replace(named, architecture=architecture, solved=False)


def fault(field: str, value: Any) -> str | None:
    """What is wrong with a value of a recipe's field, or None."""
    if isinstance(value, float) and not math.isfinite(value):  # NaN passes `value < 0`
        return "must be a finite number"
    if field in POSITIVE and value is not None and not value > 0:
        return "must be positive"
    if field == "optimizer" and value not in OPTIMIZERS:
        return f"must be one of {', '.join(OPTIMIZERS)}"
    if field == "weight_decay" and value < 0:
        return "must not be negative"
    if field == "layer_decay" and not 0 < value <= 1:
        return "must be a fraction in (0, 1]"
    if field in FRACTIONS and value is not None and not 0 <= value < 1:
        return "must be a fraction in [0, 1)"
    return None


RECIPES: dict[str, Callable[[], Recipe]] = {}


def recipe(build: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Enter a recipe under its function's name, with ``_`` as ``-``."""
    # The function, not what it gives: the first recipe that is made tries all schedules of transformers.
    RECIPES[build.__name__.replace("_", "-")] = build
    return build


def get_recipe(name: str, **changes) -> Recipe:
    """A recipe by name, with some of its fields changed (None changes nothing).

    Args:
        name: of a recipe; with a hyphen and a baseline behind it, as in ``text8-lstm``, of its baseline.
        changes: values of fields.

    Raises:
        ValueError: there is no recipe of that name.
    """
    of, _, baseline = name.rpartition("-")
    # Changes go to the recipe first, so that its baseline has them, too.
    if name not in RECIPES and of in RECIPES and baseline in BASELINES:
        return get_recipe(of, **changes).baseline(baseline)
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}; there are {', '.join(sorted(RECIPES))}")
    return replace(RECIPES[name](), **{name: value for name, value in changes.items() if value is not None})
