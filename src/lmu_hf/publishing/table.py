"""The README's tables, rendered from what runs and benchmarks wrote down and from nothing else."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path

from ..training.record import RunRecord

IMAGES = ["recipe", "pixel order", "parameters", "validation, %", "test, %", "runs"]
TEXT = ["recipe", "parameters", "validation", "test", "gzip", "bz2", "xz", "xz, after the training text", "runs"]
TRANSLATION = ["recipe", "languages", "parameters", "validation BLEU", "test BLEU", "runs"]
SERIES = ["recipe", "series", "parameters", "validation NRMSE", "test NRMSE", "runs"]
CLASSES = ["recipe", "data", "parameters", "of them embeddings", "validation, %", "test, %", "test rows", "runs"]
BUDGET = ["seconds a run", "command"]


def read_records(folder: Path) -> list[RunRecord]:
    """Every finished run below a folder, in the order of the folders' names.

    Raises:
        FileNotFoundError: there is none.
    """
    folders = sorted(path.parent for path in folder.glob("*/run.json"))
    if not folders:
        raise FileNotFoundError(f"no finished run below {folder}")
    return [RunRecord.read(folder) for folder in folders]


def results_table(records: list[RunRecord]) -> str:
    """One row per recipe and pixel order: mean scores and, over several seeds, their range."""
    images = [record for record in records if "image_size" in record.architecture]
    rows = []
    for (recipe, order), group in _groups(images, "accuracy", _pixel_order):
        scores = [_score(group, split, "accuracy", 100, 2) for split in ("validation", "test")]
        rows.append([recipe, order, _size(group), *scores, _seeds(group), *_budget(group)])
    return _markdown(IMAGES + BUDGET, rows)


def text_table(records: list[RunRecord]) -> str:
    """One row per recipe: bits per character, and what compressors need for the same test text."""
    rows = []
    for (recipe, _), group in _groups(records, "bits_per_character", lambda record: ""):
        scores = [_score(group, split, "bits_per_character", 1, 3) for split in ("validation", "test")]
        compressed = group[0].data["compressors"]
        others = [f"{compressed[name]:.3f}" if name in compressed else "" for name in TEXT[4:8]]
        rows.append([recipe, _size(group), *scores, *others, _seeds(group), *_budget(group)])
    return _markdown(TEXT + BUDGET, rows)


def translation_table(records: list[RunRecord]) -> str:
    """One row per recipe and pair of languages: BLEU with beams."""
    rows = []
    for (recipe, languages), group in _groups(records, "bleu", lambda record: " → ".join(record.data["languages"])):
        scores = [_score(group, split, "bleu", 1, 1) for split in ("validation", "test")]
        rows.append([recipe, languages, _size(group), *scores, _seeds(group), *_budget(group)])
    return _markdown(TRANSLATION + BUDGET, rows)


def series_table(records: list[RunRecord]) -> str:
    """One row per recipe: root mean squared error over the target's root mean square."""
    rows = []
    for (recipe, series), group in _groups(records, "nrmse", lambda record: record.task):
        scores = [_score(group, split, "nrmse", 1, 4) for split in ("validation", "test")]
        rows.append([recipe, series, _size(group), *scores, _seeds(group), *_budget(group)])
    return _markdown(SERIES + BUDGET, rows)


def classification_table(records: list[RunRecord]) -> str:
    """One row per recipe: accuracy on texts and pairs of texts, embeddings apart."""
    texts = [record for record in records if "pairs" in record.data]
    rows = []
    for (recipe, data), group in _groups(texts, "accuracy", lambda record: record.data["name"]):
        scores = [_score(group, split, "accuracy", 100, 1) for split in ("validation", "test")]
        tested = f"{group[0].data['rows']['test']:,}"
        embeddings = f"{group[0].parameters['embeddings']:,}"
        rows.append([recipe, data, _size(group), embeddings, *scores, tested, _seeds(group), *_budget(group)])
    return _markdown(CLASSES + BUDGET, rows)


def _size(group: list[RunRecord]) -> str:
    return f"{group[0].parameters['total']:,}"


def _groups(
    records: list[RunRecord], metric: str, key: Callable[[RunRecord], str]
) -> list[tuple[tuple[str, str], list[RunRecord]]]:
    """Records with a test score of that metric, by recipe and key."""
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        if metric in record.metrics.get("test", {}):
            groups.setdefault((record.recipe, key(record)), []).append(record)
    return sorted(groups.items())


def _score(group: list[RunRecord], split: str, metric: str, unit: float, digits: int) -> str:
    """The mean of a score and, over several seeds, its range."""
    values = [unit * record.metrics[split][metric] for record in group]
    spread = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def _seeds(group: list[RunRecord]) -> str:
    return f"seed{'s' * (len(group) > 1)} {', '.join(str(record.seed) for record in group)}"


def _budget(group: list[RunRecord]) -> list[str]:
    return [f"{statistics.median(record.wall_seconds for record in group):.0f}", f"`{group[0].command}`"]


