"""Labelling rows that have no labels with a saved model."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from accelerate import PartialState
from transformers import (
    AutoImageProcessor,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from ..common.errors import loading
from ..common.record import keep
from ..common.staging import written_whole
from ..data.labelled import unlabelled_dataset, unlabelled_file
from ..data.labelling import count_labels, label_pictures, label_rows, label_series, label_sounds, write_rows
from ..data.labels import Columns
from ..data.series_files import read_series
from ..data.tokenised import load_tokenizer
from ..feature_extraction_lmu import LMUFeatureExtractor
from ..training.evaluation import find_record, rows_of
from .flags import Flags
from .origin import follow_the_run
from .reading import reading, series_columns
from .results import give
from .saved_heads import check_classifier

if TYPE_CHECKING:
    from datasets import Dataset


def label(args: argparse.Namespace) -> dict[str, int]:
    """Read, label and write; how many texts, pictures or series each class has."""
    if args.train_file is not None or args.dataset_name is not None:
        # Rows to label most likely have the columns of the rows that the model was trained on.
        follow_the_run(args, find_record(args.model), Path(args.model).absolute().parent)
    labelled, things = _labelled(args)
    counts = count_labels(labelled)
    if PartialState().is_main_process:
        args.output_file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(args.output_file) as staged:
            write_rows(labelled, staged, args.output_file.suffix)
            counted = ", ".join(f"{name}: {count:,}" for name, count in counts.items())
            line = f"{args.output_file}: {len(labelled):,} {things}; {counted}".removesuffix("; ")
            made = {"model": args.model, "mixed_precision": args.mixed_precision, "labels": counts}
            # Before the rows take their place: where this cannot be written, earlier rows stay, too.
            kept = keep(made, args.output_file.with_suffix(".json"))
        give(args, [line], kept)
    return counts


def _labelled(args: argparse.Namespace) -> tuple["Dataset", str]:
    """The rows with what the model says of each, and what they are."""
    kind = rows_of(args.model)
    if args.train_file is None and args.dataset_name is None:
        return (_sounds(args), "sounds") if kind == "audio" else (_pictures(args), "pictures")
    if args.train_file is not None and kind == "series-classification":
        return _series(args), "series"
    return _texts(args), "texts"


def _pictures(args: argparse.Namespace) -> "Dataset":
    with loading("image processor", args.model):
        processor = AutoImageProcessor.from_pretrained(args.model, use_fast=False)  # the one on PIL, as it was saved
    with loading("image classifier", args.model):
        model = AutoModelForImageClassification.from_pretrained(args.model)
    return label_pictures(model, processor, args.data_dir, args.per_device_eval_batch_size, args.mixed_precision)


def _sounds(args: argparse.Namespace) -> "Dataset":
    with loading("feature extractor", args.model):
        extractor = LMUFeatureExtractor.from_pretrained(args.model)
    with loading("audio classifier", args.model):
        model = AutoModelForAudioClassification.from_pretrained(args.model)
    return label_sounds(model, extractor, args.data_dir, args.per_device_eval_batch_size, args.mixed_precision)


def _series(args: argparse.Namespace) -> "Dataset":
    flags = Flags(args)
    rows = read_series(args.train_file, series_columns(flags), reading(flags), needs_labels=False)
    return label_series(_classifier(args.model), rows, args.per_device_eval_batch_size, args.mixed_precision)


def _texts(args: argparse.Namespace) -> "Dataset":
    columns = Columns(args.text_column or "text", args.text_pair_column)
    if args.train_file is not None:
        rows = unlabelled_file(args.train_file, columns, reading(Flags(args)))
    else:
        rows = unlabelled_dataset(args.dataset_name, args.split, args.data_dir, columns, args.dataset_config_name)
    tokenizer = load_tokenizer(args.model)
    model = _classifier(args.model)
    return label_rows(model, tokenizer, rows, args.per_device_eval_batch_size, args.mixed_precision)


def _classifier(name: str) -> PreTrainedModel:
    check_classifier(name)
    with loading("model", name):
        return AutoModelForSequenceClassification.from_pretrained(name)
