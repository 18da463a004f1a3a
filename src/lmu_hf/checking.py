"""Complaints about inputs and labels that name the argument and its place, and say what to give."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch._subclasses import FakeTensor

IGNORED = -100  # a label where there is nothing to learn, in every head; Trainer counts all the others
STEPS = ("row", "step", "channel")  # axes of a signal
IMAGES = ("image", "channel", "row", "column")
MISSING = "mask the step (attention_mask 0) or fill the gap first, as a memory would spread it over every later step"
UNKNOWN = f"give {IGNORED} where there is nothing to learn"


def check_tensors(**given: object) -> None:
    """Complain about what is neither a tensor nor None.

    Raises:
        TypeError: there is something; the argument is named.
    """
    for name, value in given.items():
        if value is None or isinstance(value, Tensor):
            continue
        # A tokenizer's BatchEncoding is one: the usual slip is model(batch) for model(**batch).
        if isinstance(value, Mapping):
            raise TypeError(
                f"{name} must be a tensor, got {type(value).__name__}: give what it holds by name, as **{name}"
            )
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}: give torch.as_tensor({name})")


def check_steps(**given: object) -> None:
    """Complain about what is neither a tensor (batch, time, …) of at least one sequence of at least one step nor None.

    Raises:
        TypeError: something is no tensor; the argument is named.
        ValueError: its shape is another.
    """
    for name, value in given.items():
        if value is None:
            continue
        if not isinstance(value, Tensor):
            check_tensors(**{name: value})
        shape = tuple(value.shape)  # type: ignore[attr-defined]
        if len(shape) < 2:
            raise ValueError(f"{name} must be (batch, time), got {shape}: of a single sequence, give {name}[None]")
        if 0 in shape[:2]:
            raise ValueError(
                f"{name} must hold at least one sequence of at least one step, got {shape}: a prompt is at least one "
                "token, such as bos_token_id"
            )


def refuse_packing(given: dict[str, object]) -> None:
    """Complain about packed sequences given to a model that reads one sequence a row.

    Raises:
        ValueError: arguments of that kind are given.
    """
    for name in ("position_ids", "cu_seq_lens_q", "seq_idx"):
        if given.get(name) is not None:
            raise ValueError(f"{name} describes sequences packed in a row; this model reads one sequence a row")


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
        # A mask (b, n) against values (b, n, …): axes of size 1 stand for those that it lacks.
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
        TypeError: labels are no tensor of int64.
        ValueError: one is out of range.
    """
    if not isinstance(labels, Tensor):
        check_tensors(labels=labels)
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
    # strict=False: values may have fewer axes than there are names, as labels (b,) do.
    return shown, ", ".join(f"{axis} {at}" for axis, at in zip(axes, place, strict=False))
