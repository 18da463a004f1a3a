"""What a search tries: fields of a recipe and of its config, each with a range or a list of values.

Nothing is imported here that takes time, so that a wrong range is refused in a moment.
"""

import argparse
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..training.recipes import Recipe
from ..training.recipes.base import fault
from .training_flags import RECIPE_FLAGS

if TYPE_CHECKING:
    from optuna import Trial

FLAGS = {flag: (field, kind) for flag, field, kind, _ in RECIPE_FLAGS}
LENGTHS = ("num_train_epochs", "max_train_steps")  # of a run: only one of them is given
DROPOUTS = ("embedding_dropout", "hidden_dropout", "classifier_dropout", "attention_dropout")
WINDOWS = ("theta", "decoder_theta")
# A recipe's windows are often a list; this stretches them all. It is no field, so `--search` does not take it.
SCALE = "theta_scale"
# How far the default space reaches on either side of the recipe's own value, as a factor.
REACH = {"learning_rate": 5.0, "weight_decay": 10.0, SCALE: 2.0, "theta": 2.0, "order": 2.0, "length": 2.0}
MOST_DROPOUT = 0.8
FROM_ZERO = {"weight_decay": 0.1, "dropout": 0.3}  # how far up, where the recipe's own value is 0


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, on a logarithmic scale unless ``low`` is 0 or less; whole ones if so said."""

    low: float
    high: float
    whole: bool = False

    @property
    def log(self) -> bool:
        """Whether the scale is logarithmic."""
        return self.low > 0

    @property
    def ends(self) -> tuple[str, ...]:
        """The two ends, as one would type them."""
        return say_number(self.low), say_number(self.high)


@dataclass(frozen=True)
class Choices:
    """Values to choose among, as one would type them behind a flag."""

    words: tuple[str, ...]

    @property
    def ends(self) -> tuple[str, ...]:
        """Each of them."""
        return self.words


Values = Range | Choices


def say_number(value: float) -> str:
    """A number in at most three digits behind its leading zeros, or whole."""
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def say(values: Values) -> str:
    """A range or a list of values, for the console."""
    if isinstance(values, Choices):
        return ", ".join(values.words)
    return f"{' to '.join(values.ends)}{' (log)' if values.log else ''}"


def search_field(text: str) -> tuple[str, Values]:
    """The type of ``--search``: a field with a range ``LOW..HIGH`` or values ``a,b,c``; flags of a recipe are checked.

    Raises:
        argparse.ArgumentTypeError: it has no such form, or the flag takes no such value.
    """
    name, sign, told = text.partition("=")
    if not sign or not name or not told:
        raise argparse.ArgumentTypeError(f"takes FIELD=LOW..HIGH or FIELD=a,b,c, got {text!r}")
    values = _range(name, told) if ".." in told else Choices(_words(told))
    if len(set(values.ends)) < max(2, len(values.ends)):
        raise argparse.ArgumentTypeError(f"{text}: give two values or more, none twice")
    if name in FLAGS:
        for word in values.ends:
            _check_flag(name, word, text)
    return name, values


def _range(name: str, told: str) -> Range:
    low, _, high = told.partition("..")
    try:
        ends = [int(end) if end.strip().lstrip("+-").isdigit() else float(end) for end in (low, high)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{name}={told}: LOW and HIGH must be numbers") from None
    if not ends[0] < ends[1] < float("inf"):  # NaN fails, too
        raise argparse.ArgumentTypeError(f"{name}={told}: LOW must be below HIGH, and both finite")
    # A flag knows what it takes; a field of the config takes what is written.
    whole = all(isinstance(end, int) for end in ends) and (name not in FLAGS or FLAGS[name][1] is int)
    low_end, high_end = ends if whole else map(float, ends)
    return Range(low_end, high_end, whole=whole)


def _words(told: str) -> tuple[str, ...]:
    try:  # as JSON, so that a list such as [4,16] is one value
        return tuple(json.dumps(value) if not isinstance(value, str) else value for value in json.loads(f"[{told}]"))
    except json.JSONDecodeError:  # bare words
        return tuple(word.strip() for word in told.split(","))


def _check_flag(name: str, word: str, text: str) -> None:
    field, kind = FLAGS[name]
    try:
        wrong = fault(field, kind(word))
    except ValueError:
        wrong = f"must be of type {kind.__name__}"
    if wrong:
        raise argparse.ArgumentTypeError(f"{text}: {wrong}, got {word}")


def default_space(recipe: Recipe, leave_out: Collection[str]) -> dict[str, Values]:
    """Ranges around a recipe's own values.

    Args:
        recipe: with what flags have changed of it.
        leave_out: fields that are settled: by a flag, by the data, or by a model that is fine-tuned.
    """
    space: dict[str, Values] = {
        "learning_rate": _around(recipe.learning_rate, "learning_rate"),
        "weight_decay": _around(recipe.weight_decay, "weight_decay", FROM_ZERO["weight_decay"]),
    }
    batches = sorted({max(1, recipe.batch_size // 2), recipe.batch_size, 2 * recipe.batch_size})
    space["per_device_train_batch_size"] = Choices(tuple(map(str, batches)))
    if not set(LENGTHS) & set(leave_out):  # either of them settles the other
        steps = recipe.max_steps
        length = LENGTHS[0] if steps is None else LENGTHS[1]
        space[length] = _around(recipe.epochs if steps is None else steps, "length")
    for name in DROPOUTS:
        if name == "hidden_dropout" or name in recipe.architecture:  # every stack has the first
            own = float(recipe.architecture.get(name, 0))
            most = max(own, min(2 * own, MOST_DROPOUT)) if own else FROM_ZERO["dropout"]
            space[name] = Range(round(own / 2, 3), round(most, 3))
    space |= _memory_space(recipe.architecture, leave_out)
    return {name: values for name, values in space.items() if name not in leave_out}


def _memory_space(architecture: dict[str, Any], leave_out: Collection[str]) -> dict[str, Values]:
    """Ranges for windows and order; none for an LSTM."""
    if "model_type" in architecture:
        return {}
    space: dict[str, Values] = {}
    # Where the memory itself is read, its order is the width of what reads it, and not free.
    if architecture.get("readout") != "memory" and "order" in architecture:
        space["order"] = _around(architecture["order"], "order")
    # The memory of a forecast holds its context, whose length the rows have decided.
    theta = None if architecture.get("forecast") else architecture.get("theta")
    if isinstance(theta, list) and not set(WINDOWS) & set(leave_out):
        space[SCALE] = _around(1.0, SCALE)
    elif isinstance(theta, int | float):
        space["theta"] = _around(theta, "theta")
    return space


def _around(own: float, name: str, from_zero: float = 0.0) -> Range:
    """From the recipe's own value down and up by the field's factor; a value of 0 only up."""
    if own == 0:
        return Range(0.0, from_zero)
    factor = REACH[name]
    if isinstance(own, int):
        return Range(max(1, int(own // factor)), int(own * factor), whole=True)
    low = own / factor
    return Range(float(f"{max(1.0, low) if name == 'theta' else low:.3g}"), float(f"{own * factor:.3g}"))


def within(values: Values, own: Any) -> Any:
    """A recipe's own value as a study holds it, if it is one of those that are searched; or else None."""
    if isinstance(values, Choices):
        return next((word for word in values.words if plain(word) == own), None)
    if isinstance(own, bool) or not isinstance(own, int | float) or not values.low <= own <= values.high:
        return None
    return own if not values.whole or own == int(own) else None


