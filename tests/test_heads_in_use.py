"""Heads in the tools that people already use: saved and loaded, the Trainer, pipelines, compiled and exported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTimeSeriesPrediction,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    ViTImageProcessor,
    pipeline,
)

from lmu_hf import (
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesPrediction,
    LMUModel,
)
from tiny_heads import IDS, LABELS, POOLINGS, SERIES, SMALL_IMAGE, build, draw, in_one_row, tiny
from tiny_stacks import assert_near, draw_ids

# --------------------------------------------------------------------------- saved, and loaded by a fresh process


FORECAST = {"input_values": draw(2, 40, 2, dtype=torch.float32)}
HEADS = {
    "body": (AutoModel, LMUModel, {}, {"input_ids": draw_ids(2, 40)}),
    "sequence": (AutoModelForSequenceClassification, LMUForSequenceClassification, {}, {"input_ids": draw_ids(2, 40)}),
    "regression": (
        AutoModelForSequenceClassification,
        LMUForSequenceClassification,
        {"num_labels": 1, "pooling": "mean", "bidirectional": True, "block_type": "highway"},
        {"input_ids": draw_ids(2, 40)},
    ),
    "pair": (
        AutoModelForSequenceClassification,
        LMUForSequencePairClassification,
        {"deep_representations": True},
        in_one_row(draw_ids(2, 20), draw_ids(2, 9, seed=1)),
    ),
    "image": (
        AutoModelForImageClassification,
        LMUForImageClassification,
        {**SMALL_IMAGE, "permutation_seed": 0, "block_type": "lmu", "order": 30, "theta": 200.0},
        {"pixel_values": draw(2, 1, 4, 4, dtype=torch.float32)},
    ),
    "forecast": (AutoModelForTimeSeriesPrediction, LMUForTimeSeriesPrediction, SERIES, FORECAST),
}
LOADER = """
import sys, torch, transformers, lmu_hf
from safetensors.torch import load_file, save_file
for folder in sys.argv[2:]:
    kind = open(folder + "/auto.txt").read()
    model = getattr(transformers, kind).from_pretrained(folder)
    with torch.no_grad():
        output = model(**load_file(folder + "/inputs.safetensors"))
    state = {"state." + name: value for name, value in model.state_dict().items()}
    save_file({**state, "output": next(iter(output.values()))}, folder + "/outputs.safetensors",
              {"class": type(model).__name__})
