"""Time generation beside transformers' Mamba and GPT-2 and a torch LSTM of equal size, in one run.

    python benchmarks/benchmark_generation.py                     # about ten minutes on two cores
    python benchmarks/benchmark_generation.py --sizes 0.8e6 --batch_sizes 1 --prompts 16 --positions 200   # a minute

Every model has random weights, a vocabulary of 256, and within 10 % the same number of parameters outside its
embeddings and its head. LMU, GPT-2 and LSTM have equal depth. Mamba runs twice: with twice as many of its blocks, for
each is half a block of the others (mamba-130m has 24 where GPT-2 has 12), and, called shallow, with as many. A row's
prefill is the time to the first new token, its tokens per second follow from the time between further ones. LMU, Mamba
and GPT-2 run through transformers' `generate`; the LMU also through its `stream`, and the LSTM through a plain loop,
which do nothing but step and take the likeliest token. The LMU
runs with bfloat16 and int8 weights, too (--weights). Times are medians over rounds in which each model has its turn,
so that a noisy machine is noisy for all. Then one LMU streams up to --positions tokens, to show whether a token's time
or the process's memory grows. The last line is everything as one line of JSON. A CUDA device is used if there is one.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.generation.streamers import BaseStreamer

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import AMOUNT, COUNT, POSITIVE, ScriptParser, number, output_file
from lmu_hf.common.record import publish
from lmu_hf.recording import TokenStep
from peers import FAMILIES, VOCABULARY, add_sizes, body_size, build, reason_against

MODELS = ("LMU, stream", "LMU, generate", "Mamba, generate", "Mamba shallow, generate", "GPT-2, generate", "LSTM, loop")
WEIGHTS = ("bf16", "int8")  # narrower ones of the LMU, made from its float32 weights
WINDOW = 500  # tokens whose median time stands for a position


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """What is measured, and how often."""
    parser = ScriptParser(__doc__)
    add_sizes(parser)
    parser.add_argument(
        "--batch_sizes", type=COUNT, nargs="+", default=[1, 32], help="prompts at once (default: %(default)s)"
    )
    parser.add_argument(
        "--prompts",
        type=COUNT,
        nargs="+",
        default=[16, 4096],
        help="lengths of a prompt in tokens (default: %(default)s)",
    )
    parser.add_argument(
        "--new_tokens",
        type=number(int, least=2),
        default=64,
        help="new tokens that are timed in a call (default: %(default)s)",
    )
    parser.add_argument(
        "--repeats",
        type=COUNT,
        default=3,
        help="rounds, each model once in each; long prompts get one (default: %(default)s)",
    )
    parser.add_argument(
        "--positions",
        type=AMOUNT,
        default=100_000,
        help="tokens that one LMU streams; 0 for no stream (default: %(default)s)",
    )
    parser.add_argument(
        "--max_work",
        type=POSITIVE,
        default=1e12,
        help="operations that the prompts of a row may cost; dearer rows are left out (default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        nargs="*",
        choices=WEIGHTS,
        default=list(WEIGHTS),
        help="narrower weights that the LMU is timed with, too: bfloat16, and torch's packed int8 (default: both)",
    )
    parser.add_argument("--output", type=output_file, help="file for the line of JSON (default: it is only printed)")
    return parser.parse_args(argv)


class Clock(BaseStreamer):
    """Takes the time at which `generate` hands on the prompt and then each new token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        """One more step is done."""
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing is left to say."""


def narrowed(model: Any, weights: str) -> Any:
    """A copy of a model with narrower weights: all in bfloat16, or those of its products as torch packs int8."""
    if weights == "bf16":
        return copy.deepcopy(model).to(torch.bfloat16)
    from torch.ao.quantization import quantize_dynamic  # a warning that it will be torchao's

    return quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)


def times_of(name: str, model: Any, ids: Tensor, tokens: int) -> list[float]:
    """When a call began, and when each of its new tokens was there; each is waited for."""
    way = name.split(", ")[1]
    if way == "generate":
        clock = Clock()
        model.generate(ids, max_new_tokens=tokens, do_sample=False, pad_token_id=0, streamer=clock)
        return clock.times
    steps = model.stream(ids, max_new_tokens=tokens) if way == "stream" else model.steps(ids, tokens)
    return [time.perf_counter(), *(time.perf_counter() for _ in steps)]


def measure(
    models: dict[str, Any], names: list[str], ids: Tensor, new_tokens: int, repeats: int
) -> dict[str, tuple[float, float]]:
    """By model: the median seconds of the prefill, and of each further step."""
    prefill: dict[str, list[float]] = {name: [] for name in names}
    steps: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(repeats + 1):
        for name in names:
            warming = round_ == 0  # the first round is short, and does not count
            times = times_of(
                name, models[name.split(",")[0]], ids[:, :16] if warming else ids, 4 if warming else new_tokens
            )
            if not warming:
                prefill[name].append(times[1] - times[0])
                steps[name] += [after - before for before, after in pairwise(times[1:])]
    return {name: (statistics.median(prefill[name]), statistics.median(steps[name])) for name in names}


def cells(args: argparse.Namespace, device: torch.device) -> Iterator[dict]:
    """A row for each size, batch size, prompt and model."""
    for size in args.sizes:
        positions = max(args.prompts) + args.new_tokens + 1
        models = {name: build(name, size, positions).to(device).eval() for name in FAMILIES}
        sizes = {name: body_size(model) for name, model in models.items()}
        for weights in args.weights:
            if weights == "int8" and device.type != "cpu":
                yield {
                    "size": size,
                    "batch": 0,
                    "prompt": 0,
                    "skipped": "LMU int8: torch packs it for processors alone",
                }
                continue
            models[f"LMU {weights}"], sizes[f"LMU {weights}"] = narrowed(models["LMU"], weights), sizes["LMU"]
        narrow = [f"{name}, {way}" for name in models if name not in FAMILIES for way in ("stream", "generate")]
        for batch in args.batch_sizes:
            for prompt in args.prompts:
                cell = {"size": size, "batch": batch, "prompt": prompt}
                work = 2 * size * batch * prompt
                if work > args.max_work:
                    yield {**cell, "skipped": f"its prompts cost {work:.1e} operations, over --max_work"}
                    continue
                ids = torch.randint(1, VOCABULARY, (batch, prompt), device=device)
                rounds = args.repeats if work < 1e10 else 1
                # A stream has one prompt.
                offered = [name for name in (*MODELS, *narrow) if batch == 1 or "stream" not in name]
                against = {name: reason_against(models[name.split(",")[0]], batch, prompt) for name in offered}
                times = measure(models, [n for n in offered if not against[n]], ids, args.new_tokens, rounds)
                yield from ({**cell, "skipped": f"{name}: {why}"} for name, why in against.items() if why)
                for name, (prefill, step) in times.items():
                    yield {
                        **cell,
                        "model": name,
                        "parameters": sizes[name.split(",")[0]],
                        "prefill_seconds": prefill,
                        "tokens_per_second": batch / step,
                        "rounds": rounds,
                    }


def with_ratios(rows: list[dict]) -> list[dict]:
    """The same rows with what the LMU's are to the others of their cell: how many times as fast."""
    ours = {(r["size"], r["batch"], r["prompt"], r["model"]): r for r in rows if "model" in r}
    for row in rows:
        if "model" in row:
            for way in MODELS[:2]:
                key = (row["size"], row["batch"], row["prompt"], way)
                if key in ours:
                    row[f"{way.split(', ')[1]}_ratio"] = ours[key]["tokens_per_second"] / row["tokens_per_second"]
            key = (row["size"], row["batch"], row["prompt"], MODELS[1])
            row["prefill_ratio"] = row["prefill_seconds"] / ours[key]["prefill_seconds"]
    return rows


