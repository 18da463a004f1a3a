"""A whole series of real values, in one channel or several: which class is it?"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import can_return_tuple

from .cache_lmu import refuse_caches
from .checking import STEPS, check_finite, check_mask, check_tensors
from .configuration_lmu import LMUConfig
from .heads_lmu import LMUPooledModel, TargetScale
from .layout import Layout, Padded, refuse_packing
from .losses import Items

RAISED = 3.0  # deviations that series lie above silence, so that every kernel sees where they begin and end
UNOBSERVED = "say where values are missing by observed_mask (batch, time, channels)"


class SignalScale(TargetScale):
    """The unit of each channel: a model reads it less its mean, over its deviation. At first it changes nothing.

    ``silence`` is a number of steps: a shorter series is followed by silence up to it, and lies above silence by
    ``RAISED`` deviations, so that its start, its end and its length tell something, too. 0 for none.

    Args:
        outputs: how many channels there are.
    """

    silence: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        self.register_buffer("silence", torch.zeros(1))
        self.steps = 0  # of silence, as of the last `eval()`: a graph to be exported cannot look into a buffer

    @torch.no_grad()
    def draw_weights(self) -> None:
        """Change nothing."""
        super().draw_weights()
        nn.init.zeros_(self.silence)

    @torch.no_grad()
    def fit(self, targets: Tensor) -> None:
        """Take both from values (steps, channels), NaN where one is missing; a constant channel keeps its unit."""
        values = targets.double()
        seen = ~values.isnan()
        count = seen.sum(0).clamp(min=1)
        mean = values.nan_to_num(0).sum(0) / count
        deviation = ((values - mean).masked_fill(~seen, 0).square().sum(0) / count).sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 0, deviation, 1))

    def train(self, mode: bool = True) -> "SignalScale":
        """As torch's own; takes note of the steps of silence."""
        if not self.silence.is_meta:
            self.steps = int(self.silence)
        super().train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Values (…, channels) in their own unit to those that the stack reads."""
        return (x.to(torch.promote_types(x.dtype, torch.float32)) - self.mean) / self.scale


class LMUForTimeSeriesClassification(LMUPooledModel):
    """A class for a series of real values, whose channels' units are kept in the model.

    Series in a batch may be of unequal length (``attention_mask``), and any value may be missing (``observed_mask``).
    """

    main_input_name = "input_values"
    input_modalities = ["time"]
    _keep_in_fp32_modules_strict = ["targets", "signals"]

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        if config.input_size is None:
            raise ValueError("a classifier of series reads real values: set input_size, got None")
        self.signals = SignalScale(config.input_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        observed_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: Items = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classify series.

        Where ``signals.silence`` is longer than the batch, hidden states have so many steps.

        Args:
            input_values: (b, n, input_size), or (b, n) if ``input_size`` is 1; in the unit that they were measured in.
            attention_mask: (b, n), zero where a step does not exist.
            observed_mask: (b, n, input_size), zero where a value is missing, whatever stands there. A missing value is
                the last one of its channel that was observed, and the mean where none was.
            labels: (b,) class ids; −100 where there is nothing to learn.
            num_items_in_batch: how many labels the loss is a mean over, if not over those given here.

        Raises:
            TypeError: an argument is no tensor.
            ValueError: a value that is observed is not finite, or an argument has a wrong shape.
        """
        refuse_packing(kwargs)
        refuse_caches(kwargs)
        pooled, outputs = self.read(input_values, attention_mask, observed_mask, output_hidden_states)
        logits = self.classifier(pooled)
        loss = self.loss(labels, logits, num_items_in_batch=num_items_in_batch)
        return SequenceClassifierOutput(loss=loss, logits=self.in_units(logits), hidden_states=outputs.hidden_states)

    def read(
        self,
        input_values: Tensor | None,
        attention_mask: Tensor | None = None,
        observed_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> tuple[Tensor, Any]:
        """What the classifier is given of each series, (b, pooled_size), and the stack's own output."""
        layout, values = self.standardise(input_values, attention_mask, observed_mask)
        return self.pool(layout=layout, input_values=values, output_hidden_states=output_hidden_states, use_cache=False)

    def standardise(
        self, input_values: Tensor | None, attention_mask: Tensor | None = None, observed_mask: Tensor | None = None
    ) -> tuple[Layout, Tensor]:
        """The layout, and the values (b, n, input_size) as the stack reads them: standardised, none missing."""
        check_tensors(input_values=input_values, attention_mask=attention_mask, observed_mask=observed_mask)
        width = self.config.input_size
        if input_values is not None and input_values.ndim == 2 and width == 1:
            input_values = input_values[..., None]
            observed_mask = (
                observed_mask[..., None] if observed_mask is not None and observed_mask.ndim == 2 else observed_mask
            )
        layout = self.find_layout(input_values, attention_mask)
        if input_values is None or layout is None or input_values.ndim != 3 or input_values.shape[2] != width:
            shape = None if input_values is None else tuple(input_values.shape)
            raise ValueError(f"input_values must be (batch, time, input_size={width}), got {shape}")
        if observed_mask is None:
            check_finite("input_values", input_values, STEPS, real=attention_mask, remedy=UNOBSERVED)
            return self.followed(layout, layout.pack(self.signals(input_values)))
        if observed_mask.shape != input_values.shape:
            raise ValueError(
                f"observed_mask must be {tuple(input_values.shape)} as input_values, got {tuple(observed_mask.shape)}"
            )
        check_mask("observed_mask", observed_mask)
        observed = observed_mask.bool()
        real = observed if attention_mask is None else observed & attention_mask.bool()[..., None]
        check_finite("input_values", input_values, STEPS, real=real, remedy=UNOBSERVED)
        values = self.signals(torch.where(observed, input_values, 0))
        return self.followed(layout, hold_observed(layout.pack(values), layout.pack(observed)))

    def followed(self, layout: Layout, values: Tensor) -> tuple[Layout, Tensor]:
        """The layout and rows of packed values (b, n', input_size), with silence behind series that are shorter."""
        is_exporting = torch.compiler.is_exporting()
        steps = self.signals.steps if is_exporting else int(self.signals.silence)
        if not steps:
            return layout, layout.unpack(values)
        n = torch.sym_max(steps, values.shape[1])
        values = values + RAISED
        if layout.lengths is not None:
            is_there = torch.arange(values.shape[1], device=values.device) < layout.lengths.to(values.device)[:, None]
            values = values * is_there[..., None]
        values = pad(values, (0, 0, 0, n - values.shape[1]))
        lengths = torch.full(values.shape[:1], n) if layout.lengths is None else layout.lengths.clamp(min=steps)
        mask = torch.arange(n, device=values.device) < lengths.to(values.device)[:, None]
        is_full = not is_exporting and bool(mask.all())  # a mask of a graph has no numbers yet
        return (Layout(n) if is_full else Padded.from_mask(mask)), values


def hold_observed(values: Tensor, observed: Tensor) -> Tensor:
    """Values (b, n, channels) with the last observed one in the place of each that is not; 0 before the first."""
    steps = torch.arange(values.shape[1], device=values.device)[None, :, None]
    # The place of the latest observation so far; −1 before the first.
    latest = torch.where(observed, steps, -1).cummax(1).values
    return values.gather(1, latest.clamp(min=0)).masked_fill(latest < 0, 0)
