"""A tag for every word of a text: names, parts of speech, slots; rows of one's own, and made-up ones."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerFast
from transformers.trainer_pt_utils import get_length_grouped_indices
from transformers.utils.logging import get_logger

from ...data.tagging import IGNORED, TaggedText, tagged_tokens
from ...data.tokenised import by_length, lengths_of
from ...tokenization_lmu import TokenizerKind, train_tokenizer
from ..transfer import classifier_from_pretrained
from .base import Gather, Task, text_description
from .classification import HEAD_FIELDS

logger = get_logger(__name__)


class TaggingTask(Task):
    """Find the tag of every word.

    Scores count words, each by its first token. Macro F1 is the mean of all tags' F1, ``O`` among them. F1 of whole
    entities, as ``seqeval`` computes it, is left out: that package is no dependency of this one.

    Args:
        rows: the tagged text.
        tokenizer: one that is there, or the kind that is trained on the training split's texts alone.
        vocab_size: of a tokenizer that is trained, where it has a choice.
        lowercase: of a tokenizer of words that is trained: upper and lower case are one.
        max_length: tokens of a row beyond which it is cut.
        model_name_or_path: a model of the family whose stack the new model takes over, by Hub name or folder.
        num_proc: processes that tokenise.

    Raises:
        ValueError: no word of a row has a token.
    """

    task = "token-classification"
    auto_class = AutoModelForTokenClassification
    metric = "macro_f1"
    evaluation_batch = 128
    length_unit = "tokens"

    def __init__(
        self,
        rows: TaggedText,
        tokenizer: TokenizerKind | PreTrainedTokenizerFast = "word",
        vocab_size: int | None = None,
        lowercase: bool = False,
        max_length: int = 256,
        model_name_or_path: str | None = None,
        num_proc: int | None = None,
    ) -> None:
        self.rows, self.name, self.max_length = rows, rows.name, max_length
        self.dataset, self.dataset_config = rows.dataset, rows.dataset_config
        self.model_name_or_path = model_name_or_path
        if isinstance(tokenizer, str):
            tokenizer = train_tokenizer(
                tokenizer,
                _texts(rows),
                vocab_size=vocab_size,
                lowercase=lowercase if tokenizer == "word" else None,
                add_bos=True,  # every sequence has a step, the empty one too
                model_max_length=max_length,
            )
        tokenizer.model_max_length = max_length  # saved with it: a pipeline cuts where training did
        self.tokenizer = tokenizer
        encoded = {
            split: tagged_tokens(f"the {split} split of {self.name}", part, tokenizer, max_length, num_proc)
            for split, part in rows.splits.items()
        }
        # A word that is cut off has no label, so scores cannot show it: the log and the record do.
        self.unread = {split: _unread(part) for split, part in encoded.items()}
        for split, counts in self.unread.items():
            if any(counts.values()):
                logger.warning(
                    "%s, %s: %d words have no token, %d are cut off at %d tokens: they are neither learnt nor scored",
                    *(self.name, split, counts["without_token"], counts["cut_off"], max_length),
                )
        columns = ["input_ids", "labels", "length"]  # what a batch is made of; the counts are read by now
        encoded = {split: part.select_columns(columns) for split, part in encoded.items()}
        # Of the rows that are only scored the order does not matter, so neighbours may be of one length.
        self.splits = {split: part if split == "train" else by_length(part) for split, part in encoded.items()}
        self.lengths = {split: lengths_of(part) for split, part in self.splits.items()}

    @property
    def smooths_labels(self) -> bool:
        """Tags are classes."""
        return True

    @cached_property
    def description(self) -> dict:
        """What :meth:`describe` says, found once."""
        return text_description(self) | {"unread_words": self.unread}

    def describe(self) -> dict:
        """Name, rows and origin of each split, tags, tokenizer, words left out, and a fingerprint of all rows."""
        return self.description

    def config_fields(self) -> dict[str, Any]:
        """The vocabulary, its special ids, the head and its tags."""
        tokenizer, labels = self.tokenizer, self.rows.labels
        return {
            "architectures": ["LMUForTokenClassification"],  # or LSTMFor, by `make_config`, of a baseline
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "id2label": dict(enumerate(labels)),
            "label2id": {label: number for number, label in enumerate(labels)},
        }

    def make_model(self, architecture: dict[str, Any]) -> PreTrainedModel:
        """A fresh head on a fresh stack, or on the stack of ``model_name_or_path``.

        Raises:
            ValueError: that model will not do, as :func:`classifier_from_pretrained` says.
        """
        if self.model_name_or_path is None:
            return super().make_model(architecture)
        head = {field: value for field, value in architecture.items() if field in HEAD_FIELDS}
        # The body's fields are the saved model's; a recipe decides the head's alone.
        how = {"auto_class": self.auto_class, **head, **self.config_fields()}
        return classifier_from_pretrained(self.model_name_or_path, **how)

    def order(self, split: str, batch_size: int, generator: torch.Generator) -> list[int]:
        """An epoch's rows at random, but so that neighbours are of about one length."""
        return get_length_grouped_indices(self.lengths[split].tolist(), batch_size, generator=generator)

    def row_lengths(self, split: str) -> np.ndarray:
        """How many tokens each row has."""
        return self.lengths[split]

    def collate(self, split: str) -> Callable[[list[dict]], dict[str, Tensor]]:
        """What turns rows into a batch, padded to its longest row."""
        return self._pad_rows

    def _pad_rows(self, rows: list[dict]) -> dict[str, Tensor]:
        ids, labels = ([torch.tensor(row[name]) for row in rows] for name in ("input_ids", "labels"))
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=float(self.tokenizer.pad_token_id)),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),  # padded with 0
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        }

    def scores(
        self, model: PreTrainedModel, split: str, batches: Iterable, gather: Gather, final: bool = False
    ) -> dict[str, float]:
        """Macro F1 and accuracy over all words of a split at once."""
        longest = int(self.lengths[split].max())
        predictions: list[int] = []
        references: list[int] = []
        for batch in batches:
            labels = batch.pop("labels")  # no loss is needed, and it would be computed
            behind = (0, longest - labels.shape[1])  # processes can only gather rows of equal length
            found = pad(model(**batch).logits.argmax(-1), behind, value=IGNORED)
            found, labels = gather((found, pad(labels, behind, value=IGNORED)))
            # By the label: of a word only the first token has one, of special tokens and padding none.
            predictions += found[labels != IGNORED].tolist()
            references += labels[labels != IGNORED].tolist()
        return _judge(predictions, references)

    def extras(self) -> dict[str, Any]:
        """The majority baseline on the test split: the commonest tag of the training words for every word."""
        if "test" not in self.splits:
            return {}
        learnt, references = (_tags(self.splits[split]) for split in ("train", "test"))
        commonest = int(np.bincount(learnt).argmax())
        scores = _judge([commonest] * len(references), references.tolist())
        return {"majority": {"tag": self.rows.labels[commonest], **scores}}

    def processor(self) -> PreTrainedTokenizerFast:
        """The tokenizer."""
        return self.tokenizer


def _judge(predictions: list[int], references: list[int]) -> dict[str, float]:
    from ..metrics import F1, Accuracy

    # A mean over tags, in which rare ones count like `O`.
    macro: Any = F1().compute(predictions=predictions, references=references, average="macro")
    accuracy: Any = Accuracy().compute(predictions=predictions, references=references)
    return {"macro_f1": macro["f1"], **accuracy}


def _texts(rows: TaggedText) -> Iterable[str]:
    """Every text of the training split, a thousand rows in memory at a time."""
    for batch in rows.splits["train"].iter(1000):
        yield from map(" ".join, batch["tokens"])


def _unread(rows: Any) -> dict[str, int]:
    return {name: int(np.sum(rows[name])) for name in ("without_token", "cut_off")}


def _tags(rows: Any) -> np.ndarray:
    """The tags of all words that have a token."""
    return np.array([label for row in rows["labels"] for label in row if label != IGNORED])
