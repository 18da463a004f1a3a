"""What a run record says of its model's kind: which head, which Hub task, what a reader of its card should know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from babel import Locale

from ..common.record import RunRecord
from .markup import code, text


@dataclass(frozen=True)
class Kind:
    """What all models with one head have in common on the Hub.

    Args:
        name: of the kind; ``templates/usage/<name>.md`` shows how such a model is used.
        head: the class of the family's own models; an LSTM baseline's has the same name after ``LSTM``.
        pipeline_tag: the Hub's word for the task.
        reads: what goes in and what comes out, from a record.
        use: what such a model is for, and what to take in other cases.
        limits: what not to expect, a sentence each.
        example: an input to try such a model on, where the record has none: a text, or two.
    """

    name: str
    head: str
    pipeline_tag: str
    reads: Callable[[RunRecord], str]
    use: str
    limits: tuple[str, ...]
    example: str | tuple[str, str] = ""


def _reads_image(record: RunRecord) -> str:
    # A field that is missing raises KeyError here, and `records.checked` says which.
    side = record.architecture["image_size"]
    order = "raster order"  # row by row
    if (seed := record.architecture.get("permutation_seed")) is not None:
        order = f"the fixed random order of permutation {text(seed)}"
    size = f"{text(side)} × {text(side)}"
    kind = "an image in colour" if record.architecture.get("input_size") == 3 else "a grey image"
    labels = (record.options or {}).get("labels")
    named = f": {_listed(labels)}" if isinstance(labels, list) and labels else ""
    return f"reads {kind} of {size} pixels one pixel at a time, in {order}, and names its class{named}"


def _reads_sound(record: RunRecord) -> str:
    rate = text(record.data["sampling_rate"])
    names = _listed(record.data["labels"])
    return f"reads a sound of {rate} samples a second frame by frame, and names its class: {names}"


def _reads_languages(record: RunRecord) -> str:
    # Another number of languages raises ValueError, which `records.checked` explains.
    source, target = record.data["languages"]
    return f"translates sentences from {_language(source)} into {_language(target)}"


def _language(tag: str) -> str:
    """A language's name in English, where it has one, with its tag."""
    name = Locale("en").languages.get(tag)
    return f"{name} ({code(tag)})" if name else code(tag)


def _listed(labels: Sequence[Any]) -> str:
    """Names of classes, ten at most."""
    left = f" and {len(labels) - 10:,} more" if len(labels) > 10 else ""
    return ", ".join(code(name) for name in labels[:10]) + left


def _reads_text(record: RunRecord, what: str) -> str:
    if record.problem_type == "regression" and "title" in record.data:
        return "predicts a number, in the unit of its labels"
    if record.problem_type != "multi_label_classification":
        labels = record.data.get("labels")
        return f"finds {what}" + (f": {_listed(labels)}" if isinstance(labels, list) and labels else "")
    return f"finds which of {_listed(record.data['labels'])} hold"


def _reads_tags(record: RunRecord) -> str:
    return f"finds the tag of every word of a text, one of {_listed(record.data['labels'])}"


def _reads_series(record: RunRecord) -> str:
    if (forecast := record.architecture.get("forecast")) is None:
        ahead = record.data.get("horizon")
        return "predicts a series of real numbers " + (
            f"{ahead:,} steps ahead, at every step" if ahead else "at every step"
        )
    several = f"{forecast['channels']} series" if forecast["channels"] > 1 else "a series"
    read, ahead = forecast["context_length"], forecast["prediction_length"]
    return f"reads {read:,} steps of {several} and forecasts the next {ahead:,}"


