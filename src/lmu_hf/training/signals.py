"""Being told to end: by a scheduler (SIGTERM) or by someone at the keyboard (SIGINT)."""

import signal
import threading
from types import FrameType


class Interruption:
    """While this context is open, SIGTERM and SIGINT are noted in ``signal`` and end nothing by themselves.

    A second SIGINT ends the process at once (launchers repeat SIGTERM, and mean nothing by it). In a thread other than
    the main one, nothing changes.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
