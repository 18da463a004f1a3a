"""Run every benchmark and every test marked gpu on a CUDA device, one after another, and write their records.

    python benchmarks/run_gpu.py --records records/gpu

Each part has a time of its own, all together under 25 minutes. `summary.json` says of each part how it ended and how
long it took; one that ran out of its time, that failed, or that was never begun says so there, and has no record.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser
from lmu_hf.common.errors import InputError
from lmu_hf.common.record import publish

HERE = Path(__file__).parent
TRAINING = [*("--sizes", "2e6", "20e6"), *("--tokens", "32768"), *("--families", "LMU", "LSTM", "GPT-2")]
# A part's name, its minutes, and its command: a benchmark writes a record of its name.
PARTS: dict[str, tuple[float, list[str]]] = {
    "tests": (5, ["-m", "pytest", "-m", "gpu", "-n", "0", str(HERE.parent / "tests")]),
    "memory": (6, ["benchmark_memory.py", "--repeats", "3"]),
    "training": (4, ["benchmark_training.py", *TRAINING]),
    "training_compiled": (4, ["benchmark_training.py", *TRAINING, "--torch_compile"]),
    "generation": (3, ["benchmark_generation.py", "--positions", "1000", "--new_tokens", "32"]),
    "lengths": (2, ["benchmark_lengths.py"]),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Where the records go."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--records", type=Path, default=Path("records/gpu"), help="folder (default: %(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run (default: all)")
    return parser.parse_args(argv)


def run_part(name: str, folder: Path) -> dict[str, Any]:
    """How a part ended, and after how many seconds."""
    minutes, (first, *rest) = PARTS[name]
    words = [first, *rest] if first == "-m" else [str(HERE / first), *rest, "--output", str(folder / f"{name}.json")]
    start = time.perf_counter()
    try:
        done = subprocess.run([sys.executable, *words], timeout=60 * minutes, check=False)
    except subprocess.TimeoutExpired:
        ended = f"not measured: it took longer than its {minutes:g} minutes"
    else:
        ended = "measured" if done.returncode == 0 else f"failed with {done.returncode}"
    return {"part": name, "ended": ended, "seconds": round(time.perf_counter() - start, 1)}


@script
def main(argv: list[str] | None = None) -> dict:
    """Run the parts, and end with one line of JSON."""
    args = parse_args(argv)
    if not torch.cuda.is_available():
        raise InputError("this machine has no CUDA device: `make bench` measures its processor")
    args.records.mkdir(parents=True, exist_ok=True)
    parts = [run_part(name, args.records) if name in args.parts else _left_out(name) for name in PARTS]
    for part in parts:
        print(json.dumps(part), flush=True)
    return publish({"device": "cuda", "parts": parts}, args.records / "summary.json")


def _left_out(name: str) -> dict[str, Any]:
    return {"part": name, "ended": "not measured: it was left out by --parts", "seconds": 0.0}


if __name__ == "__main__":
    main()
