"""From a folder to an answer: the tools that people already use say what the model itself says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import Dataset
from transformers import AutoModelForSeq2SeqLM, GenerationConfig, TextStreamer, ViTImageProcessor, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from lmu_hf import (
    LMUConfig,
    LMUForCausalLM,
    LMUForConditionalGeneration,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUModel,
    LMUTranslationPipeline,
)
from lmu_hf.tokenization_lmu import train_tokenizer
from script_runs import WITHOUT_PACKAGE

TEXTS = ["a good film", "a very dull film, not fine", "bad", "not bad at all"]
TINY = {"hidden_size": 12, "num_hidden_layers": 2, "order": 3, "theta": [5.0, 30.0]}
LABELS = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
IMAGE = {"input_size": 1, "image_size": 4, "permutation_seed": 0}
TRANSLATION = {"is_encoder_decoder": True, "bidirectional": True, "tie_word_embeddings": True}

# Per task: the model's class, what its config adds, and its tokenizer.
TASKS = {
    "text-generation": (LMUForCausalLM, {}, {"kind": "char", "padding_side": "left", "add_bos": True}),
    "text-classification": (LMUForSequenceClassification, LABELS, {"kind": "word"}),
    "pairs": (LMUForSequencePairClassification, LABELS, {"kind": "word", "pair": True}),
    "feature-extraction": (LMUModel, {}, {"kind": "word", "add_eos": True}),
    "lmu-translation": (LMUForConditionalGeneration, TRANSLATION, {"kind": "char", "add_eos": True}),
}


def save(folder: Path, kind: type, fields: dict, how: dict | None):
    """A model whose every parameter is drawn anew and large, so that other inputs have other outputs; its tokenizer."""
    tokenizer = None if how is None else train_tokenizer(texts=TEXTS, **how)
    if tokenizer is not None:
        ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id}
        fields = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, **ids, **fields}
        tokenizer.save_pretrained(folder)
    model, generator = kind(LMUConfig(**{**TINY, **fields})), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.6)
    model.eval().save_pretrained(folder)
    return model, tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("models")
    there = {task: (folder / task, *save(folder / task, *how)) for task, how in TASKS.items()}
    model, _ = save(folder / "image", LMUForImageClassification, {**IMAGE, **LABELS}, None)
    ViTImageProcessor(do_resize=False, do_normalize=False, size={"height": 4, "width": 4}).save_pretrained(
        folder / "image"
    )
    return {**there, "image-classification": (folder / "image", model, None)}


@pytest.fixture(autouse=True)
def offline(monkeypatch) -> None:
    """Any attempt to reach the Hub fails."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def load(saved: dict, task: str, **how):
    folder, model, tokenizer = saved[task]
    return pipeline("text-classification" if task == "pairs" else task, model=str(folder), device="cpu", **how), (
        model,
        tokenizer,
    )


# --------------------------------------------------------------------------- text generation


GREEDY = {"do_sample": False, "max_new_tokens": 9}


def continued(model, tokenizer, text: str) -> str:
    ids = tokenizer(text, return_tensors="pt").input_ids
    made = model.generate(ids, **GREEDY)[0, ids.shape[1] :]
    return tokenizer.decode(made, skip_special_tokens=True)


def test_the_text_generation_pipeline_generates_what_the_model_does(saved):
    write, (model, tokenizer) = load(saved, "text-generation")
    for text in TEXTS:
        expected = continued(model, tokenizer, text)
        assert write(text, **GREEDY) == [{"generated_text": text + expected}]
        assert write(text, return_full_text=False, **GREEDY) == [{"generated_text": expected}]


def test_texts_of_several_lengths_are_continued_in_a_batch_as_alone(saved):
    write, (model, tokenizer) = load(saved, "text-generation")
    together = write(TEXTS, batch_size=4, return_full_text=False, **GREEDY)
    assert together == [[{"generated_text": continued(model, tokenizer, text)}] for text in TEXTS]


def test_text_can_be_streamed(saved, capsys):
    write, (model, tokenizer) = load(saved, "text-generation")
    write(TEXTS[0], streamer=TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True), **GREEDY)
    assert capsys.readouterr().out.rstrip("\n") == continued(model, tokenizer, TEXTS[0]).rstrip("\n")


# --------------------------------------------------------------------------- classes and features


def probabilities(logits: Tensor) -> list[float]:
    return pytest.approx(logits.softmax(-1)[0].tolist(), rel=1e-5)


def by_label(answers: list[dict]) -> list[float]:
    scores = {answer["label"]: answer["score"] for answer in answers}
    return [scores["negative"], scores["positive"]]


def test_a_text_is_classified_alone_and_in_a_padded_batch(saved):
    classify, (model, tokenizer) = load(saved, "text-classification", top_k=None)
    for answers in ([classify(text)[0] for text in TEXTS], classify(TEXTS, batch_size=4)):
        for text, answer in zip(TEXTS, answers, strict=True):
            assert by_label(answer) == probabilities(model(**tokenizer(text, return_tensors="pt")).logits)


