"""The demo is given anything at all: each input is answered, or refused with one note that says what is wrong."""

import importlib.util
import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoTokenizer

from lmu_hf.hub.space import inputs
from lmu_hf.hub.space.readings import PARTS, ROWS, read_sentence, translate, write_on
from tiny_runs import make_run

LOADS = {
    "text-classification": AutoModelForSequenceClassification,
    "text-generation": AutoModelForCausalLM,
    "translation": AutoModelForSeq2SeqLM,
}
NO_TEXT = [None, 7, 0.5, ["a"], {"text": "a"}, b"a"]
ODD_TEXT = ["👩‍👩‍👧 🇻🇳", "<eos>", "<pad><pad> <bos>", "\ud83d", "\x00", "a\u202eb", "1e309 -5 NaN", "中文 " * 40]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> dict[str, tuple]:
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for kind, auto_class in LOADS.items():
        model = make_run(folder / kind, kind) / "model"
        found[kind] = auto_class.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    return found


READS = {
    "text-classification": read_sentence,
    "translation": translate,
    "text-generation": lambda model, tokenizer, text: list(write_on(model, tokenizer, text, 3, 0.5, 0)),
}


@pytest.mark.parametrize("kind", READS)
@pytest.mark.parametrize("text", NO_TEXT, ids=repr)
def test_inputs_that_are_no_text_are_refused(loaded, kind, text):
    with pytest.raises(ValueError, match="a text is needed, got"):
        READS[kind](*loaded[kind], text)


@pytest.mark.parametrize("kind", READS)
def test_a_text_that_is_too_long_is_refused_before_it_is_read(loaded, kind, monkeypatch):
    model, tokenizer = loaded[kind]
    monkeypatch.setattr(type(model), "forward", None)
    with pytest.raises(ValueError, match=r"the text has 5,001 characters; here at most 5,000 are read"):
        READS[kind](model, tokenizer, "a" * 5001)
    with pytest.raises(ValueError, match=r"the text has 1,0\d\d tokens; here at most 512 are read"):
        READS[kind](model, tokenizer, "a " * 1030 if kind == "text-classification" else "a" * 1030)
    monkeypatch.setattr(tokenizer, "model_max_length", 4)
    with pytest.raises(ValueError, match=r"here at most 4 are read"):
        READS[kind](model, tokenizer, "a man is playing a guitar")


@pytest.mark.parametrize("kind", READS)
@pytest.mark.parametrize("text", ODD_TEXT, ids=ascii)
def test_odd_texts_are_read_or_refused_with_a_note(loaded, kind, text):
    try:
        assert READS[kind](*loaded[kind], text)
    except ValueError as error:
        assert str(error) == "there is no word to read yet" and kind == "text-classification"


