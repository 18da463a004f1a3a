"""Time every form of the memory against the sequential loop and against the floor, at the shapes that matter.

    python benchmarks/benchmark_memory.py                                        # every shape: about half an hour
    python benchmarks/benchmark_memory.py --shapes psmnist --repeats 3           # one of them
    python benchmarks/benchmark_memory.py --batch_size 4 --length 64 --order 16  # a shape of one's own: seconds
    python benchmarks/benchmark_memory.py --shapes --random_shapes 60 --seed 1   # does the cost model pick well?

Every row is a signal written to a memory, equation (19), and read out by W_m, the first term of equation (20), forward
and backward: every output, or the last alone. The floor is the product with W_m alone, on states that are there
already, which no implementation that computes m can leave out; one that does not compute m may pass below it. All
rows of a shape take turns, so that a busy machine is busy for all, and their medians are compared. The whole layer is
equations (18) to (20) with d_x and the activation that its row names. All products are made by the machine's fastest
exact route (LMU_HF_MATMUL=torch: by torch's own), those of the floor, too. Peak memory is what
the tensors of one call need at once, inputs and weights included. The last line is the whole table as one line of JSON.
A CUDA device is measured in place of the processor, if there is one.
"""

import argparse
import random
import statistics
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lmu_hf.chunks import Plan, Shape, plan_readout, plans_for
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import AMOUNT, COUNT, SEED, ScriptParser, number, output_file
from lmu_hf.common.products import describe, fast_products
from lmu_hf.common.record import publish
from lmu_hf.layers import LMULayer
from lmu_hf.memory import MEMORY_FORMS
from lmu_hf.readout import read_states
from lmu_hf.statespace import LegendreSystem

