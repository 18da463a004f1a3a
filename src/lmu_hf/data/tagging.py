"""Texts whose words have a tag each: where they come from, and which token has which word's tag.

Whatever the source, a split is a memory-mapped `datasets.Dataset` with the columns ``tokens``, the words of a row, and
``tags``, a number for each.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerFast

from .labels import Classes, three_splits
from .sentences import names
from .sources import SPLITS, hub_name, list_columns, load_files, load_rows
from .tables import PLACE, ReadOptions, complete_rows

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

IGNORED = -100  # the label of a token from which nothing is learnt
OUTSIDE = "O"  # the tag of a word that is part of nothing
TAGS = ("ner_tags", "tags")  # the columns of tags that are looked for, in this order


@dataclass(frozen=True)
class TagColumns:
    """Which columns hold the words and their tags; None for ``ner_tags``, or else ``tags``."""

    tokens: str = "tokens"
    tags: str | None = None


@dataclass(frozen=True)
class TaggedText:
    """Splits of texts whose words have a tag each.

    Args:
        name: what the data is called in a run record.
        splits: rows with ``tokens`` and ``tags``, an index of ``labels`` for each token.
        labels: the tags' names.
        origin: what each split was called where it comes from.
        dataset, dataset_config: the data set's name on the Hub and its configuration; None if it is not there.
    """

    name: str
    splits: dict[str, "Dataset"]
    labels: list[str]
    origin: dict[str, str]
    dataset: str | None = None
    dataset_config: str | None = None

    def fingerprint(self) -> str:
        """Of every word and tag, read a thousand rows at a time."""
        digest = sha256(repr(self.labels).encode())
        for split, rows in self.splits.items():
            digest.update(split.encode())
            for batch in rows.iter(1000):
                digest.update(repr(sorted(batch.items())).encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Aligned:
    """A row of words as a row of tokens.

    Args:
        input_ids: of its tokens.
        labels: of each token, its word's tag if it is the word's first, else −100.
        without_token: words of which no token is left, as of one that is empty.
        cut_off: words behind the last token that is read.
    """

    input_ids: list[int]
    labels: list[int]
    without_token: int
    cut_off: int


def align(
    tokenizer: PreTrainedTokenizerFast, words: Sequence[str], tags: Sequence[int], max_length: int | None = None
) -> Aligned:
    """Give each word's tag to its first token, by the tokenizer's ``word_ids``.

    The words are read as the text in which single spaces part them, so that a model meets in training the tokens that
    a pipeline will show it: a tokenizer of characters sees the spaces, one of byte pairs joins them to their words.

    Args:
        tokenizer: a fast one.
        words: of one row.
        tags: one for each.
        max_length: tokens beyond which the row is cut; None for no limit.

    Raises:
        ValueError: there is not one tag for each word.
    """
    if len(words) != len(tags):
        raise ValueError(f"a row must have one tag for each word, got {len(words)} words and {len(tags)} tags")
    # In a pre-split row the tokenizer sees no spaces, so each word but the first brings its own.
    spaced = [f" {word}" if place else word for place, word in enumerate(words)]
    encoding = tokenizer(
        spaced,
        is_split_into_words=True,
        return_offsets_mapping=True,
        truncation=max_length is not None,
        max_length=max_length,
    )
    labels, first = [IGNORED] * len(encoding["input_ids"]), set[int]()
    for place, (word, (begin, end)) in enumerate(zip(encoding.word_ids(), encoding["offset_mapping"], strict=True)):
        # Offsets count within the word. A token of nothing but the space before it is not yet the word's.
        if word is not None and word not in first and spaced[word][begin:end].strip():
            first.add(word)
            labels[place] = tags[word]
    # Behind the last word that has a token, words were cut off if the row was truncated. Else they have no token.
    last = max(first, default=-1)
    missing, behind = last + 1 - len(first), len(words) - last - 1
    if encoding.encodings[0].overflowing:  # what truncation cut off
        return Aligned(encoding["input_ids"], labels, missing, behind)
    return Aligned(encoding["input_ids"], labels, missing + behind, 0)


def tagged_tokens(
    what: str, rows: "Dataset", tokenizer: PreTrainedTokenizerFast, max_length: int, num_proc: int | None = None
) -> "Dataset":
    """Rows of words as rows of tokens, with a label for each, kept on disk by `datasets` where the words are.

    Args:
        what: what to call them in a complaint.
        rows: with ``tokens`` and ``tags``.
        tokenizer: of the model that reads them.
        max_length: tokens of a row beyond which it is cut.
        num_proc: processes that tokenise.

    Returns:
        ``input_ids``, ``labels`` and ``length``; how many words have no token and how many are cut off
        (``without_token``, ``cut_off``).

    Raises:
        ValueError: no word of a row has a token.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # as in `tokenised`: what the last call set would change the fingerprint
    backend.no_padding()
    encoded = rows.map(
        _align_rows,
        batched=True,
        fn_kwargs={"tokenizer": tokenizer, "max_length": max_length},
        remove_columns=rows.column_names,
        num_proc=num_proc,
        desc=f"Tokenising {what}",
    )
    for row, labels in enumerate(encoded["labels"]):
        if all(label == IGNORED for label in labels):
            raise ValueError(f"row {row + 1} of {what} has no word with a token: drop such rows")
    return encoded