"""


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory) -> dict[str, tuple[nn.Module, Path]]:
    """Every head, saved here and run by another process that knows only the folders."""
    root, heads = tmp_path_factory.mktemp("heads"), {}
    for name, (auto, kind, changes, inputs) in HEADS.items():
        model, folder = build(kind, torch.float32, **changes), root / name
        model.save_pretrained(folder)
        (folder / "auto.txt").write_text(auto.__name__)
        save_file({key: value.contiguous() for key, value in inputs.items()}, folder / "inputs.safetensors")
        heads[name] = model, folder
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    folders = [str(folder) for _, folder in heads.values()]
    subprocess.run([sys.executable, "-c", LOADER, "--", *folders], check=True, env=environment, timeout=300)
    return heads


@pytest.mark.parametrize("name", HEADS)
def test_a_fresh_process_computes_the_same_bits(reloaded, name):
    model, folder = reloaded[name]
    there = load_file(folder / "outputs.safetensors")
    with torch.no_grad():
        here = model(**load_file(folder / "inputs.safetensors"))
    assert torch.equal(there.pop("output"), next(iter(here.values())))
    state = model.state_dict()
    assert {key.removeprefix("state.") for key in there} == set(state)
    assert all(torch.equal(value, state[key.removeprefix("state.")]) for key, value in there.items())


@pytest.mark.parametrize("name", HEADS)
def test_the_auto_class_finds_the_head_by_its_config(reloaded, name):
    model, folder = reloaded[name]
    auto = HEADS[name][0]
    back, report = auto.from_pretrained(folder, output_loading_info=True)
    assert type(back) is type(model)
    assert not any(report.values())


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(
    "options", [{"dtype": "auto"}, {"device_map": "cpu"}, {"device_map": "auto"}, {"device_map": {"": "cpu"}}], ids=str
)
def test_every_way_of_loading_gives_the_same_bits(reloaded, name, options):
    model, folder = reloaded[name]
    back, inputs = HEADS[name][0].from_pretrained(folder, **options), HEADS[name][3]
    assert torch.equal(next(iter(back(**inputs).values())), next(iter(model(**inputs).values())))


@pytest.mark.parametrize("name", HEADS)
def test_every_head_loads_and_runs_in_bfloat16(reloaded, name):
    _, folder = reloaded[name]
    auto, kind, changes, inputs = HEADS[name]
    back = auto.from_pretrained(folder, dtype=torch.bfloat16)
    cast = build(kind, torch.float32, **changes).to(torch.bfloat16)
    assert {parameter.dtype for parameter in back.parameters()} == {torch.bfloat16}
    assert torch.equal(next(iter(back(**inputs).values())), next(iter(cast(**inputs).values())))


@pytest.mark.parametrize("name", ["sequence", "pair", "image"])
def test_a_body_is_taken_out_of_a_classifier(reloaded, name):
    model, folder = reloaded[name]
    body = AutoModel.from_pretrained(folder)
    assert type(body) is LMUModel
    expected = model.model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in body.state_dict().items())


@pytest.mark.parametrize("kind", [LMUForSequenceClassification, LMUForSequencePairClassification])
def test_a_body_gets_a_fresh_head(reloaded, kind):
    body, folder = reloaded["body"]
    model, report = kind.from_pretrained(folder, num_labels=5, output_loading_info=True)
    assert set(report["missing_keys"]) == {"classifier.out.weight", "classifier.out.bias"}
    assert all(torch.equal(value, body.state_dict()[key]) for key, value in model.model.state_dict().items())
    head = model.classifier.out
    assert head.weight.shape[0] == 5
    assert head.weight.std().item() == pytest.approx(head.in_features**-0.5, rel=0.5)
    assert (head.bias == 0).all()


def test_a_head_of_another_size_is_made_anew_on_demand_only(reloaded):
    _, folder = reloaded["sequence"]
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        LMUForSequenceClassification.from_pretrained(folder, num_labels=7)
    model = LMUForSequenceClassification.from_pretrained(folder, num_labels=7, ignore_mismatched_sizes=True)
    assert model(IDS).logits.shape == (2, 7)
    assert model.classifier.out.weight.isfinite().all()


@pytest.mark.parametrize("name", HEADS)
def test_every_tensor_is_a_parameter_or_a_saved_buffer(reloaded, name):
    model, folder = reloaded[name]
    for module in model.modules():
        assert not [key for key, value in vars(module).items() if isinstance(value, Tensor)]
    assert load_file(folder / "model.safetensors").keys() == model.state_dict().keys()
    kept = {"image": {"permutation"}, "regression": {"targets.mean", "targets.scale"}}
    assert {key for key, _ in model.named_buffers()} == kept.get(name, set())


@pytest.mark.parametrize("name", HEADS)
def test_a_head_made_on_the_meta_device_takes_weights(reloaded, name):
    model, _ = reloaded[name]
    with torch.device("meta"):
        empty = type(model)(model.config)
    empty.load_state_dict(model.state_dict(), assign=True)
    inputs = HEADS[name][3]
    assert torch.equal(next(iter(empty.eval()(**inputs).values())), next(iter(model(**inputs).values())))


@pytest.mark.parametrize("name", HEADS)
def test_the_main_input_comes_first(name):
    _, kind, _, inputs = HEADS[name]
    assert kind.main_input_name in inputs
    assert kind.forward.__wrapped__.__code__.co_varnames[1] == kind.main_input_name


def test_embeddings_under_a_head_are_resized(tmp_path):
    model = build(LMUForSequenceClassification, torch.float32)
    before = model(IDS).logits
    model.resize_token_embeddings(20)
    assert torch.equal(model(IDS).logits, before)
    assert model(torch.full((1, 3), 19)).logits.isfinite().all()
    model.save_pretrained(tmp_path)
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config.vocab_size == 20


# --------------------------------------------------------------------------- the Trainer


class Rows(torch.utils.data.Dataset):
    """Sixteen short rows and their labels."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": draw_ids(7, seed=index), "labels": torch.tensor(index % LABELS)}


