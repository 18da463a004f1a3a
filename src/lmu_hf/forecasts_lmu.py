"""A real-valued series: what comes next, at every step, or over a whole horizon at once?"""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    ModelOutput,
)
from transformers.utils import can_return_tuple

from .cache_lmu import CACHE_NAME, one_cache
from .checking import IGNORED, UNKNOWN, check_finite, check_mask, check_tensors, is_readable
from .configuration_lmu import LMUConfig
from .fields_lmu import Option, check_unsmoothed, option
from .heads_lmu import LMUHead, TargetScale, output_with_cache
from .layout import current_ranks, refuse_ranks
from .losses import Items, check_counted, pinball, squared_error
from .modeling_lmu import LMUModel, LMUPreTrainedModel

NORMALIZATIONS = ("last", "mean", "none")
SMALLEST_SCALE = 1e-5  # of a window that does not move, in units of its channel


@option
@dataclass(frozen=True)
class Forecast(Option):
    """``LMUConfig(forecast={…})``: all steps of a horizon at once, every channel by itself with the same weights.

    Args:
        prediction_length: steps that are predicted, H.
        context_length: steps that are read; of a longer series its last ones.
        channels: how many series stand side by side. Each has a unit of its own, which the model takes from its labels.
        normalization: what is subtracted from a window and added to its forecast: its ``"last"`` value, its ``"mean"``,
            or ``"none"``.
        scaling: also divide a window by its standard deviation, and multiply its forecast by it.
        quantiles: levels in (0, 1), rising, 0.5 among them; None for the mean alone.
        covariates: numbers that are known for every step of context and horizon, such as the hour of the day.
    """

    name = "forecast"

    prediction_length: int
    context_length: int
    channels: int = 1
    normalization: str = "last"
    scaling: bool = False
    quantiles: list[float] | None = None
    covariates: int = 0

    def __post_init__(self) -> None:
        for entry in ("prediction_length", "context_length", "channels"):
            self._check_whole(entry, below=10**6)
        if type(self.covariates) is not int or not 0 <= self.covariates < 10**4:
            raise ValueError(f"forecast: covariates must be a whole number from 0 to 9999, got {self.covariates!r}")
        if self.normalization not in NORMALIZATIONS:
            raise ValueError(f"forecast: normalization must be one of {NORMALIZATIONS}, got {self.normalization!r}")
        if not isinstance(self.scaling, bool):
            raise ValueError(f"forecast: scaling must be true or false, got {self.scaling!r}")
        levels = self.quantiles
        if levels is not None and not (
            isinstance(levels, list | tuple)
            and all(isinstance(level, float) and 0 < level < 1 for level in levels)
            and sorted(set(levels)) == list(levels)
            and 0.5 in levels
        ):
            raise ValueError(
                f"forecast: quantiles must be a rising list of levels in (0, 1) with 0.5 among them, got {levels!r}"
            )

    @property
    def outputs(self) -> int:
        """Numbers of the head for one channel."""
        return self.prediction_length * len(self.quantiles or [0.5])

    def check(self, config: Any) -> None:
        """The stack reads one channel, and the head's width follows from the horizon."""
        if config.input_size != 1:
            raise ValueError(
                f"forecast reads every channel by itself: set input_size=1 and forecast's channels, got input_size="
                f"{config.input_size}"
            )
        if config.output_size is not None:
            raise ValueError(f"forecast decides the head's outputs: leave output_size={config.output_size} out")

    def count_numbers(self, config: Any) -> dict[str, int]:
        """The head's last matrix, and the covariates'."""
        width = config.head_hidden_size or config.hidden_size
        return {"prediction_length": width * self.outputs, "covariates": self.channels * self.covariates}


