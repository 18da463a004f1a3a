"""How a script fails: what was to be expected in one line, a slip of the program's own with its traceback."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from ..common.errors import is_expected, one_line

DEBUG = "LMU_DEBUG"  # this environment variable, set, asks for the traceback of every failure

P = ParamSpec("P")
R = TypeVar("R")


def script(main: Callable[P, R]) -> Callable[P, R]:
    """Have a script's ``main`` end with one line on standard error where it fails as it may be expected to.

    The exit status is then 1, or 130 after Ctrl-C. With ``LMU_DEBUG=1`` in the environment every failure has its
    traceback.
    """

    @functools.wraps(main)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return main(*args, **kwargs)
        except KeyboardInterrupt:
            if os.environ.get(DEBUG):
                raise
            print(f"{_name()}: interrupted", file=sys.stderr)
            raise SystemExit(130) from None  # 128 + SIGINT, as shells count
        except BrokenPipeError:  # whoever read the output has read enough
            # Python flushes stdout once more at its end, and would fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        except Exception as error:
            if os.environ.get(DEBUG) or not is_expected(error):
                raise
            raise SystemExit(f"{_name()}: error: {one_line(error)}") from error

    return guarded


def _name() -> str:
    return Path(sys.argv[0]).name