def own_value(recipe: Recipe, name: str, defaults: dict[str, Any]) -> Any:
    """What a recipe has for a field that is searched.

    Args:
        recipe: the recipe.
        name: of a flag or of a field of the config.
        defaults: of the config.
    """
    if name in FLAGS:
        return getattr(recipe, FLAGS[name][0])
    return 1.0 if name == SCALE else recipe.architecture.get(name, defaults.get(name))


def command_words(settings: dict[str, str], architecture: dict[str, Any], overrides: Iterable[str]) -> list[str]:
    """A trial's settings as flags of the training verb.

    Args:
        settings: the value of each field, as one would type it.
        architecture: the recipe's own, whose windows are stretched.
        overrides: what ``--config_overrides`` was given beside.
    """
    words, fields = [], list(overrides)
    for name, word in settings.items():
        if name in FLAGS:
            words += [f"--{name}", word]
        elif name == SCALE:
            windows = [window for window in WINDOWS if architecture.get(window) is not None]
            fields += [f"{window}={json.dumps(_stretched(architecture[window], float(word)))}" for window in windows]
        else:
            fields.append(f"{name}={word}")
    return [*words, *(["--config_overrides", *fields] if fields else [])]


def _stretched(theta: Any, factor: float) -> Any:
    if isinstance(theta, list):
        return [_stretched(window, factor) for window in theta]
    return max(1.0, round(theta * factor, 2))


def plain(word: str) -> Any:
    """A value as ``--config_overrides`` reads it: as JSON, or as the word that it is."""
    try:
        return json.loads(word)
    except json.JSONDecodeError:  # a bare word
        return word


def suggest(trial: "Trial", space: dict[str, Values]) -> dict[str, str]:
    """A value of each field, as one would type it."""
    found = {}
    for name, values in space.items():
        if isinstance(values, Choices):
            found[name] = trial.suggest_categorical(name, values.words)
        elif values.whole:
            found[name] = str(trial.suggest_int(name, int(values.low), int(values.high), log=values.log))
        else:
            drawn = trial.suggest_float(name, values.low, values.high, log=values.log)
            # Three digits, so that a command is legible; rounded up, the last one would lie outside.
            found[name] = repr(min(max(float(f"{drawn:.3g}"), values.low), values.high))
    return found
