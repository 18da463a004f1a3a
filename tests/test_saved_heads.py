"""A verb takes the models that it is for, and says what another one is for; a translator translates lines."""

import io
from pathlib import Path

import pytest
from transformers import pipeline

from lmu_hf.cli.verbs.export import parse_args
from lmu_hf_cli import run as run_verb
from tiny_runs import make_run

LINES = ["a man", "", "a man is playing a guitar", "two dogs"]


def test_lines_are_translated_in_order_as_the_pipeline_translates_them(tmp_path, monkeypatch, capsys):
    run = make_run(tmp_path / "run", "translation")
    ours = pipeline("lmu-translation", model=str(run / "model"), num_beams=4, do_sample=False, max_new_tokens=9)
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(LINES)))
    run_verb("generate", argv=[str(run), "--prompt", "-", "--max_new_tokens", "9"])
    said = capsys.readouterr().out.split("\n")
    assert said == [ours(line)[0]["translation_text"] if line else "" for line in LINES] + [""]
    assert len(set(said)) == len(LINES)  # the model tells the lines from each other


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prompt", "a man", "--temperature", "1"], "--temperature has no effect on a translator"),
        (["--prompt", "a man", "--save_memory", "talk.safetensors"], "--save_memory has no effect on a translator"),
        ([], "--prompt holds nothing to translate: give a sentence"),
    ],
    ids=["temperature", "memory", "nothing"],
)
def test_what_a_translator_does_not_read_is_refused(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=said):
        run_verb("generate", argv=[str(make_run(tmp_path / "run", "translation")), *words])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text-generation", "is an LMUForCausalLM, not a classifier: lmu-hf generate writes with it"),
        ("token-classification", r"is an LMUForTokenClassification, not a classifier: pipeline\(.* tags words with it"),
        ("translation", "is an LMUForConditionalGeneration, not a classifier: lmu-hf generate translates with it"),
    ],
)
def test_rows_are_labelled_by_a_classifier_alone(tmp_path, kind, said):
    (tmp_path / "new.csv").write_text("text\na man\n", encoding="utf-8")
    files = ["--train_file", str(tmp_path / "new.csv"), "--output_file", str(tmp_path / "labels.csv")]
    with pytest.raises(SystemExit, match=said):
        run_verb("label", argv=[str(make_run(tmp_path / "run", kind)), *files])
    assert not (tmp_path / "labels.csv").exists()


@pytest.mark.parametrize(
    ("model", "folder"),
    [
        ("runs/reviews-seed0", "reviews-seed0-onnx"),
        ("runs/reviews-seed0/model", "reviews-seed0-onnx"),
        ("org/lmu-python", "lmu-python-onnx"),
    ],
)
def test_an_export_is_called_after_its_model_unless_a_folder_is_named(model, folder):
    assert parse_args([model]).folder == Path(folder)
    assert parse_args([model, "--format", "web"]).folder == Path(folder.replace("onnx", "web"))
    assert parse_args([model, "here"]).folder == Path("here")
