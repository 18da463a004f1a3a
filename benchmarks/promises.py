"""Try what is promised, many times over, and write down how often each was tried and how often it failed.

    python benchmarks/promises.py                                   # every promise; hours on two cores
    python benchmarks/promises.py configs layouts --examples 200    # two of them, a minute
    python benchmarks/promises.py --list                            # their names, and what each promises

Each promise is a row of ``records/promises.json``, by its name: what is promised, how often it was tried, how often it
failed, the command that tries it again, and how and where that ran. A row is written as soon as its promise has been
tried; the other rows stay. ``report/results_table.py --write`` makes the table of docs/promised.md from them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

from endurance import Tried, long_stream, many_requests
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT, ScriptParser
from lmu_hf.common.record import current_commit, describe_hardware, installed_versions
from lmu_hf.common.staging import write_text
from served import many_clients

PROJECT = Path(__file__).resolve().parents[1]


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
    "server": Promise(
        "32 clients of two servers, some cancelled or killed in mid-stream, are answered as alone, in constant memory",
        many_clients,
    ),
    "ecosystem": Promise(
        "A saved folder is taken by TRL, transformers' exporters and server, OpenAI's client and remote code",
        tested("-m", "ecosystem"),
    ),
    "faults": Promise(
        "A verb that is killed, or whose disk is full, read-only or broken, leaves what was there, and runs again",
        tested("tests/test_faults.py", "tests/test_staging.py"),
    ),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Which promises are tried, and how often."""
    parser = ScriptParser(__doc__)
    parser.add_argument("promises", nargs="*", metavar="NAME", help="promises to try (default: every one)")
    parser.add_argument("--list", action="store_true", help="print the promises, and try none")
    parser.add_argument("--examples", type=COUNT, default=5000, help="of each property (default: %(default)s)")
    parser.add_argument("--steps", type=COUNT, default=10**7, help="of the stream (default: %(default)s)")
    parser.add_argument(
        "--requests", type=COUNT, default=10_000, help="to models and to servers (default: %(default)s)"
    )
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
