"""Which classes the suites are run on, in which configurations, and what each class reads."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

import lmu_hf
from lmu_hf import LMUConfig
from tiny_stacks import BOTH_WAYS, CAUSAL
from tiny_stacks import TINY as TINY_STACK
from tiny_translators import KINDS
from tiny_translators import TINY as TINY_TRANSLATOR

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
    "lstm": {"model_type": "lmu_lstm"},
}
TWO_WAYS = BOTH_WAYS | {"both ways lstm": {"model_type": "lmu_lstm", "bidirectional": True, "pooling": "mean"}}
TIED = {"tied": {"tie_word_embeddings": True}, "tied n-grams": {**CAUSAL["n-grams"], "tie_word_embeddings": True}}
POOLINGS = {name: {"pooling": name} for name in ("mean", "max", "mean_max")}
HEADS = {"hidden head": {"head_hidden_size": 5}, "one label": {"num_labels": 1}}
PERMUTED = {"permuted": {"permutation_seed": 0}}
VOTES = {"votes": {"votes": {"sizes": [1, 2], "buckets": 50}}}
PAIRS = {
    "aligned": {"alignment": {"size": 4}, "pooling": "mean"},
    "aligned both ways": {"alignment": {"size": 4}, "pooling": "max", "bidirectional": True},
    "two features": {"pair_features": ["difference", "product"]},
    "votes": {"votes": {"sizes": [1, 2], "buckets": 50, "trained": False}},
}
# Heads stand on one stack, which LMUModel shows in every configuration: a few of each kind do for them.
FEW = {name: STACKS[name] for name in ("lmu", "highway", "residual", "windows", "n-grams", "lstm")}
FEW |= {name: TWO_WAYS[name] for name in ("both ways lmu", "both ways residual")}
OF_SIGNALS = {name: FEW[name] for name in ("lmu", "residual", "windows", "lstm", "both ways residual")}
OF_SIGNALS["highway"] = {"block_type": "highway"}  # the one above has embeddings of another width
SERIES = {"vocab_size": None, "input_size": 2}
IMAGE = {"vocab_size": None, "input_size": 2, "image_size": 4}
# Large enough to learn a repeated sequence by heart in 300 steps.
WIDE = {"hidden_size": 32, "intermediate_size": 64, "order": 4, "theta": 8.0}
LEARNERS = {name: WIDE | {"block_type": name} for name in ("lmu", "highway", "residual")} | {
    "lstm": WIDE | {"model_type": "lmu_lstm"}
}


class Suite(NamedTuple):
    """A class, its configurations, and what it reads."""

    model: type
    common: dict
    configurations: dict[str, dict]
    inputs: Callable[[LMUConfig], dict[str, Tensor]]


def named(prefix: str, configurations: dict[str, dict]) -> dict[str, dict]:
    """The configurations, each with a prefix to its name."""
    return {f"{prefix}, {name}": changes for name, changes in configurations.items()}


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
    return {"pixel_values": torch.randn(BATCH, config.input_size, config.image_size, config.image_size)}


def translations(config: LMUConfig) -> dict[str, Tensor]:
    """Padded sources and targets."""
    return text(config) | {
        "decoder_input_ids": draw_ids(TARGET_STEPS),
        "decoder_attention_mask": padding(TARGET_STEPS),
    }


TOKENS = TINY_STACK | {"vocab_size": VOCABULARY, "num_labels": 3}
TRANSLATION = TINY_TRANSLATOR | {"vocab_size": VOCABULARY}
# The suites count one number of layers for both stacks.
ONE_DEPTH = TRANSLATION | {"num_decoder_layers": 2, "decoder_theta": [4.0, 9.0]}
TRANSLATORS = KINDS | {"windows": {"decoder_theta": [[2.0, 20.0], 9.0], "bidirectional": True}}
BODIES = {name: TRANSLATORS[name] for name in ("residual", "lmu", "both ways", "tied", "lstm", "n-grams")}
SUITES = [
    Suite(lmu_hf.LMUModel, TOKENS, STACKS | TWO_WAYS, text),
    Suite(lmu_hf.LMUModel, TOKENS | SERIES, named("series", OF_SIGNALS), series),
    Suite(lmu_hf.LMUForCausalLM, TOKENS, STACKS | TIED, text),
    Suite(lmu_hf.LMUForSequenceClassification, TOKENS, FEW | POOLINGS | HEADS | VOTES, text),
    Suite(lmu_hf.LMUForSequenceClassification, TOKENS | SERIES, named("series", {"last": {}} | POOLINGS), series),
    Suite(lmu_hf.LMUForSequencePairClassification, TOKENS, FEW | POOLINGS | HEADS | PAIRS, pairs),
    Suite(lmu_hf.LMUForImageClassification, TOKENS | IMAGE, OF_SIGNALS | POOLINGS | PERMUTED, images),
    Suite(lmu_hf.LMUForAudioClassification, TOKENS | SERIES, OF_SIGNALS | POOLINGS, series),
    Suite(lmu_hf.LMUForTokenClassification, TOKENS, FEW | {"hidden head": HEADS["hidden head"]}, text),
    Suite(lmu_hf.LMUForTimeSeriesPrediction, TOKENS | SERIES | {"output_size": 2}, OF_SIGNALS, series),
    Suite(lmu_hf.LMUEncoderDecoderModel, ONE_DEPTH, BODIES, translations),
    Suite(lmu_hf.LMUForConditionalGeneration, ONE_DEPTH, TRANSLATORS, translations),
]
LEARNING = Suite(lmu_hf.LMUForCausalLM, TOKENS, LEARNERS, text)
