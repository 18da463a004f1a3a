"""What the tables and the cards say of a record beside its figures follows from the record's own fields."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lmu_hf.common.record import RunRecord
from lmu_hf.hub.caveats import CAVEATS, caveats_of, footnotes, recipe_marks, remembers_nothing, run_marks
from lmu_hf.statespace import continuous_system, discretize_euler

RECORDS = Path(__file__).parent.parent / "records"
RUNS = {path.parent.name: RunRecord.read(path.parent) for path in sorted(RECORDS.glob("*/run.json"))}


def test_only_a_model_without_a_memory_is_marked_so():
    forgetful = {"discretization": "euler", "order": 1, "theta": 1}
    record = next(iter(RUNS.values()))
    assert remembers_nothing(replace(record, architecture=record.architecture | forgetful))
    for field in forgetful:
        assert not remembers_nothing(replace(record, architecture=forgetful | {field: "zoh" if field[0] == "d" else 2}))
    assert not [name for name, record in RUNS.items() if remembers_nothing(record)]


def test_at_order_1_and_theta_1_eulers_rule_forgets_everything():
    A_bar, B_bar = discretize_euler(*continuous_system(1, 1.0))
    assert A_bar.item() == 0 and B_bar.item() == 1


def test_a_record_of_uncommitted_code_is_marked():
    dirty = {name for name in RUNS if json.loads((RECORDS / name / "run.json").read_text())["commit"].endswith("+")}
    assert dirty == {name for name, record in RUNS.items() if "†" in run_marks(record)}


def test_a_record_of_the_earlier_averaging_is_marked():
    marked = {name for name, record in RUNS.items() if "‡" in run_marks(record)}
    assert marked == {name for name, record in RUNS.items() if record.remarks}
    assert all(RUNS[name].hyperparameters["averaging"] for name in marked)


def test_exactly_the_marks_in_use_are_explained():
    for group in ([record] for record in RUNS.values()):
        marks = recipe_marks(group) + run_marks(group[0])
        notes = footnotes(group)
        assert {line[0] for line in notes.splitlines()} == set(marks)
        assert len(caveats_of(group[0])) == len(marks)


@pytest.mark.parametrize("caveat", CAVEATS, ids=lambda caveat: caveat.mark)
def test_a_caveat_is_a_sentence(caveat):
    assert len(caveat.mark) == 1 and caveat.words.endswith(".")
