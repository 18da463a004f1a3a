"""The table of releases that the tests were run with, from what ``make matrix`` left in its JSON file."""

import json
from pathlib import Path

from lmu_hf.hub import markup


def render(folder: Path) -> dict[str, str]:
    """The table, by the name between its markers."""
    return {"versions": versions_table(json.loads((folder / "matrix.json").read_text(encoding="utf-8")))}


def versions_table(results: list[dict]) -> str:
    """A column for each environment, a row for each package, and below them how tests, README and demo went."""
    packages = results[0]["versions"]
    rows = [[package, *(result["versions"][package] for result in results)] for package in packages]
    rows.append(["tests", *(_counts(result["tests"]) for result in results)])
    rows.append(["README's code", *(_counts(result["readme"]) for result in results)])
    rows.append(["`make demo`", *("passed" if result["demo"] == 0 else "failed" for result in results)])
    return markup.table(["", *(result["environment"] for result in results)], rows)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {word}" for word, number in counts.items())
