"""Pictures of a run and of a memory, as PNG files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..memory import memory_chunked
from ..statespace import LegendreSystem, decode_past
from .record import MetricsLog, RunRecord, say_parameters
from .staging import written_whole
from .style import ACCENT, FAINT, INK, SECOND, SHADES, STYLE, WIDTH, panels, plain_ticks, plt, save


def learning_curve(run: Path, path: Path) -> Path | None:
    """Training loss, and the validation score that weights are chosen by; None of weights that were not trained."""
    rows, record = MetricsLog.read(run), RunRecord.read(run)
    if not record.steps:
        return None
    epochs = [row["epoch"] for row in rows]
    scores = [row[f"validation_{record.metric}"] for row in rows]
    with plt.rc_context(STYLE):
        # One below the other: two scales that share nothing but the epochs.
        figure, (loss_axis, score_axis) = panels(2, height=1.9, sharex=True)
        # A run that was evaluated once has points and no line.
        line = "o" if len(rows) == 1 else "-"
        loss_axis.plot(epochs, [row["train_loss"] for row in rows], line, color=SECOND)
        loss_axis.set_ylabel("training loss")
        if record.metric == "accuracy":
            # An error of nothing has no logarithm: it is drawn as half of one wrong answer.
            least = 50 / record.data["rows"]["validation"]
            scores = [max(100 * (1 - score), least) for score in scores]
            if max(scores) > 4 * min(scores):
                score_axis.set_yscale("log")
        score_axis.plot(epochs, scores, line, color=ACCENT, linewidth=2)
        axis_label, best = _score_words(record)
        # A score's or a recipe's name is plain text: no $ in it begins a formula.
        score_axis.set_ylabel(axis_label, parse_math=False)
        # The kept weights are those of the best evaluation, not of the last.
        kept = scores[epochs.index(record.best_epoch)]
        score_axis.plot(record.best_epoch, kept, "o", color=ACCENT, label="the weights that are kept")
        score_axis.set_xlabel("epoch")
        score_axis.legend()
        for axis in (loss_axis.yaxis, score_axis.yaxis, score_axis.xaxis):
            plain_ticks(axis)
        model = f"{record.title}, seed {record.seed}: {best}"
        loss_axis.set_title(f"{model}\n{say_parameters(record.parameters)}", fontsize=9, parse_math=False)
        return save(figure, path)


def confusion_matrix(run: Path, path: Path) -> Path | None:
    """Which classes were taken for which, on the test split or else on validation; None where a record has no such."""
    record = RunRecord.read(run)
    split = "test" if "test" in record.details else "validation"
    details = record.details.get(split, {})
    if (matrix := details.get("confusion")) is None:
        return None
    counts, names = torch.tensor(matrix, dtype=torch.float64), list(details["classes"])
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)  # of a class's rows: a rare one is seen as well
    size = min(14.0, max(WIDTH, 2 + 0.45 * len(names)))
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(size, 0.9 * size))
        axis.imshow(shares, cmap=SHADES, vmin=0, vmax=1)
        if len(names) <= 40:  # more could not be read
            shown = [name if len(name) <= 24 else f"{name[:23]}…" for name in names]
            axis.set_xticks(range(len(names)), shown, rotation=90, parse_math=False)
            axis.set_yticks(range(len(names)), shown, parse_math=False)
        for row, column in counts.nonzero().tolist() if len(names) <= 20 else ():
            ink = "white" if shares[row, column] > 0.5 else INK
            axis.text(column, row, f"{counts[row, column]:,.0f}", ha="center", va="center", color=ink, fontsize=8)
        axis.set(xlabel="taken for", ylabel="class")
        title = f"{record.title}, seed {record.seed}: {split}, {int(counts.sum()):,} rows"
        axis.set_title(title, fontsize=9, parse_math=False)
        return save(figure, path)


def forecast_windows(windows: list[dict[str, Any]], title: str, path: Path) -> Path:
    """What was seen, what came and what was forecast, one panel a window.

    Args:
        windows: of each its ``title`` and, as lists of numbers, ``past``, ``forecast``, ``lines`` by name, and perhaps
            the ``truth`` and the outer quantiles ``low`` and ``high``.
        title: of the picture.
        path: of the file.
    """
    with plt.rc_context(STYLE):
        figure, axes = panels(len(windows), height=1.9)
        for axis, window in zip(axes, windows, strict=True):
            before, ahead = range(-len(window["past"]), 0), range(len(window["forecast"]))
            axis.plot(before, window["past"], color=FAINT, linewidth=1, label="past")
            if "truth" in window:
                axis.plot(ahead, window["truth"], color=SECOND, linewidth=1.2, label="what came")
            for name, values in window["lines"].items():
                axis.plot(ahead, values, color=FAINT, linewidth=1, linestyle="--", label=name)
            axis.plot(ahead, window["forecast"], color=ACCENT, linewidth=1.6, label="forecast")
            if "low" in window:
                shade = {"color": ACCENT, "alpha": 0.2, "linewidth": 0}
                axis.fill_between(ahead, window["low"], window["high"], label="between the outer quantiles", **shade)
            axis.set_title(window["title"], fontsize=9, parse_math=False)
        axes[-1].set_xlabel("time steps from the origin")
        figure.suptitle(title, x=0.02, ha="left", fontsize=10, parse_math=False)
        # Below the panels: within one it would hide a line.
        figure.legend(*axes[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2)
        return save(figure, path)


def _score_words(record: RunRecord) -> tuple[str, str]:
    """What stands on the score's axis, and what is said of the best score in the title."""
    score = record.metrics["validation"][record.metric]
    if record.metric == "accuracy":
        return "validation error, %", f"validation accuracy {100 * score:.2f} %"
    names = {"bleu": "BLEU", "r2": "R²", "mae": "mean absolute error", "rmse": "root mean squared error"}
    name = names.get(record.metric, record.metric.replace("_", " ").replace("f1", "F1"))
    return f"validation {name}", f"validation {name} {score:.3g}"


