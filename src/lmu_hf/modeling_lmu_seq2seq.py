"""Translation: an encoder of memories, and a decoder of causal memories that attends to what the encoder read."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache
from transformers.generation import GenerationConfig
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPastAndCrossAttentions,
    ModelOutput,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
)
from transformers.utils import can_return_tuple, is_torchdynamo_compiling

from .blocks_lmu import BLOCKS, Dropout, Source, end_branch, norm
from .cache_lmu import CACHE_NAME, LMUGenerationMixin, is_memory, one_cache
from .checking import STEPS, check_class_ids, check_steps, check_tensors
from .configuration_lmu import LMUConfig
from .layout import Layout, Padded, Reading, refuse_packing
from .losses import Items, cross_entropy
from .modeling_lmu import LMUModel, LMUPreTrainedModel, real_steps


class CrossAttention(GradientCheckpointingLayer):
    """Each decoder step's weighted mean of the encoder's steps.

    The weights are softmax(q·k / √(width of a head)).
    """

    def __init__(self, config: LMUConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = Dropout(config.attention_dropout)
        end_branch(self.output, scale=config.residual_initializer_scale)

    def forward(self, x: Tensor, states: Tensor, source: Source) -> Tensor:
        """(b, n, width) to (b, n, width).

        ``states`` are those of ``source``, given by themselves because a checkpoint sees gradients of tensors only.
        """
        keys, values = self.keys_and_values(states, source.cache)
        queries = self._split(self.query(x))
        scores = queries @ keys.transpose(2, 3) * queries.shape[-1] ** -0.5  # (b, heads, n, n_s)
        if source.mask is not None:
            scores = scores.masked_fill(~source.mask[:, None, None], -torch.inf)  # a source has at least one step
        # In half precision a sum over a long source would lose the small weights.
        weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(values.dtype)
        weights = source.keep(weights)  # before dropout, so that what is returned sums to 1
        return self.output((self.dropout(weights) @ values).transpose(1, 2).flatten(2))

    def keys_and_values(self, states: Tensor, kept: EncoderDecoderCache | None) -> tuple[Tensor, Tensor]:
        """Of the encoder's steps, each (b, heads, n_s, w): made once a sequence where there is a cache to keep them."""
        if kept is not None and kept.is_updated.get(self.layer_idx):  # a source stays, while its target grows
            layer: Any = kept.cross_attention_cache.layers[self.layer_idx]
            return layer.keys, layer.values
        keys, values = self._split(self.key(states)), self._split(self.value(states))
        if kept is not None:
            keys, values = kept.cross_attention_cache.update(keys, values, self.layer_idx)
            kept.is_updated[self.layer_idx] = True
        return keys, values

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (b, n, width) to (b, heads, n, w)


class LMUDecoderBlock(nn.Module):
    """A block of any ``block_type``, then x + attention(norm(x)) over the encoder's outputs."""

    def __init__(self, config: LMUConfig, layer_idx: int) -> None:
        super().__init__()
        # Block and attention are each a checkpoint of their own, so this module is none.
        self.block = BLOCKS[config.block_type](config, layer_idx)
        self.norm = norm(config)
        self.cross_attention = CrossAttention(config, layer_idx)
        self.dropout = Dropout(config.hidden_dropout)

    def forward(self, hidden_states: Tensor, reading: Reading, cache: Cache | None = None) -> Tensor:
        """(b, n, width) to (b, n, hidden_size), attending to ``reading.source``."""
        if reading.source is None:
            raise ValueError("a decoder's block needs an encoder's outputs to attend to: give encoder_hidden_states")
        hidden_states = self.block(hidden_states, reading, cache=cache)
        attended = self.cross_attention(self.norm(hidden_states), reading.source.states, reading.source)
        return hidden_states + self.dropout(attended)


