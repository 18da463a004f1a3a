"""Finished run folders of tiny untrained models, one for every kind of head: what tests of the Hub push."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import ViTImageProcessorPil

from lmu_hf import (
    LMUConfig,
    LMUForCausalLM,
    LMUForConditionalGeneration,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesClassification,
    LMUForTimeSeriesPrediction,
    LMUForTokenClassification,
    train_tokenizer,
)
from lmu_hf.common.record import RunRecord, count_parameters, describe_architecture

TEXTS = ["a charming film with a slow start", "a man is playing a guitar", "somebody makes music", "not bad at all"]
TINY = {"hidden_size": 12, "num_hidden_layers": 2, "order": 3, "theta": [5.0, 30.0]}
LABELS = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
TAGS = {"id2label": {0: "O", 1: "B-PER", 2: "I-PER"}, "label2id": {"O": 0, "B-PER": 1, "I-PER": 2}}
IMAGE = {"input_size": 1, "image_size": 8, "permutation_seed": 0}
TRANSLATION = {"is_encoder_decoder": True, "bidirectional": True, "tie_word_embeddings": True}

TASKS = {
    "pair-classification": "text-classification",
    "time-series-classification": "tabular-classification",
}  # the Hub's word, where a kind has another name
# Per kind: the head, what its config adds, its tokenizer, its metric, and what its record says of the data.
KINDS: dict[str, tuple[type, dict, dict | None, str, dict]] = {
    "image-classification": (
        LMUForImageClassification,
        IMAGE | LABELS,
        None,
        "accuracy",
        {"name": "ylecun/mnist", "dataset": "ylecun/mnist"},
    ),
    "text-generation": (
        LMUForCausalLM,
        {},
        {"kind": "char", "padding_side": "left", "add_bos": True},
        "bits_per_character",
        {"name": "some text", "tokenizer": "char"},
    ),
    "text-classification": (
        LMUForSequenceClassification,
        LABELS,
        {"kind": "word"},
        "accuracy",
        {
            "name": "stanfordnlp/imdb",
            "dataset": "stanfordnlp/imdb",
            "pairs": False,
            "splits": {"validation": "a tenth of train", "test": "test"},
        },
    ),
    "pair-classification": (
        LMUForSequencePairClassification,
        LABELS,
        {"kind": "word", "pair": True},
        "f1",
        {"name": "nyu-mll/glue mrpc", "dataset": "nyu-mll/glue", "dataset_config": "mrpc", "pairs": True},
    ),
    "translation": (
        LMUForConditionalGeneration,
        TRANSLATION,
        {"kind": "char", "add_eos": True},
        "bleu",
        {"name": "multi30k-en-de", "dataset": "bentrevett/multi30k", "languages": ["en", "de"]},
    ),
    "token-classification": (
        LMUForTokenClassification,
        TAGS,
        {"kind": "word", "add_bos": True},
        "macro_f1",
        {"name": "names by rule", "labels": list(TAGS["label2id"])},
    ),
    "time-series-classification": (
        LMUForTimeSeriesClassification,
        {"input_size": 2, **LABELS},
        None,
        "accuracy",
        {"name": "waves", "channels": ["x", "y"], "labels": list(LABELS["label2id"])},
    ),
    "time-series-forecasting": (
        LMUForTimeSeriesPrediction,
        {"input_size": 1, "output_size": 1},
        None,
        "nrmse",
        {"name": "Mackey-Glass"},
    ),
}


def make_run(folder: Path, kind: str, seed: int = 0, score: float = 0.8125, **record: Any) -> Path:
    """A run folder with a model whose every parameter is drawn from a seed, large, so that other inputs differ."""
    head, fields, how, metric, data = KINDS[kind]
    model_folder = folder / "model"
    tokenizer = None if how is None else train_tokenizer(texts=TEXTS, **how)
    if tokenizer is not None:
        ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id}
        fields = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, **ids, **fields}
        tokenizer.save_pretrained(model_folder)
    if kind == "image-classification":
        size = {"height": 8, "width": 8}
        ViTImageProcessorPil(size=size, image_mean=0.1, image_std=0.3).save_pretrained(model_folder)
    model, generator = head(LMUConfig(**{**TINY, **fields})), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.6)
    model.eval().save_pretrained(model_folder)
    scores = {split: {metric: score + place / 64} for place, split in enumerate(("validation", "test"))}
    counts = {"train": 1000, "validation": 100, "test": 100}
    written = {
        "recipe": f"tiny-{kind}",
        "task": TASKS.get(kind, kind),
        "head": head.__name__,
        "data": {"rows": counts, "fingerprint": "0123456789abcdef", **data},
        "seed": seed,
        "hyperparameters": {"learning_rate": 0.002, "augmentation": None},
        "architecture": describe_architecture(model.config),
        "parameters": count_parameters(model),
        "metric": metric,
        "metrics": scores,
        "best_epoch": 2,
        "steps": 20,
        "command": f"python scripts/train.py --recipe tiny-{kind}",
    }
    RunRecord(**{**written, **record}).write(folder)
    rows = [{"epoch": n, "train_loss": 1 / n, f"validation_{metric}": score * n / 2} for n in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder
