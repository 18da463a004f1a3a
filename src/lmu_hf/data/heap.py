"""The gaps that freed tensors leave in the C library's heap, handed back to the system."""

import ctypes
import os
from collections.abc import Iterable, Iterator

import psutil

GROWTH = 2**30  # bytes


class Heap:
    """Hands back what is free in the heap, whenever the process has grown.

    Batches of ever other lengths need tensors of ever other sizes, and few fit into the gaps that earlier ones left:
    without this a process that needs two gigabytes may hold ten. Where there is no ``malloc_trim`` (that is glibc's),
    nothing is done; tensors on an accelerator are not in the heap.

    Args:
        growth: bytes by which the process must have grown since the step after it last handed back.
    """

    def __init__(self, growth: int = GROWTH) -> None:
        self.growth = growth
        self.process = psutil.Process()
        # CDLL(None) is this process itself, in which glibc has malloc_trim.
        self.trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
        self.level: int | None = None

    def tidy(self) -> bool:
        """Hand back what is free, if it is time; whether it was."""
        if self.trim is None:
            return False
        held = self.process.memory_info().rss
        if self.level is None:
            self.level = held
        if held <= self.level + self.growth:
            return False
        self.trim(0)  # 0 bytes are kept free at the top of the heap
        self.level = None
        return True

    def tidied(self, batches: Iterable) -> Iterator:
        """The same batches, with a look at the heap before each."""
        for batch in batches:
            self.tidy()
            yield batch