@output_with_cache
class LMUForecastOutput(ModelOutput):
    """What the forecast head returns.

    Args:
        loss: mean squared error over the labels that there are, if labels were given; of quantiles twice the pinball
            loss. Of a whole horizon in units of each channel's deviation.
        predictions: (b, n, output_size) at every step; (b, prediction_length, channels) of a whole horizon.
        quantiles: (b, prediction_length, channels, levels), rising; None where there are no levels.
        cache: the carried memories (``past_key_values`` in transformers before 5.24).
        hidden_states: as :class:`LMUModel` returns them; of a whole horizon every channel is a row of its own.
    """

    loss: Tensor | None = None
    predictions: Tensor | None = None
    quantiles: Tensor | None = None
    cache: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class LMUForTimeSeriesPrediction(LMUPreTrainedModel):
    """Predictions of a real-valued series: at every step, or with ``config.forecast`` of a whole horizon at once."""

    loaded_by = "AutoModelForTimeSeriesPrediction"
    main_input_name = "input_values"
    input_modalities = ["time"]
    _keep_in_fp32_modules_strict = ["targets"]

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        if config.input_size is None:
            raise ValueError("a forecast reads a real-valued series: set input_size, got None")
        check_unsmoothed(config.label_smoothing)
        self.model = LMUModel(config)
        self.option = found = Forecast.of(config)
        self.head = LMUHead(config, config.hidden_size, found.outputs if found else config.output_size or 1)
        self.targets = TargetScale(found.channels) if found else None
        self.effects: nn.Linear | None = None
        if found and found.covariates:
            self.effects = nn.Linear(found.covariates, found.channels, bias=False)
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
        observed_mask: Tensor | None = None,
        covariates: Tensor | None = None,
        **kwargs,
    ) -> LMUForecastOutput:
        """Predict at every step, or the horizon behind the last step.

        Args:
            input_values: (b, n, input_size), or (b, n) if ``input_size`` is 1; of a whole horizon (b, n, channels), or
                (b, n) of one channel. Whole numbers will do.
            attention_mask: (b, n), zero where a step does not exist. At every step only.
            position_ids: (b, n), of several series packed in a row: one starts at every 0. At every step only.
            cache: carried memories of the series so far. At every step only.
            labels: (b, n, output_size), or (b, n) if ``output_size`` is 1: what each step should predict; of a whole
                horizon (b, prediction_length, channels), or (b, prediction_length) of one channel. −100 where there is
                nothing to learn. What stands on masked steps counts for nothing.
            num_items_in_batch: how many labels the loss is a mean over, if not over those given here. Trainer counts
                all that are not −100, so those on masked steps must be.
            past_key_values: another name of ``cache``.
            observed_mask: (b, n) or (b, n, channels), zero where a value is missing: the one before stands in for it.
                With prediction_length more steps it says of the labels, too, which are there. Of a whole horizon only.
            covariates: (b, n + prediction_length, covariates), known for context and horizon. Of a whole horizon only.

        Raises:
            TypeError: the series, its mask or its labels are no tensors.
            ValueError: an input or a label has a wrong shape or is not finite, there is no label to learn from, one is
                counted that stands on a masked step, or an input is given that this kind of forecast does not read.
        """
        if past_key_values is not None or kwargs:
            cache = one_cache(cache, past_key_values, kwargs)
        if isinstance(input_values, Tensor) and not input_values.is_floating_point() and not input_values.is_complex():
            input_values = input_values.to(torch.get_default_dtype())  # counts and whole degrees are a series, too
        if self.option is not None:
            _refuse("forecasts a whole horizon", attention_mask=attention_mask, position_ids=position_ids, cache=cache)
            return self._horizon(
                input_values, labels, observed_mask, covariates, num_items_in_batch, output_hidden_states
            )
        _refuse("predicts at every step", observed_mask=observed_mask, covariates=covariates)
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

    def _horizon(
        self,
        input_values: Tensor | None,
        labels: Tensor | None,
        observed: Tensor | None,
        covariates: Tensor | None,
        items: Items,
        output_hidden_states: bool | None,
    ) -> LMUForecastOutput:
        """The horizon behind the last step: arguments as for :meth:`forward`."""
        refuse_ranks("a forecast of a whole horizon")
        found, targets = cast(Forecast, self.option), cast(TargetScale, self.targets)
        values, past, future = _checked_window(found, input_values, observed, covariates)
        values = (hold_last(values, past) - targets.mean) / targets.scale
        ahead = values.new_zeros(())
        if self.effects is not None:
            effects = self.effects(cast(Tensor, covariates)).to(values.dtype)
            values, ahead = values - effects[:, : values.shape[1]], effects[:, -found.prediction_length :, :, None]
        values = values[:, -found.context_length :]
        level, scale = window_unit(values, found.normalization, found.scaling)
        rows = ((values - level) / scale).transpose(1, 2).flatten(0, 1)[..., None]  # (b·channels, n, 1)
        outputs = self.model(
            input_values=rows.to(self.dtype),
            use_cache=False,
            output_hidden_states=output_hidden_states,
            wanted="last",
            return_dict=True,
        )
        said = self.head(outputs.last_hidden_state[:, -1]).view(
            values.shape[0], found.channels, found.prediction_length, -1
        )
        said = said.transpose(1, 2).to(values.dtype)  # (b, H, channels, levels)
        said = (said * scale[..., None] + level[..., None] + ahead).sort(-1).values  # levels never cross
        loss = None if labels is None else self._horizon_loss(said, labels, future, items)
        said = said * targets.scale[:, None] + targets.mean[:, None]
        levels = found.quantiles
        return LMUForecastOutput(
            loss=loss,
            predictions=said[..., 0 if levels is None else levels.index(0.5)],
            quantiles=None if levels is None else said,
            hidden_states=outputs.hidden_states,
        )

    def _horizon_loss(self, said: Tensor, labels: Tensor, future: Tensor | None, items: Items) -> Tensor:
        """In units of each channel's deviation, so that no channel counts for more because its unit is small."""
        check_tensors(labels=labels)
        labels = labels[..., None] if labels.ndim == 2 else labels
        if labels.shape != said.shape[:3]:
            raise ValueError(
                f"labels must be (batch, prediction_length, channels) = {tuple(said.shape[:3])}, got "
                f"{tuple(labels.shape)}"
            )
        targets, levels = cast(TargetScale, self.targets), cast(Forecast, self.option).quantiles
        real = counted = labels != IGNORED
        if future is not None:
            real = counted & future
            if items is not None:
                check_counted(counted & ~real)
        check_finite("labels", labels, real=real, remedy=UNKNOWN)
        if items is None and is_readable(labels) and not bool(real.any()):
            raise ValueError("observed_mask and labels leave no real step to compute a loss over")
        truth = (labels - targets.mean) / targets.scale
        if levels is None:
            return squared_error(said[..., 0], truth, real, items)
        return pinball(said, truth, real, list(levels), items)

    @torch.no_grad()
    def forecast(
        self,
        input_values: Tensor,
        steps: int,
        observed_mask: Tensor | None = None,
        covariates: Tensor | None = None,
    ) -> Tensor:
        """Predict any number of steps: behind the first horizon, what was predicted is read as if it had been seen.

        Args:
            input_values: (b, n, channels), or (b, n) of one channel.
            steps: how many.
            observed_mask: (b, n) or (b, n, channels), zero where a value is missing.
            covariates: (b, n + the steps rounded up to whole horizons, covariates).

        Returns:
            (b, steps, channels).

        Raises:
            ValueError: the model predicts at every step, there is no step to predict, or an input will not do.
        """
        if self.option is None:
            raise ValueError("this model predicts at every step: set LMUConfig(forecast={…}) for a whole horizon")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        horizon, turns = self.option.prediction_length, math.ceil(steps / self.option.prediction_length)
        past, known, _ = _checked_window(self.option, input_values, observed_mask, covariates, turns)
        past = hold_last(past, known)
        read, found = past.shape[1], []
        for turn in range(turns):
            seen = None if covariates is None else covariates[:, : read + (turn + 1) * horizon]
            found.append(self(input_values=past, covariates=seen).predictions)
            past = torch.cat([past, found[-1]], dim=1)
        return torch.cat(found, dim=1)[:, :steps]

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


