"""What the main process of a run does, so that the others learn how it went."""

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def on_main(call: Callable[[], T]) -> T:
    """What a call gives on the main process, where alone it is made, on every process; or the error that it raises.

    Without the error the others would wait for a process that has ended.
    """
    outcome: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            outcome[0] = call()
        except Exception as error:  # handed on below, on every process
            outcome[1] = error
    # On one process this does nothing. What is sent is pickled, so results must be small and plain.
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
