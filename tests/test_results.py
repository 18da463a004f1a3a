"""How verbs give their results: plain lines, or one line of JSON."""

import json

import numpy as np
import pytest

from lmu_hf.common.lines import digits
from lmu_hf_cli import run as run_verb

GIVING = {
    "evaluate": ["model"],
    "label": ["model", "--data_dir", "."],
    "forecast": ["model"],
    "export": ["model", "folder"],
    "suggest": ["signal.npy"],
}


@pytest.mark.parametrize("verb", GIVING)
def test_verbs_that_give_a_result_have_the_flag(verb):
    from importlib import import_module

    module = import_module(f"lmu_hf.cli.verbs.{verb}")
    assert module.parse_args([*GIVING[verb], "--json"]).json and not module.parse_args(GIVING[verb]).json


def test_a_result_is_plain_lines_or_json_and_both_say_the_same(tmp_path, capsys):
    path = tmp_path / "signal.npy"
    np.save(path, np.sin(np.arange(600) / 5))
    run_verb("suggest", argv=[str(path), "--theta", "40"])
    plain = capsys.readouterr().out
    run_verb("suggest", argv=[str(path), "--theta", "40", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["steps"] == 600 and "600 steps" in plain and "{" not in plain
    [row] = [row for row in result["orders"] if row["share"] == 0.9]
    assert row["theta"] == 40 and f"{row['order']:>13}" in plain


@pytest.mark.parametrize(
    "value, text",
    [
        (0.87654, "0.8765"),
        (1.0, "1.000"),
        (12345.6, "12,346"),
        (999.96, "1,000"),
        (-0.5, "-0.5000"),
        (1.2345e-6, "1.234e-06"),
        (0.0, "0.000"),
    ],
)
def test_scores_have_four_significant_digits(value, text):
    assert digits(value) == text
