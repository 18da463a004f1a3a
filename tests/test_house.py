"""How large the house is: its files, functions, comments and fields, and what travels with a model to the Hub."""

import ast
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from lmu_hf import LMUConfig
from lmu_hf.hub.folder import modules_of

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "lmu_hf"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "space" not in path.relative_to(PACKAGE).parts)
CORE = sorted(PACKAGE.glob("*.py"))
LONGEST_FILE, LONGEST_MODEL, MOST_LONG_FILES = 400, 500, 3
LONGEST_FUNCTION = 50
MOST_FIELDS = 46
TRAVELLING = {"configuration_lmu": 2, "modeling_lmu": 16}
NOT_CODE = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING}


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    yield from (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length_without_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    length = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return length
    return length - (function.body[0].end_lineno - function.body[0].lineno + 1)


def lines_of_code_and_comments(path: Path) -> tuple[set[int], set[int]]:
    """The lines that hold code, and those that hold a comment; a docstring is neither."""
    code, comments = set(), set()
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                comments.add(token.start[0])
            elif token.type not in NOT_CODE and not token.string.startswith(('"""', 'r"""')):
                code.update(range(token.start[0], token.end[0] + 1))
    return code, comments


def test_no_tracked_link_leads_out_of_the_project():
    tracked = subprocess.run(["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    links = [ROOT / line.split("\t")[1] for line in tracked.stdout.splitlines() if line.startswith("120000")]
    assert all(link.resolve().is_relative_to(ROOT) and link.exists() for link in links), links


def test_at_most_three_files_are_over_400_lines_and_none_over_500():
    long = {path.name: lines_of(path) for path in FILES if lines_of(path) > LONGEST_FILE}
    assert len(long) <= MOST_LONG_FILES, long
    assert max(map(lines_of, FILES)) <= LONGEST_MODEL, long


def test_no_function_is_over_50_lines_without_its_docstring():
    lengths = {
        f"{path.name}:{node.name}": length_without_docstring(node) for path in FILES for node in functions_of(path)
    }
    assert not {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION}


def test_the_config_declares_at_most_46_fields_of_its_own():
    own = set(vars(LMUConfig)["__annotations__"]) & {field.name for field in fields(LMUConfig)}
    assert len(own) <= MOST_FIELDS, sorted(own)


@pytest.mark.parametrize("module", TRAVELLING)
def test_no_more_modules_travel_with_a_model_than_it_needs(module):
    travelling = [path.stem for path in modules_of([module])]
    assert len(travelling) <= TRAVELLING[module], travelling


def test_8_to_15_percent_of_the_lines_of_the_core_hold_a_comment():
    parts = [lines_of_code_and_comments(path) for path in CORE]
    commented = sum(len(comments) for _, comments in parts)
    assert 0.08 <= commented / sum(len(code | comments) for code, comments in parts) <= 0.15
