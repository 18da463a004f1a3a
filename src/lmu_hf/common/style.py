"""One look for every picture of the project: it reads well on white and on dark pages, and on a phone.

The background is transparent. Every colour has a contrast of about four to white and to the dark pages of the site, of
GitHub and of the Hub, so that one file serves both. Pictures are ``WIDTH`` inches wide and stack their panels: at
390 pixels a letter is as high as one of the text around it.
"""

import os
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler

# Before pyplot is imported: this backend needs no display. A notebook's kernel names its own in the environment.
if "MPLBACKEND" not in os.environ:
    matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from .staging import written_whole

INK, FAINT = "#78808b", "#87909c"  # words and axes; lines of less weight
ACCENT, SECOND, THIRD, FOURTH = "#d1495b", "#4a86bd", "#a8792c", "#2f8f83"
SHADES = LinearSegmentedColormap.from_list("accent", [(*matplotlib.colors.to_rgb(ACCENT), alpha) for alpha in (0, 1)])
WIDTH = 5.0  # inches
DPI = 200  # dots an inch

STYLE: dict[Any, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.prop_cycle": cycler(color=[ACCENT, SECOND, THIRD, FOURTH]),
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "grid.color": FAINT,
    "font.size": 10,
    "figure.dpi": 100,
}


def panels(count: int, height: float = 2.8, **how: Any) -> tuple[Figure, Any]:
    """A figure of so many panels, one below the other; its axes as an array (count,).

    Args:
        count: of panels.
        height: of a panel, in inches.
        how: more for ``pyplot.subplots``, such as ``sharex``.
    """
    figure, axes = plt.subplots(count, 1, figsize=(WIDTH, height * count + 0.4), squeeze=False, **how)
    return figure, axes[:, 0]


def plain_ticks(axis: Axis, most: int = 5) -> None:
    """Numbers as people write them on an axis, at least two, also where a logarithm spans less than a decade."""
    low, high = sorted(axis.get_view_interval())
    if axis.get_scale() == "log" and high / low >= 10:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 100 else (1.0,)))
    else:
        axis.set_major_locator(MaxNLocator(most, min_n_ticks=2))
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: Path) -> Path:
    """Write a picture, and let go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    with written_whole(path) as staged:
        # Named, since the file has another ending for now. A legend may stand below the panels.
        figure.savefig(staged, format=path.suffix[1:] or "png", dpi=DPI, bbox_inches="tight")
    plt.close(figure)
    return path
