"""A saved folder that brings its code: what is in it, and that it loads where the package is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

import lmu_hf
from lmu_hf import LMUConfig, LMUFeatureExtractor, LMUForCausalLM
from lmu_hf.hub.folder import HEADS, modules_of
from script_runs import WITHOUT_PACKAGE
from tiny_runs import FRAMES, KINDS, TINY

SMALL = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1, "order": 3, "theta": 5.0}


def small() -> LMUForCausalLM:
    torch.manual_seed(0)
    return LMUForCausalLM(LMUConfig(**SMALL)).eval()


def auto_map_in(folder: Path) -> dict | None:
    return json.loads((folder / "config.json").read_text()).get("auto_map")


def code_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.py"))


def test_every_head_names_an_auto_class_that_knows_it():
    for head in HEADS.values():
        mapping = getattr(transformers, head.loaded_by)._model_mapping
        known = mapping[head.config_class]
        assert head in (known if isinstance(known, tuple) else (known,)), head


def test_a_config_maps_nothing_until_it_is_said():
    first, second = LMUConfig(), LMUConfig()
    first.auto_map["AutoConfig"] = "somewhere.Else"
    assert second.auto_map == {} and "auto_map" not in second.to_dict()
    assert first.to_dict()["auto_map"] == {"AutoConfig": "somewhere.Else"}


def test_code_comes_along_where_it_is_asked_for(tmp_path):
    model = small()
    model.save_pretrained(tmp_path / "plain")
    assert code_in(tmp_path / "plain") == [] and auto_map_in(tmp_path / "plain") is None
    model.save_pretrained(tmp_path / "whole", with_code=True)
    assert code_in(tmp_path / "whole") == [path.name for path in modules_of(["modeling_lmu"])]
    assert auto_map_in(tmp_path / "whole") == {
        "AutoConfig": "configuration_lmu.LMUConfig",
        "AutoModel": "modeling_lmu.LMUModel",
        "AutoModelForCausalLM": "modeling_lmu.LMUForCausalLM",
        "AutoModelForDecision": "modeling_lmu.LMUForCausalLM",
    }
    assert model.config.auto_map == {}
    model.save_pretrained(tmp_path / "other rank", False, with_code=True)
    assert code_in(tmp_path / "other rank") == []


def test_a_folder_names_no_code_that_it_does_not_hold(tmp_path):
    small().save_pretrained(tmp_path / "whole", with_code=True)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    assert type(model) is LMUForCausalLM and model.config.auto_map
    model.config.auto_map["AutoModel"] = "org/name--modeling_lmu.LMUModel"
    model.save_pretrained(tmp_path / "again")
    assert code_in(tmp_path / "again") == []
    assert auto_map_in(tmp_path / "again") == {"AutoModel": "org/name--modeling_lmu.LMUModel"}
    assert len(model.config.auto_map) == 4


def test_a_registered_class_brings_its_code_at_every_save(tmp_path, monkeypatch):
    for kind, auto_class in ((LMUConfig, "AutoConfig"), (LMUForCausalLM, "AutoModelForCausalLM")):
        monkeypatch.setattr(kind, "_auto_class", None)  # what is set below ends with this test
        kind.register_for_auto_class(auto_class)
    model = small()
    model.save_pretrained(tmp_path)
    assert code_in(tmp_path) == [path.name for path in modules_of(["modeling_lmu"])]
    assert len(auto_map_in(tmp_path)) == 4 and model.config.auto_map == {}


def test_a_feature_extractor_brings_its_code_too(tmp_path):
    extractor = LMUFeatureExtractor(**FRAMES.record)
    extractor.save_pretrained(tmp_path / "whole", with_code=True)
    said = json.loads((tmp_path / "whole" / "preprocessor_config.json").read_text())
    assert said["auto_map"] == {"AutoFeatureExtractor": "feature_extraction_lmu.LMUFeatureExtractor"}
    assert code_in(tmp_path / "whole") == [path.name for path in modules_of(["feature_extraction_lmu"])]
    again = LMUFeatureExtractor.from_pretrained(tmp_path / "whole")
    again.save_pretrained(tmp_path / "plain")
    assert "auto_map" not in json.loads((tmp_path / "plain" / "preprocessor_config.json").read_text())


BARE = (
    WITHOUT_PACKAGE
    + """
import json
import torch, transformers
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel
trust, found = {"trust_remote_code": True}, {}
for kind, (folder, auto_class) in json.loads(sys.argv[1]).items():
    model = getattr(transformers, auto_class).from_pretrained(folder, **trust)
    body = AutoModel.from_pretrained(folder, **trust, output_loading_info=True)[0]
    assert type(model).__module__.startswith("transformers_modules.")
    model.save_pretrained(folder + "-again")  # a class that came as remote code brings it on
    again = getattr(transformers, auto_class).from_pretrained(folder + "-again", **trust)
    total = lambda model: sum(parameter.double().sum().item() for parameter in model.parameters())
    found[kind] = [type(body).__name__, type(model).__name__, total(model), total(again)]
AutoFeatureExtractor.from_pretrained(json.loads(sys.argv[1])["audio-classification"][0], **trust)
print("\\n" + json.dumps(found))
"""
)


@pytest.mark.ecosystem
def test_every_head_loads_where_the_package_is_not(tmp_path):
    given, expected = {}, {}
    for kind, (head, fields, *_) in KINDS.items():
        model, folder = head(LMUConfig(**{**TINY, **fields})), tmp_path / kind
        model.save_pretrained(folder, with_code=True)
        total = sum(parameter.double().sum().item() for parameter in model.parameters())
        expected[kind] = [type(model.base_model).__name__, head.__name__, total, total]
        given[kind] = (str(folder), head.loaded_by)
    LMUFeatureExtractor(**FRAMES.record).save_pretrained(tmp_path / "audio-classification", with_code=True)
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", BARE, json.dumps(given)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout.splitlines()[-1]) == expected
    for kind in KINDS:
        again = tmp_path / f"{kind}-again"
        assert auto_map_in(again) == auto_map_in(tmp_path / kind)
        assert {f"{place.partition('.')[0]}.py" for place in auto_map_in(again).values()} <= set(code_in(again))
    assert type(AutoConfig.from_pretrained(tmp_path / "translation")) is lmu_hf.LMUConfig
