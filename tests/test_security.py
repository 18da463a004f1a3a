"""A repository of the family is data: loading it runs nothing that it brings, unless ``trust_remote_code`` says so."""

import io
import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    pipeline,
)

import lmu_hf
from script_runs import WITHOUT_PACKAGE
from tiny_runs import make_run

EVIL = """
from pathlib import Path
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast, Pipeline
Path({trace!r}).touch()
class EvilConfig(PreTrainedConfig):
    model_type = "lmu"
class EvilModel(PreTrainedModel):
    config_class = EvilConfig
class EvilTokenizer(PreTrainedTokenizerFast):
    pass
class EvilPipeline(Pipeline):
    pass
def generate(model, **kwargs):
    Path({trace!r}).touch()
"""
FOREIGN = {
    "AutoConfig": "evil.EvilConfig",
    "AutoModel": "evil.EvilModel",
    "AutoModelForCausalLM": "evil.EvilModel",
    "AutoModelForSeq2SeqLM": "somebody/else--evil.EvilModel",
}


class Payload:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    kinds = ("text-generation", "translation", "image-classification")
    return {kind: make_run(folder / kind, kind) / "model" for kind in kinds}


@pytest.fixture
def trace(tmp_path) -> Path:
    return tmp_path / "trace"


@pytest.fixture
def planted(models, tmp_path, trace):
    """A copy of a model's folder with foreign code in it, and words added to its JSON files."""

    def plant(kind: str, **words: dict) -> str:
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        for path in models[kind].iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        for name in ("evil.py", "custom_generate/generate.py", "modeling_lmu.py", "configuration_lmu.py"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(EVIL.format(trace=str(trace)))
        for name, added in words.items():
            path = folder / f"{name}.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | added))
        return str(folder)

    return plant


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch):
    """Nothing is asked of anybody, and nobody is there to say yes."""
    calls: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: calls.append(address))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    yield
    assert not calls


# --------------------------------------------------------------------------- pickles


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
def test_a_pickle_is_never_opened(planted, trace, name):
    folder = Path(planted("text-generation"))
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps({"lm_head.weight": Payload(trace)}))
    for load in (AutoModelForCausalLM, AutoModel, lmu_hf.LMUForCausalLM, lmu_hf.LMUModel):
        with pytest.raises(Exception, match=r"safetensors|header"):
            load.from_pretrained(folder)
    assert not trace.exists()


def test_a_harmless_pickle_is_opened_on_demand_only(planted, trace):
    folder = Path(planted("text-generation"))
    weights = lmu_hf.LMUForCausalLM.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        AutoModelForCausalLM.from_pretrained(folder)
    asked = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=False)
    assert torch.equal(asked.lm_head.weight, weights["lm_head.weight"])
    assert not trace.exists()


def test_a_pickle_beside_the_weights_is_not_looked_at(planted, trace):
    folder = Path(planted("text-generation"))
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (folder / name).write_bytes(pickle.dumps(Payload(trace)))
    AutoModelForCausalLM.from_pretrained(folder)
    pipeline("text-generation", model=str(folder))("a", max_new_tokens=2)
    assert not trace.exists()


# --------------------------------------------------------------------------- code


@pytest.mark.parametrize("trust", [None, False])
def test_foreign_code_is_not_run_where_the_package_is(planted, trace, trust):
    how = {} if trust is None else {"trust_remote_code": False}
    added = {"auto_map": FOREIGN, "custom_pipelines": {"lmu-translation": {"impl": "evil.EvilPipeline", "pt": []}}}
    folder = planted("translation", config=added)
    assert type(AutoConfig.from_pretrained(folder, **how)) is lmu_hf.LMUConfig
    assert type(AutoModel.from_pretrained(folder, **how)) is lmu_hf.LMUEncoderDecoderModel
    assert type(AutoModelForSeq2SeqLM.from_pretrained(folder, **how)) is lmu_hf.LMUForConditionalGeneration
    translate = pipeline("lmu-translation", model=folder, **how)
    assert type(translate) is lmu_hf.LMUTranslationPipeline
    translate("a man", max_new_tokens=2)
    assert not trace.exists()


