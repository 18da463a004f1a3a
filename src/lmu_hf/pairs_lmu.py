"""Two sequences read by one stack: which class are they together?"""

from typing import cast

import torch
from torch import Tensor
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    SequenceClassifierOutput,
)
from transformers.utils import can_return_tuple, is_torchdynamo_compiling

from .alignment import Alignment, AlignmentOption
from .cache_lmu import refuse_caches
from .checking import check_steps, check_tensors
from .configuration_lmu import POOLINGS, LMUConfig
from .heads_lmu import LMUPooledModel, given_input
from .layout import Layout, Packed, Padded, refuse_ranks
from .losses import Items
from .modeling_lmu import real_steps
from .pair_votes import PairVotes
from .votes import Votes


class LMUForSequencePairClassification(LMUPooledModel):
    """A class for two sequences, each read by the same stack (siamese), from m1, m2, |m1 − m2| and m1 ⊙ m2.

    m1 and m2 are each sequence's steps, pooled; with ``alignment``, the pooled comparisons of its steps with what
    stands for them in the other sequence. With ``votes``, what n-grams say that stand in either or in both is added.

    Raises:
        ValueError: the votes are to be trained, or of words.
    """

    def __init__(self, config: LMUConfig) -> None:
        option = AlignmentOption.of(config)
        width = (config.hidden_size if option is None else option.size) * len(POOLINGS[config.pooling])
        super().__init__(config, width * len(config.pair_features))
        self.alignment: Alignment | None = None
        if option is not None:
            self.alignment = Alignment(config.hidden_size, option.size, config.hidden_act)
        self.votes: PairVotes | None = None
        if (votes := Votes.of(config)) is not None:
            self.votes = PairVotes(votes, self.num_labels)
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
            pair_attention_mask: (b, n₂), zero where a step of the second sequences does not exist.
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
        check_tensors(
            attention_mask=attention_mask, token_type_ids=token_type_ids, pair_attention_mask=pair_attention_mask
        )
        if (token_type_ids is None) == (pair_input_ids is None):
            raise ValueError("a pair is told by exactly one of token_type_ids (both in one row) and pair_input_ids")
        given = given_input(input_ids=input_ids, inputs_embeds=inputs_embeds)
        layout = self.find_layout(given, attention_mask, position_ids, **kwargs)
        pairs = layout if isinstance(layout, Packed) else None
        if token_type_ids is not None:
            first, second = self._from_one_row(input_ids, inputs_embeds, attention_mask, token_type_ids)
            if pairs is not None:
                # Packed rows have no padding: steps of the other sequence are cut out, not masked.
                first, second = _unmasked(pairs, **first), _unmasked(pairs, **second)
        else:
            if pairs is not None:
                raise ValueError("packed pairs must be told by token_type_ids (batch, time), got pair_input_ids")
            first = {"input_ids": input_ids, "inputs_embeds": inputs_embeds, "attention_mask": attention_mask}
            second = {"input_ids": pair_input_ids, "attention_mask": pair_attention_mask}
            if given is not None and pair_input_ids is not None and pair_input_ids.shape[0] != given.shape[0]:
                raise ValueError(f"pair_input_ids hold {pair_input_ids.shape[0]} rows for a batch of {given.shape[0]}")
            if pair_attention_mask is not None and pair_input_ids is not None:  # below it has the name of the first's
                real_steps("pair_attention_mask", pair_attention_mask, *pair_input_ids.shape)
        first["output_hidden_states"] = output_hidden_states  # an output has room for one sequence's
        if self.alignment is None:  # one stack, run twice: the sequences need not be of one length
            m1, outputs = self.pool(**first, use_cache=False)
            m2, _ = self.pool(**second, use_cache=False)
        else:
            m1, m2, outputs = self._pool_aligned(self.alignment, first, second)
        parts = {"first": m1, "second": m2, "difference": (m1 - m2).abs(), "product": m1 * m2}
        stack = self.classifier(torch.cat([parts[name] for name in self.config.pair_features], dim=-1))
        logits = stack if self.votes is None else self.votes.join(stack, self._voted(self.votes, first, second))
        # Votes are found before training: in it the stack is to decide alone.
        loss = self.loss(labels, stack if self.training else logits, num_items_in_batch=num_items_in_batch)
        return SequenceClassifierOutput(loss=loss, logits=self.in_units(logits), hidden_states=outputs.hidden_states)

    def voted(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pair_input_ids: Tensor | None = None,
        pair_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """The logits (b, num_labels) of the votes alone; arguments as of :meth:`forward`.

        Raises:
            ValueError: the model has none.
        """
        if self.votes is None:
            raise ValueError("this model has no votes: config.votes is None")
        first = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self._voted(self.votes, first, {"input_ids": pair_input_ids, "attention_mask": pair_attention_mask})

    def _voted(self, votes: PairVotes, first: dict, second: dict) -> Tensor:
        both = first, second
        if any(inputs.get("input_ids") is None for inputs in both):
            raise ValueError("votes are of token ids: give input_ids")
        refuse_ranks("a pair that n-grams vote for")
        ids = [inputs["input_ids"] for inputs in both]
        layouts = [
            inputs["layout"] if "layout" in inputs else self.find_layout(one, inputs.get("attention_mask"))
            for one, inputs in zip(ids, both, strict=True)
        ]
        seen = _seen(first, second, ids[0].device), _seen(second, first, ids[0].device)
        return votes.compare(ids, [cast(Layout, layout) for layout in layouts], seen)

    def _pool_aligned(
        self, alignment: Alignment, first: dict, second: dict
    ) -> tuple[Tensor, Tensor, BaseModelOutputWithPast]:
        """As :meth:`pool` twice, but that steps are compared with those of the other before they are pooled."""
        refuse_ranks("a pair whose steps are aligned")
        outputs, others = (self.model(**inputs, use_cache=False, return_dict=True) for inputs in (first, second))
        x, y = outputs.last_hidden_state, others.last_hidden_state
        # Both ways: the steps of each sequence look for counterparts in the other.
        m1 = self._pool_compared(alignment(x, y, _seen(first, second, x.device)), first)
        m2 = self._pool_compared(alignment(y, x, _seen(second, first, x.device)), second)
        return m1, m2, outputs

    def _pool_compared(self, steps: Tensor, inputs: dict) -> Tensor:
        layout: Layout | None = inputs.get("layout")
        mask = inputs.get("attention_mask")
        if mask is not None:  # a mean counts on zeros there
            steps, layout = steps.masked_fill(~mask.bool()[..., None], 0), Padded.from_mask(mask)
        layout = Layout(steps.shape[1]) if layout is None else layout
        return layout.pool(steps, POOLINGS[self.config.pooling])

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
        # Elsewhere the check would make the host wait for the device at every call.
        if types.device.type == "cpu" and not is_torchdynamo_compiling() and bool(((types != 0) & (types != 1)).any()):
            raise ValueError(f"token_type_ids must be 0 (first sequence) or 1 (second), got {types.unique().tolist()}")
        real = torch.ones_like(types, dtype=torch.bool) if mask is None else mask.bool()
        inputs = {"input_ids": input_ids, "inputs_embeds": embeds}
        return {**inputs, "attention_mask": real & (types == 0)}, {**inputs, "attention_mask": real & (types == 1)}


def _seen(this: dict, that: dict, device: torch.device) -> Tensor | None:
    """(b, n or 1, n'): which steps of that sequence may stand for a step of this one; None if all may."""
    # Packed pairs stand in one row: a step may look at its own pair only.
    if "layout" in this:
        return this["layout"].owners(device)[:, None] == that["layout"].owners(device)
    mask = that.get("attention_mask")
    return None if mask is None else mask.bool()[:, None]  # the same for every step of this one


def _unmasked(pairs: Packed, attention_mask: Tensor, **inputs: Tensor | None) -> dict:
    """Packed rows without their masked steps: one row, and what is left of each sequence."""
    # A mask as an index takes steps row after row: what is left stands end to end.
    kept = {name: value if value is None else value[attention_mask][None] for name, value in inputs.items()}
    return {**kept, "layout": pairs.where(attention_mask)}
