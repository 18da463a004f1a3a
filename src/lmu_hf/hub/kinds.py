"""What a run record says of its model's kind: which head, which Hub task, what a reader of its card should know."""

from collections.abc import Callable
from dataclasses import dataclass

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
        limits: what not to expect, a sentence each.
        example: an input to try such a model on, where the record has none: a text, or two.
    """

    name: str
    head: str
    pipeline_tag: str
    reads: Callable[[RunRecord], str]
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
    return f"reads {kind} of {size} pixels one pixel at a time, in {order}, and names its class"


def _reads_sound(record: RunRecord) -> str:
    names = [code(name) for name in record.data["labels"]]
    left = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    rate = text(record.data["sampling_rate"])
    return (
        f"reads a sound of {rate} samples a second frame by frame, and names its class: {', '.join(names[:10])}{left}"
    )


def _reads_languages(record: RunRecord) -> str:
    # Another number of languages raises ValueError, which `records.checked` explains.
    source, target = record.data["languages"]
    return f"translates from {code(source)} into {code(target)}"


def _reads_text(record: RunRecord, what: str) -> str:
    if record.problem_type == "regression" and "title" in record.data:
        return "predicts a number, in the unit of its labels"
    if record.problem_type != "multi_label_classification":
        return f"finds {what}"
    names = [code(name) for name in record.data["labels"]]
    left = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return f"finds which of {', '.join(names[:10])}{left} hold"


def _reads_tags(record: RunRecord) -> str:
    tags = [code(tag) for tag in record.data["labels"]]
    return f"finds the tag of every word of a text, one of {', '.join(tags)}"


def _reads_series(record: RunRecord) -> str:
    if (forecast := record.architecture.get("forecast")) is None:
        return "predicts a real-valued series at every step"
    several = f"{forecast['channels']} series" if forecast["channels"] > 1 else "a series"
    read, ahead = forecast["context_length"], forecast["prediction_length"]
    return f"reads {read:,} steps of {several} and forecasts the next {ahead:,}"


def _finds_series(record: RunRecord) -> str:
    channels = len(record.data["channels"])
    names = [code(name) for name in record.data["labels"]]
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return (
        f"finds the class of a series of {channels} channel{'s' * (channels > 1)}, one of {', '.join(names[:10])}{more}"
    )


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "image-classification",
            "LMUForImageClassification",
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
            "LMUForCausalLM",
            "text-generation",
            lambda record: f"writes text on, token by token (tokens: {text(record.data['tokenizer'])})",
            (
                "A small model of a small corpus: it catches spelling and style, not sense. What it writes is not to "
                "be taken for fact, nor its code for code that runs.",
            ),
            example="the ",
        ),
        Kind(
            "translation",
            "LMUForConditionalGeneration",
            "translation",
            _reads_languages,
            (
                "It has read sentences of one data set; other subjects, and texts longer than its sentences, it "
                "translates badly.",
                "Names and numbers that it has not seen may come out as others: check them.",
            ),
            example="A man is riding a bicycle.",
        ),
        Kind(
            "text-classification",
            "LMUForSequenceClassification",
            "text-classification",
            lambda record: _reads_text(record, "the class of a text"),
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
            ("It has read one kind of text in one language, and takes over whatever bias its labels have.",),
            example=("a man is playing a guitar", "somebody makes music"),
        ),
        Kind(
            "token-classification",
            "LMUForTokenClassification",
            "token-classification",
            _reads_tags,
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
            (
                "It knows series like those of its data set, sampled at their rate and in their units; any other "
                "series gets a class all the same.",
            ),
        ),
        Kind(
            "audio-classification",
            "LMUForAudioClassification",
            "audio-classification",
            _reads_sound,
            (
                "It has heard sounds of one kind; any other sound gets one of its classes all the same.",
                "A voice, a room or a microphone that it has not heard may be understood worse.",
            ),
        ),
        Kind(
            "time-series-forecasting",
            "LMUForTimeSeriesPrediction",
            "time-series-forecasting",
            _reads_series,
            ("It has seen one family of series at one rate of sampling; it says nothing of any other.",),
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
