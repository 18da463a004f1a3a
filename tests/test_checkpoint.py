"""A checkpoint is whole or not there, and damage to any byte of it is noticed and named."""

import json
import shutil
from contextlib import suppress

import pytest
import torch
from safetensors.torch import save_file

from lmu_hf.training import checkpoint as module
from lmu_hf.training.checkpoint import Checkpoint, CheckpointError, load, newest, save, verify
from lmu_hf.training.randomness import random_state, restore_random_state


def content(step: int = 1) -> Checkpoint:
    tensors = {"model": {"weight": torch.full((3, 4), float(step))}, "optimizer": {"step": torch.tensor(float(step))}}
    return Checkpoint(tensors, {"progress": {"step": step}, "note": "θ"})


@pytest.fixture
def folder(tmp_path):
    for step in (1, 2):
        save(tmp_path, step, content(step))
    return tmp_path


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_is_read_as_it_was_written(folder):
    again = load(newest(folder))
    assert again.state == content(2).state
    assert torch.equal(again.tensors["model"]["weight"], torch.full((3, 4), 2.0))
    assert again.tensors["optimizer"]["step"].shape == ()


def test_only_the_newest_checkpoints_are_kept(folder):
    save(folder, 3, content(3))
    assert names(folder) == ["step-00000002", "step-00000003"]
    save(folder, 4, content(4), keep=1)
    assert names(folder) == ["step-00000004"]


def test_saving_a_step_again_replaces_its_checkpoint(folder):
    save(folder, 2, content(7))
    assert load(newest(folder)).state["progress"]["step"] == 7


FILES = ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]


def damage(path, how: str, other) -> None:
    raw = path.read_bytes()
    if how == "removed":
        path.unlink()
    elif how == "swapped":
        shutil.copyfile(other, path)
    else:
        path.write_bytes({"cut": raw[:-1], "emptied": b"", "flipped": raw[:9] + bytes([raw[9] ^ 1]) + raw[10:]}[how])


@pytest.mark.parametrize("how", ["cut", "emptied", "flipped", "swapped", "removed"])
@pytest.mark.parametrize("name", FILES)
def test_damage_to_any_file_is_named_and_the_one_before_is_used(folder, name, how, caplog):
    last, before = folder / "step-00000002", folder / "step-00000001"
    other = before / name if name != "manifest.json" else last / "state.json"
    damage(last / name, how, other)
    with pytest.raises(CheckpointError, match=name):
        load(last)
    with pytest.raises(CheckpointError, match=name):
        verify(last)
    assert newest(folder) == before
    assert name in caplog.text and "passed over" in caplog.text


def test_every_bit_of_a_manifest_counts(folder):
    path = folder / "step-00000002" / "manifest.json"
    raw = path.read_bytes()
    for place in range(len(raw)):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 4]) + raw[place + 1 :])
        try:
            verify(path.parent)
        except CheckpointError:
            continue
        # What passes must say the same: white space may differ.
        assert json.loads(path.read_text()) == json.loads(raw)


def test_damaged_checkpoints_do_not_count_as_kept(folder):
    save(folder, 3, content(3), keep=3)
    for step in (2, 3):
        (folder / f"step-{step:08d}" / "state.json").write_bytes(b"")
    save(folder, 4, content(4), keep=2)
    assert names(folder) == [f"step-{step:08d}" for step in (1, 2, 3, 4)]  # two good ones, and what is not
    save(folder, 5, content(5), keep=2)
    assert names(folder) == ["step-00000004", "step-00000005"]


def test_the_checkpoint_just_written_is_kept_even_if_others_have_higher_steps(folder):
    save(folder, 8, content(8))
    save(folder, 1, content(1), keep=2)  # of a run that went on from before
    assert names(folder) == ["step-00000001", "step-00000008"]


def test_a_file_outside_the_manifest_is_not_read(folder):
    last = newest(folder)
    save_file({"weight": torch.full((3, 4), 9.0)}, last / "average.safetensors")
    verify(last)
    assert set(load(last).tensors) == {"model", "optimizer"}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("group", ["model", "optimizer"])
def test_tensors_that_are_not_finite_are_not_written(folder, group, number):
    spoilt = content(3)
    spoilt.tensors[group]["last"] = torch.tensor([0.0, number])
    with pytest.raises(FloatingPointError, match=rf"last \({group}\) is not finite"):
        save(folder, 3, spoilt, keep=1)
    assert names(folder) == ["step-00000001", "step-00000002"]


def sealed(files: object) -> str:
    return json.dumps({"format": module.FORMAT, "files": files, "seal": module._seal(files)})


