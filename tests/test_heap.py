"""Memory that training hands back to the system: when, and that the system gets it."""

import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch

from lmu_hf.data.heap import Heap

MEBIBYTE = 2**20


@pytest.fixture
def scripted() -> Heap:
    """A heap of a process whose memory a test decides, and that counts how often it was trimmed."""
    heap = Heap(growth=100)
    heap.trimmed = 0
    heap.held = 0

    def trim(_: int) -> None:
        heap.trimmed += 1

    heap.trim = trim
    heap.process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=heap.held))
    return heap


def test_the_heap_is_trimmed_once_the_process_has_grown(scripted):
    tidied = []
    for scripted.held in (1000, 1100, 900, 1101, 300, 400, 401):
        tidied.append(scripted.tidy())
    assert tidied == [False, False, False, True, False, False, True]
    assert scripted.trimmed == 2


def test_the_heap_is_checked_before_each_batch(scripted):
    def batches():
        for scripted.held in (1000, 1101, 500):
            yield scripted.held

    assert list(scripted.tidied(batches())) == [1000, 1101, 500]
    assert scripted.trimmed == 1


def test_a_platform_without_malloc_trim_is_left_alone(scripted):
    scripted.trim = None
    for scripted.held in (0, 10**12):
        assert not scripted.tidy()


@pytest.mark.skipif(Heap().trim is None, reason="the C library has no malloc_trim")
def test_freed_memory_between_tensors_goes_back_to_the_system():
    heap, process = Heap(growth=100 * MEBIBYTE), psutil.Process()
    heap.trim(0)  # what earlier tests have left would do for the tensors below
    assert not heap.tidy()
    tensors = [torch.ones(16_000) for _ in range(4000)]  # 64 kB each, which the C library takes from its heap
    kept = tensors[::100]
    del tensors
    before = process.memory_info().rss
    assert heap.tidy()
    assert process.memory_info().rss < before - 150 * MEBIBYTE
    assert all(tensor.sum() == 16_000 for tensor in kept)


FAULTS = """
import resource, sys, torch
from lmu_hf.data.heap import Heap
if sys.argv[1] == "heap":
    Heap()
torch.empty(2**24).zero_()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.empty(2**24).zero_()  # 64 MiB each
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, **environment: str) -> int:
    """How many pages the system has cleared for a large tensor that is made and freed twenty times."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    command = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(command, env=own | environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(Heap().trim is None, reason="the C library has no malloc_trim")
def test_a_large_tensor_takes_the_place_of_the_one_before():
    assert 5 * faults("heap") < faults("none")


@pytest.mark.skipif(Heap().trim is None, reason="the C library has no malloc_trim")
def test_who_sets_the_allocator_by_the_environment_is_left_the_setting():
    assert faults("heap", MALLOC_MMAP_THRESHOLD_="1048576") > 5 * faults("heap")
