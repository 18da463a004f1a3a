"""The fields of a config, one by one: records of options, ranges of numbers, and how many numbers they ask for.

An option is one field, None where it is off. Its value is the option's own record: a plain dictionary, as it stands in
``config.json``. The module that computes the option defines that record as a subclass of :class:`Option`, checks it
and says its size. Nothing else has to know it.

All is checked before it costs or decides anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any, ClassVar, Self, TypeVar

import torch

PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")
POSITIVE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "order")
POSITIVE_OR_NONE = (
    "vocab_size",
    "input_size",
    "embedding_size",
    "memory_channels",
    "intermediate_size",
    "image_size",
    "num_decoder_layers",
    "output_size",
)
NOT_NEGATIVE = ("num_highway_layers", "head_hidden_size")
PROBABILITIES = (
    *("embedding_dropout", "hidden_dropout", "attention_dropout", "classifier_dropout"),
    "label_smoothing",
)
MAX_LAYERS = 10_000  # a config makes a list with a word for every layer
MAX_LABELS = 10**6  # every label has a name in the config: ten million are two gigabytes


@dataclass(frozen=True)
class Option:
    """The record of one option; a subclass has a field for every entry, and a default for those that may be left out.

    Attributes:
        name: of the config's field.
    """

    name: ClassVar[str]

    @classmethod
    def read(cls, record: dict[str, Any]) -> Self:
        """The option that a record describes.

        Raises:
            ValueError: an entry is unknown or missing, or its value is out of range; the message names it.
        """
        own = {field.name: field for field in fields(cls)}
        for key in record:
            if key not in own:
                near = get_close_matches(key, own, n=1)
                meant = f"; did you mean {near[0]!r}?" if near else f": there are {', '.join(own)}"
                raise ValueError(f"{cls.name} has no entry {key!r}{meant}")
        try:
            return cls(**record)
        except TypeError as error:  # unknown entries are out already, so one is missing
            raise ValueError(f"{cls.name}={record} lacks an entry: {error}") from error

    @classmethod
    def of(cls, config: Any) -> Self | None:
        """The option that a config asks for; None where it is off."""
        record = getattr(config, cls.name)
        return None if record is None else cls.read(record)

    @property
    def carried(self) -> int:
        """How many numbers one row of a batch carries from step to step because of it."""
        return 0

    def check(self, config: Any) -> None:
        """Complain where the rest of the config does not fit.

        Raises:
            ValueError: it does not.
        """

    def count_numbers(self, config: Any) -> dict[str, int]:
        """How many numbers the weights are, at least, by the entries that decide it."""
        return {}

    def _check_lengths(self, entry: str, allowed: range) -> None:
        """A list of lengths of n-grams."""
        sizes = getattr(self, entry)
        # By type(): to isinstance, True is an int.
        is_list = isinstance(sizes, list | tuple) and all(type(size) is int for size in sizes)
        if not is_list or not sizes or not set(sizes) <= set(allowed) or len(set(sizes)) < len(sizes):
            raise ValueError(
                f"{self.name}: {entry} must be a list of lengths from {allowed[0]} to {allowed[-1]}, none twice, got "
                f"{sizes!r}"
            )

    def _check_whole(self, entry: str, below: int = 2**31) -> None:
        """A positive whole number."""
        value = getattr(self, entry)
        if type(value) is not int or not 1 <= value < below:
            raise ValueError(f"{self.name}: {entry} must be a whole number from 1 to {below - 1}, got {value!r}")

    def _check_probability(self, entry: str) -> None:
        """A number in [0, 1)."""
        value = getattr(self, entry)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise ValueError(f"{self.name}: {entry} must be a probability in [0, 1), got {value!r}")


OPTIONS: dict[str, type[Option]] = {}
Kind = TypeVar("Kind", bound=type[Option])


def option(kind: Kind) -> Kind:
    """Enter an option's record under its field's name, so that configs check it as soon as its module is loaded."""
    OPTIONS[kind.name] = kind
    return kind


def check_names(given: Iterable[str], own: Sequence[str]) -> None:
    """Complain about what is close to a field's name and is none; any other name becomes an attribute.

    Raises:
        ValueError: there is one; the message names the field that was meant.
    """
    for name in given:
        if meant := get_close_matches(name, own, n=1, cutoff=0.85):
            raise ValueError(f"LMUConfig has no field {name!r}; did you mean {meant[0]!r}?")


def check_some(field: str, chosen: Sequence[str], allowed: Sequence[str]) -> None:
    """Complain about a choice of several words that is empty, holds one twice or one that there is not.

    Raises:
        ValueError: it does.
    """
    if not chosen or set(chosen) - set(allowed) or len(set(chosen)) < len(chosen):
        raise ValueError(f"{field} must be a non-empty list out of {allowed}, none twice, got {chosen!r}")


def check_ranges(config: Any) -> None:
    """Complain about a number of a config that is out of its range.

    Raises:
        ValueError: there is one; the message names the field.
    """
    for name in POSITIVE + tuple(name for name in POSITIVE_OR_NONE if getattr(config, name) is not None):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    for name in NOT_NEGATIVE:
        if getattr(config, name) < 0:
            raise ValueError(f"{name} must not be negative, got {getattr(config, name)}")
    for name in PROBABILITIES:
        if not 0 <= getattr(config, name) < 1:  # 1 would drop everything
            raise ValueError(f"{name} must be a probability in [0, 1), got {getattr(config, name)}")
    for name in ("initializer_range", "residual_initializer_scale"):
        if not 0 < getattr(config, name) < float("inf"):  # NaN fails, too
            raise ValueError(f"{name} must be positive, got {getattr(config, name)}")
    for name in ("num_hidden_layers", "num_decoder_layers"):
        if (getattr(config, name) or 0) > MAX_LAYERS:
            raise ValueError(f"{name} must be at most {MAX_LAYERS}, got {getattr(config, name)}")
    # 2**63 − 1 is the largest signed 64-bit integer; torch takes seeds of 64 bits.
    if config.permutation_seed is not None and not 0 <= config.permutation_seed < 2**63:
        raise ValueError(f"permutation_seed must be from 0 to 2**63 - 1 or None, got {config.permutation_seed}")


def check_unsmoothed(label_smoothing: float) -> None:
    """For heads whose loss is never smoothed.

    Raises:
        ValueError: ``label_smoothing`` would be ignored.
    """
    if label_smoothing:
        raise ValueError(f"label_smoothing={label_smoothing} would be ignored: it is for classifiers and translators")


def check_num_labels(count: object) -> None:
    """Complain about a number of labels that is none, or too large.

    Raises:
        ValueError: it is not an integer from 1 to ``MAX_LABELS``.
    """
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_LABELS:  # True is an int, too
        raise ValueError(f"num_labels must be an integer from 1 to {MAX_LABELS}, got {count!r}")


def check_labels(names: object, problem_type: object, count: object = None) -> None:
    """Check the names of labels, and whether a problem can have so many.

    Args:
        names: ``id2label``; None for none.
        problem_type: one of ``PROBLEMS``, or None.
        count: ``num_labels`` where it is given beside the names, which it then replaces.

    Raises:
        ValueError: the message names the field.
    """
    if problem_type is not None and problem_type not in PROBLEMS:
        raise ValueError(f"problem_type must be one of {PROBLEMS} or None, got {problem_type!r}")
    if names is not None:
        if not isinstance(names, Mapping):
            raise ValueError(f"id2label must be a dictionary from ids to names, got {type(names).__name__}")
        check_num_labels(len(names))
        # JSON has strings for keys, so an id may come as 0 or as "0".
        if {str(key) for key in names} != {str(number) for number in range(len(names))}:
            raise ValueError(f"id2label must name each of 0 … {len(names) - 1} once, got the ids {_few(names)}")
        if wrong := [name for name in names.values() if not isinstance(name, str)]:
            raise ValueError(f"id2label must give each label a name in letters, got {wrong[0]!r}")
        count = len(names) if count is None else count
    if problem_type == "single_label_classification" and count == 1:
        raise ValueError(
            "problem_type='single_label_classification' chooses among at least 2 labels, got num_labels=1: set "
            "num_labels=2, or problem_type='regression'"
        )


def check_token_ids(ids: Mapping[str, Any], vocab_size: int | None) -> None:
    """Check that special tokens are tokens.

    Args:
        ids: by field, a token id, a list of them, or None.
        vocab_size: how many tokens there are; None for a signal, which has none.

    Raises:
        ValueError: an id is no integer, or is none of the vocabulary's.
    """
    for name, given in ids.items():
        for number in given if isinstance(given, list | tuple) else [given]:
            if number is None:
                continue
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise ValueError(f"{name} must be a token id, 0 or more, or None, got {number!r}")
            if vocab_size is not None and number >= vocab_size:
                raise ValueError(f"{name} must be below vocab_size={vocab_size}, got {number}")


def check_words(dtype: object, architectures: object, weights_file: object) -> None:
    """Check the fields that are words.

    Args:
        dtype: a floating-point type of torch, or its name, or None.
        architectures: class names, or None.
        weights_file: ``transformers_weights``, the one safetensors file to read instead of the usual one, or None.

    Raises:
        ValueError: the message names the field.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise ValueError(
            f"dtype must be a floating-point type of torch, such as 'float32' or 'bfloat16', got {dtype!r}"
        )
    if architectures is not None and not (
        isinstance(architectures, list | tuple) and all(isinstance(name, str) for name in architectures)
    ):
        raise ValueError(f"architectures must be a list of class names, got {architectures!r}")
    if weights_file is not None:
        # A bare file name: a path could lead out of the folder.
        is_plain = isinstance(weights_file, str) and PurePosixPath(weights_file).name == weights_file
        if not is_plain or not str(weights_file).endswith(".safetensors"):
            raise ValueError(f"transformers_weights must name a *.safetensors file of the folder, got {weights_file!r}")


