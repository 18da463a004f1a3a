"""Labelled sounds: folders of files, tables of paths, or tones and chirps that are made up.

A file's label and its group (its speaker, say) are parts of its path, by a pattern; of a table they are columns.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from ..common.errors import InputError
from ..feature_extraction_lmu import read_audio, resample
from ..listening_lmu import scaled
from .opening import is_table
from .sources import SPLITS, load_files, stem
from .tables import PLACE, ReadOptions, place_of

ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".au", ".opus")
LABEL, GROUP = "{label}", "{group}"
BY_FOLDER, BY_NAME = "{label}/*", "{label}_*"  # what a path's pattern is if no flag says
HELD_OUT = 10  # a tenth validates
NAMED = 3  # files in one message
Read = dict[str, list[tuple[np.ndarray, int]]]  # by split: samples (n, channels) and their rate


@dataclass(frozen=True)
class SoundSource:
    """Where a split's files are, and how their labels are found.

    Args:
        path_column, label_column, group_column: of a table; the last may be missing.
        pattern: of a folder's paths, as ``{label}/*`` or ``{label}_{group}_*``; None for the folder of a file if it
            lies in one, or else for what stands before the first ``_`` of its name.
        options: how tables are read.
    """

    path_column: str = "path"
    label_column: str = "label"
    group_column: str | None = None
    pattern: str | None = None
    options: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True)
class Sounds:
    """Labelled sounds in splits, all at one sampling rate and mono.

    Args:
        name: of the data, for records.
        rate: samples a second.
        labels: the names of the classes, in the order of their numbers.
        signals: by split, float32 samples in [−1, 1].
        classes: by split, the number of each sound's class.
        groups: by split, what each sound belongs to; empty where nothing says.
        origin: of each split, for records.
        notes: what a reader of the console should know, a sentence each.
        title: what a run is called after; None for its recipe.
    """

    name: str
    rate: int
    labels: list[str]
    signals: dict[str, list[np.ndarray]]
    classes: dict[str, np.ndarray]
    groups: dict[str, list[str]] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    title: str | None = None

    def fingerprint(self) -> str:
        """A digest of every sample and class of every split."""
        digest = sha256()
        for split in SPLITS:
            for signal in self.signals.get(split, []):
                digest.update(signal.tobytes())
            digest.update(self.classes.get(split, np.zeros(0, dtype=np.int64)).tobytes())
        return digest.hexdigest()[:16]

    def seconds(self, split: str) -> np.ndarray:
        """How long each sound of a split is."""
        return np.array([len(signal) for signal in self.signals[split]]) / self.rate


@dataclass(frozen=True)
class File:
    """One labelled file.

    Args:
        path: of the file.
        label: its class.
        group: what it belongs to; empty where nothing says.
        place: what it is called in a message, if not by its path.
    """

    path: Path
    label: str
    group: str = ""
    place: str = ""


def labelled_sounds(
    paths: dict[str, Path],
    source: SoundSource | None = None,
    held_out_group: str | None = None,
    rate: int | None = None,
    labels: Sequence[str] | None = None,
) -> Sounds:
    """Sounds from folders or tables, one per split; with ``labels``, one to train on can be missing.

    Without one for validation a tenth of the training sounds validates, of each class as evenly as can be. A group
    that is held out is the test, and no sound of it is trained or validated on.

    Args:
        paths: by split; ``--{split}_file`` is the flag that names each.
        source: how labels are found.
        held_out_group: a group of the training sounds that becomes the test.
        rate: samples a second that all are resampled to; None for the most common rate of the first split.
        labels: the classes of a saved model.

    Raises:
        InputError: there is no sound, a file cannot be read or has no label, or a group or a class is missing.
    """
    source = source or SoundSource()
    files = {split: find_files(path, source, f"--{split}_file") for split, path in paths.items()}
    files = files if held_out_group is None else _hold_out(files, held_out_group)
    first = next(iter(files))
    named = sorted({file.label for file in files[first]}) if labels is None else list(labels)
    _check_classes(files, named)
    files, read, left_out = _read_all(files, source.options.drop_incomplete_rows)
    if rate is None:
        rate = Counter(sound[1] for sound in read[first]).most_common(1)[0][0]
    notes = (*left_out, *_notes(read, rate))
    signals = {
        split: [_mono(file, *sound, rate) for file, sound in zip(files[split], part, strict=True)]
        for split, part in read.items()
    }
    path = next(iter(paths.values()))
    sounds = Sounds(
        name=path.name if held_out_group is None else f"{path.name} without {held_out_group}",
        rate=rate,
        labels=named,
        signals=signals,
        classes={split: np.array([named.index(file.label) for file in part]) for split, part in files.items()},
        groups={split: [file.group for file in part] for split, part in files.items()},
        origin={split: part.name for split, part in paths.items()},
        notes=notes,
        title=stem(path),
    )
    return sounds if "validation" in files or "train" not in files else with_validation(sounds)


def find_files(path: Path, source: SoundSource, flag: str) -> list[File]:
    """The labelled files of a folder or of a table, in a fixed order.

    Raises:
        InputError: there is none, or one has no label.
    """
    if path.is_dir():
        found = sound_files(path, flag)
        pattern = source.pattern or (BY_FOLDER if any(file.parent != path for file in found) else BY_NAME)
        return [_by_path(file, path, pattern) for file in found]
    if not is_table(path):
        raise InputError(f"{flag} {path} is neither a folder of sounds nor a table with their paths and labels")
    return _by_table(path, source, flag)


def sound_files(folder: Path, flag: str) -> list[Path]:
    """The files of sounds in a folder and in its folders, in the order of their names.

    Raises:
        InputError: there is none.
    """
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS)
    if not found:
        raise InputError(f"{flag} {folder} holds no sound: a file ends in {', '.join(ENDINGS)}")
    return found


def _by_table(path: Path, source: SoundSource, flag: str) -> list[File]:
    if source.pattern is not None:
        raise InputError(f"--path_pattern has no effect on {path}: the labels of a table are its --label_column")
    rows = load_files({flag.removeprefix("--").removesuffix("_file"): path}, source.options)
    table = next(iter(rows.values()))
    wanted = [source.path_column, source.label_column, *([source.group_column] if source.group_column else [])]
    for column, named in zip(wanted, ("path", "label", "group"), strict=False):
        if column not in table.column_names:
            there = ", ".join(name for name in table.column_names if name != PLACE)
            raise InputError(f"{path} has no column {column!r} (--{named}_column); it has {there}")
    files = []
    for number, cells in enumerate(zip(*(table[column] for column in wanted), strict=True)):
        place = f"{path}, {place_of(table, number)}"
        for column, cell in zip(wanted, cells, strict=True):
            if cell is None or not str(cell).strip():
                raise InputError(f"{place}: {column} is empty; every sound needs one")
        # A path in a table is relative to the table, wherever the command runs.
        group = str(cells[2]) if len(cells) > 2 else ""
        files.append(File(path.parent / str(cells[0]), str(cells[1]), group, place))
    if not files:
        raise InputError(f"{flag} {path} holds no row")
    return files


def pattern_of(text: str) -> re.Pattern[str]:
    """A path's pattern as a regular expression: ``{label}`` and ``{group}`` stand for names, ``*`` for anything.

    Raises:
        ValueError: there is not one ``{label}``, or more than one ``{group}``.
    """
    if text.count(LABEL) != 1 or text.count(GROUP) > 1:
        raise ValueError(f"must hold {LABEL} once and {GROUP} at most once, as {{label}}_{{group}}_*; got {text!r}")
    parts = re.split(r"(\{label\}|\{group\}|\*)", text)
    # A name is as short as it can be: before the first `_`, where a `_` follows it.
    kinds = {LABEL: "(?P<label>[^/]+?)", GROUP: "(?P<group>[^/]+?)", "*": ".*"}
    return re.compile("".join(kinds.get(part) or re.escape(part) for part in parts) + r"\Z")


def _by_path(file: Path, folder: Path, pattern: str) -> File:
    inner = file.relative_to(folder).as_posix()
    found = pattern_of(pattern).match(inner)
    if found is None:
        raise InputError(
            f"{file} has no label: its path does not fit {pattern!r} (--path_pattern says where in a path {LABEL} is)"
        )
    return File(file, found["label"], found.groupdict().get("group") or "")


def _hold_out(files: dict[str, list[File]], group: str) -> dict[str, list[File]]:
    """The training files without a group, which becomes the test.

    Raises:
        InputError: there is no such group, or it is all there is.
    """
    names = sorted({file.group for file in files["train"]} - {""})
    if group not in names:
        there = f"there are {', '.join(names)}" if names else "no file has one: give --path_pattern or --group_column"
        raise InputError(f"--held_out_group {group}: there is no such group; {there}")
    if len(names) < 2:
        raise InputError(f"--held_out_group {group}: it is the only group, so that nothing is left to train on")
    kept = {split: [file for file in part if file.group != group] for split, part in files.items()}
    return {**kept, "test": [file for file in files["train"] if file.group == group]}


def _check_classes(files: dict[str, list[File]], labels: Sequence[str]) -> None:
    if len(labels) < 2:
        raise InputError(f"there is one class, {labels[0]!r}: a classifier tells at least two apart")
    for split, part in files.items():
        for file in part:
            if file.label not in labels:
                raise InputError(
                    f"{file.place or file.path} is of the class {file.label!r} in {split}, which no training sound "
                    f"has; there are {', '.join(labels)}"
                )


def _read_all(files: dict[str, list[File]], drop: bool) -> tuple[dict[str, list[File]], Read, tuple[str, ...]]:
    """The files that can be read with the sound of each, and what is to be said of others, if they may be dropped."""
    kept: dict[str, list[File]] = {split: [] for split in files}
    read: Read = {split: [] for split in files}
    faults = []
    for split, part in files.items():
        for file in part:
            try:
                read[split].append(_read(file))
                kept[split].append(file)
            except InputError as error:
                if not drop:
                    raise InputError(f"{error}; --drop_incomplete_rows leaves out what cannot be read") from error
                faults.append(str(error))
        lost = {file.label for file in part} - {file.label for file in kept[split]}
        if lost:
            raise InputError(f"no sound of the class {sorted(lost)[0]!r} in {split} can be read: {faults[-1]}")
    return kept, read, (f"{len(faults):,} sounds are left out, the first since {faults[0]}",) if faults else ()


def _read(file: File) -> tuple[np.ndarray, int]:
    try:
        samples, rate = read_audio(file.path)
        scaled(samples)  # NaN is looked for here, in one file
    except (ValueError, FileNotFoundError) as error:
        place = f"{file.place}: " if file.place else ""
        text = str(error)
        raise InputError(f"{place}{text if str(file.path) in text else f'{file.path}: {text}'}") from error
    if not len(samples):
        raise InputError(f"{file.place or file.path}: it holds no samples")
    return samples, rate


def _mono(file: File, samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(1)
    try:
        return resample(mono, rate, wanted).astype(np.float32)
    except ValueError as error:
        raise InputError(f"{file.place or file.path}: {error}") from error


def _notes(read: Read, rate: int) -> tuple[str, ...]:
    sounds = [sound for part in read.values() for sound in part]
    stereo = sum(samples.shape[1] > 1 for samples, _ in sounds)
    others = Counter(there for _, there in sounds if there != rate)
    notes = [f"{stereo:,} files have several channels; their mean is read"] if stereo else []
    if others:
        rates = ", ".join(f"{count:,} of {there:,} Hz" for there, count in others.most_common(NAMED))
        notes.append(f"resampled to {rate:,} Hz: {rates}")
    return tuple(notes)


def with_validation(sounds: Sounds) -> Sounds:
    """The same with a tenth of the training sounds for validation, of each class as evenly as can be.

    Raises:
        InputError: there are too few.
    """
    classes = sounds.classes["train"]
    if len(classes) < HELD_OUT:
        raise InputError(f"{sounds.name} has {len(classes)} training sounds; a tenth of at least {HELD_OUT} validates")
    generator = np.random.default_rng(0)  # whatever the run's seed is: runs with other seeds are compared
    # Drawn at random, then stably by class: every tenth of this order is a tenth of each class.
    drawn = generator.permutation(len(classes))
    held = np.sort(drawn[np.argsort(classes[drawn], kind="stable")][HELD_OUT // 2 :: HELD_OUT])
    kept = np.setdiff1d(np.arange(len(classes)), held)
    parts = {"train": kept, "validation": held}
    signals, groups = sounds.signals["train"], sounds.groups.get("train", [])

    def pick(rows: list, chosen: np.ndarray) -> list:
        return [rows[place] for place in chosen] if rows else []

    return replace(
        sounds,
        signals=sounds.signals | {split: pick(signals, chosen) for split, chosen in parts.items()},
        classes=sounds.classes | {split: classes[chosen] for split, chosen in parts.items()},
        groups=sounds.groups | {split: pick(groups, chosen) for split, chosen in parts.items()},
        origin=sounds.origin | {"validation": f"a tenth of {sounds.origin.get('train', 'train')}"},
    )


def with_noise(sounds: Sounds, decibels: float) -> Sounds:
    """The same with white noise in every sound, so many decibels below its mean power; the same noise at every call."""
    generator = np.random.default_rng(0)

    def add(signal: np.ndarray) -> np.ndarray:
        level = np.sqrt(np.mean(signal.astype(np.float64) ** 2)) * 10 ** (-decibels / 20)
        return (signal + level * generator.standard_normal(len(signal))).astype(np.float32)

    noisy = {split: [add(signal) for signal in part] for split, part in sounds.signals.items()}
    return replace(sounds, signals=noisy, name=f"{sounds.name} with white noise at {decibels:g} dB")


RATE = 8000  # of made-up sounds
# What the frequency does over a sound of length 1, in octaves from where it begins.
CONTOURS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "falling": lambda t: -t,
    "rising": lambda t: t,
    "steady": lambda t: 0 * t,
    "warbling": lambda t: 0.25 * np.sin(8 * np.pi * t),
}


def tones_and_chirps(rows: int = 600, seed: int = 0) -> Sounds:
    """Sounds made up by rule, a sixth of them to validate and a sixth to test: which way does the pitch go?

    Every sound has a pitch, a length (0.3 to 0.8 s), a loudness and noise of its own, so that no single frame tells its
    class: a falling chirp passes the same pitches as a rising one.

    Raises:
        ValueError: the rows are too few to split.
    """
    if rows < 12:
        raise ValueError(f"rows must be at least 12, to be split in three, got {rows}")
    generator, labels = np.random.default_rng(seed), list(CONTOURS)
    classes = np.arange(rows) % len(labels)
    generator.shuffle(classes)
    signals = [_chirp(CONTOURS[labels[number]], generator) for number in classes]
    held = rows // 6
    parts = {"train": slice(2 * held, rows), "validation": slice(held), "test": slice(held, 2 * held)}
    return Sounds(
        name="tones and chirps",
        rate=RATE,
        labels=labels,
        signals={split: signals[part] for split, part in parts.items()},
        classes={split: classes[part] for split, part in parts.items()},
        origin=dict.fromkeys(parts, "made up"),
    )


def _chirp(contour: Callable[[np.ndarray], np.ndarray], generator: np.random.Generator) -> np.ndarray:
    samples = int(RATE * generator.uniform(0.3, 0.8))
    octaves = contour(np.linspace(0, 1, samples)) * generator.uniform(0.6, 1.2)
    frequency = generator.uniform(500, 1500) * 2.0**octaves
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    tone = generator.uniform(0.1, 0.5) * np.sin(phase)
    return (tone + generator.uniform(0.01, 0.1) * generator.standard_normal(samples)).astype(np.float32)
