"""What a layer remembers between calls, and how the models that write text generate with it.

A cache has two names: ``cache`` since transformers 5.24, ``past_key_values`` before it. Models take either.

The layer type ``"lmu"`` lives in transformers' standard caches: ``DynamicCache(config=model.config)`` and
``StaticCache(config=model.config, ...)`` build these layers by themselves. Its size is b·d_u·d numbers and one
counter, and in the first layer a few token ids, however many tokens have passed.
A causal model's prompt is read in pieces. Its call for one more token is recorded once and then played back.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from typing import Any, TypeGuard, TypeVar, cast

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import STATIC_LAYER_TYPE_MAPPING, CacheLayerMixin, LinearAttentionLayer
from transformers.generation import CompileConfig, GenerationConfig, GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import is_torchdynamo_compiling

from .checking import check_steps, check_tensors
from .configuration_lmu import LMUConfig
from .layout import refuse_ranks
from .recording import CACHE_NAME, TokenStep

BOTH_NAMES = ("cache", "past_key_values")
# Under these, models of other families take theirs.
FOREIGN_NAMES = ("cache_params", "past_key_value", "layer_past", "state", "mems", "past_buckets_states")
# What a generated token is not given: it is real, it has no label, and a memory reads no positions.
NOT_OF_A_TOKEN = {"attention_mask", "labels", "position_ids", "is_first_iteration"}
PROMPT_TOKENS = {"cpu": 2**12, "cuda": 2**17}  # read at a time: what they pass through should stay in the cache
SHORTEST_PIECE = 16
AnyCache = TypeVar("AnyCache", bound=Cache)


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
        return self.recurrent_states[0] if self.has_previous_state[0] else None

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
        if not self.is_initialized or self.recurrent_states[0].shape != recurrent_states.shape:
            self.lazy_initialization(recurrent_states)
        held: Any = self.recurrent_states[0]
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
        """Refused: always a ValueError."""
        raise ValueError("a memory cannot be rolled back; reset it and run the shortened sequence again")

    def reset(self) -> None:
        """Forget everything, keeping the allocation."""
        # A memory that belongs to a graph is replaced, not zeroed in place: a backward pass may still need it.
        held: Any = self.recurrent_states[0] if self.is_initialized else None
        if held is not None and held.requires_grad:
            self.recurrent_states[0] = torch.zeros_like(held)
        LinearAttentionLayer.reset(self)
        for counted in (self.cumulative_length, self.tokens):
            if counted is not None:
                counted.zero_()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row k becomes row ``beam_idx[k]``."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, in this order."""
        self._replace(lambda held: held.index_select(0, indices.to(held.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row, ``repeats`` times in a row."""
        self._replace(lambda held: held.repeat_interleave(repeats, dim=0))

    def _replace(self, change: Callable[[Tensor], Tensor]) -> None:
        with _outliving_modes():
            if self.is_initialized:
                self.recurrent_states[0] = change(cast(Tensor, self.recurrent_states[0]))
            if self.tokens is not None:
                self.tokens = change(self.tokens)


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


def piece_length(prompt: Tensor) -> int:
    """How many tokens of each sequence of a prompt (b, n) to read in one call.

    Memories carry all that was read before: pieces change nothing but the time and the memory that a long prompt costs.
    """
    return max(PROMPT_TOKENS.get(prompt.device.type, PROMPT_TOKENS["cpu"]) // max(prompt.shape[0], 1), SHORTEST_PIECE)


class LMUGenerationMixin(GenerationMixin):
    """transformers' ``generate``, for which inputs are looked at first and a cache has either name.

    To be named before the model's class, which has a step to compile of its own.
    """

    def generate(self, inputs: Tensor | None = None, *args, **kwargs) -> Any:
        """As transformers' own.

        Args:
            inputs: (b, n) token ids of the prompts; or, by name, ``input_ids`` or ``inputs_embeds`` (b, n, width).
            args, kwargs: as transformers' own, among them ``cache`` (or ``past_key_values``): memories to go on from.

        Raises:
            TypeError: a prompt is not a tensor, or a cache is given twice.
            ValueError: a prompt is not (batch, time), or empty.
        """
        cache = one_cache(kwargs.pop("cache", None), kwargs.pop("past_key_values", None), kwargs)
        refuse_ranks("generation")
        check_tensors(inputs=inputs, input_ids=kwargs.get("input_ids"), attention_mask=kwargs.get("attention_mask"))
        read = {name: kwargs.get(name) for name in ("inputs_embeds", "decoder_input_ids")}
        if read["inputs_embeds"] is None:  # beside embeddings, ids are only what generated ones are put behind
            read |= {"inputs": inputs, "input_ids": kwargs.get("input_ids")}
        check_steps(**read)
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

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, next_sequence_length: int | None = None, inputs_embeds: Tensor | None = None, **kwargs
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
        for _ in count() if max_new_tokens is None else range(max_new_tokens):
            logits = step.logits(ids, cache)[0]
            ids = _choose(logits, temperature, top_k, generator)
            token = int(ids)
            yield token
            if token in ends:
                return


def _check_unread(cache: Cache | None, ids: Tensor, embeds: Tensor | None, columns: int) -> None:
    """Complain about a prompt, ids (b, n) or embeds (b, n, width), of which a cache leaves nothing to read.

    Transformers would cut it to its last 0 steps, which are all of them, and read them a second time. Where a mask has
    another number of ``columns`` than n, the ids are the new tokens alone.
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