def _few(names: Mapping[Any, Any]) -> str:
    # Six of them tell whether there are more than five, without a walk through a million.
    first = [str(key) for key, _ in zip(names, range(6), strict=False)]
    return ", ".join(first[:5]) + (", …" if len(first) > 5 else "")


def count_of_memories(config: Any) -> dict[str, int]:
    """Numbers of the layers of equations (18) to (20), and of the two matrices of a system."""
    layers, width = config.num_hidden_layers, config.hidden_size
    d_x, d_u = max(config.stack_input_size, width), max(config.layer_channels(0), config.layer_channels(1))
    directions, dense = 2 if config.bidirectional else 1, config.readout == "dense"
    return {
        "order": 2 * config.order**2,
        "memory_channels x order x hidden_size": dense * layers * d_u * config.order * directions * width,
        "hidden_size x memory_channels": layers * d_x * (d_u + width),
    }


def count_around_memories(config: Any) -> dict[str, int]:
    """Numbers of what stands around the memories: embeddings, blocks and head."""
    layers, width = config.num_hidden_layers, config.hidden_size
    # Booleans are factors here: what a block type does not have counts as 0.
    highway_stacks = layers * (config.block_type == "highway") + config.deep_representations
    inner = (config.intermediate_size or 2 * width) * (config.block_type == "residual")
    outputs = max(config.output_size or 1, config.num_labels or 0)
    read = max(config.pooled_size * len(config.pair_features), config.pooled_size)
    return {
        "vocab_size x embedding_size": (config.vocab_size or 0) * (config.embedding_size or width),
        "input_size": (config.input_size or 0) * (config.stack_input_size if config.block_type != "lmu" else 1),
        "hidden_size x intermediate_size": layers * 3 * width * inner,  # gate, up, down
        "num_highway_layers x hidden_size": highway_stacks * config.num_highway_layers * 2 * width**2,
        "num_decoder_layers x hidden_size": 0,  # cross-attention: LMUConfig.asked_bytes sets it
        "vocab_size x hidden_size": 0 if config.tie_word_embeddings else (config.vocab_size or 0) * width,
        "head_hidden_size": config.head_hidden_size * (read + outputs),
        "output_size": outputs * config.pooled_size,
        "image_size": 2 * (config.image_size or 0) ** 2,  # an order of pixels in int64 counts as two float32
    }
