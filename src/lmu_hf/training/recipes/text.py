"""Running text."""

from dataclasses import replace

from ..baselines import lstm_baseline
from .base import Recipe, recipe

LSTM_SIZE = 152
PLAIN_LSTM_SIZE = 320
WIDE = {  # fewer, wider blocks, and two windows in each
    "hidden_size": 240,
    "num_hidden_layers": 3,
    "memory_channels": 60,
    "theta": [[4, 16], [4, 16], [8, 64]],
    "norm": "layer",
}


@recipe
def python_sources() -> Recipe:
    """Python's own sources, byte by byte, two minutes on two cores: what ``train_char_lm.py`` trains by default."""
    return Recipe(
        name="python-sources",
        kind="characters",
        data={"sequence_length": 256},
        architecture={
            "hidden_size": 96,
            "num_hidden_layers": 3,
            "order": 6,
            "theta": [8, 24, 96],
            "memory_channels": 32,
        },
        learning_rate=6e-3,
        batch_size=8,
        max_steps=1300,
        eval_steps=650,
        averaging=0.99,
        max_grad_norm=1.0,
    )


def _small(name: str, dataset_name: str, epochs: int, **data) -> Recipe:
    """1.6M parameters and some hundred minutes of one core; the first windows hold the last letters all but exactly."""
    return Recipe(
        name=name,
        kind="characters",
        data={"dataset_name": dataset_name, "sequence_length": 256, "shifted": True} | data,
        architecture={
            "hidden_size": 192,
            "num_hidden_layers": 5,
            "order": 6,
            "theta": [4, 4, 8, 16, 64],
            "memory_channels": 48,
            "basis": "orthonormal",
            "hidden_dropout": 0.05,
        },
        lstm={"hidden_size": LSTM_SIZE},
        learning_rate=4e-3,
        weight_decay=0.1,
        epochs=epochs,
        batch_size=16,
        warmup=0.05,
        averaging=0.998,
        max_grad_norm=1.0,
    )


def _lstm(small: Recipe) -> Recipe:
    """LSTMs in the memories' place, in the same blocks and loop; narrower, so that the parameters are as many."""
    return small.baseline("lstm")


def _plain_lstm(small: Recipe) -> Recipe:
    """Two LSTM layers and nothing around them, as in most published comparisons; again with as many parameters."""
    plain = {"block_type": "lmu", "num_hidden_layers": 2, "hidden_size": PLAIN_LSTM_SIZE}
    return replace(small, name=f"{small.name}-lstm-plain", architecture=lstm_baseline(small.architecture, **plain))


def _with_ngrams(small: Recipe, buckets: int) -> Recipe:
    """Beside each character, vectors of the two to five that end at it: looked up, not computed."""
    ngrams = {"sizes": [2, 3, 4, 5], "buckets": buckets, "width": 32}
    return replace(small, name=f"{small.name}-ngrams", architecture=small.architecture | {"ngrams": ngrams})


def _steep(small: Recipe) -> Recipe:
    """Larger steps and no dropout, for a text that is read once."""
    architecture = small.architecture | {"hidden_dropout": 0.0}
    return replace(small, name=f"{small.name}-steep", architecture=architecture, learning_rate=8e-3)


@recipe
def ptb_char() -> Recipe:
    """Penn Treebank, character by character; spaces and line breaks are characters, as in the literature."""
    return _small("ptb-char", "ptb-char", epochs=5, tokenizer="char")


@recipe
def ptb_char_lstm() -> Recipe:
    """The same for LSTMs."""
    return _lstm(ptb_char())


@recipe
def ptb_char_ngrams() -> Recipe:
    """The same for characters that know those before them, in larger steps, with fewer than five million parameters."""
    ngrams = _with_ngrams(ptb_char(), buckets=24_576)
    return replace(ngrams, architecture=ngrams.architecture | {"embedding_dropout": 0.1}, learning_rate=8e-3, epochs=4)


@recipe
def ptb_char_windows() -> Recipe:
    """Fewer, wider blocks with two windows each, whose n-grams drop out; fewer than five million parameters, too."""
    longer = {"ngrams": {"sizes": [2, 3, 4, 5, 6], "buckets": 20_480, "width": 32, "dropout": 0.25}}
    ngrams = ptb_char_ngrams()
    return replace(
        ngrams,
        name="ptb-char-windows",
        architecture=ngrams.architecture | WIDE | longer | {"embedding_dropout": 0.0},
        epochs=5,
    )


@recipe
def ptb_char_lstm_plain() -> Recipe:
    """The same for two layers of LSTM alone, in larger steps."""
    return replace(_plain_lstm(ptb_char()), learning_rate=8e-3)


