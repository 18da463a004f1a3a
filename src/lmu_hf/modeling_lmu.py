"""The stack of memories that every head stands on, and the next-token model."""

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import can_return_tuple, is_torchdynamo_compiling, logging

from .activations import computing_dtype
from .blocks_lmu import (
    BLOCKS,
    DeepRepresentation,
    Dropout,
    Highway,
    NGramEmbedding,
    NGrams,
    Source,
    draw_weights,
    norm,
)
from .cache_lmu import BOTH_NAMES, CACHE_NAME, LMUCacheLayer, LMUCausalGenerationMixin, is_memory, one_cache
from .checking import STEPS, CheckedModel, check_class_ids, check_finite, check_mask, check_steps, check_tensors
from .configuration_lmu import LMUConfig
from .fields_lmu import check_unsmoothed
from .layout import Layout, Packed, Padded, Reading, current_ranks, refuse_ranks
from .remote_code import CodeCarrier

ONE_STEP = Reading(Layout(1))
logger = logging.get_logger(__name__)


class LMUPreTrainedModel(CodeCarrier, CheckedModel):
    """What every model of the family shares: its config class, its initialisation, and what it supports."""

    config: LMUConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["LMUBlock", "LMUHighwayBlock", "LMUResidualBlock"]  # a block's sums need one device
    _skip_keys_device_placement = list(BOTH_NAMES)  # a cache's layers lie where their blocks do
    _is_stateful = True  # a memory cannot be rolled back: no assisted generation
    _can_compile_fullgraph = True
    model_tags = ["lmu", "legendre-memory-unit"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Every module draws its own weights; see :func:`lmu_hf.layers.draw_weights`."""
        draw_weights(module, self.config.initializer_range)

    @staticmethod
    def find_layout(
        given: Tensor | None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        *,
        cu_seq_lens_q: Tensor | None = None,
        seq_idx: Tensor | None = None,
        **kwargs,
    ) -> Layout | None:
        """How rows (b, n, …) hold their sequences; None where there are no rows, of which the stack complains by name.

        Raises:
            ValueError: the mask's shape does not fit, or packed sequences are wrongly described, masked, carried or
                spread over ranks.
            TypeError: something is no tensor.
        """
        starts = {"position_ids": position_ids, "cu_seq_lens_q": cu_seq_lens_q, "seq_idx": seq_idx}
        is_described = any(start is not None for start in starts.values())
        if is_described or attention_mask is not None:
            check_tensors(attention_mask=attention_mask, **starts)
        if not isinstance(given, Tensor) or given.ndim < 2 or 0 in given.shape[:2]:
            return None
        (b, n), ranks = given.shape[:2], current_ranks()
        mask = None if attention_mask is None else real_steps("attention_mask", attention_mask, b, n, cache is not None)
        if is_described:
            begins = cache is None and ranks is None  # else a row may start in the middle of a sequence
            if (packed := Packed.from_inputs(b, n, **starts, real=mask, begins=begins)) is not None:
                return packed
        # A mask that masks nothing is dense rows, which need no index at all. To a tracer it has no numbers yet.
        if mask is not None and not is_torchdynamo_compiling() and bool(mask.all()):
            mask = None
        rows = Layout(n) if mask is None else Padded.from_mask(mask)
        return rows if ranks is None else ranks.spread(rows, b, given.device)


def real_steps(name: str, mask: Tensor, b: int, n: int, has_past: bool = False) -> Tensor:
    """(b, n) bool: which steps are real, by a mask (b, n) or, with a past, (b, past + n), whose last n columns count.

    Raises:
        ValueError: its shape is another, or it holds anything but 0 and 1.
    """
    if mask.ndim != 2 or mask.shape[0] != b or mask.shape[1] < n or (mask.shape[1] > n and not has_past):
        wanted = f"(batch, past + time) = ({b}, {n} or more)" if has_past else f"(batch, time) = ({b}, {n})"
        raise ValueError(f"{name} must be {wanted}, got {tuple(mask.shape)}")
    check_mask(name, mask := mask[:, -n:])  # the memory holds the rest
    return mask.bool()


class LMUModel(LMUPreTrainedModel):
    """Tokens or a real-valued signal in, one hidden state per step out; the stack under every head.

    Args:
        config: the architecture.
    """

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        if config.is_encoder_decoder:
            raise ValueError("is_encoder_decoder=True describes two stacks: use LMUEncoderDecoderModel, or its head")
        self.embed_tokens: nn.Embedding | None = None
        if config.vocab_size is not None:
            self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size or config.hidden_size)
        width, wanted = self._embedding_width, config.stack_input_size
        self.ngrams: NGramEmbedding | None = None
        if (option := NGrams.of(config)) is not None:
            self.ngrams = NGramEmbedding(option, width, config.residual_initializer_scale)
        self.input_projection = nn.Linear(width, wanted) if width != wanted else None
        self.embedding_dropout = Dropout(config.embedding_dropout)
        self.layers = nn.ModuleList([self._block(config, layer_idx) for layer_idx in range(config.num_hidden_layers)])
        self.mixture: DeepRepresentation | None = None
        if config.deep_representations:
            self.mixture = DeepRepresentation(config.num_hidden_layers + 1)  # of the stack's input, too
            self.mixture_highways = nn.Sequential(
                *(Highway(config.hidden_size, config.hidden_act) for _ in range(config.num_highway_layers))
            )
        self.norm = norm(config) if config.has_residual_stream else None  # blocks norm their branches only
        self.gradient_checkpointing = False
        self.post_init()

    def _block(self, config: LMUConfig, layer_idx: int) -> nn.Module:
        return BLOCKS[config.block_type](config, layer_idx)

    @property
    def can_skip_to_mean(self) -> bool:
        """Whether the mean of the outputs follows from the last block's mean memory, without its outputs."""
        # A norm is no linear map, and a mixture may end in highways: the mean of outputs is not that of a mean.
        return self.mixture is None and self.norm is None and bool(self.layers[-1].is_linear_in_memory)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        input_values: Tensor | None = None,
        position_ids: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        wanted: Literal["all", "last", "mean"] = "all",
        source: Source | None = None,
        layout: Layout | None = None,
        past_key_values: Cache | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        """Read a batch of sequences.

        A row may hold several, packed end to end as ``DataCollatorWithFlattening`` does it; each is then read as if it
        stood alone, and nothing is carried. ``position_ids``, ``cu_seq_lens_q`` (sequences + 1,) or ``seq_idx`` (b, n)
        say where they start.

        Args:
            input_ids: (b, n) token ids.
            attention_mask: (b, n), or with a cache (b, past + n) whose last n columns count: 0 where no step exists.
                Outputs and carried memories equal those of the rows without their masked steps.
            cache: carried memories, as ``DynamicCache(config=model.config)`` or a former output.
            inputs_embeds: (b, n, width), in place of token ids.
            input_values: (b, n, input_size), or (b, n) if ``input_size`` is 1: a real-valued signal.
            position_ids: (b, n), counting on by 1; a sequence starts at every 0. They say nothing else to a memory.
            use_cache: return the carried memories (default: ``config.use_cache``, but not in training or in export).
            output_hidden_states: also return what entered the first block and what left each.
            wanted: ``"all"`` steps; only the ``"last"`` real one of each sequence, which the last block computes by
                eq. (25); or only their ``"mean"``, where :attr:`can_skip_to_mean`.
            source: what a decoder's blocks attend to.
            layout: how rows hold their sequences, in place of ``attention_mask`` and of what says where they start.
            past_key_values: another name of ``cache``.

        Returns:
            ``last_hidden_state`` (b, n, hidden_size), zero on masked steps, or (sequences, 1, hidden_size) where one
            step of each is wanted; ``cache`` (``past_key_values`` in transformers before 5.24); ``hidden_states``.

        Raises:
            ValueError: not exactly one input was given, or its shape, its values or the mask's shape do not fit, or
                packed sequences are masked, carried or spread over ranks.
            TypeError: an input is no tensor or has a wrong dtype, or a cache is given twice or holds other things than
                memories.
        """
        # Asked here, since one_cache would be a call more at every token.
        if past_key_values is not None or kwargs:
            cache = one_cache(cache, past_key_values, kwargs)
        if wanted == "mean" and not self.can_skip_to_mean:
            raise ValueError("the mean alone asks for a last block that is linear in its memory: see can_skip_to_mean")
        if source is not None:
            refuse_ranks("a decoder that attends to a source")
        name, given = self._given(input_ids=input_ids, inputs_embeds=inputs_embeds, input_values=input_values)
        if layout is None:
            if (found := self.find_layout(given, attention_mask, position_ids, cache, **kwargs)) is None:
                check_steps(**{name: given})  # complains, since there are no rows
            layout = cast(Layout, found)
        elif attention_mask is not None:
            raise ValueError("a layout says which steps are real: leave attention_mask out")
        if layout.sequences is not None:
            _check_packed(cache, use_cache)
            use_cache = False
        embed = self._lookup if name == "input_ids" else self._signal if name == "input_values" else self._embed
        hidden = embed(given, layout.mask)
        cache = self._cache(cache, use_cache, given.shape[0])
        # Both terms are in rows as given: n-grams pack and unpack by themselves, the stack packs below.
        if self.ngrams is not None:
            hidden = hidden + self._ngram_vectors(self.ngrams, name, given, layout, cache)
        wants_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        is_packed = type(layout) is not Layout  # dense rows are read as they were given
        hidden = layout.pack(hidden) if is_packed else hidden
        states = self._through_blocks(hidden, Reading(layout, wanted, source), cache, bool(wants_states))
        if is_packed and wanted == "all":  # one step a sequence has no row
            states[-1] = layout.unpack(states[-1])
        carried: dict[str, Any] = {CACHE_NAME: cache}
        hidden_states = tuple(states) if wants_states else None
        return BaseModelOutputWithPast(last_hidden_state=states[-1], **carried, hidden_states=hidden_states)

    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        """:meth:`forward` of one more token (b, 1), of which nothing need be asked: (b, 1, hidden_size)."""
        hidden = cast(nn.Embedding, self.embed_tokens)(ids)
        if self.ngrams is not None:
            hidden = hidden + self.ngrams(ids, layer=cast(LMUCacheLayer, cache.layers[0]))
        return self._through_blocks(hidden, ONE_STEP, cache, False)[-1]

    def _through_blocks(
        self, hidden: Tensor, reading: Reading, cache: Cache | None, wants_states: bool
    ) -> list[Tensor]:
        """What enters the first block, what leaves each, and in the last one's place the model's output.

        Only the last block reads as ``reading`` says; those before it give every step.

        Args:
            hidden: embeddings, as the layout packs them; so is what stands in the last one's place.
            reading: how blocks read.
            cache: memories.
            wants_states: whether states are to lie in rows as they were given. What the next block reads is then taken
                from those rows: so they are part of the graph, and have gradients.
        """
        layout, last = reading.layout, len(self.layers) - 1
        hidden = hidden if self.input_projection is None else self.input_projection(hidden)
        hidden = self.embedding_dropout(hidden)
        if self.gradient_checkpointing and self._is_checkpointing:
            hidden = _ask_for_gradients(hidden)
        # Only the last block may leave steps out: those below feed its memory.
        below = reading if last == 0 else Reading(layout, "all", reading.source)
        states, in_rows = [hidden], []
        for number, layer in enumerate(self.layers):
            if wants_states:
                in_rows.append(layout.unpack(states[-1]))
                states[-1] = layout.pack(in_rows[-1])
            # States by position: a reentrant checkpoint gives no gradients to keyword arguments.
            states.append(layer(states[-1], reading if number == last else below, cache=cache))
        hidden = states[-1] if self.mixture is None else self._mix(self.mixture, states, reading)
        hidden = hidden if self.norm is None else self.norm(hidden)
        return [*(in_rows if wants_states else states[:-1]), hidden]

    def _mix(self, mixture: DeepRepresentation, states: list[Tensor], reading: Reading) -> Tensor:
        """The mixture of what entered the first block and of what left each, of the steps that are wanted."""
        # The last block has given one step: of the states before it, the same one is mixed in.
        if reading.wanted == "last":
            states = [*map(reading.layout.last, states[:-1]), states[-1]]
        return self.mixture_highways(mixture(states))

    @property
    def _is_checkpointing(self) -> bool:
        return self.gradient_checkpointing and self.training and torch.is_grad_enabled()

    def _cache(self, given: Cache | None, use_cache: bool | None, rows: int | None = None) -> Cache | None:
        """The memories to go on from and to leave behind; what was given is used, whatever ``use_cache`` says.

        Raises:
            TypeError: a cache holds other things than memories.
            ValueError: they are of another number of sequences than ``rows``, or nothing can be carried.
        """
        wanted = use_cache
        if use_cache is None:  # a graph to be exported cannot return a cache
            wanted = self.config.use_cache and not self.training and not torch.compiler.is_exporting()
        layers = [] if given is None else getattr(given, "layers", [])  # what is no Cache has none
        if given is not None and not (len(layers) == len(self.layers) and all(map(is_memory, layers))):
            raise TypeError("cache must hold LMU memories: build it as DynamicCache(config=model.config)")
        if self.config.bidirectional:
            if given is not None or use_cache:
                raise ValueError("a bidirectional model carries nothing: leave out cache and use_cache")
            return None
        if self.gradient_checkpointing and self._is_checkpointing:
            if given is not None and given.has_previous_state(0):
                raise ValueError(
                    "gradient checkpointing runs blocks twice, so that no memory can be carried in training: leave "
                    "cache out, or call gradient_checkpointing_disable()"
                )
            if given is not None or use_cache:
                logger.warning_once("gradient checkpointing runs blocks twice: use_cache=True is taken for False")
            return None
        if given is None:
            return DynamicCache(config=self.config) if wanted else None
        memory = cast(LMUCacheLayer, given.layers[0]).memory
        if rows is not None and memory is not None and memory.shape[0] != rows:
            raise ValueError(
                f"cache holds memories of {memory.shape[0]} sequences for a batch of {rows}: where each has several "
                "beams or answers, call cache.batch_repeat_interleave(their number) first"
            )
        return given

    def _given(self, **inputs: Tensor | None) -> tuple[str, Tensor]:
        """The one input that was given, and its name."""
        given = [(name, value) for name, value in inputs.items() if value is not None]
        if len(given) != 1:
            names = " and ".join(name for name, _ in given) or "none"
            raise ValueError(f"exactly one of {', '.join(inputs)} must be given, got {names}")
        return given[0]

    def _embed(self, given: Tensor, mask: Tensor | None) -> Tensor:
        if given.ndim != 3 or given.shape[2] != self._embedding_width:
            raise ValueError(f"inputs_embeds must be (batch, time, {self._embedding_width}), got {tuple(given.shape)}")
        if given.dtype != self.dtype and not torch.is_autocast_enabled(given.device.type):
            raise TypeError(f"inputs_embeds must have the model's dtype {self.dtype}, got {given.dtype}")
        check_finite("inputs_embeds", given, real=mask)
        return given

    def _lookup(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        if self.embed_tokens is None:
            raise ValueError(
                f"this model reads a real-valued signal: give input_values (b, n, {self.config.input_size})"
            )
        if ids.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"input_ids must be int64 or int32, got {ids.dtype}")
        if ids.ndim != 2:
            raise ValueError(f"input_ids must be (batch, time), got {tuple(ids.shape)}")
        ids = ids if mask is None else ids.masked_fill(~mask, 0)  # padding may be −100
        # Elsewhere a wrong id raises no IndexError, and to look for one would make the host wait for the device.
        if ids.device.type != "cpu" or is_torchdynamo_compiling():
            return self.embed_tokens(ids)
        try:
            return self.embed_tokens(ids)
        except IndexError:
            # Looked for only after the failure: good ids pay nothing for this message.
            low, high = map(int, ids.aminmax())
            largest = self.embed_tokens.num_embeddings - 1
            raise ValueError(
                f"input_ids holds {low if low < 0 else high}, outside 0 … {largest} (vocab_size)"
            ) from None

    def _ngram_vectors(
        self, ngrams: NGramEmbedding, name: str, given: Tensor, layout: Layout, cache: Cache | None
    ) -> Tensor:
        """(b, n, width of an embedding): vectors of the n-grams that end at each token."""
        if name != "input_ids":
            raise ValueError(f"ngrams are of token ids: give input_ids, not {name}")
        layer = None if cache is None else cast(LMUCacheLayer, cache.layers[0])
        return ngrams(given, layout, layer, layout.ranks)

    def _signal(self, values: Tensor, mask: Tensor | None) -> Tensor:
        size = self.config.input_size
        if size is None:
            raise ValueError(
                f"this model reads token ids below {self.config.vocab_size}: give input_ids, not input_values"
            )
        if not values.is_floating_point():
            raise TypeError(f"input_values must be floating point, got {values.dtype}")
        values = values[..., None] if values.ndim == 2 and size == 1 else values
        if values.ndim != 3 or values.shape[2] != size:
            raise ValueError(f"input_values must be (batch, time, input_size={size}), got {tuple(values.shape)}")
        check_finite("input_values", values, real=mask)
        # A single block may have nothing to learn: encoder "identity" and readout "memory".
        return values.to(computing_dtype(self, values.dtype))

    @property
    def _embedding_width(self) -> int:
        return self.config.input_size or self.config.embedding_size or self.config.hidden_size


def _ask_for_gradients(hidden: Tensor) -> Tensor:
    """What enters the first block: a signal's asks for gradients under checkpoints.

    A reentrant checkpoint gives none to the parameters of a block if none of its inputs asks for any.
    """
    return hidden if hidden.requires_grad or is_torchdynamo_compiling() else hidden.detach().requires_grad_()


def _check_packed(cache: Cache | None, use_cache: bool | None) -> None:
    """Complain about what packed sequences cannot have: one memory for all that are in a row."""
    if cache is not None:
        raise ValueError("packed sequences begin with empty memories: leave cache (past_key_values) out")
    if use_cache:
        raise ValueError("packed sequences leave no memory of their row behind: set use_cache=False, got True")
    refuse_ranks("packed sequences")


def _check_next_tokens(labels: Tensor, logits: Tensor) -> None:
    """Complain about labels that are not one token id, or −100, for each of the logits (b, n, vocab_size)."""
    if labels.shape != logits.shape[:2]:
        raise ValueError(f"labels must be (batch, time) = {tuple(logits.shape[:2])}, got {tuple(labels.shape)}")
    check_class_ids(labels, logits.shape[2], "vocab_size", STEPS)


class LMUForCausalLM(LMUCausalGenerationMixin, LMUPreTrainedModel):
    """A next-token head: trained in parallel, generating as a recurrent network in constant memory.

    Args:
        config: a causal, token-reading architecture.

    Raises:
        ValueError: the config reads a signal, reads backwards, or ties embeddings of another width than the stack's.
    """

    loaded_by = "AutoModelForCausalLM"
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        if config.vocab_size is None or config.bidirectional:
            raise ValueError(
                "a causal language model reads token ids forwards: leave out input_size and bidirectional, got "
                f"input_size={config.input_size}, bidirectional={config.bidirectional}"
            )
        config.check_tied_width()
        check_unsmoothed(config.label_smoothing)
        self.model = LMUModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        past_key_values: Cache | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """Predict the next token at every step; inputs as for :class:`LMUModel`, packed sequences among them.

        Args:
            labels: (b, n) token ids, shifted inside; −100 where there is nothing to learn. The first token of a packed
                sequence is never learnt from the sequence before.
            logits_to_keep: compute logits for that many last steps, or for the steps of an index tensor; 0 for all.
        """
        if past_key_values is not None or kwargs:
            cache = one_cache(cache, past_key_values, kwargs)
        if labels is not None:
            # transformers' loss also takes labels that the caller has shifted.
            check_tensors(labels=labels, shift_labels=kwargs.get("shift_labels"))
        wants_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        wants_last = isinstance(logits_to_keep, int) and logits_to_keep == 1  # as every step of generate asks
        given = input_ids if inputs_embeds is None else inputs_embeds
        layout = self.find_layout(given, attention_mask, position_ids, cache, **kwargs)
        # In padded and packed rows the last column is not each sequence's last step; one step is all there is.
        is_last = wants_last and layout is not None and layout.lengths is None and layout.sequences is None
        # Hidden states are wanted at every step, and of a single step there is nothing to leave out.
        is_last = is_last and given is not None and given.shape[1] > 1 and not wants_states
        outputs = self.model(
            input_ids=input_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=wants_states,
            wanted="last" if is_last else "all",
            layout=layout,
            return_dict=True,
        )
        if labels is not None and layout is not None:
            labels = layout.labels(labels)  # none across two packed sequences
        # Cut before the head: logits of a whole prompt would be n·vocab_size numbers a row.
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        return CausalLMOutputWithPast(
            loss=None if labels is None else self._loss(logits, labels, **kwargs),
            logits=logits,
            **{CACHE_NAME: getattr(outputs, CACHE_NAME)},
            hidden_states=outputs.hidden_states,
        )

    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        """Logits (b, 1, vocab_size) behind one more token (b, 1) of a cache that has read some: what is recorded."""
        return self.lm_head(self.model.step(ids, cache))

    def _loss(self, logits: Tensor, labels: Tensor, **kwargs) -> Tensor:
        shifted = kwargs.get("shift_labels")
        _check_next_tokens(labels if shifted is None else shifted, logits)
        ranks = current_ranks()
        if ranks is not None:
            # Shifted over the borders of parts: what a part's last step predicts is the next rank's first label.
            labels = kwargs.setdefault("shift_labels", ranks.next_labels(labels))
            if kwargs.get("num_items_in_batch") is None:
                # A count over all ranks, so that the losses of the parts add up to one mean.
                kwargs["num_items_in_batch"] = ranks.total((labels != -100).sum())
        loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return loss if ranks is None else ranks.total(loss)
