"""The demo: what it computes, and its tabs clicked and drawn on in a real browser."""

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from math import cos, sin
from pathlib import Path

import numpy as np
import pytest
import torch

import lmu_hf
from benchmark_space import free_port
from drawings import DIGITS
from lmu_hf.hub.space import inputs
from lmu_hf.hub.space.background import WindowProcess
from lmu_hf.hub.space.inputs import drawn_signal, spoken_part
from lmu_hf.hub.space.models import TABS, TabModel, in_the_box, language_name
from lmu_hf.hub.space.readings import PARTS, digit_image, hear, read_digit, read_sentence, translate, write_on
from lmu_hf.hub.space.window import remembered
from lmu_hf.memory import memory_chunked
from lmu_hf.statespace import LegendreSystem, decode_past
from tiny_runs import make_run

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "space.py"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_a_drawing_is_cut_centred_and_light_on_dark():
    ink = np.zeros((100, 100), np.uint8)
    ink[10:90, 70:74] = 255  # a thin one at the edge
    image = np.asarray(digit_image(ink, 28))
    assert image.shape == (28, 28) and image.max() == 255
    rows, columns = np.nonzero(image)
    assert rows.max() - rows.min() + 1 == 20 and abs(columns.mean() - 13.5) <= 1 and abs(rows.mean() - 13.5) <= 1
    with pytest.raises(ValueError, match="nothing is drawn"):
        digit_image(np.zeros((5, 5), np.uint8), 28)


def loaded(kind: str, folder: Path):
    import transformers

    import lmu_hf
    from lmu_hf.hub.kinds import KINDS

    run = make_run(folder, kind)
    model = getattr(lmu_hf, KINDS[kind].head).from_pretrained(run / "model").eval()
    if kind == "image-classification":
        return model, transformers.AutoImageProcessor.from_pretrained(run / "model")
    return model, transformers.AutoTokenizer.from_pretrained(run / "model")


def test_pixels_come_in_the_models_own_order(tmp_path):
    model, processor = loaded("image-classification", tmp_path)
    ink = np.random.default_rng(0).integers(0, 256, (40, 40)).astype(np.uint8)
    image = digit_image(ink, 8)
    readings = list(read_digit(model, processor, image, frames=5))
    assert [reading.pixels for reading in readings] == [13, 26, 38, 51, 64]
    assert np.array_equal(readings[-1].picture[..., 0], np.asarray(image))
    unread = (readings[0].picture == (226, 229, 235)).all(-1).sum()
    assert unread >= 64 - 13
    with torch.no_grad():
        logits = model(**processor(image, return_tensors="pt")).logits[0]
    expected = dict(zip(model.config.id2label.values(), logits.softmax(-1).tolist(), strict=True))
    assert readings[-1].chances == pytest.approx(expected, abs=1e-5)


def test_at_least_nine_of_ten_clean_drawings_are_read_right():
    pad = pytest.importorskip("lmu_hf.hub.space.pad", reason="needs the extra `demo`")
    digits = pytest.importorskip("lmu_hf.hub.space.digits", reason="needs the extra `demo`")
    model, processor = TabModel("digits", lmu_hf.pretrained("lmu-psmnist")).load()
    read = {}
    for digit, strokes in DIGITS.items():
        ink = pad.ink_of(json.dumps(strokes), digits.CANVAS, digits.CANVAS, digits.BRUSH)
        *_, last = read_digit(model, processor, digit_image(ink, model.config.image_size))
        read[digit] = max(last.chances, key=last.chances.__getitem__)
    assert sum(digit == name for digit, name in read.items()) >= 9, read


@pytest.mark.parametrize(
    ("review", "verdict"),
    [
        ("This movie was the worst thing I have seen in years", "neg"),
        ("An absolute masterpiece, moving from start to finish", "pos"),
    ],
)
def test_plain_reviews_are_read_with_little_doubt(review, verdict):
    _, chances = read_sentence(*TabModel("sentiment", lmu_hf.pretrained("lmu-imdb")).load(), review)
    assert chances[verdict] >= 0.9


def test_the_score_of_a_word_is_that_of_the_text_up_to_it(tmp_path):
    model, tokenizer = loaded("text-classification", tmp_path)
    words, verdict = read_sentence(model, tokenizer, "a charming  film")
    assert [word for word, _ in words] == ["a", "charming", "film"]
    for end, (_, score) in enumerate(words):
        batch = tokenizer(" ".join(["a", "charming", "film"][: end + 1]), return_tensors="pt")
        with torch.no_grad():
            chances = model(batch["input_ids"]).logits.softmax(-1)[0]
        assert score == pytest.approx((chances[1] - chances[0]).item(), abs=1e-5)
    assert sum(verdict.values()) == pytest.approx(1) and set(verdict) == {"negative", "positive"}
    with pytest.raises(ValueError, match="no word"):
        read_sentence(model, tokenizer, "  ")


