"""What a column of labels means: classes, several classes a row, or numbers; and what is refused, with which flag."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmu_hf.data.label_rules import (
    MULTI,
    REGRESSION,
    SINGLE,
    Asked,
    Column,
    Job,
    decide,
    in_order,
    to_classes,
    to_numbers,
    to_sets,
    truth,
)

CASES = Path(__file__).parents[2] / "shared" / "cases"


def column(*cells) -> Column:
    return Column("the train split of rows.csv", cells)


def repeated(*cells, times: int = 20) -> Column:
    return column(*cells * times)


@pytest.mark.parametrize(
    "cells, job",
    [
        (["good", "bad"], Job(SINGLE, ("bad", "good"))),
        (["0", "1"], Job(SINGLE, ("0", "1"))),
        ([0, 1], Job(SINGLE, ("0", "1"))),
        ([0, 1, "unknown"], Job(SINGLE, ("0", "1", "unknown"))),  # numbers and a word
        (["000", "001"], Job(SINGLE, ("000", "001"))),  # as written
        (["10", "9", "-1"], Job(SINGLE, ("-1", "9", "10"))),  # numbers by size
        (["True", "False"], Job(SINGLE, ("False", "True"))),
        (["none", "favor", "against"], Job(SINGLE, ("against", "favor", "none"))),  # a word like any other
        (["2.5", "3.0", "1"], Job(REGRESSION)),
        ([50000.0, 100000.0, 150000.0], Job(REGRESSION)),
        (["1e-3", ".5", "-2."], Job(REGRESSION)),
        ([["b"], ["a", "b"], []], Job(MULTI, ("a", "b"))),
        ([[1, 0, 0], [0, 1, 1]], Job(MULTI, ("0", "1", "2"))),  # a place for each class
    ],
)
def test_the_problem_type_follows_from_the_label_column(cells, job):
    assert decide(repeated(*cells)) == job


@pytest.mark.parametrize(
    "cells, asked, message",
    [
        (
            ["0.0", "1.4", "nan"] * 9,
            None,
            r"'nan' \(row 3\) among numbers: fill it .*--problem_type single_",
        ),
        (["0.5", "1.4", "N/A"] * 9, None, r"'N/A' \(row 3\) among numbers"),
        (["1.5", "2.5", "3.5", "3,5x"] * 9, None, r"'3,5x' \(row 4\) among numbers: correct it"),
        (
            ["1.4%", "2%", "3%"] * 9,
            None,
            r"'1.4%' \(row 1\), a number with a sign .* regression .*single",
        ),
        (["$5", "$6", "$7"] * 9, None, r"'\$5' \(row 1\), a number with a sign or a comma"),
        (["3,5", "2,5"] * 9, None, "a number with a sign or a comma: write plain numbers"),
        (["1,200", "900"] * 9, None, r"'1,200' \(row 1\)"),
        (
            [str(3 * n) for n in range(60)],
            None,
            "60 different labels in 60 rows, as '0': say --problem_type",
        ),
        (
            [f"row {n}" for n in range(60)],
            None,
            "60 different labels .* as 'row 0': give another --label_column",
        ),
        ([f"a|{n}" for n in range(60)], None, r"--label_separator '\|' if each holds several"),
        (["0.0", "1.0"] * 9, None, "no labels but '0.0' and '1.0': say --problem_type single_.* regression if"),
        (["a", "a"], None, "only the label 'a': there is nothing to tell apart"),
        (["a", "", "b"], None, r"an empty label \(row 2\): fill or drop"),
        (["a", None, "b"], None, r"an empty label \(row 2\): fill or drop"),
        ([["a"], ["a"]], None, "only the label 'a'"),
        ([[], []], None, "no label in any row"),
        ([["a"], ["a", ""]], None, r"\['a', ''\] \(row 2\), one of which is empty"),
        ([["a"], ["b"]], Asked(SINGLE), "lists of labels, .*multi_label_classification takes several"),
        (["a", "b"], Asked(MULTI), r"'a' \(row 1\), a single text: .* say --label_separator"),
        (["a", "b"], Asked(REGRESSION), r"'a' \(row 1\), which is no finite number"),
        (["1e999", "1.0"], Asked(REGRESSION), "no finite number"),
        (["1%", "2"], Asked(REGRESSION), r"'1%' \(row 1\), which is no finite number"),
        (["a;b", "b"], Asked(SINGLE, ";"), "--label_separator has no effect beside --problem_type single_"),
        ([["a"], ["b"]], Asked(None, ";"), "--label_separator has no effect on .* whose labels are lists already"),
    ],
)
def test_an_ambiguous_column_is_refused_with_the_flag_that_decides(cells, asked, message):
    with pytest.raises(ValueError, match=message) as told:
        decide(column(*cells), asked or Asked())
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "cells, asked, job",
    [
        ([str(3 * n) for n in range(60)], Asked(REGRESSION), Job(REGRESSION)),
        (["1.4%", "2%"], Asked(REGRESSION), Job(REGRESSION)),
        (["1.4%", "2%"], Asked(SINGLE), Job(SINGLE, ("1.4%", "2%"))),
        (["0.5", "nan"], Asked(SINGLE), Job(SINGLE, ("0.5", "nan"))),
        (["0.0", "1.0"], Asked(SINGLE), Job(SINGLE, ("0.0", "1.0"))),
        (["a; b", "b", ""], Asked(None, ";"), Job(MULTI, ("a", "b"))),
        (["['a', 'b']", '["b"]'], Asked(MULTI), Job(MULTI, ("a", "b"))),  # as pandas and JSON write lists
    ],
)
def test_a_flag_overrides_the_rule(cells, asked, job):
    assert decide(column(*cells), asked) == job


def test_oddities_are_noted_and_not_refused():
    assert decide(repeated("pos", "Pos ", "neg")).notes == ("'Pos ' and 'pos' are two classes",)
    assert decide(repeated(*map(str, range(9)))).notes == (
        "whole numbers are classes unless --problem_type regression",
    )
    assert decide(column(("a",), ()), Asked(MULTI, classes=("a", "b"))).notes == ("no row has b",)


def test_other_rows_are_matched_by_what_is_written_or_else_by_number():
    assert to_classes(column("1", 0, "-1", None), ("0", "1")) == [1, 0, None, None]
    assert to_classes(column("1.0", "0.0"), ("0", "1")) == [1, 0]  # pandas writes whole numbers so
    assert to_classes(column("1"), ("000", "001")) == [1]  # a spreadsheet strips zeros
    for cell, classes in (("2", ("0", "1")), ("0", ("00", "000")), ("good", ("bad", "Good"))):
        with pytest.raises(ValueError, match=rf"has the label '{cell}' \(row 1\), which is none of its classes"):
            to_classes(column(cell), classes)


def test_sets_of_classes_become_zeros_and_ones():
    assert to_sets(column(["b"], ["a", "b"], []), ("a", "b"), Asked()) == [[0, 1], [1, 1], [0, 0]]
    with pytest.raises(ValueError, match=r"\['b', 'c'\] \(row 1\); 'c' is none of its classes: 'a', 'b'"):
        to_sets(column(["b", "c"]), ("a", "b"), Asked())
    assert truth(column("1", 0, "true", "0.0", "No")) == [True, False, True, False, False]
    with pytest.raises(ValueError, match=r"'0.3' \(row 2\), which must be 0 or 1"):
        truth(column("1", "0.3"))


def test_errors_name_the_line_of_the_file():
    with pytest.raises(ValueError, match=r"the label 'nan' \(line 17\)"):
        decide(Column("rows", ["0.5", "nan"], ["line 2", "line 17"]))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=3))
def test_numbers_are_read_exactly_as_written(numbers):
    assert to_numbers(column(*map(repr, numbers))) == numbers


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.randoms())
def test_the_order_of_classes_does_not_depend_on_that_of_rows(words, random):
    shuffled = list(words)
    random.shuffle(shuffled)
    assert in_order(words) == in_order(shuffled)


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared files of cases are not here")
@pytest.mark.parametrize(
    "name, outcome",
    [
        ("prices.csv", REGRESSION),
        ("float_nan.csv", "'nan'"),
        ("strfloat.jsonl", REGRESSION),
        ("percent.csv", "'0.0%'"),
        ("int_reg.csv", "60 different labels in 60 rows"),
        ("multi.jsonl", MULTI),
        ("mixed.jsonl", SINGLE),
        ("v_strint.jsonl", SINGLE),
        ("imbalance.csv", SINGLE),
        ("zeros.csv", SINGLE),
    ],
)
def test_files_of_common_shapes_have_the_expected_problem_type(name, outcome):
    import csv
    import json

    with (CASES / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file)) if name.endswith("csv") else [json.loads(line) for line in file]
    cells = Column(name, [row["label"] for row in rows])
    if outcome in (SINGLE, MULTI, REGRESSION):
        assert decide(cells).problem_type == outcome
    else:
        with pytest.raises(ValueError, match=re.escape(outcome)):
            decide(cells)
