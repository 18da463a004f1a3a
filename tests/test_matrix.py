"""The bounds of pyproject.toml are those that the matrix of environments ran."""

import json
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import matrix

PROJECT = Path(__file__).parent.parent
RECORD = json.loads((PROJECT / "records" / "matrix.json").read_text(encoding="utf-8"))
# Came in after the matrix last ran, whose next run takes it in.
NEW = {"fastapi", "openai", "optuna", "pydantic", "soundfile", "uvicorn"}
RUNS = {run["environment"]: run for run in RECORD}


def test_every_environment_was_run_and_passed():
    assert tuple(RUNS) == matrix.ENVIRONMENTS
    for run in RUNS.values():
        assert matrix.is_good(run) and run["tests"]["passed"] > 4000 and run["readme"]["passed"] > 5
        assert not run["kept"]


def ran() -> list[Requirement]:
    """The requirements that the matrix on record has run with."""
    assert NEW.isdisjoint(RUNS["floor"]["versions"]), "the matrix has run with these: take them out of NEW"
    return [requirement for requirement in matrix.requirements() if requirement.name not in NEW]


def test_the_lower_bounds_are_the_releases_of_the_floor():
    for requirement in ran():
        bound, release = matrix.floor(requirement).split("==")[1], RUNS["floor"]["versions"][requirement.name]
        assert Version(release.split("+")[0]) == Version(bound), requirement


def test_the_pinned_releases_are_those_of_the_constraints():
    pins = matrix.pins()
    for requirement in ran():
        pinned = pins[requirement.name.lower()].split("==")[1]
        assert Version(RUNS["pinned"]["versions"][requirement.name].split("+")[0]) == Version(pinned), requirement


def test_one_environment_is_recorded_in_its_own_place(tmp_path):
    path = tmp_path / "matrix.json"
    for result in (
        {"environment": "newest", "demo": 1},
        {"environment": "floor"},
        {"environment": "newest", "demo": 0},
    ):
        matrix.write(path, result)
    assert json.loads(path.read_text()) == [{"environment": "floor"}, {"environment": "newest", "demo": 0}]


def test_tests_that_are_run_again_are_counted_and_said(monkeypatch):
    earlier = {"environment": "floor", "kept": [], "commit": "a", "tests": {"failed": 1, "passed": 3, "skipped": 2}}
    monkeypatch.setattr(matrix, "build", lambda *words, **how: None)
    monkeypatch.setattr(matrix, "run_tests", lambda python, tests: {"passed": len(tests)})
    result = matrix.run_again(earlier, ["one"])
    assert result["tests"] == {"passed": 4, "skipped": 2} and result["commit"] == "a"
    assert result["again"]["tests"] == {"passed": 1} and matrix.is_good(result | {"demo": 0})
    with pytest.raises(SystemExit, match="1 tests failed in floor; --again names others"):
        matrix.run_again(earlier, ["one", "two"])


def test_no_pin_lies_outside_the_bounds():
    for requirement in matrix.requirements():
        assert matrix.pins()[requirement.name.lower()].split("==")[1] in requirement.specifier, requirement


def test_each_environment_has_its_constraints():
    assert matrix.constraints("newest", []) == []
    assert matrix.constraints("newest", ["torch"]) == ["torch==2.13.0"]
    floor = matrix.constraints("floor", [])
    assert matrix.floor(Requirement("transformers>=5.21,<6")) == "transformers==5.21" and "transformers==5.21" in floor
    assert "torch==2.7" not in matrix.constraints("floor", ["torch"])


def test_a_requirement_without_a_lower_bound_is_named():
    with pytest.raises(ValueError, match="torch<3 needs a lower bound"):
        matrix.floor(Requirement("torch<3"))


@pytest.mark.parametrize(
    "words, message",
    [
        (["oldest"], "unknown environment 'oldest'"),
        (["--keep", "torhc"], "torhc"),
        (["newest", "--if_newer", "torhc"], "torhc"),
    ],
)
def test_unknown_names_are_refused(words, message, capsys):
    with pytest.raises(SystemExit):
        matrix.main(words)
    assert message in capsys.readouterr().err


def test_a_failure_in_any_part_is_a_failure():
    run = {"tests": {"passed": 3}, "readme": {"passed": 1}, "demo": 0}
    assert matrix.is_good(run)
    assert not matrix.is_good(run | {"tests": {"passed": 3, "failed": 1}})
    assert not matrix.is_good(run | {"readme": {"errors": 1}})
    assert not matrix.is_good(run | {"demo": 1})


def test_an_environment_is_made_only_if_something_is_newer_than_its_pin(monkeypatch, capsys):
    made = []
    monkeypatch.setattr(
        matrix, "run", lambda *how: made.append(how) or {"environment": "newest", "tests": {"passed": 1}}
    )
    pinned = matrix.pins()["transformers"].split("==")[1]
    for latest, runs in ((pinned, 0), ("99.0", 1)):
        said = f"transformers ({latest})\nAvailable versions: {latest}, {pinned}, 0.1\n"
        done = subprocess.CompletedProcess([], 0, said)
        monkeypatch.setattr(matrix.subprocess, "run", lambda *words, done=done, **how: done)
        assert matrix.main(["newest", "--if_newer", "transformers"]) == 0
        assert len(made) == runs
    assert "transformers==99.0" in capsys.readouterr().out
