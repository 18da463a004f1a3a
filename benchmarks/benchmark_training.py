"""Time training beside transformers' Mamba and GPT-2 and a torch LSTM of equal size, in one run.

    python benchmarks/benchmark_training.py                      # an hour on two cores
    python benchmarks/benchmark_training.py --sizes 0.8e6 --lengths 64 --tokens 128   # half a minute

Every model is a causal language model with a vocabulary of 256 and within 10 % the same number of parameters outside
its embeddings and its head; LMU, GPT-2 and LSTM have equal depth, Mamba twice as many of its half-sized blocks. Timed
is a whole step of training: forward, loss, backward and AdamW, over about --tokens characters a step. Products are in
float32, made for all models by the machine's fastest exact route (LMU_HF_MATMUL=torch: by torch's own), and in bf16. On
a CPU Mamba's plain scan reads and writes its states anew for every character of a sequence, so that a batch saves it
nothing: it gets one sequence a step there. Times are medians over rounds in which each model has its turn, so that a
noisy machine is noisy for all. A model whose first step takes longer than --patience has that one step for its time,
and a Mamba whose step would take longer than --max_seconds, going by the last length, is left out. The last line is
everything as one line of JSON. A CUDA device is used if there is one.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT, POSITIVE, ScriptParser, output_file
from lmu_hf.common.products import describe, fast_products
from lmu_hf.common.record import publish
from peers import VOCABULARY, add_sizes, body_size, build, reason_against

FAMILIES = ("LMU", "LSTM", "GPT-2", "Mamba")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """What is measured, and how often."""
    parser = ScriptParser(__doc__)
    add_sizes(parser)
    parser.add_argument(
        "--lengths",
        type=COUNT,
        nargs="+",
        default=[256, 1024, 4096],
        help="lengths of a sequence in characters (default: %(default)s)",
    )
    parser.add_argument(
        "--tokens",
        type=COUNT,
        default=4096,
        help="characters of a batch, which has at least one sequence (default: %(default)s)",
    )
    parser.add_argument(
        "--repeats", type=COUNT, default=5, help="rounds, each model once in each (default: %(default)s)"
    )
    parser.add_argument(
        "--patience",
        type=POSITIVE,
        default=30.0,
        help="seconds of a step beyond which it is taken only once (default: %(default)s)",
    )
    parser.add_argument(
        "--max_seconds",
        type=POSITIVE,
        default=300.0,
        help="seconds of a step beyond which it is not taken at all (default: %(default)s)",
    )
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=("float32", "bf16"),
        default=["float32", "bf16"],
        help="of products: float32, or bfloat16 by torch's autocast (default: %(default)s)",
    )
    parser.add_argument(
        "--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), help="models to time (default: all)"
    )
    parser.add_argument(
        "--torch_compile", action="store_true", help="compile all models but Mamba, whose scan it would unroll"
    )
    parser.add_argument("--output", type=output_file, help="file for the line of JSON (default: it is only printed)")
    return parser.parse_args(argv)


def trainer(model: Any, ids: torch.Tensor, precision: str, compile_it: bool) -> Callable[[], float]:
    """A step of training, which returns the seconds that it took."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    model.train()
    if hasattr(model, "config"):
        model.config.use_cache = False
    called = torch.compile(model, dynamic=False) if compile_it else model

    def step() -> float:
        start = time.perf_counter()
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=precision == "bf16"):
            out = called(ids)
        logits = out if isinstance(out, torch.Tensor) else out.logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # waits for the device
        if ids.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return step


def measure(steps: dict[str, Callable[[], float]], repeats: int, patience: float) -> dict[str, list[float]]:
    """The seconds of each model's steps; the first warms up, unless it is too slow to be taken again."""
    first = {name: step() for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [seconds] if seconds > patience else [] for name, seconds in first.items()}
    for _ in range(repeats):
        for name, step in steps.items():
            if first[name] <= patience:
                times[name].append(step())
    return times


def cells(args: argparse.Namespace, device: torch.device, precision: str) -> Iterator[dict]:
    """A row for each size, length and model."""
    for size in args.sizes:
        models = {name: build(name, size, max(args.lengths)).to(device) for name in args.families}
        per_square: dict[str, float] = {}  # the seconds of the last length's step, by its length squared
        for length in sorted(args.lengths):
            cell = {"size": size, "length": length, "precision": precision, "compiled": args.torch_compile}
            batches = {name: max(args.tokens // length, 1) for name in args.families}
            if device.type == "cpu" and "Mamba" in batches:
                batches["Mamba"] = 1
            steps = {}
            for name, model in models.items():
                why = reason_against(model, batches[name], length, training=True)
                if name == "Mamba" and (expected := per_square.get(name, 0.0) * length**2) > args.max_seconds:
                    why = f"a step would take about {expected:.0f} s, its time growing with the square of the length"
                if why:
                    yield {**cell, "skipped": f"{name}: {why}"}
                else:
                    ids = torch.randint(VOCABULARY, (batches[name], length), device=device)
                    steps[name] = trainer(model, ids, precision, args.torch_compile and name != "Mamba")
            times = measure(steps, args.repeats, args.patience)
            speeds = {name: batches[name] * length / statistics.median(taken) for name, taken in times.items()}
            for name, speed in speeds.items():
                per_square[name] = batches[name] / length / speed
                yield {
                    **cell,
                    "batch": batches[name],
                    "model": name,
                    "parameters": body_size(models[name]),
                    "characters_per_second": speed,
                    "lmu_ratio": speeds["LMU"] / speed if "LMU" in speeds else None,
                    "steps": len(times[name]),
                }


def show(row: dict) -> None:
    """Print a row of the table."""
    start = f"{row['size'] / 1e6:>5.3g}M{row['length']:>7}  {row['precision']:<8} "
    if "skipped" in row:
        print(f"{start}not measured: {row['skipped']}", flush=True)
        return
    ratio = "" if row["lmu_ratio"] is None else f"{row['lmu_ratio']:.2f}"
    numbers = f"{row['batch']:>6}{row['parameters']:>12,}{row['characters_per_second']:>14,.0f}{ratio:>10}"
    print(f"{start}{row['model']:<6}{numbers}", flush=True)


@script
@fast_products()
def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table, and end with one line of JSON."""
    args = parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    names = f"{'size':>6}{'length':>7}  {'products':<8} {'model':<6}"
    print(f"{names}{'batch':>6}{'parameters':>12}{'characters/s':>14}{'LMU, x':>10}")
    rows = []
    for precision in args.precisions:
        for row in cells(args, device, precision):
            show(row)
            rows.append(row)
    return publish({"device": device.type, "products": describe(), "tokens": args.tokens, "rows": rows}, args.output)


if __name__ == "__main__":
    main()
