"""From a pre-trained stack to a classifier: the body's weights are kept, what stands on it is new."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils.logging import get_logger

from ..common.errors import loading
from ..configuration_lmu import LMUConfig
from .baselines import make_config

logger = get_logger(__name__)

# Fields that say nothing about what the body computes with its weights, or only add to it.
FREE_FIELDS = frozenset(
    (
        *("deep_representations", "pooling", "pair_features", "alignment", "head_hidden_size", "votes"),
        *("label_smoothing", "embedding_dropout", "hidden_dropout", "attention_dropout", "classifier_dropout"),
        # One function in several forms, and what matters only to fresh weights or to a cache.
        *("memory_form", "use_cache", "tie_word_embeddings", "output_size"),
        *("initializer_range", "residual_initializer_scale"),
    )
)
OF_THE_LABELS = ("id2label", "label2id", "problem_type", "output_size", "thresholds")
MADE_ANEW = ("classifier.", "targets.", "alignment.", "votes.", "model.mixture.", "model.mixture_highways.")


@dataclass(frozen=True)
class Transfer:
    """A classifier on a pre-trained body.

    Args:
        model: the classifier, in evaluation mode.
        new: the names of its weights that no pre-training has seen.
        unused: the names of pre-trained weights that it has no place for, such as a next-token head.
    """

    model: PreTrainedModel
    new: tuple[str, ...]
    unused: tuple[str, ...]


def classifier_from_pretrained(name_or_path: str, **config_changes: Any) -> PreTrainedModel:
    """A classifier whose body is a pre-trained model's; the log says which weights are new.

    Args:
        name_or_path: a folder, or a name on the Hub.
        config_changes: as for :func:`transfer_body`.

    Raises:
        ValueError: as :func:`transfer_body` raises it.
    """
    transfer = transfer_body(name_or_path, **config_changes)
    said = {"new": _parts(transfer.new), "left behind": _parts(transfer.unused)}
    logger.warning(
        "taken over from %s; %s", name_or_path, "; ".join(f"{word}: {of}" for word, of in said.items() if of)
    )
    return transfer.model


def _parts(weights: Iterable[str]) -> str:
    """The heads and blocks that weights belong to."""
    return ", ".join(dict.fromkeys(re.sub(r"^(model\.layers\.\d+|(model\.)?[^.]+).*", r"\1", name) for name in weights))


def transfer_body(name_or_path: str, auto_class: Any = AutoModelForSequenceClassification, **changes: Any) -> Transfer:
    """Put a classifier on the body of a pre-trained model of the family.

    Args:
        name_or_path: a folder, or a name on the Hub; of a language model or of another classifier.
        auto_class: the Auto class of the model that is wanted. Which of several classes answers for it,
            ``architectures=["LMUForSequencePairClassification"]`` says.
        changes: fields of :class:`LMUConfig` beside those that were saved: the classes, the pooling,
            ``deep_representations=True`` for a learned mixture of all blocks' outputs, dropouts. With
            ``num_highway_layers`` the mixture gets another number of highway layers than the blocks were made with, if
            the blocks have none. A smaller ``num_hidden_layers`` takes the lowest blocks over and leaves the others.

    Raises:
        ValueError: there is no such model, it is not of the family, a field would make another body of it, or a weight
            of the body is missing or of another shape; the message names the field or the weight.
    """
    old = _lowest_blocks(_saved_config(name_or_path), changes.get("num_hidden_layers"))
    _refuse_another_body(name_or_path, old, changes)
    saved = {
        name: value for name, value in old.to_dict().items() if name not in ("architectures", "transformers_version")
    }
    if {"id2label", "num_labels"} & changes.keys():
        # The old head's labels would contradict the number of new ones.
        saved = {name: value for name, value in saved.items() if name not in OF_THE_LABELS}
    # The saved class is forgotten: a language model's name must not stand in a classifier's config.
    config = make_config({**saved, "architectures": None, **changes})
    with loading("model", name_or_path):
        # Mismatched sizes are an error by default, even of a head; what may be misshapen is decided below.
        model, found = auto_class.from_pretrained(
            name_or_path, config=config, output_loading_info=True, ignore_mismatched_sizes=True
        )
    misshapen = {name: shapes for name, *shapes in found["mismatched_keys"]}
    new = sorted({*found["missing_keys"], *misshapen})
    for name in new:
        if not name.startswith(MADE_ANEW):
            fault = f"has the shape {tuple(misshapen[name][0])}" if name in misshapen else "is missing"
            raise ValueError(f"{name_or_path} does not hold the body that its config describes: {name} {fault}")
    return Transfer(model.eval(), tuple(new), tuple(sorted(found["unexpected_keys"])))  # sorted: the sets have no order


def _saved_config(name_or_path: str) -> LMUConfig:
    with loading("model", name_or_path):
        config = AutoConfig.from_pretrained(name_or_path)
    if not isinstance(config, LMUConfig):
        raise ValueError(f"{name_or_path} must be a model of the LMU family, its model_type is {config.model_type!r}")
    if config.is_encoder_decoder:
        raise ValueError(f"{name_or_path} has two stacks (is_encoder_decoder=True): a classifier needs one")
    return config


def _lowest_blocks(config: LMUConfig, count: int | None) -> LMUConfig:
    """The config of so many of the lowest blocks, where there are more."""
    if count is None or not 1 <= count < config.num_hidden_layers:
        return config  # more blocks, or none, are refused as any other body is
    windows = {"theta": config.theta[:count]} if isinstance(config.theta, list) else {}
    return LMUConfig.from_dict(config.to_dict() | {"num_hidden_layers": count} | windows)


def _refuse_another_body(name: str, old: LMUConfig, changes: dict[str, Any]) -> None:
    """Every field of the architecture that is not free must stay as it is."""
    free = set(FREE_FIELDS)
    if old.block_type != "highway" and not old.deep_representations:
        free.add("num_highway_layers")  # it will count the mixture's own
    for field, value in changes.items():
        # Special tokens' ids come from the tokenizer and change no weight.
        if field in LMUConfig.__annotations__ and not field.endswith("_token_id") and field not in free:
            there = getattr(old, field)
            if value != there:
                raise ValueError(
                    f"{field} cannot change on a pre-trained body: {name} has {there!r}, asked was {value!r}"
                )
