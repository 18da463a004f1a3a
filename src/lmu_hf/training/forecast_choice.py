"""Which memory forecasts a table best: its parts, in units in which channels can be added up, and the choice."""

from collections.abc import Sequence

from ..common.errors import InputError
from ..data.forecasts import SeriesTable
from .closed_forecasts import Memory, choose_memory, contexts
from .tasks.forecasts import parts_of, residuals


def chosen_memory(
    series: SeriesTable, horizon: int, context: int | None = None, split_steps: Sequence[int] | None = None
) -> tuple[Memory, dict[str, float]]:
    """The memory for a table, as :func:`~lmu_hf.training.closed_forecasts.choose_memory` chooses it.

    Args:
        series: the table; its test part is not read.
        horizon: steps that are predicted.
        context: steps that are read; None to choose them, too.
        split_steps: steps of each part; None for the usual shares.

    Raises:
        InputError: a part is too short for a context and a horizon.
    """
    train, validation, _ = parts_of(series, split_steps)
    lengths = [context] if context is not None else contexts(series.season, horizon, train)
    need = int(1.5 * (max(lengths) + horizon)) + 1  # the first origin lies at two thirds of the training part
    if train < need or validation < horizon or train // 3 < horizon:
        raise InputError(
            f"{series.name} has {train:,} steps to train on and {validation:,} to validate on, too few for a context "
            f"of {max(lengths):,} and a horizon of {horizon:,}: give more rows, a smaller --prediction_length or "
            "--context_length, or other --split_steps"
        )
    values = residuals(series, train)[: train + validation]
    return choose_memory(values, horizon, series.season, train, lengths)
