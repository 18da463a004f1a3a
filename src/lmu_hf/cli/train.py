"""What the training verbs share: flags named as in transformers' example scripts, and what a run ends with."""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import set_seed
from transformers import PreTrainedModel

from ..common.errors import InputError, check_folder, is_expected, one_line
from ..common.figures import confusion_matrix, learning_curve
from ..common.lines import digits, verdict
from ..common.lock import owned
from ..common.record import RunRecord, say_parameters
from ..configuration_lmu import LMUConfig
from ..configuration_lstm import OF_MEMORIES
from ..data.sources import stem
from ..training.finished import is_complete
from ..training.judging import plain_table
from ..training.loop import train
from ..training.processes import on_main
from ..training.recipes import Recipe, get_recipe
from ..training.recipes.own import explain
from ..training.run_folder import folder_of_its_own, refuse_occupied
from ..training.sharing import refuse_alone
from ..training.signals import Interrupted
from ..training.tasks.base import Task
from .flags import Flags
from .launch import check_processes, typed_command
from .origin import NAME as ORIGIN
from .origin import write_origin
from .training_flags import RECIPE_FLAGS

TABLE = 30  # classes that the console shows one by one; the record holds them all
# Entries of a recipe's data that flags of `pretrain` replace.
DATA_FLAGS = {"tokenizer": "tokenizer", "vocab_size": "vocab_size", "sequence_length": "block_size"}


def run(
    args: argparse.Namespace,
    load_task: Callable[[Flags, Recipe], Task],
    run_name: str = "",
    make_model: Callable[[Task, Recipe], PreTrainedModel] | None = None,
    watch: Callable[[dict, float], None] | None = None,
    what_next: str = "",
) -> RunRecord:
    """Load the data, train, draw the learning curve, and print the result.

    Args:
        args: as :func:`training_parser` parsed them.
        load_task: the rows that a recipe trains on.
        run_name: what tells this run from others of its recipe, beside the seed.
        make_model: the model to train, if it is not a fresh one of the recipe's architecture.
        watch: as of :class:`~lmu_hf.training.running.Running`.
        what_next: what is said of a run that is interrupted; empty for the command that goes on with it.

    Raises:
        ValueError: flags contradict each other or the data, or the data will not do; the message says which.
        OSError: a file cannot be read or written, or a run stands in the way.
        FloatingPointError: the run has diverged.
        SystemExit: the process was told to end.
    """
    check_processes()
    flags = Flags(args)
    recipe, how = asked_recipe(flags), asked_running(flags)
    if how.get("sequence_parallel"):
        refuse_alone(PartialState().num_processes)
    if watch is not None:
        how["watch"] = watch
    seed: int = flags.seed
    folder = _folder(flags, recipe, run_name, seed)
    # Before the data is read, which may take minutes.
    check_folder(folder, "output_dir")
    if folder.is_dir() and not how["resume"]:  # what is resumed may have left anything
        on_main(lambda: _refuse_occupied(folder, how["overwrite"]))
    recipe, task = read_rows(flags, recipe, load_task)
    # Behind the data, so that weights depend on the seed alone and not on what reading has drawn.
    set_seed(seed)
    model = _model(flags, recipe, task, make_model)
    # Asked before `train`, behind which every run is complete. One that was so already keeps its pictures.
    complete = bool(how["resume"]) and is_complete(folder)
    # The last file of all: a run that was killed behind its record lacks it, and perhaps its pictures.
    all_there = complete and (folder / ORIGIN).is_file()

    def leave_pictures() -> None:
        learning_curve(folder, folder / "figures" / "learning_curve.png")
        confusion_matrix(folder, folder / "figures" / "confusion_matrix.png")
        task.draw(model, folder / "figures")
        write_origin(folder, flags)

    with _interruptions_told(folder, what_next), ExitStack() as held:
        if not all_there:
            # `train` lets go of the folder at its end; the pictures come later. The main process alone writes.
            on_main(lambda: held.enter_context(owned(folder)))
        record = train(model, recipe, task, seed, folder, **how)
        if not all_there:
            on_main(leave_pictures)
    tell(folder, record, "is complete already; " if complete else "")
    # A group that is left to the end of the process makes torch warn.
    PartialState().destroy_process_group()
    return record


def read_rows(flags: Flags, recipe: Recipe, load_task: Callable[[Flags, Recipe], Task]) -> tuple[Recipe, Task]:
    """The recipe that is trained, which the rows may have made, and its data; what was found is printed.

    Args:
        flags: the flags.
        recipe: the one that they name.
        load_task: the rows that a recipe trains on.

    Raises:
        ValueError: the data will not do, or a flag has no effect on it; the message says which.
    """
    task = _task(flags, recipe, load_task)
    if PartialState().is_main_process and (said := task.announce()):
        print(said)
    if task.made is not None:
        recipe = asked_recipe(flags, task.made)
        task.reasons |= dict.fromkeys(_given(flags) & task.reasons.keys(), "given")
        on_main(lambda: print(explain(recipe, task.reasons)))
    return recipe, task


