"""The tables of docs/results/, rendered from what runs and benchmarks wrote down and from nothing else."""

import statistics
from collections.abc import Callable
from pathlib import Path

from lmu_hf.common.record import RunRecord
from lmu_hf.common.staging import write_text
from lmu_hf.hub import markup
from lmu_hf.hub.caveats import footnotes, recipe_marks, run_marks

SIZE = "parameters (embeddings)"
UNITS = {"accuracy": 100, "bits_per_character": 1, "bleu": 1, "nrmse": 1}  # accuracy is shown as a percentage
BUDGET = ["seeds", "seconds a run"]
IMAGES = ["recipe", "pixel order", "parameters", "validation, %", "test, %", *BUDGET]
TEXT = ["recipe", SIZE, "validation", "test", *BUDGET]
COMPRESSORS = ["gzip", "bz2", "xz", "xz, after the training text"]
TRANSLATION = ["recipe", "languages", SIZE, "validation BLEU", "test BLEU", *BUDGET]
SERIES = ["recipe", "parameters", "validation NRMSE", "test NRMSE", *BUDGET]
CLASSES = ["recipe", "trained parameters", "all parameters", "validation, %", "test, %", *BUDGET]


def read_runs(folder: Path) -> dict[Path, RunRecord]:
    """Every finished run below a folder, by its own folder, in the order of their names.

    Raises:
        FileNotFoundError: there is none.
    """
    folders = sorted(path.parent for path in folder.glob("*/run.json"))
    if not folders:
        raise FileNotFoundError(f"no finished run below {folder}")
    return {folder: RunRecord.read(folder) for folder in folders}


def read_records(folder: Path) -> list[RunRecord]:
    """The records alone of :func:`read_runs`."""
    return list(read_runs(folder).values())


def images_table(records: list[RunRecord]) -> str:
    """One row per recipe and pixel order: mean scores and, over several seeds, their range."""
    images = [record for record in records if record.task == "image-classification"]
    groups = _groups(images, "accuracy", _pixel_order)
    return _table(IMAGES, [(group, [order, _size(group), *_scores(group, 2)]) for order, group in groups])


def text_table(records: list[RunRecord]) -> str:
    """One row per recipe: bits per character."""
    groups = _groups(records, "bits_per_character", lambda record: "")
    return _table(TEXT, [(group, [_sizes(group), *_scores(group, 3)]) for _, group in groups])


def compressors_table(records: list[RunRecord]) -> str:
    """One row per data set: bits per character that compressors need for the test text of :func:`text_table`."""
    found = {record.data["name"]: record.data["compressors"] for record in records if record.data.get("compressors")}
    rows = [[name, *(f"{bits[column]:.3f}" for column in COMPRESSORS)] for name, bits in sorted(found.items())]
    return markup.table(["data", *COMPRESSORS], rows)


def translation_table(records: list[RunRecord]) -> str:
    """One row per recipe and pair of languages: BLEU with beams."""
    groups = _groups(records, "bleu", lambda record: " → ".join(record.data["languages"]))
    rows = [(group, [languages, _sizes(group), *_scores(group, 1)]) for languages, group in groups]
    return _table(TRANSLATION, rows)


def series_table(records: list[RunRecord]) -> str:
    """One row per recipe: root mean squared error over the target's root mean square."""
    groups = _groups(records, "nrmse", lambda record: record.data["name"])
    return _table(SERIES, [(group, [_size(group), *_scores(group, 4)]) for _, group in groups])


def classification_table(records: list[RunRecord]) -> str:
    """One row per recipe: accuracy on texts and pairs of texts."""
    texts = [record for record in records if record.task == "text-classification"]
    groups = _groups(texts, "accuracy", lambda record: record.data["name"])
    rows = [(group, [f"{group[0].parameters['trainable']:,}", _size(group), *_scores(group, 1)]) for _, group in groups]
    return _table(CLASSES, rows)


def classical_table(rows: list[dict]) -> str:
    """One row per data set: accuracy of the majority class, and of tf-idf with logistic regression."""
    cells = [
        [row["name"], *(f"{100 * row[column]:.1f}" for column in ("majority", "validation", "test"))] for row in rows
    ]
    return markup.table(["data", "majority, test, %", "tf-idf, validation, %", "tf-idf, test, %"], cells)


