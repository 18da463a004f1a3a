"""The fastest float32 product of the machine: torch's routes are timed, and the fastest whose error is float32's wins.

Torch multiplies float32 matrices by its default library, or, if told so, by oneDNN. On some processors the second is
twice as fast; its switch is called ``"bf16"``, since where a processor multiplies bfloat16 tiles (AMX) it rounds to
that. So nothing is assumed: each route is timed, and its error is measured, before it is taken.

The switch is torch's own and one for the whole process. Nothing here turns it but :func:`fast_products`, for as long as
it is entered: in training, evaluation and benchmarks. A model that is only called keeps what torch is set to::

    with fast_products() as route:  # "torch" or "onednn"
        model(input_ids)

The environment's ``LMU_HF_MATMUL`` names a route for all of these; ``auto``, the default, measures.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .errors import InputError

VARIABLE = "LMU_HF_MATMUL"
ROUTES = {"torch": None, "onednn": "bf16"}  # what torch's switch is set to; None leaves it
AUTO = "auto"
GAIN = 1.05  # times as fast a route must be as torch's own: less may be chance, and each route has digits of its own
ROWS, INNER, OUT = 1024, 256, 256  # of the products that are timed: some forty milliseconds in all
REPEATS = 10
CHECKED = ((1, 256, 64), (64, 256, 16), (256, 256, 256))  # shapes whose error is measured: routes choose by shape
TIMES_FLOAT32 = 4.0  # torch's own error, and so many times that is still float32's: sums are made in another order

_lock = threading.RLock()
_holders: list[str] = []  # the routes that are entered, by all threads
_before: list[str] = []  # what the switch was before the first of them


@dataclass(frozen=True)
class Measured:
    """A route: how many GFLOP/s it makes, forward and backward, and its largest relative error against float64."""

    route: str
    gflops: float
    error: float
    exact: bool


def _switch() -> Any:
    """Torch's own, or None in a release that has none."""
    backend = getattr(torch.backends.mkldnn, "matmul", None)
    return backend if hasattr(backend, "fp32_precision") and torch.backends.mkldnn.is_available() else None


@cache
def measure() -> tuple[Measured, ...]:
    """Every route of this machine, torch's own first: measured once in a process."""
    switch = _switch()
    if switch is None:
        return (Measured("torch", *_trial(None, {"torch": None})["torch"], exact=True),)
    with _lock:
        found = _trial(switch, ROUTES)
    own = found["torch"][1]
    return tuple(Measured(route, speed, e, e <= TIMES_FLOAT32 * own) for route, (speed, e) in found.items())


def _trial(switch: Any, routes: dict[str, str | None]) -> dict[str, tuple[float, float]]:
    """Of each route its speed and its error."""
    before = None if switch is None else switch.fp32_precision
    operands = _operands(ROWS, INNER, OUT)
    seconds = dict.fromkeys(routes, float("inf"))
    errors: dict[str, float] = {}
    try:
        for turn in range(REPEATS + 1):  # in turns: a busy machine is busy for all
            for route, setting in routes.items():
                if switch is not None:
                    switch.fp32_precision = setting or "ieee"  # torch's own: float32 in any case
                if turn == 0:  # it warms up, too
                    errors[route] = max(_error(*shape) for shape in CHECKED)
                    _three(*operands)
                    continue
                start = time.perf_counter()
                _three(*operands)
                seconds[route] = min(seconds[route], time.perf_counter() - start)
    finally:
        if switch is not None:
            switch.fp32_precision = before
    return {route: (6e-9 * ROWS * INNER * OUT / seconds[route], errors[route]) for route in routes}


@cache
def bfloat16_gain() -> float:
    """How many times as fast products of bfloat16 matrices are as the fastest exact ones of float32 matrices."""
    wide = _operands(ROWS, INNER, OUT)
    narrow = tuple(operand.bfloat16() for operand in wide)
    seconds = dict.fromkeys((wide, narrow), float("inf"))
    with fast_products(AUTO):
        for _ in range(REPEATS + 1):
            for operands in seconds:
                start = time.perf_counter()
                _three(*operands)
                seconds[operands] = min(seconds[operands], time.perf_counter() - start)
    return seconds[wide] / seconds[narrow]


def _hard(rows: int, columns: int) -> Tensor:
    """Numbers in [1, 2) that bfloat16, TF32 and a sum of two bfloat16 all round down, so that errors add up."""
    leading = torch.arange(rows * columns, dtype=torch.int32).mul(37).remainder(128).view(rows, columns)
    # Bits behind bfloat16's: 0111_1111_0011_1111, just under a half of its last digit, and again of what is left.
    return ((leading + 0x3F80) * 65536 + 0x7F3F).view(torch.float32)


