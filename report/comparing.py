"""The pictures of docs/results/pictures.md: what run records say, beside what others have published."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes

from lmu_hf.common.record import MetricsLog, RunRecord
from lmu_hf.common.style import ACCENT, INK, SECOND, STYLE, THIRD, panels, plt, save
from table import read_records, read_runs

# Per text, what trains on it: the recipe, what it is called, and how it is drawn.
WINDOWS, ALONE = "LMU, windows, n-grams", "LSTM alone"
CHARACTERS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "Penn Treebank": (
        ("ptb-char", "LMU", ACCENT, "o-"),
        ("ptb-char-windows", WINDOWS, ACCENT, "^:"),
        ("ptb-char-lstm", "LSTM", SECOND, "s-"),
        ("ptb-char-windows-lstm", ALONE, SECOND, "D:"),
    ),
    "text8, its first 6.4 million characters": (
        ("text8", "LMU", ACCENT, "o-"),
        ("text8-windows", WINDOWS, ACCENT, "^:"),
        ("text8-lstm", "LSTM", SECOND, "s-"),
        ("text8-windows-lstm", ALONE, SECOND, "D:"),
    ),
}


@dataclass(frozen=True)
class Mark:
    """A model: how many parameters were trained, accuracy in per cent, and where its name stands beside its point.

    A name that is shifted to the left ends there. ``more`` says whether the model had more than the training set as it
    is: deformed images, or unlabelled text. ``is_baseline`` is a run's, as its record says.
    """

    name: str
    parameters: int
    accuracy: float
    shift: tuple[int, int] = (7, -3)
    more: bool = False
    is_baseline: bool = False


@dataclass(frozen=True)
class Panel:
    """One test set of :func:`accuracy_against_parameters`.

    Args:
        title: of the panel.
        recipes: of this project, with the places of their names.
        extra: of these, the recipes that had more than the training set as it is.
        marks: what others have published.
        kinds: what the legend calls a model with the training set alone, and one with more.
    """

    title: str
    recipes: dict[str, tuple[int, int]]
    extra: tuple[str, ...]
    marks: tuple[Mark, ...]
    kinds: tuple[str, str]


PANELS = (
    Panel(
        "psMNIST, permutation 0",
        {"psmnist": (-7, 4), "psmnist-plain": (-7, -10)},
        ("psmnist",),
        (
            Mark("LMU of 2019", 102_000, 97.15),
            Mark("the paper's LMU", 165_000, 98.49, (7, 4)),
            Mark("SMPConv", 370_000, 99.10),
            Mark("CKConv", 1_000_000, 98.54, (-7, -11)),
        ),
        ("images as they are", "deformed images"),
    ),
    Panel(
        "IMDB",
        {
            "imdb": (-7, -3),
            "imdb-lstm": (-7, -3),
            "imdb-fine-tuned": (3, -14),
            "imdb-linear": (7, -3),
        },
        ("imdb-fine-tuned", "imdb-linear"),
        (
            Mark("the paper's LMU", 34_000_000, 93.20, (-7, 5), more=True),
            Mark("LSTM", 75_000_000, 92.88, (7, 2), more=True),
            Mark("DistilBERT", 66_000_000, 92.82, (7, -9), more=True),
        ),
        ("labelled reviews alone", "unlabelled text, too"),
    ),
)


def bits_against_text(records: Path, path: Path) -> Path:
    """Validation bits per character by how much text was read, a panel for each text with an LMU and an LSTM.

    Time is not drawn: the runs shared their machine with other jobs. Of several seeds the first is drawn.

    Raises:
        FileNotFoundError: there is no finished pair of runs.
    """
    first: dict[str, tuple[Path, RunRecord]] = {}
    for folder, record in read_runs(records).items():
        first.setdefault(record.recipe, (folder, record))
    texts = {text: [curve for curve in curves if curve[0] in first] for text, curves in CHARACTERS.items()}
    texts = {text: curves for text, curves in texts.items() if _has_both([first[name][1] for name, *_ in curves])}
    if not texts:
        raise FileNotFoundError(f"no LMU with its LSTM among the runs of characters below {records}")
    with plt.rc_context(STYLE):
        figure, axes = panels(len(texts), height=3.4)
        for axis, (text, curves) in zip(axes, texts.items(), strict=True):
            for name, called, colour, style in curves:
                folder, record = first[name]
                rows = MetricsLog.read(folder)
                million = record.data["characters"]["train"] / 1e6
                read = [row["epoch"] * million for row in rows]
                bits = [row[f"validation_{record.metric}"] for row in rows]
                computed = record.parameters["total"] - record.parameters["embeddings"]
                label = f"{called}, {computed / 1e6:.2f} M: {bits[-1]:.3f}"
                axis.plot(read, bits, style, color=colour, markersize=4, linewidth=1.4, label=label)
            axis.set(xlabel="characters read, millions", ylabel="bits per character, validation")
            axis.set_xlim(left=0)
            axis.set_title(text)
            axis.legend(loc="upper center", bbox_to_anchor=(0.45, -0.22))
        return save(figure, path)


def accuracy_against_parameters(records: Path, path: Path) -> Path:
    """Test accuracy against trained parameters, with published models as points, a panel for each of ``PANELS``."""
    found = read_records(records)
    with plt.rc_context(STYLE):
        figure, axes = panels(len(PANELS), height=3.8)
        for axis, panel in zip(axes, PANELS, strict=True):
            ours = [_mark(found, recipe, shift, recipe in panel.extra) for recipe, shift in panel.recipes.items()]
            groups = {
                "this project": ([mark for mark in ours if not mark.is_baseline], ACCENT, "o"),
                "LSTM baseline": ([mark for mark in ours if mark.is_baseline], SECOND, "s"),
                "published": (list(panel.marks), THIRD, "D"),
            }
            for name, (marks, colour, marker) in groups.items():
                for more, kind in enumerate(panel.kinds):
                    _scatter(axis, [mark for mark in marks if mark.more == more], f"{name}, {kind}", colour, marker)
            axis.set(xscale="log", xlabel="trained parameters", ylabel="test accuracy, %")
            axis.margins(x=0.32, y=0.12)
            axis.set_title(panel.title)
            axis.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=1)
        return save(figure, path)


def score_by_length(reports: dict[str, dict], metric: str, path: Path) -> Path:
    """A score of texts by their length, as bars side by side.

    Args:
        reports: by the model's name, what ``scripts/evaluate.py --by_length`` wrote; all of the same rows.
        metric: the score.
        path: of the picture.

    Raises:
        ValueError: a report does not score texts by their length, or the groups of two are not the same.
    """
    for name, report in reports.items():
        if "by_length" not in report:
            raise ValueError(f"the {name}'s report has no scores by length: write it with evaluate.py --by_length")
    groups = {name: report["by_length"]["groups"] for name, report in reports.items()}
    labels, *others = [
        ["–".join(str(words) for words in sorted(set(group["length"]))) + f"\n{group['rows']} rows" for group in rows]
        for rows in groups.values()
    ]
    if any(other != labels for other in others):
        raise ValueError(f"the reports of {', '.join(reports)} group other rows: score the same split")
    first = next(iter(reports.values()))
    unit, task = first["by_length"]["unit"], first["task"]
    width = 0.8 / len(groups)
    with plt.rc_context(STYLE):
        figure, (axis,) = panels(1, height=3.4)
        for number, (name, rows) in enumerate(groups.items()):
            places = [place + (number - (len(groups) - 1) / 2) * width for place in range(len(rows))]
            whole = reports[name]["scores"][metric]
            scores = [group["scores"][metric] for group in rows]
            bars = axis.bar(places, scores, width=width, color=f"C{number}", label=f"{name}: {whole:.1f} over all rows")
            axis.bar_label(bars, labels=[f"{score:.1f}" for score in scores], padding=2, fontsize=8, color=INK)
        axis.set_xticks(range(len(labels)), labels)
        axis.margins(y=0.3)  # room for the legend and the scores above the bars
        axis.set(xlabel=unit, ylabel={"bleu": "BLEU"}.get(metric, metric))
        axis.set_title(f"{task}, {first['split']}")
        axis.legend(loc="upper right")
        return save(figure, path)


def _mark(records: list[RunRecord], recipe: str, shift: tuple[int, int], more: bool) -> Mark:
    """A recipe's mean over its seeds; of images, those in the first permutation's order."""
    group = [record for record in records if record.recipe == recipe]
    group = [record for record in group if record.architecture.get("permutation_seed", 0) == 0]
    accuracy = 100 * mean(record.metrics["test"]["accuracy"] for record in group)
    return Mark(recipe, group[0].parameters["trainable"], accuracy, shift, more, group[0].baseline is not None)


def _has_both(records: list[RunRecord]) -> bool:
    """Whether there are an LMU and a baseline among them."""
    return {record.baseline is None for record in records} == {True, False}


def _scatter(axis: Axes, marks: Sequence[Mark], label: str, colour: str, marker: str) -> None:
    """Points with their names beside them, hollow ones for models that had more; nothing where there is none."""
    if not marks:
        return
    places = [mark.parameters for mark in marks], [mark.accuracy for mark in marks]
    face = "none" if marks[0].more else colour
    axis.scatter(*places, facecolors=face, edgecolors=colour, marker=marker, s=36, linewidths=1.6, label=label)
    for mark in marks:
        place = mark.parameters, mark.accuracy
        side = "right" if mark.shift[0] < 0 else "left"
        axis.annotate(mark.name, place, mark.shift, textcoords="offset points", fontsize=9, color=INK, ha=side)