def _folder(flags: Flags, recipe: Recipe, run_name: str, seed: int) -> Path:
    """The run folder: the one that is named, or else one below ``runs`` called after the data, or after the recipe."""
    if flags.output_dir is not None:
        return flags.output_dir
    title = own_title(flags)
    if title is None:
        return Path("runs") / "-".join(filter(None, [recipe.name, run_name, f"seed{seed}"]))
    # A recipe that somebody has named tells runs on the same rows apart, as a baseline does.
    named = recipe.name if flags.chose("recipe") else recipe.baseline_kind
    folder = Path("runs") / "-".join(filter(None, [title, named, f"seed{seed}"]))
    goes_on = flags.resume_from_checkpoint is not None or flags.overwrite_output_dir
    return on_main(lambda: folder_of_its_own(folder, goes_on))


def own_title(flags: Flags) -> str | None:
    """What a run on somebody's own files is called, a translator with its languages; None where no file is named."""
    named = (getattr(flags, name, None) for name in ("train_file", "source_file", "folder_of_rows"))
    path: Path | None = next(filter(None, named), None)
    if path is None:
        return None
    languages: tuple[str, ...] = getattr(flags, "languages", ())
    title = stem(path, *languages)
    return title if title.endswith("-".join(languages)) else "-".join([title, *languages])


@contextmanager
def _interruptions_told(folder: Path, what_next: str) -> Iterator[None]:
    """Say what a run that is interrupted has saved, and how it goes on, if the caller does not know better."""
    try:
        yield
    except Interrupted as interruption:
        command = typed_command(resume_from_checkpoint="auto", output_dir=str(folder))
        _say(f"{interruption}; {what_next or f'this goes on from there: {command}'}")
        raise
    except KeyboardInterrupt:  # before the first step, or for the second time
        _say(f"interrupted at once: {what_next or 'nothing was saved but the checkpoints that are there'}")
        raise SystemExit(128 + signal.SIGINT) from None


def _task(flags: Flags, recipe: Recipe, load_task: Callable[[Flags, Recipe], Task]) -> Task:
    """The data to train on, which the flags do not contradict."""
    with PartialState().main_process_first():  # it prepares the data, and the others read what it has left
        task = load_task(flags, recipe)
    task.title = own_title(flags) or task.title
    _check_overrides(flags.config_overrides, task)
    if flags.label_smoothing_factor and not task.smooths_labels:
        raise ValueError(f"--label_smoothing_factor has no effect on {task.name}, whose labels are not classes")
    return task


def _model(
    flags: Flags, recipe: Recipe, task: Task, make_model: Callable[[Task, Recipe], PreTrainedModel] | None
) -> PreTrainedModel:
    """The model to train; what is wrong with overridden fields is said of their flag."""
    try:
        return task.make_model(recipe.architecture) if make_model is None else make_model(task, recipe)
    except Exception as error:
        if not flags.config_overrides or not is_expected(error):
            raise
        raise InputError(f"--config_overrides {' '.join(flags.config_overrides)}: {one_line(error)}") from error


def _refuse_occupied(folder: Path, overwrite: bool) -> None:
    with owned(folder):  # one that a run is writing to is said to be so
        refuse_occupied(folder, overwrite)


def _given(flags: Flags) -> set[str]:
    """The fields of a recipe that flags decide, whatever the rows say."""
    fields = {name for flag, name, _, _ in RECIPE_FLAGS if getattr(flags, flag) is not None}
    return fields | {name for name, _ in map(_override, flags.config_overrides)}


def _say(text: str) -> None:
    if PartialState().is_main_process:
        print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)


def asked_recipe(args: argparse.Namespace | Flags, made: Recipe | None = None) -> Recipe:
    """The recipe that the flags name, with what other flags change of it.

    Args:
        args: the flags.
        made: one that the rows have made in its place.

    Raises:
        ValueError: a flag would change nothing, or an override is not of the form FIELD=VALUE or no such field.
    """
    flags = Flags.of(args)
    changes = {name: getattr(flags, flag) for flag, name, _, _ in RECIPE_FLAGS}
    if made is None:
        recipe = get_recipe(flags.recipe, **changes)
    else:
        recipe = replace(made, **{name: value for name, value in changes.items() if value is not None})
    if flags.baseline is not None:
        # After the changes, which are to hold for the baseline too.
        recipe = recipe.baseline(flags.baseline)
    if changes["epochs"] is not None:  # a recipe that counts steps would not count epochs
        recipe = replace(recipe, max_steps=changes["max_steps"])
    if recipe.schedule == "constant" and flags.warmup_ratio:
        raise ValueError(
            "--warmup_ratio has no effect on a constant schedule: give --lr_scheduler_type constant_with_warmup"
        )
    recipe = _trained_further(recipe, changes)
    overrides = dict(map(_override, flags.config_overrides))
    architecture = recipe.architecture | overrides
    # Only LSTM baselines name a model_type.
    if "model_type" in architecture and (ignored := [name for name in OF_MEMORIES if name in overrides]):
        raise ValueError(f"--config_overrides {ignored[0]} has no effect on an LSTM, which has no Legendre memory")
    data = recipe.data | flags.take(**DATA_FLAGS)  # flags that this script lacks change nothing
    return replace(recipe, architecture=architecture, data=data)


