"""What a stack of memories is asked: which class, which pair, which image, what next."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    ImageClassifierOutput,
    ModelOutput,
    SequenceClassifierOutput,
)
from transformers.utils import can_return_tuple, is_torchdynamo_compiling

from .alignment import Alignment, AlignmentOption
from .cache_names import CACHE_NAME, one_cache, output_with_cache, refuse_caches
from .checking import IGNORED, IMAGES, UNKNOWN, check_finite, check_steps, check_tensors, is_readable
from .configuration_lmu import POOLINGS, LMUConfig
from .distributed import current_ranks, refuse_ranks
from .layers import ACTIVATIONS
from .layout import Layout, Packed, Padded, refuse_packing
from .losses import Items, check_counted, check_labels, sequence_loss, squared_error
from .modeling_lmu import LMUModel, LMUPreTrainedModel
from .ngrams import NGramVotes, Votes

MODEL_INPUTS = ("input_ids", "inputs_embeds", "input_values")


class LMUHead(nn.Module):
    """Dropout, an optional hidden layer, and a linear layer.

    Args:
        config: dropout, hidden layer and activation.
        width: numbers that are read.
        outputs: numbers of the linear layer.
        against_zero: the logits of two classes are 0 and its one output z. Their softmax is σ(−z) and σ(z).
    """

    def __init__(self, config: LMUConfig, width: int, outputs: int, against_zero: bool = False) -> None:
        super().__init__()
        self.against_zero = against_zero
        self.hidden_act = config.hidden_act
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.hidden = nn.Linear(width, config.head_hidden_size) if config.head_hidden_size else None
        self.out = nn.Linear(config.head_hidden_size or width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(…, width) to (…, outputs), or to (…, 2) where one number tells two classes apart."""
        x = self.dropout(x)
        if self.hidden is not None:
            x = self.dropout(ACTIVATIONS[self.hidden_act](self.hidden(x)))
        x = self.out(x)
        return pad(x, (1, 0)) if self.against_zero else x


class LMUPooledModel(LMUPreTrainedModel):
    """A stack and a head that reads one vector per sequence. What the classifiers share."""

    loss_function = staticmethod(sequence_loss)  # in place of a property; it, too, may be set

    def __init__(self, config: LMUConfig, width: int | None = None) -> None:
        super().__init__(config)
        self.num_labels: int = config.num_labels or 1
        self.model = LMUModel(config)
        outputs = config.output_size or self.num_labels
        one_for_two = (outputs, self.num_labels) == (1, 2) and config.problem_type != "multi_label_classification"
        if outputs != self.num_labels and not one_for_two:
            raise ValueError(
                f"output_size={outputs} does not fit num_labels={self.num_labels}: a classifier has one output per "
                "label (output_size=None), or output_size=1 for a choice of one of two classes"
            )
        self.classifier = LMUHead(config, width or config.pooled_size, outputs, against_zero=one_for_two)

    def pool(
        self, attention_mask: Tensor | None = None, layout: Layout | None = None, **inputs
    ) -> tuple[Tensor, BaseModelOutputWithPast]:
        """One vector (b, pooled_size) per sequence, by ``config.pooling``, and the stack's own output.

        With ``"last"`` the last block computes nothing but each row's last real step, by eq. (25); with ``"mean"``,
        where it is linear in its memory, nothing but their mean, by :func:`~lmu_hf.memory.memory_mean`. Of packed
        sequences, b counts sequences, not rows.

        Args:
            attention_mask: where steps are real; or
            layout: how rows hold their sequences.
            inputs: those of the stack.

        Raises:
            ValueError: a row has no real step, or a mean or maximum is asked of a stream in pieces.
        """
        pooling = self.config.pooling
        if pooling != "last" and inputs.get("cache") is not None:
            raise ValueError(f"pooling={pooling!r} needs the whole sequence; only 'last' can go on from a cache")
        if layout is None:
            layout = self.find_layout(_given(**inputs), attention_mask, cache=inputs.get("cache"))
        wanted = "last" if pooling == "last" else "all"
        wants_states = inputs.get("output_hidden_states") or self.config.output_hidden_states
        if pooling == "mean" and not wants_states and not torch.compiler.is_exporting():  # its response has a length
            dense = layout is not None and layout.sequences is None
            wanted = "mean" if dense and self.model.can_skip_to_mean else "all"
        outputs = self.model(wanted=wanted, layout=layout, return_dict=True, **inputs)
        return self._over_time(outputs.last_hidden_state, POOLINGS[pooling], layout, wanted != "all"), outputs

    def _over_time(
        self, steps: Tensor, words: Sequence[str], layout: Layout | None, is_reduced: bool = False
    ) -> Tensor:
        """One vector (b, width · words) per sequence, of all ranks' steps: ways of pooling, side by side."""
        layout = Layout(steps.shape[1]) if layout is None else layout
        parts = [layout.pool(steps, word, is_reduced) for word in words]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def loss(self, labels: Tensor | None, *logits: Tensor, num_items_in_batch: Items = None) -> Tensor | None:
        """The loss that ``config.problem_type`` asks for (found from the labels where it is not set).

        Args:
            labels: what is to be found; −100 where there is nothing to learn, and None for no loss.
            logits: a model's, or those of each of its parts that learn alone, whose losses' mean it then is.
            num_items_in_batch: how many labels the loss is a mean over, if not over those given here.

        Raises:
            ValueError: the labels have a wrong shape, lie outside the classes or are not finite.
            TypeError: the labels are no tensor, or those of a choice of one class not int64.
        """
        if labels is None:
            return None
        check_labels(labels, len(logits[0]), self.config)
        given: dict[str, Any] = {"labels": labels, "config": self.config, "num_items_in_batch": num_items_in_batch}
        if self.training and self.config.label_smoothing:
            given["label_smoothing"] = self.config.label_smoothing
        return torch.stack([self.loss_function(pooled_logits=each, logits=each, **given) for each in logits]).mean()


