"""Gather English text to pre-train on: two tables of rows, without any text that is tested on.

    python report/english.py --data_dir data --output english
    lmu-hf pretrain --train_file english/train.parquet --validation_file english/validation.parquet

Read are IMDB's reviews without test text, the articles of WikiText-2, the beginning of text8, the English side of two
parallel corpora, and sentences of GLUE's and SNLI's training rows. SST-2 is left out: its phrases are of the sentences
of other test sets. A sentence of a row that stands in any validation or test split, here or in --spared files, is left
out. What spaces a corpus puts before its punctuation is undone. A hundredth of the rows, by a hash, validates.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from datasets import Dataset

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser
from lmu_hf.common.record import publish
from lmu_hf.data.sources import load_rows
from lmu_hf.data.tables import ReadOptions, read_table

VALIDATES = 100  # every so manieth row
SHORTEST = 4  # words of a sentence that is told from others: shorter ones coincide
LONGEST = 2000  # characters of a row of a text without paragraphs
GAPS = (
    (r"<br\s*/?>", "\n"),
    (r" @([-,.])@ ", r"\1"),
    (r" ([.,!?;:%)\]])", r"\1"),
    (r"([(\[]) ", r"\1"),
    (r" (n't|'(?:s|re|ve|ll|d|m)\b)", r"\1"),
    (r"[ \t]+", " "),
)


@dataclass(frozen=True)
class Source:
    """Where text stands.

    Args:
        name, config: of the data set.
        columns: that hold it; ``translation`` is read in English.
        train: splits to train on.
    """

    name: str
    columns: tuple[str, ...] = ("text",)
    config: str | None = None
    train: tuple[str, ...] = ("train",)


SOURCES = (
    Source("stanfordnlp/imdb", train=("train", "unsupervised")),
    Source("Salesforce/wikitext", config="wikitext-2-v1"),
    Source("text8-prefix"),
    Source("multi30k-en-de", ("translation",)),
    Source("evbnews-en-vi", ("translation",)),
    Source("nyu-mll/glue", ("sentence1", "sentence2"), "mrpc"),
    Source("nyu-mll/glue", ("sentence1", "sentence2"), "rte"),
    Source("nyu-mll/glue", ("question1", "question2"), "qqp"),
    Source("stanfordnlp/snli", ("premise", "hypothesis")),
)
# Spared, and not read: what others are tested on.
SPARED = (Source("nyu-mll/glue", ("sentence",), "sst2", ()), Source("iwslt15-en-vi", ("translation",), train=()))


def sentences(text: str) -> list[str]:
    """A text's sentences, and the lines of it."""
    return [part for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]


def key(sentence: str) -> str | None:
    """A sentence without case and punctuation; None of one so short that others are the same by chance."""
    words = re.findall(r"[^\W_]+", sentence.lower())
    return " ".join(words) if len(words) >= SHORTEST else None


def cleaned(text: str) -> str:
    """Text as people write it, without the marks of a corpus."""
    for found, put in GAPS:
        text = re.sub(found, put, text)
    return text.strip()


def texts_of(rows: Any, columns: tuple[str, ...]) -> Iterator[str]:
    """The English texts of rows, each once where it follows itself."""
    last = None
    for row in rows:
        for column in columns:
            text = row[column]["en"] if column == "translation" else row[column]
            if text and text != last:
                yield text
            last = text


def tested(data_dir: Path | None, files: list[Path]) -> set[str]:
    """The sentences of every validation and test split, by :func:`key`."""
    found: set[str] = set()
    for source in (*SOURCES, *SPARED):
        splits = load_rows(source.name, data_dir, needed=source.train, config=source.config)
        judged = [name for name in splits if name not in (*source.train, "train")]
        # Of a set that is not read, its training rows may be tested on elsewhere, too.
        for name in judged if source.train else splits:
            found.update(word for text in texts_of(splits[name], source.columns) for word in _keys(cleaned(text)))
    for path in files:
        table = read_table(path, ReadOptions(), "spared")
        for row in table:
            cells = [cell for cell in row.values() if isinstance(cell, str)]
            found.update(word for cell in cells for word in _keys(cleaned(cell)))
    return found


def _keys(text: str) -> set[str]:
    """Of a text and of its sentences."""
    return {word for part in (text, *sentences(text)) if (word := key(part)) is not None}


def pieces(text: str) -> Iterator[str]:
    """A text, or parts of one that has no end, cut between words."""
    while len(text) > 10 * LONGEST:
        cut = text.rfind(" ", 0, LONGEST)
        yield text[:cut]
        text = text[cut + 1 :]
    yield text


def gather(source: Source, data_dir: Path | None, spared: set[str], dropped: Counter) -> Iterator[str]:
    """The rows of a source, without the sentences that are spared."""
    splits = load_rows(source.name, data_dir, needed=source.train, config=source.config)
    for split in source.train:
        for whole in texts_of(splits[split], source.columns):
            for text in pieces(cleaned(whole)):
                # WikiText's rare words are <unk>, and its headings stand between equals signs.
                kept = [part for part in sentences(text) if "<unk>" not in part and not part.startswith("=")]
                said = [part for part in kept if key(part) not in spared]
                dropped[source.name] += len(kept) - len(said)
                if said:
                    yield " ".join(said)


@script
def main(argv: list[str] | None = None) -> None:
    """Gather, split, write, and say how much there is."""
    args = parse_args(argv)
    spared, dropped, counts = tested(args.data_dir, args.spared), Counter[str](), Counter[str]()
    parts: dict[str, list[str]] = {"train": [], "validation": []}
    for source in SOURCES:
        for text in gather(source, args.data_dir, spared, dropped):
            chance = int.from_bytes(sha256(text.encode()).digest()[:4], "big")
            parts["train" if chance % VALIDATES else "validation"].append(text)
            counts[source.name] += len(text)
    args.output.mkdir(parents=True, exist_ok=True)
    for split, rows in parts.items():
        Dataset.from_dict({"text": rows}).to_parquet(args.output / f"{split}.parquet")
    rows_of = {split: len(rows) for split, rows in parts.items()}
    publish({"characters": counts, "sentences left out": dropped, "rows": rows_of}, args.output / "english.json")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Where text is, and where it goes."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--data_dir", type=Path, help="a folder of data sets laid out as on the Hub (default: the Hub)")
    text = "files of rows whose sentences are left out, too (default: none)"
    parser.add_argument("--spared", type=Path, nargs="+", default=[], metavar="FILE", help=text)
    parser.add_argument("--output", type=Path, default=Path("english"), help="folder to write (default: %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
