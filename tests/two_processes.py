"""What `test_processes.py` has two gloo processes do; run by a launcher, never collected.

python -m torch.distributed.run --nproc_per_node 2 tests/two_processes.py WHAT FOLDER
"""

import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import parse_flag_from_env
from safetensors.torch import save_file

from lmu_hf.common.record import RunRecord
from lmu_hf.data.windows import Windows
from lmu_hf.training import loop
from lmu_hf.training.checkpoint import newest
from lmu_hf.training.loop import train
from lmu_hf.training.recipes import Recipe
from lmu_hf.training.tasks.text import TextTask
from lmu_hf.training.tasks.text_sources import text_files
from test_resume import RECIPE, Doubled, assert_same_run, noise, run

PLAIN = replace(
    RECIPE,
    architecture={**RECIPE.architecture, "hidden_dropout": 0.0, "classifier_dropout": 0.0},
    augmentation=None,
    max_grad_norm=None,
    epochs=1,
)
READER = Recipe(
    name="letters",
    kind="characters",
    architecture={"block_type": "residual", "num_hidden_layers": 2, "hidden_size": 8, "order": 3, "theta": 16},
    epochs=2,
    batch_size=4,
    eval_steps=1,
    averaging=0.9,
    max_grad_norm=1.0,
)


def resume_everywhere(folder: Path) -> None:
    """Stop after every step, go on, and compare."""
    for accumulation in (1, 4):
        recipe = replace(RECIPE, batch_size=2, accumulation=accumulation)
        whole = folder / f"whole{accumulation}"
        run(whole, recipe, checkpointing_steps=1, checkpoints=99)
        for checkpoint in sorted((whole / "checkpoints").iterdir()):
            again = folder / f"again{accumulation}-{checkpoint.name}"
            run(again, recipe, resume=checkpoint)
            if PartialState().is_main_process:
                assert_same_run(whole, again)


@contextmanager
def in_float64() -> Iterator[None]:
    """What is made within is made of float64."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def every_gradient() -> Iterator[dict[str, torch.Tensor]]:
    """The gradients of every step of what is trained meanwhile, in float64."""
    every: dict[str, torch.Tensor] = {}
    update = loop.Learner.update

    def noted(learner) -> None:
        step = len({name.split("/")[0] for name in every})
        every.update({f"{step}/{name}": p.grad.clone() for name, p in learner.plain.named_parameters()})
        update(learner)

    loop.Learner.update = noted
    try:
        with in_float64():
            yield every
    finally:
        loop.Learner.update = update


def gradients(folder: Path, batch_size: int, accumulation: int = 1) -> dict[str, torch.Tensor]:
    """Every step's gradients of a float64 model, in one run of an epoch."""
    with every_gradient() as every:
        task = replace(noise(), augmentation=None)
        task.evaluation_batch = 3
        torch.manual_seed(0)
        recipe = replace(PLAIN, batch_size=batch_size, accumulation=accumulation)
        model = task.make_model(recipe.architecture).double()
        train(model, recipe, Doubled(task), 3, folder, quiet=True)
    return every


def read_text(folder: Path, recipe: Recipe = READER, **how) -> RunRecord:
    """Train a language model on rows of 33 characters, of which two processes have 17 and 16."""
    draw = random.Random(0)
    texts = {split: ["".join(draw.choices("abcd ", k=k))] for split, k in (("train", 330), ("validation", 90))}
    torch.manual_seed(0)
    task = TextTask("letters", texts, sequence_length=32, tokenizer="char")
    model = task.make_model(recipe.architecture).to(torch.get_default_dtype())
    return train(model, recipe, task, 3, folder, quiet=True, **how)


def resume_parts(folder: Path) -> None:
    """Stop a run on parts of rows after every step, go on, and compare."""
    how = {"sequence_parallel": True, "checkpointing_steps": 1, "checkpoints": 99}
    recipe = replace(READER, architecture={**READER.architecture, "hidden_dropout": 0.2})
    read_text(folder / "whole", recipe, **how)
    for checkpoint in sorted((folder / "whole" / "checkpoints").iterdir()):
        again = folder / f"again-{checkpoint.name}"
        read_text(again, recipe, resume=checkpoint, **how)
        if PartialState().is_main_process:
            assert_same_run(folder / "whole", again)


