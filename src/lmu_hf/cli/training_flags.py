"""The flags of every training script: what of a recipe they replace, and how a run is run."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..training.baselines import BASELINES
from ..training.recipes import RECIPES
from ..training.recipes.base import fault
from ..training.schedules import schedule_names
from .flags import AMOUNT, COUNT, SEED, ScriptParser

# Flags that replace a recipe's field: the flag, the field, its type, and what to say of it.
# Most have the names of transformers' example scripts, whose users then know them.
RECIPE_FLAGS: tuple[tuple[str, str, type, str], ...] = (
    (
        "optim",
        "optimizer",
        str,
        "optimizer: adamw, or muon (Muon for the matrices of the backbone, AdamW for the rest)",
    ),
    ("learning_rate", "learning_rate", float, "peak learning rate"),
    ("weight_decay", "weight_decay", float, "weight decay of weight matrices; biases and norms are not decayed"),
    (
        "layer_decay",
        "layer_decay",
        float,
        "layer-wise learning-rate decay: a block's learning rate, as a fraction of that of the block above it",
    ),
    ("num_train_epochs", "epochs", int, "training epochs: passes over the training rows"),
    ("max_train_steps", "max_steps", int, "training steps, in place of a number of epochs"),
    ("eval_steps", "eval_steps", int, "steps between two evaluations on the validation split"),
    ("per_device_train_batch_size", "batch_size", int, "training rows in a batch, for each process"),
    ("gradient_accumulation_steps", "accumulation", int, "batches whose gradients are added up to one step"),
    # Which names there are depends on the installed release of transformers.
    ("lr_scheduler_type", "schedule", str, "learning-rate schedule: one of " + ", ".join(schedule_names())),
    ("warmup_ratio", "warmup", float, "fraction of all steps in which the learning rate rises to its peak"),
    ("max_grad_norm", "max_grad_norm", float, "largest norm of the gradients, which are scaled down to it"),
    (
        "label_smoothing_factor",
        "label_smoothing",
        float,
        "label smoothing: fraction of every label that is shared among all classes",
    ),
    (
        "averaging",
        "averaging",
        float,
        "decay per step of the exponential average of weights, which is what is evaluated and saved; 0 for none",
    ),
    ("early_stopping_patience", "patience", int, "evaluations without improvement after which training ends"),
)
# Flags that say how a run is run.
RUN_FLAGS: dict[str, dict[str, Any]] = {
    "baseline": {
        "choices": BASELINES,
        "help": "train this in the place of the recipe's LMU, with the same blocks, data and budget (default: the LMU)",
    },
    "data_dir": {
        "type": Path,
        "help": "folder of data sets laid out as on the Hub, as DIR/stanfordnlp/imdb (default: the Hub)",
    },
    "seed": {
        "type": SEED,
        "default": 0,
        "help": "random seed of the initial weights, the row order and the augmentation (default: %(default)s)",
    },
    "output_dir": {"type": Path, "help": "run folder to write (default: as the manual above says)"},
    "overwrite_output_dir": {
        "action": "store_true",
        "help": "delete an earlier run in the run folder, and begin anew",
    },
    "config_overrides": {
        "nargs": "+",
        "metavar": "FIELD=VALUE",
        "default": [],
        "help": "fields of LMUConfig to change, values as JSON (default: none)",
    },
    # Read as text: `asked_running` takes a number or the word epoch.
    "checkpointing_steps": {
        "help": "steps between two checkpoints, or 'epoch' for one an epoch (default: one a minute)"
    },
    "save_total_limit": {
        "type": COUNT,
        "default": 2,
        "help": "number of checkpoints that are kept, the newest ones (default: %(default)s)",
    },
    "resume_from_checkpoint": {
        "help": "checkpoint to go on from: its path, or 'auto' for the newest of the run folder (default: begin anew)"
    },
    "dataloader_num_workers": {
        "type": AMOUNT,
        "default": 0,
        "help": "worker processes that make batches; 0 for the training process itself (default: %(default)s)",
    },
    "mixed_precision": {
        "choices": ("no", "bf16", "auto"),
        "help": "precision of products in training; auto: bf16 where the recipe allows it and it is faster here; the "
        "memory and final scores stay float32 (default: accelerate's)",
    },
    "torch_compile": {
        "action": "store_true",
        "help": "compile training steps with torch.compile, once for each shape of a batch; scores are not compiled",
    },
    "report_to": {
        "default": "tensorboard",
        "help": "tracker: tensorboard, wandb, trackio and so on, or none (default: %(default)s)",
    },
    "skip_test": {
        "action": "store_true",
        "help": "leave the test split unread, to choose hyper-parameters; resumed without this flag, a run reads it",
    },
    "quiet": {"action": "store_true", "help": "show no progress bar"},
}


def training_parser(manual: str | None, kind: str, default: str) -> ScriptParser:
    """The flags of every training script; those left out keep the recipe's values.

    Args:
        manual: the script's own docstring.
        kind: of data; recipes for another are not offered.
        default: the recipe that is trained if none is named.
    """
    parser = ScriptParser(manual)
    # A recipe of another kind of data would only fail later, in `load_task`.
    names = sorted(name for name, build in RECIPES.items() if build().kind == kind)
    text = "recipe to train: architecture, data and budget (default: %(default)s)"
    # metavar, or --help would list every name twice.
    parser.add_argument("--recipe", default=default, choices=names, metavar="RECIPE", help=text)
    for flag, field, kind_of_value, text in RECIPE_FLAGS:
        typed = _of_field(field, kind_of_value)
        # No default: None leaves the recipe's value, and --help is read before a recipe is chosen.
        parser.add_argument(f"--{flag}", type=typed, help=f"{text} (default: the recipe's)")
    for flag, how in RUN_FLAGS.items():
        parser.add_argument(f"--{flag}", **how)
    return parser


def _of_field(field: str, kind: type) -> Callable[[str], Any]:
    """The type of a flag that replaces a recipe's field."""

    def read(text: str) -> Any:
        # The recipe's own check, asked early, so that the message names the flag.
        if wrong := fault(field, value := kind(text)):
            raise argparse.ArgumentTypeError(f"{wrong}, got {text}")
        return value

    read.__name__ = kind.__name__  # what argparse calls a value of another kind
    return read
