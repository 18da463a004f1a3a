"""Every pipeline and every odd text, picture or sound: a defined answer, or one error that says what is wrong."""

import math
from typing import Any

import pytest
from PIL import Image
from transformers import pipeline

import lmu_hf  # noqa: F401  the family's pipelines
from tiny_runs import make_run

PIPELINES = {
    "text-classification": "text-classification",
    "pair-classification": "text-classification",
    "token-classification": "token-classification",
    "text-generation": "text-generation",
    "translation": "lmu-translation",
}
ODD = {
    "NUL": "a\0film",
    "right to left": "שלום עולם مرحبا بالعالم",
    "emoji of several": "👩‍👩‍👧‍👦 👍🏽 a film",
    "byte order mark": "\ufeffa film",
    "500 accents on a letter": "a e" + "\u0301" * 500,
    "controls": "a" + "".join(map(chr, range(1, 32))) + "film",
    "line ends": "a\r\nfilm\u2028not\u2029bad",
    "beyond the first plane": "a 𝔣𝔦𝔩𝔪 \U0010ffff",
}
# From tokenizers, which take no half of a pair of code units, the first two; from the family's own pipeline the last.
HALF = r"TextEncodeInput|TextInputSequence|lone surrogate '\\ud800', which is no character"


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("runs")
    return {
        kind: pipeline(task, str(make_run(root / kind, kind) / "model"), device="cpu")
        for kind, task in PIPELINES.items()
    }


def answer(pipelines: dict[str, Any], kind: str, text: Any) -> Any:
    how = {"max_new_tokens": 3, "do_sample": False} if kind in ("text-generation", "translation") else {}
    return pipelines[kind]({"text": text, "text_pair": "a film"} if kind == "pair-classification" else text, **how)


def numbers(said: Any) -> list[float]:
    """Every score in an answer."""
    if isinstance(said, dict):
        return [float(value) for key, value in said.items() if key == "score"]
    return [number for part in said for number in numbers(part)]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kind", PIPELINES)
def test_an_odd_text_has_a_defined_answer_and_the_same_one_again(pipelines, kind, name):
    first, second = (answer(pipelines, kind, ODD[name]) for _ in range(2))
    assert repr(first) == repr(second)
    assert all(math.isfinite(number) and 0 <= number <= 1 for number in numbers(first))


@pytest.mark.parametrize("kind", PIPELINES)
def test_half_a_pair_of_code_units_is_refused(pipelines, kind):
    with pytest.raises((TypeError, ValueError), match=HALF) as refused:
        answer(pipelines, kind, "a \ud800 film")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", " \n\t"], ids=["empty", "blank"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text-classification", "input_ids must hold at least one sequence of at least one step"),
        ("pair-classification", "attention_mask leaves no real step in row 0"),
        ("translation", "the text is empty"),
    ],
)
def test_a_text_without_a_word_is_refused(pipelines, kind, words, text):
    with pytest.raises(ValueError, match=words):
        answer(pipelines, kind, text)


def test_a_text_without_a_word_has_no_tags_and_is_continued_from_its_start(pipelines):
    assert answer(pipelines, "token-classification", "") == []
    assert isinstance(answer(pipelines, "text-generation", "")[0]["generated_text"], str)


@pytest.mark.parametrize("kind", PIPELINES)
@pytest.mark.parametrize("text", [3, b"a film", float("nan")], ids=["int", "bytes", "nan"])
def test_what_is_no_text_is_refused(pipelines, kind, text):
    with pytest.raises((TypeError, ValueError)) as refused:
        answer(pipelines, kind, text)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_line_of_ten_megabytes_is_read_whole(pipelines):
    line = "a film " * 1_500_000
    assert len(line) > 10**7
    assert 0 <= answer(pipelines, "text-classification", line)[0]["score"] <= 1


# --------------------------------------------------------------------------- pictures and sounds


@pytest.fixture(scope="module")
def see(tmp_path_factory) -> Any:
    run = make_run(tmp_path_factory.mktemp("image"), "image-classification")
    return pipeline("image-classification", str(run / "model"), device="cpu")


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"]
)
def test_an_image_of_any_mode_is_read_as_the_colours_that_pillow_makes_of_it(see, mode):
    image = Image.linear_gradient("L").resize((8, 8)).convert("RGB")
    image = image.convert("L").convert(mode) if mode in ("I", "F", "I;16", "PA", "LA") else convert(image, mode)
    assert see(image) == see(image.convert("RGB"))


def convert(image: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":
        return Image.new("LAB", image.size, (128, 0, 0))
    return image.convert(mode)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 2)], ids=str)
def test_an_image_of_any_size_is_read(see, size):
    assert math.isclose(sum(numbers(see(Image.new("L", size, 100)))), 1, rel_tol=1e-5)


def test_a_file_that_is_no_image_is_refused_by_name(see, tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n123")
    with pytest.raises((ValueError, OSError), match=r"cut\.png"):
        see(str(path))


def test_nothing_is_no_image(see):
    with pytest.raises((ValueError, TypeError)):
        see(None)
