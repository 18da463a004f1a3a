"""Whether as many processes run as were asked for: on a CPU, accelerate starts a single one in place of two."""

import re
import shlex
import sys
from pathlib import Path

import psutil
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from .flags import COMMAND

# accelerate's --num_processes and torchrun's --nproc_per_node; both take hyphens too.
FLAGS = re.compile(r"--(?:num[_-]processes|nproc[_-]per[_-]node)(?:=(\d+))?$")


def asked_processes(command: list[str]) -> int | None:
    """How many processes a launcher's command line asks for; None if it is no launcher's, or does not say."""
    words = {Path(word).name for word in command[:4]}
    launches = "torchrun" in words or {"accelerate", "launch"} <= words or "accelerate.commands.launch" in words
    if not launches:
        return None
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word.endswith(".py"):
            return None  # what follows belongs to the script
        if match := FLAGS.match(word):
            number = match.group(1) or following
            return int(number) if number.isdigit() else None
    return None


def typed_command(**flags: str) -> str:
    """The command that started this process, its launcher's if it has one, with flags of it set to other values.

    ``--overwrite_output_dir``, which would lose what there is to go on from, is left out.
    """
    # `orig_argv` has python and its options, which sys.argv lacks.
    words = [COMMAND, *sys.argv[1:]] if Path(sys.argv[0]).stem == COMMAND else list(sys.orig_argv)
    for parent in psutil.Process().parents():
        try:
            command = parent.cmdline()
        except psutil.Error:  # it has ended, or belongs to someone else
            continue
        if asked_processes(command) is not None:
            words = command  # no break: the outermost launcher is the one that was typed
    kept, skip = [], False
    for word in words:
        name, sign, _ = word.removeprefix("--").partition("=")
        if skip or word == "--overwrite_output_dir":
            skip = False
        elif word.startswith("--") and name in flags:
            skip = not sign
        else:
            kept.append(word)
    return shlex.join([*kept, *(word for name, value in flags.items() for word in (f"--{name}", value))])


def check_processes() -> None:
    """Refuse to train on fewer processes than the launcher above this one was asked for.

    Raises:
        SystemExit: there are fewer; the message gives a command that starts them all.
    """
    running = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU")).num_processes
    for parent in psutil.Process().parents():
        try:
            asked = asked_processes(parent.cmdline())
        except psutil.Error:  # it has ended, or belongs to someone else
            continue
        if asked is not None and asked > running:
            script = " ".join(sys.argv)
            raise SystemExit(
                f"{asked} processes were asked for and {running} runs (accelerate starts one on a CPU); this starts "
                f"{asked}:\n  ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes {asked} "
                f"--num_machines 1 --mixed_precision no --dynamo_backend no {script}"
            )