def _given(**inputs) -> Tensor | None:
    """Whichever input of the stack was given."""
    return next((inputs[name] for name in MODEL_INPUTS if inputs.get(name) is not None), None)


class LMUForSequenceClassification(LMUPooledModel):
    """A class, several classes or a number for a whole sequence of tokens or of real values."""

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        self.votes: NGramVotes | None = None
        if (option := Votes.of(config)) is not None:
            self.votes = NGramVotes(option, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        input_values: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: Items = None,
        past_key_values: Cache | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        """Classify sequences; inputs as for :class:`LMUModel`.

        Of sequences packed in rows, each has its own logits, in their order: b below counts sequences.

        Args:
            labels: (b,) class ids, (b,) or (b, num_labels) numbers for regression, or (b, num_labels) 0/1 floats; −100
                where there is nothing to learn.
            cache: carried memories, to classify a stream as it comes in pieces (with pooling ``"last"``).
            num_items_in_batch: how many labels the loss is a mean over, if not over those given here.
            past_key_values: another name of ``cache``.
        """
        cache = one_cache(cache, past_key_values, kwargs)
        inputs = {"input_ids": input_ids, "inputs_embeds": inputs_embeds, "input_values": input_values}
        layout = self.find_layout(_given(**inputs), attention_mask, position_ids, cache, **kwargs)
        if self.votes is not None and (input_ids is None or cache is not None):
            raise ValueError("votes are of whole sequences of token ids: give input_ids, and no cache")
        pooled, outputs = self.pool(
            layout=layout,
            **inputs,
            cache=cache,
            use_cache=bool(use_cache) or cache is not None,
            output_hidden_states=output_hidden_states,
        )
        logits = self.classifier(pooled)
        learners: tuple[Tensor, ...] | None = None
        if self.votes is not None and input_ids is not None:
            steps = self.votes(input_ids, layout, None if layout is None else layout.ranks)
            votes = self._over_time(steps, ("mean",), layout)  # the mean vote over each sequence
            learners = (logits, votes) if self.training else None
            logits = logits + votes
        return LMUClassifierOutput(
            loss=self.loss(labels, *(learners or [logits]), num_items_in_batch=num_items_in_batch),
            logits=logits,
            learners=learners,
            **{CACHE_NAME: getattr(outputs, CACHE_NAME)},
            hidden_states=outputs.hidden_states,
        )


@output_with_cache
class LMUClassifierOutput(SequenceClassifierOutput):
    """A classifier's output and the memories behind it.

    Args:
        cache: the carried memories, if ``use_cache`` asked for them (``past_key_values`` in transformers before 5.24).
        learners: in training beside votes, the logits (b, num_labels) of the stack alone and of the votes alone, which
            add up to ``logits``. The loss is their losses' mean: votes are counted in the very rows that they are
            trained on, and would leave a stack that learns to add to them little to learn.
    """

    cache: Cache | None = None
    learners: tuple[Tensor, ...] | None = None


class LMUForSequencePairClassification(LMUPooledModel):
    """A class for two sequences, each read by the same stack (siamese), from m1, m2, |m1 − m2| and m1 ⊙ m2.

    m1 and m2 are each sequence's steps, pooled; with ``alignment``, the pooled comparisons of its steps with what
    stands for them in the other sequence.
    """

    def __init__(self, config: LMUConfig) -> None:
        if config.votes is not None:
            raise ValueError("votes are for the class of one sequence, not of two: leave votes out")
        option = AlignmentOption.of(config)
        width = (config.hidden_size if option is None else option.size) * len(POOLINGS[config.pooling])
        super().__init__(config, width * len(config.pair_features))
        self.alignment: Alignment | None = None
        if option is not None:
            self.alignment = Alignment(config.hidden_size, option.size, config.hidden_act)
        self.loss_type = "ForSequenceClassification"
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        pair_input_ids: Tensor | None = None,
        pair_attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: Items = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        """Classify pairs.

        Args:
            input_ids: (b, n), both sequences in one row told apart by ``token_type_ids``, or the first sequences.
            attention_mask: (b, n), zero where a step does not exist.
            token_type_ids: (b, n), 0 for the first sequence, 1 for the second.
            pair_input_ids: (b, n₂), the second sequences, in place of ``token_type_ids``.
            pair_attention_mask: (b, n₂), likewise.
            inputs_embeds: (b, n, width), with ``token_type_ids``, in place of ``input_ids``.
            position_ids: (b, n), of several pairs packed in a row, each told apart by ``token_type_ids``: a pair starts
                at every 0 and has its own logits. ``hidden_states`` are then those of the first sequences, end to end.
            labels, num_items_in_batch: as for :class:`LMUForSequenceClassification`.

        Raises:
            ValueError: not exactly one of ``token_type_ids`` and ``pair_input_ids`` was given, a row or packed pair has
                no step of one of its sequences, or packed pairs come with ``pair_input_ids``.
        """
        refuse_caches(kwargs)
        check_steps(input_ids=input_ids, inputs_embeds=inputs_embeds, pair_input_ids=pair_input_ids)
        check_tensors(attention_mask=attention_mask, token_type_ids=token_type_ids)
        if (token_type_ids is None) == (pair_input_ids is None):
            raise ValueError("a pair is told by exactly one of token_type_ids (both in one row) and pair_input_ids")
        given = _given(input_ids=input_ids, inputs_embeds=inputs_embeds)
        layout = self.find_layout(given, attention_mask, position_ids, **kwargs)
        pairs = layout if isinstance(layout, Packed) else None
        if token_type_ids is not None:
            first, second = self._from_one_row(input_ids, inputs_embeds, attention_mask, token_type_ids)
            if pairs is not None:
                first, second = _unmasked(pairs, **first), _unmasked(pairs, **second)
        else:
            if pairs is not None:
                raise ValueError("packed pairs must be told by token_type_ids (batch, time), got pair_input_ids")
            first = {"input_ids": input_ids, "inputs_embeds": inputs_embeds, "attention_mask": attention_mask}
            second = {"input_ids": pair_input_ids, "attention_mask": pair_attention_mask}
            if given is not None and pair_input_ids is not None and pair_input_ids.shape[0] != given.shape[0]:
                raise ValueError(f"pair_input_ids hold {pair_input_ids.shape[0]} rows for a batch of {given.shape[0]}")
        first["output_hidden_states"] = output_hidden_states
        if self.alignment is None:
            m1, outputs = self.pool(**first, use_cache=False)
            m2, _ = self.pool(**second, use_cache=False)
        else:
            m1, m2, outputs = self._pool_aligned(self.alignment, first, second)
        parts = {"first": m1, "second": m2, "difference": (m1 - m2).abs(), "product": m1 * m2}
        logits = self.classifier(torch.cat([parts[name] for name in self.config.pair_features], dim=-1))
        loss = self.loss(labels, logits, num_items_in_batch=num_items_in_batch)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)

    def _pool_aligned(
        self, alignment: Alignment, first: dict, second: dict
    ) -> tuple[Tensor, Tensor, BaseModelOutputWithPast]:
        """As :meth:`pool` twice, but that steps are compared with those of the other before they are pooled."""
        refuse_ranks("a pair whose steps are aligned")
        outputs, others = (self.model(**inputs, use_cache=False, return_dict=True) for inputs in (first, second))
        x, y = outputs.last_hidden_state, others.last_hidden_state
        m1 = self._pool_compared(alignment(x, y, _seen(first, second, x.device)), first)
        m2 = self._pool_compared(alignment(y, x, _seen(second, first, x.device)), second)
        return m1, m2, outputs

    def _pool_compared(self, steps: Tensor, inputs: dict) -> Tensor:
        layout: Layout | None = inputs.get("layout")
        mask = inputs.get("attention_mask")
        if mask is not None:  # a mean counts on zeros there
            steps, layout = steps.masked_fill(~mask.bool()[..., None], 0), Padded.from_mask(mask)
        return self._over_time(steps, POOLINGS[self.config.pooling], layout)

    def _from_one_row(
        self, input_ids: Tensor | None, embeds: Tensor | None, mask: Tensor | None, types: Tensor
    ) -> tuple[dict, dict]:
        """The same rows twice, each with the other sequence masked: a masked step does not exist."""
        given = input_ids if input_ids is not None else embeds
        if given is None or types.shape != given.shape[:2]:
            shape = None if given is None else tuple(given.shape[:2])
            raise ValueError(f"token_type_ids must be (batch, time) = {shape}, got {tuple(types.shape)}")
        if mask is not None and mask.shape != types.shape:
            raise ValueError(f"attention_mask must be (batch, time) = {tuple(types.shape)}, got {tuple(mask.shape)}")
        if types.device.type == "cpu" and not is_torchdynamo_compiling() and bool(((types != 0) & (types != 1)).any()):
            raise ValueError(f"token_type_ids must be 0 (first sequence) or 1 (second), got {types.unique().tolist()}")
        real = torch.ones_like(types, dtype=torch.bool) if mask is None else mask.bool()
        inputs = {"input_ids": input_ids, "inputs_embeds": embeds}
        return {**inputs, "attention_mask": real & (types == 0)}, {**inputs, "attention_mask": real & (types == 1)}


