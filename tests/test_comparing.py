"""The pictures of docs/results/pictures.md: drawn from records, and refused where records say too little."""

import json
import shutil
from pathlib import Path

import pytest
from matplotlib.colors import to_rgb
from PIL import Image

import own_language
from comparing import PANELS, accuracy_against_parameters, bits_against_text, score_by_length
from lmu_hf.common import style

RECORDS = Path(__file__).parent.parent / "records"
REPORT = RECORDS / "multi30k_by_length.json"


def assert_is_a_picture(path: Path) -> None:
    with Image.open(path) as picture:
        assert min(picture.size) > 500
        assert len(picture.getchannel("A").getcolors()) > 50  # more than a blank page, which is transparent


def test_every_picture_is_drawn_from_the_records(tmp_path):
    assert_is_a_picture(bits_against_text(RECORDS, tmp_path / "bits.png"))
    assert_is_a_picture(accuracy_against_parameters(RECORDS, tmp_path / "accuracy.png"))
    assert_is_a_picture(own_language.draw(RECORDS, tmp_path / "bleu.png"))


def test_a_model_without_its_lstm_is_not_drawn(tmp_path):
    for folder in RECORDS.glob("*"):
        if folder.is_dir() and "-lstm" not in folder.name:
            shutil.copytree(folder, tmp_path / "records" / folder.name)
    with pytest.raises(FileNotFoundError, match="no LMU with its LSTM"):
        bits_against_text(tmp_path / "records", tmp_path / "bits.png")


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
    with pytest.raises(ValueError, match=r"the LMU's report .* write it with .* --by_length"):
        score_by_length({"LMU": told}, "bleu", tmp_path / "bleu.png")
    assert not (tmp_path / "bleu.png").exists()


def test_every_recipe_of_a_panel_has_a_record():
    recipes = {json.loads(path.read_text(encoding="utf-8"))["recipe"] for path in RECORDS.glob("*/run.json")}
    assert {recipe for panel in PANELS for recipe in panel.recipes} <= recipes


def test_two_models_stand_side_by_side_where_they_were_scored_on_the_same_rows(tmp_path):
    told, other = (json.loads(REPORT.read_text(encoding="utf-8")) for _ in range(2))
    assert_is_a_picture(score_by_length({"LMU": told, "LSTM": other}, "bleu", tmp_path / "both.png"))
    other["by_length"]["groups"].pop()
    with pytest.raises(ValueError, match="of LMU, LSTM group other rows"):
        score_by_length({"LMU": told, "LSTM": other}, "bleu", tmp_path / "bleu.png")


def test_every_colour_reads_on_white_and_on_dark_pages():
    def luminance(colour: str) -> float:
        return sum(weight * (part / 12.92 if part <= 0.04 else ((part + 0.055) / 1.055) ** 2.4)
                   for weight, part in zip((0.2126, 0.7152, 0.0722), to_rgb(colour), strict=True))  # fmt: skip

    for colour in (style.INK, style.ACCENT, style.SECOND, style.THIRD, style.FOURTH, style.FAINT):
        for page in ("#ffffff", "#1e2129", "#0d1117"):  # white; the site's dark mode; GitHub's
            dark, light = sorted((luminance(colour), luminance(page)))
            assert (light + 0.05) / (dark + 0.05) > (3.2 if colour == style.FAINT else 3.6), (colour, page)


def test_pictures_have_no_background_and_are_narrow(tmp_path):
    score_by_length({"LMU": json.loads(REPORT.read_text(encoding="utf-8"))}, "bleu", tmp_path / "bleu.png")
    with Image.open(tmp_path / "bleu.png") as picture:
        assert picture.mode == "RGBA" and picture.getpixel((0, 0))[3] == 0
        assert picture.width < 1.15 * style.WIDTH * style.DPI
