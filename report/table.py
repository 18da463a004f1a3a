"""The README's tables, rendered from what runs and benchmarks wrote down and from nothing else."""

import statistics
from collections.abc import Callable
from pathlib import Path

from lmu_hf.common.record import RunRecord
from lmu_hf.common.staging import write_text
from lmu_hf.hub import markup

IMAGES = ["recipe", "pixel order", "parameters", "validation, %", "test, %", "runs"]
SIZES = ["parameters", "of them embeddings"]
COMPRESSORS = ["gzip", "bz2", "xz", "xz, after the training text"]
TEXT = ["recipe", *SIZES, "validation", "test", *COMPRESSORS, "runs"]
TRANSLATION = ["recipe", "languages", *SIZES, "validation BLEU", "test BLEU", "runs"]
SERIES = ["recipe", "series", "parameters", "validation NRMSE", "test NRMSE", "runs"]
CLASSES = ["recipe", "data", *SIZES, "trained", "validation, %", "test, %", "test rows", "runs"]
BUDGET = ["seconds a run", "command"]


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


def results_table(records: list[RunRecord]) -> str:
    """One row per recipe and pixel order: mean scores and, over several seeds, their range."""
    images = [record for record in records if record.task == "image-classification"]
    rows = []
    for (recipe, order), group in _groups(images, "accuracy", _pixel_order):
        scores = [_score(group, split, "accuracy", 100, 2) for split in ("validation", "test")]
        rows.append([recipe, order, _size(group), *scores, _seeds(group), *_budget(group)])
    return markup.table(IMAGES + BUDGET, rows)


def text_table(records: list[RunRecord]) -> str:
    """One row per recipe: bits per character, and what compressors need for the same test text."""
    rows = []
    for (recipe, _), group in _groups(records, "bits_per_character", lambda record: ""):
        scores = [_score(group, split, "bits_per_character", 1, 3) for split in ("validation", "test")]
        compressed = group[0].data.get("compressors", {})
        others = [f"{compressed[name]:.3f}" if name in compressed else "" for name in COMPRESSORS]
        rows.append([recipe, *_sizes(group), *scores, *others, _seeds(group), *_budget(group)])
    return markup.table(TEXT + BUDGET, rows)


def translation_table(records: list[RunRecord]) -> str:
    """One row per recipe and pair of languages: BLEU with beams."""
    rows = []
    for (recipe, languages), group in _groups(records, "bleu", lambda record: " → ".join(record.data["languages"])):
        scores = [_score(group, split, "bleu", 1, 1) for split in ("validation", "test")]
        rows.append([recipe, languages, *_sizes(group), *scores, _seeds(group), *_budget(group)])
    return markup.table(TRANSLATION + BUDGET, rows)


def series_table(records: list[RunRecord]) -> str:
    """One row per recipe: root mean squared error over the target's root mean square."""
    rows = []
    for (recipe, series), group in _groups(records, "nrmse", lambda record: record.data["name"]):
        scores = [_score(group, split, "nrmse", 1, 4) for split in ("validation", "test")]
        rows.append([recipe, series, _size(group), *scores, _seeds(group), *_budget(group)])
    return markup.table(SERIES + BUDGET, rows)


def classification_table(records: list[RunRecord]) -> str:
    """One row per recipe: accuracy on texts and pairs of texts, embeddings apart."""
    texts = [record for record in records if record.task == "text-classification"]
    rows = []
    for (recipe, data), group in _groups(texts, "accuracy", lambda record: record.data["name"]):
        scores = [_score(group, split, "accuracy", 100, 1) for split in ("validation", "test")]
        tested = f"{group[0].data['rows']['test']:,}"
        trained = f"{group[0].parameters['trainable']:,}"
        rows.append([recipe, data, *_sizes(group), trained, *scores, tested, _seeds(group), *_budget(group)])
    return markup.table(CLASSES + BUDGET, rows)


def _size(group: list[RunRecord]) -> str:
    return f"{group[0].parameters['total']:,}"


def _sizes(group: list[RunRecord]) -> list[str]:
    """All parameters, and those that are only looked up."""
    return [_size(group), f"{group[0].parameters['embeddings']:,}"]


def _groups(
    records: list[RunRecord], metric: str, key: Callable[[RunRecord], str]
) -> list[tuple[tuple[str, str], list[RunRecord]]]:
    """Records with a score of that metric, by recipe and key."""
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        if metric in record.metrics["validation"]:
            groups.setdefault((record.recipe, key(record)), []).append(record)
    return sorted(groups.items())


def _score(group: list[RunRecord], split: str, metric: str, unit: float, digits: int) -> str:
    """The mean of a score and, over several seeds, its range; nothing where the data has no such split."""
    if not all(split in record.metrics for record in group):
        return ""
    values = [unit * record.metrics[split][metric] for record in group]
    spread = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def _seeds(group: list[RunRecord]) -> str:
    return f"seed{'s' * (len(group) > 1)} {', '.join(str(record.seed) for record in group)}"


def _budget(group: list[RunRecord]) -> list[str]:
    return [f"{statistics.median(record.wall_seconds for record in group):.0f}", markup.code(group[0].command)]


def _pixel_order(record: RunRecord) -> str:
    if "permutation_seed" not in record.architecture:
        return "raster"
    return f"permutation {record.architecture['permutation_seed']}"


def render(folder: Path) -> dict[str, str]:
    """Every table of run records, by the name between its markers."""
    records = read_records(folder)
    return {
        "results": results_table(records),
        "text": text_table(records),
        "translation": translation_table(records),
        "series": series_table(records),
        "classification": classification_table(records),
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
