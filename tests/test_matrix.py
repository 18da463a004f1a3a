"""The environments of the matrix follow from pyproject.toml and constraints.txt."""

import pytest
from packaging.requirements import Requirement

import matrix


def test_no_pin_lies_outside_the_bounds():
    for requirement in matrix.requirements():
        assert matrix.pins()[requirement.name.lower()].split("==")[1] in requirement.specifier, requirement


def test_what_is_held_in_every_environment():
    assert matrix.constraints("newest", []) == []
    assert matrix.constraints("newest", ["torch"]) == ["torch==2.13.0"]
    floor = matrix.constraints("floor", [])
    assert matrix.floor(Requirement("transformers>=5.21,<6")) == "transformers==5.21" and "transformers==5.21" in floor
    assert "torch==2.7" not in matrix.constraints("floor", ["torch"])


def test_a_requirement_without_a_lower_bound_is_named():
    with pytest.raises(ValueError, match="torch<3 needs a lower bound"):
        matrix.floor(Requirement("torch<3"))


@pytest.mark.parametrize(
    "words, message", [(["oldest"], "unknown environment 'oldest'"), (["--keep", "torhc"], "torhc")]
)
def test_what_does_not_exist_is_named(words, message, capsys):
    with pytest.raises(SystemExit):
        matrix.main(words)
    assert message in capsys.readouterr().err


def test_failures_anywhere_are_failures():
    run = {"tests": {"passed": 3}, "readme": {"passed": 1}, "demo": 0}
    assert matrix.is_good(run)
    assert not matrix.is_good(run | {"tests": {"passed": 3, "failed": 1}})
    assert not matrix.is_good(run | {"readme": {"errors": 1}})
    assert not matrix.is_good(run | {"demo": 1})
