"""From flags to series: tables to forecast, series to classify, or made-up ones."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..data.forecasts import CYCLES_STEPS, ForecastColumns, SeriesTable, made_up_series, series_table
from ..data.series import LabelledSeries, archive_set, made_up_waves, series_files
from ..training.recipes import Recipe
from ..training.recipes.forecasts import recipe_for as recipe_for_series
from ..training.recipes.series_classification import make_recipe, measure
from ..training.tasks.forecasts import ForecastTask
from ..training.tasks.mackey_glass import MackeyGlassTask
from ..training.tasks.series_classification import SeriesClassificationTask
from .flags import Flags
from .reading import reading, series_columns


def plan_horizons(flags: Flags, recipe: Recipe) -> tuple[str, partial]:
    """Series to predict: Mackey and Glass's, or a table.

    Raises:
        ValueError: flags contradict each other.
    """
    if recipe.name == "mackey-glass":
        make = partial(MackeyGlassTask, horizon=flags.horizon, seed=flags.series_seed, **recipe.data)
        return "series made up on the spot", make
    options = dict(recipe.data)
    base = recipe if options.pop("made_by_rows", False) else None
    options |= flags.take(prediction_length="prediction_length", context_length="context_length")
    if (path := flags.train_file or flags.test_file) is None:
        options |= {} if flags.split_steps is None else {"split_steps": tuple(flags.split_steps)}
        options |= flags.take(steps="rows")
        return "made-up days and weeks", partial(_forecast_task, None, base, flags.quantiles, **options)
    if flags.train_file is not None and flags.test_file is not None:
        raise ValueError("give only one of --train_file and --test_file: a table is split by time (--split_steps)")
    if flags.train_file is None:
        options = {**options, "split_steps": None, "only_test": True}
    elif flags.split_steps is not None:
        options["split_steps"] = tuple(flags.split_steps)
    how_read = reading(flags)
    if how_read.drop_incomplete_rows:  # of scripts that read other tables, too
        raise ValueError("--drop_incomplete_rows has no effect on series: empty cells are filled (--longest_gap)")
    # Lists where data.json has noted them.
    targets, covariates = flags.target_columns, flags.covariate_columns
    columns = ForecastColumns(flags.time_column, None if targets is None else tuple(targets), tuple(covariates or ()))
    how = flags.take(longest_gap="longest_gap", season="season")
    flag = "train_file" if flags.train_file is not None else "test_file"
    read = partial(series_table, path, columns, how_read, flag, **how)
    options.pop("made_up", None)
    return f"the file {path}", partial(_forecast_task, read, base, flags.quantiles, **options)


def _forecast_task(
    read: Callable[[], SeriesTable] | None,
    base: Recipe | None,
    quantiles: list[float] | None,
    steps: int | None = None,
    **options: Any,
) -> ForecastTask:
    series = made_up_series(steps or CYCLES_STEPS) if read is None else read()
    if base is None:
        return ForecastTask(series, **options)
    own = {name: value for name, value in options.items() if name != "made_up"}
    levels = {} if quantiles is None else {"quantiles": sorted({*quantiles})}
    began = time.perf_counter()
    made = recipe_for_series(series, base, **own, **levels)
    task = ForecastTask(series, **made.options, made_up=read is None)
    task.spent["choice"] = time.perf_counter() - began
    task.made, task.reasons = made.recipe, made.reasons
    return task


def plan_classes(flags: Flags, files: dict[str, Path]) -> tuple[str, partial]:
    """Series to classify; the recipe follows from them.

    Raises:
        ValueError: flags contradict each other.
    """
    known = flags.take(classes="labels")
    explains = flags.take(baseline="baseline") == {}  # the reasons are those of the LMU
    if files:
        source = "the files " + ", ".join(map(str, files.values()))
        read = partial(series_files, files, series_columns(flags), reading(flags), **known)
        return source, partial(_series_task, read, explains)
    if (name := flags.dataset_name) is not None:
        if flags.data_dir is None:
            raise ValueError(f"--dataset_name {name} needs --data_dir, the folder that holds {name}/{name}_TRAIN.ts")
        return f"the set {name}", partial(_series_task, partial(archive_set, name, flags.data_dir, **known), explains)
    return "made-up waves", partial(_series_task, partial(made_up_waves, **flags.take(rows="rows")), explains)


def _series_task(read: Callable[[], LabelledSeries], explains: bool) -> SeriesClassificationTask:
    task = SeriesClassificationTask(rows := read())
    if "train" in rows.splits:  # rows that are only scored make no recipe
        made = make_recipe(measure(rows))
        task.made, task.reasons = made.recipe, made.reasons if explains else {}
    return task
