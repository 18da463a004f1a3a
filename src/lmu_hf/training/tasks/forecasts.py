"""Series to forecast over a whole horizon, split by time: every window of every part."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoModelForTimeSeriesPrediction, PreTrainedModel

from ...checking import IGNORED
from ...common.errors import InputError
from ...data.forecasts import SeriesTable
from ..baselines import Lines
from ..closed_forecasts import Memory, contexts, covariate_effects, write_readout
from ..forecast_baselines import (
    LINEAR_CONTEXT,
    ForecastScores,
    linear_forecaster,
    linear_scores,
    seasonal_errors,
    seasonal_naive,
)
from .base import Gather, Task

SHARES = (0.7, 0.1)  # of the steps: training and validation, where nobody says how many
MOST_CALIBRATING = 512  # validation windows that quantiles are taken from
PANELS = 4  # of a picture
SPLITS = ("train", "validation", "test")


class Windows(Dataset):
    """All windows of a part, handed out a whole batch at a time.

    Args:
        series: the whole series.
        starts: the first step of each horizon.
        context, horizon: steps.
    """

    def __init__(self, series: SeriesTable, starts: range, context: int, horizon: int) -> None:
        self.starts, self.context, self.horizon = starts, context, horizon
        self.values = torch.from_numpy(series.values).float()
        # None where nothing is missing, as in most tables: batches then need no mask.
        self.observed = None if series.observed.all() else torch.from_numpy(series.observed)
        self.covariates = None if series.covariates is None else torch.from_numpy(series.covariates).float()

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """A batch of one window."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch of windows: what torch's loader asks for first."""
        begins = torch.tensor([self.starts[index] for index in indices])[:, None]
        steps = begins + torch.arange(-self.context, self.horizon)
        window = self.values[steps]
        batch = {"input_values": window[:, : self.context], "labels": window[:, self.context :]}
        if self.observed is not None:
            there = self.observed[steps]
            batch["labels"] = batch["labels"].masked_fill(~there[:, self.context :], IGNORED)
            batch["observed_mask"] = there[:, : self.context]
        if self.covariates is not None:
            batch["covariates"] = self.covariates[steps]
        return batch


