"""transformers' own shared test suites: fetched for the release that is installed, and imported as a package.

They are in its source distribution only, which holds the files right below tests/ and none of its folders. What the
suites import from those is made here: empty bases in place of the suites for `generate` (see `generation.py`) and for
exporters, and fields that every config has. The suites for pipelines (tiny models from the Hub), FSDP and tensor
parallelism (helpers in a folder) are not run.
"""

import importlib
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import torch
import transformers

import lmu_hf

PACKAGE = "shared_suites_of_transformers"
FOLDER = Path(__file__).resolve().parents[2] / "build" / "shared_suites"
COMMON_FIELDS = {
    **{"return_dict": False, "output_hidden_states": True, "dtype": torch.float16, "chunk_size_feed_forward": 5},
    **{"architectures": ["LMUModel"], "id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}},
    **{"problem_type": "regression"},
}
LEFT_OUT = {
    "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "utils.test_configuration_utils": {"config_common_kwargs": COMMON_FIELDS},
}
# What transformers' own families are listed under, by which its suites know which labels a class takes.
LISTED = {
    "MODEL_MAPPING_NAMES": ("LMUModel", "LMUEncoderDecoderModel"),
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": ("LMUForCausalLM",),
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES": ("LMUForConditionalGeneration",),
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": (
        "LMUForSequenceClassification",
        "LMUForSequencePairClassification",
    ),
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES": ("LMUForTokenClassification",),
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES": ("LMUForImageClassification",),
    "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES": ("LMUForAudioClassification",),
}


def fetch(version: str = transformers.__version__) -> Path:
    """The folder of a release's tests, downloaded where it is not there yet."""
    tests = FOLDER / f"transformers-{version}" / "tests"
    if tests.is_dir():
        return tests
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--no-binary", "transformers", "--dest", str(FOLDER), f"transformers=={version}"]
    subprocess.run(command, check=True)
    with tarfile.open(FOLDER / f"transformers-{version}.tar.gz") as archive:
        members = [member for member in archive if member.name.startswith(f"transformers-{version}/tests/")]
        archive.extractall(FOLDER, members, filter="data")
    return tests


def load(name: str) -> ModuleType:
    """A module of the suites; ``fetch`` has been called before."""
    folder = FOLDER / f"transformers-{transformers.__version__}" / "tests"
    if PACKAGE not in sys.modules:
        _add_module("", {"__path__": [str(folder)]})
        (folder / "__init__.py").touch()  # one of the suites imports the folder that it lies in
        for left_out, members in LEFT_OUT.items():
            if not (folder / left_out.replace(".", "/")).with_suffix(".py").is_file():
                _add_module(f".{left_out.split('.')[0]}", {"__path__": []})
                _add_module(f".{left_out}", members)
    module = importlib.import_module(f"{PACKAGE}.{name}")
    for mapping, listed in LISTED.items():
        if hasattr(module, mapping):
            baseline = tuple(name.replace("LMU", "LSTM") for name in listed)
            ours = {lmu_hf.LMUConfig.model_type: listed, lmu_hf.LSTMConfig.model_type: baseline}
            setattr(module, mapping, getattr(module, mapping) | ours)
    return module


def _add_module(name: str, members: dict) -> None:
    module = ModuleType(PACKAGE + name)
    vars(module).update(members)
    sys.modules[module.__name__] = module
