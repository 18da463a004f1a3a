"""The table of what is promised, how often that was tried and how often it failed, from records/promises.json."""

import json
from pathlib import Path

from lmu_hf.hub import markup


def render(folder: Path) -> dict[str, str]:
    """The table, by the name between its markers."""
    rows = json.loads((folder / "promises.json").read_text(encoding="utf-8")).values()
    return {"promised": promised_table(list(rows))}


def promised_table(rows: list[dict]) -> str:
    """A row for each promise, in the order of the file."""
    header = ["promise", "tried", "failures", "command"]
    cells = [[row["promise"], f"{row['tried']:,}", f"{row['failures']:,}", f"`{row['command']}`"] for row in rows]
    return markup.table(header, cells)