def train(folder: Path, batch: int, accumulation: int, epochs: int = 1, learning_rate: float = 0.05):
    torch.manual_seed(0)
    model = LMUForSequenceClassification(tiny())
    arguments = TrainingArguments(
        **{"output_dir": str(folder), "use_cpu": True, "report_to": "none", "save_strategy": "no", "seed": 0},
        **{"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation},
        **{"num_train_epochs": epochs, "learning_rate": learning_rate, "lr_scheduler_type": "constant"},
        **{"max_grad_norm": 0.0, "optim": "sgd", "disable_tqdm": True, "logging_strategy": "no"},
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Rows(), eval_dataset=Rows())
    return trainer, trainer.train()


@pytest.mark.slow
def test_accumulated_batches_train_as_one_of_their_sum(tmp_path):
    whole, expected = train(tmp_path / "whole", batch=8, accumulation=1)
    halves, actual = train(tmp_path / "halves", batch=4, accumulation=2)
    assert expected.global_step == actual.global_step == 2
    assert actual.training_loss == pytest.approx(expected.training_loss, rel=1e-5)
    for name, parameter in halves.model.named_parameters():
        assert_close(parameter, whole.model.get_parameter(name), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_the_training_loss_is_on_the_scale_of_the_evaluation_loss(tmp_path):
    trainer, result = train(tmp_path, batch=4, accumulation=2, learning_rate=0.0)
    assert result.training_loss == pytest.approx(trainer.evaluate()["eval_loss"], rel=1e-5)


@pytest.mark.slow
def test_the_trainer_learns_and_predicts(tmp_path):
    trainer, _ = train(tmp_path, batch=4, accumulation=2, epochs=30, learning_rate=0.1)
    torch.manual_seed(0)
    before = LMUForSequenceClassification(tiny()).eval()
    rows = torch.utils.data.default_collate([Rows()[index] for index in range(16)])
    assert trainer.evaluate()["eval_loss"] < 0.7 * before(**rows).loss.item()
    assert trainer.predict(Rows()).predictions.shape == (16, LABELS)


# --------------------------------------------------------------------------- pipelines, offline


@pytest.fixture
def offline(monkeypatch) -> None:
    """Any attempt to reach the Hub fails."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def save_tokenizer(folder: Path, pair: bool = False) -> None:
    words = ["[PAD]", "[UNK]", "[SEP]", "good", "bad", "film", "not", "a", "very", "dull", "fine"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if pair:
        tokenizer.post_processor = processors.TemplateProcessing("$A", "$A:0 $B:1", special_tokens=[])
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if pair else [])]
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_input_names=names
    ).save_pretrained(folder)


LABEL_NAMES = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}, "num_labels": 2}


def test_the_text_classification_pipeline_runs(tmp_path, offline):
    model = build(LMUForSequenceClassification, torch.float32, **LABEL_NAMES)
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    classify = pipeline("text-classification", model=str(tmp_path), device="cpu")
    texts = ["a good film", "a very dull film , not fine", "bad"]
    one_by_one, together = [classify(text)[0] for text in texts], classify(texts, batch_size=3)
    for alone, padded in zip(one_by_one, together, strict=True):
        assert alone["label"] == padded["label"] in {"negative", "positive"}
        assert alone["score"] == pytest.approx(padded["score"], rel=1e-6)
    probabilities = model(torch.tensor([[7, 3, 5]])).logits.softmax(-1)[0]
    assert one_by_one[0]["score"] == pytest.approx(probabilities.max().item(), rel=1e-6)


def test_the_text_classification_pipeline_takes_pairs(tmp_path, offline):
    model = build(LMUForSequencePairClassification, torch.float32, **LABEL_NAMES)
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path, pair=True)
    classify = pipeline("text-classification", model=str(tmp_path), device="cpu", top_k=None)
    answers = classify([{"text": "a good film", "text_pair": "bad"}, {"text": "fine", "text_pair": "not a dull film"}])
    first, second = torch.tensor([[7, 3, 5]]), torch.tensor([[4]])
    expected = model(first, pair_input_ids=second).logits.softmax(-1)[0]
    scores = {answer["label"]: answer["score"] for answer in answers[0]}
    assert [scores["negative"], scores["positive"]] == pytest.approx(expected.tolist(), rel=1e-5)


def test_the_feature_extraction_pipeline_runs(tmp_path, offline):
    model = build(LMUModel, torch.float32)
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    extract = pipeline("feature-extraction", model=str(tmp_path), device="cpu")
    features = torch.tensor(extract("a good film"))
    assert_near(features, model(torch.tensor([[7, 3, 5]])).last_hidden_state)


@pytest.mark.parametrize("seed", [None, 0])
def test_the_image_classification_pipeline_runs(seed, tmp_path, offline):
    model = build(LMUForImageClassification, torch.float32, **SMALL_IMAGE, **LABEL_NAMES, permutation_seed=seed)
    model.save_pretrained(tmp_path)
    ViTImageProcessor(do_resize=False, do_normalize=False, size={"height": 4, "width": 4}).save_pretrained(tmp_path)
    classify = pipeline("image-classification", model=str(tmp_path), device="cpu")
    grey = torch.arange(0, 256, 16, dtype=torch.uint8).view(4, 4)
    answers = {answer["label"]: answer["score"] for answer in classify(Image.fromarray(grey.numpy(), mode="L"))}
    expected = model((grey / 255)[None, None]).logits.softmax(-1)[0]
    assert [answers["negative"], answers["positive"]] == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_saved_config_names_its_class_type_and_labels(tmp_path):
    build(LMUForSequenceClassification, torch.float32, **LABEL_NAMES).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["architectures"] == ["LMUForSequenceClassification"]
    assert written["model_type"] == "lmu"
    assert written["id2label"] == {"0": "negative", "1": "positive"}


# --------------------------------------------------------------------------- compiled and exported


@pytest.mark.slow
@pytest.mark.parametrize("changes", POOLINGS.values(), ids=POOLINGS)
def test_an_exported_classifier_is_the_classifier(changes):
    model = build(LMUForSequenceClassification, **changes)
    exported = torch.export.export(model, (IDS,)).module()
    other = draw_ids(2, 5, seed=3)
    assert_near(exported(other).logits, model(other).logits)


@pytest.mark.slow
def test_an_exported_classifier_takes_any_batch():
    model = build(LMUForSequenceClassification)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (IDS,), dynamic_shapes={"input_ids": {0: batch}})
    assert_near(exported.module()(draw_ids(9, 5)).logits, model(draw_ids(9, 5)).logits)


@pytest.mark.slow
@pytest.mark.parametrize("changes", POOLINGS.values(), ids=POOLINGS)
def test_one_graph_holds_the_classifier(changes):
    torch._dynamo.reset()
    model, ids = build(LMUForSequenceClassification, **changes), draw_ids(2, 40)
    assert_near(torch.compile(model, fullgraph=True, backend="aot_eager")(ids).logits, model(ids).logits)
