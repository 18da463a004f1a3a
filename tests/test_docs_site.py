"""The documentation site is built strictly and without a network, and its pages fetch nothing from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from lmu_hf import auto_lmu
from lmu_hf.cli.command import VERBS

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "src" / "lmu_hf"
NAVIGATION = {  # what must be found, and where
    "Start": ("From transformers' Trainer", "Models in the box"),
    "Guides": (
        *("Text", "Pairs of texts", "Regression and multi-label", "Language models", "Translation", "Audio", "Series"),
        *("Forecasts", "Images", "Fine-tuning and LoRA", "Streaming and saved memories", "Packing"),
        *("Long sequences and several processes", "Export and serving", "Pushing to the Hub"),
    ),
    "Concepts": (
        *("The memory", "Which θ and which order?", "Forms and their cost", "Exactness", "Precision", "Glossary"),
    ),
    "Results": ("Text", "Classification", "Translation", "Sounds", "Series", "Forecasts", "Images", "Speed"),
    "Supported versions": (),
    "Reference": ("Config", "Classes", "Flags"),
    "FAQ and troubleshooting": (),
    "Research log": (),
    "Architecture": (),
    "Contributing": (),
}
# Every way of a page to fetch something as it is opened, but for a picture's `srcset`, which the pages do not have.
FETCHED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src")}
OFFLINE = """
import socket
def refuse(*_):
    raise OSError("the site is built without a network")
socket.socket.connect = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli()
"""
MARKERS = re.compile(r"<!--|\*\*|```|\]\(|^#+ |:(?:class|func|meth|mod|attr):|^:::|\|\s*---", re.MULTILINE)
pytestmark = pytest.mark.ecosystem


class Page(HTMLParser):
    """What a page fetches, where its links go, which places it has, its headings, and its words outside code."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self.titles: list[str] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.fetched += [given[name] for kind, name in FETCHED if kind == tag and name in given]
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "h1":
            self.titles.append("")
        if tag in ("code", "pre", "script", "style", "h1"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["h1"]:
            self.titles[-1] += data
        elif not self._open:
            self.words += data


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", OFFLINE, "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_pages_fetch_nothing_from_elsewhere(site, pages):
    for path, page in pages.items():
        for target in page.fetched:
            if path.name == "404.html":  # it may be shown at any address, so that its paths begin at the site's root
                target = target.removeprefix("/")
            parts = urlsplit(target)
            assert not parts.scheme and not parts.netloc, f"{path.name} fetches {target}"
            assert (path.parent / unquote(parts.path)).is_file(), f"{path.name} lacks {target}"


def test_styles_fetch_nothing_from_elsewhere(site):
    for path in site.rglob("*.css"):
        style = path.read_text(encoding="utf-8")
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style), path.name


def test_every_link_within_the_site_ends_somewhere(pages):
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or path.name == "404.html":
                continue
            there = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            there = there / "index.html" if there.is_dir() else there
            assert there.is_file(), f"{path.name} links to {link}"
            if parts.fragment and there in pages:
                assert unquote(parts.fragment) in pages[there].places, f"{path.name} links to {link}"


def test_the_navigation_holds_every_section(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    menu = re.search(r'<nav class="md-nav md-nav--primary.*?</nav>\s*</div>\s*</div>\s*</div>', home, re.DOTALL)[0]
    said = [" ".join(words.split()) for words in re.findall(r'<span class="md-ellipsis">(.*?)</span>', menu, re.DOTALL)]
    said = [re.sub(r"<[^>]+>", "", words).strip().replace("&#39;", "'") for words in said]
    assert [words for words in said if words in NAVIGATION] == [*NAVIGATION]
    # A section's pages are pruned from the menus of other pages: they are looked for on one of its own.
    for section, names in NAVIGATION.items():
        config = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8")
        listed = re.search(rf"^  - {re.escape(section)}:(.*?)(?=^  - |\Z)", config, re.MULTILINE | re.DOTALL)[1]
        assert all(re.search(rf"^      - {re.escape(name)}:", listed, re.MULTILINE) for name in names), section


def test_pages_have_one_title_and_show_no_markup(pages):
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        assert len(page.titles) == 1, f"{path.name}: {page.titles}"
        found = MARKERS.search(page.words)
        shown = found and page.words[max(0, found.start() - 80) : found.end() + 80]
        assert not found, f"{path.name} shows {shown!r}"


def test_the_reference_is_made_of_the_code(site, pages):
    flags = site / "reference" / "flags"
    assert {path.stem for path in flags.glob("*.html")} >= {verb.module for verb in VERBS.values()}
    assert "--text_pair_column" in (flags / "train_text.html").read_text(encoding="utf-8")
    classes = pages[site / "reference" / "classes.html"]
    offered = {name: getattr(auto_lmu, name) for name in auto_lmu.__all__}
    kinds = {f"{kind.__module__}.{name}" for name, kind in offered.items() if callable(kind)}
    assert kinds <= classes.places
    modules = {path.stem for path in (site / "reference" / "modules").glob("*.html")}
    flat = {f"lmu_hf.{path.stem}" for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    assert flat <= modules
