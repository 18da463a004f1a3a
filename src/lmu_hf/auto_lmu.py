"""The family, introduced to transformers' Auto classes and pipelines: importing this module does it.

What it holds is what ``lmu_hf`` offers.
"""

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTimeSeriesPrediction,
    AutoModelForTokenClassification,
)
from transformers.pipelines import PIPELINE_REGISTRY

from .audio_lmu import LMUForAudioClassification
from .audio_pipeline_lmu import LMUAudioClassificationPipeline
from .cache_lmu import LMUCacheLayer
from .configuration_lmu import LMUConfig
from .configuration_lstm import LSTMConfig
from .distributed import sequence_parallel
from .feature_extraction_lmu import LMUFeatureExtractor
from .forecasts_lmu import LMUForTimeSeriesPrediction
from .heads_lmu import LMUForSequenceClassification
from .images_lmu import LMUForImageClassification
from .layers import LMULayer
from .memories_lmu import load_memories, save_memories
from .modeling_lmu import LMUForCausalLM, LMUModel, LMUPreTrainedModel
from .modeling_lmu_seq2seq import LMUEncoderDecoderModel, LMUForConditionalGeneration
from .modeling_lstm import (
    LSTMEncoderDecoderModel,
    LSTMForAudioClassification,
    LSTMForCausalLM,
    LSTMForConditionalGeneration,
    LSTMForImageClassification,
    LSTMForSequenceClassification,
    LSTMForSequencePairClassification,
    LSTMForTimeSeriesClassification,
    LSTMForTimeSeriesPrediction,
    LSTMForTokenClassification,
    LSTMModel,
)
from .pairs_lmu import LMUForSequencePairClassification
from .pipeline_lmu import LMUTranslationPipeline
from .series_lmu import LMUForTimeSeriesClassification
from .shipped import pretrained
from .statespace import LegendreSystem, decode_past
from .tokenization_lmu import CHAT_TEMPLATE, TEXT_TEMPLATE, bpe_dropout, train_tokenizer
from .tokens_lmu import LMUForTokenClassification

AutoConfig.register("lmu", LMUConfig)
# Where two classes answer for one Auto class, `config.architectures` says which of them a checkpoint is.
AutoModel.register(LMUConfig, (LMUModel, LMUEncoderDecoderModel))
AutoModelForCausalLM.register(LMUConfig, LMUForCausalLM)
AutoModelForSeq2SeqLM.register(LMUConfig, LMUForConditionalGeneration)
AutoModelForSequenceClassification.register(
    LMUConfig, (LMUForSequenceClassification, LMUForSequencePairClassification, LMUForTimeSeriesClassification)
)
AutoModelForImageClassification.register(LMUConfig, LMUForImageClassification)
AutoModelForTimeSeriesPrediction.register(LMUConfig, LMUForTimeSeriesPrediction)
AutoModelForTokenClassification.register(LMUConfig, LMUForTokenClassification)
AutoModelForAudioClassification.register(LMUConfig, LMUForAudioClassification)
AutoFeatureExtractor.register(LMUConfig, LMUFeatureExtractor)
# The LSTM baseline is a family of its own.
AutoConfig.register("lmu_lstm", LSTMConfig)
AutoModel.register(LSTMConfig, (LSTMModel, LSTMEncoderDecoderModel))
AutoModelForCausalLM.register(LSTMConfig, LSTMForCausalLM)
AutoModelForSeq2SeqLM.register(LSTMConfig, LSTMForConditionalGeneration)
AutoModelForSequenceClassification.register(
    LSTMConfig, (LSTMForSequenceClassification, LSTMForSequencePairClassification, LSTMForTimeSeriesClassification)
)
AutoModelForImageClassification.register(LSTMConfig, LSTMForImageClassification)
AutoModelForTimeSeriesPrediction.register(LSTMConfig, LSTMForTimeSeriesPrediction)
AutoModelForTokenClassification.register(LSTMConfig, LSTMForTokenClassification)
AutoModelForAudioClassification.register(LSTMConfig, LSTMForAudioClassification)
AutoFeatureExtractor.register(LSTMConfig, LMUFeatureExtractor)
# A task name of the family's own: transformers has no translation pipeline any more.
PIPELINE_REGISTRY.register_pipeline(
    "lmu-translation", pipeline_class=LMUTranslationPipeline, pt_model=AutoModelForSeq2SeqLM, type="text"
)
# The task stays transformers' own in all else, and a saved pipeline needs no code for it: no `register_pipeline`.
PIPELINE_REGISTRY.supported_tasks["audio-classification"]["impl"] = LMUAudioClassificationPipeline

__all__ = [
    "CHAT_TEMPLATE",
    "TEXT_TEMPLATE",
    "LMUAudioClassificationPipeline",
    "LMUCacheLayer",
    "LMUConfig",
    "LMUEncoderDecoderModel",
    "LMUFeatureExtractor",
    "LMUForAudioClassification",
    "LMUForCausalLM",
    "LMUForConditionalGeneration",
    "LMUForImageClassification",
    "LMUForSequenceClassification",
    "LMUForSequencePairClassification",
    "LMUForTimeSeriesClassification",
    "LMUForTimeSeriesPrediction",
    "LMUForTokenClassification",
    "LMULayer",
    "LMUModel",
    "LMUPreTrainedModel",
    "LMUTranslationPipeline",
    "LSTMConfig",
    "LSTMEncoderDecoderModel",
    "LSTMForAudioClassification",
    "LSTMForCausalLM",
    "LSTMForConditionalGeneration",
    "LSTMForImageClassification",
    "LSTMForSequenceClassification",
    "LSTMForSequencePairClassification",
    "LSTMForTimeSeriesClassification",
    "LSTMForTimeSeriesPrediction",
    "LSTMForTokenClassification",
    "LSTMModel",
    "LegendreSystem",
    "bpe_dropout",
    "decode_past",
    "load_memories",
    "pretrained",
    "save_memories",
    "sequence_parallel",
    "train_tokenizer",
]
