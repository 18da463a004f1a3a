"""Text of any length: rows on disk, and their tokens in a memory-mapped column of small integers beside them.

Nothing here holds a whole text or all of its tokens in memory: rows come from Arrow files that `datasets` maps into
memory, are encoded a few at a time into another such file, once, and windows of tokens are read where they lie.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from ..common.errors import InputError
from .opening import is_table, open_text
from .sources import list_columns, load_files, load_rows
from .tables import ReadOptions, complete_rows, join_tokens

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

PIECE = 1_000_000  # characters that are encoded at a time: an encoding takes some 200 bytes a token
BATCH = 4 * PIECE  # characters, about, of the rows that are in memory at a time


@dataclass(frozen=True)
class Corpus:
    """Rows of text that are one text; going through it gives its pieces, one row at a time.

    Args:
        rows: a `datasets.Dataset` with a column ``text``.
        separator: what stands between two rows: a line break, or nothing where a row is a piece of a longer text.
    """

    rows: "Dataset"
    separator: str = "\n"

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Corpus":
        """A corpus of texts that are in memory already."""
        from datasets import Dataset, Features, Value

        return cls(Dataset.from_dict({"text": list(texts)}, features=Features({"text": Value("string")})))

    def __iter__(self) -> Iterator[str]:
        """The rows, each but the last with the separator behind it."""
        last = len(self.rows) - 1
        for number, text in enumerate(self.texts()):
            yield text + self.separator if number < last else text

    def texts(self) -> Iterator[str]:
        """The rows as they are."""
        for batch in self.rows.iter(batch_size=self.batch_size):
            yield from batch["text"]

    def changed(self, change: Callable[[str], str]) -> "Corpus":
        """The same rows, each as it is after a change; on disk, as they are."""
        return replace(self, rows=self.rows.map(lambda row: {"text": change(row["text"])}, desc="Normalising"))

    @property
    def batch_size(self) -> int:
        """How many rows are read at a time."""
        # Bytes and rows of the table on disk, which keeps all of its rows after a `select`.
        mean = self.rows.data.nbytes / max(self.rows.data.num_rows, 1)
        # 1000 is what `datasets` reads at a time by default: short rows need no more.
        return min(max(int(BATCH / max(mean, 1)), 1), 1000)


class Tokens:
    """The tokens of a text in a row, read from a column of lists where they lie.

    Args:
        rows: a `datasets.Dataset` with a column ``ids``.
    """

    def __init__(self, rows: "Dataset") -> None:
        self.rows = rows
        chunks = (chunk.flatten().to_numpy() for chunk in rows.data.column("ids").chunks)  # views of the file
        self.parts: list[np.ndarray] = [chunk for chunk in chunks if len(chunk)]
        self.starts = np.cumsum([0, *map(len, self.parts)])

    def __reduce__(self) -> tuple[type["Tokens"], tuple["Dataset"]]:
        return Tokens, (self.rows,)  # another process maps the file again, rather than being sent what is in it

    def __len__(self) -> int:
        return int(self.starts[-1])

    def read(self, begin: int, end: int) -> np.ndarray:
        """The tokens from the one numbered ``begin`` to the one before ``end``, as far as there are any."""
        end = min(end, len(self))
        # side="right" finds the part that a first token begins, not the part that ends before it.
        first, last = np.searchsorted(self.starts, [begin, end - 1], side="right") - 1
        pieces = [
            self.parts[part][max(begin - self.starts[part], 0) : end - self.starts[part]]
            for part in range(first, last + 1)
        ]
        # One piece is a view of the file, without a copy.
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


@dataclass(frozen=True)
class Encoded:
    """A corpus's tokens.

    Args:
        tokens: all of them.
        characters: of the text, what stands between its rows among them.
        unknown: tokens that stand for text that the vocabulary lacks.
    """

    tokens: Tokens
    characters: int
    unknown: int


def encode(corpus: Corpus, tokenizer: PreTrainedTokenizerFast, kind: str, num_proc: int | None = None) -> Encoded:
    """Encode a corpus into a file beside its own, or find it there if that has been done before.

    Characters and bytes read the separator, and special tokens that a text spells, like any text. In place of other
    tokens, which may drop or swallow the separator, an ``<eos>`` stands there; special tokens are what the tokenizer
    says (``split_special_tokens``).

    Args:
        corpus: the rows.
        tokenizer: what makes the tokens.
        kind: what a token is; the ids of ``"byte"`` are the text's UTF-8 and need no looking up.
        num_proc: processes that share the work.

    Raises:
        ValueError: the tokenizer needs an end-of-sequence token and has none.
    """
    from datasets import Features, List, Value

    spelt = kind in ("char", "byte")
    if not spelt and tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no eos_token, which is to stand between two rows of text")
    largest = 255 if kind == "byte" else len(tokenizer) - 1
    # The narrowest type that holds every id: a corpus of bytes takes one byte a token on disk.
    dtype = next(name for name in ("uint8", "uint16", "int32") if largest <= np.iinfo(name).max)
    rows = corpus.rows.map(
        _encode_rows,
        batched=True,
        batch_size=corpus.batch_size,
        with_indices=True,
        remove_columns=corpus.rows.column_names,
        features=Features({"ids": List(Value(dtype)), "characters": Value("int64"), "unknown": Value("int64")}),
        num_proc=num_proc,
        desc="Encoding",
        fn_kwargs={
            # As text: its fingerprint is the same in every run, by which `datasets` finds what is encoded.
            "vocabulary": None if kind == "byte" else tokenizer.backend_tokenizer.to_str(),
            "split_special_tokens": spelt or tokenizer.split_special_tokens,
            "separator": corpus.separator,
            "eos": None if spelt else tokenizer.eos_token_id,
            "unk": tokenizer.unk_token_id,
            "last": len(corpus.rows) - 1,
            "dtype": dtype,
        },
    )
    characters, unknown = (_total(rows, name) for name in ("characters", "unknown"))
    return Encoded(Tokens(rows), characters, unknown)


def _total(rows: "Dataset", column: str) -> int:
    return sum(int(chunk.to_numpy().sum()) for chunk in rows.data.column(column).chunks)


def _encode_rows(rows: dict, places: list[int], separator: str, last: int, dtype: str, **how: Any) -> dict:
    encoded, characters, unknown = [], [], []
    for text, place in zip(rows["text"], places, strict=True):
        ids = _encode_text(text, "" if place == last else separator, np.dtype(dtype), how)
        encoded.append(ids)
        characters.append(len(text) + (0 if place == last else len(separator)))
        unknown.append(0 if how["unk"] is None else int((ids == how["unk"]).sum()))
    return {"ids": encoded, "characters": characters, "unknown": unknown}


def _encode_text(text: str, separator: str, dtype: np.dtype, how: dict) -> np.ndarray:
    if how["vocabulary"] is None:
        return np.frombuffer((text + separator).encode(), dtype)
    backend = _backend(how["vocabulary"], how["split_special_tokens"])
    text = text + separator if how["eos"] is None else text
    # A cut may split a word, once in a million characters. Special tokens would frame every piece, so none are added.
    pieces = [
        np.array(backend.encode(text[begin : begin + PIECE], add_special_tokens=False).ids, dtype)
        for begin in range(0, len(text), PIECE)
    ]
    end = [] if how["eos"] is None or not separator else [how["eos"]]
    return np.concatenate([*pieces, np.array(end, dtype)])


# Asked for at every row: parsing the vocabulary each time would take most of the time.
@lru_cache(maxsize=2)
def _backend(vocabulary: str, split_special_tokens: bool) -> Tokenizer:
    backend = Tokenizer.from_str(vocabulary)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = split_special_tokens  # tokenizer.json does not hold this
    return backend


def dataset_rows(
    name: str,
    data_dir: Path | None,
    splits: dict[str, str],
    text_column: str = "text",
    config: str | None = None,
    hold_out: float | None = None,
) -> dict[str, "Dataset"]:
    """A data set's column of text, as rows with the one column ``text``.

    Args:
        name: of the data set, on the Hub or below ``data_dir``.
        data_dir: a folder of data sets; None for the Hub.
        splits: for each split of a task those of the data set that make it, as ``"train"`` or
            ``"train+unsupervised"``. A test split may be missing.
        text_column: what the column is called.
        config: which of the data set's configurations.
        hold_out: this share of the training rows, drawn at random, validates.

    Raises:
        FileNotFoundError: the folder does not hold it.
        ValueError: it lacks a split or the column, or ``hold_out`` is no such share.
    """
    from datasets import concatenate_datasets

    # With hold_out the data set's validation split is not read and need not exist.
    parts = {split: names.split("+") for split, names in splits.items() if split != "validation" or hold_out is None}
    needed = [part for split, names in parts.items() for part in names if split != "test"]
    found = load_rows(name, data_dir, needed=tuple(needed), columns=(text_column,), config=config)
    rows = {
        split: concatenate_datasets([_column(found[part], text_column) for part in names])
        for split, names in parts.items()
        if all(part in found for part in names)  # of a test split alone: the others are needed above
    }
    return rows if hold_out is None else {**rows, **held_out(rows["train"], hold_out)}


def held_out(rows: "Dataset", share: float) -> dict[str, "Dataset"]:
    """Training rows, and a share of them drawn with a fixed seed to validate.

    Raises:
        ValueError: the share leaves no row on one side.
    """
    if not 0 < share < 1 or len(rows) < 2:
        raise ValueError(
            f"hold_out must be a share above 0 and below 1 of at least two rows, got {share} of {len(rows)}"
        )
    parts = rows.train_test_split(test_size=share, seed=0)
    return {"train": parts["train"], "validation": parts["test"]}


def find_files(path: Path, flag: str = "train_file") -> list[Path]:
    """A file alone, or every file of a folder and of those in it, by name; what begins with a dot is left out.

    Raises:
        FileNotFoundError: there is no such file or folder.
        InputError: the folder holds no file, or tables and plain texts side by side.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"there is no file or folder {path}: --{flag} must name one")
    found = sorted(file for file in path.rglob("*") if file.is_file() and not _is_hidden(file.relative_to(path)))
    if not found:
        raise InputError(f"the folder {path} holds no file: --{flag} must hold text")
    tables = [file for file in found if is_table(file)]
    if tables and len(tables) < len(found):
        other = next(file for file in found if file not in tables)
        raise InputError(f"{path} holds tables ({tables[0].name}) and texts ({other.name}): put them into two folders")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def table_rows(
    files: dict[str, Path], text_column: str = "text", options: ReadOptions | None = None
) -> dict[str, "Dataset"]:
    """A column of text of files with rows, or of folders of them, one per split, as `read_table` reads them.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file cannot be read, lacks the column, or a row has nothing in it that is not to be dropped.
    """
    from datasets import concatenate_datasets

    options, rows = options or ReadOptions(), {}
    for split, path in files.items():
        parts = []
        for file in find_files(path, f"{split}_file"):
            found = load_files({split: file}, options)[split]
            if text_column not in found.column_names:
                raise ValueError(
                    f"{file} must have a column {text_column!r}; it has {list_columns(found.column_names)}"
                )
            found = join_tokens(found, text_column)
            found = complete_rows(str(file), found, (text_column,), options.drop_incomplete_rows)
            parts.append(_column(found, text_column))
        rows[split] = concatenate_datasets(parts)
    return rows