def test_custom_generation_code_is_not_run(planted, trace):
    folder = planted("text-generation", config={"auto_map": FOREIGN}, generation_config={"custom_generate": "evil"})
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.generate(torch.tensor([[1, 2]]), max_new_tokens=2, pad_token_id=0)
    assert not trace.exists()


@pytest.mark.parametrize("trust", [None, False])
def test_a_foreign_tokenizer_is_not_run(planted, trace, trust, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())  # it is asked, and nobody answers
    how = {} if trust is None else {"trust_remote_code": False}
    folder = planted("text-generation", tokenizer_config={"auto_map": {"AutoTokenizer": [None, "evil.EvilTokenizer"]}})
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **how)
    except ValueError as error:
        assert "trust_remote_code" in str(error)
    else:
        assert not type(tokenizer).__name__.startswith("Evil")
    assert not trace.exists()


# Each is a word that transformers, or Python, could take for more than a number of a model.
PRIVATE = [
    {"_attn_implementation": "somebody/kernel"},
    {"attn_implementation": "somebody/kernel"},
    {"_experts_implementation": "somebody/kernel"},
    {"_name_or_path": "somebody/else"},
    {"name_or_path": "somebody/else"},
    {"_commit_hash": "../../elsewhere"},
    {"_auto_class": "evil.EvilConfig"},
    {"_configuration_file": "evil.py"},
    {"__class__": "evil.EvilConfig"},
    {"__init__": "evil", "validate": "evil", "to_dict": "evil"},
    {"dtype": "load"},
    {"dtype": "hub.load"},
    {"architectures": ["EvilModel"]},
    {"architectures": ["os.system"]},
    {"model_type": "../evil"},
    {"use_kernels": True},
    {"hidden_act": "__import__('os').mkdir('trace')"},
    {"quantization_config": {"quant_method": "evil"}},
    {"base_model_tp_plan": {"layers": "evil"}},
]


@pytest.mark.parametrize("words", PRIVATE, ids=str)
def test_private_fields_of_a_config_run_no_code(planted, trace, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = planted("image-classification", config=words | {"auto_map": FOREIGN})
    expected = (StrictDataclassError, OSError, ValueError, TypeError, AttributeError, LookupError, ImportError)
    try:
        model = AutoModelForImageClassification.from_pretrained(folder)
    except expected as error:
        assert str(error)
    else:
        assert type(model) is lmu_hf.LMUForImageClassification
        model(pixel_values=torch.rand(1, 1, 8, 8))
    assert not trace.exists()


BARE = (
    WITHOUT_PACKAGE
    + """
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, pipeline
folder = sys.argv[1]
kinds = (AutoConfig, AutoModel, AutoModelForCausalLM)
loads = [lambda how, kind=kind: kind.from_pretrained(folder, **how) for kind in kinds]
loads.append(lambda how: pipeline("text-generation", model=folder, **how))
for load in loads:
    for how in ({}, {"trust_remote_code": False}):
        try:
            load(how)
        except (ValueError, EOFError) as error:
            assert "trust_remote_code" in str(error), error
        else:
            raise AssertionError("loaded without being trusted")
print("\\nrefused", len(loads))
"""
)


def test_foreign_code_is_not_run_where_the_package_is_not(planted, trace, tmp_path):
    folder = planted("text-generation", config={"auto_map": FOREIGN})
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", BARE, folder], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "refused 4"
    assert not trace.exists()


def test_the_planted_code_does_run_where_it_is_trusted(planted, trace, tmp_path, monkeypatch):
    """What the tests above plant does run where one lets it: else they would show nothing."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    folder = planted("text-generation", tokenizer_config={"auto_map": {"AutoTokenizer": [None, "evil.EvilTokenizer"]}})
    AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    assert trace.exists()
    trace.unlink()
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists()
