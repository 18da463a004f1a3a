"""The pictures of docs/results/pictures.md: drawn from records, and refused where records say too little."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from comparing import PANELS, accuracy_against_parameters, bits_against_time, score_by_length

RECORDS = Path(__file__).parent.parent / "records"
REPORT = RECORDS / "multi30k_by_length.json"


def assert_is_a_picture(path: Path) -> None:
    with Image.open(path) as picture:
        assert min(picture.size) > 500
        assert len(picture.convert("L").getcolors()) > 50  # more than a blank page


def test_every_picture_is_drawn_from_the_records(tmp_path):
    assert_is_a_picture(bits_against_time(RECORDS, tmp_path / "bits.png"))
    assert_is_a_picture(accuracy_against_parameters(RECORDS, tmp_path / "accuracy.png"))
    assert_is_a_picture(score_by_length(REPORT, "bleu", tmp_path / "bleu.png"))


def test_a_model_without_its_lstm_is_not_drawn(tmp_path):
    for folder in RECORDS.glob("*"):
        if folder.is_dir() and "-lstm" not in folder.name:
            shutil.copytree(folder, tmp_path / "records" / folder.name)
    with pytest.raises(FileNotFoundError, match="no LMU with its LSTM"):
        bits_against_time(tmp_path / "records", tmp_path / "bits.png")


def test_the_groups_by_length_make_up_the_whole_split():
    told = json.loads(REPORT.read_text(encoding="utf-8"))
    run = json.loads((RECORDS / "multi30k-en-de-seed0" / "run.json").read_text(encoding="utf-8"))
    assert told["scores"]["bleu"] == run["metrics"]["test"]["bleu"]
    groups = told["by_length"]["groups"]
    assert sum(group["rows"] for group in groups) == told["data"]["rows"]["test"]
    assert min(group["scores"]["bleu"] for group in groups) < told["scores"]["bleu"]


def test_a_report_without_lengths_is_refused(tmp_path):
    told = json.loads(REPORT.read_text(encoding="utf-8"))
    del told["by_length"]
    (tmp_path / "report.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ValueError, match=r"write it with .* --by_length"):
        score_by_length(tmp_path / "report.json", "bleu", tmp_path / "bleu.png")
    assert not (tmp_path / "bleu.png").exists()


def test_every_recipe_of_a_panel_has_a_record():
    recipes = {json.loads(path.read_text(encoding="utf-8"))["recipe"] for path in RECORDS.glob("*/run.json")}
    assert {recipe for panel in PANELS for recipe in panel.recipes} <= recipes