def _table(header: list[str], rows: list[tuple[list[RunRecord], list[str]]]) -> str:
    """A row for each group of runs, between its recipe and its budget, and the footnotes of its marks."""
    cells = [[group[0].recipe + recipe_marks(group), *own, *_budget(group)] for group, own in rows]
    notes = footnotes([record for group, _ in rows for record in group])
    return markup.table(header, cells) + (f"\n\n{notes}" if notes else "")


def _size(group: list[RunRecord]) -> str:
    return f"{group[0].parameters['total']:,}"


def _sizes(group: list[RunRecord]) -> str:
    """All parameters and, in brackets, those that are only looked up."""
    return f"{_size(group)} ({group[0].parameters['embeddings']:,})"


def _groups(
    records: list[RunRecord], metric: str, key: Callable[[RunRecord], str]
) -> list[tuple[str, list[RunRecord]]]:
    """Records with a score of that metric, by recipe and key; the keys are handed back."""
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        if metric in record.metrics["validation"]:
            groups.setdefault((record.recipe, key(record)), []).append(record)
    return [(of, group) for (_, of), group in sorted(groups.items())]


def _scores(group: list[RunRecord], digits: int) -> list[str]:
    """The validation and the test score of a group, by the metric that its weights are chosen by."""
    return [score(group, split, digits) for split in ("validation", "test")]


def score(group: list[RunRecord], split: str, digits: int) -> str:
    """The mean of a score and, over several seeds, its range; nothing where the data has no such split."""
    values = _values(group, split)
    spread = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return mean_score(group, split, digits) + spread


def mean_score(group: list[RunRecord], split: str, digits: int) -> str:
    """The mean of a score over seeds; nothing where the data has no such split."""
    values = _values(group, split)
    return f"{statistics.mean(values):.{digits}f}" if values else ""


def _values(group: list[RunRecord], split: str) -> list[float]:
    """The score of every run of a group, in the unit of the tables."""
    if not all(split in record.metrics for record in group):
        return []
    metric = next(name for name in UNITS if name in group[0].metrics[split])
    return [UNITS[metric] * record.metrics[split][metric] for record in group]


def _budget(group: list[RunRecord]) -> list[str]:
    seeds = ", ".join(f"{record.seed}{run_marks(record)}" for record in group)
    return [seeds, f"{statistics.median(record.wall_seconds for record in group):.0f}"]


def _pixel_order(record: RunRecord) -> str:
    if "permutation_seed" not in record.architecture:
        return "raster"
    return f"permutation {record.architecture['permutation_seed']}"


def render(folder: Path, classical: list[dict]) -> dict[str, dict[str, str]]:
    """Every table of run records, by the page of docs/results/ that it stands on and the name between its markers.

    Args:
        folder: of run folders.
        classical: what ``report/classical.py`` measured.
    """
    records = read_records(folder)
    return {
        "images.md": {"images": images_table(records)},
        "text.md": {"text": text_table(records), "compressors": compressors_table(records)},
        "translation.md": {"translation": translation_table(records)},
        "series.md": {"series": series_table(records)},
        "classification.md": {
            "classification": classification_table(records),
            "classical": classical_table(classical),
        },
    }


def markers(name: str, script: str = "results_table.py") -> tuple[str, str]:
    """The two lines of a page between which a table stands."""
    return f"<!-- {name}: written by report/{script} -->", f"<!-- end of {name} -->"


def write_into(page: Path, tables: dict[str, str], script: str = "results_table.py") -> None:
    """Put tables between a page's markers.

    Raises:
        ValueError: the page lacks a table's markers; it is left as it was.
    """
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = markers(name, script)
        if begin not in text or end not in text:
            raise ValueError(f"{page} must hold the lines {begin!r} and {end!r}")
        before, rest = text.split(begin, 1)
        text = f"{before}{begin}\n{table}\n{end}{rest.split(end, 1)[1]}"
    write_text(page, text)