def _align_rows(batch: dict[str, list], tokenizer: PreTrainedTokenizerFast, max_length: int) -> dict[str, list]:
    rows = [align(tokenizer, *row, max_length) for row in zip(batch["tokens"], batch["tags"], strict=True)]
    return {
        "input_ids": [row.input_ids for row in rows],
        "labels": [row.labels for row in rows],
        "length": [len(row.input_ids) for row in rows],
        "without_token": [row.without_token for row in rows],
        "cut_off": [row.cut_off for row in rows],
    }


def tagged_files(
    files: dict[str, Path],
    columns: TagColumns | None = None,
    validation_block: int = 1,
    labels: Classes = None,
    options: ReadOptions | None = None,
) -> TaggedText:
    """Files of tagged rows, one per split: JSON lines or parquet; with ``labels``, one to train on can be missing.

    Without a file for validation, a tenth of the training rows is held out, in runs of ``validation_block``.

    Args:
        files: by split.
        columns: the columns of words and tags.
        validation_block: how many neighbours are held out together.
        labels: the tags of a model that is there, in its order; None to find them in the training rows.
        options: how the files are read.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file cannot be read, lacks a column, or a row is not words with a tag each.
    """
    options, columns = options or ReadOptions(), columns or TagColumns()
    rows = {
        split: complete_rows(
            str(files[split]), part, (columns.tokens, _tags_of(part, columns)), options.drop_incomplete_rows
        )
        for split, part in load_files(files, options).items()
    }
    origin = {split: path.name for split, path in files.items()}
    name = next(iter(files.values())).name
    return _assemble(name, rows, columns, origin, labels, False, validation_block)


def tagged_dataset(
    name: str,
    data_dir: Path | None = None,
    columns: TagColumns | None = None,
    config: str | None = None,
    validation_block: int = 1,
    labels: Classes = None,
) -> TaggedText:
    """Any data set of tagged rows, by Hub name or from a folder of data sets; arguments as for :func:`tagged_files`.

    Raises:
        FileNotFoundError: the folder does not hold it.
        ValueError: it has no training split, lacks a column, or a row is not words with a tag each.
    """
    rows = load_rows(name, data_dir, config=config)
    there = {split: rows[split] for split in SPLITS if split in rows}
    named, origin = name if config is None else f"{name} {config}", {split: split for split in there}
    tagged = _assemble(named, there, columns or TagColumns(), origin, labels, True, validation_block)
    return replace(tagged, dataset=hub_name(name, data_dir), dataset_config=config)


def made_up_names(rows: int = 3000) -> TaggedText:
    """Sentences with names of people and places, made up by rule; a sixth validates, a sixth is the test.

    Raises:
        ValueError: the rows are too few to split.
    """
    from datasets import Dataset

    if rows < 12:
        raise ValueError(f"rows must be at least 12, to be split in three, got {rows}")
    held = rows // 6
    parts = {"train": range(2 * held, rows), "validation": range(held), "test": range(held, 2 * held)}
    # No sentence is drawn twice, so no split can hold a sentence of another.
    drawn = Dataset.from_list(names(rows))
    splits = {split: drawn.select(part) for split, part in parts.items()}
    return _assemble("names by rule", splits, TagColumns(), dict.fromkeys(splits, "made up"), None, False, 1)


def _assemble(
    name: str,
    rows: dict[str, "Dataset"],
    columns: TagColumns,
    origin: dict[str, str],
    labels: Classes,
    promote: bool,
    validation_block: int,
) -> TaggedText:
    """Rows of any source under one form: named columns, numbered tags, three splits."""
    found = {split: _rename_columns(name, split, part, columns) for split, part in rows.items()}
    # Training rows come first and decide which tags there are.
    tags = _find_tags(name, next(iter(found.values()))) if labels is None else list(labels)
    splits = {split: _number_tags(name, split, part, tags) for split, part in found.items()}
    # Without training rows a saved model is scored, and nothing is held out.
    if "train" in splits:
        splits, origin = three_splits(splits, dict(origin), promote, validation_block)
    return TaggedText(name, splits, tags, origin)


