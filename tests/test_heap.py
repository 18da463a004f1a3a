"""Memory that training hands back to the system: when, and that the system gets it."""

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
    assert not heap.tidy()
    tensors = [torch.ones(16_000) for _ in range(4000)]  # 64 kB each, which the C library takes from its heap
    kept = tensors[::100]
    del tensors
    before = process.memory_info().rss
    assert heap.tidy()
    assert process.memory_info().rss < before - 150 * MEBIBYTE
    assert all(tensor.sum() == 16_000 for tensor in kept)
