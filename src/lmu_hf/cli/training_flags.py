"""The flags of every training verb: what of a recipe they replace, and how a run is run.

Nothing is imported here that takes time, so that ``--help`` and a refusal need a moment.
"""

import argparse
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..training.recipes import RECIPES
from ..training.recipes.base import BASELINES, fault
from ..training.schedules import COMMON
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
    # Other names than the common ones depend on the installed release of transformers.
    (
        *("lr_scheduler_type", "schedule", str),
        f"learning-rate schedule: {', '.join(COMMON)}, or another of transformers' that needs no number of its own",
    ),
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
# Flags that say how a run is run, by the groups of --help.
RUN_FLAGS: dict[str, dict[str, dict[str, Any]]] = {
    "data": {
        "data_dir": {
            "type": Path,
            "help": "folder of data sets laid out as on the Hub, as DIR/stanfordnlp/imdb (default: the Hub)",
        },
    },
    "model": {
        "baseline": {
            "choices": BASELINES,
            "help": "model to train in the LMU's place, with the same blocks, data and budget (default: the LMU)",
        },
        "config_overrides": {
            "nargs": "+",
            "metavar": "FIELD=VALUE",
            "default": [],
            "help": "fields of LMUConfig to change, values as JSON (default: none)",
        },
    },
    "training": {
        "skip_test": {
            "action": "store_true",
            "help": "leave the test split unread, to choose hyper-parameters; a run resumed without this flag reads it",
        },
        "seed": {
            "type": SEED,
            "default": 0,
            "help": "random seed of the initial weights, the row order and the augmentation (default: %(default)s)",
        },
        "dataloader_num_workers": {
            "type": AMOUNT,
            "default": 0,
            "help": "worker processes that make batches; 0 for the training process itself (default: %(default)s)",
        },
        "mixed_precision": {
            "choices": ("no", "bf16", "auto"),
            "help": "precision of products in training; auto: bf16 where the recipe allows it and it is faster here; "
            "memory and final scores stay float32 (default: accelerate's)",
        },
        "torch_compile": {
            "action": "store_true",
            "help": "compile training steps with torch.compile, once for each shape of a batch; scores are not",
        },
    },
    "output": {
        "output_dir": {"type": Path, "help": "run folder to write (default: as the manual above says)"},
        "overwrite_output_dir": {
            "action": "store_true",
            "help": "delete an earlier run in the run folder, and begin anew",
        },
        # Read as text: `asked_running` takes a number or the word epoch.
        "checkpointing_steps": {
            "metavar": "N|epoch",
            "help": "steps between two checkpoints, or 'epoch' for one an epoch (default: one a minute)",
        },
        "save_total_limit": {
            "type": COUNT,
            "default": 2,
            "help": "number of checkpoints that are kept, the newest ones (default: %(default)s)",
        },
        "resume_from_checkpoint": {
            "metavar": "PATH|auto",
            "help": "checkpoint to resume from: its path, or 'auto' for the run folder's newest (default: begin anew)",
        },
        "report_to": {
            "default": "tensorboard",
            "help": "tracker: tensorboard, wandb, trackio and so on, or none (default: %(default)s)",
        },
        "quiet": {"action": "store_true", "help": "show no progress bar"},
    },
}


# What most runs leave alone: `--help` is short without them, and --help_all shows them.
SELDOM = (
    *("optim", "weight_decay", "layer_decay", "gradient_accumulation_steps", "lr_scheduler_type", "warmup_ratio"),
    *("max_grad_norm", "label_smoothing_factor", "averaging", "early_stopping_patience", "eval_steps"),
    *("dataloader_num_workers", "checkpointing_steps", "save_total_limit", "report_to", "torch_compile"),
    *("dataset_config_name", "extra_train_file", "validation_block", "preprocessing_num_workers", "rows"),
    *("freeze_word_vectors", "train_split", "validation_split", "series_seed", "sequence_parallel"),
    *("encoding", "field", "column_names", "label_separator", "tokenizer_name", "word_vectors"),
    *("validation_source_file", "validation_target_file", "test_source_file", "test_target_file"),
)


def training_parser(manual: str | None, kind: str, default: str, verb: str = "") -> ScriptParser:
    """The flags of every training verb; those left out keep the recipe's values.

    Args:
        manual: what ``--help`` begins with.
        kind: of data; recipes for another are refused.
        default: the recipe that is trained if none is named.
        verb: of the command ``lmu-hf``.
    """
    parser = ScriptParser(manual, verb)
    text = "recipe to train: architecture, data and budget; `lmu-hf recipes` lists them (default: %(default)s)"
    parser.group("model").add_argument("--recipe", default=default, type=recipe_of(kind), help=text)
    for flag, field, kind_of_value, text in RECIPE_FLAGS:
        typed = _of_field(field, kind_of_value)
        # No default: None leaves the recipe's value, and --help is read before a recipe is chosen.
        parser.group("training").add_argument(f"--{flag}", type=typed, help=f"{text} (default: the recipe's)")
    for group, flags in RUN_FLAGS.items():
        for flag, how in flags.items():
            parser.group(group).add_argument(f"--{flag}", **how)
    return parser


def parse_training(
    parser: ScriptParser, argv: list[str] | None, *checks: Callable[[argparse.Namespace], None]
) -> argparse.Namespace:
    """The flags of a training verb; those of which one would keep another from being heard are refused.

    Args:
        parser: as :func:`training_parser` made it, with the flags of the data.
        argv: the words.
        checks: what else is checked; a ``ValueError`` ends with one line.
    """
    parser.set_seldom(*SELDOM)
    args = parser.parse_args(argv)
    try:
        for check in (check_contradictions, *checks):
            check(args)
    except ValueError as error:
        parser.error(str(error))
    return args


def check_contradictions(args: argparse.Namespace) -> None:
    """Refuse flags of which one would keep another from being heard.

    Raises:
        ValueError: there are such flags; the message names both.
    """
    if args.num_train_epochs is not None and args.max_train_steps is not None:
        raise ValueError("give only one of --num_train_epochs and --max_train_steps")
    if args.torch_compile and getattr(args, "sequence_parallel", False):
        raise ValueError("give one of --torch_compile and --sequence_parallel: what parts exchange is not compiled")
    if args.overwrite_output_dir and args.resume_from_checkpoint is not None:
        raise ValueError("give only one of --overwrite_output_dir, which begins anew, and --resume_from_checkpoint")


def recipe_of(kind: str | None) -> Callable[[str], str]:
    """The type of a flag that names a recipe, of one kind of data if one is given."""

    def read(text: str) -> str:
        fitting = sorted(name for name, build in RECIPES.items() if kind in (None, build().kind))
        if text in fitting:
            return text
        if text in RECIPES:
            raise argparse.ArgumentTypeError(f"{text!r} is a recipe for other data; this data has {', '.join(fitting)}")
        near = get_close_matches(text, fitting, n=1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(fitting)}"
        raise argparse.ArgumentTypeError(f"there is no recipe {text!r}; {meant}")

    read.__name__ = "str"  # a word, not a number
    return read


def _of_field(field: str, kind: type) -> Callable[[str], Any]:
    """The type of a flag that replaces a recipe's field."""

    def read(text: str) -> Any:
        # The recipe's own check, asked early, so that the message names the flag.
        if wrong := fault(field, value := kind(text)):
            raise argparse.ArgumentTypeError(f"{wrong}, got {text}")
        return value

    read.__name__ = kind.__name__  # what argparse calls a value of another kind
    return read
