"""Running text, for next-token models."""

import json
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any, cast

import torch
from tokenizers import models
from torch.nn.functional import cross_entropy
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from ...common.errors import TOKENIZER, loading
from ...data.compressors import AFTER, compressed_bits
from ...data.corpus import Corpus, encode
from ...data.windows import Windows
from ...shipped import bare_name
from ...tokenization_lmu import TokenizerKind, train_tokenizer
from ..baselines import make_config
from ..text_lines import text_lines
from .base import Gather, Task

FEW = 2000  # characters for validation: fewer choose by little more than chance
TOKENS = {"byte": "bytes", "char": "characters", "word": "words", "bpe": "byte pairs"}
EVALUATED_LOGITS = 2**25  # numbers: how many of them a batch may make when a model is judged
CHARACTERS = 0x110000  # code points that Unicode has room for


class TextTask(Task):
    """Predict the next character, byte or token of a text.

    Args:
        name: what the text is called in a run record.
        texts: per split, a corpus, or the parts of the text, which are joined by line breaks.
        sequence_length: predictions a training window.
        tokenizer: what a token is: a kind that :func:`train_tokenizer` knows.
        vocab_size: of a tokenizer that has a choice.
        lowercase: of a tokenizer of words or byte pairs.
        close_gaps: of a tokenizer of byte pairs, as :func:`train_tokenizer` has it.
        tokenizer_name: a ready tokenizer's folder or name on the Hub, in place of a new one.
        model_name_or_path: a language model of the family to go on from, with its tokenizer, by Hub name or folder.
        saved: the folder or name of a saved model of such a task, whose tokenizer is then read and none is made.
        shifted: training windows begin at another place in every epoch, so that none is read twice alike.
        num_proc: processes that encode the text.

    Raises:
        ValueError: a split is empty.
    """

    task = "text-generation"
    lower_is_better = True
    auto_class = AutoModelForCausalLM
    cuts_rows = True

    def __init__(
        self,
        name: str,
        texts: dict[str, Corpus | list[str]],
        sequence_length: int = 512,
        tokenizer: TokenizerKind = "byte",
        vocab_size: int | None = None,
        lowercase: bool | None = None,
        close_gaps: bool | None = None,
        tokenizer_name: str | None = None,
        model_name_or_path: str | None = None,
        shifted: bool = False,
        num_proc: int | None = None,
        saved: str | None = None,
    ) -> None:
        self.name, self.sequence_length, self.shifted = name, sequence_length, shifted
        self.model_name_or_path = model_name_or_path
        self.kind = tokenizer_name or tokenizer
        self.texts = {split: text if isinstance(text, Corpus) else Corpus.of(text) for split, text in texts.items()}
        for split, text in self.texts.items():
            if not any(text.texts()):  # empty rows alone are no text
                raise ValueError(f"the {split} split of {name} holds no text")
        # New ones pad on the left: a batch of prompts is continued at its right end.
        self.tokenizer = (
            train_tokenizer(
                tokenizer,
                self.texts["train"],
                padding_side="left",
                vocab_size=vocab_size,
                lowercase=lowercase,
                close_gaps=close_gaps,
            )
            if (ready := saved or model_name_or_path or tokenizer_name) is None
            else _ready_tokenizer(ready)
        )
        if (model := saved or model_name_or_path) is not None:
            self.kind = self._kind_of(model)
        self.encoded = {split: encode(text, self.tokenizer, self.kind, num_proc) for split, text in self.texts.items()}
        # An unknown token is cheap to predict and may stand for many characters; a character's is charged for that.
        self.metric = "perplexity" if self._has_unknown_words else "bits_per_character"
        # Longer windows than in training: the memory's state does not grow with them, and less context is read twice.
        length, context = (2048, 512) if self.is_spelt else (512, 256)
        # Logits are (b, context + length + 1, vocabulary): a large vocabulary asks for fewer rows.
        self.evaluation_batch = min(max(EVALUATED_LOGITS // ((length + context + 1) * len(self.tokenizer)), 1), 16)
        self.splits = {
            split: Windows(encoded.tokens, sequence_length, drop_last=True)
            if split == "train"
            else Windows(encoded.tokens, length, context)
            for split, encoded in self.encoded.items()
        }

    def _kind_of(self, model: str) -> str:
        """What a token is to a saved model: its own tokenizer decides whether it is spelt, whatever the recipe has."""
        named = self.kind if self.model_name_or_path is None and not self.is_spelt else bare_name(model)
        return _spelt_kind(self.tokenizer) or named

    @property
    def is_spelt(self) -> bool:
        """Whether a token is a character or a byte."""
        return self.kind in ("char", "byte")

    @property
    def _has_unknown_words(self) -> bool:
        """Whether a token may stand for any text at all, so that bits per character would be too few."""
        return self.kind != "char" and any(encoded.unknown for encoded in self.encoded.values())

    def order(self, split: str, batch_size: int, generator: torch.Generator) -> list[int]:
        """Windows at random; if they are shifted, all by as many tokens, and in every epoch by another number."""
        rows = super().order(split, batch_size, generator)
        if not self.shifted:
            return rows
        shift = int(torch.randint(self.sequence_length, (1,), generator=generator))
        return [shift * len(rows) + row for row in rows]  # row k·len + i of `Windows`

    def describe(self) -> dict:
        """Name, characters, tokens and windows per split, tokenizer, and a fingerprint of every character."""
        digest = sha256()
        for text in self.texts.values():
            for piece in text:  # piece by piece: a corpus need not fit into memory
                digest.update(piece.encode())
        described: dict[str, Any] = {
            "name": self.name,
            "characters": {split: encoded.characters for split, encoded in self.encoded.items()},
            "tokens": {split: len(encoded.tokens) for split, encoded in self.encoded.items()},
            "rows": {split: len(rows) for split, rows in self.splits.items()},
            "tokenizer": self.kind,
            "fingerprint": digest.hexdigest()[:16],
        }
        if self.model_name_or_path is not None:
            described["stack"] = bare_name(self.model_name_or_path)
        if any(encoded.unknown for encoded in self.encoded.values()):
            described["unknown"] = {split: encoded.unknown for split, encoded in self.encoded.items()}
        return described

    def announce(self) -> str:
        """How much text each split has, and what its tokens are."""
        amounts = {split: encoded.characters for split, encoded in self.encoded.items()}
        uses = {"train": "characters to train on", "validation": "for validation", "test": "for the test"}
        said = ", ".join(f"{amount:,} {uses[split]}" for split, amount in amounts.items())
        tokens = TOKENS.get(self.kind, f"those of {self.kind}")
        known = "" if self.kind == "byte" else f", {len(self.tokenizer):,} of them"
        normalizer = self.tokenizer.backend_tokenizer.normalizer
        known += ", in lower case" if normalizer is not None and normalizer.normalize_str("A") == "a" else ""
        few = amounts.get("validation", FEW)
        warning = f"\nwarning: only {few:,} characters for validation, which choose by little more than chance"
        return f"{self.name}: {said}; tokens are {tokens}{known}" + (warning if few < FEW else "")

    def cut(self, sequence_length: int) -> None:
        """Cut the training text into windows of another length."""
        self.sequence_length = sequence_length
        self.splits["train"] = Windows(self.encoded["train"].tokens, sequence_length, drop_last=True)

    @cached_property
    def _as_read(self) -> dict[str, Corpus]:
        """The texts as the tokenizer reads them, in lower case, say: no line beside has more to predict."""
        normalizer = self.tokenizer.backend_tokenizer.normalizer
        if normalizer is None:
            return self.texts
        return {split: text.changed(normalizer.normalize_str) for split, text in self.texts.items()}

    def _per_written(self, split: str, bits: float) -> float:
        """Bits per character of a split as it is read, for each character as it is written: the model's are, too."""
        if self._as_read is self.texts:
            return bits
        return bits * sum(map(len, self._as_read[split])) / self.encoded[split].characters

    @cached_property
    def _compressed(self) -> dict[str, float]:
        return compressed_bits(self._as_read["train"], self._as_read["test"])

    def extras(self) -> dict[str, Any]:
        """Bits per character of the test text under general compressors: half a minute for ten megabytes."""
        if "test" not in self.texts:
            return {}
        return {"compressors": {name: self._per_written("test", bits) for name, bits in self._compressed.items()}}

    def lines(self, splits: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
        """What :func:`text_lines` gives; of longer tokens nothing, unless the text has made the recipe."""
        if self.metric != "bits_per_character" or not (self.is_spelt or self.made):
            return {}
        ready = {"test": self._compressed.get(AFTER)} if "test" in splits else {}
        lines = text_lines(self._as_read["train"], {split: self._as_read[split] for split in splits}, ready)
        return {
            line: {split: {self.metric: self._per_written(split, bits)} for split, bits in scores.items()}
            for line, scores in lines.items()
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

    def make_model(self, architecture: dict[str, Any]) -> PreTrainedModel:
        """A fresh model, or the one that is saved as ``model_name_or_path``.

        Raises:
            ValueError: that is no language model of the family, or of the baseline if the architecture is one's.
        """
        if (name := self.model_name_or_path) is None:
            return super().make_model(architecture)
        wanted = make_config(architecture)
        with loading("model", name):
            found = AutoConfig.from_pretrained(name)
        head = cast(Any, MODEL_FOR_CAUSAL_LM_MAPPING)[type(wanted)].__name__
        if found.model_type != wanted.model_type or found.architectures not in (None, [head]):
            there = (found.architectures or [found.model_type])[0]
            raise ValueError(f"a language model can go on from an {head} alone, and {name} holds an {there}")
        with loading("model", name):
            return AutoModelForCausalLM.from_pretrained(name)

    def scores(
        self, model: PreTrainedModel, split: str, batches: Iterable, gather: Gather, final: bool = False
    ) -> dict[str, float]:
        """The code length of the split under the model: bits per character, and for longer tokens per token too.

        Every token but the first is predicted from the ones before it, at least 512 of them (256 longer ones) where
        there are as many. Where words are unknown, no bits per character are given: they would be too few. A character
        that the training split lacks costs 20 bits beside those of its unknown token.
        """
        nats, tokens = 0.0, 0
        for batch in batches:
            labels = batch["labels"][:, 1:]  # (b, n − 1): step t predicts token t + 1
            logits = model(batch["input_ids"], attention_mask=batch.get("attention_mask"), use_cache=False).logits
            # Nats per row. float64 from here on: a long text's sum has more digits than float32; ignored labels add 0.
            rows = cross_entropy(logits[:, :-1].transpose(1, 2).float(), labels, reduction="none").double().sum(1)
            rows, counts = gather((rows, (labels != -100).sum(1)))
            nats, tokens = nats + rows.sum().item(), tokens + int(counts.sum())
        encoded = self.encoded[split]
        if self.kind == "char":
            # <unk> says that a character is new, not which one: to name one of all costs a fixed code for each.
            nats += encoded.unknown * math.log(CHARACTERS)
        bits = nats / math.log(2) / tokens  # per judged token
        scores = {} if self.is_spelt else {"perplexity": 2**bits, "bits_per_token": bits}
        if not self._has_unknown_words:
            # The text's first token is not judged and is charged the mean, so that the code is one of the whole text.
            scores["bits_per_character"] = bits * len(encoded.tokens) / encoded.characters
        return scores

    def processor(self) -> PreTrainedTokenizerFast:
        """The tokenizer."""
        return self.tokenizer


def _ready_tokenizer(name: str) -> PreTrainedTokenizerFast:
    with loading("tokenizer", name, TOKENIZER):
        tokenizer = AutoTokenizer.from_pretrained(name)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):  # `encode` needs the backend in Rust
        raise ValueError(f"{name!r} must hold a fast tokenizer (tokenizer.json), got {type(tokenizer).__name__}")
    return tokenizer


def _spelt_kind(tokenizer: PreTrainedTokenizerFast) -> str | None:
    """``"char"`` or ``"byte"`` where every token is one; None where tokens are longer."""
    model = tokenizer.backend_tokenizer.model
    # No merge: single characters, an unknown one among them, or the 256 bytes, which know all.
    if not isinstance(model, models.BPE) or json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]:
        return None
    return "byte" if model.unk_token is None else "char"
