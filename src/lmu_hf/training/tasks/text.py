"""Running text, for next-token models: Python's own sources, a text file, or any data set with a column of text."""

import bz2
import gzip
import lzma
import math
import sysconfig
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from ...tokenization_lmu import TokenizerKind, train_tokenizer
from .base import SPLITS, Gather, Task
from .sources import load_rows

XZ_WINDOW = 2**26
PIECE = 1_000_000  # characters that are encoded at a time: an encoding takes some 200 bytes a token
NOT_SOURCES = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "ensurepip", "turtledemo"}


class Windows(Dataset):
    """A text's tokens cut into windows of ``length`` predictions, each with up to ``context`` tokens before them.

    Window i predicts tokens i·length + 1 … (i + 1)·length, so every token but the first is predicted once. A batch is
    handed out whole: ``input_ids`` and ``labels`` (b, context + length + 1), padded where the text begins or ends.

    Args:
        ids: (n,) the whole text's tokens, at least two.
        length: predictions a window.
        context: tokens that are read before them and not judged.
        drop_last: leave the shorter last window out, if there is another.
    """

    def __init__(self, ids: Tensor, length: int, context: int = 0, drop_last: bool = False) -> None:
        if len(ids) < 2:
            raise ValueError(
                f"a text needs at least two tokens, one to predict from and one to predict; got {len(ids)}"
            )
        self.ids, self.length, self.context = ids, length, context
        predictions = len(ids) - 1
        self.windows = max(predictions // length, 1) if drop_last else -(-predictions // length)

    def __len__(self) -> int:
        return self.windows

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """A batch of one window."""
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """A batch of windows: what torch's loader asks for first."""
        start = torch.as_tensor(indices)[:, None] * self.length
        place = start + torch.arange(-self.context, self.length + 1)
        real = (place >= 0) & (place < len(self.ids))
        ids = self.ids[place.clamp(0, len(self.ids) - 1)].long()
        batch = {"input_ids": ids, "labels": ids.masked_fill(~real | (place <= start), -100)}
        return batch if real.all() else {**batch, "attention_mask": real.long()}


class TextTask(Task):
    """Predict the next character, byte or token of a text.

    Args:
        name: what the text is called in a run record.
        texts: per split, the parts of the text; they are joined by line breaks.
        sequence_length: predictions a training window.
        tokenizer: what a token is: a kind that :func:`train_tokenizer` knows.
        vocab_size: of a tokenizer that has a choice.

    Raises:
        ValueError: a split is empty, or holds characters that the training split, and so the vocabulary, lacks.
    """

    metric = "bits_per_character"
    lower_is_better = True
    evaluation_batch = 16
    auto_class = AutoModelForCausalLM

    def __init__(
        self,
        name: str,
        texts: dict[str, list[str]],
        sequence_length: int = 512,
        tokenizer: TokenizerKind = "byte",
        vocab_size: int | None = None,
    ) -> None:
        self.name, self.sequence_length, self.kind = name, sequence_length, tokenizer
        for split, parts in texts.items():
            if not any(parts):
                raise ValueError(f"the {split} split of {name} holds no text")
        self.texts = {split: "\n".join(parts) for split, parts in texts.items()}
        self.tokenizer: PreTrainedTokenizerFast = train_tokenizer(
            tokenizer, _pieces(self.texts["train"]), padding_side="left", vocab_size=vocab_size
        )
        ids = {split: self._encode(split) for split in self.texts}
        self.tokens = {split: len(tokens) for split, tokens in ids.items()}
        self.splits = {
            split: Windows(tokens, sequence_length, drop_last=True)
            if split == "train"
            else Windows(tokens, 2048, context=512)
            for split, tokens in ids.items()
        }

    def _encode(self, split: str) -> Tensor:
        if self.kind == "byte":  # the ids are the bytes, and encoding them one by one would take a minute
            return torch.from_numpy(np.frombuffer(self.texts[split].encode(), np.uint8).astype(np.int32))
        pieces = [np.array(self.tokenizer(text)["input_ids"], dtype=np.int32) for text in _pieces(self.texts[split])]
        ids = np.concatenate(pieces)
        if self.tokenizer.unk_token_id is not None and (unknown := int((ids == self.tokenizer.unk_token_id).sum())):
            raise ValueError(
                f"the {split} split of {self.name} holds {unknown} characters that its training split lacks, so its "
                "bits per character would be too few; use the 'byte' tokenizer"
            )
        return torch.from_numpy(ids)

    def describe(self) -> dict:
        """Name, characters and windows per split, tokenizer, and a fingerprint of every character."""
        digest = sha256()
        for text in self.texts.values():
            digest.update(text.encode())
        return {
            "name": self.name,
            "characters": {split: len(text) for split, text in self.texts.items()},
            "tokens": self.tokens,
            "rows": {split: len(rows) for split, rows in self.splits.items()},
            "tokenizer": self.kind,
            "fingerprint": digest.hexdigest()[:16],
            "compressors": compressed_bits(self.texts["train"], self.texts["test"]) if "test" in self.texts else {},
        }

    def config_fields(self) -> dict:
        """The vocabulary and its special ids."""
        tokenizer = self.tokenizer
        return {
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        }

    def scores(
        self, model: PreTrainedModel, split: str, batches: Iterable, gather: Gather, final: bool = False
    ) -> dict[str, float]:
        """Bits per character: the code length of the split under the model, over its characters.

        Every token but the first is predicted from the ones before it, at least 512 of them where there are as many.
        """
        nats, tokens = 0.0, 0
        for batch in batches:
            labels = batch["labels"][:, 1:]
            logits = model(batch["input_ids"], attention_mask=batch.get("attention_mask"), use_cache=False).logits
            rows = cross_entropy(logits[:, :-1].transpose(1, 2).float(), labels, reduction="none").double().sum(1)
            rows, counts = gather((rows, (labels != -100).sum(1)))
            nats, tokens = nats + rows.sum().item(), tokens + int(counts.sum())
        bits = nats / math.log(2) / tokens
        return {"bits_per_character": bits * self.tokens[split] / len(self.texts[split])}

    def processor(self) -> PreTrainedTokenizerFast:
        """The tokenizer."""
        return self.tokenizer


def compressed_bits(known: str, text: str) -> dict[str, float]:
    """Bits per character of a text under general compressors, each at level 9.

    ``"xz, after the training text"`` has the other text in its window already: what the text adds to their joint size.
    It is left out where they do not fit into that window.
    """
    raw = text.encode()
    sizes = {
        "gzip": len(gzip.compress(raw, 9)),
        "bz2": len(bz2.compress(raw, 9)),
        "xz": _xz_size(raw),
    }
    before = known.encode()
    if len(before) + len(raw) <= XZ_WINDOW:
        sizes["xz, after the training text"] = _xz_size(before + raw) - _xz_size(before)
    return {name: round(8 * size / len(text), 4) for name, size in sizes.items()}


def _xz_size(raw: bytes) -> int:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": XZ_WINDOW}]
    return len(lzma.compress(raw, filters=filters))


def _pieces(text: str) -> Iterator[str]:
    yield from (text[start : start + PIECE] for start in range(0, len(text), PIECE))


def python_sources(**how) -> TextTask:
    """The source files of the running Python's own standard library, split by file: 90 / 5 / 5.

    Tests and what is installed beside the library are left out. Another version of Python has other files, so a
    record's fingerprint says which were read.
    """
    root = Path(sysconfig.get_path("stdlib"))
    texts: dict[str, list[str]] = {split: [] for split in SPLITS}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if NOT_SOURCES.isdisjoint(name.parts):
            place = sha256(name.as_posix().encode()).digest()[0] % 20
            split = {0: "validation", 1: "test"}.get(place, "train")
            texts[split].append(path.read_text(encoding="utf-8", errors="strict"))
    return TextTask("the Python standard library", texts, **how)


def text_files(files: dict[str, Path], **how) -> TextTask:
    """Text files, one per split; from a training file alone, the last tenth is held out, half of it for the test.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file is empty or not UTF-8.
    """
    texts = {split: [_read(path)] for split, path in files.items()}
    if "validation" not in texts:
        (whole,) = texts["train"]
        cuts = [round(len(whole) * share) for share in (0, 0.9, 0.95, 1)]
        texts = {split: [whole[begin:end]] for split, begin, end in zip(SPLITS, cuts[:-1], cuts[1:], strict=True)}
    return TextTask(files["train"].name, texts, **how)


def _read(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"there is no text file {path}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error


def text_dataset(name: str, data_dir: Path | None = None, text_column: str = "text", **how) -> TextTask:
    """A data set's column of text, by Hub name or from a folder of data sets; its rows are joined by line breaks.

    Raises:
        FileNotFoundError: the folder does not hold it.
        ValueError: it lacks a split or the column.
    """
    rows = load_rows(name, data_dir, needed=("train", "validation"), columns=(text_column,))
    return TextTask(name, {split: rows[split][text_column] for split in SPLITS if split in rows}, **how)
