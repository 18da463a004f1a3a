"""Labelled rows in a few words: what is to be found, how long the texts are, and one of them."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .label_rules import MULTI, REGRESSION, SINGLE
from .labels import LabelledText

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

EXAMPLE = 200  # characters of a row that a card shows
SHOWN = 6  # classes that are counted one by one
FEWEST = 20  # validation rows, of which one is 5 % of the score
MOST_KNOWN = 0.01  # of the rows that score, which may stand among the training rows by chance


def say_labels(labels: np.ndarray, rows: LabelledText) -> str:
    """What is to be found, and how often."""
    problem, classes = rows.job.problem_type, rows.labels or []
    if problem == REGRESSION:
        low, middle, high = (f"{value:,.6g}" for value in (labels.min(), labels.mean(), labels.max()))
        return f"a number to predict, {low} to {high}, mean {middle}"
    counts = labels.sum(0) if problem == MULTI else np.bincount(labels, minlength=len(classes))
    order = np.argsort(-counts, kind="stable")
    shown = range(len(classes)) if len(classes) <= SHOWN else [order[0], order[1], order[-1]]
    counted = [f"{classes[at]}: {counts[at]:,}" for at in shown]
    if len(classes) > SHOWN:
        counted = [*counted[:2], "…", counted[2]]
    kind = "classes, several a row" if problem == MULTI else "classes"
    share = counts.max() / len(labels)
    # A majority that is well above an equal share is what a result stands beside.
    majority = f" (majority {share:.1%})" if problem == SINGLE and share > 1.2 / len(classes) else ""
    return f"{len(classes)} {kind}, {', '.join(counted)}{majority}"


def say_lengths(rows: "Dataset") -> str:
    """How long the texts of rows are: see :func:`say_text_lengths`."""
    names = [name for name in ("text", "text_pair") if name in rows.column_names]
    batches = rows.iter(1000)
    return say_text_lengths(texts for batch in batches for texts in zip(*(batch[name] for name in names), strict=True))


def say_text_lengths(rows: Iterable[Sequence[str]]) -> str:
    """How long texts are, those of a row together: in words, or in characters where nothing stands between words."""
    words: list[int] = []
    characters: list[int] = []
    for texts in rows:
        words.append(sum(len(text.split()) for text in texts))
        characters.append(sum(map(len, texts)))
    unit, lengths = ("words", words)
    if np.median(words) <= 2 and np.median(characters) > 16 * np.median(words):
        unit, lengths = "characters", characters
    return f"median {np.median(lengths):g} {unit}, longest {max(lengths):,}"


def warn_of_few(rows: LabelledText) -> str:
    """A line of its own where a file leaves too few validation rows to choose and to judge by; else nothing."""
    return few_rows(len(rows.splits["validation"])) if rows.title is not None and "validation" in rows.splits else ""


def few_rows(count: int, thing: str = "row", where: str = "a file of {} or more with --validation_file") -> str:
    """A line of its own where so many validation rows are too few, and where more of them go; else nothing."""
    if count >= FEWEST:
        return ""
    found = f"only {count} validation {thing}{'s' * (count > 1)}, which score and choose by little more than chance"
    return f"\nwarning: {found}: give {where.format(FEWEST)}"


def warn_of_known(rows: LabelledText) -> str:
    """A line for each split that scores whose texts stand among the training rows, too, if many do; else nothing."""
    if rows.title is None or "train" not in rows.splits:
        return ""
    judged = {split: list(_keys(part)) for split, part in rows.splits.items() if split != "train"}
    return known_rows(judged, _keys(rows.splits["train"]))


def known_rows(judged: Mapping[str, Sequence[Hashable]], trained: Iterable[Hashable]) -> str:
    """A line for each split of which many rows stand among the training rows, too; else nothing.

    Args:
        judged: what tells rows apart, by split.
        trained: the same of the training rows.
    """
    # Those to be judged are held, and the others pass by: a corpus may be larger than memory.
    wanted = set().union(*judged.values())
    known = {key for key in trained if key in wanted}
    counts = {split: sum(key in known for key in keys) for split, keys in judged.items()}
    return "".join(
        f"\nwarning: {count:,} of {len(judged[split]):,} {split} rows stand among the training rows, too: the score "
        "flatters a model that remembers them"
        for split, count in counts.items()
        if count > MOST_KNOWN * len(judged[split])
    )


def _keys(rows: "Dataset") -> Iterator[tuple[str, ...]]:
    """The texts of each row that has any, whatever spaces stand between words."""
    names = [name for name in ("text", "text_pair") if name in rows.column_names]
    for batch in rows.iter(1000):
        for texts in zip(*(batch[name] for name in names), strict=True):
            if any(key := tuple(" ".join(text.split()) for text in texts)):
                yield key


def example_of(rows: LabelledText) -> str | list[str]:
    """A row to try the model on: the first one that is not empty, of a bearable length."""
    names = [name for name in ("text", "text_pair") if rows.pairs or name == "text"]
    some = next(iter(rows.splits.values()))[:100]
    texts = [list(row) for row in zip(*(some[name] for name in names), strict=True)]
    texts = [row for row in texts if all(text.strip() for text in row)] or [["a text"] * len(names)]
    row = next((row for row in texts if max(map(len, row)) <= EXAMPLE), texts[0])
    row = [" ".join(text.split())[:EXAMPLE] for text in row]
    return row if rows.pairs else row[0]
