"""A forecaster for a visitor's table: the readout is solved, as `lmu-hf train forecast` does it."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...data.forecasts import SeriesTable, made_up_series, series_table
from ...training.recipes.forecasts import own_forecast, recipe_for
from ...training.tasks.forecasts import ForecastTask

LINES = 50_000  # of a table
NUMBERS = 500_000  # of a table: rows times series
BATCH = 256  # windows that are scored at a time
ADVICE = re.compile(r": [^:]*--\w.*$", re.DOTALL)  # what a message says of flags, which a page does not have


@dataclass(frozen=True)
class Forecasted:
    """A table and what comes behind it.

    Args:
        series: the table.
        ahead: (steps, channels).
        said: how it was forecast and how well, in words.
    """

    series: SeriesTable
    ahead: np.ndarray
    said: str


def table_of(path: str | None) -> SeriesTable:
    """A visitor's table, or made-up days and weeks without one.

    Raises:
        ValueError: it is no table of series, or too large.
    """
    if path is None:
        return made_up_series()
    if (lines := Path(path).read_bytes().count(b"\n")) > LINES:
        raise ValueError(f"{Path(path).name} has {lines:,} lines; here at most {LINES:,} are read")
    try:
        series = series_table(Path(path), open_end=True)
    except ValueError as error:
        raise ValueError(plain(error, path)) from error
    if series.values.size > NUMBERS:
        raise ValueError(f"{series.name} has {series.values.size:,} numbers; here at most {NUMBERS:,} are read")
    return series


def plain(error: Exception, path: str) -> str:
    """What is wrong with a file, by the name that the visitor knows it by, without advice on flags."""
    return ADVICE.sub("", " ".join(str(error).split())).replace(path, Path(path).name)


@torch.no_grad()
def forecasted(path: str | None, steps: int | None) -> Forecasted:
    """Choose a memory for a table, solve its readout, and forecast.

    Args:
        path: of the table; None for made-up days and weeks.
        steps: to forecast; None for a season, or 12 where there is none.

    Raises:
        ValueError: the table cannot be read, or is too short.
    """
    series, began = table_of(path), time.perf_counter()
    try:
        made = recipe_for(series, own_forecast(), **({} if steps is None else {"prediction_length": steps}))
        task = ForecastTask(series, **made.options)
        model: Any = task.make_model(made.recipe.architecture).eval()
    except ValueError as error:
        raise ValueError(plain(error, path or series.name)) from error
    seconds = time.perf_counter() - began
    context = made.options["context_length"]
    past = torch.from_numpy(series.values[-context:]).float()[None]
    observed = torch.from_numpy(series.observed[-context:])[None]
    ahead = model.forecast(input_values=past, observed_mask=observed, steps=task.prediction_length)[0].numpy()
    return Forecasted(series, ahead, _said(task, model, made.recipe.architecture["order"], seconds))


def _said(task: ForecastTask, model: Any, order: int, seconds: float) -> str:
    """What was read, chosen and scored."""
    series, rows = task.series, task.splits["test"]
    parts = [range(begin, min(begin + BATCH, len(rows))) for begin in range(0, len(rows), BATCH)]
    error = task.scores(model, "test", (rows.__getitems__(part) for part in parts), lambda tensors: tensors)["mae"]
    naive, line = next(iter(task.lines(["test"]).items()))
    steps = f"{len(series):,} steps of {series.step}"
    if series.step == "row":
        steps = f"{len(series):,} rows, each taken for one step, since no column holds times"
    read = [
        f"**{series.name}**: {len(series.channels)} series, {steps}"
        + (f", {series.first} to {series.last}" if series.time else ""),
        f"season {series.season}" if series.season > 1 else "no season found",
        *series.notes,
    ]
    return (
        f"{'; '.join(read)}.\n\n"
        f"A memory of order {order} reads the last {task.context_length:,} steps; its readout was chosen and solved in "
        f"{seconds:.1f} s. Mean absolute error on the last 20 % of the table, which it had not "
        f"seen: **{error:.3f}** standard deviations; {naive}: {line['test']['mae']:.3f}."
    )