def _operands(rows: int, inner: int, out: int) -> tuple[Tensor, Tensor, Tensor]:
    """A linear layer's input, weight and gradient."""
    return _hard(rows, inner), _hard(out, inner), _hard(rows, out)


def _three(x: Tensor, weight: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Its product, and the two of its backward pass."""
    return x @ weight.T, gradient @ weight, gradient.T @ x


def _error(rows: int, inner: int, out: int) -> float:
    """The largest relative error of the three, of some rows, and of as many products in a batch."""
    x, weight, gradient = _operands(rows, inner, out)
    y, d_x, d_weight = _three(x, weight, gradient)
    some = slice(0, 8)
    wanted = [(y, x, weight.T), (d_x, gradient, weight), (d_weight, gradient.T, x)]
    wanted += [(torch.bmm(x[None].expand(2, -1, -1), weight.T.expand(2, -1, -1))[1], x, weight.T)]
    errors = []
    for got, left, right in wanted:
        exact = left[some].double() @ right.double()  # all positive: the error relative to it is the product's own
        errors.append(((got[some].double() - exact).abs() / exact).max().item())
    return max(errors)


def asked_route() -> str:
    """What ``LMU_HF_MATMUL`` names: a route, or ``"auto"``.

    Raises:
        InputError: it names something else.
    """
    asked = os.environ.get(VARIABLE, AUTO) or AUTO
    if asked not in (AUTO, *ROUTES):
        raise InputError(f"the environment variable {VARIABLE} must be {AUTO}, {' or '.join(ROUTES)}, got {asked!r}")
    return asked


def choose_route(asked: str | None = None) -> str:
    """The route that is meant.

    Args:
        asked: a route; ``"auto"`` for the fastest that is exact; None for what the environment says. Where somebody has
            set torch's switch himself, or where products run on an accelerator, ``"auto"`` is ``"torch"``.

    Raises:
        InputError: there is no such route here, or it rounds to less than float32.
    """
    asked = asked_route() if asked is None else asked
    if asked not in (AUTO, *ROUTES):
        raise InputError(f"a route of products must be {AUTO}, {' or '.join(ROUTES)}, got {asked!r}")
    if asked == "torch":
        return asked
    if asked == AUTO:
        if torch.cuda.is_available() or not (_holders or _is_untouched()):
            return "torch"
        own, *others = measure()
        best = max((m for m in others if m.exact), key=lambda m: m.gflops, default=own)
        return best.route if best.gflops >= GAIN * own.gflops else own.route
    measured = {m.route: m for m in measure()}.get(asked)
    if measured is None:
        raise InputError(f"{asked} is no route of products in torch {torch.__version__} here: give {AUTO} or torch")
    if not measured.exact:
        raise InputError(
            f"{asked} makes products with an error of {measured.error:.0e} on this processor, more than float32's: "
            f"give {AUTO} or torch, or --mixed_precision bf16 if that is meant"
        )
    return asked


def _is_untouched() -> bool:
    switch = _switch()
    return switch is not None and switch.fp32_precision == "none"


@contextmanager
def fast_products(asked: str | None = None) -> Iterator[str]:
    """Make float32 products by the route that is asked for, in the whole process, until this is left.

    It may be entered again inside, and by other threads, for the same route: the last to leave turns the switch back.

    Args:
        asked: as of :func:`choose_route`.

    Yields:
        The route.

    Raises:
        InputError: as of :func:`choose_route`.
        RuntimeError: another route is entered already: the switch is one for all threads.
    """
    route = choose_route(asked)
    switch = _switch()
    with _lock:
        if _holders and _holders[0] != route:
            if asked is None and asked_route() == AUTO:
                route = _holders[0]  # whoever leaves it open takes what is entered
            else:
                raise RuntimeError(f"products are made by {_holders[0]} until that is left, and so not by {route}")
        if not _holders and switch is not None and ROUTES[route] is not None:
            _before.append(switch.fp32_precision)
            switch.fp32_precision = ROUTES[route]
        _holders.append(route)
    try:
        yield route
    finally:
        with _lock:
            _holders.pop()
            if not _holders and _before:
                switch.fp32_precision = _before.pop()


def describe() -> dict[str, Any]:
    """What is asked for, what is taken, and what was measured, as plain values."""
    return {"asked": asked_route(), "route": choose_route(), "measured": [asdict(m) for m in measure()]}