class ForecastTask(Task):
    """Forecast the steps behind a context, of all channels of a table.

    The first steps train, those behind them validate, the last ones test; a window belongs to the part that holds its
    whole horizon, and its context may begin in the part before. Scores are in units of each channel's deviation on the
    training part, over every window.

    Args:
        series: the table.
        prediction_length: steps that are predicted.
        context_length: steps that are read.
        split_steps: steps of each part; None for 70, 10 and 20 of 100. What is left over is not used.
        strength: of the ridge regression that finds the readout of an LMU; None to leave it as it was drawn.
        made_up: nobody's file.
        only_test: the table is scored and nothing else: all of it is the test.

    Raises:
        InputError: a part is too short for a window, or a channel does not change in the training part.
    """

    task = "time-series-forecasting"
    problem_type = "regression"
    metric = "mse"
    lower_is_better = True
    scorer = "errors in units of each channel's deviation on the training part; every window, step and channel counts 1"
    evaluation_batch = 256
    auto_class = AutoModelForTimeSeriesPrediction

    def __init__(
        self,
        series: SeriesTable,
        prediction_length: int,
        context_length: int,
        split_steps: Sequence[int] | None = None,
        strength: float | None = None,
        made_up: bool = False,
        only_test: bool = False,
    ) -> None:
        self.name, self.series, self.made_up = series.name, series, made_up
        self.prediction_length, self.context_length, self.strength = prediction_length, context_length, strength
        self.steps = (0, 0, len(series)) if only_test else parts_of(series, split_steps)
        self.only_test = only_test
        self._check_length()
        self.splits = {
            name: Windows(series, starts, context_length, prediction_length)
            for name, starts in self._starts().items()
            if not only_test or name == "test"
        }
        fitted = series.values[: self.steps[0] or len(series)]
        self.mean, self.deviation = fitted.mean(0), fitted.std(0)
        still = self.deviation == 0
        if still.any() and not only_test:
            name = series.channels[int(still.argmax())]
            raise InputError(
                f"{self.name}: {name!r} has one value, {fitted[0][still][0]:g}, in all {len(fitted):,} training steps: "
                "leave it out with --target_columns"
            )
        self.spent: dict[str, float] = {}
        self._details: dict[str, dict[str, Any]] = {}

    def _check_length(self) -> None:
        need = self.context_length + self.prediction_length
        for split, steps in zip(SPLITS, self.steps, strict=True):
            if self.only_test and split != "test":
                continue
            wanted = need if split == "train" or self.only_test else self.prediction_length
            if steps < wanted:
                what = "context and horizon" if wanted == need else "the horizon"
                raise InputError(
                    f"{self.name} leaves {steps:,} steps for {split}, fewer than the {wanted:,} of {what}: give more "
                    "rows, a smaller --prediction_length or --context_length, or other --split_steps"
                )

    def _starts(self) -> dict[str, range]:
        """The first step of each window's horizon."""
        train, validation, test = self.steps
        ends = {"train": train, "validation": train + validation, "test": train + validation + test}
        begins = {"train": self.context_length, "validation": train, "test": train + validation}
        if self.only_test:
            begins["test"] = self.context_length
        return {name: range(begins[name], ends[name] - self.prediction_length + 1) for name in SPLITS}

    def announce(self) -> str:
        """What is forecast, how much of it there is, and what was done to it."""
        series = self.series
        named = ", ".join(series.channels[:8]) + (", …" if len(series.channels) > 8 else "")
        parts = ", ".join(f"{steps:,} for {name}" for name, steps in zip(SPLITS, self.steps, strict=True))
        span = f", {series.first} to {series.last}" if series.first else ""
        left = len(series) - sum(self.steps)
        sentences = [
            f"{len(series.channels)} series ({named}), {len(series):,} steps of {series.step}{span}",
            f"{parts}" + (f", {left:,} unused" if left else ""),
            f"season {series.season}" if series.season > 1 else "no season",
            f"{self.prediction_length} steps ahead",
            *series.notes,
        ]
        return f"{self.name}: " + "; ".join(sentences)

    def describe(self) -> dict:
        """Windows and steps per split, what the table holds, and a fingerprint of every number."""
        series = self.series
        return {
            "name": self.name,
            "rows": {split: len(rows) for split, rows in self.splits.items()},
            "steps": dict(zip(SPLITS, self.steps, strict=True)),
            "channels": list(series.channels),
            "season": series.season,
            "step": series.step,
            "horizon": self.prediction_length,
            "context": self.context_length,
            "fingerprint": series.fingerprint(),
        }

    def config_fields(self) -> dict[str, Any]:
        """The stack reads one channel at a time, and labels are called as the columns are."""
        names = self.series.channels
        return {
            "input_size": 1,
            "problem_type": self.problem_type,
            "id2label": dict(enumerate(names)),
            "label2id": {name: number for number, name in enumerate(names)},
        }

    def make_model(self, architecture: dict[str, Any]) -> PreTrainedModel:
        """A fresh model in the table's units; of an LMU whose ridge regression has a strength, with its readout solved.

        Raises:
            ValueError: the architecture is not one whose readout can be solved.
        """
        model: Any = super().make_model(architecture)
        model.targets.mean.copy_(torch.from_numpy(self.mean))
        model.targets.scale.copy_(torch.from_numpy(self.deviation))
        if self.strength is None or model.config.model_type != "lmu":
            return model
        began, found, config = time.perf_counter(), model.option, model.config
        if config.theta != found.context_length:
            raise ValueError(
                f"theta={config.theta} must be the context_length={found.context_length} of the forecast, which the "
                "memory is to hold"
            )
        train, covariates = self.steps[0], self.series.covariates
        memory = Memory(found.context_length, config.order, found.normalization, self.strength)
        write_readout(model, self.standard()[:train], memory, None if covariates is None else covariates[:train])
        if found.quantiles is not None:
            self._calibrate(model)
        self.spent["solution"] = time.perf_counter() - began
        return model

    def standard(self) -> np.ndarray:
        """The series (T, channels), each channel less its training mean, in units of its training deviation."""
        return (self.series.values - self.mean) / self.deviation

    @torch.no_grad()
    def _calibrate(self, model: Any) -> None:
        """Quantiles of a solved forecast: those of its errors on validation windows, in units of each window's own."""
        rows, levels = self.splits["validation"], model.option.quantiles
        chosen = np.linspace(0, len(rows) - 1, min(MOST_CALIBRATING, len(rows))).astype(int).tolist()
        batch = rows.__getitems__(list(dict.fromkeys(chosen)))
        labels, bias = batch.pop("labels"), model.head.out.bias
        said = model.eval()(**batch).predictions
        bias.fill_(1.0)
        unit = model(**batch).predictions - said  # what a bias of 1 comes to in each window, whatever its scaling
        real, errors = labels != IGNORED, (labels - said) / unit
        errors = torch.where(real, errors, torch.nan).transpose(0, 1).flatten(1)  # (horizon, windows · channels)
        bias.copy_(errors.nanquantile(torch.tensor(levels), dim=1).T.flatten())

    def scores(
        self, model: PreTrainedModel, split: str, batches: Iterable, gather: Gather, final: bool = False
    ) -> dict[str, float]:
        """MSE, MAE and MASE in units of each channel's deviation; of quantiles their loss and coverage, too."""
        targets = cast(Any, model).targets
        found = ForecastScores(self._naive(targets.scale.double().cpu().numpy()))
        levels, extra = cast(Any, model).option.quantiles, np.zeros(3)
        for batch in batches:
            labels = batch["labels"]
            said = model(**{name: value for name, value in batch.items() if name != "labels"})
            real = labels != IGNORED
            errors = ((said.predictions - labels) / targets.scale).double().masked_fill(~real, 0)
            parts = [errors.square(), errors.abs(), real]
            parts += [] if levels is None else [_judged(said.quantiles, labels, targets.scale, real, levels)]
            squares, absolutes, counts, *more = (part.double().sum(0).cpu().numpy() for part in gather(tuple(parts)))
            found.add_sums(squares, absolutes, counts)
            extra += more[0] if more else 0
        if final:
            self._details[split] = {"channels": found.by_channel(self.series.channels), "steps": found.by_step()}
        return found.scores() | ({} if levels is None else _of_quantiles(extra, levels))

    def _naive(self, scale: np.ndarray) -> np.ndarray:
        """The error of the season before on the training part, or on the table itself where it is only scored."""
        fitted = self.series.values[: self.steps[0] or len(self.series)]
        return seasonal_errors(fitted / scale, min(self.series.season, len(fitted) - 1))

    def details(self, split: str) -> dict[str, Any]:
        """Scores by channel, and MSE by step of the horizon."""
        return self._details.get(split, {})

    def lines(self, splits: Sequence[str]) -> Lines:
        """The season before, and a linear forecaster in DLinear's form, on the same windows."""
        if self.only_test:
            return {}
        values, naive, horizon = self.standard(), self._naive(self.deviation), self.prediction_length
        train, behind = self.steps[0], self.steps[0] + self.steps[1]
        season = min(self.series.season, train // 2)
        context = min(LINEAR_CONTEXT, max(contexts(self.series.season, horizon, train)))
        name = f"seasonal naive ({season} steps)" if season > 1 else "the last value"
        maps = {
            name: seasonal_naive(season, horizon),
            f"linear forecaster (DLinear's form, {context} steps)": linear_forecaster(
                values[:behind], horizon, train, context
            ),
        }
        starts = self._starts()
        return {
            name: {
                split: linear_scores(weights, values, self.series.observed, starts[split], naive) for split in splits
            }
            for name, weights in maps.items()
        }

    @torch.no_grad()
    def draw(self, model: PreTrainedModel, folder: Path) -> None:
        """``forecasts.png``: one window of each of some channels, of the test where it may be seen."""
        from ...common.figures import forecast_windows

        split = "test" if "test" in self._details else "validation"
        rows, names = self.splits[split], self.series.channels
        season, shown = min(self.series.season, self.context_length), []
        picked = np.linspace(0, len(names) - 1, min(PANELS, len(names))).astype(int)
        origins = np.linspace(0, len(rows) - 1, len(picked) + 2).astype(int)[1:-1]
        for channel, origin in zip(picked.tolist(), origins.tolist(), strict=True):
            batch = rows[origin]
            future = self.series.values[rows.starts[origin] :][: self.prediction_length, channel]
            past = batch["input_values"][0, :, channel]
            said = cast(Any, model.eval())(**{name: value for name, value in batch.items() if name != "labels"})
            naive = past[-season:].tolist() * (self.prediction_length // season + 1)
            window = {
                "title": f"{names[channel]}, {split}, step {rows.starts[origin]:,}",
                "past": past[-2 * self.prediction_length :].tolist(),
                "truth": future.tolist(),
                "forecast": said.predictions[0, :, channel].tolist(),
                "lines": {"a season before": naive[: self.prediction_length]},
            }
            if said.quantiles is not None:
                window |= {
                    "low": said.quantiles[0, :, channel, 0].tolist(),
                    "high": said.quantiles[0, :, channel, -1].tolist(),
                }
            shown.append(window)
        title = f"{self.title or self.name}: {self.prediction_length} steps ahead"
        forecast_windows(shown, title, folder / "forecasts.png")

    def processor(self) -> None:
        """None: a series is numbers already."""
        return


def parts_of(series: SeriesTable, split_steps: Sequence[int] | None) -> tuple[int, int, int]:
    """Steps that train, validate and test.

    Raises:
        InputError: the table has fewer.
    """
    if split_steps is None:
        train, validation = (int(share * len(series)) for share in SHARES)
        return train, validation, len(series) - train - validation
    train, validation, test = split_steps
    if (asked := train + validation + test) > len(series):
        raise InputError(f"--split_steps asks for {asked:,} steps, and {series.name} has {len(series):,}")
    return train, validation, test


def residuals(series: SeriesTable, train: int) -> np.ndarray:
    """(T, channels) a series in units of its training deviation, less the effects of its covariates."""
    fitted = series.values[:train]
    deviation = fitted.std(0)
    values = (series.values - fitted.mean(0)) / np.where(deviation > 0, deviation, 1)
    if series.covariates is None:
        return values
    return values - series.covariates @ covariate_effects(values[:train], series.covariates[:train])


def _judged(quantiles: Tensor, labels: Tensor, scale: Tensor, real: Tensor, levels: Sequence[float]) -> Tensor:
    """(windows, 3): of each window the pinball losses, how often the outer levels hold the truth, and the values."""
    truth = labels[..., None]
    error = ((truth - quantiles) / scale[:, None]).double()
    tau = torch.tensor(levels, dtype=error.dtype, device=error.device)
    loss = 2 * torch.maximum(tau * error, (tau - 1) * error).mean(-1)
    held = (quantiles[..., 0] <= labels) & (labels <= quantiles[..., -1])
    return torch.stack([torch.where(real, part, 0).double().sum((1, 2)) for part in (loss, held, real)], dim=1)


def _of_quantiles(sums: np.ndarray, levels: Sequence[float]) -> dict[str, float]:
    return {"quantile_loss": float(sums[0] / sums[2]), "coverage": float(sums[1] / sums[2])}
