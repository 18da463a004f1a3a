"""Legendre Memory Units as a Hugging Face model family.

``import lmu_hf`` introduces the family to transformers' Auto classes; from then on
``AutoModelForImageClassification.from_pretrained("org/lmu-psmnist")`` and its sisters know it.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
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
from .statespace import LegendreSystem, decode_past
from .version import __version__

AutoConfig.register("lmu", LMUConfig)
AutoModel.register(LMUConfig, LMUModel)
AutoModelForCausalLM.register(LMUConfig, LMUForCausalLM)
# Two classes answer for one Auto class: `config.architectures` says which of them a checkpoint is.
AutoModelForSequenceClassification.register(LMUConfig, (LMUForSequenceClassification, LMUForSequencePairClassification))
AutoModelForImageClassification.register(LMUConfig, LMUForImageClassification)
AutoModelForTimeSeriesPrediction.register(LMUConfig, LMUForTimeSeriesPrediction)

__all__ = [
    "LMUCacheLayer",
    "LMUConfig",
    "LMUForCausalLM",
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
