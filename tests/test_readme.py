"""README and docs are true: their Python runs, their tables are what the records say, and what is linked exists."""

import os
import re
from pathlib import Path
from unittest.mock import patch

import pytest

from pages import render_pages
from table import markers, read_records, write_into

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_python_of_the_readme_and_the_docs_runs(block, tmp_path, monkeypatch, capsys):
    if "from peft " in block:
        pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    with patch.dict(os.environ):
        exec(compile(block, "a block of the README or the docs", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


def test_the_readmes_first_example_learns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", README, re.DOTALL)[1], {})
    accuracy = float(re.search(r"tensor\(([\d.]+)\)", capsys.readouterr().out)[1])
    assert accuracy > 0.9


def test_tables_of_the_readme_and_the_docs_are_what_the_records_say():
    for page, tables in render_pages(PROJECT, PROJECT / "records").items():
        text = page.read_text(encoding="utf-8")
        for name, rows in tables.items():
            begin, end = markers(name)
            assert text.split(begin)[1].split(end)[0].strip() == rows, f"{page.name}: `make table` writes it anew"


def test_the_readme_is_short_and_its_table_is_narrow():
    lines = README.splitlines()
    assert len(lines) <= 200 and sum(line.startswith("|") for line in lines) <= 30
    assert len(README.split("An LMU keeps")[0].split()) <= 80
    begin, end = markers("headlines")
    rows = README.split(begin)[1].split(end)[0].strip().splitlines()[2:]
    assert len(rows) <= 10 and all(row.count("|") <= 8 for row in rows)


def test_what_the_readme_links_to_exists():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (PROJECT / target).exists(), target


def test_every_make_target_that_the_readme_names_exists():
    verbs = set(re.findall(r"`make ([a-z][a-z0-9-]+)", README))
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    assert {"demo", "test"} <= verbs
    for verb in verbs:
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), verb


def test_a_page_without_markers_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="must hold the lines"):
        write_into(page, {"results": "table"})
    assert page.read_text() == "no markers"
    with pytest.raises(FileNotFoundError, match="no finished run"):
        read_records(tmp_path)
