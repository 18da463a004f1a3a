"""The table of tools that work with a model of the family, from what ``make ecosystem`` left in its JSON file."""

import json
from pathlib import Path

from lmu_hf.hub import markup


def render(folder: Path) -> dict[str, str]:
    """The table, by the name between its markers."""
    tools = json.loads((folder / "ecosystem.json").read_text(encoding="utf-8"))["tools"]
    rows = [
        [f"`{name}`", tool["version"], tool["what"], ", ".join(f"{n} {word}" for word, n in tool["tests"].items())]
        for name, tool in tools.items()
    ]
    return {"works-with": markup.table(["tool", "release", "what is tested", "tests"], rows)}
