"""How the models that write text generate: transformers' ``generate``, with memories, and a stream of tokens.

A causal model's prompt is read in pieces. Its call for one more token is recorded once and then played back.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from operator import is_
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import CompileConfig, GenerationConfig, GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from .cache_lmu import CACHE_NAME, LMUCacheLayer, one_cache
from .checking import check_steps, check_tensors
from .configuration_lmu import LMUConfig
from .layers import is_bare
from .layout import refuse_ranks
from .recording import CannotRecordError, Recording, Snapshot

# What a generated token is not given: it is real, it has no label, and a memory reads no positions.
NOT_OF_A_TOKEN = {"attention_mask", "labels", "position_ids", "is_first_iteration"}
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


class LMUGenerationMixin(GenerationMixin):
    """transformers' ``generate``, for which inputs are looked at first and a cache has either name.

    To be named before the model's class, which has a step to compile of its own.
    """

    def generate(self, inputs: Tensor | None = None, *args, **kwargs) -> Any:
        """As transformers' own.

        Args:
            inputs: (b, n) token ids of the prompts; or, by name, ``input_ids`` or ``inputs_embeds`` (b, n, width).
            args: as transformers' own.
            kwargs: as transformers' own, among them ``cache`` (or ``past_key_values``): memories to go on from.

        Raises:
            TypeError: a prompt is not a tensor, or a cache is given twice.
            ValueError: a prompt is not (batch, time), or empty.
        """
        refuse_ranks("generation")
        check_tensors(inputs=inputs, input_ids=kwargs.get("input_ids"), attention_mask=kwargs.get("attention_mask"))
        read = {name: kwargs.get(name) for name in ("inputs_embeds", "decoder_input_ids")}
        if read["inputs_embeds"] is None:  # beside embeddings, ids are only what generated ones are put behind
            read |= {"inputs": inputs, "input_ids": kwargs.get("input_ids")}
        check_steps(**read)
        cache = one_cache(kwargs.pop("cache", None), kwargs.pop("past_key_values", None), kwargs)
        # transformers looks a cache up by the one name that its version has.
        return super().generate(inputs, *args, **kwargs, **({} if cache is None else {CACHE_NAME: cache}))

    @staticmethod
    def create_masks_for_generate(
        config: LMUConfig, inputs_embeds: Tensor, attention_mask: Tensor | None, *args, **kwargs
    ) -> Tensor | None:
        """The mask of the steps at hand; None where all are real, so that compiled steps keep their shape."""
        if attention_mask is None:
            return None
        # Of a mask over all that was read, the columns at hand: the memory holds the rest.
        mask = attention_mask[:, -inputs_embeds.shape[1] :]
        return None if bool(mask.all()) else mask.contiguous()


class LMUCausalGenerationMixin(LMUGenerationMixin):
    """How a next-token model generates: prompts are read in pieces, tokens by a recorded step, or as a stream."""

    # Of the model that this is mixed into.
    config: Any
    device: torch.device
    lm_head: nn.Linear

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs,
    ) -> dict[str, Any]:
        """What the next call is given: of a generated token nothing but itself, as it is real and has no position."""
        goes_on = kwargs.get(CACHE_NAME) is not None and not kwargs.get("is_first_iteration")
        if goes_on and next_sequence_length == 1:
            token = input_ids[:, -1:].clone(memory_format=torch.contiguous_format)  # of one stride at every step
            return {"input_ids": token, **{name: kwargs[name] for name in kwargs if name not in NOT_OF_A_TOKEN}}
        return super().prepare_inputs_for_generation(
            input_ids, next_sequence_length, inputs_embeds=inputs_embeds, **kwargs
        )

    def _prefill(
        self, input_ids: Tensor, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args, **kwargs
    ) -> CausalLMOutputWithPast:
        """Long prompts are read in pieces, unless ``prefill_chunk_size`` says how or all states are wanted."""
        embeds = model_kwargs.get("inputs_embeds")
        embedded = embeds is not None
        mask = model_kwargs.get("attention_mask")
        # transformers compares this with the prompt's length: equal means the whole sequence, else new tokens alone.
        columns = getattr(generation_config, "_mask_length", -1) if mask is None else mask.shape[1]
        _check_unread(model_kwargs.get(CACHE_NAME), input_ids, embeds, columns)
        if embedded and generation_config.prefill_chunk_size is not None:
            raise ValueError("prefill_chunk_size cuts token ids into pieces: leave it out with inputs_embeds")
        # Pieces need a cache between them, and transformers cuts ids only.
        carried = model_kwargs.get(CACHE_NAME) is not None and not embedded
        free = generation_config.prefill_chunk_size is None and not generation_config.output_hidden_states
        piece = piece_length(input_ids)
        if carried and free and input_ids.shape[1] > piece:
            generation_config.prefill_chunk_size = piece  # the config is this call's own
        inherited: Any = super()
        return inherited._prefill(input_ids, generation_config, model_kwargs, *args, **kwargs)

    def _valid_auto_compile_criteria(self, model_kwargs: dict[str, Any], generation_config: GenerationConfig) -> bool:
        """Whether ``generate`` takes its step from :meth:`get_compiled_call`: on the CPU by default, too."""
        plain = generation_config.compile_config is None and not generation_config.disable_compile
        # For transformers a DynamicCache is no reason to compile; its step can be recorded all the same.
        compiles = super()._valid_auto_compile_criteria(model_kwargs, generation_config)  # type: ignore[misc]
        return compiles or (plain and self.device.type == "cpu")

    def get_compiled_call(self, compile_config: CompileConfig | None) -> Callable:
        """One step of ``generate``: recorded on the CPU, unless a compilation was asked for; compiled elsewhere."""
        if self.device.type == "cpu" and compile_config is None:
            return TokenStep(cast(PreTrainedModel, self))
        inherited: Any = super()
        return inherited.get_compiled_call(compile_config)

    @torch.inference_mode()
    def stream(
        self,
        input_ids: Tensor,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
        cache: Cache | None = None,
        past_key_values: Cache | None = None,
    ) -> Iterator[int]:
        """Generate token by token, carrying nothing but the last token and the memories.

        Args:
            input_ids: (n,) or (1, n), the prompt, read in parallel.
            max_new_tokens: stop after so many; None to go on for ever. An end-of-sequence token stops it too.
            temperature: of the sampling; 0 always takes the likeliest token.
            top_k: sample among the k likeliest tokens only.
            generator: of the sampling.
            cache: memories to go on from. At the end they have read everything but the last token.
            past_key_values: another name of ``cache``.

        Yields:
            Token ids, the end-of-sequence token among them.

        Raises:
            ValueError: the prompt is a batch of several, or the temperature or ``top_k`` is out of range.
        """
        refuse_ranks("generation")
        check_tensors(input_ids=input_ids)
        ids = input_ids[None] if input_ids.ndim == 1 else input_ids
        check_steps(input_ids=ids)
        if ids.ndim != 2 or ids.shape[0] != 1:
            raise ValueError(
                f"a stream has one prompt, (n,) or (1, n), got {tuple(input_ids.shape)}; use generate for a batch"
            )
        if temperature < 0 or (top_k is not None and top_k < 1):
            raise ValueError(f"temperature must be 0 or more and top_k at least 1, got {temperature} and {top_k}")
        carried = one_cache(cache, past_key_values, {})
        cache = DynamicCache(config=self.config) if carried is None else carried
        step = TokenStep(cast(PreTrainedModel, self))
        # All pieces but the last leave nothing but memories; the last one gives the first new token.
        *read, ids = ids.split(piece_length(ids), dim=1)
        for piece in read:
            step.logits(piece, cache)
        # [None] where the config names no such token: no id equals it.
        ends = self.config.eos_token_id if isinstance(self.config.eos_token_id, list) else [self.config.eos_token_id]
        made = 0
        while max_new_tokens is None or made < max_new_tokens:
            logits = step.logits(ids, cache)[0]
            ids = _choose(logits, temperature, top_k, generator)
            token = int(ids)
            made += 1
            yield token
            if token in ends:
                return


def _check_unread(cache: Cache | None, ids: Tensor, embeds: Tensor | None, columns: int) -> None:
    """Complain about a prompt of which a cache leaves nothing to read.

    Transformers would cut it to its last 0 steps, which are all of them, and read them a second time.

    Args:
        cache: memories to go on from.
        ids: (b, n) the prompt; the new tokens alone where ``columns`` is another number than n.
        embeds: (b, n, width) the whole prompt in place of ids.
        columns: how many the mask has.

    Raises:
        ValueError: the cache has read as many steps as are given, or more.
    """
    name, n = ("input_ids", ids.shape[1]) if embeds is None else ("inputs_embeds", embeds.shape[1])
    read = 0 if cache is None else int(cache.get_seq_length())
    if read >= n and (embeds is not None or columns == n):
        hint = "" if embeds is not None else ", or the new tokens alone with an attention_mask over all"
        raise ValueError(
            f"the cache has read {read} steps: give {name} of the whole sequence, those and at least one more{hint}; "
            f"got {n}"
        )


def _choose(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None) -> Tensor:
    """The next token's id (1, 1), by logits (1, vocab_size)."""
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    logits = logits.float() / temperature
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        # Ties with the k-th likeliest stay, so that more than k tokens may be left.
        logits = logits.masked_fill(logits < least, -torch.inf)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)
