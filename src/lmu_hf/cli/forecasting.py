"""Forecasting what comes behind a table with a saved model."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForTimeSeriesPrediction

from ..common.errors import InputError, loading
from ..common.figures import forecast_windows
from ..common.staging import written_whole
from ..data.forecasts import ForecastColumns, SeriesTable, series_table
from ..data.labelling import write_table
from ..data.time_rules import times_after
from ..training.evaluation import find_record, head_of
from .flags import Flags
from .origin import follow_the_run
from .reading import reading
from .results import give

PANELS = 8  # series of a picture


@dataclass(frozen=True)
class Ahead:
    """What is to come.

    Args:
        times: of each step, as the table writes them.
        channels: the names of the series.
        values: (steps, channels).
        quantiles: (steps, channels, levels), NaN where the model has none; None of a model without levels.
        levels: of the quantiles.
    """

    times: list[str]
    channels: tuple[str, ...]
    values: np.ndarray
    quantiles: np.ndarray | None = None
    levels: tuple[float, ...] = ()

    def columns(self, time: str) -> dict[str, list]:
        """A table's columns: the time, each series, and each level of each series."""
        found: dict[str, list] = {time: self.times}
        found |= {name: _cells(self.values[:, at]) for at, name in enumerate(self.channels)}
        if self.quantiles is not None:
            for at, name in enumerate(self.channels):
                levels = zip(self.levels, self.quantiles[:, at].T, strict=True)
                found |= {f"{name} {level:g}": _cells(values) for level, values in levels}
        return found


def _cells(values: np.ndarray) -> list[float | None]:
    """Numbers to as many digits as float32 has; an empty cell where there is none."""
    return [None if np.isnan(value) else float(f"{value:.7g}") for value in values]


def forecast(args: argparse.Namespace) -> Ahead:
    """Read the table and the model, forecast, write and draw; what is to come."""
    folder = Path(args.model).absolute().parent
    follow_the_run(args, find_record(args.model), folder)
    path = args.test_file or args.train_file
    if path is None:
        raise InputError(f"{args.model} does not say which table it is of: name one with --test_file")
    if not (head := head_of(args.model)).endswith("ForTimeSeriesPrediction"):
        raise InputError(f"{args.model} is no forecaster but {head or 'a model without a head'}")
    with loading("model", args.model):
        model: Any = AutoModelForTimeSeriesPrediction.from_pretrained(args.model)
    if model.option is None:
        raise InputError(f"{args.model} predicts at every step of a series and not a horizon: nothing is to be written")
    series = _table(args, path, model)
    ahead = _ahead(model, series, args.steps or model.option.prediction_length)
    args.output_file.parent.mkdir(parents=True, exist_ok=True)
    columns, steps = ahead.columns(series.time or "step"), len(ahead.times)
    with written_whole(args.output_file) as staged:
        write_table(Dataset.from_dict(columns), staged, args.output_file.suffix)
    lines = [f"{args.output_file}: {steps:,} steps of {series.step} behind {series.last or 'the last row'} of {path}"]
    if ahead.quantiles is not None and steps > model.option.prediction_length:
        lines.append(f"quantiles are of the first {model.option.prediction_length:,} steps: the model has no others")
    if args.figure is not None:
        lines.append(str(_draw(series, ahead, args.figure)))
    give(args, lines, {"model": args.model, "table": str(path), "forecast": columns})
    return ahead


def _table(args: argparse.Namespace, path: Path, model: Any) -> SeriesTable:
    """The table, its series in the model's order.

    Raises:
        InputError: the model was trained on another number of series, or reads covariates that nothing names.
    """
    found, names = model.option, tuple(model.config.id2label.values())
    targets = args.target_columns or (names if len(names) == found.channels else None)
    columns = ForecastColumns(
        args.time_column, None if targets is None else tuple(targets), tuple(args.covariate_columns or ())
    )
    if len(columns.covariates) != found.covariates:
        raise InputError(
            f"{args.model} reads {found.covariates} covariates, and --covariate_columns names {len(columns.covariates)}"
        )
    how = Flags(args).take(longest_gap="longest_gap")
    flag = "train_file" if args.test_file is None else "test_file"
    series = series_table(path, columns, reading(Flags(args)), flag, open_end=True, **how)
    if len(series.channels) != found.channels:
        read = f"{len(series.channels)} ({', '.join(series.channels[:5])})"
        raise InputError(f"{args.model} forecasts {found.channels} series, and {read} would be read: --target_columns")
    return series


@torch.no_grad()
def _ahead(model: Any, series: SeriesTable, steps: int) -> Ahead:
    """Forecast from the table's last steps.

    Raises:
        InputError: the table is shorter than a context, or does not hold the covariates of the steps to come.
    """
    found = model.option
    horizon, context = found.prediction_length, found.context_length
    if len(series) < context:
        raise InputError(f"{series.name} has {len(series):,} steps with values, and the model reads {context:,}")
    begin = len(series) - context
    covariates = None
    if series.covariates is not None:
        needed = -(-steps // horizon) * horizon
        if (there := len(series.covariates) - len(series)) < needed:
            raise InputError(
                f"{series.name} holds the covariates of {there:,} steps to come, and {needed:,} are read for {steps:,} "
                "steps: add rows with empty series, or give fewer --steps"
            )
        covariates = torch.from_numpy(series.covariates[begin : len(series) + needed]).float()[None]
    given: dict[str, Any] = {
        "input_values": torch.from_numpy(series.values[begin:]).float()[None],
        "observed_mask": torch.from_numpy(series.observed[begin:])[None],
    }
    values = model.eval().forecast(**given, steps=steps, covariates=covariates)[0]
    quantiles = None
    if found.quantiles is not None:
        seen = None if covariates is None else covariates[:, : context + horizon]
        first = model(**given, covariates=seen).quantiles[0, :steps]
        quantiles = np.full((steps, *first.shape[1:]), np.nan)
        quantiles[: len(first)] = first.numpy()
    # Rows that are steps are counted from 0 on.
    last, step = (series.last, series.step) if series.last else (str(len(series) - 1), "row")
    times = times_after(last, step, steps)
    return Ahead(times, series.channels, values.numpy(), quantiles, tuple(found.quantiles or ()))


def _draw(series: SeriesTable, ahead: Ahead, path: Path) -> Path:
    """The last steps of some series and what is to come of them."""
    steps, shown = len(ahead.times), []
    for at, name in enumerate(series.channels[:PANELS]):
        window: dict[str, Any] = {
            "title": name,
            "past": series.values[-2 * steps :, at].tolist(),
            "forecast": ahead.values[:, at].tolist(),
            "lines": {},
        }
        if ahead.quantiles is not None:
            window |= {"low": ahead.quantiles[:, at, 0].tolist(), "high": ahead.quantiles[:, at, -1].tolist()}
        shown.append(window)
    return forecast_windows(shown, f"{series.name}: the {steps:,} steps to come", path)
