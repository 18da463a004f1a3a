"""The pictures of docs/results/pictures.md: what run records say, beside what others have published."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from lmu_hf.common.figures import ACCENT, FAINT, INK, STYLE, save
from lmu_hf.common.record import MetricsLog, RunRecord
from table import read_records, read_runs

# Per text, what trains on it: the recipe, what it is called, and how it is drawn.
WINDOWS, ALONE = "LMU, windows, n-grams", "LSTM alone"
CHARACTERS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "Penn Treebank": (
        ("ptb-char", "LMU", ACCENT, "o-"),
        ("ptb-char-windows", WINDOWS, ACCENT, "^:"),
        ("ptb-char-lstm", "LSTM", INK, "o-"),
        ("ptb-char-windows-lstm", ALONE, FAINT, "o-"),
    ),
    "text8, its first 6.4 M characters": (
        ("text8", "LMU", ACCENT, "o-"),
        ("text8-windows", WINDOWS, ACCENT, "^:"),
        ("text8-lstm", "LSTM", INK, "o-"),
        ("text8-windows-lstm", ALONE, FAINT, "o-"),
    ),
}


@dataclass(frozen=True)
class Mark:
    """A model: how many parameters were trained, accuracy in per cent, and how far from its point its name begins.

    A name that is shifted to the left ends there. ``is_baseline`` is a run's, as its record says.
    """

    name: str
    parameters: int
    accuracy: float
    shift: tuple[int, int] = (6, 4)
    is_baseline: bool = False


@dataclass(frozen=True)
class Panel:
    """One test set of :func:`accuracy_against_parameters`: this project's recipes, and others' marks."""

    title: str
    recipes: tuple[str, ...]
    marks: tuple[Mark, ...]


PANELS = (
    Panel(
        "psMNIST, permutation 0",
        ("psmnist", "psmnist-plain"),
        (
            Mark("LMU of 2019", 102_000, 97.15),
            Mark("the paper's LMU", 165_000, 98.49),
            Mark("SMPConv", 370_000, 99.10, (6, -12)),
            Mark("CKConv", 1_000_000, 98.54),
        ),
    ),
    Panel(
        "IMDB",
        ("imdb", "imdb-lstm", "imdb-votes", "imdb-student", "imdb-linear"),
        (
            Mark("the paper's LMU, pre-trained", 34_000_000, 93.20, (-6, 4)),
            Mark("LSTM, pre-trained", 75_000_000, 92.88),
            Mark("DistilBERT", 66_000_000, 92.82, (0, -27)),
        ),
    ),
)


def bits_against_time(records: Path, path: Path) -> Path:
    """Validation bits per character while an LMU and the LSTMs beside it train, a panel for each text that has both.

    Of several seeds the first is drawn.

    Raises:
        FileNotFoundError: there is no finished pair of runs.
    """
    first: dict[str, tuple[Path, RunRecord]] = {}
    for folder, record in read_runs(records).items():
        first.setdefault(record.recipe, (folder, record))
    panels = {text: [curve for curve in curves if curve[0] in first] for text, curves in CHARACTERS.items()}
    panels = {text: curves for text, curves in panels.items() if _has_both([first[name][1] for name, *_ in curves])}
    if not panels:
        raise FileNotFoundError(f"no LMU with its LSTM among the runs of characters below {records}")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(panels), figsize=(6.5 * len(panels), 4), squeeze=False)
        for axis, (text, curves) in zip(axes[0], panels.items(), strict=True):
            for name, called, colour, style in curves:
                folder, record = first[name]
                rows = MetricsLog.read(folder)
                minutes = [row["seconds"] / 60 for row in rows]
                bits = [row[f"validation_{record.metric}"] for row in rows]
                computed = record.parameters["total"] - record.parameters["embeddings"]
                told = f"{called}, {computed / 1e6:.2f} M: {bits[-1]:.3f}"
                axis.plot(minutes, bits, style, color=colour, markersize=3, label=told)
            axis.set(xlabel="minutes of training", ylabel="bits per character, validation")
            axis.set_xlim(left=0)
            axis.set_title(text, loc="left", fontsize=10)
            axis.legend(frameon=False)
        return save(figure, path)


def accuracy_against_parameters(records: Path, path: Path) -> Path:
    """Test accuracy against trained parameters, with published models as points, a panel for each of ``PANELS``."""
    every = read_records(records)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(PANELS), figsize=(6.5 * len(PANELS), 4.5))
        for axis, panel in zip(axes, PANELS, strict=True):
            ours = [_mark(every, recipe) for recipe in panel.recipes]
            _scatter(axis, [mark for mark in ours if not mark.is_baseline], ACCENT, "o")
            _scatter(axis, [mark for mark in ours if mark.is_baseline], INK, "s")
            _scatter(axis, panel.marks, FAINT, "D")
            axis.set(xscale="log", xlabel="trained parameters", ylabel="test accuracy, %")
            axis.margins(x=0.3, y=0.1)
            axis.set_title(panel.title, loc="left", fontsize=10)
        return save(figure, path)


def score_by_length(report: Path, metric: str, path: Path) -> Path:
    """A score of texts by their length, from what ``scripts/evaluate.py --by_length`` wrote.

    Raises:
        ValueError: the report does not score texts by their length.
    """
    told = json.loads(report.read_text(encoding="utf-8"))
    if "by_length" not in told:
        raise ValueError(f"{report} has no scores by length: write it with evaluate.py --by_length")
    groups = told["by_length"]["groups"]
    labels = ["–".join(str(words) for words in sorted(set(group["length"]))) for group in groups]
    scores = [group["scores"][metric] for group in groups]
    whole = told["scores"][metric]
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.5, 4))
        bars = axis.bar(labels, scores, color=ACCENT, width=0.6)
        axis.bar_label(bars, labels=[f"{score:.1f}" for score in scores], padding=2)
        rows = [f"{group['rows']} rows" for group in groups]
        axis.bar_label(bars, labels=rows, label_type="center", color="white", fontsize=8)
        axis.margins(y=0.1)  # room for the scores above the bars
        axis.set(xlabel=told["by_length"]["unit"], ylabel={"bleu": "BLEU"}.get(metric, metric))
        axis.set_title(f"{told['task']}, {told['split']}: {whole:.1f} over all rows", loc="left", fontsize=10)
        return save(figure, path)


def _mark(records: list[RunRecord], recipe: str) -> Mark:
    """A recipe's mean over its seeds; of images, those in the first permutation's order."""
    group = [record for record in records if record.recipe == recipe]
    group = [record for record in group if record.architecture.get("permutation_seed", 0) == 0]
    accuracy = 100 * mean(record.metrics["test"]["accuracy"] for record in group)
    return Mark(recipe, group[0].parameters["trainable"], accuracy, (-6, 0), group[0].baseline is not None)


def _has_both(records: list[RunRecord]) -> bool:
    """Whether there are an LMU and a baseline among them."""
    return {record.baseline is None for record in records} == {True, False}


def _scatter(axis: Axes, marks: Sequence[Mark], colour: str, marker: str) -> None:
    """Points with their names beside them."""
    axis.scatter([mark.parameters for mark in marks], [mark.accuracy for mark in marks], color=colour, marker=marker)
    for mark in marks:
        place = mark.parameters, mark.accuracy
        side = "right" if mark.shift[0] < 0 else "left"
        axis.annotate(mark.name, place, mark.shift, textcoords="offset points", fontsize=8, color=INK, ha=side)
