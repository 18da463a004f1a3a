"""Texts and pairs of texts as token ids: with which tokenizer, cut where, and padded into batches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from ..common.errors import TOKENIZER, loading
from .label_rules import REGRESSION, SINGLE, Job

if TYPE_CHECKING:  # importing it takes a second that `--help` need not wait for
    from datasets import Dataset

LONGEST = 10**9  # a tokenizer that cuts nothing says more than this


def load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """A tokenizer by Hub name or from a folder.

    Raises:
        ValueError: it cannot be loaded, or cannot pad.
    """
    with loading("tokenizer", name, TOKENIZER):
        tokenizer = cast(PreTrainedTokenizerFast, AutoTokenizer.from_pretrained(name))
    if tokenizer.pad_token_id is None:
        raise ValueError(f"the tokenizer of {name!r} has no padding token: rows of unequal length need one")
    return tokenizer


def saved_job(name: str) -> Job:
    """What a saved classifier finds for a row.

    Raises:
        InputError: its config cannot be read.
    """
    with loading("model", name):
        config = AutoConfig.from_pretrained(name)
    problem = config.problem_type or (REGRESSION if config.num_labels == 1 else SINGLE)
    return Job(problem, () if problem == REGRESSION else saved_labels(name))


def saved_labels(name: str) -> tuple[str, ...]:
    """The classes of a saved classifier, in its order; none if it predicts numbers.

    Raises:
        InputError: its config cannot be read.
    """
    with loading("model", name):
        config = AutoConfig.from_pretrained(name)
    # transformers gives these one made-up class too, LABEL_0.
    if config.problem_type == "regression":
        return ()
    return tuple(config.id2label[number] for number in range(config.num_labels))


def tokenised(
    what: str, rows: "Dataset", tokenizer: PreTrainedTokenizerFast, max_length: int, num_proc: int | None = None
) -> "Dataset":
    """Texts and pairs of texts as token ids beside their labels, kept on disk by `datasets` where the texts are.

    Args:
        what: what to call them in a complaint.
        rows: with ``text``, perhaps ``text_pair``, and ``label``.
        tokenizer: of the model that reads them.
        max_length: tokens of a row beyond which its longer text is cut. A text without a token is the unknown one.
        num_proc: processes that tokenise.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # set anew at every call; left as the last call set them, they would change the
    backend.no_padding()  # fingerprint by which `datasets` finds what it has kept
    how = {"tokenizer": tokenizer, "max_length": max_length, "pairs": "text_pair" in rows.column_names}
    return rows.map(
        encode_rows,
        batched=True,
        fn_kwargs=how,
        remove_columns=[name for name in rows.column_names if name != "label"],
        num_proc=num_proc,
        desc=f"Tokenising {what}",
    )


def count_cut(rows: "Dataset", encoded: "Dataset", tokenizer: PreTrainedTokenizerFast, max_length: int) -> int:
    """How many rows are longer than ``max_length``, of which :func:`tokenised` has cut the rest.

    Args:
        rows: the texts.
        encoded: what :func:`tokenised` made of them, in the same order.
        tokenizer, max_length: as it took them.
    """
    lengths = lengths_of(encoded)
    if "pair_input_ids" in encoded.column_names:  # both texts count
        sides = (encoded.select_columns(side).iter(1000) for side in ("input_ids", "pair_input_ids"))
        lengths = np.array(
            [len(a) + len(b) for one, other in zip(*sides, strict=True) for a, b in zip(*_ids(one, other), strict=True)]
        )
    full = np.flatnonzero(lengths >= max_length)  # few: only these may have been longer
    cut = 0
    for batch in rows.select(full).iter(1000):
        texts = [batch[name] for name in ("text", "text_pair") if name in batch]
        cut += sum(len(ids) > max_length for ids in tokenizer(*texts, truncation=False, verbose=False)["input_ids"])
    return cut


def count_tokens(tokenizer: PreTrainedTokenizerFast, pairs: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """How many tokens the two texts of each pair have, each by itself and uncut."""
    found: list[tuple[int, int]] = []
    for begin in range(0, len(pairs), 1000):
        sides = (
            tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
            for texts in zip(*pairs[begin : begin + 1000], strict=True)
        )
        found += [(len(one), len(other)) for one, other in zip(*sides, strict=True)]
    return found


def _ids(one: dict, other: dict) -> tuple[list, list]:
    return one["input_ids"], other["pair_input_ids"]


def by_length(rows: "Dataset") -> "Dataset":
    """Tokenised rows, the shortest first."""
    return rows.select(np.argsort(lengths_of(rows), kind="stable"))


def lengths_of(rows: "Dataset") -> np.ndarray:
    """How many tokens each row has, of a pair its longer text."""
    return np.asarray(rows.with_format("numpy")["length"][:])


def encode_rows(batch: dict[str, list], tokenizer: PreTrainedTokenizerFast, max_length: int, pairs: bool) -> dict:
    """Token ids of rows; of pairs apart, each as the tokenizer frames it in a row that holds both."""
    texts = (batch["text"], batch["text_pair"]) if pairs else (batch["text"],)
    # Pairs are encoded in one row, so that special tokens frame each as in a joint row and the longer text is cut.
    # The token types then part the two.
    encoding = tokenizer(*texts, truncation=True, max_length=max_length, return_token_type_ids=pairs)
    # A model has nothing to pool in a row without a token.
    nothing = [_token_of_nothing(tokenizer)]
    if not pairs:
        ids = [row or nothing for row in encoding["input_ids"]]
        return {"input_ids": ids, "length": [len(row) for row in ids]}
    first, second = (
        [
            [token for token, side in zip(*row, strict=True) if side == wanted] or nothing
            for row in zip(encoding["input_ids"], encoding["token_type_ids"], strict=True)
        ]
        for wanted in (0, 1)
    )
    lengths = [max(len(one), len(other)) for one, other in zip(first, second, strict=True)]
    return {"input_ids": first, "pair_input_ids": second, "length": lengths}


def _token_of_nothing(tokenizer: PreTrainedTokenizerFast) -> int:
    """The one token of an empty text, where the tokenizer adds none by itself: the unknown one, or else the end."""
    ids = (tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    return next(number for number in ids if number is not None)  # `load_tokenizer` asks for the last of them


def pad_rows(rows: list[dict], pad_token_id: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Rows as ``input_ids`` and ``attention_mask`` (b, n), those of pairs twice, and ``labels`` (b,)."""
    batch: dict[str, Tensor] = {}
    for prefix in ("", "pair_"):
        if f"{prefix}input_ids" in rows[0]:
            ids = [torch.tensor(row[f"{prefix}input_ids"]) for row in rows]
            ones = [torch.ones_like(row) for row in ids]
            batch[f"{prefix}input_ids"] = pad_sequence(ids, batch_first=True, padding_value=pad_token_id)
            batch[f"{prefix}attention_mask"] = pad_sequence(ones, batch_first=True)
    return {**batch, "labels": torch.tensor([row["label"] for row in rows], dtype=dtype)}


def drop_tokens(ids: Tensor, part: float, nothing: int, generator: torch.Generator) -> Tensor:
    """Token ids, some replaced; but for the first, so that a row keeps how it begins."""
    dropped = torch.rand(ids.shape, generator=generator) < part  # on the CPU, where the generator is
    dropped[:, 0] = False
    return ids.masked_fill(dropped.to(ids.device), nothing)