def _trained_further(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """A recipe whose weights are solved takes steps where their number is given; other flags of training need it.

    Raises:
        ValueError: there is such a flag, and no number of steps.
    """
    if not recipe.solved or recipe.data.get("made_by_rows"):  # what the rows make of it is not known yet
        return recipe
    if changes["epochs"] is not None or changes["max_steps"] is not None:
        return replace(recipe, solved=False)
    if ignored := [flag for flag, name, _, _ in RECIPE_FLAGS if changes[name] is not None]:
        raise ValueError(
            f"--{ignored[0]} has no effect on weights that are solved in closed form: give --num_train_epochs or "
            "--max_train_steps to train them further"
        )
    return recipe


def asked_running(args: argparse.Namespace | Flags) -> dict[str, Any]:
    """The fields of :class:`lmu_hf.training.running.Running` that the flags ask for.

    Raises:
        ValueError: a flag's value is none that it takes, or two contradict each other.
    """
    args = Flags.of(args)
    interval = args.checkpointing_steps
    if interval not in (None, "epoch") and not (interval.isdigit() and int(interval) > 0):
        raise ValueError(f"--checkpointing_steps must be a number of steps or 'epoch', got {interval!r}")
    resume: bool | Path = args.resume_from_checkpoint is not None
    # True stands for the newest checkpoint, a path for that one.
    if resume and args.resume_from_checkpoint != "auto":
        resume = Path(args.resume_from_checkpoint)
    return {
        "quiet": args.quiet,
        "read_test": not args.skip_test,
        "resume": resume,
        "overwrite": args.overwrite_output_dir,
        "checkpointing_steps": interval,
        "checkpoints": args.save_total_limit,
        "workers": args.dataloader_num_workers,
        "report_to": args.report_to,
        "mixed_precision": args.mixed_precision,
        "torch_compile": args.torch_compile,
        **args.take(sequence_parallel="sequence_parallel"),  # of running text alone
    }


def _override(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ValueError(f"--config_overrides takes FIELD=VALUE, got {text!r}")
    # Checked here, since a config keeps any unknown name as an attribute and says nothing.
    if name not in LMUConfig.__annotations__:
        near = get_close_matches(name, LMUConfig.__annotations__, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"--config_overrides: LMUConfig has no field {name!r}{meant}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:  # a bare word
        return name, value


def _check_overrides(overrides: list[str], task: Task) -> None:
    decided = task.config_fields()
    for name, _ in map(_override, overrides):
        if name in decided:
            raise ValueError(f"--config_overrides {name} has no effect: the data of {task.name} decides it")


def tell(folder: Path, record: RunRecord, more: str = "") -> RunRecord:
    """Print a run's scores beside those of the lines that it must beat; the record, as it was given.

    Args:
        folder: the run folder.
        record: the run's.
        more: what is said before the scores.
    """
    if PartialState().is_main_process:
        size = f"{say_parameters(record.parameters)}, {record.wall_seconds:.0f} s"
        for name, scores in {**record.lines, **record.parts}.items():
            print(f"{name}: {summary(replace(record, metrics=scores))}")
        print(f"{folder}: {more}{summary(record)}; {size}")
        for sentence in filter(None, (record.reasons.get("balance"), record.reasons.get("left_out"), verdict(record))):
            print(sentence)
        split = "test" if "test" in record.details else "validation"
        classes = record.details.get(split, {}).get("classes", {})
        if 0 < len(classes) <= TABLE:
            print(f"{split}, class by class:\n{plain_table(classes)}")
    return record


def summary(record: RunRecord) -> str:
    """A run's scores in one line, each in four significant digits."""
    if record.metric == "accuracy":
        return ", ".join(f"{split} {100 * scores['accuracy']:.2f} %" for split, scores in record.metrics.items())
    return ", ".join(
        f"{split} {name.replace('_', ' ')} {digits(score)}"
        for split, scores in record.metrics.items()
        for name, score in scores.items()
    )
