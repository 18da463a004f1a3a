"""Who may import whom, read off the syntax trees: nothing is run, so nothing can hide behind an import that fails."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from setuptools import find_packages

PACKAGE = Path(__file__).parents[1] / "src" / "lmu_hf"
CORE = sorted(path for path in PACKAGE.glob("*.py") if path.name != "__init__.py")
EVERYTHING = sorted(PACKAGE.rglob("*.py"))
DOOR = PACKAGE.parent / "lmu_hf_cli.py"
WINGS = sorted(
    path for path in EVERYTHING if path.relative_to(PACKAGE).parts[0] in ("common", "data", "training", "hub", "cli")
)
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in [*EVERYTHING, DOOR]}

# The siblings that a module may import. A module that is not listed is held only to the rules for all.
LADDER = {
    "version": set(),
    "statespace": set(),
    "constants": {"statespace"},
    "chunks": {"constants", "statespace"},
    "activations": set(),
    "memory": {"chunks", "constants", "layout", "statespace"},
    "layout": {"chunks", "statespace"},
    "distributed": {"layout", "memory", "statespace"},
    "readout": {"activations", "chunks", "constants", "layout", "memory", "statespace"},
    "layers": {"activations", "chunks", "constants", "layout", "memory", "readout", "statespace"},
    "recording": {"layers"},
    "lstm": {"chunks", "layout"},
    "fields_lmu": set(),
    "configuration_lmu": {"fields_lmu"},
    "configuration_lstm": {"configuration_lmu"},
    "alignment": {"activations", "fields_lmu"},
    "checking": set(),
    "cache_lmu": {"checking", "configuration_lmu", "layout", "recording"},
    "losses": {"configuration_lmu", "checking"},
    "blocks_lmu": {
        "activations",
        "constants",
        "layers",
        "layout",
        "statespace",
        "configuration_lmu",
        "cache_lmu",
        "fields_lmu",
    },
    "words_lmu": set(),
    "votes": {"blocks_lmu", "fields_lmu", "layers", "layout", "words_lmu"},
    "memories_lmu": {"blocks_lmu", "configuration_lmu", "cache_lmu"},
    "tokenization_lmu": set(),
    "remote_code": set(),
    "modeling_lmu": {
        *("blocks_lmu", "activations", "layout"),
        *("configuration_lmu", "fields_lmu", "cache_lmu", "checking", "remote_code"),
    },
    "pipeline_lmu": set(),
    "modeling_lmu_seq2seq": {
        *("modeling_lmu", "blocks_lmu", "layout"),
        *("configuration_lmu", "cache_lmu", "checking", "losses"),
    },
    "heads_lmu": {
        *("modeling_lmu", "votes", "activations", "layout", "configuration_lmu", "cache_lmu", "checking", "losses"),
    },
    "pairs_lmu": {
        *("heads_lmu", "modeling_lmu", "alignment", "cache_lmu", "checking", "configuration_lmu", "layout", "losses"),
        *("pair_votes", "votes"),
    },
    "pair_votes": {"layout", "votes"},
    "frames_lmu": {"fields_lmu"},
    "listening_lmu": {"cache_lmu", "configuration_lmu", "frames_lmu", "layers", "layout", "recording"},
    "feature_extraction_lmu": {"frames_lmu", "listening_lmu", "remote_code"},
    "audio_pipeline_lmu": {"feature_extraction_lmu"},
    "audio_lmu": {"heads_lmu", "cache_lmu", "configuration_lmu", "frames_lmu", "listening_lmu", "losses"},
    "images_lmu": {"heads_lmu", "cache_lmu", "checking", "configuration_lmu", "layout", "losses"},
    "series_lmu": {"heads_lmu", "cache_lmu", "checking", "configuration_lmu", "layout", "losses"},
    "forecasts_lmu": {
        *("heads_lmu", "modeling_lmu", "cache_lmu", "checking", "configuration_lmu", "fields_lmu", "layout", "losses"),
    },
    "tokens_lmu": {"heads_lmu", "modeling_lmu", "configuration_lmu", "cache_lmu", "checking", "layout", "losses"},
    "modeling_lstm": {
        *("configuration_lstm", "lstm", "blocks_lmu", "modeling_lmu", "modeling_lmu_seq2seq"),
        *("heads_lmu", "pairs_lmu", "images_lmu", "forecasts_lmu", "series_lmu", "tokens_lmu", "audio_lmu"),
    },
}
TORCH_ONLY = (
    *(
        "statespace",
        "constants",
        "activations",
        "chunks",
        "memory",
        "layout",
        "distributed",
        "readout",
        "layers",
        "lstm",
    ),
    "fields_lmu",
)
# The wings that each wing may import, beside itself and the core. Only cli knows argparse.
FLOORS = {
    "common": set(),
    "data": {"common"},
    "training": {"common", "data"},
    "hub": {"common"},
    "cli": {"common", "data", "training", "hub"},
}
# The demo is an application as the command is: it may import every wing below it, and no wing imports it.
SPACE = PACKAGE / "hub" / "space"
BESIDE = {"scripts", "report", "benchmarks", "tests"}  # folders beside the package, and the modules in them
OUTSIDE = BESIDE | {path.stem for name in BESIDE for path in (PACKAGE.parents[1] / name).glob("*.py")} | {"loopback"}
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(PACKAGE.parent)) for path in paths]


def relative_imports(path: Path) -> Iterator[ast.ImportFrom]:
    yield from (node for node in ast.walk(TREES[path]) if isinstance(node, ast.ImportFrom) and node.level > 0)


def absolute_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def test_every_module_of_the_ladder_exists():
    assert set(LADDER) <= {path.stem for path in CORE}


@pytest.mark.parametrize("path", CORE, ids=names(CORE))
def test_the_core_is_flat_and_imports_its_siblings_by_from_dot_name(path):
    # Hub remote code is fetched by following `from .name import`: any other form of import would not travel.
    assert "lmu_hf" not in {name.split(".")[0] for name in absolute_imports(path)}
    siblings = {other.stem for other in CORE}
    for node in relative_imports(path):
        assert node.level == 1 and node.module in siblings, ast.unparse(node)


@pytest.mark.parametrize("module", LADDER)
def test_imports_only_go_down_the_ladder(module):
    imported = {node.module for node in relative_imports(PACKAGE / f"{module}.py")}
    assert imported <= LADDER[module]


def test_the_ladder_has_no_cycle():
    above = dict(LADDER)
    while above:
        free = {module for module, below in above.items() if not below & set(above)}
        assert free, f"a circle among {sorted(above)}"
        above = {module: below for module, below in above.items() if module not in free}


@pytest.mark.parametrize("module", TORCH_ONLY)
def test_the_mathematics_needs_no_transformers(module):
    foreign = {name.split(".")[0] for name in absolute_imports(PACKAGE / f"{module}.py")}
    assert not foreign & {"transformers", "huggingface_hub", "accelerate", "datasets", "numpy", "scipy"}


@pytest.mark.parametrize("path", CORE, ids=names(CORE))
def test_the_core_does_not_know_how_it_is_trained_or_published(path):
    imported = {*absolute_imports(path), *(node.module or "" for node in relative_imports(path))}
    imported |= {alias.name for node in relative_imports(path) for alias in node.names}
    assert not {word for name in imported for word in name.split(".")} & set(FLOORS)


def imported_modules(path: Path) -> Iterator[str]:
    """Every module of the package that a module imports, by its whole dotted name."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.relative_to(PACKAGE.parent).parts[: -node.level]
            for name in [node.module] if node.module else [alias.name for alias in node.names]:
                yield ".".join((*base, name))
    yield from (name for name in absolute_imports(path) if name.split(".")[0] == "lmu_hf")


