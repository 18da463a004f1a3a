"""The notebooks run from their first cell to their last, and what they keep is what such a run gives."""

import json
import re
from itertools import groupby
from pathlib import Path

import pytest

from site_hooks import NOTEBOOKS, notebook_page
from test_docs import check_links

nbformat = pytest.importorskip("nbformat")
PROJECT = Path(__file__).parent.parent
NAMES = ["fine_tuning_on_a_csv", "quick_start", "streaming_a_signal"]
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@each
def test_a_notebook_is_valid_and_keeps_its_outputs_and_plots(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "`make notebooks` runs it"
    assert sum(bool(cell["outputs"]) for cell in code) >= len(code) - 1
    _, pictures = notebook_page(json.loads(path.read_text(encoding="utf-8")), path.stem)
    assert pictures and all(picture.startswith(b"\x89PNG") for picture in pictures.values())


@each
def test_what_a_notebook_keeps_names_no_place_and_no_error(path):
    kept = json.dumps([cell["outputs"] for cell in cells(path, "code")])
    assert not re.search(r"/(?:tmp|home|root|work|usr)/|Warning|Traceback|stderr", kept)
    assert path.stat().st_size < 400_000


@each
def test_what_a_notebook_links_to_exists(path):
    text = "\n".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    check_links(text, path)


def kinds_of(outputs: list) -> list[str]:
    """What a cell gave out; how printed text is cut into pieces depends on how fast the machine is."""
    return [kind for kind, _ in groupby(output.output_type for output in outputs)]


@pytest.mark.slow
@each
def test_a_notebook_runs(path):
    from notebooks import read, run

    stored = read(path)
    fresh = run(read(path))
    for before, now in zip(stored.cells, fresh.cells, strict=True):
        if before.cell_type == "code":  # numbers differ by machine; what is printed and drawn does not
            assert kinds_of(before.outputs) == kinds_of(now.outputs)