class LMUDecoder(LMUModel):
    """A causal stack whose blocks attend to an encoder's outputs.

    Args:
        config: as :meth:`LMUConfig.decoder_config` gives it.
    """

    _no_split_modules = ["LMUDecoderBlock"]

    def _block(self, config: LMUConfig, layer_idx: int) -> nn.Module:
        return LMUDecoderBlock(config, layer_idx)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        cache: EncoderDecoderCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Read target tokens, attending to a source; inputs as for :class:`LMUModel`.

        Args:
            encoder_hidden_states: (b, n_s, hidden_size).
            encoder_attention_mask: (b, n_s), zero where a source step does not exist.
            cache: memories of the decoder, and keys and values of the source.
            output_attentions: also return each layer's weights (b, heads, n, n_s), as ``cross_attentions``.
            past_key_values: another name of ``cache``.

        Raises:
            ValueError: there is nothing to attend to or nothing to read, or shapes of source, target, masks and cache
                do not fit.
            TypeError: ``cache`` is not an ``EncoderDecoderCache`` of memories and of keys and values, or an input is no
                tensor.
        """
        cache = one_cache(cache, past_key_values, kwargs)
        check_tensors(encoder_hidden_states=encoder_hidden_states, encoder_attention_mask=encoder_attention_mask)
        if encoder_hidden_states is None:
            raise ValueError("encoder_hidden_states (batch, source time, hidden_size) must be given")
        attention_mask = _check_target(
            input_ids, inputs_embeds, attention_mask, encoder_hidden_states, has_past=cache is not None
        )
        cache = self._both_caches(cache, use_cache, encoder_hidden_states)
        wants_weights = self.config.output_attentions if output_attentions is None else output_attentions
        weights: list[Tensor] | None = [] if wants_weights else None  # filled by the blocks, in their order
        mask = _source_mask(encoder_attention_mask, encoder_hidden_states)
        layout: Layout | None = None
        if wants_weights and attention_mask is not None:
            # Weights are those of the target's steps as read: this lays them in rows as they were given.
            layout = Padded.from_mask(attention_mask)
        outputs = super().forward(
            input_ids=input_ids,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            cache=None if cache is None else cache.self_attention_cache,  # the memories
            use_cache=cache is not None,  # decided above, for both caches
            output_hidden_states=output_hidden_states,
            source=Source(encoder_hidden_states, mask, cache, weights, layout),
            return_dict=True,
        )
        carried: dict[str, Any] = {CACHE_NAME: cache}
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=outputs.last_hidden_state,
            **carried,
            hidden_states=outputs.hidden_states,
            cross_attentions=None if weights is None else tuple(weights),
        )

    def _both_caches(
        self, given: EncoderDecoderCache | None, use_cache: bool | None, states: Tensor
    ) -> EncoderDecoderCache | None:
        """The caches to go on from and to leave behind."""
        if given is None:
            memories = self._cache(None, use_cache)
            # A DynamicCache without a config has layers of keys and values: what a source needs.
            return None if memories is None else EncoderDecoderCache(memories, DynamicCache())
        wanted = "EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache())"
        if not isinstance(given, EncoderDecoderCache):
            raise TypeError(f"cache must be an EncoderDecoderCache, got {type(given).__name__}: use {wanted}")
        if self._cache(given.self_attention_cache, use_cache) is None:
            return None
        layers: list[Any] = given.cross_attention_cache.layers
        if any(map(is_memory, layers)):  # as DynamicCache(config=model.config) makes them
            raise TypeError(f"the second cache holds a source's keys and values, not memories: use {wanted}")
        # Keys are (b, heads, n_s, w): every other size is one of the source.
        if given.is_updated.get(0) and (kept := layers[0].keys.shape)[::2] != states.shape[:2]:
            raise ValueError(
                f"the cache was made for {kept[0]} sources of {kept[2]} steps, got {tuple(states.shape[:2])}"
            )
        return given


def _check_target(
    ids: Tensor | None, embeds: Tensor | None, mask: Tensor | None, states: Tensor, has_past: bool
) -> Tensor | None:
    """Its mask, as booleans; complaints name the decoder's arguments, as the encoder has ones of the same names."""
    check_tensors(decoder_attention_mask=mask)
    name, target = ("decoder_input_ids", ids) if embeds is None else ("decoder_inputs_embeds", embeds)
    if target is None:
        raise ValueError("decoder_input_ids or decoder_inputs_embeds (or labels, to make them from) must be given")
    check_steps(**{name: target})
    if target.shape[0] != states.shape[0]:
        raise ValueError(f"{name} hold {target.shape[0]} rows for {states.shape[0]} sources")
    if mask is not None:
        mask = real_steps("decoder_attention_mask", mask, target.shape[0], target.shape[1], has_past)
    return mask


def _source_mask(mask: Tensor | None, states: Tensor) -> Tensor | None:
    """The source's mask as booleans; None if every step is real."""
    if mask is None:
        return None
    mask = real_steps("the source's attention_mask", mask, *states.shape[:2])
    # Elsewhere the check would make the host wait for the device at every call.
    if mask.device.type == "cpu" and not is_torchdynamo_compiling():
        if mask.all():  # then scores need no masking
            return None
        if not mask.any(1).all():
            row = int((~mask.any(1)).nonzero()[0])
            raise ValueError(f"attention_mask leaves no real step in row {row} of the source; there must be one")
    return mask