@recipe
def text8() -> Recipe:
    """The first characters of text8, once; ``--dataset_name afmck/text8`` is the whole of it, split 90M/5M/5M."""
    return replace(_small("text8", "text8-prefix", epochs=1, tokenizer="char"), eval_steps=500)


@recipe
def text8_lstm() -> Recipe:
    """The same for LSTMs."""
    return _lstm(text8())


@recipe
def text8_lstm_plain() -> Recipe:
    """The same for two layers of LSTM alone."""
    return _plain_lstm(text8())


@recipe
def text8_lstm_plain_steep() -> Recipe:
    """The same in larger steps."""
    return _steep(text8_lstm_plain())


@recipe
def text8_ngrams() -> Recipe:
    """The same for characters that know those before them."""
    return _with_ngrams(text8(), buckets=65_536)


@recipe
def text8_ngrams_steep_long() -> Recipe:
    """The same in larger steps, which stay large: the average of the weights calms them."""
    steep = replace(_steep(text8_ngrams()), name="text8-ngrams-steep-long", schedule="constant_with_warmup")
    return replace(steep, averaging=0.995, max_steps=1465, eval_steps=500)


@recipe
def text8_windows() -> Recipe:
    """Fewer, wider blocks with two windows each, and longer n-grams, in the time of ``text8-lstm-plain-steep``."""
    longer = {"ngrams": {"sizes": [2, 3, 4, 5, 6, 8], "buckets": 32_768, "width": 32}}
    steep = text8_ngrams_steep_long()
    return replace(
        steep, name="text8-windows", architecture=steep.architecture | WIDE | longer, max_steps=1410, eval_steps=470
    )


@recipe
def text8_ngrams_lstm() -> Recipe:
    """The same for LSTMs."""
    return replace(_with_ngrams(text8_lstm(), buckets=65_536), name="text8-ngrams-lstm")


@recipe
def text8_paper() -> Recipe:
    """The paper's network for the whole of text8: five highway blocks, a mixture of their outputs, 180 characters.

    Windows and orders are the paper's; the width and the optimiser's numbers are ours. It asks for an accelerator.
    """
    return Recipe(
        name="text8-paper",
        kind="characters",
        data={"dataset_name": "afmck/text8", "sequence_length": 180, "tokenizer": "char", "shifted": True},
        architecture={
            "block_type": "highway",
            "hidden_size": 400,
            "num_hidden_layers": 5,
            "num_highway_layers": 3,
            "deep_representations": True,
            "order": 5,
            "theta": 10,
            "basis": "orthonormal",
            "hidden_dropout": 0.1,
        },
        learning_rate=1e-3,
        epochs=10,
        batch_size=256,
        eval_steps=2000,
        averaging=0.999,
        max_grad_norm=1.0,
    )


@recipe
def wikitext_char() -> Recipe:
    """WikiText-2, byte by byte, as it is tokenised there."""
    return _small("wikitext-char", "Salesforce/wikitext", epochs=2, config="wikitext-2-v1")


@recipe
def wikitext_char_lstm() -> Recipe:
    """The same for LSTMs."""
    return _lstm(wikitext_char())


@recipe
def imdb_lm() -> Recipe:
    """Byte pairs of IMDB's training and unlabelled reviews: a body for ``train_glue.py`` to fine-tune.

    A hundredth of the reviews, drawn at random, validates; the test reviews are not read. The rest is read once, in
    steps that stay large: the average of the weights calms them.
    """
    return Recipe(
        name="imdb-lm",
        kind="pretraining",
        data={
            "dataset_name": "stanfordnlp/imdb",
            "train_split": "train+unsupervised",
            "test_split": "",
            "hold_out": 0.01,
            "tokenizer": "bpe",
            "vocab_size": 8000,
            "sequence_length": 256,
            "shifted": True,
        },
        architecture={
            "hidden_size": 192,
            "num_hidden_layers": 5,
            "order": 4,
            "theta": [4, 8, 16, 32, 64],
            "memory_channels": 64,
            "basis": "orthonormal",
            "tie_word_embeddings": True,
            "initializer_range": 0.07,
            "residual_initializer_scale": 0.05,
            "ngrams": {"sizes": [2, 3], "buckets": 65_536, "width": 32},
        },
        optimizer="muon",
        learning_rate=3e-3,
        weight_decay=0.1,
        epochs=1,
        batch_size=16,
        max_steps=6000,
        eval_steps=500,
        schedule="constant_with_warmup",
        warmup=0.05,
        averaging=0.999,
        max_grad_norm=1.0,
    )