def _rename_columns(name: str, split: str, rows: "Dataset", columns: TagColumns) -> "Dataset":
    """Rows whose columns are ``tokens``, lists of words, and ``tags``, lists of anything, and where they stand."""
    if len(rows) == 0:
        raise ValueError(f"the {split} split of {name} holds no row")
    tags = _tags_of(rows, columns)
    for flag, column in (("tokens_column", columns.tokens), ("tags_column", tags)):
        if column not in rows.column_names:
            there = list_columns(rows.column_names)
            raise ValueError(f"{name} has no column {column!r} in {split}: --{flag} must be one of {there}")
        if _of_list(rows.features[column]) is None:
            raise ValueError(
                f"{column!r} of {name} must hold lists, one entry a word, got {rows.features[column]}: JSON lines and "
                "parquet can hold them"
            )
        if missing := rows.data.column(column).null_count:
            raise ValueError(f"the {split} split of {name} has {missing} rows without {column!r}: fill or drop them")
    if columns.tokens == tags:
        raise ValueError(f"tokens_column and tags_column must differ, got {tags!r} for both")
    if getattr(_of_list(rows.features[columns.tokens]), "dtype", None) not in ("string", "large_string"):
        raise ValueError(f"{columns.tokens!r} of {name} must hold words, got {rows.features[columns.tokens]}")
    kept = [name for name in (columns.tokens, tags, PLACE) if name in rows.column_names]
    return rows.select_columns(kept).rename_columns({columns.tokens: "tokens", tags: "tags"})


def _tags_of(rows: "Dataset", columns: TagColumns) -> str:
    """What the column of tags is called."""
    return columns.tags or next((column for column in TAGS if column in rows.column_names), TAGS[0])


def _of_list(feature: Any) -> Any:
    """What a list of the column holds; None if it holds no lists."""
    # Older releases of `datasets` write a list as [feature], newer ones as List or LargeList with a `feature`.
    return feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)


def _find_tags(name: str, rows: "Dataset") -> list[str]:
    """The tags' names: as the data set has them, or those of the training rows, ``O`` first."""
    known = getattr(_of_list(rows.features["tags"]), "names", None)
    # The data set's own order, in which its numbers already mean the same.
    if known is not None:
        return list(known)
    # A null is refused later, where its row can be named.
    found = {tag for batch in rows.iter(1000) for row in batch["tags"] for tag in row if tag is not None}
    # Whole numbers in their own order, whether parquet holds them as numbers or JSON as words.
    seen = sorted(found, key=int if all(re.fullmatch(r"-?\d+", str(tag)) for tag in found) else None)
    if len(seen) < 2:
        raise ValueError(f"the train split of {name} has only the tags {seen}: there is nothing to tell apart")
    # O first: False sorts before True, and the stable sort leaves the rest in order. Numbers stay sorted as numbers.
    return sorted(map(str, seen), key=OUTSIDE.__ne__) if isinstance(seen[0], str) else [str(tag) for tag in seen]


def _number_tags(name: str, split: str, rows: "Dataset", labels: list[str]) -> "Dataset":
    """Rows whose tags are indices of ``labels``; checked row by row."""
    from datasets import Features, List, Value

    known = getattr(_of_list(rows.features["tags"]), "names", None)
    numbers = {name: number for number, name in enumerate(labels)}
    number = _Numbering(f"the {split} split of {name}", known, numbers)
    # Stated, since `map` first tries the old types: new numbers would be read as the old ClassLabel.
    features = Features({"tokens": List(Value("string")), "tags": List(Value("int64"))})
    others = [name for name in rows.column_names if name not in features]
    return rows.map(
        number, with_indices=True, features=features, remove_columns=others, desc=f"Numbering the tags of {split}"
    )


@dataclass(frozen=True)
class _Numbering:
    """Gives the number of each tag of a row.

    Args:
        what: what to call the rows in a complaint.
        known: the names that the data set gives its own numbers, if it does.
        numbers: of the tags, by name.
    """

    what: str
    known: list[str] | None
    numbers: dict[str, int]

    def __call__(self, row: dict[str, list], index: int) -> dict[str, list]:
        words, tags = row["tokens"], row["tags"]
        place = str(row.get(PLACE, f"row {index + 1}"))
        if len(words) != len(tags):
            raise ValueError(
                f"{place} of {self.what} has {len(words)} words and {len(tags)} tags: each word must have one tag"
            )
        if None in words or None in tags:
            raise ValueError(f"{place} of {self.what} has a word or a tag that is null: fill or drop it")
        names = [str(tag) if self.known is None else self._name(tag, place) for tag in tags]
        if strange := [name for name in names if name not in self.numbers]:
            there = ", ".join(list(self.numbers)[:10])
            raise ValueError(f"{place} of {self.what} has the tag {strange[0]!r}, which is none of {there}")
        return {"tokens": words, "tags": [self.numbers[name] for name in names]}

    def _name(self, tag: int, place: str) -> str:
        if self.known is None or not 0 <= tag < len(self.known):
            raise ValueError(f"{place} of {self.what} has the tag {tag}, which has no name")
        return self.known[tag]