def hold_last(values: Tensor, observed: Tensor | None) -> Tensor:
    """A series (b, n, channels) whose missing values are the last observed one; before the first, that one."""
    if observed is None:
        return values
    steps = torch.arange(values.shape[1], device=values.device)[:, None].expand_as(values)
    # A missing step points to step 0 until cummax carries the last observed one forward.
    last = torch.where(observed, steps, 0).cummax(1).values
    first = observed.to(torch.int8).argmax(1, keepdim=True)  # the first of several maxima
    return values.gather(1, torch.maximum(last, first))


def window_unit(values: Tensor, normalization: str, scaling: bool) -> tuple[Tensor, Tensor]:
    """What to subtract from each channel of a window (b, n, channels), and what to divide it by: (b, 1, channels)."""
    mean = values.mean(1, keepdim=True)
    level = {"last": values[:, -1:], "mean": mean, "none": torch.zeros_like(mean)}[normalization]
    if not scaling:
        return level, torch.ones_like(mean)
    return level, values.std(1, keepdim=True, correction=0).clamp(min=SMALLEST_SCALE)


def _checked_window(
    found: Forecast, values: Tensor | None, observed: Tensor | None, covariates: Tensor | None, turns: int = 1
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Values (b, n, channels), and where those of the context and of the horizon are observed; None for everywhere.

    Args:
        found: the option.
        values, observed, covariates: as :meth:`LMUForTimeSeriesPrediction.forward` has them.
        turns: horizons that covariates must be known for.
    """
    check_tensors(input_values=values, observed_mask=observed, covariates=covariates)
    if values is None or values.ndim not in (2, 3) or (values.ndim == 2 and found.channels != 1):
        shape = None if values is None else tuple(values.shape)
        raise ValueError(f"input_values must be (batch, time, channels={found.channels}), got {shape}")
    values = values[..., None] if values.ndim == 2 else values
    b, n, channels = values.shape
    if channels != found.channels or not n or not b:
        raise ValueError(f"input_values must be (batch, time, channels={found.channels}), got {tuple(values.shape)}")
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    ahead = turns * found.prediction_length
    wanted = (b, n + ahead, found.covariates)
    if (covariates is None) == bool(found.covariates) or (covariates is not None and covariates.shape != wanted):
        given = None if covariates is None else tuple(covariates.shape)
        raise ValueError(f"covariates must be {wanted if found.covariates else None}, got {given}")
    past = future = None
    if observed is not None:
        mask = observed[..., None].bool() if observed.ndim == 2 else observed.bool()
        if mask.ndim != 3 or mask.shape[:2] not in ((b, n), (b, n + ahead)) or mask.shape[2] not in (1, channels):
            raise ValueError(
                f"observed_mask must be (batch, time) = ({b}, {n}) or ({b}, {n + ahead}), with or without channels, "
                f"got {tuple(observed.shape)}"
            )
        check_mask("observed_mask", observed)
        mask = mask.expand(-1, -1, channels)
        past, future = mask[:, :n], mask[:, n:] if mask.shape[1] > n else None
        if is_readable(mask) and not bool(past.any(1).all()):
            row, channel = (~past.any(1)).nonzero()[0].tolist()
            raise ValueError(f"observed_mask leaves row {row}, channel {channel} without any value to forecast from")
    check_finite("input_values", values, real=past, remedy="mask what is missing with observed_mask")
    if covariates is not None:
        check_finite("covariates", covariates)
    return values, past, future


def _refuse(what: str, **given: object) -> None:
    """Refuse inputs that this kind of forecast does not read."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"this model {what} and does not read {name}: leave it out")
