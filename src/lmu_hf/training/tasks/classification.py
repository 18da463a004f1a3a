"""Texts and pairs of texts: to find a class, several at once or a number for each, from any labelled rows."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import cached_property, partial
from hashlib import sha256
from typing import Any, cast

import numpy as np
import torch
from datasets import concatenate_datasets
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast

from ...common.lines import LOWER_IS_BETTER
from ...data.batches import order_by_length
from ...data.label_rules import MULTI, REGRESSION, SINGLE
from ...data.labels import LabelledText
from ...data.telling import example_of, say_labels, say_lengths, warn_of_few, warn_of_known
from ...data.tokenised import by_length, count_cut, drop_tokens, lengths_of, pad_rows, tokenised
from ...tokenization_lmu import TokenizerKind, token_bytes, train_tokenizer
from ...votes import NGramVotes
from ...words_lmu import WordTable
from ..baselines import Lines, Texts, classical_lines
from ..linear_votes import fit_votes
from ..transfer import classifier_from_pretrained
from ..voting import Voting
from .base import Gather, Task, text_description

MOST_LINED = 100_000  # rows of a split that the lines beside are fitted to, or scored on: more take minutes
HEAD_FIELDS = (  # of a recipe's architecture, where the stack is taken over
    *("deep_representations", "pooling", "pair_features", "alignment", "head_hidden_size", "votes"),
    *("classifier_dropout", "hidden_dropout", "embedding_dropout", "label_smoothing"),
)
NO_VECTORS = (
    "frozen word vectors must come from somewhere: give --word_vectors FILE, or --no-freeze_word_vectors to learn them "
    "from the training rows"
)


class ClassificationTask(Task):
    """Find the class of a text or of a pair, several classes at once, or grade it with a number.

    Args:
        rows: the labelled text.
        tokenizer: one that is there, or the kind that is trained on the training split's texts alone.
        vocab_size: of a tokenizer that is trained, where it has a choice.
        lowercase: of a tokenizer of words that is trained: upper and lower case are one.
        max_length: tokens of a row beyond which its longer text is cut.
        single_output: tell two classes apart by one number, whose sign decides, rather than by the larger of two.
        token_dropout: the part of training tokens that is replaced by the unknown or the padding token.
        word_vectors: (tokens, width) what the embeddings start from.
        freeze_word_vectors: and stay at.
        model_name_or_path: a model of the family whose stack the new model takes over, by Hub name or folder.
        lowest_blocks: so many of its blocks; None for all.
        num_proc: processes that tokenise.
        metric: the score that weights are chosen by; None for the first of the data's own.

    Raises:
        ValueError: the options do not fit each other or the data.
    """

    task = "text-classification"
    auto_class = AutoModelForSequenceClassification
    evaluation_batch = 128
    length_unit = "tokens"

    def __init__(
        self,
        rows: LabelledText,
        tokenizer: TokenizerKind | PreTrainedTokenizerFast = "word",
        vocab_size: int | None = None,
        lowercase: bool = True,
        max_length: int = 256,
        single_output: bool = False,
        token_dropout: float = 0.0,
        word_vectors: Tensor | None = None,
        freeze_word_vectors: bool = False,
        model_name_or_path: str | None = None,
        lowest_blocks: int | None = None,
        num_proc: int | None = None,
        metric: str | None = None,
    ) -> None:
        from ..judging import choose_metric

        if single_output and (rows.labels is None or len(rows.labels) != 2):
            raise ValueError(f"single_output tells two classes apart; {rows.name} has {rows.labels or 'no classes'}")
        if not 0 <= token_dropout < 1:
            raise ValueError(f"token_dropout must be a fraction in [0, 1), got {token_dropout}")
        self.rows, self.name = rows, rows.name
        self.dataset, self.dataset_config = rows.dataset, rows.dataset_config
        self.problem_type: str = rows.job.problem_type
        self.metric = choose_metric(metric, self.problem_type, rows.metrics, self.name)
        self.metrics, self.lower_is_better = rows.metrics, self.metric in LOWER_IS_BETTER
        self._details: dict[str, dict[str, Any]] = {}
        if rows.title is not None:  # somebody's own: the card is to try the model on what it is for
            self.title, self.example = rows.title, example_of(rows)
        self.single_output, self.token_dropout, self.max_length = single_output, token_dropout, max_length
        self.word_vectors, self.freeze_word_vectors = word_vectors, freeze_word_vectors
        self.model_name_or_path, self.lowest_blocks = model_name_or_path, lowest_blocks
        self._voting: Voting | None = None
        self.tokenizer = self._tokenizer(tokenizer, vocab_size, lowercase)
        encoded = {
            split: tokenised(f"the {split} split of {self.name}", part, self.tokenizer, max_length, num_proc)
            for split, part in rows.splits.items()
        }
        # Of the rows that are only scored the order does not matter, so neighbours may be of one length.
        self.splits = {split: part if split == "train" else by_length(part) for split, part in encoded.items()}
        self.lengths = {split: lengths_of(part) for split, part in self.splits.items()}

    def _tokenizer(
        self, kind: TokenizerKind | PreTrainedTokenizerFast, vocab_size: int | None, lowercase: bool
    ) -> PreTrainedTokenizerFast:
        if isinstance(kind, str):
            # With <bos>, the empty text has a token, too: every sequence has a step.
            return train_tokenizer(
                kind,
                _texts(self.rows),
                vocab_size=vocab_size,
                lowercase=lowercase if kind == "word" else None,
                add_bos=True,
                pair=self.rows.pairs,
                model_max_length=self.max_length,
            )
        kind.model_max_length = self.max_length  # saved with it: a pipeline cuts where training did
        if self.rows.pairs and "token_type_ids" not in kind.model_input_names:
            # A pair classifier tells its texts apart by these ids, which a tokenizer gives only if it names them.
            kind.model_input_names = [*kind.model_input_names, "token_type_ids"]
        return kind

    @cached_property
    def description(self) -> dict:
        """What :meth:`describe` says, found once."""
        return text_description(self) | {
            "pairs": self.rows.pairs,
            "word_vectors": None if self.word_vectors is None else _digest(self.word_vectors),
            "frozen": self.freeze_word_vectors,
        }

    @property
    def smooths_labels(self) -> bool:
        """Where a row has one class; a number to predict is never smoothed."""
        return self.problem_type == SINGLE

    def announce(self) -> str:
        """What is to be found, in how many rows of which length, and what of them is cut."""
        rows, train = self.rows, self.rows.splits["train"]
        labels = np.asarray(train["label"][:])
        cut = count_cut(train, self.splits["train"], self.tokenizer, self.max_length)
        sentences = [
            f"{rows.label_name}: {say_labels(labels, rows)}",
            f"{len(train):,} training rows, {say_lengths(train)}",
            ", ".join(f"{len(part):,} for {split}" for split, part in rows.splits.items() if split != "train"),
            f"{cut:,} cut at {self.max_length} tokens (--max_length)" if cut else "nothing cut",
        ]
        return "; ".join(filter(None, [*sentences, *rows.notes])) + warn_of_few(rows) + warn_of_known(rows)

    def describe(self) -> dict:
        """Name, rows and origin of each split, labels, tokenizer, and a fingerprint of every text and label."""
        return self.description

    def config_fields(self) -> dict[str, Any]:
        """The vocabulary, its special ids, the head and its labels."""
        tokenizer, labels = self.tokenizer, self.rows.labels
        labels = labels or ["score"]  # regression: one output, which `id2label` must name
        return {
            # Two classes answer to one Auto class; this name decides which.
            "architectures": [f"LMUForSequence{'Pair' if self.rows.pairs else ''}Classification"],
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "problem_type": self.problem_type,
            "id2label": dict(enumerate(labels)),
            "label2id": {label: number for number, label in enumerate(labels)},
            **({"output_size": 1} if self.single_output else {}),
        }

    def make_model(self, architecture: dict[str, Any]) -> PreTrainedModel:
        """A fresh head on a fresh stack, or on the stack of ``model_name_or_path``; and the word vectors in place.

        Raises:
            ValueError: that model will not do, as :func:`classifier_from_pretrained` says; the vectors are of another
                shape, or are to be frozen and not there.
        """
        vectors = self.word_vectors
        if vectors is None and self.freeze_word_vectors:
            raise ValueError(NO_VECTORS)
        if self.model_name_or_path is not None:
            # Fields of the body are the saved model's; `transfer` refuses others.
            head = {field: value for field, value in architecture.items() if field in HEAD_FIELDS}
            head |= {} if self.lowest_blocks is None else {"num_hidden_layers": self.lowest_blocks}
            model = classifier_from_pretrained(self.model_name_or_path, **{**head, **self.config_fields()})
        else:
            # The vectors decide the width, whatever the recipe says.
            width = {} if vectors is None else {"embedding_size": vectors.shape[1]}
            model = super().make_model({**architecture, **width})
        embeddings = cast(nn.Embedding, model.get_input_embeddings()).weight
        if vectors is not None:
            if vectors.shape != embeddings.shape:
                raise ValueError(
                    f"word vectors must be {tuple(embeddings.shape)} (tokens, width), got {tuple(vectors.shape)}"
                )
            with torch.no_grad():
                embeddings.copy_(vectors)
        # Before the optimiser is made: it takes what asks for a gradient.
        embeddings.requires_grad_(not self.freeze_word_vectors)
        if self.problem_type == REGRESSION:  # the model learns on a scale of its own, and answers in the labels'
            cast(Any, model).targets.fit(torch.as_tensor(np.asarray(self.splits["train"]["label"][:])))
        if isinstance(votes := getattr(model, "votes", None), NGramVotes):
            if votes.words is not None:
                self._write_words(votes.words)
            if votes.balance is not None:  # a linear model's, from the training rows alone
                self._fit_votes(model)
                self._voting = Voting(self._judge_parts)
            elif self.problem_type != SINGLE:
                raise ValueError(f"votes are for one class a row; {self.name} has {self.problem_type}: leave votes out")
            else:  # counted once, from the training rows alone; training then weighs the counts
                rows = self.splits["train"].with_format("torch")
                votes.count(rows["input_ids"], rows["label"])
        return model

    def order(self, split: str, batch_size: int, generator: torch.Generator) -> list[int]:
        """An epoch's rows at random, but so that those of a batch are of about one length."""
        return order_by_length(self.lengths[split], batch_size, generator)

    def row_lengths(self, split: str) -> np.ndarray:
        """How many tokens each row has, of a pair its longer text."""
        return self.lengths[split]

    def whole(self) -> "ClassificationTask | None":
        """The same with the rows among its training rows that were held out of them; None where none were."""
        if not self.rows.held_out:
            return None
        whole = copy(self)
        train = concatenate_datasets([self.splits["train"], self.splits["validation"]])
        whole.splits, whole.lengths = {**self.splits, "train": train}, self.lengths | {"train": lengths_of(train)}
        return whole

    def _write_words(self, words: WordTable) -> None:
        """Tell votes of words which tokens make up words."""
        if (tokens := token_bytes(self.tokenizer)) is None:
            raise ValueError("votes of words need a tokenizer of byte pairs: leave words out of votes")
        words.write(tokens, self.tokenizer.all_special_ids)

    def _fit_votes(self, model: PreTrainedModel) -> None:
        """Let a linear model find the votes in the training rows, on the scale of the head."""
        rows, labels = self.splits["train"].with_format("torch"), np.asarray(self.splits["train"]["label"][:])
        if (numbers := cast(Any, model).targets) is not None:
            labels = numbers.standardise(torch.as_tensor(labels)).numpy()
        texts = [rows[name] for name in ("input_ids", "pair_input_ids") if name in rows.column_names]
        fit_votes(cast(Any, model).votes, zip(*texts, strict=True), labels)

    def collate(self, split: str) -> Callable[[list[dict]], dict[str, Tensor]]:
        """What turns rows into a batch, padded to its longest row."""
        # One class is an index; numbers, and whether each of several classes holds, are floats.
        dtype = torch.int64 if self.problem_type == SINGLE else torch.float32
        return partial(pad_rows, pad_token_id=self.tokenizer.pad_token_id, dtype=dtype)

    def inputs(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """A batch as it is; in training with some of its tokens replaced."""
        if generator is None or not self.token_dropout:
            return batch
        nothing = self.tokenizer.unk_token_id
        # A byte-level tokenizer knows every text and has no unknown token.
        nothing = self.tokenizer.pad_token_id if nothing is None else nothing
        return {
            name: drop_tokens(value, self.token_dropout, nothing, generator) if name.endswith("input_ids") else value
            for name, value in batch.items()
        }

    def scores(
        self, model: PreTrainedModel, split: str, batches: Iterable, gather: Gather, final: bool = False
    ) -> dict[str, float]:
        """The scores that the data is judged by, over a whole split at once."""
        columns: tuple[list[Tensor], ...] = [], [], []  # logits, labels, and where there are votes theirs
        if self._voting is not None:
            self._voting.begin(model, split)
        for batch in batches:
            said = [_outputs(model, batch).logits.float(), batch["labels"]]
            said += [] if self._voting is None else [self._voting.vote(model, batch)]
            given = [each.detach().cpu() for each in gather(tuple(said))]
            for column, part in zip(columns, given, strict=False):
                column.append(part)
        logits, truth = torch.cat(columns[0]), torch.cat(columns[1])
        if self._voting is not None:
            logits = self._voting.weigh(model, split, logits, torch.cat(columns[2]), truth)
        scores = self._judge(model, split, logits, truth, final)
        if self._voting is not None and final and split == "validation" and (whole := self.whole()) is not None:
            # These rows have chosen all that they were held out for, and now are training rows as the others are.
            whole._fit_votes(model)
        return scores

    def _judge(
        self, model: PreTrainedModel, split: str, logits: Tensor, labels: Tensor, final: bool
    ) -> dict[str, float]:
        from ..judging import class_details, class_table, mean_loss, several_scores
        from ..metrics import judge

        names = [name for name in dict.fromkeys([*self.metrics, self.metric]) if name != "loss"]
        classes, truth = self.rows.labels or [], labels.numpy()
        details: dict[str, Any] = {}
        if self.problem_type == MULTI:
            thresholds = self._thresholds(model, split, logits, truth, final)
            decided = (logits.sigmoid().numpy() >= np.array(thresholds)).astype(int)
            scores = {name: score for name, score in several_scores(decided, truth).items() if name in names}
            details = {"classes": class_table(decided, truth, classes), "thresholds": thresholds} if final else {}
        else:
            decided = self.decide(logits).numpy()
            scores = judge(names, decided.tolist(), truth.tolist())
            if self.problem_type == SINGLE and final:
                details = class_details(decided, truth, classes)
        if self.metric == "loss":
            targets = getattr(model, "targets", None)
            scores["loss"] = mean_loss(logits, labels, None if targets is None else targets.scale)
        if final:
            self._details[split] = details
        return scores

    def _thresholds(
        self, model: PreTrainedModel, split: str, logits: Tensor, truth: np.ndarray, final: bool
    ) -> list[float]:
        """The probability from which on each class is said to hold: the saved model's, or found on validation."""
        from ..judging import choose_thresholds

        config: Any = model.config
        if (saved := getattr(config, "thresholds", None)) is not None:
            return saved
        if split != "validation":
            return [0.5] * logits.shape[1]
        found = choose_thresholds(logits.sigmoid().numpy(), truth)
        if final:
            config.thresholds = found  # saved with the model: other splits and other rows are decided by these
        return found

    def _judge_parts(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Scores of a part of the model alone; of several classes each is said to hold from one half on."""
        decided = (logits > 0).int() if self.problem_type == MULTI else self.decide(logits)
        return self._score(decided.numpy(), labels.numpy())

    def _score(self, decided: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Decisions as they are, by whatever the data is judged by."""
        from ..judging import several_scores
        from ..metrics import judge

        # A loss needs probabilities, which a decision has not: the data's own first score stands for it.
        names = dict.fromkeys([name for name in (self.metric, *self.metrics) if name != "loss"])
        if self.problem_type == MULTI:
            scores = several_scores(decided, labels)
            return {name: scores[name] for name in names}
        return judge(list(names), decided.tolist(), labels.tolist())

    def lines(self, splits: Sequence[str]) -> Lines:
        """The majority class (of numbers their mean), and tf-idf with a linear model, from 100,000 rows at most."""
        texts: dict[str, Texts] = {}
        labels: dict[str, np.ndarray] = {}
        for split in dict.fromkeys(["train", *splits]):
            rows = self.rows.splits[split]
            if len(rows) > MOST_LINED:  # evenly spaced, whatever order they stand in
                rows = rows.select(np.linspace(0, len(rows) - 1, MOST_LINED).astype(int))
            texts[split] = [list(rows[name][:]) for name in ("text", "text_pair") if name in rows.column_names]
            labels[split] = np.asarray(rows["label"][:])
        lower = self.lower_is_better and self.metric != "loss"
        return classical_lines(texts, labels, self._score, lower, refit=self.rows.held_out)

    def parts(self, splits: Sequence[str]) -> Lines:
        """Of a model whose votes a linear model has found, these alone and the memory alone."""
        parts = {} if self._voting is None else self._voting.parts
        return {name: {split: by[split] for split in splits if split in by} for name, by in parts.items()}

    def findings(self) -> dict[str, str]:
        """Which of both parts the chosen balance leaves out, if it does."""
        return {} if self._voting is None else self._voting.findings

    def details(self, split: str) -> dict[str, Any]:
        """Precision, recall, F1 and rows of every class; of one class a row the confusions, of several thresholds."""
        return self._details.get(split, {})

    def decide(self, logits: Tensor) -> Tensor:
        """The class of each row, or its grade."""
        return logits[:, 0] if self.rows.labels is None else logits.argmax(-1)

    def processor(self) -> PreTrainedTokenizerFast:
        """The tokenizer."""
        return self.tokenizer


def _texts(rows: LabelledText) -> Iterable[str]:
    """Every text of the training split, a thousand rows in memory at a time."""
    for batch in rows.splits["train"].iter(1000):
        yield from batch["text"]
        yield from batch.get("text_pair", ())


def _digest(values: Tensor) -> str:
    return sha256(values.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def _outputs(model: nn.Module, inputs: dict[str, Tensor]) -> Any:
    return model(**{name: value for name, value in inputs.items() if name != "labels"})
