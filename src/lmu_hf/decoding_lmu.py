"""A causal model's prompt, read in pieces, and its call for one more token, recorded once and then played back."""

from itertools import chain
from operator import is_
from typing import cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from .cache_lmu import LMUCacheLayer
from .cache_names import CACHE_NAME
from .plain import is_bare
from .recording import CannotRecordError, Recording
from .snapshot import Snapshot

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
    Every other call goes to the model itself, and so do all where the model is more than the torch calls that it makes:
    where it is hooked, or offloaded, or in training. A model that has changed since it was recorded is recorded anew.

    Args:
        model: may change between two calls.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._may_record = True
        self._in_the_way: nn.Module | None = None  # the module, if any, for which nothing was recorded the last time
        self._waiting, self._next_wait = 0, 1  # tokens, before a model that changed is recorded anew
        self._recording: Recording | None = None
        self._snapshot: Snapshot | None = None
        self._state: list[Tensor] = []

    def __call__(self, **inputs) -> CausalLMOutputWithPast:
        """What the model returns for these inputs."""
        # A recording stands for one call: these arguments and one token. The model itself answers every other call.
        if inputs.keys() != PLAIN_INPUTS or inputs["input_ids"].shape[1] != 1 or self.model.config.output_hidden_states:
            return self.model(**inputs)
        tokens, cache = inputs["input_ids"], inputs[CACHE_NAME]
        return CausalLMOutputWithPast(logits=self.logits(tokens, cache), **{CACHE_NAME: cache})

    def logits(self, tokens: Tensor, cache: Cache) -> Tensor:
        """(b, 1, vocab_size) behind the last of some tokens (b, n), whose memories are then in the cache."""
        if tokens.shape[1] > 1 or not self._may_record or _is_watched(tokens):
            return self._run(tokens, cache)
        state = [tensor for layer in cast(list[LMUCacheLayer], cache.layers) for tensor in layer.tensors]
        if self._snapshot is not None and not self._snapshot.holds():
            self._forget()
        elif self._recording is None and state and self._is_settled(state):
            self._record(tokens, cache, state)
        if self._recording is not None and _same(state, self._state):
            return self._recording(tokens)
        return self._run(tokens, cache)

    def _run(self, tokens: Tensor, cache: Cache) -> Tensor:
        inputs = {"input_ids": tokens, "cache": cache, "use_cache": True, "logits_to_keep": 1}
        return self.model(**inputs, return_dict=True).logits

    def _is_settled(self, state: list[Tensor]) -> bool:
        """Whether nothing stands between the model's modules and the torch calls that they make."""
        if self._waiting or any(tensor.requires_grad for tensor in state):
            self._waiting = max(self._waiting - 1, 0)
            return False
        # What stood in the way the last time most likely still does: so it is asked first.
        likely = () if self._in_the_way is None else (self._in_the_way,)
        modules = chain(likely, self.model.modules())
        self._in_the_way = next((module for module in modules if module.training or not is_bare(module)), None)
        return self._in_the_way is None

    def _record(self, tokens: Tensor, cache: Cache, state: list[Tensor]) -> None:
        # Any other ids will do: a recording that kept the first ones as a constant then gives another result.
        others = (tokens + 1) % self.model.config.vocab_size
        try:
            self._recording = Recording(lambda ids: self._run(ids, cache), tokens, others, state)
            self._snapshot, self._state = Snapshot(self.model), state
        except CannotRecordError as error:
            self._may_record = False
            logger.warning_once(f"{error}, so every token takes a full call of the model, about twice as long")

    def _forget(self) -> None:
        """Drop what was recorded. A model that goes on changing is recorded ever more seldom."""
        self._recording = self._snapshot = None
        self._waiting, self._next_wait = self._next_wait, 2 * self._next_wait


def _same(tensors: list[Tensor], others: list[Tensor]) -> bool:
    # By identity: a recorded call reads and writes those very tensors, not others with equal numbers.
    return len(tensors) == len(others) and all(map(is_, tensors, others))


def _is_watched(tokens: Tensor) -> bool:
    """Whether calls of torch mean more here than what they do to numbers."""
    return torch.is_grad_enabled() or torch.is_autocast_enabled(tokens.device.type)
