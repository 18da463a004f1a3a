"""Weights are loaded whole or not at all: of a body every tensor, of a head what there is, of a folder its files."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from lmu_hf import (
    LMUConfig,
    LMUForCausalLM,
    LMUForConditionalGeneration,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesClassification,
    LMUForTimeSeriesPrediction,
    LMUModel,
)
from lmu_hf.checking import HEADS

SMALL = {"vocab_size": 11, "hidden_size": 6, "num_hidden_layers": 2, "order": 3, "theta": [5.0, 9.0], "num_labels": 3}
ROUTES = (AutoModelForCausalLM, AutoModel, AutoModelForSequenceClassification)
BODY = "model.layers.1.memory.encoder.bias"
NORM = "model.norm.weight"


def small(**changes) -> LMUConfig:
    return LMUConfig(**{**SMALL, **changes})


@pytest.fixture(autouse=True)
def heard(monkeypatch) -> None:
    """What transformers logs reaches pytest."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)


@pytest.fixture
def save(tmp_path):
    """Save a small model, perhaps in shards, perhaps with its tensors changed."""

    def saved(kind=LMUForCausalLM, change=None, shards=False, **changes) -> Path:
        kind(small(**changes)).save_pretrained(tmp_path / "m", max_shard_size="1KB" if shards else "1GB")
        if change is not None:
            weights = load_file(tmp_path / "m" / "model.safetensors")
            change(weights)
            save_file(weights, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
        return tmp_path / "m"

    return saved


FAULTS = {
    "missing": (lambda w: w.pop(BODY), r"missing: (model\.)?layers\.1\.memory\.encoder\.bias"),
    "renamed": (lambda w: w.update({"model.layers.1.bias": w.pop(BODY)}), r"unexpected: model\.layers\.1\.bias"),
    "unexpected": (lambda w: w.update(extra=torch.ones(2)), "unexpected: extra"),
    "not a number": (lambda w: w[BODY].fill_(torch.nan), r"model\.layers\.1\.memory\.encoder\.bias is not finite"),
    "infinite": (lambda w: w[NORM].fill_(torch.inf), r"model\.norm\.weight is not finite"),
    "integers": (lambda w: w.update({NORM: w[NORM].int()}), r"model\.norm\.weight is torch\.int32, not floating"),
    "of another shape": (lambda w: w.update({NORM: torch.ones(7)}), r"norm\.weight \(7,\) for \(6,\)"),
}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.__name__)
@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_an_incomplete_body_is_refused_by_the_names_of_its_tensors(save, change, message, route):
    folder = save(change=change)
    for how in ({}, {"dtype": torch.bfloat16}, {"device_map": "cpu"}):
        with pytest.raises(RuntimeError, match=message) as caught:
            route.from_pretrained(folder, **how)
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_state_dict_is_checked_like_a_checkpoint():
    weights = LMUModel(small()).state_dict()
    assert LMUModel.from_pretrained(None, config=small(), state_dict=dict(weights)) is not None
    weights.pop("norm.weight")
    with pytest.raises(RuntimeError, match=r"state_dict does not hold the weights of LMUModel: missing: norm\.weight"):
        LMUModel.from_pretrained(None, config=small(), state_dict=weights)


def test_numbers_that_a_dtype_cannot_hold_are_refused(save):
    folder = save(change=lambda w: w[NORM].fill_(1e6))
    AutoModel.from_pretrained(folder)
    with pytest.raises(RuntimeError, match=r"model\.norm\.weight is not finite in torch\.float16"):
        AutoModel.from_pretrained(folder, dtype=torch.float16)


def test_output_loading_info_reports_instead_of_raising(save, caplog):
    model, found = AutoModel.from_pretrained(save(change=lambda w: w.pop(NORM)), output_loading_info=True)
    assert found["missing_keys"] == {"norm.weight"}
    assert "missing: norm.weight" in caplog.text and model.norm.weight.eq(1).all()


TRANSFERS = {
    "a body": (LMUForCausalLM, AutoModel, {}, "left behind: lm_head"),
    "a classifier's body": (LMUForSequenceClassification, AutoModel, {}, "left behind: classifier"),
    "a classifier": (LMUForCausalLM, AutoModelForSequenceClassification, {}, "new: classifier; left behind: lm_head"),
    "a language model": (LMUModel, AutoModelForCausalLM, {}, "new: lm_head"),
    "other classes": (
        LMUForSequenceClassification,
        AutoModelForSequenceClassification,
        {"num_labels": 5, "ignore_mismatched_sizes": True},
        "Reinit due to size mismatch: classifier.out.bias (3,) for (5,)",
    ),
}


