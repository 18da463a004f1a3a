"""The README's tables, rendered from what runs and benchmarks wrote down and from nothing else."""

import json
import statistics
from pathlib import Path

from ..training.record import RunRecord

HEADER = ["recipe", "pixel order", "parameters", "validation, %", "test, %", "runs", "seconds a run", "command"]


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
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        if "accuracy" in record.metrics.get("test", {}):
            groups.setdefault((record.recipe, _pixel_order(record)), []).append(record)
    return _markdown(HEADER, [_row(*key, group) for key, group in sorted(groups.items())])


def _pixel_order(record: RunRecord) -> str:
    if record.architecture.get("pixel_order") != "permuted":
        return "raster"
    return f"permutation {record.architecture.get('permutation_seed', 0)}"


def _row(recipe: str, order: str, group: list[RunRecord]) -> list[str]:
    def score(split: str) -> str:
        values = [100 * record.metrics[split]["accuracy"] for record in group]
        spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
        return f"{statistics.mean(values):.2f}{spread}"

    seeds = ", ".join(str(record.seed) for record in group)
    return [
        recipe,
        order,
        f"{group[0].parameters['total']:,}",
        score("validation"),
        score("test"),
        f"seed{'s' * (len(group) > 1)} {seeds}",
        f"{statistics.median(record.wall_seconds for record in group):.0f}",
        f"`{group[0].command}`",
    ]


def speed_table(result: dict) -> str:
    """What `scripts/benchmark_memory.py` measured, as it left it in its JSON file."""
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


def render(folder: Path) -> dict[str, str]:
    """Every table, by the name between its markers."""
    benchmark = json.loads((folder / "benchmark_memory.json").read_text(encoding="utf-8"))
    return {"results": results_table(read_records(folder)), "speed": speed_table(benchmark)}


def markers(name: str) -> tuple[str, str]:
    """The two lines of a page between which a table stands."""
    return f"<!-- {name}: written by scripts/results_table.py -->", f"<!-- end of {name} -->"


def write_into(page: Path, tables: dict[str, str]) -> None:
    """Put tables between a page's markers.

    Raises:
        ValueError: the page lacks a table's markers; it is left as it was.
    """
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = markers(name)
        if begin not in text or end not in text:
            raise ValueError(f"{page} must hold the lines {begin!r} and {end!r}")
        before, rest = text.split(begin, 1)
        text = f"{before}{begin}\n{table}\n{end}{rest.split(end, 1)[1]}"
    page.write_text(text, encoding="utf-8")


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