@pytest.mark.parametrize("path", WINGS, ids=names(WINGS))
def test_a_wing_imports_only_itself_the_core_and_the_wings_below(path):
    wing = "cli" if path.is_relative_to(SPACE) else path.relative_to(PACKAGE).parts[0]
    above = set(FLOORS) - FLOORS[wing] - {wing}
    above |= {"cli"} if path.is_relative_to(SPACE) else set()
    assert not {name for name in imported_modules(path) if name.split(".")[1:2] and name.split(".")[1] in above}


def test_no_wing_imports_the_demo():
    outside = [path for path in EVERYTHING if not path.is_relative_to(SPACE)]
    assert not {path for path in outside for name in imported_modules(path) if name.startswith("lmu_hf.hub.space")}


@pytest.mark.parametrize("path", EVERYTHING, ids=names(EVERYTHING))
def test_the_package_imports_no_folder_beside_it(path):
    assert not {name.split(".")[0] for name in absolute_imports(path)} & (OUTSIDE - {"evaluate"})


def test_the_entry_point_imports_the_command_only():
    assert set(absolute_imports(DOOR)) == {"typing", "lmu_hf.cli.command"}


@pytest.mark.parametrize("path", EVERYTHING, ids=names(EVERYTHING))
def test_only_the_command_line_knows_argparse(path):
    if path.relative_to(PACKAGE).parts[0] != "cli":
        assert "argparse" not in set(absolute_imports(path))


def test_the_wheel_holds_the_package_and_its_entry_point_only():
    found = find_packages(str(PACKAGE.parent))
    assert {name.split(".")[0] for name in found} == {"lmu_hf"}
    assert sorted(PACKAGE.parent.glob("*.py")) == [DOOR]
    assert {f"lmu_hf.{wing}" for wing in FLOORS} <= set(found)


@pytest.mark.parametrize("path", EVERYTHING, ids=names(EVERYTHING))
def test_nothing_unpickles_or_evaluates_text(path):
    assert not {name.split(".")[0] for name in absolute_imports(path)} & PICKLES
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), ast.unparse(node)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("torch", "load"), ast.unparse(node)
        if isinstance(node, ast.ImportFrom) and node.module == "torch":
            assert "load" not in {alias.name for alias in node.names}
