"""Endurance: one memory that reads millions of steps, and models that answer thousands of requests by many threads."""

import argparse
import gc
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor
from transformers import DynamicCache

from lmu_hf import LegendreSystem, LMUConfig, LMUForCausalLM, LMUForSequenceClassification
from lmu_hf.memory import memory_final

WARM = 0.5  # of the work: threads have then met all lengths, and memory may grow no more
GROWTH = 8 * 2**20  # bytes that an allocator may add to a process without anything being kept


class Tried(NamedTuple):
    """How often a promise was tried, how often it was not kept, and what else was measured."""

    tried: int
    failures: int
    measured: dict[str, Any]


def resident() -> int:
    """Bytes that this process holds, once what nobody holds is gone."""
    gc.collect()
    return psutil.Process().memory_info().rss


@torch.inference_mode()
def long_stream(args: argparse.Namespace) -> Tried:
    """One memory reads ``--steps`` steps in pieces; at each of 100 stops it is what its last steps alone leave.

    A memory forgets: what stood 40 windows ago is below the rounding of float32. So a memory that began from nothing
    there, in float64, is the right value, however long the stream before it.
    """
    order, theta, piece = 32, 250.0, 10_000
    system, generator = LegendreSystem(order, theta), torch.Generator().manual_seed(0)
    pieces = args.steps // piece
    memory: Tensor | None = None
    warm, worst, failures, stops = 0, 0.0, 0, 0
    for number in range(1, pieces + 1):
        u = torch.randn(1, piece, 1, generator=generator)
        _, memory = memory_final(u, system, memory)
        if number == max(1, int(pieces * WARM)):
            warm = resident()
        if number % max(1, pieces // 100) == 0:
            expected = memory_final(u.double(), system)[1]
            error = ((memory - expected).norm() / expected.norm()).item()
            worst, stops = max(worst, error), stops + 1
            failures += error > 1e-4
    grown = resident() - warm
    measured = {
        **{"steps": pieces * piece, "stops": stops, "largest relative error": worst, "bytes grown": grown},
        **{"order": order, "theta": theta},
    }
    return Tried(pieces * piece, failures + (grown > GROWTH), measured)


def small(head: type, **fields: Any) -> Any:
    """A model of a few thousand drawn numbers."""
    torch.manual_seed(0)
    return head(LMUConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, order=4, theta=20.0, **fields)).eval()


@torch.inference_mode()
def many_requests(args: argparse.Namespace) -> Tried:
    """``--requests`` of mixed kinds and lengths to two models, by 8 threads; each answer is the one given alone."""
    writer, classifier = small(LMUForCausalLM, eos_token_id=None, pad_token_id=0), small(LMUForSequenceClassification)
    draw = random.Random(0)
    kinds = ["classify", "continue", "stream", "batch"]
    different = [(draw.choice(kinds), draw.randint(1, 120), seed) for seed in range(64)]

    @torch.inference_mode()
    def answer(request: tuple[str, int, int]) -> Tensor:
        kind, length, seed = request
        ids = torch.randint(1, 50, (3, length), generator=torch.Generator().manual_seed(seed))
        if kind == "classify":
            return classifier(ids[:1]).logits
        if kind == "batch":
            mask = torch.ones_like(ids)
            mask[1, : length // 2] = 0
            return classifier(ids, attention_mask=mask).logits
        if kind == "continue":
            return writer.generate(ids[:1], max_new_tokens=5, do_sample=False)
        cache, logits = DynamicCache(config=writer.config), []
        for part in ids[:1].split(7, dim=1):
            logits.append(writer(part, past_key_values=cache, use_cache=True).logits[:, -1])
        return torch.stack(logits)

    expected = {request: answer(request) for request in different}
    asked = [draw.choice(different) for _ in range(args.requests)]
    cut = max(1, int(len(asked) * WARM))
    with ThreadPoolExecutor(8) as threads:

        def is_right(request: tuple[str, int, int]) -> bool:
            return torch.equal(answer(request), expected[request])

        right = sum(threads.map(is_right, asked[:cut]))
        warm = resident()
        right += sum(threads.map(is_right, asked[cut:]))
        grown = resident() - warm
    failures = len(asked) - right + (grown > GROWTH)
    return Tried(len(asked), failures, {"threads": 8, "models": 2, "kinds": kinds, "bytes grown": grown})
