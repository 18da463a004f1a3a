"""The config of the LSTM baseline: the family's stack, with torch's LSTM in the place of every memory."""

from dataclasses import MISSING, fields
from typing import Any

from huggingface_hub.dataclasses import strict

from .configuration_lmu import LMUConfig

# What a Legendre memory has and an LSTM does not.
OF_MEMORIES = (
    *("order", "theta", "decoder_theta", "memory_channels", "discretization", "basis", "encoder", "readout"),
    "memory_form",
)
DEFAULTS = {field.name: field.default for field in fields(LMUConfig) if field.default is not MISSING}


@strict
class LSTMConfig(LMUConfig):
    """The config of every model of the LSTM baseline.

    Its fields are those of :class:`LMUConfig` that describe a stack and its heads. Those that describe a memory must be
    left out, and are not written down.

    Raises:
        ValueError: a field of a memory is given.
    """

    model_type = "lmu_lstm"
    body_of_two_stacks = "LSTMEncoderDecoderModel"

    def __post_init__(self, **kwargs: Any) -> None:
        for name in OF_MEMORIES:
            if getattr(self, name) != DEFAULTS[name]:  # one that is left out holds its default
                raise ValueError(f"{name} has no effect on an LSTM, which has no Legendre memory: leave it out")
        super().__post_init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        """The fields, without those of a memory."""
        return {name: value for name, value in super().to_dict().items() if name not in OF_MEMORIES}

    @property
    def memory_shapes(self) -> list[tuple[int, int]]:
        """What one row of a batch carries in each layer: of every unit the hidden state and the cell state."""
        # A cache layer holds (b, channels, order): units stand for channels, the two states for coefficients.
        return [(self.hidden_size, 2)] * self.num_hidden_layers

    @property
    def memory_meanings(self) -> list:
        """What decides the meaning of every carried number."""
        return ["lstm", self.hidden_size]

    def _validate_readout(self) -> None:
        """Half of the units read the other way."""
        if self.bidirectional and self.hidden_size % 2:
            raise ValueError(f"a bidirectional LSTM needs an even hidden_size, got {self.hidden_size}")

    def _count_of_memories(self) -> dict[str, int]:
        """Four gates, each with a matrix on what is read and one on what is carried."""
        d_x, width = max(self.stack_input_size, self.hidden_size), self.hidden_size
        return {"4 x hidden_size": self.num_hidden_layers * 4 * width * (d_x + width)}