def test_a_pair_is_classified_alone_and_in_a_padded_batch(saved):
    classify, (model, tokenizer) = load(saved, "pairs", top_k=None)
    pairs = [{"text": text, "text_pair": other} for text, other in zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True)]
    for answers in ([classify(pair) for pair in pairs], classify(pairs, batch_size=4)):
        for pair, answer in zip(pairs, answers, strict=True):
            first, second = (tokenizer(pair[name], return_tensors="pt").input_ids for name in ("text", "text_pair"))
            assert by_label(answer) == probabilities(model(first, pair_input_ids=second).logits)


def test_features_are_the_bodys_states(saved):
    extract, (model, tokenizer) = load(saved, "feature-extraction")
    for text in TEXTS:
        expected = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
        assert_close(torch.tensor(extract(text)), expected, rtol=0, atol=1e-5)


def test_an_image_is_classified(saved):
    classify, (model, _) = load(saved, "image-classification")
    grey = torch.arange(0, 256, 16, dtype=torch.uint8).view(4, 4)
    answer = classify(Image.fromarray(grey.numpy(), mode="L"))
    assert by_label(answer) == probabilities(model((grey / 255)[None, None]).logits)


# --------------------------------------------------------------------------- translation


SHORT = {"max_new_tokens": 9}


def translated(model, tokenizer, text: str, **how) -> list[dict]:
    made = model.generate(**tokenizer(text, return_tensors="pt"), **{**SHORT, **how})
    return [{"translation_text": line} for line in tokenizer.batch_decode(made, skip_special_tokens=True)]


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"num_beams": 4, "num_return_sequences": 3}], ids=str)
def test_a_translation_is_the_models_own_alone_in_a_list_and_in_a_batch(saved, how):
    translate, (model, tokenizer) = load(saved, "lmu-translation")
    assert type(translate) is LMUTranslationPipeline
    expected = [translated(model, tokenizer, text, **how) for text in TEXTS]
    assert len({json.dumps(lines) for lines in expected}) > 1
    assert [translate(text, **SHORT, **how) for text in TEXTS] == expected
    for batch in (1, 3):
        assert translate(TEXTS, batch_size=batch, **SHORT, **how) == expected
    assert translate(tuple(TEXTS), **SHORT, **how) == expected


class Rows(Dataset):
    def __len__(self) -> int:
        return len(TEXTS)

    def __getitem__(self, index: int) -> dict[str, str]:
        return {"en": TEXTS[index]}


def test_texts_may_come_from_a_generator_and_are_read_lazily(saved):
    translate, (model, tokenizer) = load(saved, "lmu-translation")
    expected, taken = [translated(model, tokenizer, text) for text in TEXTS], []
    texts = (taken.append(text) or text for text in TEXTS)
    answers = iter(translate(texts, **SHORT))
    assert next(answers) == expected[0]
    assert len(taken) <= 2
    assert list(answers) == expected[1:]
    assert list(translate(KeyDataset(Rows(), "en"), batch_size=3, **SHORT)) == expected
    assert translate([]) == []


def test_arguments_of_generate_may_be_set_once_for_all_calls(saved):
    translate, (model, tokenizer) = load(saved, "lmu-translation", num_beams=3, max_new_tokens=4)
    assert translate("bad") == translated(model, tokenizer, "bad", num_beams=3, max_new_tokens=4)
    assert translate("bad", max_new_tokens=7) == translated(model, tokenizer, "bad", num_beams=3, max_new_tokens=7)
    config = GenerationConfig(max_new_tokens=5)
    assert translate("bad", generation_config=config) == translated(model, tokenizer, "bad", max_new_tokens=5)
    made = translate("bad", return_dict_in_generate=True, output_scores=True)
    assert made == translated(model, tokenizer, "bad", num_beams=3, max_new_tokens=4)


def test_a_translation_is_not_cut_after_twenty_tokens(saved):
    translate, _ = load(saved, "lmu-translation", eos_token_id=None)
    (answer,) = translate("bad", return_tensors=True)
    assert answer["translation_token_ids"].shape == (257,)


def test_ids_are_returned_on_demand(saved):
    translate, (model, tokenizer) = load(saved, "lmu-translation", **SHORT)
    expected = model.generate(**tokenizer("bad", return_tensors="pt"), **SHORT)[0]
    (ids,) = translate("bad", return_tensors=True)
    (both,) = translate("bad", return_tensors=True, return_text=True)
    assert ids.keys() == {"translation_token_ids"}
    assert torch.equal(ids["translation_token_ids"], expected)
    assert both["translation_text"] == translate("bad")[0]["translation_text"]
    with pytest.raises(ValueError, match="nothing to return"):
        translate("bad", return_text=False)


@pytest.mark.parametrize(
    ("texts", "error", "words"),
    [
        ("", ValueError, "the text is empty"),
        (" \n", ValueError, "the text is empty"),
        (["bad", ""], ValueError, "text 1 is empty"),
        (7, TypeError, "the text must be a str, got int"),
        (None, TypeError, "the text must be a str, got NoneType"),
        (b"bad", TypeError, "the text must be a str, got bytes"),
        (["bad", None], TypeError, "text 1 must be a str, got NoneType"),
        ([["bad"]], TypeError, "text 0 must be a str, got list"),
        ({"text": "bad"}, TypeError, "the text must be a str, got dict"),
    ],
)
def test_inputs_that_are_no_text_are_refused_by_name(saved, texts, error, words):
    translate, _ = load(saved, "lmu-translation")
    with pytest.raises(error, match=words):
        translate(texts)