MALFORMED = {
    "not JSON": "{",
    "not UTF-8": b"\xff\xfe",
    "nested without end": "[" * 100_000,
    "a list": "[]",
    "a number": "7",
    "files that are a list": sealed([]),
    "files that are none": sealed(None),
    "an entry that is a number": sealed({"state.json": 5}),
    "an entry without a digest": sealed({"state.json": {"bytes": 3}}),
    "bytes that are a word": sealed({"state.json": {"bytes": "3", "sha256": ""}}),
    "a digest that is a number": sealed({"state.json": {"bytes": 27, "sha256": 5}}),
    "a file elsewhere": sealed({"../step-00000001/state.json": {"bytes": 27, "sha256": ""}}),
    "a file of another kind": sealed({"weights.pt": {"bytes": 27, "sha256": ""}}),
    "no files": sealed({}),
}


@pytest.mark.parametrize("how", MALFORMED)
def test_a_malformed_manifest_is_damage_and_the_one_before_is_used(folder, how, caplog):
    last, written = folder / "step-00000002", MALFORMED[how]
    (last / "manifest.json").write_bytes(written if isinstance(written, bytes) else written.encode())
    with pytest.raises(CheckpointError, match=r"manifest.json|state.json"):
        load(last)
    assert newest(folder) == folder / "step-00000001"
    assert len(caplog.messages) == 1 and "\n" not in caplog.messages[0]


@pytest.mark.parametrize("name", FILES)
def test_a_disk_that_cannot_be_read_is_damage_and_the_one_before_is_used(folder, name, monkeypatch, caplog):
    opened = module.Path.open

    def broken(path, *how, **more):
        if path == folder / "step-00000002" / name:
            raise OSError(5, "Input/output error")
        return opened(path, *how, **more)

    monkeypatch.setattr(module.Path, "open", broken)
    with pytest.raises(CheckpointError, match=f"{name} cannot be read: .*Input/output error"):
        load(folder / "step-00000002")
    assert newest(folder) == folder / "step-00000001"
    assert name in caplog.text


def test_an_old_checkpoint_that_cannot_be_deleted_does_not_end_a_run(folder, monkeypatch, caplog):
    monkeypatch.setattr(module.shutil, "rmtree", lambda path, **how: (_ for _ in ()).throw(PermissionError(1, "no")))
    assert save(folder, 3, content(3), keep=1) == newest(folder)
    assert "could not be deleted" in caplog.text


def test_without_a_good_checkpoint_none_is_found(folder, tmp_path):
    for name in names(folder):
        (folder / name / "state.json").unlink()
    assert newest(folder) is None
    assert newest(tmp_path / "nowhere") is None


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load(tmp_path)


@pytest.mark.parametrize("full", ["model.safetensors", "state.json", "manifest.json"])
def test_a_full_disk_is_named_and_leaves_earlier_checkpoints(folder, full, monkeypatch):
    def sync(path):
        if path.name == full:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_sync", sync)
    with pytest.raises(CheckpointError, match=f"{full} .*No space left"):
        save(folder, 3, content(3))
    assert names(folder) == ["step-00000001", "step-00000002"]
    assert load(newest(folder)).state == content(2).state


@pytest.mark.parametrize("room", [0, 100, 400])
def test_a_limit_on_file_size_leaves_earlier_checkpoints(folder, room):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"step-00000003 could not be written"):
            save(folder, 3, content(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(folder) == ["step-00000001", "step-00000002"]
    assert load(newest(folder)).state == content(2).state


@pytest.mark.parametrize("last", range(12))
def test_a_crash_at_any_disk_call_leaves_a_good_checkpoint(folder, last, monkeypatch):
    """The process is gone (nothing is cleaned up) after a number of the calls that change the disk."""

    class Gone(BaseException):
        pass

    calls = 0

    def counted(function):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls > last:
                raise Gone
            return function(*args, **kwargs)

        return call

    for owner, name in ((module, "save_file"), (module, "_sync"), (module.Path, "rename"), (module.shutil, "rmtree")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    with suppress(Gone):
        save(folder, 3, content(3), keep=1)
    monkeypatch.undo()
    good = newest(folder)
    assert good is not None and load(good).state["progress"]["step"] in (2, 3)
    save(folder, 4, content(4), keep=1)  # what was left lying about is in nobody's way
    assert names(folder) == ["step-00000004"]


def test_random_states_are_restored_from_a_checkpoint(tmp_path):
    import random

    import numpy as np

    def draw(generator):
        return [
            torch.rand(2).tolist(),
            torch.randn(3, generator=generator).tolist(),
            random.random(),
            random.gauss(0, 1),
            np.random.rand(),
            np.random.randn(),
        ]

    generator = torch.Generator().manual_seed(1)
    random.gauss(0, 1), np.random.randn()  # each leaves a second number behind
    save(tmp_path, 1, Checkpoint({"random": random_state(variations=generator)}, {}))
    expected = draw(generator)
    draw(generator)
    restore_random_state(load(newest(tmp_path)).tensors["random"], variations=generator)
    assert draw(generator) == expected
