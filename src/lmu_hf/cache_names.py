"""The two names of a cache: ``cache`` since transformers 5.24, ``past_key_values`` before it. Models take either."""

from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast, ModelOutput

CACHE_NAME = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
BOTH_NAMES = ("cache", "past_key_values")
# Under these, models of other families take theirs.
FOREIGN_NAMES = ("cache_params", "past_key_value", "layer_past", "state", "mems", "past_buckets_states")
AnyCache = TypeVar("AnyCache", bound=Cache)
Output = TypeVar("Output", bound=ModelOutput)


def one_cache(cache: AnyCache | None, past_key_values: AnyCache | None, others: dict[str, Any]) -> AnyCache | None:
    """The cache that was given, whatever it was called.

    Args:
        cache: given by the newer name.
        past_key_values: given by the older name.
        others: the keyword arguments that a model does not know.

    Raises:
        TypeError: both names were used, or one that only models of other families take.
    """
    if others:
        refuse_caches(others)
    if cache is not None and past_key_values is not None:
        raise TypeError("cache and past_key_values are two names of one argument: give one of them")
    return past_key_values if cache is None else cache


def refuse_caches(others: dict[str, Any]) -> None:
    """Complain about a cache among keyword arguments that nobody reads.

    Raises:
        TypeError: there is one.
    """
    for name in (*BOTH_NAMES, *FOREIGN_NAMES):
        if others.get(name) is not None:
            hint = "give memories as cache (or past_key_values)" if name in FOREIGN_NAMES else "this model carries none"
            raise TypeError(f"{name} is not an argument of this model: {hint}")


def cache_of(output: ModelOutput) -> Any:
    """The cache that a model returned, or None."""
    return getattr(output, CACHE_NAME)


@dataclass_transform()
def output_with_cache(output: type[Output]) -> type[Output]:
    """Make a dataclass of a model's output, whose field ``cache`` then has the installed transformers' name for it."""
    # Before dataclass() runs, since it takes the fields, and their order, from the annotations.
    fields = output.__annotations__
    if CACHE_NAME != "cache":
        output.__annotations__ = {CACHE_NAME if name == "cache" else name: fields[name] for name in fields}
        setattr(output, CACHE_NAME, None)  # the default moves with the name
        delattr(output, "cache")
    return dataclass(output)
