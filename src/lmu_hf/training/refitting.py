"""Training again on all rows, those that were held out too, once they have chosen what they were held out for."""

import time
from typing import TYPE_CHECKING

from accelerate.utils import set_seed
from torch import Tensor
from tqdm.auto import tqdm

from ..data.batches import training_batches
from .tasks.base import Task

if TYPE_CHECKING:
    from .loop import Run


def refit(run: "Run", whole: Task) -> dict[str, Tensor]:
    """The weights of a second model, trained on all rows from where the first one began, for as many epochs.

    It is never scored on the way. What no gradient changes (votes, their balance, the scale of numbers) stays as it is
    now. If the process ends meanwhile, a resumed run comes here again by its last checkpoint, and draws the same.

    Args:
        run: at its end, with the chosen weights.
        whole: its task with all rows.
    """
    began, plain = time.perf_counter(), run.learner.plain
    model = type(plain)(plain.config)
    for again, first in zip(model.parameters(), plain.parameters(), strict=True):
        again.requires_grad_(first.requires_grad)
    trained = {name for name, parameter in plain.named_parameters() if parameter.requires_grad}
    kept = {name: weight for name, weight in run.learner.weights().items() if name not in trained}
    set_seed(run.record.seed, device_specific=True)
    second = type(run)(run.accelerator, model, run.recipe, whole, run.record, run.folder, run.running)
    second.learner.set_weights(run.fresh | kept)
    steps = max(1, round(run.progress.best_step * second.rows.steps_per_epoch / run.rows.steps_per_epoch))
    second.learner.end_at(steps)
    if run.record.torch_compile:
        model.compile(dynamic=False)
    batches = training_batches(second.rows, 0, run.running.workers)
    quiet = run.running.quiet or not run.accelerator.is_main_process
    for _ in tqdm(range(steps), unit="step", disable=quiet, desc=f"{run.record.title}, all rows"):
        second.step(batches)
        second.heap.tidy()
    with second.learner.averaged():
        weights = second.learner.weights()
    run.progress.seconds += time.perf_counter() - began
    return weights