def positions(last: int, size: float, device: torch.device) -> dict:
    """A token's time at positions of one stream, the positions taking turns; and what the process held on the way."""
    model = build("LMU", size, last).to(device).eval()
    marks = [mark for mark in (10, 1_000, 100_000) if mark <= last]
    process, cache, caches, memory = psutil.Process(), DynamicCache(config=model.config), {}, {}
    token = torch.ones(1, 1, dtype=torch.int64, device=device)
    for made, _ in enumerate(model.stream(token, max_new_tokens=last + 1, past_key_values=cache)):
        if made in marks:
            caches[made], memory[made] = copy.deepcopy(cache), process.memory_info().rss
    steps = {mark: TokenStep(model) for mark in marks}
    times: dict[int, list[float]] = {mark: [] for mark in marks}
    for _ in range(WINDOW):
        for mark in marks:
            start = time.perf_counter()
            int(steps[mark].logits(token, caches[mark]).argmax())
            times[mark].append(time.perf_counter() - start)
    rows = [{"position": mark, "microseconds": 1e6 * statistics.median(times[mark])} for mark in marks]
    grown = memory[marks[-1]] - memory[marks[min(1, len(marks) - 1)]]
    return {"size": body_size(model), "rows": rows, "memory_growth_bytes": grown, "tokens": marks[-1]}


def show(rows: list[dict]) -> None:
    """Print the rows as a table."""
    print(f"{'size':>6}{'batch':>6}{'prompt':>7}  {'model':<24}{'parameters':>11}{'prefill ms':>12}{'tokens/s':>11}")
    for row in rows:
        start = f"{row['size'] / 1e6:>5.3g}M{row['batch']:>6}{row['prompt']:>7}  "
        if "skipped" in row:
            print(f"{start}skipped: {row['skipped']}")
            continue
        numbers = f"{row['parameters']:>11,}{1e3 * row['prefill_seconds']:>12.1f}{row['tokens_per_second']:>11.1f}"
        print(f"{start}{row['model']:<24}{numbers}")


@script
@torch.inference_mode()
def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table, and end with one line of JSON."""
    args = parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result: dict = {"device": device.type, "rows": with_ratios(list(cells(args, device)))}
    show(result["rows"])
    if args.positions:
        result["positions"] = positions(args.positions, args.sizes[0], device)
        for row in result["positions"]["rows"]:
            print(f"position {row['position']:>7,}: {row['microseconds']:.0f} microseconds a token")
        grown = result["positions"]["memory_growth_bytes"] / 2**20
        print(f"memory of the process over {result['positions']['tokens']:,} tokens: {grown:+.1f} MiB")
    return publish({**result, "new_tokens": args.new_tokens}, args.output)


if __name__ == "__main__":
    main()
