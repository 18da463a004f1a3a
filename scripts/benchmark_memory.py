"""Time every form of the memory against the sequential loop and against the floor, in one run.

    python scripts/benchmark_memory.py                                # the psMNIST layer of the paper, a few minutes
    python scripts/benchmark_memory.py --batch_size 4 --length 64 --order 16 --hidden_size 8 --repeats 1   # seconds

Every row is forward and backward through one LMU layer, equations (18) to (20), from the same input: all outputs, or
the last one only. The floor is the bare readout product of equation (20), which no implementation of all outputs can
leave out. Times are medians; the last line is the whole table as one line of JSON. A CUDA device is measured too, if
there is one.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from lmu_hf import LegendreSystem, LMULayer
from lmu_hf.training.record import publish

ALL_OUTPUTS = ("recurrent", "fft", "toeplitz", "chunked")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The sizes of the layer, and how often to repeat."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--length", type=int, default=784, help="time steps n")
    parser.add_argument("--order", type=int, default=468, help="Legendre coefficients d")
    parser.add_argument("--theta", type=float, help="window in steps (default: the length)")
    parser.add_argument("--memory_channels", type=int, default=1, help="d_u")
    parser.add_argument("--hidden_size", type=int, default=346, help="d_o")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls a row; the fast rows get ten times as many")
    parser.add_argument("--output", type=Path, help="also write the line of JSON to this file")
    return parser.parse_args(argv)


def median_seconds(step: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The median time of a call, after one call to warm up; fast calls are repeated more."""

    def once() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    first = min(once(), once()) if repeats > 1 else once()
    return statistics.median(once() for _ in range(repeats * (10 if first < 0.1 else 1)))


def layer_step(args: argparse.Namespace, device: torch.device, form: str, last_only: bool) -> Callable[[], object]:
    """Forward and backward through one layer whose memory runs by ``form``."""
    torch.manual_seed(0)
    system = LegendreSystem(args.order, args.theta or max(args.length, 1))
    layer = LMULayer(
        args.memory_channels, args.hidden_size, args.memory_channels, system, hidden_act="relu", memory_form=form
    )
    layer.to(device)
    x = torch.randn(args.batch_size, args.length, args.memory_channels, device=device)

    def step() -> None:
        layer.zero_grad()
        # An unfused last output is the last of all outputs, as a layer that returns sequences gives it.
        output, _ = layer(x, last_only=last_only)
        output.square().mean().backward()

    return step


def floor_step(args: argparse.Namespace, device: torch.device) -> Callable[[], object]:
    """Forward and backward through the bare product (b·n, d_u·d) → d_o of equation (20)."""
    readout = nn.Linear(args.memory_channels * args.order, args.hidden_size, bias=False, device=device)
    shape = (args.batch_size * args.length, args.memory_channels * args.order)
    m: Tensor = torch.randn(*shape, device=device, requires_grad=True)
    gradient = torch.randn(shape[0], args.hidden_size, device=device)

    def step() -> None:
        readout.weight.grad = m.grad = None
        readout(m).backward(gradient)

    return step


def benchmark(args: argparse.Namespace, device: torch.device) -> list[dict]:
    """All rows for one device."""
    steps = {("floor: the readout product alone", "all"): floor_step(args, device)}
    steps |= {(form, "all"): layer_step(args, device, form, False) for form in ALL_OUTPUTS}
    steps |= {(form, "last"): layer_step(args, device, form, True) for form in ("recurrent", "fft")}
    steps["final", "last"] = layer_step(args, device, "auto", True)
    times = {key: 1e3 * median_seconds(step, device, args.repeats) for key, step in steps.items()}
    return [
        {
            "form": form,
            "outputs": outputs,
            "device": device.type,
            "milliseconds": time,
            "times_floor": time / times["floor: the readout product alone", "all"],
            "faster_than_recurrent": times["recurrent", "all"] / time,
            "faster_than_fft": times["fft", "all"] / time,
        }
        for (form, outputs), time in times.items()
    ]


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table, and end with one line of JSON."""
    args = parse_args(argv)
    devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    rows = [row for device in devices for row in benchmark(args, device)]
    shape = {
        "b": args.batch_size,
        "n": args.length,
        "d": args.order,
        "d_u": args.memory_channels,
        "d_o": args.hidden_size,
    }
    print("forward + backward,", ", ".join(f"{name}={value}" for name, value in shape.items()))
    print(f"{'form':<34}{'outputs':>8}{'device':>8}{'ms':>11}{'x floor':>9}{'vs loop':>10}{'vs FFT':>9}")
    for row in rows:
        ratios = f"{row['times_floor']:>9.3g}{row['faster_than_recurrent']:>9.3g}x{row['faster_than_fft']:>8.3g}x"
        print(f"{row['form']:<34}{row['outputs']:>8}{row['device']:>8}{row['milliseconds']:>11.2f}{ratios}")
    return publish({"shape": shape, "rows": rows}, args.output)


if __name__ == "__main__":
    main()
