"""What makes a run fast keeps it exact: the route of its products and compiled steps survive a resume."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lmu_hf.common import products
from lmu_hf.common.errors import InputError
from lmu_hf.common.record import RunRecord
from lmu_hf.training.checkpoint import CheckpointError
from lmu_hf.training.identity import AnotherRunError
from lmu_hf.training.speed import _route, chosen_precision
from test_resume import RECIPE, assert_same_run, run

STEP = "step-00000005"


@pytest.fixture
def whole(tmp_path, monkeypatch) -> Path:
    """A run by oneDNN's products, and its checkpoints."""
    if not all(measured.exact for measured in products.measure()) or len(products.measure()) == 1:
        pytest.skip("this processor or this release of torch has one exact route alone")
    monkeypatch.setenv("LMU_HF_MATMUL", "onednn")
    run(tmp_path / "whole", checkpointing_steps=1, checkpoints=99)
    return tmp_path / "whole"


def test_a_resumed_run_keeps_its_route_whatever_is_measured(whole, tmp_path, monkeypatch):
    record = RunRecord.read(whole)
    assert record.matmul == "onednn" and record.products.keys() == {"torch", "onednn"}
    assert products._switch().fp32_precision == "none"
    monkeypatch.setenv("LMU_HF_MATMUL", "auto")
    monkeypatch.setattr(products, "GAIN", 1e9)  # a probe that would find no gain here
    run(tmp_path / "resumed", resume=whole / "checkpoints" / STEP)
    assert_same_run(whole, tmp_path / "resumed")
    assert RunRecord.read(tmp_path / "resumed").matmul == "onednn"


def test_another_route_than_the_checkpoints_is_refused(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("LMU_HF_MATMUL", "torch")
    with pytest.raises(AnotherRunError, match=r"made its products by onednn, and .* LMU_HF_MATMUL asks for torch"):
        run(tmp_path / "resumed", resume=whole / "checkpoints" / STEP)


def test_a_checkpoint_of_an_earlier_version_goes_on_by_torchs_own_route(whole, monkeypatch):
    monkeypatch.setenv("LMU_HF_MATMUL", "auto")
    monkeypatch.setattr(products, "GAIN", 0.0)  # whatever is measured, a fresh run would take the other
    assert _route(None) == "onednn"
    assert _route(replace(RunRecord.read(whole), matmul=None)) == "torch"


@pytest.mark.slow
def test_compiled_steps_stopped_and_resumed(tmp_path):
    whole = run(tmp_path / "whole", checkpointing_steps=1, checkpoints=99, torch_compile=True)
    assert whole.torch_compile and 0 < whole.compile_seconds <= whole.wall_seconds
    # Step 6 ends an epoch with a short batch: the resumed run meets the shapes in another order, and afresh.
    torch._dynamo.reset()
    run(tmp_path / "resumed", resume=tmp_path / "whole" / "checkpoints" / STEP, torch_compile=True)
    assert_same_run(tmp_path / "whole", tmp_path / "resumed")
    assert RunRecord.read(tmp_path / "resumed").compile_seconds > 0
    with pytest.raises(CheckpointError, match="torch_compile=True; this run has torch_compile=False"):
        run(tmp_path / "eager", resume=tmp_path / "whole" / "checkpoints" / STEP)


@pytest.mark.slow
def test_more_shapes_than_are_compiled_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("lmu_hf.training.speed.GRAPHS", 1)
    with pytest.raises(InputError, match="--torch_compile: batches have more than 1 shapes"):
        run(tmp_path, torch_compile=True)


@pytest.mark.parametrize("gain, allowed, chosen", [(2.0, True, "bf16"), (1.1, True, "no"), (2.0, False, "no")])
def test_automatic_precision_asks_recipe_and_processor(monkeypatch, gain, allowed, chosen):
    monkeypatch.setattr("lmu_hf.training.speed.bfloat16_gain", lambda: gain)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    recipe = replace(RECIPE, allows_bf16=allowed)
    assert chosen_precision("auto", recipe) == chosen
    assert [chosen_precision(asked, recipe) for asked in (None, "no", "bf16")] == [None, "no", "bf16"]
