"""What the training scripts share: flags named as in transformers' example scripts, and what a run ends with."""

import argparse
import json
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import set_seed
from transformers import PreTrainedModel

from ..publishing.figures import learning_curve
from .finished import is_complete
from .launch import check_processes, typed_command
from .loop import train
from .processes import on_main
from .recipes import RECIPES, Recipe, get_recipe
from .record import RunRecord
from .run_folder import owned
from .schedules import schedule_names
from .signals import Interrupted
from .tasks.base import Task

# Flags that replace a recipe's field: the flag, the field, its type, and what to say of it.
RECIPE_FLAGS: tuple[tuple[str, str, type, str], ...] = (
    ("optim", "optimizer", str, "adamw, or muon: Muon for the matrices of the body, AdamW for the rest"),
    ("learning_rate", "learning_rate", float, "the optimiser's"),
    ("weight_decay", "weight_decay", float, "of matrices"),
    ("layer_decay", "layer_decay", float, "a block's learning rate in units of that of the block above it"),
    ("num_train_epochs", "epochs", int, "how often every row is read"),
    ("max_train_steps", "max_steps", int, "end after so many steps instead"),
    ("eval_steps", "eval_steps", int, "evaluate every so many steps (default: once an epoch)"),
    ("per_device_train_batch_size", "batch_size", int, "rows a process reads at once"),
    ("gradient_accumulation_steps", "accumulation", int, "batches whose gradients make one step"),
    ("lr_scheduler_type", "schedule", str, "one of " + ", ".join(schedule_names())),
    ("warmup_ratio", "warmup", float, "part of all steps over which the learning rate rises"),
    ("max_grad_norm", "max_grad_norm", float, "gradients are clipped to this norm"),
    ("label_smoothing_factor", "label_smoothing", float, "of a classifier's cross-entropy"),
    ("averaging", "averaging", float, "decay per step of the average of weights that is evaluated"),
    ("early_stopping_patience", "patience", int, "end after so many evaluations that were no better than the best"),
)


def training_parser(manual: str | None, kind: str, default: str) -> argparse.ArgumentParser:
    """The flags of every training script; those left out keep the recipe's values.

    Args:
        manual: the script's own docstring.
        kind: of data; recipes for another are not offered.
        default: the recipe that is trained if none is named.
    """
    parser = argparse.ArgumentParser(
        description=manual, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    names = sorted(name for name, build in RECIPES.items() if build().kind == kind)
    add = parser.add_argument
    add("--recipe", default=default, choices=names, help="what to train (default: %(default)s)", metavar="RECIPE")
    add("--data_dir", type=Path, help="a folder of data sets laid out as on the Hub")
    add("--seed", type=int, default=0, help="of initial weights, row order and variations")
    add("--output_dir", type=Path, help="the run folder")
    add("--overwrite_output_dir", action="store_true", help="begin anew in a folder that holds an earlier run")
    for flag, _, kind_of_value, text in RECIPE_FLAGS:
        add(f"--{flag}", type=kind_of_value, help=text)
    add("--config_overrides", nargs="+", metavar="FIELD=VALUE", default=[], help="fields of LMUConfig, values as JSON")
    add("--checkpointing_steps", help="save a checkpoint every so many steps, or 'epoch' (default: once a minute)")
    add("--save_total_limit", type=int, default=2, help="checkpoints that are kept (default: %(default)s)")
    add("--resume_from_checkpoint", help="'auto': go on from the newest good one in the run folder; or its path")
    add("--dataloader_num_workers", type=int, default=0, help="processes that make batches")
    add("--mixed_precision", choices=("no", "bf16"), help="autocast; memory and final scores stay float32")
    add("--report_to", default="tensorboard", help="a tracker: tensorboard, wandb, trackio, … or none")
    skip = "do not read the test split, for choosing hyper-parameters: resumed without this flag, a finished run does"
    add("--skip_test", action="store_true", help=skip)
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def run(
    args: argparse.Namespace,
    load_task: Callable[[argparse.Namespace, Recipe], Task],
    run_name: str = "",
    make_model: Callable[[Task, Recipe], PreTrainedModel] | None = None,
) -> RunRecord:
    """Load the data, train, draw the learning curve, and print the result.

    Args:
        args: as :func:`training_parser` parsed them.
        load_task: the rows that a recipe trains on.
        run_name: what tells this run from others of its recipe, beside the seed.
        make_model: the model to train, if it is not a fresh one of the recipe's architecture.

    Raises:
        SystemExit: a flag's value or the data will not do, a run stands in the way or has diverged, or the process was
            told to end; one line says which, and what to do.
    """
    check_processes()
    try:
        recipe = asked_recipe(args)
        how = asked_running(args)
        folder = args.output_dir or Path("runs") / "-".join(filter(None, [recipe.name, run_name, f"seed{args.seed}"]))
        if args.quiet:
            _hide_progress_of_datasets()
        with PartialState().main_process_first():  # it prepares the data, and the others read what it has left
            task = load_task(args, recipe)
        set_seed(args.seed)
        model = task.make_model(recipe.architecture) if make_model is None else make_model(task, recipe)
        complete = bool(how["resume"]) and is_complete(folder)
        with ExitStack() as held:
            if not complete:
                on_main(lambda: held.enter_context(owned(folder)))
            record = train(model, recipe, task, args.seed, folder, **how)
            if not complete:
                on_main(lambda: learning_curve(folder, folder / "figures" / "learning_curve.png"))
    except Interrupted as interruption:
        _say(f"{interruption}; this goes on from there: {typed_command(resume_from_checkpoint='auto')}")
        raise
    except KeyboardInterrupt:  # before the first step, or for the second time
        _say("interrupted at once: nothing was saved but the checkpoints that are there")
        raise SystemExit(128 + signal.SIGINT) from None
    except (ValueError, OSError, FloatingPointError) as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: error: {' '.join(str(error).split())}") from error
    _tell(folder, record, "is complete already; " if complete else "")
    PartialState().destroy_process_group()
    return record


def _say(text: str) -> None:
    if PartialState().is_main_process:
        print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)


