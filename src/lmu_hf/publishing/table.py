"""The README's table of results, rendered from run records and nothing else."""

import statistics
from pathlib import Path

from ..training.record import RunRecord

BEGIN, END = "<!-- results: written by scripts/results_table.py -->", "<!-- end of results -->"
HEADER = ["recipe", "pixel order", "parameters", "validation, %", "test, %", "runs", "seconds a run", "command"]


def read_records(runs: Path) -> list[RunRecord]:
    """Every finished run below a folder, in the order of the folders' names.

    Raises:
        FileNotFoundError: there is none.
    """
    folders = sorted(path.parent for path in runs.glob("*/run.json"))
    if not folders:
        raise FileNotFoundError(f"no finished run below {runs}")
    return [RunRecord.read(folder) for folder in folders]


def results_table(records: list[RunRecord]) -> str:
    """One row per recipe and pixel order: mean scores and, over several runs, their range."""
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        if "test" in record.metrics:
            groups.setdefault((record.recipe, record.architecture.get("pixel_order", "raster")), []).append(record)
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(_row(*key, group)) + " |" for key, group in sorted(groups.items())]
    return "\n".join(lines)


def _row(recipe: str, order: str, group: list[RunRecord]) -> list[str]:
    def score(split: str) -> str:
        values = [100 * record.metrics[split]["accuracy"] for record in group]
        spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
        return f"{statistics.mean(values):.2f}{spread}"

    seeds = ", ".join(str(record.seed) for record in group)
    seconds = f"{statistics.median(record.wall_seconds for record in group):.0f}"
    runs = f"seed{'s' * (len(group) > 1)} {seeds}"
    return [
        recipe,
        order,
        f"{group[0].parameters['total']:,}",
        score("validation"),
        score("test"),
        runs,
        seconds,
        f"`{group[0].command}`",
    ]


def write_into(page: Path, table: str) -> None:
    """Put a table between a page's markers.

    Raises:
        ValueError: the page has no markers.
    """
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} must hold the lines {BEGIN!r} and {END!r}")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