def test_a_long_text_is_read_in_parts_so_that_its_cost_is_linear(tmp_path):
    model, tokenizer = loaded("text-classification", tmp_path)
    for count in (PARTS, PARTS + 1, 150):
        words = [f"film{number}" for number in range(count)]
        parts, _ = read_sentence(model, tokenizer, " ".join(words))
        assert len(parts) == PARTS and " ".join(part for part, _ in parts) == " ".join(words)


def test_a_translation_shows_where_it_looked(tmp_path):
    model, tokenizer = loaded("translation", tmp_path)
    made = translate(model, tokenizer, "a man", num_beams=2)
    assert made.weights.shape == (len(made.target), len(made.source))
    np.testing.assert_allclose(made.weights.sum(1), 1, atol=1e-5)
    with pytest.raises(ValueError, match="nothing to translate"):
        translate(model, tokenizer, " ")


def test_text_grows_token_by_token(tmp_path):
    model, tokenizer = loaded("text-generation", tmp_path)
    texts = list(write_on(model, tokenizer, "a man", 5, 0.8, seed=1))
    assert 1 < len(texts) <= 5 and all(text.startswith("a man") for text in texts)  # it may come to an end by itself
    assert "<eos>" not in texts[-1]
    assert texts == list(write_on(model, tokenizer, "a man", 5, 0.8, seed=1))


def test_a_drawn_line_becomes_a_signal_that_the_memory_decodes():
    ink = np.zeros((101, 600), np.uint8)
    t = np.arange(600)
    ink[np.round(50 + 40 * np.sin(t / 40)).astype(int), t] = 255
    signal = drawn_signal(ink, 600)
    np.testing.assert_allclose(signal, -0.8 * np.sin(t / 40), atol=0.02)
    assert remembered(signal, 150, 24, 450).error < 0.05 < remembered(signal, 150, 2, 450).error
    window = remembered(signal, 150, 24, 450)
    assert window.times[0] == 450 and window.times[-1] == 301 and len(window.decoded) == 150
    sample = drawn_signal(np.zeros((4, 4), np.uint8), 600)
    assert sample.shape == (600,) and sample.std() > 0.1


def test_the_window_is_that_of_the_memory():
    signal, system = drawn_signal(np.zeros((4, 4), np.uint8), 600), LegendreSystem(32, 200)
    m, _ = memory_chunked(torch.from_numpy(signal)[None, :401, None], system)
    delays = torch.arange(0.5, 200, 1.0, dtype=torch.float64)
    np.testing.assert_allclose(remembered(signal, 200, 32, 400).decoded, decode_past(m[0, -1, 0], system, delays))


def test_a_process_beside_the_page_answers_as_the_memory_does_and_says_that_it_has_ended():
    signal, beside = drawn_signal(np.zeros((4, 4), np.uint8), 600).tolist(), WindowProcess()
    asked = [(signal, 200, 32, 400), (signal, 50.5, 3, 1), ([0.0] * 600, 400, 64, 599)]
    with ThreadPoolExecutor(len(asked)) as threads:  # as visitors ask, at once
        assert list(threads.map(lambda one: beside.remembered(*one), asked)) == [remembered(*one) for one in asked]
    beside.close()
    beside = WindowProcess()
    beside._process.kill()
    with pytest.raises(RuntimeError, match="the process that computes the memory ended with -9: start again"):
        beside.remembered(*asked[0])
    beside._process.stdout.close()


