"""The C library's heap in training: large tensors take each other's place, and what is left over goes back."""

import ctypes
import os
from collections.abc import Iterable, Iterator
from typing import Any

import psutil

GROWTH = 2**30  # bytes
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
LARGEST = 2**31 - 1


class Heap:
    """Keeps what freed tensors leave for the next ones, and hands it back whenever the process has grown.

    By itself glibc maps each large tensor anew, and the system clears its pages: of a language model's step of 2.0 s on
    two cores that was 0.6 s (docs/log.md). With a heap, tensors of any size lie in it. Batches of ever other lengths
    need tensors of ever other sizes, though, and few fit into the gaps that earlier ones left: a process that needs two
    gigabytes might come to hold ten, if the gaps did not go back to the system.

    Where the C library is another than glibc, nothing is done, nor with tensors on an accelerator. Whoever sets glibc's
    allocator by the environment (``MALLOC_…``, ``GLIBC_TUNABLES``) is left their setting.

    Args:
        growth: bytes by which the process must have grown since the step after it last handed back.
    """

    def __init__(self, growth: int = GROWTH) -> None:
        self.growth = growth
        self.process = psutil.Process()
        # CDLL(None) is this process itself, in which glibc has malloc_trim.
        library: Any = ctypes.CDLL(None) if os.name == "posix" else None
        self.trim = getattr(library, "malloc_trim", None)
        self.level: int | None = None
        if self.trim is not None and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
            library.mallopt(M_MMAP_MAX, 0)
            library.mallopt(M_TRIM_THRESHOLD, LARGEST)

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
