"""Which classes the suites are run on, in which configurations, and what each class reads."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from tiny_stacks import BOTH_WAYS, CAUSAL, MEMORY_READOUT
from tiny_stacks import TINY as TINY_STACK
from tiny_translators import KINDS as TRANSLATORS
from tiny_translators import TINY as TINY_TRANSLATOR
from torch import Tensor

import lmu_hf
from lmu_hf import LMUConfig

BATCH, STEPS, TARGET_STEPS = 3, 10, 7
VOCABULARY = 32
DROPOUT = {name: 0.1 for name in ("embedding_dropout", "hidden_dropout", "classifier_dropout")}

STACKS = CAUSAL | {
    "orthonormal": {"basis": "orthonormal"},
    "euler": {"discretization": "euler"},
    "identity encoder": {"encoder": "identity"},
    "layer norm": {"norm": "layer"},
    "dropout": DROPOUT,
    "small branches": {"residual_initializer_scale": 0.1},
    "lstm": {"cell": "lstm"},
}
TWO_WAYS = BOTH_WAYS | {"both ways lstm": {"cell": "lstm", "bidirectional": True, "pooling": "mean"}}
TIED = {"tied": {"tie_word_embeddings": True}, "tied n-grams": {**CAUSAL["n-grams"], "tie_word_embeddings": True}}
POOLINGS = {name: {"pooling": name} for name in ("mean", "max", "mean_max")}
HEADS = {"hidden head": {"head_hidden_size": 5}, "one label": {"num_labels": 1}}
VOTES = {"votes": {"vote_sizes": [1, 2], "vote_buckets": 50}}
PAIRS = {
    "aligned": {"alignment_size": 4, "pooling": "mean"},
    "aligned both ways": {"alignment_size": 4, "pooling": "max", "bidirectional": True},
    "two features": {"pair_features": ["difference", "product"]},
}
OF_TOKENS = {
    "narrow",
    "memory",
    "both ways memory",
    "highway",
    "sandwich",
    "n-grams",
}  # they have embeddings, or n-grams
SIGNALS = {
    **{name: changes for name, changes in (STACKS | TWO_WAYS).items() if name not in OF_TOKENS},
    "memory": MEMORY_READOUT,
    "highway": {"block_type": "highway"},
    "sandwich": {"block_type": "sandwich"},
}
SERIES = {"vocab_size": None, "input_size": 2, "output_size": 2}
IMAGE = {"vocab_size": None, "input_size": 2, "num_channels": 2, "image_size": 4}


class Suite(NamedTuple):
    """A class, its configurations, and what it reads."""

    model: type
    common: dict
    configurations: dict[str, dict]
    inputs: Callable[[LMUConfig], dict[str, Tensor]]


def padding(steps: int) -> Tensor:
    """(BATCH, steps): a mask that leaves some steps of two rows out, at their beginning."""
    return (torch.arange(steps) >= torch.tensor([[2], [0], [3]])).long()


def draw_ids(steps: int) -> Tensor:
    """(BATCH, steps) tokens, no special ones."""
    return torch.randint(3, VOCABULARY - 16, (BATCH, steps))


def text(config: LMUConfig) -> dict[str, Tensor]:
    """A padded batch."""
    return {"input_ids": draw_ids(STEPS), "attention_mask": padding(STEPS)}


def series(config: LMUConfig) -> dict[str, Tensor]:
    """A padded batch of real values."""
    return {"input_values": torch.randn(BATCH, STEPS, config.input_size), "attention_mask": padding(STEPS)}


def pairs(config: LMUConfig) -> dict[str, Tensor]:
    """A padded batch, its second sequences beginning at different steps."""
    second = (torch.arange(STEPS) >= torch.tensor([[5], [7], [6]])).long()
    return text(config) | {"token_type_ids": second}


def images(config: LMUConfig) -> dict[str, Tensor]:
    """A batch of images."""
    return {"pixel_values": torch.randn(BATCH, config.num_channels, config.image_size, config.image_size)}


def translations(config: LMUConfig) -> dict[str, Tensor]:
    """Padded sources and targets."""
    return text(config) | {
        "decoder_input_ids": draw_ids(TARGET_STEPS),
        "decoder_attention_mask": padding(TARGET_STEPS),
    }


TOKENS = TINY_STACK | {"vocab_size": VOCABULARY, "num_labels": 3}
TRANSLATION = TINY_TRANSLATOR | {"vocab_size": VOCABULARY}
ONE_DEPTH = TRANSLATION | {"num_decoder_layers": 2, "decoder_theta": [4.0, 9.0]}
SUITES = [
    Suite(lmu_hf.LMUModel, TOKENS, STACKS | TWO_WAYS, text),
    Suite(lmu_hf.LMUModel, TOKENS | SERIES, {f"series, {name}": changes for name, changes in SIGNALS.items()}, series),
    Suite(lmu_hf.LMUForCausalLM, TOKENS, STACKS | TIED, text),
    Suite(lmu_hf.LMUForSequenceClassification, TOKENS, STACKS | TWO_WAYS | POOLINGS | HEADS | VOTES, text),
    Suite(
        lmu_hf.LMUForSequenceClassification, TOKENS | SERIES, {"series": {}, "series, mean": POOLINGS["mean"]}, series
    ),
    Suite(lmu_hf.LMUForSequencePairClassification, TOKENS, STACKS | TWO_WAYS | POOLINGS | HEADS | PAIRS, pairs),
    Suite(
        lmu_hf.LMUForImageClassification,
        TOKENS | IMAGE,
        SIGNALS | POOLINGS | HEADS | {"permuted": {"pixel_order": "permuted"}},
        images,
    ),
    Suite(lmu_hf.LMUForTimeSeriesPrediction, TOKENS | SERIES, SIGNALS, series),
    Suite(lmu_hf.LMUEncoderDecoderModel, ONE_DEPTH, TRANSLATORS, translations),
    Suite(lmu_hf.LMUForConditionalGeneration, ONE_DEPTH, TRANSLATORS, translations),
]
