"""What a run record says of its model's kind: which head, which Hub task, what a reader of its card should know."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..common.record import RunRecord
from .markup import code, text


@dataclass(frozen=True)
class Kind:
    """What all models with one head have in common on the Hub.

    Args:
        name: of the kind; ``templates/usage/<name>.md`` shows how such a model is used.
        auto_class: that loads one.
        pipeline_tag: the Hub's word for the task.
        reads: what goes in and what comes out, from a record.
        limits: what not to expect, a sentence each.
    """

    name: str
    auto_class: str
    pipeline_tag: str
    reads: Callable[[RunRecord], str]
    limits: tuple[str, ...]


def _reads_image(record: RunRecord) -> str:
    side = record.architecture["image_size"]
    order = "raster order"
    if (seed := record.architecture.get("permutation_seed")) is not None:
        order = f"the fixed random order of permutation {text(seed)}"
    size = f"{text(side)} × {text(side)}"
    return f"reads a grey image of {size} pixels one pixel at a time, in {order}, and names its class"


def _reads_languages(record: RunRecord) -> str:
    source, target = record.data["languages"]
    return f"translates from {code(source)} into {code(target)}"


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "image-classification",
            "AutoModelForImageClassification",
            "image-classification",
            _reads_image,
            (
                "It knows pictures like those of its data set and nothing else; any other picture gets a class all "
                "the same.",
                "Reading an image pixel by pixel is a test of memory, not the best way to see.",
            ),
        ),
        Kind(
            "text-generation",
            "AutoModelForCausalLM",
            "text-generation",
            lambda record: f"writes text on, token by token (tokens: {text(record.data['tokenizer'])})",
            (
                "A small model of a small corpus: it catches spelling and style, not sense. What it writes is not to "
                "be taken for fact, nor its code for code that runs.",
            ),
        ),
        Kind(
            "translation",
            "AutoModelForSeq2SeqLM",
            "translation",
            _reads_languages,
            (
                "It has read sentences of one data set; other subjects, and texts longer than its sentences, it "
                "translates badly.",
                "Names and numbers that it has not seen may come out as others: check them.",
            ),
        ),
        Kind(
            "text-classification",
            "AutoModelForSequenceClassification",
            "text-classification",
            lambda record: "finds the class of a text",
            ("It has read one kind of text in one language, and takes over whatever bias its labels have.",),
        ),
        Kind(
            "pair-classification",
            "AutoModelForSequenceClassification",
            "text-classification",
            lambda record: "reads two texts with the same weights and finds how they stand to each other",
            ("It has read one kind of text in one language, and takes over whatever bias its labels have.",),
        ),
        Kind(
            "time-series-forecasting",
            "AutoModelForTimeSeriesPrediction",
            "time-series-forecasting",
            lambda record: "predicts a real-valued series at every step",
            ("It has seen one family of series at one rate of sampling; it says nothing of any other.",),
        ),
    )
}

HUB_NAME = re.compile(r"(?!.*\.(?:csv|tsv|jsonl?|parquet|txt|gz)$)\w[\w.-]*/\w[\w.-]*", re.ASCII)
PUBLISHED: dict[str, tuple[str | None, str]] = {
    # Names in run records that are not the data set's own on the Hub: its name there, if it is there, and in words.
    "multi30k-en-de": ("bentrevett/multi30k", "Multi30k, English to German"),
    "ylecun/mnist": ("ylecun/mnist", "MNIST"),
}


def kind_of(record: RunRecord) -> Kind:
    """The kind of model that a record is of."""
    architecture = record.architecture
    if architecture.get("is_encoder_decoder"):
        return KINDS["translation"]
    if "image_size" in architecture:
        return KINDS["image-classification"]
    if record.metric == "nrmse":
        return KINDS["time-series-forecasting"]
    if "bits" in record.metric or record.metric == "perplexity":
        return KINDS["text-generation"]
    return KINDS["pair-classification" if record.data.get("pairs") else "text-classification"]


def dataset_of(record: RunRecord) -> tuple[str | None, str, str | None]:
    """The data set's name on the Hub (None if it has none), its name in words, and its configuration there."""
    name, _, config = record.data["name"].partition(" ")
    if name in PUBLISHED:
        return (*PUBLISHED[name], config or None)
    if HUB_NAME.fullmatch(name):
        return name, record.data["name"], config or None
    return None, record.data["name"], None


def example_of(record: RunRecord) -> Any:
    """An input to try the model on: a text, or two."""
    name = record.data["name"]
    if "Python" in name:
        return "def read(self, size"
    if kind_of(record).name == "translation":
        return "Monday, March 1, 2021" if "dates" in name else "A man is riding a bicycle."
    if kind_of(record).name == "pair-classification":
        return ["a man is playing a guitar", "somebody makes music"]
    return "a charming film with a slow start" if kind_of(record).name == "text-classification" else "the "
