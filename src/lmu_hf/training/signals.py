"""Being told to end: by a scheduler (SIGTERM) or by someone at the keyboard (SIGINT)."""

import signal
import threading
from pathlib import Path
from types import FrameType


class Interrupted(SystemExit):
    """A run was told to end, and has saved a checkpoint; ends the process with the shell's status for that signal.

    Args:
        number: the signal's; 0 if another process of the run was told.
        step: the run had come to.
        checkpoint: what it saved.
    """

    def __init__(self, number: int, step: int, checkpoint: Path) -> None:
        name = signal.Signals(number).name if number else "a signal to another process"
        super().__init__(f"{name} ended training after step {step}, which is saved in {checkpoint}")
        self.code = 128 + number  # SystemExit takes the message for its code, which is status 1


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
        if threading.current_thread() is threading.main_thread():  # signal.signal refuses others
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        # A note and no more: the loop looks at it after its step, so no tensor is left half written.
        if number == self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
