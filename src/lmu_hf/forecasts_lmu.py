"""A real-valued series: what comes next, at every step?"""

from torch import Tensor
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    ModelOutput,
)
from transformers.utils import can_return_tuple

from .cache_lmu import CACHE_NAME, one_cache
from .checking import IGNORED, UNKNOWN, check_finite, check_tensors, is_readable
from .configuration_lmu import LMUConfig
from .fields_lmu import check_unsmoothed
from .heads_lmu import LMUHead, output_with_cache
from .layout import current_ranks
from .losses import Items, check_counted, squared_error
from .modeling_lmu import LMUModel, LMUPreTrainedModel


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
        check_unsmoothed(config.label_smoothing)
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
        if past_key_values is not None or kwargs:
            cache = one_cache(cache, past_key_values, kwargs)
        outputs = self.model(
            input_values=input_values,
            cache=cache,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            layout=self.find_layout(input_values, attention_mask, position_ids, cache, **kwargs),
            return_dict=True,  # whatever config.return_dict says
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
        # (b, n) stands for (b, n, 1); where there are more outputs, the shape check below complains.
        labels = labels[..., None] if labels.ndim == 2 else labels
        if labels.shape != predictions.shape:
            raise ValueError(f"labels must be {tuple(predictions.shape)}, got {tuple(labels.shape)}")
        # NaN is not −100: it counts as a label, and is refused below.
        real = labels != IGNORED
        if mask is not None:
            # A mask may be (b, past + n): the last n columns are these steps.
            counted, real = real, real & mask[:, -labels.shape[1] :, None].bool()
            # A label that Trainer counted and that is dropped here would shrink the mean.
            if items is not None:
                check_counted(counted & ~real)
        check_finite("labels", labels, real=real, remedy=UNKNOWN)
        ranks = current_ranks()
        if items is None:
            # Divided by the count over all ranks, the losses of the parts add up to the whole sequence's mean.
            items = real.sum() if ranks is None else ranks.total(real.sum())
            # On other devices 0 / 0 gives NaN: to ask would make the host wait.
            if is_readable(items) and not bool(items):
                raise ValueError("attention_mask and labels leave no real step to compute a loss over")
        loss = squared_error(predictions, labels, real, items)
        return loss if ranks is None else ranks.total(loss)