def _column(rows: "Dataset", name: str) -> "Dataset":
    """One column of text alone, called ``text``.

    Raises:
        ValueError: it holds something else than text, or nothing.
    """
    # Some writers of parquet store text as large_string, which has 64-bit offsets.
    if (kind := getattr(rows.features[name], "dtype", None)) not in ("string", "large_string"):
        raise ValueError(f"the column {name!r} must hold text, it holds {kind or rows.features[name]}")
    if missing := rows.data.column(name).null_count:
        raise ValueError(f"the column {name!r} must hold text, {missing} of its rows hold nothing")
    rows = rows.select_columns([name])
    return rows if name == "text" else rows.rename_column(name, "text")


def text_rows(
    path: Path | list[Path], begin: int = 0, end: int | None = None, encoding: str | None = None
) -> "Dataset":
    """The characters of text files, one behind the other, from ``begin`` to ``end``, as rows of up to a million.

    Where there are several files, each ends with a line break, of its own or another.
    """
    from datasets import Dataset, Features, Value

    paths = path if isinstance(path, list) else [path]
    stats = [file.stat() for file in paths]
    return Dataset.from_generator(
        _file_pieces,
        features=Features({"text": Value("string")}),
        writer_batch_size=BATCH // PIECE,  # rows; the default of 1000 would hold a billion characters
        gen_kwargs={
            # A tuple: of a list `datasets` would give each process a part.
            "paths": tuple(str(file.resolve()) for file in paths),
            "begin": begin,
            "end": end,
            "encoding": encoding,
            # `datasets` remembers rows by these arguments.
            "version": tuple((status.st_size, status.st_mtime_ns) for status in stats),
        },
    )


def _file_pieces(
    paths: tuple[str, ...], begin: int, end: int | None, encoding: str | None, version: tuple
) -> Iterator[dict[str, str]]:
    place = 0
    for piece in _pieces(paths, encoding):
        if end is not None and place >= end:
            return
        part = piece[max(begin - place, 0) : None if end is None else end - place]
        if part:
            yield {"text": part}
        place += len(piece)


def _pieces(paths: tuple[str, ...], encoding: str | None) -> Iterator[str]:
    for path in paths:
        last = "\n"
        with open_text(Path(path), encoding) as file:
            while piece := file.read(PIECE):
                yield piece
                last = piece[-1]
        if len(paths) > 1 and last != "\n":
            yield "\n"


def count_characters(path: Path | list[Path], encoding: str | None = None) -> int:
    """The characters of text files, as :func:`text_rows` puts them together.

    Raises:
        FileNotFoundError: a file does not exist.
        InputError: a file is not in the encoding; the message names the line.
    """
    paths = path if isinstance(path, list) else [path]
    for file in paths:
        if not file.is_file():
            raise FileNotFoundError(f"{file} is a folder" if file.is_dir() else f"there is no text file {file}")
    return sum(len(piece) for piece in _pieces(tuple(map(str, paths)), encoding))