class Noted(Windows):
    """Windows that note which of them each step of training reads, in a file that a kill leaves."""

    def note_in(self, path: Path, run: list[loop.Run]) -> None:
        self.path, self.run = path, run

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        if self.run:
            with self.path.open("a") as file:
                file.write(json.dumps([self.run[0].progress.step, indices]) + "\n")
        return super().__getitems__(indices)


def read_folder(folder: Path, texts: Path, batch_size: int, dies_at: int | None = None) -> None:
    """Train on a folder of text files, noting the rows of each step in ``rows-RANK``.

    Args:
        folder: of the run, which goes on if it is there.
        texts: the files.
        batch_size: rows a process.
        dies_at: the step before which the second process is killed.
    """
    torch.manual_seed(0)
    task = text_files({"train": texts}, tokenizer="char", sequence_length=16)
    rank, begun = PartialState().process_index, []
    rows = task.splits["train"] = Noted(task.encoded["train"].tokens, 16, drop_last=True)
    rows.note_in(folder.with_name(f"{folder.name}-rows-{rank}"), begun)
    step = loop.Run.step

    def noted(run, batches) -> None:
        if run.progress.step == dies_at and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        begun[:] = [run]
        step(run, batches)

    loop.Run.step = noted
    try:
        model, recipe = task.make_model(READER.architecture), replace(READER, batch_size=batch_size, eval_steps=9)
        train(model, recipe, task, 3, folder, quiet=True, resume=True, checkpointing_steps=4)
    finally:
        loop.Run.step = step


def run_eight(folder: Path, processes: int, **how) -> RunRecord:
    """Train on 8 rows at a time, however many processes read them, and save after each of 6 steps."""
    recipe = replace(PLAIN, epochs=2, batch_size=8 // processes, eval_steps=3, max_grad_norm=1.0)
    with in_float64():
        task = Doubled(replace(noise(), augmentation=None))
        torch.manual_seed(0)
        model = task.make_model(recipe.architecture).double()
        return train(model, recipe, task, 3, folder, quiet=True, checkpointing_steps=1, checkpoints=99, **how)


def diverge(folder: Path) -> None:
    """Have one process alone, the second, hold a weight that is not finite after the second step."""
    update = loop.Learner.update

    def spoilt(learner) -> None:
        update(learner)
        if learner.schedule.last_epoch == 2 and PartialState().process_index == 1:
            learner.parameters[0].view(-1)[0] = float("nan")

    loop.Learner.update = spoilt
    run(folder, RECIPE, checkpointing_steps=1)


def shard_on_cpus() -> None:
    """Have accelerate shard a model where it was asked to (FSDP2): on CPUs it ignores that by itself."""
    if parse_flag_from_env("ACCELERATE_USE_FSDP"):
        state = AcceleratorState()
        state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin()


def main() -> None:
    """Do what the first argument names, in the folder that the second names."""
    torch.set_num_threads(1)
    what, folder = sys.argv[1], Path(sys.argv[2])
    accelerator = Accelerator()
    shard_on_cpus()
    if what == "eight":
        resume = Path(sys.argv[3]) if len(sys.argv) > 3 else False
        run_eight(folder, accelerator.num_processes, resume=resume)
    elif what != "single":
        assert accelerator.num_processes == 2, accelerator.num_processes
    if what == "corpus":
        read_folder(folder, Path(sys.argv[3]), batch_size=2, dies_at=int(sys.argv[4]) if len(sys.argv) > 4 else None)
    elif what == "resume":
        resume_everywhere(folder)
    elif what == "gradients":
        made = gradients(folder, batch_size=2)
        if accelerator.is_main_process:
            save_file(made, folder / "gradients.safetensors")
    elif what == "parts":
        with every_gradient() as made:
            how = {"sequence_parallel": True, "checkpointing_steps": 2}
            read_text(folder / "parts", replace(READER, accumulation=2), **how)
        if accelerator.is_main_process:
            save_file(made, folder / "gradients.safetensors")
        resume_parts(folder)
    elif what == "diverge":
        diverge(folder)
    elif what == "muon":
        run(folder, replace(PLAIN, optimizer="muon", max_grad_norm=1.0), resume=True)
    elif what == "train":
        run(folder, replace(RECIPE, epochs=int(sys.argv[3])), resume=True, checkpointing_steps=3)
    print(f"rank {accelerator.process_index} is done; newest: {newest(folder / 'checkpoints')}", flush=True)


if __name__ == "__main__":
    main()
