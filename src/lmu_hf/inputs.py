"""What a call may be given: tensors, finite numbers, labels that there are. Complaints name an argument and a place."""

import math
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._subclasses import FakeTensor

IGNORED = -100  # a label where there is nothing to learn, in every head; Trainer counts all the others
STEPS = ("row", "step", "channel")  # axes of a signal
IMAGES = ("image", "channel", "row", "column")
PACKING = ("cu_seq_lens_q", "seq_idx")  # tensors that travel unnamed
MISSING = "mask the step (attention_mask 0) or fill the gap first, as a memory would spread it over every later step"
UNKNOWN = f"give {IGNORED} where there is nothing to learn"

P = ParamSpec("P")
R = TypeVar("R")


def takes_tensors(forward: Callable[P, R]) -> Callable[P, R]:
    """Let a forward complain by name about lists and arrays, where its signature says ``Tensor | None``.

    Raises:
        TypeError: from the wrapped forward, where an argument is neither a tensor nor None.
    """
    names = list(signature(forward).parameters)
    wanted = {name for name, each in signature(forward).parameters.items() if each.annotation == Tensor | None}
    wanted.update(PACKING)

    @wraps(forward)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if value is not None and name in wanted and not isinstance(value, Tensor):
                raise TypeError(
                    f"{name} must be a torch tensor, got {type(value).__name__}: torch.as_tensor makes one, and "
                    "tokenizers and processors do with return_tensors='pt'"
                )
        return forward(*args, **kwargs)

    return checked


def is_readable(x: Tensor) -> bool:
    """Whether a check may look at the numbers of x.

    Not off the CPU, where the host would wait for the device at every call; nor while a graph is traced or a
    ``torch.func`` transform runs, where there are no numbers yet.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return not isinstance(x, FakeTensor) and not torch._C._functorch.is_functorch_wrapped_tensor(x)


def check_finite(
    name: str, values: Tensor, axes: Sequence[str] = STEPS, real: Tensor | None = None, remedy: str = MISSING
) -> None:
    """Refuse NaN and infinities, except where nothing exists; only where :func:`is_readable`.

    Args:
        name: of the argument.
        values: (b, n, …) or any other shape.
        axes: what each axis counts.
        real: true where there is something, of the shape of ``values`` or of its first axes; None for everywhere.
        remedy: what to do about it.

    Raises:
        ValueError: a number is not finite; the first is named, and where it stands.
    """
    if not is_readable(values):
        return
    values = values.detach()
    if math.isfinite(values.sum()):  # the cheapest pass; a sum that is not may have overflowed, so only it is looked at
        return
    wrong = ~values.isfinite()
    if real is not None:
        wrong &= real.bool().view(*real.shape, *[1] * (values.ndim - real.ndim))
    if bool(wrong.any()):
        value, place = _first(values, wrong, axes)
        raise ValueError(f"{name} must be finite, got {value} at {place}: {remedy}")


def check_class_ids(labels: Tensor, classes: int, limit: str, axes: Sequence[str]) -> None:
    """Refuse what is not an id of a class, nor −100; their range only where :func:`is_readable`.

    Args:
        labels: of any shape.
        classes: how many there are.
        limit: the config's word for that.
        axes: what each axis of ``labels`` counts.

    Raises:
        TypeError: labels are not int64.
        ValueError: one is out of range.
    """
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64 class ids, got {labels.dtype}")
    check_range(labels, classes - 1, limit, axes)


def check_range(labels: Tensor, largest: int, limit: str, axes: Sequence[str]) -> None:
    """Refuse labels other than 0 … ``largest`` and −100, where :func:`is_readable`; arguments as above.

    Raises:
        ValueError: one is out of range; the first is named, and where it stands.
    """
    if not is_readable(labels):
        return
    wrong = ((labels < 0) & (labels != IGNORED)) | (labels > largest)
    if bool(wrong.any()):
        value, place = _first(labels, wrong, axes)
        raise ValueError(f"labels hold {value}, outside 0 … {largest} ({limit}), at {place}: {UNKNOWN}")


def _first(values: Tensor, wrong: Tensor, axes: Sequence[str]) -> tuple[str, str]:
    """The first of the wrong values, and where it stands."""
    place = wrong.nonzero()[0].tolist()
    value = values[tuple(place)].item()
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return shown, ", ".join(f"{axis} {at}" for axis, at in zip(axes, place, strict=False))
