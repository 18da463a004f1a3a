"""A class for every token: names in a text, parts of speech, states of a signal."""

from torch import Tensor
from transformers.cache_utils import Cache
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.utils import can_return_tuple

from .cache_lmu import CACHE_NAME, one_cache
from .checking import IGNORED, STEPS, check_class_ids, is_readable
from .configuration_lmu import LMUConfig
from .heads_lmu import LMUHead, output_with_cache
from .layout import current_ranks
from .losses import Items, drop_masked, token_loss
from .modeling_lmu import LMUModel, LMUPreTrainedModel


@output_with_cache
class LMUTokenClassifierOutput(TokenClassifierOutput):
    """What the token head returns.

    Args:
        cache: the carried memories, if ``use_cache`` asked for them (``past_key_values`` in transformers before 5.24).
    """

    cache: Cache | None = None


class LMUForTokenClassification(LMUPreTrainedModel):
    """A class for every step of a sequence of tokens or of real values.

    A causal stack tags a stream as it comes, in constant memory; a bidirectional one also reads what follows.

    Args:
        config: an architecture whose ``num_labels`` counts the classes.

    Raises:
        ValueError: the config asks for another problem, other outputs, or votes.
    """

    loaded_by = "AutoModelForTokenClassification"
    loss_function = staticmethod(token_loss)  # in place of a property; it, too, may be set

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        self.num_labels: int = config.num_labels or 1
        if config.problem_type not in (None, "single_label_classification"):
            raise ValueError(f"a token has one class: leave problem_type out, got {config.problem_type!r}")
        if config.output_size not in (None, self.num_labels):
            raise ValueError(
                f"output_size={config.output_size} does not fit num_labels={self.num_labels}: a token classifier has "
                "one output per label (output_size=None)"
            )
        if config.votes is not None:
            raise ValueError("votes are for the class of a whole sequence, not of a token: leave votes out")
        self.model = LMUModel(config)
        self.classifier = LMUHead(config, config.hidden_size, self.num_labels)
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
    ) -> LMUTokenClassifierOutput:
        """Classify every step; inputs as for :class:`LMUModel`, packed sequences among them.

        Args:
            labels: (b, n) class ids, not shifted; −100 where there is nothing to learn. What stands on masked steps
                counts for nothing.
            cache: carried memories, to tag a stream as it comes in pieces.
            num_items_in_batch: how many labels the loss is a mean over, if not over those given here. Trainer counts
                all that are not −100, so those on masked steps must be.
            past_key_values: another name of ``cache``.

        Raises:
            TypeError: an input is no tensor, or labels are not int64.
            ValueError: an input or the labels have a wrong shape or values, there is no label to learn from, or one is
                counted that stands on a masked step.
        """
        if past_key_values is not None or kwargs:
            cache = one_cache(cache, past_key_values, kwargs)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            cache=cache,
            inputs_embeds=inputs_embeds,
            input_values=input_values,
            position_ids=position_ids,
            # A tagger carries nothing unless asked to: config.use_cache is meant for generation.
            use_cache=bool(use_cache) or cache is not None,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            **kwargs,
        )
        logits = self.classifier(outputs.last_hidden_state)
        return LMUTokenClassifierOutput(
            loss=None if labels is None else self._loss(logits, labels, attention_mask, num_items_in_batch),
            logits=logits,
            **{CACHE_NAME: getattr(outputs, CACHE_NAME)},
            hidden_states=outputs.hidden_states,
        )

    def _loss(self, logits: Tensor, labels: Tensor, mask: Tensor | None, items: Items) -> Tensor:
        """The mean over all labels: of this call, of all ranks' parts of it, or of ``items``."""
        check_class_ids(labels, self.num_labels, "num_labels", STEPS)
        if labels.shape != logits.shape[:2]:
            raise ValueError(f"labels must be (batch, time) = {tuple(logits.shape[:2])}, got {tuple(labels.shape)}")
        if mask is not None:
            # A mask may be (b, past + n): the last n columns are these steps.
            labels = drop_masked(labels, mask[:, -labels.shape[1] :].bool(), items)
        ranks = current_ranks()
        if items is None:
            count = (labels != IGNORED).sum()
            # Divided by the count over all ranks, the losses of the parts add up to one mean.
            items = count if ranks is None else ranks.total(count)
            # On other devices 0 / 0 gives NaN: to ask would make the host wait.
            if is_readable(items) and not bool(items):
                raise ValueError("attention_mask and labels leave no real step to compute a loss over")
        # In training only: an evaluation's loss is the plain cross-entropy.
        smoothing = self.config.label_smoothing if self.training else 0.0
        loss = self.loss_function(
            labels=labels, logits=logits, config=self.config, num_items_in_batch=items, label_smoothing=smoothing
        )
        return loss if ranks is None else ranks.total(loss)  # each part's share, added up