def _seen(this: dict, that: dict, device: torch.device) -> Tensor | None:
    """(b, n or 1, n'): which steps of that sequence may stand for a step of this one; None if all may."""
    if "layout" in this:
        return this["layout"].owners(device)[:, None] == that["layout"].owners(device)
    mask = that.get("attention_mask")
    return None if mask is None else mask.bool()[:, None]


def _unmasked(pairs: Packed, attention_mask: Tensor, **inputs: Tensor | None) -> dict:
    """Packed rows without their masked steps: one row, and what is left of each sequence."""
    kept = {name: value if value is None else value[attention_mask][None] for name, value in inputs.items()}
    return {**kept, "layout": pairs.where(attention_mask)}


class LMUForImageClassification(LMUPooledModel):
    """A class for an image that is read one pixel at a time, in raster order or by a stored permutation."""

    main_input_name = "pixel_values"
    input_modalities = ["image"]

    permutation: Tensor

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        if config.image_size is None or config.input_size is None:
            raise ValueError(
                f"an image classifier needs image_size, and input_size (numbers per pixel); got "
                f"image_size={config.image_size}, input_size={config.input_size}"
            )
        self.register_buffer("permutation", self._draw_permutation())
        self.post_init()

    def _draw_permutation(self) -> Tensor:
        pixels = (self.config.image_size or 0) ** 2
        if self.config.permutation_seed is None:
            return torch.arange(pixels, device="cpu")
        generator = torch.Generator("cpu").manual_seed(self.config.permutation_seed)
        return torch.randperm(pixels, generator=generator, device="cpu")

    def draw_weights(self) -> None:
        """The stored order of pixels, where no checkpoint holds one."""
        init.copy_(self.permutation, self._draw_permutation())

    def pixel_sequence(self, pixel_values: Tensor) -> Tensor:
        """Images (b, c, h, w) as sequences (b, h·w, input_size) in the model's pixel order.

        An image processor may turn a grey image into three equal channels; a grey model reads their mean.
        """
        config = self.config
        if not pixel_values.is_floating_point():
            raise TypeError(
                f"pixel_values must be floating point, as an image processor leaves them, got {pixel_values.dtype}"
            )
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[2:]) != (config.image_size, config.image_size):
            raise ValueError(
                f"pixel_values must be (batch, channels, {config.image_size}, {config.image_size}), got "
                f"{tuple(pixel_values.shape)}"
            )
        check_finite("pixel_values", pixel_values, IMAGES, remedy="every pixel must be a number")
        if config.input_size == 1 and pixel_values.shape[1] == 3:
            pixel_values = pixel_values.mean(1, keepdim=True)
        if pixel_values.shape[1] != config.input_size:
            raise ValueError(
                f"pixel_values must have input_size={config.input_size} channels, got {pixel_values.shape[1]}"
            )
        return pixel_values.flatten(2).transpose(1, 2).index_select(1, self.permutation)

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: Items = None,
        **kwargs,
    ) -> ImageClassifierOutput:
        """Classify images.

        Args:
            pixel_values: (b, c, image_size, image_size).
            labels: (b,) class ids; −100 where there is nothing to learn.
            num_items_in_batch: how many labels the loss is a mean over, if not over those given here.

        Raises:
            TypeError: bytes are given, or what is no tensor.
            ValueError: there are no images, or they or their labels have a wrong shape or values.
        """
        refuse_packing(kwargs)
        refuse_caches(kwargs)
        check_tensors(pixel_values=pixel_values)
        if pixel_values is None:
            raise ValueError("pixel_values (batch, channels, height, width) must be given")
        sequence = self.pixel_sequence(pixel_values)
        ranks = current_ranks()
        sequence = sequence if ranks is None else ranks.cut(sequence)
        pooled, outputs = self.pool(input_values=sequence, output_hidden_states=output_hidden_states, use_cache=False)
        logits = self.classifier(pooled)
        loss = self.loss(labels, logits, num_items_in_batch=num_items_in_batch)
        return ImageClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


