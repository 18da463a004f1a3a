"""Labels and scores that a trained model gives to texts that have none, so that another may learn from them."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import tqdm
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.logging import get_logger

from ..common.errors import InputError
from .audio import sound_files
from .heap import Heap
from .images import list_pictures, open_picture
from .label_rules import MULTI, REGRESSION
from .series import pad_series
from .series_files import RawSeries
from .tokenised import LONGEST, by_length, count_cut, pad_rows, tokenised

if TYPE_CHECKING:
    from datasets import Dataset

logger = get_logger(__name__)

SEPARATOR = "|"  # of several classes in a cell of a CSV file
FEWEST_DIGITS = 4  # of a number in a file for people


@torch.no_grad()
def label_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: "Dataset",
    batch_size: int = 128,
    mixed_precision: str | None = None,
) -> "Dataset":
    """Texts with what a model says of each: its class, several, or a number.

    Args:
        model: a classifier, or a model that predicts a number.
        tokenizer: its own; texts are cut at its ``model_max_length``.
        rows: with ``text``, and ``text_pair`` if the model reads pairs.
        batch_size: rows read at once by each process.
        mixed_precision: ``"no"`` or ``"bf16"``; None for what accelerate was launched with.

    Returns:
        In the order of ``rows`` their texts and ``label``. Of one class a row, that class, its ``probability``, and for
        every class a column ``score_<class>`` with its own. Of several, a list of those that hold, and the scores. Of a
        number, that number, as ``score`` too.

    Raises:
        ValueError: the model reads pairs where the rows have single texts or the reverse.
    """
    config: Any = model.config
    pairs = "text_pair" in rows.column_names
    # A saved config names the class of its head; the classes that read two texts have Pair in their name.
    if pairs is not any("Pair" in name for name in config.architectures):
        raise ValueError(f"{config.architectures[0]} does not read rows of {', '.join(rows.column_names)}")
    texts = rows.select_columns(["text", "text_pair"] if pairs else ["text"])
    logits = _read(model, tokenizer, texts, batch_size, mixed_precision)
    if config.problem_type == REGRESSION:
        numbers = logits[:, 0].tolist()
        return texts.add_column("label", numbers).add_column("score", numbers)
    names = [config.id2label[number] for number in range(len(config.id2label))]
    several = config.problem_type == MULTI
    scores = logits.sigmoid() if several else logits.softmax(-1)
    labelled = _with_sets(texts, scores, config, names) if several else _with_classes(texts, scores, names)
    return _with_scores(labelled, scores, names)


@torch.no_grad()
def label_series(
    model: PreTrainedModel, rows: RawSeries, batch_size: int = 128, mixed_precision: str | None = None
) -> "Dataset":
    """Series with what a model says of each: as :func:`label_rows`, but the column ``series`` says which one it is.

    Args:
        model: a classifier of series.
        rows: what a file holds.
        batch_size, mixed_precision: as of :func:`label_rows`.

    Raises:
        InputError: the series have more or fewer channels than the model reads.
    """
    from datasets import Dataset

    config: Any = model.config
    if len(rows.channels) != config.input_size:
        raise InputError(
            f"the series have {len(rows.channels)} channels ({', '.join(rows.channels[:5])}), and the model reads "
            f"{config.input_size}: name them by --value_columns"
        )
    accelerator = Accelerator(mixed_precision=mixed_precision)
    numbered = list(zip(rows.values, range(len(rows.values)), strict=True))
    loader: Any = accelerator.prepare_data_loader(DataLoader(cast(Any, numbered), batch_size, collate_fn=pad_series))
    model, logits = model.eval().to(accelerator.device), torch.zeros(len(numbered), config.num_labels)
    for batch in loader:
        read = batch.pop("labels")
        with accelerator.autocast():
            found = model(**batch).logits
        found, read = accelerator.gather_for_metrics((found.float(), read))
        logits[read.cpu()] = found.cpu()
    return _classified(Dataset.from_dict({"series": rows.names}), logits, config)


@torch.no_grad()
def label_pictures(
    model: PreTrainedModel,
    processor: Any,
    folder: Path,
    batch_size: int = 128,
    mixed_precision: str | None = None,
) -> "Dataset":
    """The pictures of a folder and of its folders with what a model says of each.

    Args:
        model: an image classifier.
        processor: its image processor.
        folder: of the pictures.
        batch_size: pictures read at once.
        mixed_precision: as of :func:`label_rows`.

    Returns:
        In the order of their names ``image``, a path from the folder on, and the columns of one class a row that
        :func:`label_rows` gives.

    Raises:
        InputError: there is no picture, or a file is none that will do.
    """

    def read(paths: list[Path]) -> Any:
        return processor([open_picture(path)[0] for path in paths], return_tensors="pt")

    return _label_files(model, "image", folder, list_pictures(folder), read, batch_size, mixed_precision)


@torch.no_grad()
def label_sounds(
    model: PreTrainedModel,
    extractor: Any,
    folder: Path,
    batch_size: int = 128,
    mixed_precision: str | None = None,
) -> "Dataset":
    """The sounds of a folder and of its folders with what a model says of each.

    Args:
        model: an audio classifier.
        extractor: its feature extractor.
        folder: of the sounds.
        batch_size: sounds read at once.
        mixed_precision: as of :func:`label_rows`.

    Returns:
        In the order of their names ``sound``, a path from the folder on, and the columns of one class a row that
        :func:`label_rows` gives.

    Raises:
        InputError: there is no sound, or a file is none that will do.
    """

    def read(paths: list[Path]) -> Any:
        return extractor([_signal(extractor, path) for path in paths], return_tensors="pt")

    return _label_files(model, "sound", folder, sound_files(folder, "--data_dir"), read, batch_size, mixed_precision)


def _signal(extractor: Any, path: Path) -> Any:
    try:
        return extractor.signal(str(path))
    except ValueError as error:
        text = str(error)
        raise InputError(text if str(path) in text else f"{path}: {text}") from error


def _label_files(
    model: PreTrainedModel,
    column: str,
    folder: Path,
    paths: list[Path],
    read: Callable[[list[Path]], Any],
    batch_size: int,
    mixed_precision: str | None,
) -> "Dataset":
    """Files, by their paths from a folder on, with the class that a model gives to what ``read`` makes of each."""
    from datasets import Dataset

    accelerator = Accelerator(mixed_precision=mixed_precision)
    model, logits = model.eval().to(accelerator.device), []
    for begin in tqdm(range(0, len(paths), batch_size), desc="Labelling", unit="batch"):
        inputs = read(paths[begin : begin + batch_size]).to(accelerator.device)
        with accelerator.autocast():
            logits.append(model(**inputs).logits.float().cpu())
    rows = Dataset.from_dict({column: [path.relative_to(folder).as_posix() for path in paths]})
    return _classified(rows, torch.cat(logits), model.config)


def _classified(rows: "Dataset", logits: Tensor, config: Any) -> "Dataset":
    """Rows with the class, its probability and the scores that logits (rows, classes) give to each."""
    names = [config.id2label[number] for number in range(len(config.id2label))]
    scores = logits.softmax(-1)
    return _with_scores(_with_classes(rows, scores, names), scores, names)


def _with_scores(labelled: "Dataset", scores: Tensor, names: list[str]) -> "Dataset":
    for name, column in zip(names, scores.T.tolist(), strict=True):
        labelled = labelled.add_column(f"score_{name}", column)
    return labelled


def _with_classes(texts: "Dataset", scores: Tensor, names: list[str]) -> "Dataset":
    from datasets import ClassLabel

    best = scores.max(-1)
    labelled = texts.add_column("label", best.indices.tolist()).cast_column("label", ClassLabel(names=names))
    return labelled.add_column("probability", best.values.tolist())


def _with_sets(texts: "Dataset", scores: Tensor, config: Any, names: list[str]) -> "Dataset":
    from datasets import Sequence, Value

    thresholds = torch.tensor(getattr(config, "thresholds", [0.5] * len(names)))
    held = [[names[at] for at in row.nonzero()[:, 0].tolist()] for row in scores >= thresholds]
    return texts.add_column("label", held).cast_column("label", Sequence(Value("string")))


def _read(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    texts: "Dataset",
    batch_size: int,
    mixed_precision: str | None,
) -> Tensor:
    """The logits (rows, outputs) of texts, in float32, on every process."""
    numbered = texts.add_column("label", list(range(len(texts))))  # which row it is: a batch's labels say that here
    longest = min(tokenizer.model_max_length, LONGEST)
    # Rows of like length stand together, which keeps padding short. The numbers above undo this order.
    encoded = tokenised("the texts", numbered, tokenizer, longest)
    if cut := count_cut(texts, encoded, tokenizer, longest):
        logger.warning("%d of %d texts are cut at %d tokens, as in training", cut, len(texts), longest)
    encoded = by_length(encoded)
    accelerator = Accelerator(mixed_precision=mixed_precision)
    padded = partial(pad_rows, pad_token_id=cast(int, tokenizer.pad_token_id), dtype=torch.int64)
    loader: Any = accelerator.prepare_data_loader(DataLoader(cast(Any, encoded), batch_size, collate_fn=padded))
    model = model.eval().to(accelerator.device)
    logits: Tensor | None = None
    for batch in tqdm(Heap().tidied(loader), total=len(loader), desc="Labelling", unit="batch"):
        read = batch.pop("labels")
        with accelerator.autocast():
            found = model(**batch).logits
        # Drops the rows that the loader repeats to give every process as many. Float32: bf16 has 8 bits.
        found, read = accelerator.gather_for_metrics((found.float(), read))
        if logits is None:
            logits = torch.zeros(len(texts), found.shape[1])
        logits[read.cpu()] = found.cpu()
    return cast(Tensor, logits)


def write_rows(labelled: "Dataset", path: Path, suffix: str) -> None:
    """Write labelled texts in the format of a file name's suffix: .parquet, .csv or .jsonl.

    Parquet keeps the type and the digits of every column. In the others, numbers are shortened as by
    :func:`shortest` and a class stands by its name; in CSV, several classes of a text
    stand in one cell, joined by ``SEPARATOR``.
    """
    if suffix == ".parquet":
        write_table(labelled, path, suffix)
        return
    feature, rows = labelled.features["label"], _shortened(labelled)
    if hasattr(feature, "names"):
        names = [feature.names[number] for number in labelled["label"][:]]
        rows = _with_labels(rows, names)
    elif suffix == ".csv" and isinstance(labelled[0]["label"], list):
        rows = _with_labels(rows, [SEPARATOR.join(held) for held in labelled["label"][:]])
    write_table(rows, path, suffix)


def _shortened(labelled: "Dataset") -> "Dataset":
    """Rows whose numbers have only the digits that tell one from another."""
    numbers = [name for name, feature in labelled.features.items() if getattr(feature, "dtype", "").startswith("float")]
    columns = {name: labelled[name][:] for name in numbers}
    # All columns at once: what is equal in two of them must look equal, and a row's largest score stay its largest.
    short = shortest(value for column in columns.values() for value in column)
    for name, column in columns.items():
        at = labelled.column_names
        labelled = (
            labelled.remove_columns(name)
            .add_column(name, [short.get(value, value) for value in column])
            .select_columns(at)
        )
    return labelled


def shortest(values: Iterable[float]) -> dict[float, float]:
    """Each finite number with as few significant digits as keep all in order: four, or more where two would be one.

    A number's cell ends halfway to its neighbours. What is written lies inside it, so that no two change places.
    """
    ordered = sorted(filter(math.isfinite, set(values)))
    middles = [(low + high) / 2 for low, high in pairwise(ordered)]
    cells = zip([-math.inf, *middles], ordered, [*middles, math.inf], strict=True)
    return {value: _within(low, value, high) for low, value, high in cells}


def _within(low: float, value: float, high: float) -> float:
    fewest = max(FEWEST_DIGITS, len(str(int(abs(value)))))  # a price keeps all that stands before the point
    short = (float(f"{value:.{digits}g}") for digits in range(fewest, 17))
    return next((number for number in short if low < number < high), value)


def write_table(rows: "Dataset", path: Path, suffix: str) -> None:
    """Write rows in the format of a file name's suffix: .parquet, .csv or .jsonl."""
    if suffix == ".parquet":
        rows.to_parquet(path)
    elif suffix == ".csv":
        rows.to_csv(path)
    else:
        rows.to_json(path, force_ascii=False)


def _with_labels(rows: "Dataset", labels: list[str]) -> "Dataset":
    """Rows with other labels, in the place of their own."""
    return rows.remove_columns("label").add_column("label", labels).select_columns(rows.column_names)


def count_labels(labelled: "Dataset") -> dict[str, int]:
    """How many texts each class has; of numbers to predict, nothing."""
    feature = labelled.features["label"]
    if hasattr(feature, "names"):
        given = Counter(labelled["label"][:])
        return {name: given[number] for number, name in enumerate(feature.names)}
    if not isinstance(labelled[0]["label"], list):
        return {}
    names = [name.removeprefix("score_") for name in labelled.column_names if name.startswith("score_")]
    given = Counter(name for names_of_row in labelled["label"][:] for name in names_of_row)
    return {name: given[name] for name in names}