def _pixel_order(record: RunRecord) -> str:
    if record.architecture.get("pixel_order") != "permuted":
        return "raster"
    return f"permutation {record.architecture.get('permutation_seed', 0)}"


def speed_table(result: dict) -> str:
    """What `scripts/benchmark_memory.py` measured at every shape, as it left it in its JSON file."""
    if "shapes" not in result:  # a file of the time when the benchmark measured one shape
        return _one_speed_table(result)
    header = ["shape", "form of the memory", "outputs", "device", "milliseconds", "peak, MiB", "times the floor"]
    header += ["against the loop", "against the FFT"]
    rows = []
    for row in result["rows"]:
        cells = [_shape(row["shape"], result["shapes"][row["shape"]]), row["form"], row["outputs"], row["device"]]
        if "skipped" in row:
            rows.append([*cells, f"not measured: {row['skipped']}", *[""] * (len(header) - 5)])
            continue
        floor, loop, fft = (row[f"times_{other}"] for other in ("floor", "recurrent", "fft"))
        ratios = ["" if floor is None else f"{floor:.3g}"]
        ratios += ["" if ratio is None else f"{1 / ratio:.3g} x" for ratio in (loop, fft)]
        rows.append([*cells, f"{row['milliseconds']:.4g}", f"{row['peak_bytes'] / 2**20:.0f}", *ratios])
    return _markdown(header, rows)


def _shape(name: str, sizes: dict) -> str:
    return f"{name}: " + ", ".join(f"{letter} = {size:g}" for letter, size in sizes.items())


def _one_speed_table(result: dict) -> str:
    header = [
        "form of the memory",
        "outputs",
        "device",
        "milliseconds",
        "times the floor",
        "against the loop",
        "against the FFT",
    ]
    rows = [
        [
            row["form"],
            row["outputs"],
            row["device"],
            f"{row['milliseconds']:.4g}",
            f"{row['times_floor']:.3g}",
            f"{row['faster_than_recurrent']:.3g} x",
            f"{row['faster_than_fft']:.3g} x",
        ]
        for row in result["rows"]
    ]
    return _markdown(header, rows)


def generation_table(result: dict) -> str:
    """What `scripts/benchmark_generation.py` measured of every model, as it left it in its JSON file."""
    header = ["size", "batch", "prompt", "model", "parameters", "prefill, ms", "tokens a second"]
    header += ["times as fast: LMU stream", "LMU generate", "LMU prefill"]
    rows = []
    for row in result["rows"]:
        cell = [f"{row['size'] / 1e6:.3g} M", str(row["batch"]), f"{row['prompt']:,}"]
        if "skipped" in row:
            rows.append([*cell, f"not measured: {row['skipped']}", *[""] * (len(header) - 4)])
            continue
        ratios = (row.get(f"{way}_ratio") for way in ("stream", "generate", "prefill"))
        numbers = [f"{row['parameters']:,}", f"{1e3 * row['prefill_seconds']:.4g}", f"{row['tokens_per_second']:.4g}"]
        rows.append([*cell, row["model"], *numbers, *("" if ratio is None else f"{ratio:.3g} x" for ratio in ratios)])
    return _markdown(header, rows)


def training_table(result: dict) -> str:
    """What `scripts/benchmark_training.py` measured of every model, as it left it in its JSON file."""
    header = ["size", "length", "batch", "model", "parameters", "characters a second", "LMU is times as fast"]
    rows = []
    for row in result["rows"]:
        cell = [f"{row['size'] / 1e6:.3g} M", f"{row['length']:,}"]
        if "skipped" in row:
            rows.append([*cell, f"not measured: {row['skipped']}", *[""] * (len(header) - 3)])
            continue
        numbers = [f"{row['parameters']:,}", f"{row['characters_per_second']:,.0f}", f"{row['lmu_ratio']:.3g} x"]
        rows.append([*cell, str(row["batch"]), row["model"], *numbers])
    return _markdown(header, rows)


def position_table(result: dict) -> str:
    """A token's time along one stream, from the same file."""
    rows = [[f"{row['position']:,}", f"{row['microseconds']:.0f}"] for row in result["positions"]["rows"]]
    return _markdown(["position in the stream", "microseconds a token"], rows)


def render(folder: Path) -> dict[str, str]:
    """Every table, by the name between its markers."""
    speed, generation = (
        json.loads((folder / f"benchmark_{name}.json").read_text(encoding="utf-8")) for name in ("memory", "generation")
    )
    records = read_records(folder)
    return {
        "results": results_table(records),
        "text": text_table(records),
        "translation": translation_table(records),
        "series": series_table(records),
        "classification": classification_table(records),
        "speed": speed_table(speed),
        "generation": generation_table(generation),
        "positions": position_table(generation),
    }


def markers(name: str, script: str = "results_table.py") -> tuple[str, str]:
    """The two lines of a page between which a table stands."""
    return f"<!-- {name}: written by scripts/{script} -->", f"<!-- end of {name} -->"


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
    page.write_text(text, encoding="utf-8")


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
