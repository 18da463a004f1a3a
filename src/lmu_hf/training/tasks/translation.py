"""Pairs of sentences to translate: any parallel text, from files or a data set."""

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.trainer_pt_utils import get_length_grouped_indices

from ...data.labels import three_splits
from ...data.parallel import line_pairs, table_pairs
from ...data.sources import SPLITS, hub_name, load_rows
from ...data.tables import PLACE, ReadOptions, complete_rows
from ...data.telling import EXAMPLE, few_rows, known_rows, say_text_lengths
from ...data.tokenised import count_tokens, load_tokenizer
from ...tokenization_lmu import train_tokenizer
from ..baselines import Lines
from ..recipes import own_translation as rule
from ..translation_memory import translation_lines
from .base import Gather, Task

# What sacrebleu cuts a language's text into where no spaces set words apart: its own choice for Chinese, MeCab's words
# where that is installed, or else characters.
MECAB = {"ja": ("MeCab", "ja-mecab"), "ko": ("mecab_ko", "ko-mecab")}
WITHOUT_SPACES = ("ja", "ko", "km", "lo", "my", "th")
MOST_HELD_OUT = 3000  # pairs: each is searched with beams, and more hardly make a score surer


class TranslationTask(Task):
    """Translate sentences.

    One byte-pair vocabulary serves both languages. Sources and targets both end in ``<eos>``; a target starts from
    ``<bos>``.

    Args:
        name: what the data is called in a run record.
        rows: per split, a `datasets.Dataset` with a column ``translation`` that holds one sentence per language code,
            or with a column of sentences for each language code.
        source_lang: the language to translate from.
        target_lang: the language to translate into.
        vocab_size: byte pairs and all; None where ``minutes`` or a saved tokenizer decide.
        max_length: tokens of a sentence beyond which it is cut; None likewise.
        num_beams: of the search that the final scores and the saved model use.
        unescape: read ``&apos;``, ``&quot;`` and the like, as Moses' tokeniser writes them, as the characters they are.
        origin: of splits that come from elsewhere, the data set and its split.
        drop_incomplete_rows: leave out pairs that lack a sentence, rather than refuse them.
        saved: the folder or name of a saved model, whose tokenizer is then read and none is trained.
        minutes: the budget of the recipe that the training pairs then make; None for no such recipe.

    Raises:
        ValueError: a language is missing, or a split is empty.
    """

    metric = "bleu"
    evaluation_batch = 128
    length_unit = "words of the source"
    task = "translation"
    auto_class = AutoModelForSeq2SeqLM

    def __init__(
        self,
        name: str,
        rows: dict,
        source_lang: str = "en",
        target_lang: str = "de",
        vocab_size: int | None = 8000,
        max_length: int | None = 128,
        num_beams: int = 5,
        unescape: bool = False,
        origin: dict[str, str] | None = None,
        drop_incomplete_rows: bool = False,
        saved: str | None = None,
        minutes: float | None = None,
    ) -> None:
        from ..metrics import BLEU, ChrF

        self.name, self.source_lang, self.target_lang = name, source_lang, target_lang
        self.num_beams, self.unescape = num_beams, unescape
        self.origin, self.drop_incomplete_rows = origin or {}, drop_incomplete_rows
        self.pairs = {split: self._pairs(split, rows[split]) for split in SPLITS if split in rows}
        if saved is not None:
            self.tokenizer = load_tokenizer(saved)
        elif minutes is not None:
            max_length = self._make_recipe(minutes, vocab_size, max_length)
        else:
            self.tokenizer = self._train_tokenizer(vocab_size, max_length)
        self.max_length = self.tokenizer.model_max_length if max_length is None else max_length
        self.splits = {split: range(len(pairs)) for split, pairs in self.pairs.items()}
        self.bleu, self.chrf = BLEU(tokenize=bleu_tokenizer(target_lang)), ChrF()
        self.scorer = self.bleu.signature
        if minutes is not None and self._is_short():
            self.metric = "chrf"

    def _is_short(self) -> bool:
        """Whether half of the targets have fewer words than the four of BLEU's longest n-grams: most then score 0."""
        targets = [target for _, target in self.pairs["train"]]
        some = targets[:: max(1, len(targets) // 1000)]
        return bool(np.median([len(self.bleu.scorer.tokenizer(target).split()) for target in some]) < 4)

    def _train_tokenizer(self, vocab_size: int | None, max_length: int | None) -> PreTrainedTokenizerFast:
        if "train" not in self.pairs:
            raise ValueError(f"{self.name} has no training pairs: --train_file, or --source_file and --target_file")
        return train_tokenizer(
            "bpe",
            (text for pair in self.pairs["train"] for text in pair),  # both languages, training split only
            vocab_size=vocab_size,
            add_eos=True,
            model_max_length=max_length,
        )

    def _make_recipe(self, minutes: float, vocab_size: int | None, max_length: int | None) -> int:
        """Let the training pairs make the tokenizer and the recipe; the tokens of a sentence beyond which it is cut."""
        train = self.pairs["train"]
        measured = rule.measure(train)
        size, why = rule.vocabulary(measured) if vocab_size is None else (vocab_size, "given")
        self.tokenizer = self._train_tokenizer(size, max_length)
        some = np.linspace(0, len(train) - 1, min(len(train), rule.MEASURED)).astype(int)
        lengths = rule.lengths_of(count_tokens(self.tokenizer, [train[place] for place in some]))
        made = rule.make_recipe(measured, lengths, size, minutes)
        self.reasons = {"vocab_size": why, **made.reasons}
        data = {"source_lang": self.source_lang, "target_lang": self.target_lang, **made.options}
        if max_length is not None:
            data["max_length"], self.reasons["max_length"] = max_length, "given"
        self.made = replace(made.recipe, data=data)
        self.tokenizer.model_max_length = data["max_length"]  # saved with it: a pipeline cuts where training did
        return data["max_length"]

    def _pairs(self, split: str, rows) -> list[tuple[str, str]]:
        if len(rows) == 0:
            raise ValueError(f"the {split} split of {self.name} holds no pair")
        flat = rows.flatten()  # one column for each language of "translation"
        names = {name.removeprefix("translation."): name for name in flat.column_names if name != PLACE}
        for language in (self.source_lang, self.target_lang):
            if language not in names:
                raise ValueError(
                    f"the {split} split of {self.name} has no language {language!r}; it has {', '.join(names)}"
                )
        columns = names[self.source_lang], names[self.target_lang]
        # Data sets keep their empty sentences; in a person's file one has been forgotten.
        filled = columns if PLACE in flat.column_names else ()
        what = f"the {split} split of {self.name}"
        flat = complete_rows(what, flat, columns, self.drop_incomplete_rows, filled)
        sources, targets = (
            [html.unescape(text) if self.unescape else text for text in flat[column]] for column in columns
        )
        return list(zip(sources, targets, strict=True))

    def describe(self) -> dict:
        """Name, languages, pairs per split, and a fingerprint of every sentence."""
        digest = sha256()
        for pairs in self.pairs.values():
            digest.update(repr(pairs).encode())
        return {
            "name": self.name,
            "languages": [self.source_lang, self.target_lang],
            "rows": {split: len(pairs) for split, pairs in self.pairs.items()},
            "tokenizer": "bpe",
            **({"splits": self.origin} if self.origin else {}),
            "fingerprint": digest.hexdigest()[:16],
        }

    def announce(self) -> str:
        """From which language to which, how many pairs of which length there are, and what of them is cut."""
        train = self.pairs["train"]
        cut = self._count_cut()
        sentences = [
            f"translation {self.source_lang} → {self.target_lang}: {len(train):,} training pairs",
            f"sources: {say_text_lengths((source,) for source, _ in train)}",
            *(f"{len(part):,} for {split}" for split, part in self.pairs.items() if split != "train"),
            f"{cut:,} pairs cut at {self.max_length} tokens (--max_length)" if cut else "nothing cut",
            *(["chrF chooses the weights, since most targets are too short for BLEU"] if self.metric == "chrf" else []),
        ]
        return "; ".join(sentences) + self._warnings()

    def _count_cut(self) -> int:
        """Training pairs of which a sentence has more tokens than are read."""
        # A token is a byte at least, and <eos> is one more.
        long = [pair for pair in self.pairs["train"] if max(len(text.encode()) for text in pair) >= self.max_length]
        return sum(max(both) > self.max_length for both in count_tokens(self.tokenizer, long))

    def _warnings(self) -> str:
        """Of somebody's own files: lines on too few validation rows, and on sources that were trained on."""
        if self.title is None:
            return ""
        sources = {split: [source for source, _ in part] for split, part in self.pairs.items()}
        trained = sources.pop("train")
        return few_rows(len(sources["validation"])) + known_rows(sources, trained)

    def config_fields(self) -> dict:
        """The vocabulary, its special ids, and two stacks."""
        tokenizer = self.tokenizer
        return {
            "is_encoder_decoder": True,
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            # A target begins with <bos> and ends with <eos>; the model shifts labels to the right by this token.
            "decoder_start_token_id": tokenizer.bos_token_id,
        }

    @property
    def smooths_labels(self) -> bool:
        """Always."""
        return True

    def make_model(self, architecture: dict[str, Any]) -> PreTrainedModel:
        """A fresh model that searches as the final scores do, unless it is told otherwise."""
        model = super().make_model(architecture)
        # Saved with the model, so that `pipeline` and `generate` search as the record's score was found.
        model.generation_config.update(num_beams=self.num_beams, max_new_tokens=self.max_length)
        return model

    def order(self, split: str, batch_size: int, generator: torch.Generator) -> list[int]:
        """An epoch's rows at random, but so that neighbours are of about one length."""
        lengths = [len(source) + len(target) for source, target in self.pairs[split]]
        return get_length_grouped_indices(lengths, batch_size, generator=generator)

    def collate(self, split: str) -> Callable[[list[int]], dict[str, Tensor]]:
        """What turns row numbers into a batch of padded token ids."""

        def padded(rows: list[int]) -> dict[str, Tensor]:
            sources, targets = zip(*(self.pairs[split][row] for row in rows), strict=True)
            batch = self.encode(list(sources))
            target = self.encode(list(targets))
            # By the mask and not by the padding id, which a text could hold.
            batch["labels"] = target["input_ids"].masked_fill(target["attention_mask"] == 0, -100)
            # The row's number travels along: processes and batches by length give translations in another order.
            return batch if split == "train" else {**batch, "row": torch.tensor(rows)}

        return padded

    def row_lengths(self, split: str) -> np.ndarray:
        """How many words each source has, between blanks."""
        return np.array([len(source.split()) for source, _ in self.pairs[split]])

    def encode(self, texts: list[str]) -> dict[str, Tensor]:
        """Sentences as ``input_ids`` and ``attention_mask``, (b, n)."""
        return dict(self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt"))

    def translate(self, model: Any, inputs: dict[str, Tensor], num_beams: int) -> Tensor:
        """Token ids (b, max_length + 1) of the translations, padded."""
        ids = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            num_beams=num_beams,
            do_sample=False,  # whatever a saved generation config says
            max_new_tokens=self.max_length,
        )
        # To one width in every process, or they could not be gathered: <bos> and max_length new tokens.
        return pad(ids, (0, self.max_length + 1 - ids.shape[1]), value=self.tokenizer.pad_token_id)

    def scores(
        self, model: PreTrainedModel, split: str, batches: Iterable, gather: Gather, final: bool = False
    ) -> dict[str, float]:
        """BLEU and chrF of detokenised, cased text (greedy on the way, with beams at the end), and nats per token."""
        nats, tokens = 0.0, 0
        made: dict[int, str] = {}
        for batch in batches:
            labels = batch["labels"]
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            logits = model(**inputs, labels=labels).logits
            # Without label smoothing, unlike the training loss, so that runs compare.
            losses = cross_entropy(logits.transpose(1, 2).float(), labels, reduction="none").double().sum(1)
            # Beams cost several times as much: on the way greedy scores are enough to choose weights by.
            ids = self.translate(model, inputs, self.num_beams if final else 1)
            losses, counts, ids, rows = gather((losses, (labels != -100).sum(1), ids, batch["row"]))
            nats, tokens = nats + losses.sum().item(), tokens + int(counts.sum())
            # By number, so that a row counts once, whichever process has it.
            made |= dict(zip(rows.tolist(), self.tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True))
        # The untokenised references: sacrebleu tokenises both sides by itself.
        references = [self.pairs[split][row][1] for row in sorted(made)]
        predictions = [made[row] for row in sorted(made)]
        return {**self._judge(predictions, references), "loss": nats / tokens}

    def _judge(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        scores: dict[str, float] = {}
        for metric in (self.bleu, self.chrf):
            scores |= metric.compute(predictions=predictions, references=references)
        return scores

    def lines(self, splits: Sequence[str]) -> Lines:
        """BLEU and chrF of a translation memory, from 100,000 pairs at most, and of sources as they are."""
        return translation_lines({split: self.pairs[split] for split in ("train", *splits)}, self._judge)

    def processor(self) -> PreTrainedTokenizerFast:
        """The tokenizer."""
        return self.tokenizer


def bleu_tokenizer(language: str) -> str:
    """What sacrebleu cuts a target language's text by: ``"13a"``, its default, for those that write spaces.

    Args:
        language: its code, with or without a region or a script: ``zh``, ``zh-TW``, ``zh_Hans``.
    """
    code = language.replace("_", "-").partition("-")[0].lower()
    if code in ("zh", "yue"):
        return "zh"
    if code in MECAB and find_spec(MECAB[code][0]) is not None:
        return MECAB[code][1]
    return "char" if code in WITHOUT_SPACES else "13a"


def parallel_files(
    files: dict[str, Path | tuple[Path, Path]],
    source_lang: str = "en",
    target_lang: str = "de",
    source_column: str | None = None,
    target_column: str | None = None,
    options: ReadOptions | None = None,
    **how,
) -> TranslationTask:
    """Pairs of files: per split a table or TMX, or two texts whose lines are each other's translations.

    Without a file for validation, a tenth of the training pairs, drawn at random, validates; 3,000 at most.

    Args:
        files: by split, one path or the source's and the target's.
        source_lang: the language to translate from.
        target_lang: the language to translate into.
        source_column: of a table, the column of sources; None for one called ``source_lang``.
        target_column: that of targets; None for one called ``target_lang``.
        options: how the files are read.
        how: further arguments of :class:`TranslationTask`.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file cannot be read or lacks a column, pairs lack a sentence, or are too few to hold some out.
    """
    options, languages = options or ReadOptions(), (source_lang, target_lang)
    if source_lang == target_lang:
        raise ValueError(f"--source_lang and --target_lang must differ, got {source_lang!r} for both")
    tables = {split: path for split, path in files.items() if isinstance(path, Path)}
    texts = {split: both for split, both in files.items() if isinstance(both, tuple)}
    columns = source_column or source_lang, target_column or target_lang
    rows = table_pairs(tables, columns, languages, options) | line_pairs(texts, languages, options.encoding)
    rows = {
        split: complete_rows(_file_names(files[split]), part, languages, options.drop_incomplete_rows, languages)
        for split, part in rows.items()
    }
    origin = {split: _file_names(both) for split, both in files.items()}
    name = next(iter(origin.values()))
    if "train" in rows:
        rows, origin = three_splits(rows, origin, promote=False, validation_block=1, most=MOST_HELD_OUT)
    task = TranslationTask(name, rows, source_lang, target_lang, origin=origin, **how)
    task.example = example_of(task.pairs)
    return task


def example_of(pairs: dict[str, list[tuple[str, str]]]) -> str:
    """A source to try the model on: the first one of a bearable length."""
    sources = [source for source, _ in next(iter(pairs.values()))[:100]]
    source = next((source for source in sources if len(source) <= EXAMPLE), sources[0])
    return " ".join(source.split())[:EXAMPLE]


def _file_names(paths: Path | tuple[Path, Path]) -> str:
    return paths.name if isinstance(paths, Path) else " and ".join(path.name for path in paths)


def parallel_dataset(
    name: str, data_dir: Path | None = None, test_dataset: str | None = None, **how
) -> TranslationTask:
    """A parallel data set, by Hub name or from a folder of data sets.

    Args:
        name: of the data set.
        data_dir: the folder; None for the Hub.
        test_dataset: another one, whose validation split is the test; None for the data set's own test split.
        how: further arguments of :class:`TranslationTask`.

    Raises:
        FileNotFoundError: the folder does not hold it.
        ValueError: it lacks a split or a language.
    """
    rows = load_rows(name, data_dir, needed=("train", "validation"))
    if test_dataset is not None:
        rows = {**rows, "test": load_rows(test_dataset, data_dir, needed=("validation",))["validation"]}
        how["origin"] = {"test": f"{test_dataset} validation"}
    task = TranslationTask(name, rows, **how)
    task.dataset = hub_name(name, data_dir)
    return task