def test_a_text_is_truncated_on_demand_only_and_with_a_warning(saved, caplog):
    translate, (model, tokenizer) = load(saved, "lmu-translation", **SHORT)
    long = " ".join(TEXTS)
    assert translate(long) == translated(model, tokenizer, long)
    assert translate(TEXTS[0], max_source_length=12) == translated(model, tokenizer, TEXTS[0])
    assert not caplog.records
    cut = translated(model, tokenizer, long[:9])
    assert translate(long, max_source_length=10) == cut
    assert f"A text of {len(long) + 1} tokens was cut to 10" in caplog.text
    translate.tokenizer.model_max_length = 10
    assert translate(long) != cut
    assert translate(long, truncation=True) == cut


def test_a_model_without_an_encoder_does_not_translate(saved):
    model, tokenizer = saved["text-generation"][1:]
    with pytest.raises(TypeError, match="needs an encoder-decoder, got LMUForCausalLM"):
        pipeline("lmu-translation", model=model, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="is_encoder_decoder=True"):
        load({"lmu-translation": saved["text-generation"]}, "lmu-translation")


# --------------------------------------------------------------------------- on another machine


def run(code: str, *arguments: str, **environment: str) -> str:
    """What a fresh process prints, offline."""
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_one_import_is_all_that_a_fresh_process_needs(saved):
    code = """
import json, sys, lmu_hf
from transformers import pipeline
folders, texts = json.loads(sys.argv[1]), json.loads(sys.argv[2])
greedy = {"do_sample": False, "max_new_tokens": 9}
write, classify, translate = (
    pipeline(task, model=folders[task], device="cpu")
    for task in ("text-generation", "text-classification", "lmu-translation")
)
assert translate.model.lm_head.weight is translate.model.get_decoder().embed_tokens.weight
print(json.dumps([write(texts, **greedy), classify(texts), translate(texts, num_beams=3, max_new_tokens=9)]))
"""
    folders = {task: str(folder) for task, (folder, _, _) in saved.items()}
    printed = json.loads(run(code, json.dumps(folders), json.dumps(TEXTS)))
    tasks = ("text-generation", "text-classification", "lmu-translation")
    write, classify, translate = (load(saved, task)[0] for task in tasks)
    assert printed[0] == write(TEXTS, **GREEDY)
    assert printed[1] == classify(TEXTS)
    assert printed[2] == translate(TEXTS, num_beams=3, max_new_tokens=9)


WITHOUT_THE_PACKAGE = (
    WITHOUT_PACKAGE
    + """
import json
from transformers import pipeline
how = {"model": sys.argv[1], "trust_remote_code": True, "device": "cpu"}
answers = [
    pipe(json.loads(sys.argv[2]), num_beams=3, max_new_tokens=9, batch_size=2)
    for pipe in (pipeline("lmu-translation", **how), pipeline(**how))
]
assert "lmu_hf" not in sys.modules
print(json.dumps(answers))
"""
)


def test_a_pushed_translator_loads_by_its_own_code(saved, tmp_path, monkeypatch):
    translate, _ = load(saved, "lmu-translation")
    expected = translate(TEXTS, num_beams=3, max_new_tokens=9)
    # As `register_for_auto_class` sets them; here, only as long as this test runs.
    monkeypatch.setattr(LMUConfig, "_auto_class", "AutoConfig")
    monkeypatch.setattr(LMUForConditionalGeneration, "_auto_class", "AutoModelForSeq2SeqLM")
    translate.save_pretrained(tmp_path / "pushed")
    written = json.loads((tmp_path / "pushed" / "config.json").read_text())
    assert written["custom_pipelines"]["lmu-translation"] == {
        "impl": "pipeline_lmu.LMUTranslationPipeline", "pt": ["AutoModelForSeq2SeqLM"], "type": "text"
    }  # fmt: skip
    assert (tmp_path / "pushed" / "pipeline_lmu.py").exists()
    printed = json.loads(
        run(WITHOUT_THE_PACKAGE, str(tmp_path / "pushed"), json.dumps(TEXTS), HF_HOME=str(tmp_path / "home"))
    )
    assert printed == [expected, expected]


def test_with_the_package_a_pushed_translator_needs_no_trust(saved, tmp_path):
    translate, _ = load(saved, "lmu-translation")
    translate.save_pretrained(tmp_path)
    again = pipeline("lmu-translation", model=str(tmp_path), device="cpu")
    assert type(again) is LMUTranslationPipeline
    assert again(TEXTS, **SHORT) == translate(TEXTS, **SHORT)
    assert type(AutoModelForSeq2SeqLM.from_pretrained(tmp_path)) is LMUForConditionalGeneration
