"""A model that was pushed is loaded by name, tuned on other rows by the script that trained it, and pushed again."""

import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from lmu_hf.common.record import RunRecord
from lmu_hf.hub.results import show
from loopback import LoopbackHub

SCRIPTS = Path(__file__).parents[1] / "scripts"
SHORT = ("--max_train_steps", 3, "--eval_steps", 3, "--quiet", "--report_to", "none")


@pytest.mark.slow
def test_a_pushed_model_is_fine_tuned_by_its_name_and_pushed_again(tmp_path):
    with LoopbackHub() as hub:
        environment = hub.environment(tmp_path / "cache", token=hub.token) | {"OMP_NUM_THREADS": "1"}

        def run(script: str, *words: object) -> None:
            command = [sys.executable, str(SCRIPTS / script), *map(str, words)]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-3000:]

        run("train_glue.py", "--rows", 200, *SHORT, "--output_dir", "first")
        run("push_to_hub.py", "first", "--push", "--repo_id", "org/lmu-opinions")
        again = ("--model_name_or_path", "org/lmu-opinions", "--seed", 1, "--learning_rate", 1e-4)
        run("train_glue.py", "--rows", 300, *SHORT, *again, "--output_dir", "second")
        run("push_to_hub.py", "second", "--push", "--repo_id", "org/lmu-opinions")
        assert hub.repository("org/lmu-opinions")["commits"] >= 2
    records = [RunRecord.read(tmp_path / name) for name in ("first", "second")]
    assert records[1].data["stack"] == "org/lmu-opinions" and "stack" in records[0].data
    # The body went on from what was pushed: three short steps have hardly moved it.
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("first", "second"))
    body = "model.layers.0.memory.memory_readout.weight"
    assert 0 < (first[body] - second[body]).abs().max() < 1e-3
    card = (tmp_path / "second" / "hub" / "README.md").read_text(encoding="utf-8")
    new, old = card.split("### Earlier results")
    assert show("accuracy", records[1].metrics["test"]["accuracy"]) in new
    assert show("accuracy", records[0].metrics["test"]["accuracy"]) in old.split("## Training")[0]
    assert ModelCard(card).data.to_dict()["model-index"]
