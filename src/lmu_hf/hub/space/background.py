"""The window of a memory, asked of a process beside that of the page.

The page needs gradio, the window needs torch, and each takes seconds to import: two processes import them at once.
"""

import atexit
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock

# The door of the command comes first, so that the package does not import transformers. An interrupt is for the page:
# when it ends, its pipe closes, and this process ends too.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import lmu_hf_cli; "
    "from lmu_hf.hub.space.window import answer_lines; answer_lines()"
)


@dataclass
class Window:
    """What a memory holds at one moment.

    Args:
        times: the time steps that it reaches back to, the newest first.
        decoded: the signal there, from the memory alone.
        error: root mean square of what is wrong, over the signal's deviation.
    """

    times: list[float]
    decoded: list[float]
    error: float


class WindowProcess:
    """A process that answers as :func:`~lmu_hf.hub.space.window.remembered` does, one question at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=pipe, stdout=pipe, encoding="utf-8")

    def remembered(self, signal: Sequence[float], theta: float, order: int, moment: int) -> Window:
        """The window that a memory of (θ, order) holds when it has read a signal up to a moment.

        Raises:
            RuntimeError: the process has ended.
        """
        assert self._process.stdin and self._process.stdout  # pipes, which mypy cannot know
        asked = {"signal": list(signal), "theta": theta, "order": order, "moment": moment}
        with self._lock:
            try:
                print(json.dumps(asked), file=self._process.stdin, flush=True)
                line = self._process.stdout.readline()
            except BrokenPipeError:
                line = ""
        if not line:
            raise RuntimeError(f"the process that computes the memory ended with {self._process.wait()}: start again")
        return Window(**json.loads(line))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@cache
def window_process() -> WindowProcess:
    """The process of this page, which the first call starts."""
    process = WindowProcess()
    atexit.register(process.close)
    return process
