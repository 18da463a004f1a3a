"""What stands around the code: one version, one page, a citation, and templates that a host can read."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import lmu_hf

PROJECT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
TEMPLATES = sorted((PROJECT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))


def test_the_version_stands_in_one_place():
    assert PYPROJECT["dynamic"] == ["version"] and "version" not in CITATION
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest, *_ = re.findall(r"^## (\S+)", changelog, re.MULTILINE)
    assert newest == lmu_hf.__version__
    of_newest = changelog.split("\n## ")[1]
    assert re.findall(r"^### (\w+)", of_newest, re.MULTILINE) == ["Added", "Changed", "Fixed", "Removed"]


def test_the_page_of_the_project_is_named_once():
    (page,) = PYPROJECT["urls"].values()
    for path in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CITATION.cff", "mkdocs.yml"):
        assert page not in (PROJECT / path).read_text(encoding="utf-8"), path


def test_the_citation_names_the_software_and_the_paper():
    # The fields that version 1.2.0 of the format asks for.
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["authors"] and CITATION["message"] and CITATION["title"].startswith("lmu_hf")
    assert CITATION["license"] == PYPROJECT["license"]
    (paper,) = CITATION["references"]
    template = (PROJECT / "src/lmu_hf/hub/templates/template.md").read_text(encoding="utf-8")
    assert f"title = {{{paper['title']}}}" in template and f"year = {{{paper['year']}}}" in template
    names = " and ".join(f"{who['family-names']}, {who['given-names']}" for who in paper["authors"])
    assert f"author = {{{names}}}" in template and paper["url"].endswith("/2102.11417")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_for_issues_says_its_name_and_what_it_is_for(path):
    _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
    assert {"name", "about"} <= set(yaml.safe_load(head)) and "**" in body


def test_there_is_a_template_for_each_kind_of_issue():
    assert {path.stem for path in TEMPLATES} == {"bug", "new_data", "question"}
    assert "lmu-hf doctor" in (PROJECT / ".github/ISSUE_TEMPLATE/bug.md").read_text(encoding="utf-8")
    assert (PROJECT / ".github/pull_request_template.md").is_file()


def test_what_asks_the_network_is_no_part_of_the_checks():
    checks = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    assert "audit" not in checks
    assert re.search(r"^audit:.*network.*$", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
