"""Try what is promised, many times over, and write down how often each was tried and how often it failed.

    python benchmarks/promises.py                                   # every promise; hours on two cores
    python benchmarks/promises.py configs layouts --examples 200    # two of them, a minute
    python benchmarks/promises.py --list                            # their names, and what each promises

Each promise is a row of ``records/promises.json``, by its name: what is promised, how often it was tried, how often it
failed, the command that tries it again, and how and where that ran. A row is written as soon as its promise has been
tried; the other rows stay. ``report/results_table.py --write`` makes the table of docs/promised.md from them.
"""

import argparse
import gc
import json
import random
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor
from transformers import DynamicCache

from lmu_hf import LegendreSystem, LMUConfig, LMUForCausalLM, LMUForSequenceClassification
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT, ScriptParser
from lmu_hf.common.record import current_commit, describe_hardware, installed_versions
from lmu_hf.common.staging import write_text
from lmu_hf.memory import memory_final

PROJECT = Path(__file__).resolve().parents[1]
WARM = 0.5  # of the work: threads have then met all lengths, and memory may grow no more
GROWTH = 8 * 2**20  # bytes that an allocator may add to a process without anything being kept


class Tried(NamedTuple):
    """How often a promise was tried, how often it was not kept, and what else was measured."""

    tried: int
    failures: int
    measured: dict[str, Any]


class Promise(NamedTuple):
    """What is promised, and what tries it."""

    promise: str
    attempt: Callable[[argparse.Namespace], Tried]


# --------------------------------------------------------------------------- properties and tests


def drawn(name: str) -> Callable[[argparse.Namespace], Tried]:
    """A property of tests/test_properties.py, over ``--examples`` examples."""

    def attempt(args: argparse.Namespace) -> Tried:
        sys.path.insert(0, str(PROJECT / "tests"))
        from hypothesis import HealthCheck, settings

        import test_properties

        test, calls = getattr(test_properties, name), 0
        inner = test.hypothesis.inner_test

        @wraps(inner)
        def counted(*words: Any, **named: Any) -> None:
            nonlocal calls
            calls += 1
            inner(*words, **named)

        test.hypothesis.inner_test = counted
        how = settings(
            max_examples=args.examples,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        try:
            how(test)()
        except Exception as error:  # an example that fails is what is counted here: it is printed, and in the row
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            return Tried(calls, 1, {"first failure": f"{type(error).__name__}: {error}"[:1000]})
        finally:
            test.hypothesis.inner_test = inner
        return Tried(calls, 0, {})

    return attempt


def tested(*words: str) -> Callable[[argparse.Namespace], Tried]:
    """The tests that these words of pytest's command line choose."""

    def attempt(args: argparse.Namespace) -> Tried:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.xml")
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *words]
            subprocess.run(command, cwd=PROJECT, check=False, stdout=subprocess.DEVNULL)
            suites = ElementTree.parse(report).getroot().findall("testsuite")
        tests, skipped, failed, errors = (
            sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "skipped", "failures", "errors")
        )
        return Tried(tests - skipped, failed + errors, {"skipped": skipped, "tests": list(words)})

    return attempt


# --------------------------------------------------------------------------- endurance


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


# --------------------------------------------------------------------------- what is promised

PROMISES = {
    "configs": Promise(
        "Any legal config makes a model that skips masked steps and goes on from any cut, to 1e-10 in float64",
        drawn("test_any_legal_model_skips_holes_and_goes_on_from_any_cut"),
    ),
    "layouts": Promise(
        "In any layout, masked or packed, each sequence is read as if alone, in float64 and float32",
        drawn("test_any_layout_holds_each_sequence_as_if_alone"),
    ),
    "inputs": Promise(
        "Malformed input to any head or pipeline gives a defined result or one error of one line",
        tested("tests/test_bad_inputs.py", "tests/test_bad_texts.py", "tests/test_checking.py"),
    ),
    "forms": Promise(
        "All forms of the memory agree with the loop to 1e-11 in float64, gradients too",
        tested("tests/test_memory.py", "-m", "not slow"),
    ),
    "stream": Promise(
        "A memory reads ten million steps (one try a step) in constant memory, and is right to 1e-4 in float32",
        long_stream,
    ),
    "requests": Promise(
        "Requests of mixed kinds by 8 threads to two models are answered as alone, in constant memory",
        many_requests,
    ),
    "ecosystem": Promise(
        "A saved folder is taken by TRL, transformers' exporters and server, OpenAI's client and remote code",
        tested("-m", "ecosystem"),
    ),
    "faults": Promise(
        "A labelling that is killed at any write leaves whole files, and runs again",
        tested("tests/test_faults.py"),
    ),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Which promises are tried, and how often."""
    parser = ScriptParser(__doc__)
    parser.add_argument("promises", nargs="*", metavar="NAME", help="promises to try (default: every one)")
    parser.add_argument("--list", action="store_true", help="print the promises, and try none")
    parser.add_argument("--examples", type=COUNT, default=5000, help="of each property (default: %(default)s)")
    parser.add_argument("--steps", type=COUNT, default=10**7, help="of the stream (default: %(default)s)")
    parser.add_argument("--requests", type=COUNT, default=10_000, help="by 8 threads (default: %(default)s)")
    path = PROJECT / "records" / "promises.json"
    parser.add_argument("--output", type=Path, default=path, help="file for the rows (default: records/promises.json)")
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.promises) - set(PROMISES)):
        parser.error(f"no promise is called {unknown[0]}: choose from {', '.join(PROMISES)}")
    return args


@script
def main(argv: list[str] | None = None) -> None:
    """Try each promise, and write its row."""
    args = parse_args(argv)
    for name in args.promises or PROMISES:
        promise = PROMISES[name]
        if args.list:
            print(f"{name:<10} {promise.promise}")
            continue
        start = time.perf_counter()
        found = promise.attempt(args)
        row = {
            **{"promise": promise.promise, "tried": found.tried, "failures": found.failures},
            **{"command": f"python benchmarks/promises.py {name}", "measured": found.measured},
            **{"seconds": round(time.perf_counter() - start, 1), "commit": current_commit()},
            **{"hardware": describe_hardware(), "versions": installed_versions()},
        }
        rows = json.loads(args.output.read_text(encoding="utf-8")) if args.output.exists() else {}
        rows[name] = row
        # In the order of the promises, whenever each was tried.
        ordered = {key: rows[key] for key in PROMISES if key in rows}
        write_text(args.output, json.dumps(ordered, indent=2) + "\n")
        print(f"{name}: tried {found.tried:,} times, {found.failures} failures", flush=True)


if __name__ == "__main__":
    main()
