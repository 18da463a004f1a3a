"""Tiny models of the family and of its LSTM baseline, described alike."""

from typing import Any

import lmu_hf
from lmu_hf import LMUConfig, LSTMConfig
from lmu_hf.training.baselines import lstm_baseline, make_config

LSTM = {"model_type": LSTMConfig.model_type}


def config_of(fields: dict[str, Any]) -> LMUConfig:
    """The config with these fields; with those of ``LSTM`` among them, the baseline's, without a memory's fields."""
    return make_config(lstm_baseline(fields) if "model_type" in fields else fields)


def class_of(model: type, config: LMUConfig) -> type:
    """The class of a config's family that does what ``model`` does in the LMU's."""
    return getattr(lmu_hf, model.__name__.replace("LMU", "LSTM")) if isinstance(config, LSTMConfig) else model
