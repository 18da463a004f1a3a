"""The commands that make a task's records again, from what its recipes say of themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from .recipes import RECIPES, Recipe, get_recipe

SCRIPTS = {
    "images": "train_psmnist.py",
    "characters": "train_char_lm.py",
    "pretraining": "pretrain_lm.py",
    "translation": "train_translation.py",
    "classification": "train_glue.py",
    "forecast": "train_forecast.py",
    "audio": "train_audio.py",
    "tagging": "train_token.py",
    "series-classification": "train_series.py",
}
OWN = "own-"  # how the names of recipes begin that rows make
ON_DISK = (
    "images",
    "characters",
    "pretraining",
    "translation",
    "classification",
    "tagging",
)  # kinds that take --data_dir


@dataclass(frozen=True)
class Step:
    """One command.

    Args:
        words: the script's name below ``scripts/`` and its flags.
        makes: the file that the command leaves; a step whose file is there already is not run again. None: always run.
    """

    words: tuple[str, ...]
    makes: Path | None = None


def tasks() -> dict[str, list[str]]:
    """The recipes of every task, by its name; those that are needed by others come first."""
    found: dict[str, list[str]] = {}
    for name, build in RECIPES.items():
        if name.startswith(OWN):
            continue  # it has no records: every file makes a recipe of its own
        # In the order of import: `classification` imports `text`, so `imdb-lm` comes before what starts from it.
        found.setdefault(build().reproduction.task or name, []).append(name)
    return found


def steps(task: str, data_dir: Path | None = None, seeds: Sequence[int] | None = None) -> Iterator[Step]:
    """The commands that make the records of a task again, in their order.

    Args:
        task: one of :func:`tasks`, or a recipe of one.
        data_dir: a folder of data sets laid out as on the Hub; None for the Hub itself.
        seeds: to train with; None for those of the record.

    Raises:
        ValueError: there is no such task.
    """
    names = tasks().get(task, [task])
    if unknown := [name for name in names if name not in RECIPES or name.startswith(OWN)]:
        raise ValueError(f"no task is called {unknown[0]!r}; there are {', '.join(sorted(tasks()))}")
    done = set()
    for name in names:
        for step in _steps_of(get_recipe(name), data_dir, seeds):
            if step.words not in done:  # recipes share word vectors and parents
                done.add(step.words)
                yield step


def _steps_of(recipe: Recipe, data_dir: Path | None, seeds: Sequence[int] | None) -> Iterator[Step]:
    how = recipe.reproduction
    data = ("--data_dir", str(data_dir)) if data_dir is not None and recipe.kind in ON_DISK else ()
    # A folder is laid out by the recipe's own name; only the Hub has another.
    source = ("--dataset_name", how.hub_name) if how.hub_name and data_dir is None else data
    files: tuple[str, ...] = ()
    if how.word_vectors is not None:
        step = _vectors(how.word_vectors, data)
        yield step
        files += ("--word_vectors", str(step.makes))
    if how.starts_from is not None:
        model = _model_of(how.starts_from)
        yield from _parent(how.starts_from, model, data_dir)
        files += ("--model_name_or_path", str(model))
    words = (SCRIPTS[recipe.kind], "--recipe", recipe.name, *source, *files)
    for seed in range(how.seeds) if seeds is None else seeds:
        yield Step((*words, *how.flags.split(), "--seed", str(seed)))
        if how.lstm is not None:
            # Of a flag given twice argparse takes the last, so the baseline's own override the recipe's.
            yield Step((*words, "--baseline", "lstm", *how.flags.split(), *how.lstm.split(), "--seed", str(seed)))
    for more in how.also:
        yield Step((*words, *how.flags.split(), *more.split()))


def _vectors(flags: str, data: tuple[str, ...]) -> Step:
    """Word vectors in a file whose name says which flags they were learnt with."""
    # Other flags make another file, so a step is never skipped for vectors of another kind.
    path = Path("runs/vectors") / f"{sha256(flags.encode()).hexdigest()[:12]}.txt"
    return Step(("train_word_vectors.py", *flags.split(), *data, "--output_file", str(path)), path)


def _model_of(name: str) -> Path:
    """Where the first seed of a recipe leaves its model."""
    return Path("runs") / f"{name}-seed0" / "model"


def _parent(name: str, model: Path, data_dir: Path | None) -> Iterator[Step]:
    """The commands that leave a recipe's model."""
    # The last step must be the LMU's run, so no parent may have a baseline (`lstm`) or further runs (`also`).
    *before, last = _steps_of(get_recipe(name), data_dir, (0,))
    yield from before
    yield Step(last.words, model / "config.json")
