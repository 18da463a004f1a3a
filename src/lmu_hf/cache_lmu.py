"""What a layer remembers between calls: its memory, how many columns it has read, and the last tokens for n-grams.

A cache has two names: ``cache`` since transformers 5.24, ``past_key_values`` before it. Models take either.

The layer type ``"lmu"`` lives in transformers' standard caches: ``DynamicCache(config=model.config)`` and
``StaticCache(config=model.config, ...)`` build these layers by themselves. Its size is b·d_u·d numbers and one
counter, and in the first layer a few token ids, however many tokens have passed.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar, cast, dataclass_transform

import torch
from torch import Tensor
from transformers.cache_utils import STATIC_LAYER_TYPE_MAPPING, Cache, CacheLayerMixin, LinearAttentionLayer
from transformers.modeling_outputs import CausalLMOutputWithPast, ModelOutput
from transformers.utils import is_torchdynamo_compiling

CACHE_NAME = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
BOTH_NAMES = ("cache", "past_key_values")
# Under these, models of other families take theirs.
FOREIGN_NAMES = ("cache_params", "past_key_value", "layer_past", "state", "mems", "past_buckets_states")
AnyCache = TypeVar("AnyCache", bound=Cache)
Output = TypeVar("Output", bound=ModelOutput)


class LMUCacheLayer(LinearAttentionLayer, CacheLayerMixin):
    """One layer's carried memory (b, d_u, d), in float32 or float64, and how many columns it has read.

    Of a padded batch, columns of padding are counted too, as by every cache of transformers: by that count, a longer
    sequence is told from what has been read of it.
    """

    # By this name transformers finds the class for a DynamicCache once it is defined; for a StaticCache, see below.
    _layer_type = "lmu"
    is_compileable = True  # its size does not grow with the tokens
    is_sliding = False
    supports_early_init = False  # early allocation is by attention heads, which a memory has none of

    def __init__(self, **kwargs) -> None:
        CacheLayerMixin.__init__(self)
        LinearAttentionLayer.__init__(self, number_of_states=1)
        self.cumulative_length: Tensor | None = None
        self.tokens: Tensor | None = None  # (b, k): ids + 1 of the last k tokens, where n-grams are embedded

    @property
    def is_croppable(self) -> bool:
        """A memory cannot be rolled back: what it has forgotten is gone."""
        return False

    @property
    def memory(self) -> Tensor | None:
        """The carried memory (b, d_u, d), or None before the first token."""
        return self._held if self.has_previous_state[0] else None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Everything that is carried, memory, counter and tokens; nothing before the first token."""
        if not self.has_previous_state[0]:  # asked at every token, so without other properties
            return ()
        carried: Any = (self.recurrent_states[0], self.cumulative_length)
        return carried if self.tokens is None else (*carried, self.tokens)

    @property
    def _held(self) -> Tensor:
        return cast(Tensor, self.recurrent_states[0])

    def lazy_initialization(self, recurrent_states: Tensor, state_idx: int = 0) -> None:
        """Allocate the memory and the counter where ``recurrent_states`` lives."""
        with _outliving_modes():
            LinearAttentionLayer.lazy_initialization(self, recurrent_states=recurrent_states, state_idx=state_idx)
            self.cumulative_length = torch.zeros((), dtype=torch.int64, device=recurrent_states.device)
        self.dtype, self.device = recurrent_states.dtype, recurrent_states.device
        # CUDA graphs read a tensor where it was: the counter is marked as transformers marks the state.
        if not is_torchdynamo_compiling():
            torch._dynamo.mark_static_address(self.cumulative_length)
        self.is_initialized = True

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0, tokens: int = 1, **kwargs) -> Tensor:
        """Keep the memory that ``tokens`` more columns left behind, in place unless gradients flow through it."""
        # Another shape, as of another batch, takes a new allocation and starts the count at zero.
        if not self.is_initialized or self._held.shape != recurrent_states.shape:
            self.lazy_initialization(recurrent_states)
        held = self._held
        if held.requires_grad or (recurrent_states.requires_grad and torch.is_grad_enabled()):
            # What belongs to a graph is never written over. The copy lets go of the states that it was cut from.
            with _outliving_modes():
                held = self.recurrent_states[0] = recurrent_states.clone()
        else:
            held.copy_(recurrent_states)
        self.cumulative_length.add_(tokens)  # in place: graphs hold this very tensor
        self.has_previous_state[0] = True
        return held

    def update_tokens(self, tokens: Tensor) -> None:
        """Keep the last tokens (b, k); written in place where there are some of this shape."""
        if self.tokens is None or self.tokens.shape != tokens.shape:
            with _outliving_modes():
                self.tokens = torch.zeros_like(tokens)
            if not is_torchdynamo_compiling():
                torch._dynamo.mark_static_address(self.tokens)
        self.tokens.copy_(tokens)

    def update(self, key_states: Tensor | None, value_states: Tensor | None, *args, **kwargs) -> tuple[None, None]:
        """There are no keys and values here; generation loops that pass None are answered None.

        Raises:
            ValueError: keys or values were given.
        """
        if key_states is None and value_states is None:
            return None, None
        raise ValueError("an LMU cache layer carries a memory, not keys and values: use update_recurrent_state")

    def get_seq_length(self) -> int | Tensor:
        """How many columns have been read."""
        return 0 if self.cumulative_length is None else self.cumulative_length

    def get_max_length(self) -> int:
        """−1: there is no maximum."""
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset that a mask over all tokens would have."""
        return int(self.get_seq_length()) + query_length, 0

    def crop(self, tokens_to_remove: int) -> None:
        """Refused.

        Raises:
            ValueError: always.
        """
        raise ValueError("a memory cannot be rolled back; reset it and run the shortened sequence again")

    def reset(self) -> None:
        """Forget everything, keeping the allocation."""
        # A memory that belongs to a graph is replaced, not zeroed in place: a backward pass may still need it.
        if self.is_initialized and self._held.requires_grad:
            self.recurrent_states[0] = torch.zeros_like(self._held)
        LinearAttentionLayer.reset(self)
        for held in (self.cumulative_length, self.tokens):
            if held is not None:
                held.zero_()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row k becomes row ``beam_idx[k]``."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, in this order."""
        with _outliving_modes():
            if self.is_initialized:
                self.recurrent_states[0] = self._held.index_select(0, indices.to(self.device))
            if self.tokens is not None:
                self.tokens = self.tokens.index_select(0, indices.to(self.tokens.device))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row, ``repeats`` times in a row."""
        with _outliving_modes():
            if self.is_initialized:
                self.recurrent_states[0] = self._held.repeat_interleave(repeats, dim=0)
            if self.tokens is not None:
                self.tokens = self.tokens.repeat_interleave(repeats, dim=0)


# transformers enters a class here by itself only if it is a StaticLayer, which holds keys and values.
STATIC_LAYER_TYPE_MAPPING["lmu"] = LMUCacheLayer


def is_memory(layer: object) -> TypeGuard[LMUCacheLayer]:
    """Whether a cache's layer is an LMU memory.

    By its type's name and not by its class: models whose code came from different folders each have a class of their
    own, and the one that was loaded last is whose layers all of them are given.
    """
    return getattr(layer, "_layer_type", None) == LMUCacheLayer._layer_type


def _outliving_modes() -> AbstractContextManager:
    """For tensors that are kept: what is made in inference mode could not be used outside it."""
    if is_torchdynamo_compiling() or not torch.is_inference_mode_enabled():
        return nullcontext()
    return _outside_inference_mode()


@contextmanager
def _outside_inference_mode() -> Iterator[None]:
    with torch.inference_mode(False), torch.no_grad():  # the first alone would record gradients
        yield


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
