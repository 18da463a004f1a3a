"""Options of the family: what every option's record has in common, those that are loaded, and sizes of the rest.

An option is one field of the config, None where it is off. Its value is the option's own record: a plain dictionary,
as it stands in ``config.json``. The module that computes the option defines that record as a subclass of
:class:`Option`, checks it and says its size. Nothing else has to know it.
"""

from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, ClassVar, Self, TypeVar


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