def test_the_page_is_built_without_torch():
    pytest.importorskip("gradio", reason="needs the extra `demo`")
    program = (
        "import sys, lmu_hf_cli; from lmu_hf.hub.space.app import build, in_the_box; "
        "build(in_the_box()); print(sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_memory_opens_on_a_success():
    memory = pytest.importorskip("lmu_hf.hub.space.memory", reason="needs the extra `demo`")
    shown, said = memory.shown_at(*memory.BEGIN)
    shown = json.loads(shown)
    assert len(shown["signal"]) == 600 and (shown["begin"], shown["moment"]) == (201, 400)
    np.testing.assert_allclose(shown["decoded"], shown["signal"][201:401], atol=0.02)
    assert said == "32 numbers hold the last 200 steps, with an error of **0.1%** of the signal's standard deviation."


def tones(rate: int, *lengths: float) -> np.ndarray:
    """Silence, a tone and silence of so many seconds, with a little noise."""
    parts = [np.zeros(int(lengths[0] * rate)), np.sin(np.arange(int(lengths[1] * rate)) / 4)]
    signal = np.concatenate([*parts, np.zeros(int(lengths[2] * rate))])
    return 0.5 * signal + np.random.default_rng(0).normal(0, 1e-3, len(signal))


def test_silence_before_and_behind_a_sound_is_cut():
    cut = spoken_part(tones(8000, 0.7, 0.4, 1.2), 8000)
    assert 0.4 <= len(cut) / 8000 <= 0.5
    assert len(spoken_part(tones(8000, 0, 0.4, 0), 8000)) == 3200
    with pytest.raises(ValueError, match="the sound is silent"):
        spoken_part(np.zeros(8000), 8000)
    with pytest.raises(ValueError, match="the sound lasts 21 s; here at most 20 s are heard"):
        spoken_part(np.ones(8000 * 21), 8000)


def test_a_sound_is_scored_while_it_is_heard(tmp_path):
    soundfile = pytest.importorskip("soundfile", reason="needs the extra `audio`")
    model, processor = TabModel("sound", lmu_hf.pretrained("lmu-spoken-digits")).load()
    soundfile.write(tmp_path / "tone.wav", tones(16000, 0.2, 0.5, 0.2), 16000)
    heard = list(hear(model, processor, str(tmp_path / "tone.wav")))
    assert len(heard) >= 8 and [seconds for seconds, _ in heard] == sorted({seconds for seconds, _ in heard})
    assert all(sum(scores.values()) == pytest.approx(1) for _, scores in heard) and len(heard[0][1]) == 10
    (tmp_path / "words.wav").write_bytes(b"no sound" * 50)
    with pytest.raises(ValueError, match=r"^words\.wav is not a file of sound"):
        list(hear(model, processor, str(tmp_path / "words.wav")))


def test_a_table_is_forecast_as_the_command_forecasts_it(tmp_path):
    forecasting = pytest.importorskip("lmu_hf.hub.space.forecasting", reason="needs the extra `train`")
    step = np.arange(600)
    rows = [f"2025-01-{1 + at // 24:02d} {at % 24:02d}:00,{np.sin(at * np.pi / 12):.4f}" for at in step]
    (tmp_path / "load.csv").write_text("\n".join(["time,load", *rows]), encoding="utf-8")
    found = forecasting.forecasted(str(tmp_path / "load.csv"), None)
    np.testing.assert_allclose(found.ahead[:, 0], np.sin((600 + np.arange(24)) * np.pi / 12), atol=0.02)
    assert "600 steps of 1 hour" in found.said and "season 24" in found.said
    (tmp_path / "rows.csv").write_text("\n".join(["load", *(f"{at % 7}" for at in step)]), encoding="utf-8")
    found = forecasting.forecasted(str(tmp_path / "rows.csv"), 5)
    assert found.ahead.shape == (5, 1) and "600 rows, each taken for one step" in found.said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\nx,y\nz,w\n", "it.csv has no column of numbers"),
        ("a\n1\n2\n3\n", "too few for a context of"),
        ("a\n" + "1\n" * 50_001, "it.csv has 50,002 lines; here at most 50,000 are read"),
        ("a\n" + "1\n2\n" * 20 + "three\n", "it.csv, line 42, 'a' must be a finite number or empty, got 'three'"),
    ],
)
def test_a_table_that_will_not_do_is_refused_in_one_plain_line(tmp_path, text, said):
    forecasting = pytest.importorskip("lmu_hf.hub.space.forecasting", reason="needs the extra `train`")
    (tmp_path / "it.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        forecasting.forecasted(str(tmp_path / "it.csv"), None)
    assert said in str(caught.value) and "--" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_models_are_those_in_the_box_and_languages_have_names():
    assert {"digits", "text", "sound"} <= set(in_the_box()) <= set(TABS)
    assert (language_name("de"), language_name("pt-BR"), language_name("xx")) == (
        "German",
        "Portuguese (Brazil)",
        "xx",
    )


def test_models_that_are_asked_for_at_once_are_loaded_whole():
    models = [TabModel(tab, folder) for tab, folder in in_the_box().items() for _ in range(2)]
    with ThreadPoolExecutor(len(models)) as threads:
        loaded = list(threads.map(TabModel.load, models))
    assert all(weight.device.type == "cpu" for model, _ in loaded for weight in model.parameters())
    assert models[0].load()[0] is loaded[0][0]


def test_the_page_of_the_demo_tells_what_was_measured_and_its_limits():
    page = " ".join((ROOT / "docs" / "start" / "space.md").read_text(encoding="utf-8").split())
    record = json.loads((ROOT / "records" / "benchmark_space.json").read_text(encoding="utf-8"))
    medians = record["medians"]
    assert f"the process of the page takes {medians['page_processor_seconds']:.1f} s of a processor" in page
    assert f"all together take {medians['page_processor_seconds_of_all']:.1f} s" in page
    assert f"with its first answer after {medians['page_seconds']:.1f} s (median of three starts)" in page
    limits = f"{inputs.CHARACTERS:,} characters and {inputs.TOKENS} tokens, a sound {inputs.SECONDS:g} seconds"
    assert limits in page and f"at most {PARTS} parts" in page
    assert all(f"`{name}`" in page for name, *_ in TABS.values())


def test_strokes_become_pixels():
    pad = pytest.importorskip("lmu_hf.hub.space.pad", reason="needs the extra `demo`")
    ink = pad.ink_of("[[[0.1, 0.5], [0.9, 0.5]], [[0.5, 0.1]]]", 100, 50, 6)
    assert ink.shape == (50, 100) and ink[25, 10:90].min() == 255 and ink[5, 50] == 255 and ink[45].max() == 0
    assert pad.ink_of(None, 10, 10, 2).max() == 0
    with pytest.raises(ValueError, match="list of strokes"):
        pad.ink_of("[1, 2]", 10, 10, 2)


def test_a_tab_that_is_not_there_is_named():
    app = pytest.importorskip("lmu_hf.hub.space.app", reason="needs the extra `demo`")
    with pytest.raises(ValueError, match="none called 'speech'"):
        app.build({"speech": "org/model"})


@pytest.fixture
def space(tmp_path):
    """The address of the demo, served with tiny untrained models."""
    pytest.importorskip("gradio", reason="needs the extra `demo`")
    kinds = {"digits": "image-classification", "sentiment": "text-classification"}
    kinds |= {"text": "text-generation", "translation": "translation", "sound": "audio-classification"}
    models = {tab: str(make_run(tmp_path / tab, kind) / "model") for tab, kind in kinds.items()}
    port = free_port()
    words = [sys.executable, str(SCRIPT), "--port", str(port), "--models", json.dumps(models)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(words, cwd=tmp_path, stdout=log, stderr=log)
    try:
        for _ in range(240):
            if "Running on" in (tmp_path / "log").read_text() or process.poll() is not None:
                break
            time.sleep(0.5)
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_every_tab_answers_a_click_and_asks_nothing_of_the_network(space, tmp_path):
    soundfile = pytest.importorskip("soundfile", reason="needs the extra `audio`")
    soundfile.write(tmp_path / "tone.wav", tones(16000, 0.2, 0.5, 0.2), 16000)
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-quic", "--disable-component-update", "--disable-sync"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        foreign: list[str] = []
        page.on("request", lambda it: None if it.url.startswith((space, "data:", "blob:")) else foreign.append(it.url))
        page.goto(space, wait_until="domcontentloaded")
        page.set_default_timeout(60_000)
        assert "an error of 0.1%" in page.inner_text("#memory-error")  # it opens on a success
        draw(page, "#memory-pad", [(0.05 + i * 0.02, 0.5 + 0.4 * sin(i / 4) * cos(i / 13)) for i in range(46)])
        page.click("#memory-play")
        page.wait_for_function("document.querySelector('#memory-moment input').value == 599")
        assert "of the signal's standard deviation" in page.inner_text("#memory-error")
        page.get_by_role("tab", name="Digits").click()
        draw(page, "#digit-pad", [(0.35, 0.3), (0.5, 0.2), (0.65, 0.3), (0.4, 0.75), (0.68, 0.76)])
        page.click("#digit-read")
        page.wait_for_function("document.querySelector('#digit-count').innerText.includes('64 of 64')")
        page.get_by_role("tab", name="Sentiment").click()
        page.click("#sentiment-read")
        page.wait_for_function("document.querySelector('#sentiment-verdict').innerText.includes('%')")
        page.get_by_role("tab", name="Text").click()
        page.click("#text-write")
        page.wait_for_function("document.querySelector('#text-speed').innerText.includes('tokens a second')")
        page.get_by_role("tab", name="Translation").click()
        page.fill("#translation-text input, #translation-text textarea", "a man is playing")
        page.click("#translation-go")
        page.wait_for_selector("#translation-attention td")
        page.get_by_role("tab", name="Sound").click()
        page.locator("#sound-audio button[aria-label*=pload]").first.click()
        page.set_input_files("#sound-audio input[type=file]", tmp_path / "tone.wav")
        page.wait_for_selector("#sound-scores polyline")
        page.get_by_role("tab", name="Forecast").click()
        page.click("#forecast-sample")
        page.wait_for_function("document.querySelector('#forecast-said').innerText.includes('Mean absolute error')")
        page.wait_for_selector("#forecast-plot canvas, #forecast-plot svg")
        # A phone's width: nothing is wider than the page.
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
    assert not errors and not foreign, (errors, foreign)


def draw(page, pad: str, points: list[tuple[float, float]]) -> None:
    box = page.locator(f"{pad} canvas").first.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=3)
    page.mouse.up()