def _finds_series(record: RunRecord) -> str:
    channels = len(record.data["channels"])
    plural = "s" * (channels > 1)
    return f"finds the class of a series of {channels} channel{plural}, one of {_listed(record.data['labels'])}"


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "image-classification",
            "LMUForImageClassification",
            "image-classification",
            _reads_image,
            "To study how a model remembers a long sequence: every pixel is one step. To recognise pictures in "
            "earnest, take a convolutional network.",
            ("It knows pictures like those of its data set. Any other picture gets one of its classes all the same.",),
        ),
        Kind(
            "text-generation",
            "LMUForCausalLM",
            "text-generation",
            lambda record: f"continues a text, token by token (tokens: {text(record.data['tokenizer'])})",
            "To study language models on a CPU, and as a start for fine-tuning. To write text for readers, take a "
            "large language model.",
            (
                "It is small and has read little: it imitates spelling and style, and makes no sense over a paragraph. "
                "Do not take what it writes for fact, nor its code for code that runs.",
            ),
            example="the ",
        ),
        Kind(
            "translation",
            "LMUForConditionalGeneration",
            "translation",
            _reads_languages,
            "To translate sentences like those of its training data on a CPU, and to compare with other architectures. "
            "For other sentences, take a large pre-trained translator.",
            (
                "It has read sentences of one data set. Other subjects, and sentences longer than its own, it "
                "translates badly.",
                "Names and numbers that it has not seen may come out wrong: check them.",
            ),
            example="A man is riding a bicycle.",
        ),
        Kind(
            "text-classification",
            "LMUForSequenceClassification",
            "text-classification",
            lambda record: _reads_text(record, "the class of a text"),
            "To sort texts like those of its training data. Do not decide about people by it alone.",
            ("It has read one kind of text in one language, and takes over whatever bias its labels have.",),
            example="a charming film with a slow start",
        ),
        Kind(
            "pair-classification",
            "LMUForSequencePairClassification",
            "text-classification",  # the Hub has no task for pairs
            lambda record: (
                "reads two texts with the same weights and " + _reads_text(record, "how they stand to each other")
            ),
            "To compare pairs of texts like those of its training data. Do not decide about people by it alone.",
            ("It has read one kind of text in one language, and takes over whatever bias its labels have.",),
            example=("a man is playing a guitar", "somebody makes music"),
        ),
        Kind(
            "token-classification",
            "LMUForTokenClassification",
            "token-classification",
            _reads_tags,
            "To mark words in texts like those of its training data. Do not decide about people by it alone.",
            (
                "It has read one kind of text in one language, and takes over whatever bias its labels have.",
                "A word has the tag of its first token.",
            ),
            example="anna met ben in new york",
        ),
        Kind(
            "time-series-classification",
            "LMUForTimeSeriesClassification",
            "tabular-classification",  # the Hub has no task for series
            _finds_series,
            "To classify series of the same source, whole or while they come in.",
            (
                "It knows series like those of its data set, sampled at their rate and in their units. Any other "
                "series gets one of its classes all the same.",
            ),
        ),
        Kind(
            "audio-classification",
            "LMUForAudioClassification",
            "audio-classification",
            _reads_sound,
            "To name sounds of these kinds, also while they come in.",
            (
                "It has heard sounds of one kind. Any other sound gets one of its classes all the same.",
                "It may do worse with a voice, a room or a microphone that it has not heard.",
            ),
        ),
        Kind(
            "time-series-forecasting",
            "LMUForTimeSeriesPrediction",
            "time-series-forecasting",
            _reads_series,
            "To forecast series of the same source. Compare it with the value of one season before: it must be better.",
            ("It has seen one family of series at one rate of sampling, and says nothing about any other.",),
        ),
    )
}
# A baseline is of its LMU's kind: LSTMForCausalLM is shown as LMUForCausalLM is.
BY_HEAD = {head: kind for kind in KINDS.values() for head in (kind.head, kind.head.replace("LMU", "LSTM"))}
DATASETS = {"bentrevett/multi30k": "Multi30k, English to German", "ylecun/mnist": "MNIST"}  # the names that people use


def kind_of(record: RunRecord) -> Kind:
    """The kind of model that a record is of.

    Raises:
        ValueError: there is no such head, or its task is another.
    """
    if record.head not in BY_HEAD:
        raise ValueError(f"head must be one of {', '.join(BY_HEAD)}, got {record.head!r}")
    kind = BY_HEAD[record.head]
    # A head and a task that contradict each other: somebody has edited the record.
    if record.task != kind.pipeline_tag:
        raise ValueError(f"the task of {record.head} is {kind.pipeline_tag!r}, got {record.task!r}")
    return kind


def dataset_of(record: RunRecord) -> tuple[str | None, str, str | None]:
    """The data set's name on the Hub (None if it has none), its name in words, and its configuration there."""
    dataset: str | None = record.data.get("dataset")
    # A record's own name of a data set may be long: well-known ones have a short one.
    words: str = record.data["name"] if dataset is None else DATASETS.get(dataset, record.data["name"])
    return dataset, words, record.data.get("dataset_config")


def example_of(record: RunRecord) -> str | tuple[str, str]:
    """An input to try the model on: a text, or two; nothing where a model does not read texts."""
    example = record.data.get("example", kind_of(record).example)
    return example if isinstance(example, str) else (example[0], example[1])
