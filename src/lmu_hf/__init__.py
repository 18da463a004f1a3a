"""Legendre Memory Units as a Hugging Face model family.

``import lmu_hf`` introduces the family to transformers' Auto classes; from then on
``AutoModelForImageClassification.from_pretrained("org/lmu-psmnist")`` and its sisters know it.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTimeSeriesPrediction,
)

from .cache_lmu import LMUCacheLayer
from .configuration_lmu import LMUConfig
from .heads_lmu import (
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesPrediction,
)
from .layers import LMULayer
from .modeling_lmu import LMUForCausalLM, LMUModel, LMUPreTrainedModel
from .modeling_lmu_seq2seq import LMUEncoderDecoderModel, LMUForConditionalGeneration
from .statespace import LegendreSystem, decode_past
from .version import __version__

AutoConfig.register("lmu", LMUConfig)
# Where two classes answer for one Auto class, `config.architectures` says which of them a checkpoint is.
AutoModel.register(LMUConfig, (LMUModel, LMUEncoderDecoderModel))
AutoModelForCausalLM.register(LMUConfig, LMUForCausalLM)
AutoModelForSeq2SeqLM.register(LMUConfig, LMUForConditionalGeneration)
AutoModelForSequenceClassification.register(LMUConfig, (LMUForSequenceClassification, LMUForSequencePairClassification))
AutoModelForImageClassification.register(LMUConfig, LMUForImageClassification)
AutoModelForTimeSeriesPrediction.register(LMUConfig, LMUForTimeSeriesPrediction)

__all__ = [
    "LMUCacheLayer",
    "LMUConfig",
    "LMUEncoderDecoderModel",
    "LMUForCausalLM",
    "LMUForConditionalGeneration",
    "LMUForImageClassification",
    "LMUForSequenceClassification",
    "LMUForSequencePairClassification",
    "LMUForTimeSeriesPrediction",
    "LMULayer",
    "LMUModel",
    "LMUPreTrainedModel",
    "LegendreSystem",
    "__version__",
    "decode_past",
]
