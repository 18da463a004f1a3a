"""What `lmu-hf suggest` prints: a signal's spectrum in words, and a table of windows and orders."""

import argparse
from dataclasses import asdict
from typing import Any

from ..common.errors import InputError
from ..common.figures import window_orders
from ..data.signals import Signal, read_signal
from ..data.suggesting import LARGEST_ORDER, Kept, Suggestion, suggest_window
from ..data.tables import ReadOptions
from .flags import Flags
from .results import give


def suggest(args: argparse.Namespace) -> Suggestion:
    """Read the signal, measure, print and draw; what was found."""
    flags = Flags.of(args)
    given = flags.take(delimiter="delimiter", encoding="encoding", field="field")
    if given.get("delimiter", "").lower() in ("tab", r"\t"):
        given["delimiter"] = "\t"
    names = None if flags.column_names is None else tuple(flags.column_names)
    signal = read_signal(flags.file, flags.column, ReadOptions(column_names=names, **given))
    try:
        found = suggest_window(signal.values, flags.theta)
    except InputError as error:
        raise InputError(f"{signal.name}: {error}") from error
    lines = say(signal, found)
    if flags.figure is not None:
        window_orders(found.frequencies, found.energy, found.edges, found.measured, signal.name, flags.figure)
        lines.append(str(flags.figure))
    give(args, lines, _result(signal, found))
    return found


def _result(signal: Signal, found: Suggestion) -> dict[str, Any]:
    """What was found, as plain numbers: a row for each window and share."""
    rows = [{"theta": theta, **asdict(kept)} for theta, orders in found.orders.items() for kept in orders]
    edges = [{"share": share, "cycles_per_step": edge} for share, edge in found.edges.items()]
    return {"signal": signal.name, "steps": found.steps, "rate": signal.rate, "edges": edges, "orders": rows}


def say(signal: Signal, found: Suggestion) -> list[str]:
    """The lines of the report."""
    rate = signal.rate
    lines = [f"{signal.name}: {found.steps:,} steps" + ("" if rate is None else f", {rate:,g} a second")]
    for share, edge in found.edges.items():
        hertz = "" if rate is None else f" ({edge * rate:,.4g} Hz)"
        cycle = _time(found.longest[share], rate)
        lines.append(f"{share:.0%} of its energy: below {edge:.4g} cycles a step{hertz}; in cycles of at most {cycle}")
    shares = list(found.edges)
    lines.append(_row("theta", *(f"order for {share:.0%}  measured  rule" for share in shares)))
    for theta, orders in found.orders.items():
        lines.append(_row(f"{theta:,}", *(_cell(theta, kept) for kept in orders)))
    best = found.orders.get(found.theta)
    if best is not None and best[-1].order is not None:
        lines += [
            f"try: --config_overrides theta={found.theta} order={best[-1].order}, which keeps {best[-1].kept:.1%}",
            "how far back an answer lies no spectrum knows: --theta tries the windows that your task asks for",
        ]
    return lines


def _row(theta: str, *cells: str) -> str:
    return f"{theta:>8}" + "".join(f"  {cell:>30}" for cell in cells)


def _cell(theta: int, kept: Kept) -> str:
    if kept.order is None:
        more = f"over {LARGEST_ORDER}" if theta > LARGEST_ORDER else "every step"
        return f"{more:>13}  {'-':>8}  {kept.rule:>4}"
    return f"{kept.order:>13}  {kept.kept:>8.1%}  {kept.rule:>4}"


def _time(steps: int, rate: float | None) -> str:
    return f"{steps:,} steps" + ("" if rate is None else f" ({steps / rate:.3g} s)")
