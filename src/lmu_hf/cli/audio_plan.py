"""From flags to sounds: folders, tables, or tones and chirps."""

from functools import partial
from pathlib import Path
from typing import Any

from ..data.audio import SoundSource, labelled_sounds, tones_and_chirps, with_noise
from ..data.sound_augmentation import SoundAugmentation
from ..data.tables import ReadOptions
from ..feature_extraction_lmu import LMUFeatureExtractor
from ..frames_lmu import Frames
from ..training.recipes import Recipe
from ..training.recipes.audio import MINUTES, recipe_for
from ..training.tasks.audio import AudioTask
from .flags import Flags
from .reading import reading


def plan_sounds(flags: Flags, recipe: Recipe, files: dict[str, Path]) -> tuple[str, partial]:
    """What the sounds are called in a message, and what reads them.

    Args:
        flags: the flags. If they have a ``saved`` model, frames and classes are its own.
        recipe: behind the flags.
        files: a folder or a table for each split that has one.

    Raises:
        ValueError: flags contradict each other.
    """
    options = dict(recipe.data)
    made = options.pop("made_by_rows", False)
    minutes = flags.take(minutes="minutes").get("minutes", MINUTES) if made else None
    saved, noise = flags.take(saved="saved").get("saved"), getattr(flags, "noise_db", None)
    if not files:
        sounds = partial(tones_and_chirps, **flags.take(rows="rows"))
        return "made-up tones and chirps", partial(_audio_task, sounds, minutes, saved, noise, **options)
    columns: dict[str, Any] = {}
    # A folder has no columns: their flags stay unread where there is no table, and so are refused.
    if not any(path.is_dir() for path in files.values()):
        columns = flags.take(path_column="path_column", label_column="label_column", group_column="group_column")
        columns["options"] = reading(flags)
    else:
        columns["options"] = ReadOptions(**flags.take(drop_incomplete_rows="drop_incomplete_rows"))
    source = SoundSource(**columns, **flags.take(pattern="path_pattern"))
    given = flags.take(held_out_group="held_out_group", rate="sampling_rate", labels="labels")
    if "held_out_group" in given and "test" in files:
        raise ValueError("--held_out_group is the test: leave --test_file out")
    sounds = partial(labelled_sounds, files, source, **given)
    named = ", ".join(map(str, files.values()))
    return f"the sounds of {named}", partial(_audio_task, sounds, minutes, saved, noise, **options)


def _audio_task(
    read: partial, minutes: float | None, saved: str | None, noise_db: float | None, **options: Any
) -> AudioTask:
    frames = None if saved is None else LMUFeatureExtractor.from_pretrained(saved).frames
    if frames is not None and read.func is labelled_sounds:
        read = partial(read, **{"rate": frames.sampling_rate, **read.keywords})
    sounds = read()
    if noise_db is not None:
        sounds = with_noise(sounds, noise_db)
    made = recipe_for(sounds, minutes) if minutes is not None and "train" in sounds.signals else None
    options = options if made is None else made.options
    if frames is None:
        entries = {name: value for name, value in options.items() if name != "variations"}
        frames = Frames.read({"sampling_rate": sounds.rate, **entries})
    task = AudioTask(
        sounds,
        frames,
        fitted=saved is not None,
        augmentation=SoundAugmentation() if options.get("variations") else None,
    )
    if made is not None and saved is None:
        task.made, task.reasons = made.recipe, made.reasons
    return task
