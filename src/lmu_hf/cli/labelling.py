"""Labelling rows that have no labels with a saved model."""

import argparse
from typing import TYPE_CHECKING

from accelerate import PartialState
from transformers import AutoImageProcessor, AutoModelForImageClassification, AutoModelForSequenceClassification

from ..common.errors import loading
from ..common.record import publish
from ..common.staging import written_whole
from ..data.labelled import unlabelled_dataset, unlabelled_file
from ..data.labelling import count_labels, label_pictures, label_rows, write_rows
from ..data.labels import Columns
from ..data.tokenised import load_tokenizer
from .flags import Flags
from .reading import reading

if TYPE_CHECKING:
    from datasets import Dataset


def label(args: argparse.Namespace) -> dict[str, int]:
    """Read, label and write; how many texts, or pictures, each class has."""
    if args.train_file is None and args.dataset_name is None:
        return _write(args, _pictures(args), "pictures")
    return _write(args, _texts(args), "texts")


def _pictures(args: argparse.Namespace) -> "Dataset":
    with loading("image processor", args.model):
        processor = AutoImageProcessor.from_pretrained(args.model, use_fast=False)  # the one on PIL, as it was saved
    with loading("image classifier", args.model):
        model = AutoModelForImageClassification.from_pretrained(args.model)
    return label_pictures(model, processor, args.data_dir, args.per_device_eval_batch_size, args.mixed_precision)


def _texts(args: argparse.Namespace) -> "Dataset":
    columns = Columns(args.text_column or "text", args.text_pair_column)
    if args.train_file is not None:
        rows = unlabelled_file(args.train_file, columns, reading(Flags(args)))
    else:
        rows = unlabelled_dataset(args.dataset_name, args.split, args.data_dir, columns, args.dataset_config_name)
    tokenizer = load_tokenizer(args.model)
    with loading("model", args.model):
        model = AutoModelForSequenceClassification.from_pretrained(args.model)
    return label_rows(model, tokenizer, rows, args.per_device_eval_batch_size, args.mixed_precision)


def _write(args: argparse.Namespace, labelled: "Dataset", what: str) -> dict[str, int]:
    counts = count_labels(labelled)
    if PartialState().is_main_process:
        args.output_file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(args.output_file) as staged:
            write_rows(labelled, staged, args.output_file.suffix)
        counted = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        print(f"{args.output_file}: {len(labelled):,} {what}; {counted}".removesuffix("; "))
        made = {"model": args.model, "mixed_precision": args.mixed_precision, "labels": counts}
        publish(made, args.output_file.with_suffix(".json"))
    return counts