@output_with_cache
class LMUForecastOutput(ModelOutput):
    """What the forecast head returns.

    Args:
        loss: mean squared error over the labels that there are, if labels were given.
        predictions: (b, n, output_size).
        cache: the carried memories (``past_key_values`` in transformers before 5.24).
        hidden_states: as :class:`LMUModel` returns them.
    """

    loss: Tensor | None = None
    predictions: Tensor | None = None
    cache: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class LMUForTimeSeriesPrediction(LMUPreTrainedModel):
    """A prediction at every step of a real-valued series."""

    main_input_name = "input_values"
    input_modalities = ["time"]

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        if config.input_size is None:
            raise ValueError("a forecast reads a real-valued series: set input_size, got None")
        config.check_unsmoothed()
        self.model = LMUModel(config)
        self.head = LMUHead(config, config.hidden_size, config.output_size or 1)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: Items = None,
        past_key_values: Cache | None = None,
        **kwargs,
    ) -> LMUForecastOutput:
        """Predict at every step.

        Args:
            input_values: (b, n, input_size), or (b, n) if ``input_size`` is 1.
            attention_mask: (b, n), zero where a step does not exist.
            position_ids: (b, n), of several series packed in a row: one starts at every 0.
            cache: carried memories of the series so far.
            labels: (b, n, output_size), or (b, n) if ``output_size`` is 1: what each step should predict; −100 where
                there is nothing to learn. What stands on masked steps counts for nothing.
            num_items_in_batch: how many labels the loss is a mean over, if not over those given here. Trainer counts
                all that are not −100, so those on masked steps must be.
            past_key_values: another name of ``cache``.

        Raises:
            TypeError: the series, its mask or its labels are no tensors.
            ValueError: an input or a label has a wrong shape or is not finite, there is no label to learn from, or one
                is counted that stands on a masked step.
        """
        cache = one_cache(cache, past_key_values, kwargs)
        outputs = self.model(
            input_values=input_values,
            cache=cache,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            layout=self.find_layout(input_values, attention_mask, position_ids, cache, **kwargs),
            return_dict=True,
        )
        predictions = self.head(outputs.last_hidden_state)
        return LMUForecastOutput(
            loss=None if labels is None else self._loss(predictions, labels, attention_mask, num_items_in_batch),
            predictions=predictions,
            **{CACHE_NAME: getattr(outputs, CACHE_NAME)},
            hidden_states=outputs.hidden_states,
        )

    def _loss(self, predictions: Tensor, labels: Tensor, mask: Tensor | None, items: Items) -> Tensor:
        check_tensors(labels=labels)
        labels = labels[..., None] if labels.ndim == 2 else labels
        if labels.shape != predictions.shape:
            raise ValueError(f"labels must be {tuple(predictions.shape)}, got {tuple(labels.shape)}")
        real = labels != IGNORED
        if mask is not None:
            counted, real = real, real & mask[:, -labels.shape[1] :, None].bool()
            if items is not None:
                check_counted(counted & ~real)
        check_finite("labels", labels, real=real, remedy=UNKNOWN)
        ranks = current_ranks()
        if items is None:
            items = real.sum() if ranks is None else ranks.total(real.sum())
            if is_readable(items) and not bool(items):
                raise ValueError("attention_mask and labels leave no real step to compute a loss over")
        loss = squared_error(predictions, labels, real, items)
        return loss if ranks is None else ranks.total(loss)
