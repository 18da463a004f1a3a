"""Complaints about inputs that name the argument and say what to give."""

from collections.abc import Mapping

from torch import Tensor


def check_tensors(**given: object) -> None:
    """Complain about what is neither a tensor nor None.

    Raises:
        TypeError: there is something; the argument is named.
    """
    for name, value in given.items():
        if value is None or isinstance(value, Tensor):
            continue
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
    check_tensors(**given)
    for name, value in given.items():
        shape = tuple(value.shape) if isinstance(value, Tensor) else (1, 1)
        if len(shape) < 2:
            raise ValueError(f"{name} must be (batch, time), got {shape}: of a single sequence, give {name}[None]")
        if 0 in shape[:2]:
            raise ValueError(
                f"{name} must hold at least one sequence of at least one step, got {shape}: a prompt is at least one "
                "token, such as bos_token_id"
            )