def memory_window(signal: Tensor, system: LegendreSystem, moments: list[int], path: Path) -> Path:
    """A signal (n,), and at some moments what the memory still knows of it beside the true past."""
    # float64: what the picture shows is the window's error, not that of rounding.
    m, _ = memory_chunked(signal.double()[None, :, None], system)
    # A sample is held for one step, so it is read back in the middle of that step.
    delays = torch.arange(0.5, system.theta, 1.0, dtype=torch.float64)
    with plt.rc_context(STYLE):
        figure, axes = panels(len(moments), height=1.5, sharex=True, sharey=True)
        for axis, moment in zip(axes, moments, strict=True):
            decoded = decode_past(m[0, moment, 0], system, delays)
            times = moment - delays + 0.5  # delay 0.5 is the sample of the moment itself
            past = signal[(moment - delays + 0.5).round().long().clamp(min=0)]
            error = (decoded - past).square().mean().sqrt() / signal.double().std()
            axis.plot(signal, color=FAINT, linewidth=1, label="signal")
            axis.axvspan(moment - system.theta, moment, color=ACCENT, alpha=0.12, linewidth=0, label="window")
            axis.plot(times, decoded, color=ACCENT, linewidth=1.6, label=f"decoded from {system.order} numbers")
            axis.set_title(f"step {moment}: error {error:.1%} of the signal's deviation", fontsize=9)
        axes[-1].set_xlabel("time step")
        title = f"A memory of order {system.order} holds the last θ = {system.theta:g} steps"
        figure.suptitle(title, x=0.02, ha="left", fontsize=10)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3)
        return save(figure, path)


def window_orders(
    frequencies: np.ndarray,
    energy: np.ndarray,
    edges: dict[float, float],
    measured: dict[int, dict[int, float]],
    name: str,
    path: Path,
) -> Path:
    """Where a signal's energy lies (above), and what orders lose of its windows (below).

    Args:
        frequencies, energy: the share of the energy at each frequency, in cycles a step, and below.
        edges: by share, the frequency below which it lies.
        measured: by θ and order, the share of the windows' variance that is kept.
        name: of the signal.
        path: the PNG file.
    """
    with plt.rc_context(STYLE):
        figure, (spectrum, orders) = panels(2)
        spectrum.plot(frequencies, 100 * energy, color=SECOND, linewidth=1.6)
        for share, edge in edges.items():
            spectrum.axvline(edge, color=ACCENT, linewidth=0.9, linestyle=":")
            spectrum.annotate(f"{share:.0%}", (edge, 3), xytext=(3, 0), textcoords="offset points", color=ACCENT)
        spectrum.set(xscale="log", xlabel="frequency, cycles a step", ylabel="energy at and below, %", ylim=(0, 102))
        lines = ("o-", "s--", "^:", "D-.")
        for number, (theta, shares) in enumerate(measured.items()):
            lost = [100 * max(1 - share, 1e-4) for share in shares.values()]
            look = {"color": f"C{number % 4}", "markersize": 3, "linewidth": 1.4, "label": f"θ = {theta:,}"}
            orders.plot(list(shares), lost, lines[number % 4], **look)
        for share in edges:
            orders.axhline(100 * (1 - share), color=ACCENT, linewidth=0.9, linestyle=":")
        orders.set(xscale="log", yscale="log", xlabel="order d", ylabel="lost of the windows' variance, %")
        for axis in (spectrum.xaxis, orders.xaxis, orders.yaxis):
            plain_ticks(axis)
        orders.legend()
        figure.suptitle(name, x=0.02, ha="left", fontsize=10, parse_math=False)
        return save(figure, path)


def example_digit(side: int, path: Path) -> Path:
    """A handwritten digit out of scikit-learn's own, as a grey picture of so many pixels a side."""
    from PIL import Image
    from sklearn.datasets import load_digits

    # Scikit-learn's pixels run from 0 to 16.
    image = Image.fromarray((load_digits().images[0] * (255 / 16)).round().astype("uint8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    # A border as wide as MNIST's; eight pixels or fewer leave no room for one.
    inside = side if side <= 8 else round(side * 20 / 28)
    canvas = Image.new("L", (side, side))
    canvas.paste(image.resize((inside, inside), Image.Resampling.BICUBIC), ((side - inside) // 2,) * 2)
    with written_whole(path) as staged:
        canvas.save(staged, format="png")
    return path
