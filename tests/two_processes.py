"""What `test_processes.py` has two gloo processes do; run by a launcher, never collected.

python -m torch.distributed.run --nproc_per_node 2 tests/two_processes.py WHAT FOLDER
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from safetensors.torch import save_file

from lmu_hf.training import loop
from lmu_hf.training.checkpoint import newest
from lmu_hf.training.loop import train
from test_resume import RECIPE, Doubled, assert_same_run, noise, run

PLAIN = replace(
    RECIPE,
    architecture={**RECIPE.architecture, "hidden_dropout": 0.0, "classifier_dropout": 0.0},
    augmentation=None,
    max_grad_norm=None,
    epochs=1,
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


def gradients(folder: Path, batch_size: int, accumulation: int = 1) -> dict[str, torch.Tensor]:
    """Every step's gradients of a float64 model, in one run of an epoch."""
    every: dict[str, torch.Tensor] = {}
    update = loop.Learner.update

    def noted(learner) -> None:
        step = len({name.split("/")[0] for name in every})
        every.update({f"{step}/{name}": p.grad.clone() for name, p in learner.plain.named_parameters()})
        update(learner)

    loop.Learner.update = noted
    torch.set_default_dtype(torch.float64)
    try:
        task = replace(noise(), augmentation=None)
        task.evaluation_batch = 3
        torch.manual_seed(0)
        recipe = replace(PLAIN, batch_size=batch_size, accumulation=accumulation)
        model = task.make_model(recipe.architecture).double()
        train(model, recipe, Doubled(task), 3, folder, quiet=True)
    finally:
        loop.Learner.update = update
        torch.set_default_dtype(torch.float32)
    return every


def diverge(folder: Path) -> None:
    """Have one process alone, the second, hold a weight that is not finite after the second step."""
    update = loop.Learner.update

    def spoilt(learner) -> None:
        update(learner)
        if learner.schedule.last_epoch == 2 and PartialState().process_index == 1:
            learner.parameters[0].view(-1)[0] = float("nan")

    loop.Learner.update = spoilt
    run(folder, RECIPE, checkpointing_steps=1)


def main() -> None:
    """Do what the first argument names, in the folder that the second names."""
    torch.set_num_threads(1)
    what, folder = sys.argv[1], Path(sys.argv[2])
    accelerator = Accelerator()
    if what != "single":
        assert accelerator.num_processes == 2, accelerator.num_processes
    if what == "resume":
        resume_everywhere(folder)
    elif what == "gradients":
        made = gradients(folder, batch_size=2)
        if accelerator.is_main_process:
            save_file(made, folder / "gradients.safetensors")
    elif what == "diverge":
        diverge(folder)
    elif what == "muon":
        run(folder, replace(PLAIN, optimizer="muon", max_grad_norm=1.0), resume=True)
    elif what == "train":
        run(folder, replace(RECIPE, epochs=int(sys.argv[3])), resume=True, checkpointing_steps=3)
    print(f"rank {accelerator.process_index} is done; newest: {newest(folder / 'checkpoints')}", flush=True)


if __name__ == "__main__":
    main()
