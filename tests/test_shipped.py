"""The models in the box: what they are, that they load by name alone, and that a damaged file is told."""

import argparse
import hashlib
from pathlib import Path

import pytest
from transformers import AutoModel, PreTrainedModel

import lmu_hf
from lmu_hf import shipped
from lmu_hf.cli.paths import check_paths
from lmu_hf.common.errors import InputError
from lmu_hf.common.record import RunRecord
from lmu_hf.training.evaluation import find_record

NAMES = sorted(shipped.manifest())
LARGEST = 25 * 2**20


def test_the_manifest_names_every_file_and_they_are_small():
    there = {path.relative_to(shipped.FOLDER).as_posix() for path in shipped.FOLDER.rglob("*") if path.is_file()}
    named = {f"{name}/{file}" for name, files in shipped.manifest().items() for file in files}
    assert there == named | {"manifest.json"}
    assert sum((shipped.FOLDER / file).stat().st_size for file in there) <= LARGEST


@pytest.mark.parametrize("name", NAMES)
def test_a_model_loads_by_name_and_has_its_record_and_card(name):
    folder = lmu_hf.pretrained(name)
    record = find_record(folder)
    assert record is not None and "example" not in record.data
    head: type[PreTrainedModel] = getattr(lmu_hf, record.head)
    model = head.from_pretrained(folder)
    assert model.dtype.itemsize == 4 and model.num_parameters() == record.parameters["total"]
    assert AutoModel.from_pretrained(folder).config.model_type == "lmu"
    card = (Path(folder).parent / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n") and f"# {name}" in card


@pytest.mark.parametrize("flag", ["model", "model_name_or_path"])
def test_a_flag_takes_the_bare_name(flag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = argparse.Namespace(**{flag: "lmu-psmnist"})
    check_paths(args)
    assert getattr(args, flag) == lmu_hf.pretrained("lmu-psmnist")
    # A folder of that name that lies here is meant before the one in the box.
    (tmp_path / "lmu-psmnist").mkdir()
    with pytest.raises(InputError, match=r"holds no config\.json"):
        check_paths(argparse.Namespace(**{flag: "lmu-psmnist"}))


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(ValueError, match=r"no model 'lmu-psmnits' came with this package; there are .*lmu-psmnist"):
        lmu_hf.pretrained("lmu-psmnits")


@pytest.mark.parametrize("spoil, said", [(Path.unlink, "missing"), (lambda path: path.write_bytes(b"x"), "damaged")])
def test_a_file_that_is_not_what_it_was_is_told(tmp_path, monkeypatch, spoil, said):
    file = tmp_path / "a" / "model" / "config.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}", encoding="utf-8")
    wanted = {"a": {"model/config.json": hashlib.sha256(b"{}").hexdigest()}}
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    monkeypatch.setattr(shipped, "manifest", lambda: wanted)
    assert lmu_hf.pretrained("a") == str(tmp_path / "a" / "model")
    spoil(file)
    with pytest.raises(ValueError, match=rf"config\.json is {said}: install lmu-hf again"):
        lmu_hf.pretrained("a")


def test_the_record_is_of_a_finished_run():
    assert RunRecord.read(shipped.FOLDER / "lmu-psmnist").metrics["test"]["accuracy"] > 0.99