def test_many_words_are_read_in_batches(loaded, monkeypatch):
    model, tokenizer = loaded["text-classification"]
    text, rows, forward = " ".join(["a charming film"] * 30), [], type(model).forward

    def watched(self, input_ids, **how):
        rows.append(len(input_ids))
        return forward(self, input_ids, **how)

    words, _ = read_sentence(model, tokenizer, text)
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "forward", watched)
        assert read_sentence(model, tokenizer, text)[0] == words
    assert rows == [ROWS] * (PARTS // ROWS)  # 90 words are more than are scored one by one
    with torch.no_grad():
        for place in (0, ROWS, PARTS - 1):
            read = " ".join(part for part, _ in words[: place + 1])
            chances = model(tokenizer(read, return_tensors="pt")["input_ids"]).logits.softmax(-1)[0]
            assert words[place][1] == pytest.approx((chances[1] - chances[0]).item(), abs=1e-5)


@pytest.mark.parametrize("value", [None, "7", math.nan, math.inf, -1, 65, 10**400, True, [1]], ids=ascii)
def test_numbers_outside_limits_are_refused(value):
    with pytest.raises(ValueError, match=r"Order must be a number from 1 to 64, got "):
        inputs.whole(value, "Order", 1, 64)


def test_numbers_within_limits_are_taken():
    assert inputs.whole(16.0, "Order", 1, 64) == 16 and inputs.number(0.5, "Temperature", 0, 1.5) == 0.5
    with pytest.raises(ValueError, match=r"Order must be a whole number, got 1\.5"):
        inputs.whole(1.5, "Order", 1, 64)


DRAWINGS = [
    *("5", "{", "null", '"a"', "[1, 2]", "[[1, 2]]", "[[[1]]]", "[[[1, 2, 3]]]", '[[["a", 2]]]', "[[[null, 1]]]"),
    *("[[[NaN, 0.5]]]", "[[[Infinity, 0.5]]]", "[[[1e300, 0.5]]]", "[" * 100_000, "[[[" + "9" * 400 + ", 0]]]", "true"),
    *(7, ["[]"], {"a": 1}, "[[[0.5, 0.5]]" + " " * 1_000_000 + "]"),
]


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda drawing: ascii(drawing)[:20])
def test_inputs_that_are_no_drawing_are_refused_in_one_line(drawing):
    pad = pytest.importorskip("lmu_hf.hub.space.pad", reason="needs the extra `demo`")
    with pytest.raises(ValueError, match="drawing") as caught:
        pad.ink_of(drawing, 20, 10, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("drawing", ["", "[]", "[[]]", "[[[-3.5, 0.5], [4, 0.5]]]", "[[[0.5, 0.5]]]", None])
def test_a_drawing_may_be_empty_or_leave_the_canvas(drawing):
    pad = pytest.importorskip("lmu_hf.hub.space.pad", reason="needs the extra `demo`")
    assert pad.ink_of(drawing, 20, 10, 3).any() == (json.loads(drawing or "[]") not in ([], [[]]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("{", "that is not JSON"),
        ("[1]", "must be a JSON object"),
        ('{"text": 5}', "must be a JSON object"),
        ('{"speech": "x"}', "there is no tab 'speech'"),
        ('{"text": "x"} --tabs digits', "--models names text, which --tabs does not"),
    ],
)
def test_models_of_tabs_that_are_not_there_are_named(words, said, capsys):
    path = Path(__file__).parents[1] / "scripts" / "space.py"
    spec = importlib.util.spec_from_file_location("space_script", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    models, *tabs = words.split(" --tabs ")
    with pytest.raises(SystemExit):
        script.parse_args(["--models", models, *(["--tabs", *tabs] if tabs else [])])
    assert said in capsys.readouterr().err


# Module and function → inputs that it must refuse.
WRONG = {
    ("digits", "read"): [("{",), (None,), (5,), ("[]",)],
    ("sentiment", "read"): [("",), (None,), ("a " * 3000,), (5,)],
    ("text", "write"): [("a", None, 0.5, 0), ("a", 5, -1, 0), ("a", 5, 0.5, -3), ("a", -5, 0.5, 0), (None, 5, 0.5, 0)],
    ("translation", "read"): [("",), (None,), ("a" * 6000,)],
    ("memory", "look"): [("{", 200, 16, 400), (None, 0, 16, 400), (None, 200, 65, 4), (None, 200, 16, 600)],
    ("memory", "play"): [("{", 200, 16), (None, 0, 16), (None, 200, 65), (None, None, 1)],
    ("sound", "listen"): [(None,), (__file__,)],
    ("forecast", "run"): [(None, 0), (__file__, -1), (__file__, 1.5), (__file__, None)],
    ("forecast", "made_up"): [(-1,), (501,), ("2",)],
    ("forecast", "show"): [(None, "load")],
}


def test_every_tab_answers_a_wrong_input_with_a_note(tmp_path):
    app = pytest.importorskip("lmu_hf.hub.space.app", reason="needs the extra `demo`")
    kinds = {"digits": "image-classification", "sentiment": "text-classification"}
    kinds |= {"text": "text-generation", "translation": "translation", "sound": "audio-classification"}
    demo = app.build({tab: str(make_run(tmp_path / tab, kind) / "model") for tab, kind in kinds.items()})
    answers = {}
    for function in demo.fns.values():
        module = (function.fn.__module__ or "").removeprefix("lmu_hf.hub.space.")
        if "." not in module and module != "app":  # gradio has functions of its own, and the app loads models
            answers[module, function.fn.__name__] = function.fn
    assert set(answers) == set(WRONG)
    for name, rows in WRONG.items():
        for row in rows:
            with pytest.raises(app.gr.Error) as caught:
                list(answers[name](*row))
            assert "\n" not in caught.value.message, (name, row)
