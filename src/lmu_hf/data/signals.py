"""A real-valued signal out of a file as people have it: a WAV file, an array, or a column of a table."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.errors import InputError, explained
from .label_rules import NUMBER
from .opening import KINDS, check_file, kind_of
from .tables import PLACE, ReadOptions, find_misplaced, read_table

ARRAYS = (".npy", ".npz")
SIGNALS = (".wav", *ARRAYS, *KINDS)


@dataclass(frozen=True)
class Signal:
    """A signal.

    Args:
        name: of its file, and of its column if the file has others.
        values: (steps,) float64.
        rate: steps a second; None if the file does not say.
    """

    name: str
    values: np.ndarray
    rate: float | None = None


def read_signal(path: Path, column: str | None = None, options: ReadOptions | None = None) -> Signal:
    """A file's signal, one number a step.

    Args:
        path: the file; its ending, in any case, says how it is read. ``.wav`` is read by scipy, ``.npy`` and ``.npz``
            by NumPy, anything else as :func:`~lmu_hf.data.tables.read_table` does.
        column: of a table its name, of an array or a sound of several channels its number, from 0 on. None where one
            column alone holds numbers.
        options: how a table is read; of ``.npz``, ``field`` names the array.

    Raises:
        FileNotFoundError: the file does not exist.
        InputError: it cannot be read, holds no numbers, or several signals and none is named.
    """
    check_file(path, "file")
    options, kind = options or ReadOptions(), kind_of(path)
    if kind not in SIGNALS:
        raise InputError(f"{path} must end in one of {', '.join(SIGNALS)}: that says how it is read")
    # An archive of arrays follows a field, as JSON does; the others of these follow no option.
    stands_for = {".npz": ".json", ".npy": ".parquet", ".wav": ".parquet"}.get(kind, kind)
    misplaced = find_misplaced({stands_for}, options) or ("encoding" if kind == ".npz" and options.encoding else None)
    if misplaced:
        raise InputError(f"--{misplaced} has no effect on {path}, which is read as {kind.removeprefix('.')}")
    if kind in KINDS:
        return _of_table(path, column, options)
    if kind == ".wav":
        return _of_wave(path, column)
    return _channel(path, _read_array(path, options.field), column)


def _of_wave(path: Path, column: str | None) -> Signal:
    from scipy.io import wavfile

    with explained(f"{path} cannot be read as a WAV file"), warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that hold titles and the like
        rate, samples = wavfile.read(path)
    return _channel(path, samples, column, float(rate))


def _read_array(path: Path, field: str | None) -> np.ndarray:
    with explained(f"{path} cannot be read as an array of NumPy"):
        loaded = np.load(path, allow_pickle=False)  # a pickle may run code
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded as arrays:
        names = list(arrays)
        if field is None and len(names) != 1:
            raise InputError(f"{path} holds the arrays {', '.join(names) or 'none'}: --field must name one")
        name = names[0] if field is None else field
        if name not in names:
            raise InputError(f"{path} has no array {name!r}: --field must name one of {', '.join(names)}")
        with explained(f"{path} cannot be read as an array of NumPy"):
            return arrays[name]


def _channel(path: Path, samples: np.ndarray, column: str | None, rate: float | None = None) -> Signal:
    """One channel of (steps,) or (steps, channels)."""
    if samples.dtype.kind not in "iufb" or samples.ndim not in (1, 2):
        raise InputError(
            f"{path} holds {samples.dtype} of shape {samples.shape}: a signal is real numbers, (steps,) or "
            "(steps, channels)"
        )
    channels = samples.reshape(len(samples), -1)
    count = channels.shape[1]
    if column is None and count != 1:
        raise InputError(f"{path} has {count} channels: --column must name one, from 0 to {count - 1}")
    number = int(column) if column is not None and column.isdecimal() else 0 if column is None else count
    if number >= count:
        raise InputError(f"{path} has no channel {column!r}: --column must be a number from 0 to {count - 1}")
    name = path.name if count == 1 else f"{path.name}, channel {number}"
    return Signal(name, _finite(path, channels[:, number].astype(np.float64)), rate)


def _finite(path: Path, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        row = int((~np.isfinite(values)).argmax())
        raise InputError(f"{path} holds {values[row]} at step {row}: every step must be a finite number")
    return values


def _of_table(path: Path, column: str | None, options: ReadOptions) -> Signal:
    rows = read_table(path, options, "file")
    names = [name for name in rows.column_names if name != PLACE]
    numeric = [name for name in names if NUMBER.fullmatch(str(rows[0][name]).strip())]
    if column is None and len(numeric) != 1:
        said = f"several columns of numbers, {', '.join(numeric)}" if numeric else f"no number in {', '.join(names)}"
        raise InputError(f"{path} has {said}: --column must name the one to measure")
    name = numeric[0] if column is None else column
    if name not in names:
        raise InputError(f"{path} has no column {name!r}: --column must name one of {', '.join(names)}")
    words = [str(cell).strip() for cell in rows[name][:]]
    for row, word in enumerate(words):
        if not NUMBER.fullmatch(word) or not math.isfinite(float(word)):
            place = rows[PLACE][row] if PLACE in rows.column_names else f"row {row + 1}"
            raise InputError(f"{path} has {word!r} in {name!r} ({place}): every row must hold a finite number")
    return Signal(path.name if len(names) == 1 else f"{path.name}, {name}", np.array(words, dtype=np.float64))
