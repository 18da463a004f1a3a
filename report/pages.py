"""The pages of the project that hold generated tables."""

import json
from pathlib import Path

import box
import forecasts
import headlines
import own_files
import own_language
import own_sounds
import promised
import series
import speed
import table
import versions
import works_with


def render_pages(project: Path, records: Path) -> dict[Path, dict[str, str]]:
    """Every page that holds tables, and its tables by the name between their markers.

    Args:
        project: the project's folder.
        records: a folder of run folders and of what the benchmarks wrote.
    """
    results = project / "docs" / "results"
    classical = json.loads((records / "classical.json").read_text(encoding="utf-8"))["rows"]
    pages = {results / page: tables for page, tables in table.render(records, classical).items()}
    pages[results / "series.md"] |= series.render(records)
    more = [module.headline(records) for module in (series, own_sounds, forecasts)]
    return {
        project / "README.md": {
            "headlines": headlines.headline_table(table.read_records(records), classical, more),
            "speed-headlines": speed.headlines(records),
        },
        results / "speed.md": speed.render(records),
        results / "own_files.md": own_files.render(records) | own_language.render(records),
        results / "audio.md": own_sounds.render(records),
        results / "forecasts.md": forecasts.render(records),
        project / "docs" / "start" / "pretrained.md": box.render(),
        project / "docs" / "versions.md": versions.render(records),
        project / "docs" / "promised.md": promised.render(records),
        project / "docs" / "works_with.md": works_with.render(records),
        **pages,
    }
