"""Time a language model by the length of its text: what a token costs, and what memory is needed, from 2^10 to 2^20.

    python benchmarks/benchmark_lengths.py                            # a quarter of an hour on two cores
    python benchmarks/benchmark_lengths.py --lengths 1024 4096 --size 0.8e6   # a minute

One sequence is read twice. **Reading** goes in pieces, as a prompt is read: memories carry what came before, so that
what is needed should not grow with the length. **Training** is a step forward and backward over the whole sequence,
which keeps what its backward pass needs; where that would be more than --memory, going by the length before, the cell
says so and is not measured. Times are the least of --repeats. The last line is everything as one line of JSON.
"""

import argparse
import time
from typing import Any

import psutil
import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from benchmark_memory import LiveBytes
from lmu_hf.cache_lmu import piece_length
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT, POSITIVE, ScriptParser, output_file
from lmu_hf.common.products import describe, fast_products
from lmu_hf.common.record import publish
from peers import VOCABULARY, body_size, build


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """What is measured, and how often."""
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "--lengths",
        type=COUNT,
        nargs="+",
        default=[2**k for k in range(10, 21, 2)],
        help="tokens of the sequence (default: 2^10, 2^12 and so on to 2^20)",
    )
    text = "parameters of the model outside its embeddings and its head (default: %(default)s)"
    parser.add_argument("--size", type=POSITIVE, default=2e6, help=text)
    parser.add_argument("--repeats", type=COUNT, default=2, help="times that each is measured (default: %(default)s)")
    text = "bytes that a training step may need (default: a third of the machine's memory)"
    parser.add_argument("--memory", type=POSITIVE, default=psutil.virtual_memory().total / 3, help=text)
    parser.add_argument("--output", type=output_file, help="file for the line of JSON (default: it is only printed)")
    return parser.parse_args(argv)


def waited(start: float, device: torch.device) -> float:
    """Seconds since a start, the device being done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@torch.inference_mode()
def read(model: Any, ids: torch.Tensor) -> None:
    """A sequence in pieces, as a prompt is read."""
    cache = DynamicCache(config=model.config)
    for piece in ids.split(piece_length(ids), dim=1):
        model(piece, past_key_values=cache, use_cache=True, logits_to_keep=1)


def train_step(model: Any, ids: torch.Tensor) -> None:
    """Forward, loss and backward over a whole sequence."""
    logits = model(ids, use_cache=False).logits
    cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    model.zero_grad(set_to_none=True)


def cell(model: Any, length: int, way: str, repeats: int, device: torch.device) -> dict:
    """What a token costs at a length, and the most bytes that tensors held at once beside the weights."""
    ids = torch.randint(1, VOCABULARY, (1, length), device=device)
    call = {"reading": read, "training": train_step}[way]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call(model, ids)
        peak = torch.cuda.max_memory_allocated() - before
    else:
        with LiveBytes() as live:
            call(model, ids)
        peak = live.peak
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call(model, ids)
        times.append(waited(start, device))
    seconds = min(times)
    return {"length": length, "way": way, "seconds": seconds, "token_microseconds": 1e6 * seconds / length} | {
        "peak_bytes": peak
    }


@script
@fast_products()
def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table, and end with one line of JSON."""
    args = parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, rows = build("LMU", args.size, max(args.lengths)).to(device), []
    print(f"{'length':>9}  {'way':<9}{'us a token':>11}{'peak MiB':>10}")
    for way in ("reading", "training"):
        model.train(way == "training")
        per_token = 0.0
        for length in sorted(args.lengths):
            if way == "training" and per_token * length > args.memory:
                needed = f"would need about {per_token * length / 2**30:.0f} GiB, over --memory"
                rows.append({"length": length, "way": way, "skipped": needed})
                print(f"{length:>9}  {way:<9}not measured: {needed}", flush=True)
                continue
            row = cell(model, length, way, args.repeats, device)
            per_token = row["peak_bytes"] / length
            rows.append(row)
            numbers = f"{row['token_microseconds']:>11.2f}{row['peak_bytes'] / 2**20:>10.0f}"
            print(f"{length:>9}  {way:<9}{numbers}", flush=True)
    result = {"device": device.type, "products": describe(), "parameters": body_size(model), "rows": rows}
    return publish(result, args.output)


if __name__ == "__main__":
    main()
