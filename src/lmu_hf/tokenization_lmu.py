"""Characters, bytes, words or byte pairs: four tokenizers that are nothing but a `tokenizer.json`.

``save_pretrained`` writes ``tokenizer.json`` and ``tokenizer_config.json``; ``AutoTokenizer`` loads that folder
wherever transformers is, with or without this package.

======  ===================================  ==============================  =========================
kind    a token is                           ids                             decode(encode(text))
======  ===================================  ==============================  =========================
char    one code point                       specials 0–3, then characters   text, of known characters
byte    one byte of the text's UTF-8         0–255, then specials 256–258    text
word    a match of ``word_pattern``          specials 0–3, then words        words with single spaces
bpe     a frequent string of UTF-8 bytes     specials 0–2, 256 bytes, pairs  text
======  ===================================  ==============================  =========================

The specials are ``<pad>``, ``<bos>``, ``<eos>`` and, where a text can hold something unknown, ``<unk>``, in this order;
decoding with ``skip_special_tokens=True`` leaves out what was unknown, too. Written in a text they are special, as in
other tokenizers; with ``split_special_tokens=True`` they are text, and only then does a text that spells one come back
from ``decode(encode(text), skip_special_tokens=True)``, or may it be encoded in pieces. A config takes its
``vocab_size`` from ``len(tokenizer)`` and its three ids from the tokenizer; for bytes ``pad_token_id`` must not stay 0,
the byte NUL.

An encoding takes some 200 bytes of memory per token. Characters and bytes may be encoded in pieces of any size: the
pieces' ids in a row are the ids of the whole.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

TokenizerKind = Literal["char", "byte", "word", "bpe"]
PAD, BOS, EOS, UNK = SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")

WORD_PATTERN = r"\w+|[^\w\s]"
# No pair grows across a match. Marks belong to their letters, or decomposed Vietnamese would fall apart; digits stay
# single, so that numbers can be copied; a word takes its space or apostrophe with it. No match mixes letters and signs:
# no pair can spell a special token.
PAIR_PATTERN = r"[ '’]?[\p{L}\p{M}]+| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
# What tokenised corpora put before a comma, after a bracket and within "do n't".
GAPS = (r" +(?=[.,!?;:%)\]])", r"(?<=[(\[]) +", r" +(?=(?:n['’]t|['’](?:s|t|re|ve|ll|d|m))\b)")

# A chat in turns, each of which ends with <eos>: what a model is fine-tuned on, and stops by. `generation` marks what
# the model says itself, for a loss of those tokens alone.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
# For a model that was trained on texts and knows no turns: all that was said is one text, which it continues.
TEXT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def train_tokenizer(
    kind: TokenizerKind,
    texts: Iterable[str] = (),
    *,
    vocab_size: int | None = None,
    min_frequency: int | None = None,
    lowercase: bool | None = None,
    close_gaps: bool | None = None,
    word_pattern: str | None = None,
    padding_side: Literal["left", "right"] = "right",
    add_bos: bool = False,
    add_eos: bool = False,
    pair: bool = False,
    model_max_length: int | None = None,
    split_special_tokens: bool = False,
) -> PreTrainedTokenizerFast:
    r"""Learn a vocabulary from texts, in one pass; the same texts, in any order, give the same file.

    Args:
        kind: what a token is; see the table above.
        texts: any iterable of str, e.g. ``dataset["text"]`` or a generator, read one text at a time. ``"byte"`` learns
            nothing and reads none.
        vocab_size: for char, word and bpe, which needs it: the most tokens there may be, specials included. The most
            frequent stay; of equally frequent characters or words, the first by code point.
        min_frequency: for char and word (1) and bpe (2): what is seen less often is no token.
        lowercase: for word and bpe: upper and lower case are one.
        close_gaps: for bpe: a space before a comma, a full stop or an ``n't``, as tokenised corpora have it, goes.
        word_pattern: for word: a regular expression (a run of letters, digits and marks, or one other sign); what lies
            between its matches is dropped. ``r"\S+"`` for text whose words are set apart already; a word there that
            reads ``<unk>`` is the special token.
        padding_side: ``"left"`` for a language model that generates; a masked step does not exist on either side.
        add_bos: every sequence begins with ``<bos>``.
        add_eos: every sequence ends with ``<eos>``, as a translation's source and target do.
        pair: return ``token_type_ids``, 0 and 1 for the two sequences of ``tokenizer(text, text_pair)``, as
            :class:`LMUForSequencePairClassification` reads them. Each sequence has its own ``<bos>`` and ``<eos>``.
        model_max_length: what ``truncation=True`` cuts to. None: nothing is cut.
        split_special_tokens: False: ``<eos>`` written in a text is the special token, as chat templates and
            supervised fine-tuning need it. True: it is text like any other, so that any text comes back and nobody's
            text holds a special token; only transformers keeps this promise, the bare ``tokenizers`` library does not
            store it. A call may say otherwise: ``tokenizer(text, split_special_tokens=True)``.

    Raises:
        ValueError: an unknown kind, a number too small, or texts from which nothing is learned.
        TypeError: an option that the kind has not, or a text that is not a str.
    """
    options = {
        "vocab_size": vocab_size,
        "min_frequency": min_frequency,
        "lowercase": lowercase,
        "close_gaps": close_gaps,
        "word_pattern": word_pattern,
    }
    backend = _build(kind, texts, {name: value for name, value in options.items() if value is not None})
    # Bytes and byte pairs know every text: they have no <unk>.
    specials = [token for token in SPECIALS if backend.token_to_id(token) is not None]
    # normalized=False: found in the text as written, so that lower-casing makes no <EOS> special.
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    backend.post_processor = _frame(backend, add_bos, add_eos)
    if model_max_length is not None:
        least = backend.num_special_tokens_to_add(pair) + (2 if pair else 1)
        _check_count("model_max_length", model_max_length, least, "one token of each sequence, and what is added")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK if UNK in specials else None,
        padding_side=padding_side,
        model_max_length=model_max_length,
        model_input_names=["input_ids", *(["token_type_ids"] if pair else []), "attention_mask"],
        split_special_tokens=split_special_tokens,
        clean_up_tokenization_spaces=False,  # True would drop spaces before punctuation
    )


def continue_chats(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Give a tokenizer without a chat template that of a base model, which continues what was said; whether it did."""
    if tokenizer.chat_template is not None:
        return False
    # A template writes what stands around a text by itself.
    begins = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + TEXT_TEMPLATE
    return True


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes] | None:
    """The bytes that each token of a tokenizer of byte pairs stands for; None where tokens are no bytes.

    Special tokens are the bytes of their names.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if (
        backend is None
        or not isinstance(backend.model, models.BPE)
        or not isinstance(backend.decoder, decoders.ByteLevel)
    ):
        return None
    bytes_of = {name: bytes([byte]) for byte, name in enumerate(_byte_names())}
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return [b"".join(bytes_of.get(sign, sign.encode()) for sign in name) for name in names]


@contextmanager
def bpe_dropout(tokenizer: PreTrainedTokenizerFast, probability: float) -> Iterator[None]:
    """Within the block, every merge is left out at random, so that a text is cut differently each time.

    Provilkov et al. 2020, "BPE-Dropout: simple and effective subword regularization"; they use 0.1, for training texts
    only. The random numbers are the library's own and take no seed. Characters and bytes, which have no merges, do not
    change.

    Raises:
        ValueError: a probability outside 0 … 1.
        TypeError: the tokenizer is made of words.
    """
    model = tokenizer.backend_tokenizer.model
    if not isinstance(model, models.BPE):
        raise TypeError(f"bpe_dropout needs a tokenizer of byte pairs, got one of {type(model).__name__}")
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must be within 0 … 1, got {probability}")
    before, model.dropout = model.dropout, probability
    try:
        yield
    finally:
        model.dropout = before


def _char_backend(texts: Iterable[str], *, vocab_size: int | None = None, min_frequency: int = 1) -> Tokenizer:
    _check_limits(vocab_size, min_frequency, least=len(SPECIALS) + 1)
    counts: Counter[str] = Counter()
    for text in _checked(texts):
        counts.update(text)
    ranked = sorted((c for c in counts if counts[c] >= min_frequency), key=lambda c: (-counts[c], c))
    # In code point order, so that texts over the same alphabet give the same ids. BPE without a merge leaves single
    # characters, several times as fast as WordLevel does on text that is split into them.
    vocabulary = _vocabulary(sorted(ranked[: _room(vocab_size)]))
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token=UNK))
    backend.decoder = decoders.Fuse()
    return backend


def _byte_backend(texts: Iterable[str]) -> Tokenizer:
    vocabulary = {token: number for number, token in enumerate([*_byte_names(), PAD, BOS, EOS])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    # No split at words: without a merge, every byte is a token of its own anyway.
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _word_backend(
    texts: Iterable[str],
    *,
    vocab_size: int | None = None,
    min_frequency: int = 1,
    lowercase: bool = False,
    word_pattern: str = WORD_PATTERN,
) -> Tokenizer:
    _check_limits(vocab_size, min_frequency, least=len(SPECIALS) + 1)
    backend = Tokenizer(models.WordLevel(unk_token=UNK))
    # NFC: a letter with its mark is the same letter, written as one code point or as two.
    steps = [normalizers.Lowercase(), normalizers.NFC()] if lowercase else [normalizers.NFC()]
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Split(_regex(word_pattern), behavior="removed", invert=True)
    # The trainer ranks the words by frequency and code point. It must not know the specials: one that is also a word of
    # the texts would move to the word's place and leave its own empty.
    trainer = trainers.WordLevelTrainer(
        vocab_size=2**62, min_frequency=min_frequency, special_tokens=[], show_progress=False
    )
    backend.train_from_iterator(_checked(texts), trainer)
    places = backend.get_vocab()
    ranked = sorted(places.keys() - set(SPECIALS), key=places.__getitem__)
    backend.model = models.WordLevel(_vocabulary(ranked[: _room(vocab_size)]), unk_token=UNK)
    return backend


def _bpe_backend(
    texts: Iterable[str],
    *,
    vocab_size: int | None = None,
    min_frequency: int = 2,
    lowercase: bool = False,
    close_gaps: bool = False,
) -> Tokenizer:
    # Bytes rather than Metaspace with byte fallback: that writes a space as "▁", so that neither a "▁" in a text nor a
    # space at its start comes back.
    if vocab_size is None:
        raise ValueError("vocab_size must be given for kind='bpe'")
    specials = [PAD, BOS, EOS]
    _check_limits(vocab_size, min_frequency, least=256 + len(specials))
    backend = Tokenizer(models.BPE())
    steps: list[normalizers.Normalizer] = [normalizers.Lowercase()] if lowercase else []
    steps += [normalizers.Replace(Regex(gap), "") for gap in GAPS] if close_gaps else []
    if steps:
        backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PAIR_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=specials,
        initial_alphabet=_byte_names(),
        show_progress=False,
    )
    backend.train_from_iterator(_checked(texts), trainer)
    return backend


_BUILDERS: dict[str, Callable[..., Tokenizer]] = {
    "char": _char_backend,
    "byte": _byte_backend,
    "word": _word_backend,
    "bpe": _bpe_backend,
}


def _build(kind: str, texts: Iterable[str], options: dict[str, Any]) -> Tokenizer:
    if kind not in _BUILDERS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _BUILDERS))}, got {kind!r}")
    known = list(inspect.signature(_BUILDERS[kind]).parameters)[1:]  # without texts
    if unknown := sorted(options.keys() - known):
        raise TypeError(f"kind={kind!r} has no option {unknown[0]!r}; it has: {', '.join(known) or 'none'}")
    return _BUILDERS[kind](texts, **options)


def _checked(texts: Iterable[str]) -> Iterator[str]:
    """The texts, one at a time, each known to be one."""
    if isinstance(texts, str | Mapping):
        raise TypeError(f"texts must be an iterable of str, such as a list or a column, got {type(texts).__name__}")
    empty = True
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts must hold str, number {place} is {type(text).__name__}")
        try:
            text.encode()  # the library takes UTF-8, in which a lone surrogate has no form
        except UnicodeEncodeError as error:
            lone = text[error.start]
            raise ValueError(f"texts must be Unicode, number {place} holds the lone surrogate {lone!r}") from error
        empty = empty and not text
        yield text
    if empty:
        raise ValueError("texts must hold at least one text that is not empty, got none")


def _check_limits(vocab_size: int | None, min_frequency: int, least: int) -> None:
    if vocab_size is not None:
        _check_count("vocab_size", vocab_size, least, "special tokens included")
    _check_count("min_frequency", min_frequency, 1, "times seen")


def _check_count(name: str, value: int, least: int, meaning: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least} ({meaning}), got {value}")


def _room(vocab_size: int | None) -> int | None:
    """How many tokens there may be beside the specials."""
    return None if vocab_size is None else vocab_size - len(SPECIALS)


def _vocabulary(tokens: list[str]) -> dict[str, int]:
    if not tokens:
        raise ValueError("texts must hold something to learn: nothing in them is a token (min_frequency, word_pattern)")
    return {token: number for number, token in enumerate([*SPECIALS, *tokens])}


def _byte_names() -> list[str]:
    """The characters by which ByteLevel writes the bytes 0 … 255: printable Latin-1 stands for itself."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _regex(pattern: str) -> Regex:
    try:
        return Regex(pattern)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"word_pattern must be a regular expression, got {pattern!r}: {error}") from error


def _frame(backend: Tokenizer, add_bos: bool, add_eos: bool) -> processors.TemplateProcessing:
    """What stands around each of two sequences, and which of them a token belongs to."""
    before, after = [BOS] * add_bos, [EOS] * add_eos
    first = " ".join(f"{token}:0" for token in [*before, "$A", *after])
    second = " ".join(f"{token}:1" for token in [*before, "$B", *after])
    ids = [(token, backend.token_to_id(token)) for token in [*before, *after]]
    return processors.TemplateProcessing(single=first, pair=f"{first} {second}", special_tokens=ids)
