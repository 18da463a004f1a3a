"""What mkdocs asks of this project as it builds the documentation: pages made from the code, and links that fit.

mkdocs.yml names this file. Pages in docs/ read well without it: it fills the places that a comment marks, makes pages
of the notebooks and of CONTRIBUTING.md, and turns links to files that are not on the site into plain words.
"""

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import site_fields
import site_flags
import site_modules

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
# Files whose page has another name.
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    **{f"docs/notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in NOTEBOOKS},
}
FILLED: dict[str, Callable[[], str]] = {
    "fields": site_fields.fields_in_groups,
    "flags": site_flags.list_of_pages,
    "classes": site_modules.classes,
    "modules": site_modules.list_of_pages,
}
PLACE = re.compile(r"<!-- (\w+): written when the site is built -->")
FENCE = re.compile(r"^(```.*?^```[ \t]*$)", re.MULTILINE | re.DOTALL)
FLAG = re.compile(r"(?<=[ >])--\w+")
LINK = re.compile(r"(?<!!)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>(?!\w+:|#)[^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of flags below theirs in the navigation."""
    for entry in config.nav or ():
        for number, child in enumerate(entry.get("Reference", ()) if isinstance(entry, dict) else ()):
            if "Flags" in child:
                entry["Reference"][number] = {"Flags": [{"All commands": child["Flags"]}, *site_flags.pages()]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made and not written."""
    made: dict[str, str | bytes] = {
        "contributing.md": moved_to_docs((PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")),
        **notebook_files(),
        **site_flags.pages(),
        **site_modules.pages(),
    }
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fill the marked places of a page, and make its links fit the site."""
    text = PLACE.sub(lambda found: FILLED[found[1]](), markdown)
    folder = (DOCS / page.file.src_uri).parent
    parts = FENCE.split(text)  # code at the odd places
    return "".join(part if number % 2 else LINK.sub(_fit(folder), part) for number, part in enumerate(parts))


def on_page_content(html: str, **_: Any) -> str:
    """Keep each flag in one piece: a browser would break the line behind its hyphens."""
    return FLAG.sub(r'<span class="flag">\g<0></span>', html)


def notebook_files() -> dict[str, str | bytes]:
    """The pages of the notebooks, and the pictures that these show, by their places in the docs."""
    made: dict[str, str | bytes] = {}
    for path in NOTEBOOKS:
        page, pictures = notebook_page(json.loads(path.read_text(encoding="utf-8")), path.stem)
        made[f"notebooks/{path.stem}.md"] = page
        made |= {f"notebooks/{name}": picture for name, picture in pictures.items()}
    return made


def notebook_page(notebook: dict, name: str) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown with what its cells printed, and the pictures that they drew, by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for kind, content in _outputs(cell):
            if kind == "text":
                parts.append(f"```text\n{content.rstrip()}\n```")
            else:
                picture = f"{name}_{len(pictures) + 1}.png"
                pictures[picture] = base64.b64decode(content)
                parts.append(f"![What the cell above draws]({picture})")
    return "\n\n".join(parts) + "\n", pictures


def _outputs(cell: dict) -> Iterator[tuple[str, str]]:
    """What a cell printed, as text, and drew, as PNG in base 64, in order."""
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if "image/png" in data:
            yield "png", "".join(data["image/png"])
        elif said := output.get("text", data.get("text/plain")):
            yield "text", "".join(said)


def moved_to_docs(text: str) -> str:
    """A page of the project's folder as one of docs/: its links begin there."""
    return LINK.sub(lambda found: f"[{found['text']}]({os.path.relpath(PROJECT / found['target'], DOCS)})", text)


def _fit(folder: Path) -> Callable[[re.Match], str]:
    """What a link of a page in a folder becomes: itself, one to the page of that file, or its words alone."""

    def replace(found: re.Match) -> str:
        path, mark, anchor = found["target"].partition("#")
        there = Path(os.path.normpath(folder / path))
        if there.is_relative_to(PROJECT) and (name := ELSEWHERE.get(there.relative_to(PROJECT).as_posix())):
            return f"[{found['text']}]({os.path.relpath(DOCS / name, folder)}{mark}{anchor})"
        # What is missing stays a link, which the build refuses.
        return found["text"] if there.exists() and not there.is_relative_to(DOCS) else found[0]

    return replace
