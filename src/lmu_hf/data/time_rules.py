"""What a step of time is, and after how many of them a series looks alike."""

import re
from typing import TYPE_CHECKING, Any

from ..common.errors import InputError

if TYPE_CHECKING:  # flags are read without it
    import numpy as np

LONGEST_GAP = 6  # steps that a straight line may fill
MOST_MISSING = 0.1  # of all steps; where more are missing, the step is not what it seems
LAST_DAY = " (last day)"  # of months that are counted so
SECOND = 1_000_000_000  # in nanoseconds
SEASONS = {60: 60, 600: 144, 900: 96, 1800: 48, 3600: 24, 86_400: 7, 7 * 86_400: 52}  # steps a season, by seconds
MONTHS = {1: 12, 3: 4}  # the same, by months
OFFSET = re.compile(r"[+-]\d\d:?\d\d$")  # of a time from UTC
CLEAR_SEASON = 0.3  # the least autocorrelation of a season that is looked for


def regular(at: "np.ndarray", between: "np.ndarray") -> tuple["np.ndarray", str, int | None]:
    """Places of moments on the grid of their commonest difference, that step in words, and no usual season."""
    import numpy as np

    values, counts = np.unique(between, return_counts=True)
    step = values[counts.argmax()]
    return (at - at[0]) / step, f"{step:g}", None


def regular_times(stamps: Any, at: "np.ndarray", between: "np.ndarray") -> tuple["np.ndarray", str, int | None]:
    """Months where every row stands on one day of the month, or on the last one, and else the commonest difference."""
    import numpy as np

    days = stamps.dt.day.to_numpy()
    if between.min() >= 28 * 86_400 * SECOND and (len(set(days)) == 1 or stamps.dt.is_month_end.all()):
        months = (stamps.dt.year * 12 + stamps.dt.month).to_numpy()
        values, counts = np.unique(np.diff(months), return_counts=True)
        step = int(values[counts.argmax()])
        words = f"{step} month{'s' * (step > 1)}" + (LAST_DAY if len(set(days)) > 1 else "")
        return (months - months[0]) / step, words, MONTHS.get(step)
    places, _, _ = regular(at, between)
    values, counts = np.unique(between, return_counts=True)
    seconds = int(values[counts.argmax()]) // SECOND
    return places, _duration(seconds), SEASONS.get(seconds)


def _duration(seconds: int) -> str:
    for unit, name in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds and seconds % unit == 0:
            count = seconds // unit
            return f"{count} {name}s" if count > 1 else f"1 {name}"
    return "less than a second"


def times_after(last: str, step: str, count: int) -> list[str]:
    """The times of the steps that follow, written as the last one is.

    Args:
        last: a time, or a number that counts steps.
        step: in words, as :func:`regular` and :func:`regular_times` say it.
        count: how many.

    Raises:
        InputError: the step is shorter than a second.
    """
    import pandas

    amount, _, unit = step.partition(" ")
    if not unit:  # times are numbers; "row" is the step of a table of one
        width = 1.0 if step == "row" else float(step)
        return [f"{float(last) + number * width:.12g}" for number in range(1, count + 1)]
    if not amount.isdigit():
        raise InputError(f"steps of {step} cannot be written behind {last!r}: count rows with --time_column none")
    began = pandas.to_datetime([last], format="mixed")[0]
    turns = [number * int(amount) for number in range(1, count + 1)]
    if unit.endswith(LAST_DAY):
        stamps = [began + pandas.offsets.MonthEnd(turn) for turn in turns]
    elif unit.startswith("month"):
        stamps = [began + pandas.DateOffset(months=turn) for turn in turns]
    else:
        stamps = [began + turn * pandas.Timedelta(1, unit.removesuffix("s")) for turn in turns]
    if all(stamp == stamp.normalize() for stamp in (began, *stamps)) and ":" not in last:
        return [f"{stamp:%Y-%m-%d}" for stamp in stamps]
    to_minutes = OFFSET.sub("", last).count(":") == 1 and not any(stamp.second for stamp in stamps)
    written = {"sep": "T" if "T" in last else " ", "timespec": "minutes" if to_minutes else "auto"}
    words = [stamp.isoformat(**written) for stamp in stamps]
    return [word.replace("+00:00", "Z") for word in words] if last.endswith("Z") else words


def find_season(values: "np.ndarray") -> int:
    """The lag of the clearest peak of the autocorrelation, mean of all channels; 1 where none is clear.

    Args:
        values: (T, channels).
    """
    import numpy as np

    if len(values) < 12:  # of so few steps no lag is told from chance
        return 1
    # Differences, so that a trend does not drown the season.
    moves = np.diff(values, axis=0)
    moves = moves - moves.mean(0)
    steps = len(moves)
    power = np.abs(np.fft.rfft(moves, 2 * steps, axis=0)) ** 2
    products = np.fft.irfft(power, axis=0)[: steps // 3]
    found = (products / np.where(products[0] > 0, products[0], 1)).mean(1)
    inner = found[2:-1]
    peaks = (inner > found[1:-2]) & (inner >= found[3:]) & (inner > CLEAR_SEASON)
    # Twice a season looks as much alike: the shortest of the peaks that are nearly as high.
    return int((peaks & (inner > 0.9 * inner[peaks].max())).argmax()) + 2 if peaks.any() else 1
