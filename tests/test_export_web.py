"""Files of eight bits, and the folder that transformers.js reads: run by Node, where Node and the package are."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from lmu_hf import LMUConfig, LMUForCausalLM, LMUForSequenceClassification, LMUForTimeSeriesPrediction, train_tokenizer
from lmu_hf.hub.export import load_onnx
from lmu_hf_cli import run as run_verb

WEB = Path(__file__).parent / "web"
MODULES = Path(os.environ.get("LMU_NODE_MODULES", WEB))  # the folder that holds node_modules
TEXT = "what is up? all of it, and more"
pytestmark = pytest.mark.ecosystem
for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="ONNX files need the extra: pip install 'lmu-hf[export]'")


def saved(folder: Path, kind: type, **changes) -> tuple:
    tokenizer = train_tokenizer("bpe", [TEXT] * 3, vocab_size=270, padding_side="left")
    torch.manual_seed(0)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    fields = {"hidden_size": 32, "num_hidden_layers": 1, "order": 6, "theta": 20.0}
    model = kind(LMUConfig(vocab_size=len(tokenizer), **fields, **ids, **changes)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


def exported(folder: Path, *flags: str) -> dict:
    run_verb("export", argv=[str(folder / "model"), str(folder / "out"), *flags])
    return json.loads((folder / "out" / "export.json").read_text())


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> tuple:
    folder = tmp_path_factory.mktemp("classifier")
    model, tokenizer = saved(folder / "model", LMUForSequenceClassification, id2label={0: "no", 1: "yes", 2: "why"})
    (folder / "lines.txt").write_text(f"{TEXT}\nall of it\n\nand more\n")
    record = exported(folder, "--format", "web", "--int8", "--sample", str(folder / "lines.txt"))
    return model, tokenizer, folder / "out", record


@pytest.fixture(scope="module")
def writer(tmp_path_factory) -> tuple:
    folder = tmp_path_factory.mktemp("writer")
    model, tokenizer = saved(folder / "model", LMUForCausalLM)
    (folder / "text.txt").write_text(TEXT)
    record = exported(folder, "--format", "web", "--int8", "--sample", str(folder / "text.txt"))
    return model, tokenizer, folder / "out", record


def node(*words: object) -> dict:
    if (command := shutil.which("node")) is None:
        pytest.skip("node is not installed")
    if not (MODULES / "node_modules" / "@huggingface" / "transformers").is_dir():
        pytest.skip("transformers.js is not installed: npm install --ignore-scripts --prefix tests/web")
    done = subprocess.run([command, WEB / "run.mjs", MODULES, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_folder_holds_what_transformers_js_reads(classifier):
    _, _, folder, record = classifier
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "export.json"} <= there
    assert {"onnx/model.onnx", "onnx/model_quantized.onnx"} <= there
    config = json.loads((folder / "config.json").read_text())
    assert config["transformers.js_config"] == {"dtype": "q8"} and "auto_map" not in config
    assert record["files"]["onnx/model.onnx"]["largest_difference"] < 1e-5
    assert AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]


def test_eight_bits_lose_what_the_record_says(classifier):
    model, tokenizer, folder, record = classifier
    said = record["files"]["onnx/model_quantized.onnx"]
    assert said["inputs"] == "3 lines of lines.txt" and said["same_answer"] is not None and said["bits"] is None
    assert said["bytes"] < record["files"]["onnx/model.onnx"]["bytes"]
    run, worst = load_onnx(folder / "onnx" / "model_quantized.onnx"), 0.0
    for line in (TEXT, "all of it", "and more"):
        given = tokenizer(line, return_tensors="pt")
        given = {name: given[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            worst = max(worst, (run(given)[0] - model(**given).logits).abs().max().item())
    assert 0 < worst == pytest.approx(said["largest_difference"], abs=1e-4)
    assert said["mean_difference"] <= said["largest_difference"] < 0.2 * model.classifier.out.weight.abs().sum().item()


def test_a_text_is_read_on_by_a_step_of_eight_bits(writer):
    model, tokenizer, _, record = writer
    said = record["files"]["onnx/step_quantized.onnx"]
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    assert said["inputs"] == f"{ids.shape[1]} tokens of text.txt"
    with torch.no_grad():
        nats = model(ids, labels=ids).loss.item()
    assert said["bits"][0] == pytest.approx(nats / 0.693147, rel=1e-4)
    assert said["bits"][1] == pytest.approx(said["bits"][0], rel=0.1) and said["bits"][1] != said["bits"][0]


def test_a_signal_has_made_up_inputs_and_no_sample(tmp_path, capsys):
    LMUForTimeSeriesPrediction(
        LMUConfig(vocab_size=None, input_size=2, hidden_size=32, num_hidden_layers=1, order=6, theta=20.0)
    ).save_pretrained(tmp_path / "model")
    record = exported(tmp_path, "--int8")
    said = record["files"]["model_int8.onnx"]
    assert said["inputs"] == "made-up inputs" and said["same_answer"] is None and said["mean_difference"] > 0
    assert "made-up inputs" in capsys.readouterr().out
    (tmp_path / "text.txt").write_text(TEXT)
    with pytest.raises(SystemExit, match=r"--sample has no effect on .*, which reads no text"):
        exported(tmp_path, "--int8", "--sample", str(tmp_path / "text.txt"))


def test_node_classifies_as_the_model_does(classifier, tmp_path):
    model, tokenizer, folder, _ = classifier
    whole = shutil.copytree(folder, tmp_path / "whole")
    config = json.loads((whole / "config.json").read_text()) | {"transformers.js_config": {"dtype": "fp32"}}
    (whole / "config.json").write_text(json.dumps(config))
    given = tokenizer(TEXT, return_tensors="pt")
    with torch.no_grad():
        logits = model(**given).logits[0]
    said = node(whole, TEXT)
    assert said["ids"] == given["input_ids"][0].tolist()
    assert said["logits"] == pytest.approx(logits.tolist(), abs=1e-5)
    assert said["labels"][0]["label"] == model.config.id2label[int(logits.argmax())]
    assert said["labels"][0]["score"] == pytest.approx(logits.softmax(-1).max().item(), abs=1e-5)
    small = node(folder, TEXT)["logits"]  # of eight bits, as the folder's own config says
    [expected] = load_onnx(folder / "onnx" / "model_quantized.onnx")(
        {name: given[name] for name in ("input_ids", "attention_mask")}
    )
    assert small == pytest.approx(expected[0].tolist(), abs=1e-3) and small != said["logits"]


def test_node_writes_what_the_model_writes(writer, tmp_path):
    model, tokenizer, folder, _ = writer
    whole = shutil.copytree(folder, tmp_path / "whole")
    config = json.loads((whole / "config.json").read_text()) | {"transformers.js_config": {"dtype": "fp32"}}
    (whole / "config.json").write_text(json.dumps(config))
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    made = model.generate(ids, max_new_tokens=20, do_sample=False, eos_token_id=None)[0, ids.shape[1] :]
    said = node(whole, TEXT, 20)
    assert said["tokens"] == made.tolist()
    assert said["text"] == tokenizer.decode(made, skip_special_tokens=True)
