"""What a result is compared with: the LSTM of an architecture."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from ..configuration_lmu import LMUConfig
from ..configuration_lstm import OF_MEMORIES, LSTMConfig


def lstm_baseline(architecture: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The architecture with an LSTM in every memory's place, everything else being equal.

    Args:
        architecture: fields of :class:`LMUConfig`.
        changes: fields to have other values, such as a ``hidden_size`` that makes the parameters as many.
    """
    # `LSTMConfig` refuses fields of a memory: an LSTM would ignore them.
    stack = {name: value for name, value in architecture.items() if name not in OF_MEMORIES}
    return {**stack, **changes, "model_type": LSTMConfig.model_type}


def make_config(fields: dict[str, Any]) -> PreTrainedConfig:
    """The config of a model of the family, or of the baseline that ``model_type`` names.

    Args:
        fields: of that config. Classes in ``architectures`` are called by their names in the family.
    """
    model_type = fields.get("model_type", LMUConfig.model_type)
    fields = {name: value for name, value in fields.items() if name != "model_type"}
    # Tasks name the family's classes; `LMUForCausalLM` has its baseline in `LSTMForCausalLM`.
    if model_type == LSTMConfig.model_type and (classes := fields.get("architectures")):
        fields["architectures"] = [name.replace("LMU", "LSTM") for name in classes]
    return AutoConfig.for_model(model_type, **fields)