SHAPES = {
    "psmnist": (Shape(b=100, n=784, d=468, d_u=1, d_o=346), 784.0),
    "mackey-glass": (Shape(b=32, n=5000, d=40, d_u=1, d_o=140), 50.0),
    "language-model": (Shape(b=16, n=1024, d=6, d_u=512, d_o=512), 12.0),
    "multi-channel": (Shape(b=4, n=4096, d=64, d_u=64, d_o=256), 1024.0),
    **{f"long-2^{k}": (Shape(b=1, n=2**k, d=64, d_u=16, d_o=64), 1024.0) for k in range(10, 21, 2)},
}
# Of the whole layer: its input's width d_x and its activation, as the recipe of that shape has them.
LAYERS = {"psmnist": (1, "relu"), "mackey-glass": (1, "gelu"), "language-model": (512, "gelu")}
LAYERS |= {"multi-channel": (256, "gelu")}
FLOOR = "floor: the product with W_m alone"
FORMS = ("recurrent", "fft", "toeplitz", "chunked")
LARGEST_STATES = 2**30  # bytes of m that a form which writes it may need: it keeps several times as much
LONGEST_LOOP = 2**14
Step = Callable[[], object]
VALUES: dict[str, tuple[Callable[[str], Any], Any, str]] = {
    "batch_size": (COUNT, 1, "rows b of a shape of one's own"),
    "order": (COUNT, 64, "Legendre coefficients d of a shape of one's own"),
    "memory_channels": (COUNT, 1, "channels d_u of a shape of one's own that are written to the memory"),
    "hidden_size": (COUNT, 64, "width d_o of the output of a shape of one's own"),
    "random_shapes": (AMOUNT, 0, "random shapes on which the cost model's choices are compared, too"),
    "seed": (SEED, 0, "random seed of the random shapes; the cost model was fitted to those of 0"),
    "repeats": (COUNT, 5, "rounds; a fast form is called several times in each"),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Which shapes, and how often to repeat."""
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "--shapes",
        nargs="*",
        choices=SHAPES,
        metavar="SHAPE",
        help=f"shapes to measure, of {', '.join(SHAPES)} (default: all)",
    )
    text = "time steps n of a shape of one's own, which then is the only one (default: none)"
    parser.add_argument("--length", type=COUNT, help=text)
    text = "window of a shape of one's own, in time steps (default: the length)"
    parser.add_argument("--theta", type=number(float, least=1), help=text)
    parser.add_argument("--layers_only", action="store_true", help="measure the floor, readout and whole layer alone")
    parser.add_values(VALUES)
    parser.add_argument("--output", type=output_file, help="file for the line of JSON (default: it is only printed)")
    args = parser.parse_args(argv)
    if args.length is None:
        own = ("batch_size", "order", "theta", "memory_channels", "hidden_size")
        parser.refuse(args, *own, because="a shape of one's own has a --length, too")
    else:
        parser.refuse(args, "shapes", because="with --length no other shape is measured")
    if not args.random_shapes:
        parser.refuse(args, "seed", because="there are no --random_shapes to draw")
    return args


def chosen_shapes(args: argparse.Namespace) -> dict[str, tuple[Shape, float]]:
    """The shapes to measure, each with its window."""
    if args.length is not None:
        own = Shape(args.batch_size, args.length, args.order, args.memory_channels, args.hidden_size)
        return {"own": (own, args.theta or float(args.length))}
    return {name: SHAPES[name] for name in (SHAPES if args.shapes is None else args.shapes)}


def sizes_of(shape: Shape) -> dict[str, int]:
    """A shape's five sizes, by their letters."""
    return {letter: size for letter, size in shape._asdict().items() if letter != "packed"}


# --------------------------------------------------------------------------- what is measured


def readout_step(read: Callable[..., Tensor], shape: Shape, device: torch.device, last: bool = False) -> Step:
    """Forward and backward through ``read(u, weight) -> y``, every y or the last alone."""
    torch.manual_seed(0)
    width, steps = shape.d_u * shape.d, 1 if last else shape.n
    u = torch.randn(shape.b, shape.n, shape.d_u, device=device, requires_grad=True)
    weight = torch.randn(shape.d_o, width, device=device).div_(width**0.5).requires_grad_()
    gradient = torch.randn(shape.b, steps, shape.d_o, device=device)

    def step() -> None:
        u.grad = weight.grad = None
        y = read(u, weight)
        (y[:, -1:] if last else y).backward(gradient)

    return step


def floor_step(shape: Shape, device: torch.device) -> Step:
    """Forward and backward through the bare product (b·n, d_u·d) → d_o of equation (20)."""
    readout = nn.Linear(shape.d_u * shape.d, shape.d_o, bias=False, device=device)
    m = torch.randn(shape.b * shape.n, shape.d_u * shape.d, device=device, requires_grad=True)
    gradient = torch.randn(shape.b * shape.n, shape.d_o, device=device)

    def step() -> None:
        readout.weight.grad = m.grad = None
        readout(m).backward(gradient)

    return step


def layer_step(name: str, shape: Shape, system: LegendreSystem, device: torch.device) -> Step:
    """Forward and backward through a whole layer, equations (18) to (20): its encoder, both readouts, activation."""
    d_x, hidden_act = LAYERS.get(name, (shape.d_o, "identity"))
    torch.manual_seed(0)
    layer = LMULayer(d_x, shape.d_o, shape.d_u, system, hidden_act=hidden_act).to(device)
    x = torch.randn(
        shape.b, shape.n, d_x, device=device, requires_grad=d_x > 1
    )  # one number is data, which no one trains
    gradient = torch.randn(shape.b, shape.n, shape.d_o, device=device)

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        layer(x)[0].backward(gradient)

    return step


def by_states(form: str, system: LegendreSystem, u: Tensor, weight: Tensor) -> Tensor:
    """A form that writes m, and W_m m."""
    return MEMORY_FORMS[form](u, system)[0].flatten(2) @ weight.T


def straight(system: LegendreSystem, plan: Plan | None, u: Tensor, weight: Tensor) -> Tensor:
    """W_m m without m."""
    return read_states(u, system, weight, plan=plan)[0]


def rows_of(name: str, shape: Shape, theta: float) -> dict[tuple[str, str], Callable[[torch.device], Step] | str]:
    """Every row of a shape: how to make its step, or why there is none."""
    system = LegendreSystem(shape.d, theta)
    large = 4 * shape.b * shape.n * shape.d_u * shape.d > LARGEST_STATES
    rows: dict[tuple[str, str], Callable[[torch.device], Step] | str] = {}
    rows[FLOOR, "all"] = "m alone is larger than 1 GiB" if large else partial(floor_step, shape)
    for form in FORMS:
        why = "m alone is larger than 1 GiB" if large else ""
        if form == "toeplitz" and 4 * shape.b * shape.d_u * shape.n**2 > 2**30:
            why = "its Toeplitz matrix is larger than 1 GiB"
        elif form == "recurrent" and shape.n > LONGEST_LOOP:
            why = "a loop of so many steps"
        rows[form, "all"] = why or partial(readout_step, partial(by_states, form, system), shape)
    plan = plan_readout(shape)
    readout = f"{'fused' if plan.fused else 'kept' if plan.kept else 'tiled'} readout, blocks of {plan.chunk}"
    rows[readout, "all"] = partial(readout_step, partial(straight, system, None), shape)
    rows[f"whole layer, {' '.join(map(str, LAYERS.get(name, (shape.d_o, 'identity'))))}", "all"] = partial(
        layer_step, name, shape, system
    )
    rows["final", "last"] = partial(readout_step, partial(by_states, "final", system), shape, last=True)
    return rows


# --------------------------------------------------------------------------- how it is measured


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors made under it hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run an operation, and count the memory of what it returns until that is let go."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self.known:
            return
        self.known.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, place, size)

    def _release(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.now -= size


def peak_bytes(make: Callable[[torch.device], Step], device: torch.device) -> int:
    """What the tensors of a step need at once, with those that it is given."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        make(device)()
        return torch.cuda.max_memory_allocated() - before
    with LiveBytes() as live:
        make(device)()
    return live.peak


def seconds(step: Step, device: torch.device, calls: int = 1) -> float:
    """The mean time of some calls."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / calls


def medians(steps: dict, device: torch.device, repeats: int) -> dict:
    """Each step's median time, all taking turns; a fast one is called for 50 ms in each of its turns."""
    for step in steps.values():
        step()
    first = {key: seconds(step, device) if repeats > 1 else 1.0 for key, step in steps.items()}
    calls = {key: min(max(round(0.05 / first[key]), 1), 50) for key in steps}
    times: dict = {key: [] for key in steps}
    for _ in range(repeats):
        for key, step in steps.items():
            times[key].append(seconds(step, device, calls[key]))
    return {key: statistics.median(values) for key, values in times.items()}


def benchmark(
    name: str, shape: Shape, theta: float, device: torch.device, repeats: int, layers_only: bool = False
) -> list[dict]:
    """All rows of one shape; or the floor, the readout and the whole layer alone."""
    rows = rows_of(name, shape, theta)
    if layers_only:
        rows = {key: make for key, make in rows.items() if key[0] not in (*FORMS, "final")}
    makers = {key: make for key, make in rows.items() if not isinstance(make, str)}
    # The first pass derives the constants, which stay.
    peaks = {key: (make(device)(), peak_bytes(make, device))[1] for key, make in makers.items()}
    times = medians({key: make(device) for key, make in makers.items()}, device, repeats)
    table = []
    for key in rows:
        row: dict[str, Any] = {"shape": name, "form": key[0], "outputs": key[1], "device": device.type}
        if key in times:
            row |= {"milliseconds": 1e3 * times[key], "peak_bytes": peaks[key]}
            row |= {"microseconds_per_step": 1e6 * times[key] / shape.n}
            for against, label in ((FLOOR, "times_floor"), ("recurrent", "times_recurrent"), ("fft", "times_fft")):
                row[label] = times[key] / times[against, "all"] if (against, "all") in times else None
        else:
            row["skipped"] = rows[key]
        table.append(row)
    return table


# --------------------------------------------------------------------------- does the cost model pick well?


def random_shape(chance: random.Random) -> Shape:
    """Sizes whose readout takes from a millisecond to a second, no two of them alike."""
    while True:
        b, n, d, d_u, d_o = (round(2 ** chance.uniform(*bits)) for bits in ((0, 6), (4, 12), (0, 8.5), (0, 8), (3, 9)))
        if 2**20 < b * n * d * d_u * d_o < 2**32:
            return Shape(b, n, d, d_u, d_o)


def check_picks(count: int, seed: int, device: torch.device, repeats: int) -> list[dict]:
    """The time of the plan that the cost model picks, beside the best of all, on random shapes."""
    chance, rows = random.Random(seed), []
    for _ in range(count):
        shape = random_shape(chance)
        system = LegendreSystem(shape.d, max(2.0 * shape.d, 32.0))
        steps: dict[Any, Step] = {
            plan: readout_step(partial(straight, system, plan), shape, device) for plan in plans_for(shape)
        }
        if 4 * shape.b * shape.n * shape.d_u * shape.d < LARGEST_STATES:
            steps["chunked"] = readout_step(partial(by_states, "chunked", system), shape, device)
        times = medians(steps, device, repeats)
        pick, best = plan_readout(shape), min(times, key=lambda plan: times[plan])
        row = {"shape": sizes_of(shape), "picked": list(pick), "best": list(best) if best != "chunked" else best}
        row |= {"milliseconds": 1e3 * times[pick], "times_best": times[pick] / times[best]}
        print(f"{row['times_best']:6.2f}x the best  {shape}  picked {tuple(pick)}, best {row['best']}", flush=True)
        rows.append(row | {"times": {str(plan): 1e3 * value for plan, value in times.items()}})
    return rows


# --------------------------------------------------------------------------- the table


def show(rows: list[dict]) -> None:
    """Print one shape's rows."""
    for row in rows:
        if "skipped" in row:
            print(f"{row['form']:<36}{row['outputs']:>5}   not measured: {row['skipped']}", flush=True)
            continue
        ratios = [row[label] for label in ("times_floor", "times_recurrent", "times_fft")]
        words = [f"{1 / ratio:>9.3g}x" if ratio else f"{'':>10}" for ratio in ratios[1:]]
        floor = f"{ratios[0]:>9.3f}" if ratios[0] else f"{'':>9}"
        numbers = f"{row['milliseconds']:>11.2f}{row['peak_bytes'] / 2**20:>9.0f}"
        print(f"{row['form']:<36}{row['outputs']:>5}{numbers}{floor}{''.join(words)}", flush=True)


@script
@fast_products()
def main(argv: list[str] | None = None) -> dict:
    """Measure, print tables, and end with one line of JSON."""
    args = parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shapes, rows = chosen_shapes(args), []
    for name, (shape, theta) in shapes.items():
        sizes = ", ".join(f"{letter}={size}" for letter, size in sizes_of(shape).items())
        print(f"\n{name}: {sizes}, θ={theta:g}, {device.type}, forward + backward")
        print(f"{'form':<36}{'out':>5}{'ms':>11}{'MiB':>9}{'x floor':>9}{'vs loop':>10}{'vs FFT':>10}")
        rows.append(benchmark(name, shape, theta, device, args.repeats, args.layers_only))
        show(rows[-1])
    measured: dict = {
        "products": describe(),
        "shapes": {name: {**sizes_of(shape), "theta": theta} for name, (shape, theta) in shapes.items()},
    }
    measured["rows"] = [row for table in rows for row in table]
    if args.random_shapes:
        measured["picks"] = check_picks(args.random_shapes, args.seed, device, args.repeats)
        ratios = sorted(row["times_best"] for row in measured["picks"])
        good = sum(ratio <= 1.3 for ratio in ratios)
        print(f"{good} of {len(ratios)} picks within 1.3x of the best; the worst {ratios[-1]:.2f}x")
    return publish(measured, args.output)


if __name__ == "__main__":
    main()
