"""Learning-rate schedules: those of transformers that need nothing but the numbers of steps."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a command checks its flags before it imports torch
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

# Those that every supported release of transformers has: they need not be tried.
COMMON = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial"),
    *("constant", "constant_with_warmup", "inverse_sqrt"),
)


@cache
def schedule_names() -> tuple[str, ...]:
    """The names of the schedules that can be made and stepped here, under the installed release of transformers.

    Tried rather than listed: some want arguments that a recipe does not have (a least learning rate, a length of the
    decay), or a score at every step.
    """
    from transformers import SchedulerType

    return tuple(kind.value for kind in SchedulerType if _works(kind.value))


def check_schedule(name: str) -> None:
    """Refuse a schedule that cannot be followed.

    Raises:
        ValueError: it is none of :func:`schedule_names`.
    """
    if name not in COMMON and name not in schedule_names():
        raise ValueError(f"--lr_scheduler_type must be one of {', '.join(schedule_names())}, got {name!r}")


def make_schedule(name: str, optimizer: "Optimizer", warmup_steps: int, steps: int) -> "LRScheduler":
    """The schedule of that name over a run's steps, of which the first ones warm up."""
    from transformers import get_scheduler

    check_schedule(name)
    return get_scheduler(name, optimizer, warmup_steps, steps)


def _works(name: str) -> bool:
    import torch
    from torch.optim.lr_scheduler import LRScheduler
    from transformers import get_scheduler

    # One parameter and three steps, one of them warm-up: what lacks an argument fails within them.
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    try:
        schedule = get_scheduler(name, optimizer, 1, 3)
        for _ in range(3):
            optimizer.step()
            schedule.step()
    except (TypeError, ValueError):  # how get_scheduler and step() say that an argument is missing
        return False
    # The average of weights and a resumed run count steps by it.
    return isinstance(schedule, LRScheduler) and schedule.last_epoch == 3
