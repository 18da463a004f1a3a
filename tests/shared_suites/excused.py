"""The tests of transformers' suites that ask for what a class does not have, each with the complaint that shows it.

An excused test must fail, and with its complaint: one that passes, or fails in another way, is counted as a failure.
"""

import functools
import re
import unittest
from collections.abc import Callable
from typing import NamedTuple

import pytest


class Excuse(NamedTuple):
    """A test, the cases (class and configuration) it is excused for and its complaint, as patterns, and why."""

    test: str
    cases: str
    complaint: str
    reason: str


EXCUSES: list[Excuse] = []


def excused(test: Callable, excuse: Excuse) -> Callable:
    """The test, which now has to fail with the complaint."""

    @functools.wraps(test)
    def run(self: unittest.TestCase) -> None:
        try:
            test(self)
        except unittest.SkipTest:
            raise
        except Exception as error:
            if not re.search(excuse.complaint, str(error)):
                raise
            pytest.xfail(excuse.reason)
        self.fail(f"passes, and need not be excused any more ({excuse.reason})")

    return run
