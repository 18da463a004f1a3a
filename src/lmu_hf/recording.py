"""A step of a network, recorded: the torch calls that it makes, without the Python around them.

One decoded token is a hundred small calls. Modules, checks and caches take about as long to find them as the calls
themselves take, and find the same ones at every step. A :class:`Recording` notes them once and makes them again on new
inputs, so the network stays the only definition of what is computed. It needs no compiler and no copy of the weights.
"""

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

READERS = {"item", "tolist", "numpy", "equal", "allclose", "is_nonzero"}
READERS |= {f"__{name}__" for name in ("array", "bool", "int", "float", "index", "contains")}
OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")
WRITERS = {"__setitem__"} | {f"__i{name}__" for name in OPERATORS}


class CannotRecordError(RuntimeError):
    """A function does something that making its torch calls again would not do again."""


class Recording:
    """The torch calls of a function of one tensor, as a flat list.

    Played back, they are made on the very tensors that the function reached (parameters, constants, memories), with a
    new input of the same shape in the place of the old. What Python decided on the way stays decided.

    Args:
        function: takes a tensor and returns one.
        example: what it is run on to be recorded.
        other: another input of the same shape, on which function and recording are then compared.
        state: the tensors that it writes to; they are left as they were.

    Raises:
        CannotRecordError: the function looks at the values of a tensor, or the recording does something else.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], example: Tensor, other: Tensor, state: Sequence[Tensor] = ()
    ) -> None:
        before = _copies(state)
        try:
            with _Tape() as tape:
                result = function(example)
            self._take(tape, example, result)
            between = _copies(state)
            expected = [function(other), *_copies(state)]
            _write(state, between)
            same = all(map(torch.equal, [self(other), *state], expected))
        finally:
            _write(state, before)
        if not same:
            raise CannotRecordError("what the function does is not all in the torch calls that could be recorded")

    def __call__(self, given: Tensor) -> Tensor:
        """What the function would return."""
        values = self._values.copy()
        values[0] = given
        for function, arguments, slot in self._calls:
            values[slot] = function(*arguments(values))
        return values[self._result]

    def __len__(self) -> int:
        """How many calls are made."""
        return len(self._calls)

    def _take(self, tape: "_Tape", example: Tensor, result: Tensor) -> None:
        self._values: list[Any] = [None]  # constants, and room for the input and for what calls return
        self._calls: list[tuple[Callable, Callable[[list], Sequence], int]] = []
        self._slots = {id(example): 0}  # of what changes from play to play; good as long as the tape holds the tensors
        for call in tape.calls:
            self._note(*call)
        self._result = self._slot(result)
        self._slots.clear()

    def _note(self, function: Callable, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        """Add a call, unless it only asked what a tensor is like, or handed one through."""
        name = getattr(function, "__name__", "")
        if name in READERS:
            raise CannotRecordError(f"the function looks at the values of a tensor, by {name}")
        parts = result if isinstance(result, tuple | list) else [result]
        known = {id(arg) for arg in args} | self._slots.keys()
        if not _writes(name, kwargs) and all(id(part) in known for part in parts if isinstance(part, Tensor)):
            return
        if any(id(value) in self._slots for value in kwargs.values()):
            function, args = _without_names(function, list(kwargs)), (*args, *kwargs.values())
        elif kwargs:
            function = partial(function, **kwargs)
        arguments = _getter([self._slot(arg) for arg in args])
        slot = self._new_slot(None)
        self._calls.append((function, arguments, slot))
        if isinstance(result, Tensor):
            self._slots.setdefault(id(result), slot)
        for k, part in enumerate(parts if parts is result else ()):
            if isinstance(part, Tensor):
                self._slots[id(part)] = self._new_slot(None)
                self._calls.append((itemgetter(k), _getter([slot]), self._slots[id(part)]))

    def _slot(self, value: Any) -> int:
        """Where an argument stands: a list of tensors is put together for each call, a constant stays where it is."""
        if id(value) in self._slots:
            return self._slots[id(value)]
        slot = self._new_slot(value)
        if isinstance(value, tuple | list) and any(id(part) in self._slots for part in value):
            gather = _tuple if isinstance(value, tuple) else _list
            self._calls.append((gather, _getter([self._slot(part) for part in value]), slot))
        return slot

    def _new_slot(self, value: Any) -> int:
        self._values.append(value)
        return len(self._values) - 1


class _Tape(TorchFunctionMode):
    """Notes every torch call with its arguments and its result, and keeps them alive."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable, tuple, dict[str, Any], Any]] = []

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, result))
        return result


def _writes(name: str, kwargs: dict[str, Any]) -> bool:
    """Whether a call changes an argument, by torch's way of naming: ``copy_``, ``__iadd__``, ``out=``."""
    in_place = name.endswith("_") and not name.startswith("__")
    return in_place or name in WRITERS or kwargs.get("out") is not None


def _copies(state: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.clone() for tensor in state]


def _write(state: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(state, values, strict=True):
        tensor.copy_(value)


def _getter(slots: list[int]) -> Callable[[list], Sequence]:
    """What picks a call's arguments out of all values, without any Python at play time."""
    if len(slots) > 1:
        return itemgetter(*slots)
    return itemgetter(slice(slots[0], slots[0] + 1) if slots else slice(0))


def _without_names(function: Callable, names: list[str]) -> Callable:
    """The function, with its last arguments given by place."""
    return lambda *values: function(*values[: -len(names)], **dict(zip(names, values[-len(names) :], strict=True)))


def _list(*parts: Any) -> list:
    return list(parts)


def _tuple(*parts: Any) -> tuple:
    return parts