@pytest.mark.parametrize(("kind", "route", "how", "said"), TRANSFERS.values(), ids=TRANSFERS)
def test_heads_may_be_new_or_left_behind_and_one_line_says_so(save, caplog, kind, route, how, said):
    folder = save(kind)
    body = {name.removeprefix("model."): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    model = route.from_pretrained(folder, **how)
    for name, tensor in (model if route is AutoModel else model.model).state_dict().items():
        assert torch.equal(tensor, body[name])
    (line,) = [record.getMessage() for record in caplog.records if str(folder) in record.getMessage()]
    assert said in line and "\n" not in line


@pytest.mark.parametrize("route", [AutoModelForSeq2SeqLM, AutoModel])
@pytest.mark.parametrize("tied", [False, True])
def test_tied_tensors_are_not_missing(save, tied, route):
    folder = save(LMUForConditionalGeneration, is_encoder_decoder=True, tie_word_embeddings=tied)
    assert route.from_pretrained(folder) is not None


def test_unexpected_tensors_beside_the_same_head_are_refused(save):
    folder = save(LMUForSequenceClassification, votes={"sizes": [1, 2], "buckets": 20})
    with pytest.raises(RuntimeError, match=r"unexpected: votes\.change\.weight, votes\.odds\.weight"):
        AutoModelForSequenceClassification.from_pretrained(folder, votes=None)


def test_half_a_head_is_refused(save):
    folder = save(LMUForSequenceClassification, change=lambda w: w.pop("classifier.out.bias"))
    with pytest.raises(RuntimeError, match=r"missing: classifier\.out\.bias"):
        AutoModelForSequenceClassification.from_pretrained(folder)


@pytest.mark.parametrize("change", [torch.Tensor.double, torch.zeros_like])
def test_a_stored_order_that_is_no_permutation_is_refused(save, change):
    image = {"vocab_size": None, "input_size": 1, "image_size": 4, "permutation_seed": 0}
    folder = save(LMUForImageClassification, lambda w: w.update(permutation=change(w["permutation"])), **image)
    with pytest.raises(RuntimeError, match="permutation must hold each of 0 … 15 once, as integers"):
        LMUForImageClassification.from_pretrained(folder)


def test_the_heads_that_may_be_left_behind_are_those_of_the_family():
    signal = {"vocab_size": None, "input_size": 1}
    models: list[nn.Module] = [
        LMUForCausalLM(small()),
        LMUForConditionalGeneration(small(is_encoder_decoder=True)),
        LMUForSequenceClassification(small(votes={"sizes": [1], "buckets": 9})),
        LMUForSequenceClassification(small(problem_type="regression")),
        LMUForSequencePairClassification(small(alignment={"size": 2}, pooling="mean")),
        LMUForImageClassification(small(**signal, image_size=4)),
        LMUForTimeSeriesPrediction(small(**signal)),
        LMUForTimeSeriesClassification(small(**signal)),
    ]
    parts = {name.partition(".")[0] for model in models for name in model.state_dict()}
    assert parts - {"model"} == set(HEADS)


# --------------------------------------------------------------------------- files


@pytest.mark.parametrize("has_dtype", [True, False])
@pytest.mark.parametrize("content", [b"", b"no tensors at all", None], ids=["empty", "text", "cut"])
def test_a_file_that_cannot_be_read_is_named(save, content, has_dtype):
    path = save() / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-3] if content is None else content)
    if not has_dtype:  # transformers then looks for it in the weights
        config = json.loads((path.parent / "config.json").read_text())
        (path.parent / "config.json").write_text(json.dumps({**config, "dtype": None}))
    with pytest.raises(OSError, match=r"model\.safetensors cannot be read as a safetensors file") as caught:
        AutoModel.from_pretrained(path.parent)
    assert "\n" not in str(caught.value)


def point(folder: Path, shard: str) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["lm_head.weight"] = shard
    path.write_text(json.dumps(index))


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "../outside.safetensors", "/tmp/outside.safetensors", 3])
def test_an_index_names_nothing_but_safetensors_files_of_its_folder(save, shard):
    folder = save(shards=True)
    AutoModel.from_pretrained(folder)
    torch.save({"lm_head.weight": torch.ones(11, 6)}, folder / "pytorch_model.bin")
    save_file({"lm_head.weight": torch.ones(11, 6)}, folder.parent / "outside.safetensors")
    point(folder, shard)
    with pytest.raises(OSError, match=r"index\.json names .*: only \*\.safetensors files inside its folder are read"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_a_missing_shard_is_named(save):
    folder = save(shards=True)
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(OSError, match=f"{shard.name} is not there"):
        AutoModel.from_pretrained(folder)


def test_an_index_that_does_not_say_what_its_files_hold_is_refused(save):
    folder = save(shards=True)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["other.weight"] = sorted(index["weight_map"].values())[0]
    path.write_text(json.dumps(index))
    with pytest.raises(OSError, match=r"differ in other\.weight"):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("shards", [True, False])
def test_a_link_out_of_the_folder_is_refused(save, tmp_path, shards):
    folder = save(shards=shards)
    file = sorted(folder.glob("*.safetensors"))[0]
    shutil.move(file, tmp_path / "elsewhere.safetensors")
    file.symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(OSError, match=r"is a link to .*elsewhere\.safetensors, outside its folder"):
        AutoModel.from_pretrained(folder)


def test_the_links_of_the_hubs_cache_are_followed(save, tmp_path):
    folder, repository = save(), tmp_path / "hub" / "models--org--name"
    snapshot = repository / "snapshots" / "abc"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):
        shutil.move(file, repository / "blobs" / str(number))
        (snapshot / file.name).symlink_to(Path("../../blobs", str(number)))
    assert AutoModelForCausalLM.from_pretrained(snapshot) is not None


def test_pickles_are_checked_too_where_they_are_asked_for(save):
    folder = save()
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    for how in ({}, {"use_safetensors": None}):
        with pytest.raises(OSError, match=r"no file named model\.safetensors"):
            AutoModel.from_pretrained(folder, **how)
    assert AutoModel.from_pretrained(folder, use_safetensors=False) is not None
    torch.save({**weights, NORM: weights[NORM] * torch.nan}, folder / "pytorch_model.bin")
    with pytest.raises(RuntimeError, match=r"model\.norm\.weight is not finite"):
        AutoModel.from_pretrained(folder, use_safetensors=False)
