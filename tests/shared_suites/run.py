"""Run transformers' own shared test suites, of the release that is installed, on every class of the family.

The release's source distribution, in which they are, is downloaded by pip into build/shared_suites/ the first time.
Prints counts and every failure, writes them to a record, and ends with status 1 if there is a failure.

    python tests/shared_suites/run.py                                    # everything: some 240 cases of 170 tests
    python tests/shared_suites/run.py --select LMUForCausalLM --jobs 0   # one class, in this process
"""

import argparse
import json
import os
import platform
import sys
from collections import Counter
from pathlib import Path
from subprocess import CalledProcessError

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported: no test needs the Hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import source
import torch
import transformers

from lmu_hf import __version__

HERE = Path(__file__).resolve().parent
OUTCOMES = ("does not apply", "passed", "excused", "failed")  # of a test's phases, the last of these counts


class Outcomes:
    """A pytest plugin that keeps every test's outcome."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        self.excuses: Counter[str] = Counter()
        self.complaints: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called once for each phase of a test."""
        name = report.nodeid.split("::", 1)[-1]
        if report.failed:
            outcome = "failed"
            crash = getattr(report.longrepr, "reprcrash", None)
            self.complaints[name] = str(report.longrepr if crash is None else crash.message).split("\n")[0][:200]
            print(f"\n{name}: {self.complaints[name]}", flush=True)  # now: all of them together take long
        elif report.skipped:
            reason = getattr(report, "wasxfail", None)
            outcome = "does not apply" if reason is None else "excused"
            self.excuses.update([] if reason is None else [reason.removeprefix("reason: ")])
        elif report.when == "call":
            outcome = "passed"
        else:
            return
        self.of[name] = max(self.of.get(name, outcome), outcome, key=OUTCOMES.index)

    def record(self) -> dict:
        """What came out, and of what."""
        counts = Counter(self.of.values())
        return {
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "lmu_hf": __version__,
            "cases": len({name.split("::")[0] for name in self.of}),
            "counts": {outcome: counts[outcome] for outcome in OUTCOMES},
            "excuses": dict(sorted(self.excuses.items())),
            "failures": dict(sorted(self.complaints.items())),
        }


def main() -> int:
    """Run them; the status to exit with."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--select", default="", help="run only the tests that this names, as pytest's -k")
    parser.add_argument("--jobs", default="2", help="processes that run tests; 0: this one (default: 2)")
    parser.add_argument("--output", type=Path, default=source.FOLDER / "record.json", help="the record")
    arguments = parser.parse_args()
    try:
        source.fetch()
    except (CalledProcessError, OSError) as error:
        parser.exit(1, f"run.py: transformers' source distribution cannot be had: {error}\n")
    outcomes = Outcomes()
    options = ["--numprocesses", arguments.jobs, "--dist", "worksteal", "--tb", "short", "-k", arguments.select]
    status = pytest.main([str(HERE / "suites.py"), *options], plugins=[outcomes])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return int(status)  # nothing was run, or not all: no counts to keep
    record = outcomes.record()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in record["counts"].items())
    print(f"transformers {record['transformers']}, {record['cases']} cases: {counts}; see {arguments.output}")
    return int(record["counts"]["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