class LMUTwoStacks(LMUPreTrainedModel):
    """What the model with a head and the one without share: token embeddings at both ends."""

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        if not config.is_encoder_decoder:
            raise ValueError("an encoder-decoder needs a config with is_encoder_decoder=True")

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's."""
        return self.get_encoder().embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """The encoder's, and the decoder's where they are tied."""
        self.get_encoder().embed_tokens = value
        if self.config.tie_word_embeddings:
            self.get_decoder().embed_tokens = value

    def resize_token_embeddings(self, *args, **kwargs) -> nn.Embedding:
        """As transformers' own, of both stacks and the head."""
        # Each stack has a config of its own, whose vocab_size has to follow.
        self.get_encoder().resize_token_embeddings(*args, **kwargs)
        self.get_decoder().resize_token_embeddings(*args, **kwargs)
        return super().resize_token_embeddings(*args, **kwargs)


class LMUEncoderDecoderModel(LMUTwoStacks):
    """An encoder and a decoder, without a head.

    Args:
        config: with ``is_encoder_decoder=True``.
    """

    _tied_weights_keys = {"decoder.embed_tokens.weight": "encoder.embed_tokens.weight"}  # if tie_word_embeddings

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        self.encoder = LMUModel(config.encoder_config())
        self.decoder = LMUDecoder(config.decoder_config())
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Tensor, ...] | None = None,
        cache: EncoderDecoderCache | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        **kwargs,
    ) -> Seq2SeqModelOutput:
        """Read the source (unless ``encoder_outputs`` say that it has been read), then the target.

        Args:
            input_ids: (b, n_s) source token ids; or ``inputs_embeds``.
            attention_mask: (b, n_s), zero where a source step does not exist.
            decoder_input_ids: (b, n) target token ids, beginning with the start token; or ``decoder_inputs_embeds``.
            decoder_attention_mask: (b, n), or (b, past + n), zero where a target step does not exist.
            encoder_outputs: what the encoder gave for this source.
            cache: memories of the decoder, and keys and values of the source.
            use_cache: return them.
            output_hidden_states: also return what entered and left each block, of both stacks.
            output_attentions: also return the decoder's attention weights.
            past_key_values: another name of ``cache``.
        """
        refuse_packing(kwargs)
        cache = one_cache(cache, past_key_values, kwargs)
        # The stacks have configs of their own; what a user changes afterwards is this one.
        config = self.config
        wants_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        wants_weights = config.output_attentions if output_attentions is None else output_attentions
        if use_cache is None and not config.use_cache:
            use_cache = False
        source = {"input_ids": input_ids, "inputs_embeds": inputs_embeds, "attention_mask": attention_mask}
        read = self._read_source(encoder_outputs, output_hidden_states=wants_states, **source)
        outputs = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            inputs_embeds=decoder_inputs_embeds,
            encoder_hidden_states=read[0],
            encoder_attention_mask=attention_mask,
            cache=cache,
            use_cache=use_cache,
            output_hidden_states=wants_states,
            output_attentions=wants_weights,
            return_dict=True,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            **{CACHE_NAME: getattr(outputs, CACHE_NAME)},
            decoder_hidden_states=outputs.hidden_states,
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=read[0],
            encoder_hidden_states=read.hidden_states,
        )

    def _read_source(self, read: Any, **source) -> Any:
        """The encoder's outputs: those that were given, or else of the source."""
        if read is None:
            return self.encoder(**source, return_dict=True)
        # A tuple is of an encoder called with return_dict=False.
        return BaseModelOutput(*read) if isinstance(read, (tuple, list)) else read


