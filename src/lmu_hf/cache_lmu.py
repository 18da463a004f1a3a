"""What a layer remembers between two calls: its memory, how many tokens made it, and the last of them if n-grams ask.

The layer type ``"lmu"`` lives under transformers' standard ``past_key_values``: ``DynamicCache(config=model.config)``
and ``StaticCache(config=model.config, ...)`` build these layers by themselves. Its size is b·d_u·d numbers and one
counter, and in the first layer a few token ids, however many tokens have passed.
"""

from typing import cast

import torch
from torch import Tensor
from transformers.cache_utils import (
    STATIC_LAYER_TYPE_MAPPING,
    CacheLayerMixin,
    LinearAttentionLayer,
)
from transformers.utils import is_torchdynamo_compiling


class LMUCacheLayer(LinearAttentionLayer, CacheLayerMixin):
    """One layer's carried memory (b, d_u, d), in float32 or float64, and the number of tokens behind it."""

    _layer_type = "lmu"
    is_compileable = True
    is_sliding = False
    supports_early_init = False

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
        if not self.has_previous_state[0]:
            return ()
        carried = (self._held, cast(Tensor, self.cumulative_length))
        return carried if self.tokens is None else (*carried, self.tokens)

    @property
    def _held(self) -> Tensor:
        return cast(Tensor, self.recurrent_states[0])

    def lazy_initialization(self, recurrent_states: Tensor, state_idx: int = 0) -> None:
        """Allocate the memory and the counter where ``recurrent_states`` lives."""
        LinearAttentionLayer.lazy_initialization(self, recurrent_states=recurrent_states, state_idx=state_idx)
        self.dtype, self.device = recurrent_states.dtype, recurrent_states.device
        self.cumulative_length = torch.zeros((), dtype=torch.int64, device=recurrent_states.device)
        if not is_torchdynamo_compiling():
            torch._dynamo.mark_static_address(self.cumulative_length)
        self.is_initialized = True

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0, tokens: int = 1, **kwargs) -> Tensor:
        """Keep the memory that ``tokens`` more steps have left. Written in place, unless gradients flow through it."""
        if not self.is_initialized or self._held.shape != recurrent_states.shape:
            self.lazy_initialization(recurrent_states)
        held = self._held
        if held.requires_grad or (recurrent_states.requires_grad and torch.is_grad_enabled()):
            # What belongs to a graph is never written over. The copy lets go of the states that it was cut from.
            held = self.recurrent_states[0] = recurrent_states.clone()
        else:
            held.copy_(recurrent_states)
        self.cumulative_length.add_(tokens)
        self.has_previous_state[0] = True
        return held

    def update_tokens(self, tokens: Tensor) -> None:
        """Keep the last tokens (b, k); written in place where there are some of this shape."""
        if self.tokens is None or self.tokens.shape != tokens.shape:
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
        """How many tokens have passed."""
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
        if self.is_initialized:
            self.recurrent_states[0] = self._held.index_select(0, indices.to(self.device))
        if self.tokens is not None:
            self.tokens = self.tokens.index_select(0, indices.to(self.tokens.device))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row, ``repeats`` times in a row."""
        if self.is_initialized:
            self.recurrent_states[0] = self._held.repeat_interleave(repeats, dim=0)
        if self.tokens is not None:
            self.tokens = self.tokens.repeat_interleave(repeats, dim=0)


STATIC_LAYER_TYPE_MAPPING["lmu"] = LMUCacheLayer
