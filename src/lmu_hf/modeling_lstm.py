"""The LSTM baseline: every model of the family once more, with torch's LSTM in the place of every memory.

Blocks, heads, losses and generation are the family's own, so that a comparison changes nothing but what remembers.
"""

from transformers.configuration_utils import PreTrainedConfig

from .audio_lmu import LMUForAudioClassification
from .blocks_lmu import makes_memory
from .configuration_lstm import LSTMConfig
from .forecasts_lmu import LMUForTimeSeriesPrediction
from .heads_lmu import LMUForSequenceClassification
from .images_lmu import LMUForImageClassification
from .lstm import LSTMLayer
from .modeling_lmu import LMUForCausalLM, LMUModel
from .modeling_lmu_seq2seq import LMUEncoderDecoderModel, LMUForConditionalGeneration
from .pairs_lmu import LMUForSequencePairClassification
from .series_lmu import LMUForTimeSeriesClassification
from .tokens_lmu import LMUForTokenClassification


@makes_memory(LSTMConfig.model_type)
def make_lstm(config: LSTMConfig, layer_idx: int) -> LSTMLayer:
    """A block's LSTM."""
    d_x = config.stack_input_size if layer_idx == 0 else config.hidden_size
    return LSTMLayer(d_x, config.hidden_size, config.bidirectional)


class LSTMFamily:
    """What all models of the baseline have in common; to be named before the family's own class."""

    config_class: type[PreTrainedConfig] | None = LSTMConfig
    _can_compile_fullgraph: bool = False  # torch.compile leaves its graph for an LSTM of torch's


class LSTMModel(LSTMFamily, LMUModel):
    """The stack under every head; see :class:`LMUModel`."""


class LSTMEncoderDecoderModel(LSTMFamily, LMUEncoderDecoderModel):
    """Two stacks without a head; see :class:`LMUEncoderDecoderModel`."""


class LSTMForCausalLM(LSTMFamily, LMUForCausalLM):
    """The next token; see :class:`LMUForCausalLM`."""


class LSTMForConditionalGeneration(LSTMFamily, LMUForConditionalGeneration):
    """Translation; see :class:`LMUForConditionalGeneration`."""


class LSTMForSequenceClassification(LSTMFamily, LMUForSequenceClassification):
    """A class for a sequence; see :class:`LMUForSequenceClassification`."""


class LSTMForSequencePairClassification(LSTMFamily, LMUForSequencePairClassification):
    """A class for two sequences; see :class:`LMUForSequencePairClassification`."""


class LSTMForImageClassification(LSTMFamily, LMUForImageClassification):
    """A class for an image; see :class:`LMUForImageClassification`."""


class LSTMForAudioClassification(LSTMFamily, LMUForAudioClassification):
    """A class for a sound; see :class:`LMUForAudioClassification`."""


class LSTMForTimeSeriesClassification(LSTMFamily, LMUForTimeSeriesClassification):
    """A class for a series; see :class:`LMUForTimeSeriesClassification`."""


class LSTMForTimeSeriesPrediction(LSTMFamily, LMUForTimeSeriesPrediction):
    """A prediction at every step; see :class:`LMUForTimeSeriesPrediction`."""


class LSTMForTokenClassification(LSTMFamily, LMUForTokenClassification):
    """A class for every token; see :class:`LMUForTokenClassification`."""
