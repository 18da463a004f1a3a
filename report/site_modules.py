"""Pages of modules and classes, which mkdocstrings fills from their docstrings when the site is built."""

import ast
from pathlib import Path

from lmu_hf import auto_lmu
from lmu_hf.hub import markup
from site_docstrings import as_markdown

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "lmu_hf"
FOLDER = "reference/modules"
FLOORS = {  # folders, and what the list of modules calls them; the flags of cli/ have pages of their own
    "": "The models",
    "data": "Data",
    "training": "Training",
    "hub": "The Hub",
    "common": "Shared by these",
}

CLASSES = {  # what `import lmu_hf` offers, but for the LSTM baseline
    "Models": (
        *("LMUModel", "LMUForCausalLM", "LMUForSequenceClassification", "LMUForSequencePairClassification"),
        *("LMUForTokenClassification", "LMUForImageClassification", "LMUForAudioClassification"),
        *("LMUForTimeSeriesClassification", "LMUForTimeSeriesPrediction", "LMUForConditionalGeneration"),
        *("LMUEncoderDecoderModel", "LMUPreTrainedModel"),
    ),
    "Config and memories": ("LMUConfig", "LMUCacheLayer", "save_memories", "load_memories"),
    "Texts, sounds and pipelines": (
        *("train_tokenizer", "bpe_dropout", "LMUFeatureExtractor"),
        *("LMUTranslationPipeline", "LMUAudioClassificationPipeline"),
    ),
    "The mathematics": ("LegendreSystem", "decode_past", "LMULayer"),
    "Models in the box, and several processes": ("pretrained", "sequence_parallel"),
}


def pages() -> dict[str, str]:
    """A page for each module, by its place in the docs."""
    return {f"{FOLDER}/{name}.md": _page(name) for floor in FLOORS for name in modules(floor)}


def list_of_pages() -> str:
    """A heading and a table for each floor: its modules and what each is."""
    parts = []
    for floor, title in FLOORS.items():
        rows = [[f"[`{name}`]({FOLDER.rpartition('/')[2]}/{name}.md)", _purpose(name)] for name in modules(floor)]
        parts += [f"## {title}", markup.table(["module", "what it is"], rows)]
    return "\n\n".join(parts)


def classes() -> str:
    """A heading for each group of what the package offers, and below it what mkdocstrings is to show.

    Raises:
        ValueError: a name that the package offers is in no group, or a group has another.
    """
    offered = [name for name in auto_lmu.__all__ if callable(getattr(auto_lmu, name))]  # the others are words
    groups = CLASSES | {"The LSTM baseline": tuple(name for name in offered if name.startswith("LSTM"))}
    named = [name for names in groups.values() for name in names]
    if different := set(named) ^ set(offered):
        raise ValueError(f"CLASSES of {__file__} must name once what lmu_hf offers: {sorted(different)}")
    parts = []
    for title, names in groups.items():
        paths = (f"{getattr(auto_lmu, name).__module__}.{name}" for name in names)
        # Links go to the pages of the modules, which show the same docstrings.
        options = "    options: {heading_level: 3, skip_local_inventory: true}"
        parts += [f"## {title}", *(f"::: {path}\n{options}" for path in paths)]
    return "\n\n".join(parts)


def modules(floor: str) -> list[str]:
    """The dotted names of the modules in a folder of the package; of the package itself only its own files."""
    folder = PACKAGE / floor
    paths = folder.rglob("*.py") if floor else folder.glob("*.py")
    names = (".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in paths if "space" not in path.parts)
    return sorted(name.removesuffix(".__init__") for name in names if name != "lmu_hf.__init__")


def _purpose(name: str) -> str:
    path = SOURCE.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return as_markdown(" ".join(docstring.split("\n\n")[0].split()))


def _page(name: str) -> str:
    # What a package offers is shown where it is defined.
    is_package = SOURCE.joinpath(*name.split(".")).is_dir()
    options = {"show_root_heading": "false"} | ({"members": "false"} if is_package else {})
    return f"# {name}\n\n::: {name}\n    options:\n" + "".join(f"      {key}: {on}\n" for key, on in options.items())
