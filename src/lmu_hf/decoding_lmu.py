"""A causal model's prompt, read in pieces, and its call for one more token, recorded once and then played back."""

from operator import is_
from typing import cast

import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from .cache_lmu import LMUCacheLayer
from .cache_names import CACHE_NAME, named
from .recording import CannotRecordError, Recording

PLAIN_INPUTS = {"input_ids", CACHE_NAME, "use_cache", "logits_to_keep", "return_dict"}
PROMPT_TOKENS = {"cpu": 2**12, "cuda": 2**17}  # read at a time: what they pass through should stay in the cache
SHORTEST_PIECE = 16
logger = logging.get_logger(__name__)


def piece_length(prompt: Tensor) -> int:
    """How many tokens of each sequence of a prompt (b, n) to read in one call.

    The memories carry all that was read before, so that pieces change nothing but what a long prompt costs: time that
    went through main memory, and memory that grew with the length.
    """
    return max(PROMPT_TOKENS.get(prompt.device.type, PROMPT_TOKENS["cpu"]) // max(prompt.shape[0], 1), SHORTEST_PIECE)


class TokenStep:
    """Stands in for a model in a loop that generates token after token.

    The first plain call for a single token is recorded; while the same memories go on, later ones are played back.
    Every other call goes to the model itself.

    Args:
        model: it must not change while the loop runs.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._may_record = _is_plain(model)
        self._recording: Recording | None = None
        self._state: list[Tensor] = []

    def __call__(self, **inputs) -> CausalLMOutputWithPast:
        """What the model returns for these inputs."""
        if inputs.keys() != PLAIN_INPUTS or inputs["input_ids"].shape[1] != 1:
            return self.model(**inputs)
        tokens, cache = inputs["input_ids"], inputs[CACHE_NAME]
        return CausalLMOutputWithPast(logits=self.logits(tokens, cache), **named(cache))

    def logits(self, tokens: Tensor, cache: Cache) -> Tensor:
        """(b, 1, vocab_size) behind the last of some tokens (b, n), whose memories are then in the cache."""
        if tokens.shape[1] > 1 or not self._may_record:
            return self._run(tokens, cache)
        state = [tensor for layer in cast(list[LMUCacheLayer], cache.layers) for tensor in layer.tensors]
        if self._recording is None and state and not any(tensor.requires_grad for tensor in state):
            self._record(tokens, cache, state)
        if self._recording is not None and _same(state, self._state):
            return self._recording(tokens)
        return self._run(tokens, cache)

    def _run(self, tokens: Tensor, cache: Cache) -> Tensor:
        inputs = {"input_ids": tokens, "cache": cache, "use_cache": True, "logits_to_keep": 1}
        return self.model(**inputs, return_dict=True).logits

    def _record(self, tokens: Tensor, cache: Cache, state: list[Tensor]) -> None:
        others = (tokens + 1) % self.model.config.vocab_size
        try:
            self._recording = Recording(lambda ids: self._run(ids, cache), tokens, others, state)
            self._state = state
        except CannotRecordError as error:
            self._may_record = False
            logger.warning_once(f"{error}, so every token takes a full call of the model, about twice as long")


def _same(tensors: list[Tensor], others: list[Tensor]) -> bool:
    return len(tensors) == len(others) and all(map(is_, tensors, others))


def _is_plain(model: PreTrainedModel) -> bool:
    """Whether nothing stands between the model's modules and the torch calls that they make."""
    if model.training or torch.is_grad_enabled() or torch.is_autocast_enabled(model.device.type):
        return False
    if model.config.output_hidden_states:
        return False
    hooked = (module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    replaced = ("forward" in vars(module) or module._compiled_call_impl is not None for module in model.modules())
    return not any(hooked) and not any(replaced)