def _hide_progress_of_datasets() -> None:
    from datasets import disable_progress_bars  # a second's import, which not every task needs

    disable_progress_bars()


def asked_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe that the flags name, with what other flags change of it.

    Raises:
        ValueError: a value is out of its range, an override is not of the form FIELD=VALUE, or a flag says nothing to
            the others.
    """
    recipe = get_recipe(args.recipe, **{name: getattr(args, flag) for flag, name, _, _ in RECIPE_FLAGS})
    if recipe.schedule == "constant" and args.warmup_ratio:
        raise ValueError(
            "--warmup_ratio says nothing to a constant schedule: give --lr_scheduler_type constant_with_warmup"
        )
    return replace(recipe, architecture=recipe.architecture | dict(map(_override, args.config_overrides)))


def asked_running(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of :class:`lmu_hf.training.loop.Running` that the flags ask for."""
    every = args.checkpointing_steps
    if every not in (None, "epoch") and not (every.isdigit() and int(every) > 0):
        raise ValueError(f"--checkpointing_steps must be a number of steps or 'epoch', got {every!r}")
    if args.save_total_limit < 1:
        raise ValueError(f"--save_total_limit must be at least 1, got {args.save_total_limit}")
    resume: bool | Path = args.resume_from_checkpoint is not None
    if resume and args.resume_from_checkpoint != "auto":
        resume = Path(args.resume_from_checkpoint)
    return {
        "quiet": args.quiet,
        "read_test": not args.skip_test,
        "resume": resume,
        "overwrite": args.overwrite_output_dir,
        "checkpointing_steps": every,
        "checkpoints": args.save_total_limit,
        "workers": args.dataloader_num_workers,
        "report_to": args.report_to,
        "mixed_precision": args.mixed_precision,
    }


def _override(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ValueError(f"--config_overrides takes FIELD=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:  # a bare word
        return name, value


def _tell(folder: Path, record: RunRecord, more: str = "") -> RunRecord:
    if PartialState().is_main_process:
        size = f"{record.parameters['total']:,} parameters, {record.wall_seconds:.0f} s"
        print(f"{folder}: {more}{summary(record)}; {size}")
    return record


def summary(record: RunRecord) -> str:
    """A run's scores in one line."""
    if record.metric == "accuracy":
        return ", ".join(f"{split} {100 * scores['accuracy']:.2f} %" for split, scores in record.metrics.items())
    return ", ".join(
        f"{split} {name.replace('_', ' ')} {score:.3f}"
        for split, scores in record.metrics.items()
        for name, score in scores.items()
    )