class LMUForConditionalGeneration(LMUGenerationMixin, LMUTwoStacks):
    """Translation: the next target token, given the source and the target so far.

    Args:
        config: with ``is_encoder_decoder=True``.

    Raises:
        ValueError: the config describes one stack, or ties embeddings of another width than the stack's.
    """

    loaded_by = "AutoModelForSeq2SeqLM"
    _tied_weights_keys = {
        "model.decoder.embed_tokens.weight": "model.encoder.embed_tokens.weight",
        "lm_head.weight": "model.encoder.embed_tokens.weight",
    }

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        config.check_tied_width()
        self.model = LMUEncoderDecoderModel(config)
        self.lm_head = nn.Linear(config.hidden_size, cast(int, config.vocab_size), bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Tensor, ...] | None = None,
        cache: EncoderDecoderCache | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        num_items_in_batch: Items = None,
        past_key_values: EncoderDecoderCache | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput:
        """Predict target tokens; inputs as for :class:`LMUEncoderDecoderModel`.

        Args:
            labels: (b, n) target token ids, not shifted (the decoder's input is: see
                :meth:`prepare_decoder_input_ids_from_labels`); −100 where there is nothing to learn.
            num_items_in_batch: how many labels the loss is a mean over, if not over those given here.
        """
        refuse_packing(kwargs)
        cache = one_cache(cache, past_key_values, kwargs)
        if labels is not None:
            check_class_ids(labels, cast(int, self.config.vocab_size), "vocab_size", STEPS)
            use_cache = False  # a loss reads the whole target: nothing goes on from it
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            cache=cache,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self.lm_head(outputs.last_hidden_state)
        return Seq2SeqLMOutput(
            loss=None if labels is None else self._loss(logits, labels, num_items_in_batch),
            logits=logits,
            **{CACHE_NAME: getattr(outputs, CACHE_NAME)},
            decoder_hidden_states=outputs.decoder_hidden_states,
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
        )

    def _loss(self, logits: Tensor, labels: Tensor, items: Items) -> Tensor:
        if labels.shape != logits.shape[:2]:
            raise ValueError(
                f"labels must be (batch, target time) = {tuple(logits.shape[:2])}, got {tuple(labels.shape)}"
            )
        # Smoothed in training only: exp of the loss of an evaluation is then the perplexity.
        return cross_entropy(logits, labels, items, self.config.label_smoothing if self.training else 0.0)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """Labels (b, n) moved one step to the right behind the start token, with padding where they said −100.

        Raises:
            ValueError: the config names no start token, or no padding token; or labels have a wrong shape, or are
                padded on the left, where padding would come between the start token and the sequence.
        """
        start = self.config.decoder_start_token_id
        start = self.config.bos_token_id if start is None else start
        if start is None:
            raise ValueError("decoder_start_token_id (or bos_token_id) must be set to make the decoder's input")
        if self.config.pad_token_id is None:
            raise ValueError("pad_token_id must be set to make the decoder's input")
        if labels.ndim != 2:
            raise ValueError(f"labels must be (batch, target time), got {tuple(labels.shape)}")
        ignored = labels == -100
        # Elsewhere the check would make the host wait for the device at every call.
        if labels.device.type == "cpu" and not is_torchdynamo_compiling():
            led = ignored[:, 0] & ~ignored.all(1)
            if led.any():
                row = int(led.nonzero()[0])
                raise ValueError(f"labels must be padded on the right (padding_side); row {row} begins with -100")
        labels = labels.masked_fill(ignored, self.config.pad_token_id)  # −100 has no embedding
        return torch.cat([labels.new_full((labels.shape[0], 1), start), labels[:, :-1]], dim=1)

    def _prepare_cache_for_generation(  # type: ignore[override]  # passes on what it does not look at
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args, **kwargs
    ) -> None:
        """Transformers types both caches by the decoder's layers; the source's holds plain keys and values."""
        given = model_kwargs.get(CACHE_NAME)  # a cache of the caller's stays as it is
        inherited: Any = super()
        inherited._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)
        cache = model_kwargs.get(CACHE_NAME)
        if given is None and cache is not None:
            cache.cross_attention_cache = DynamicCache()
            # What has been read of the source, by layer: of a new cache, nothing.
            cache.is_updated = {}

    def _prefill(
        self, input_ids: Tensor, generation_config: Any, model_kwargs: dict[str, Any], *args, **kwargs
    ) -> ModelOutput:
        """Of a target that a given cache has read in part, only the rest is read.

        Transformers would read all of it again, unless a decoder_attention_mask as long as the target came along.
        """
        cache, mask = model_kwargs.get(CACHE_NAME), model_kwargs.get("decoder_attention_mask")
        # transformers drops what the cache has read only where the mask, or else this number, is as long as the target.
        n = generation_config._mask_length = input_ids.shape[1]
        read = 0 if cache is None else int(cache.get_seq_length())  # target steps, by its memories
        if read >= n and (mask is None or mask.shape[1] == n):
            raise ValueError(
                f"the cache has read {read} target steps: give decoder_input_ids from the start token on, and "
                f"beyond them; got {n}"
            )
        inherited: Any = super()
        return inherited._prefill(input_ids, generation_config, model_kwargs, *args, **kwargs)
