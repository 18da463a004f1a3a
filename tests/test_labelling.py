"""What a file of labels holds: numbers that are short and keep every row in its place."""

import csv
from itertools import pairwise

from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from lmu_hf.data.labelling import shortest, write_rows


@given(st.lists(st.floats(-10, 10, width=32), min_size=1))
def test_shortened_numbers_keep_their_order_and_have_four_digits_where_these_suffice(numbers):
    short = shortest(numbers)
    ordered = sorted(short)
    assert all(short[low] < short[high] for low, high in pairwise(ordered))
    for low, value, high in zip([None, *ordered[:-1]], ordered, [*ordered[1:], None], strict=True):
        four = float(f"{value:.4g}")
        suffices = all(near is None or abs(four - value) < abs(near - value) / 2 for near in (low, high))
        assert short[value] == four or not suffices


def test_a_number_has_more_digits_where_four_would_make_it_another():
    found = shortest([0.12344, 0.12341, 0.12354, 0.5, 1 / 3])
    assert found == {0.12344: 0.12344, 0.12341: 0.1234, 0.12354: 0.1235, 0.5: 0.5, 1 / 3: 0.3333}


def test_digits_before_the_point_are_kept():
    assert shortest([300123.45, -12345.6]) == {300123.45: 300123.0, -12345.6: -12346.0}


def test_a_file_for_people_is_short_and_one_for_programs_has_every_digit(tmp_path):
    good = [0.9997255802154541, 0.33333334]
    rows = Dataset.from_dict({"text": ["a", "b"], "label": ["good", "bad"], "probability": good, "score_good": good})
    write_rows(rows, tmp_path / "labels.csv", ".csv")
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["text", "label", "probability", "score_good"],
            ["a", "good", "0.9997", "0.9997"],
            ["b", "bad", "0.3333", "0.3333"],
        ]
    write_rows(rows, tmp_path / "labels.parquet", ".parquet")
    assert Dataset.from_parquet(str(tmp_path / "labels.parquet"))["score_good"][:] == good
