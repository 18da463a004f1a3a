"""Pairs of sentences."""

from dataclasses import replace

from ..baselines import lstm_baseline
from .base import Recipe, recipe


def _lstm(of: Recipe, **architecture) -> Recipe:
    """LSTMs in the memories' place, under the same attention, in the same blocks and loop."""
    return replace(of, name=f"{of.name}-lstm", architecture=lstm_baseline(of.architecture, **architecture))


def _captions() -> Recipe:
    """Multi30k in AdamW's steps: bidirectional encoder, attention, two blocks on either side."""
    return Recipe(
        name="captions",
        kind="translation",
        data={
            "dataset_name": "multi30k-en-de",
            "source_lang": "en",
            "target_lang": "de",
            "vocab_size": 6000,
            "max_length": 96,
        },
        architecture={
            "hidden_size": 256,
            "num_hidden_layers": 2,
            "num_decoder_layers": 2,
            "order": 4,
            "theta": [4, 12],
            "memory_channels": 96,
            "bidirectional": True,
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "embedding_dropout": 0.2,
            "hidden_dropout": 0.2,
            "attention_dropout": 0.1,
            "label_smoothing": 0.1,
            "tie_word_embeddings": True,
            "initializer_range": 0.06,
        },
        learning_rate=2e-3,
        epochs=12,
        batch_size=64,
        averaging=0.999,
        max_grad_norm=1.0,
    )


@recipe
def multi30k() -> Recipe:
    """English to German captions, one hour of one core that multiplies in bfloat16.

    Residual branches start small and Muon takes the steps: attention is found sooner. Every layer has two windows.
    """
    windows = {"theta": [[4, 48], [4, 48]], "memory_channels": 160}
    sooner = {"norm": "layer", "residual_initializer_scale": 0.05, "hidden_dropout": 0.1}
    captions = _captions()
    return replace(
        captions, name="multi30k", architecture=captions.architecture | windows | sooner, optimizer="muon", epochs=10
    )


@recipe
def multi30k_lstm() -> Recipe:
    """The same for LSTMs."""
    return _lstm(multi30k())


@recipe
def multi30k_lstm_plain() -> Recipe:
    """Two layers of LSTM on either side and the same attention alone, with as many parameters as ``multi30k``.

    So most published comparisons have it: no MLPs, no skips but attention's.
    """
    return replace(_lstm(_captions(), block_type="lmu", hidden_size=288), name="multi30k-lstm-plain")


@recipe
def evbnews() -> Recipe:
    """English to Vietnamese news; the test is tst2012 of IWSLT'15, talks, with its Moses escapes undone.

    Three epochs are what an hour and a half holds, so batches are smaller and embeddings drop less than for captions.
    """
    return replace(
        multi30k(),
        name="evbnews",
        architecture=multi30k().architecture | {"embedding_dropout": 0.1},
        data={
            "dataset_name": "evbnews-en-vi",
            "test_dataset": "iwslt15-en-vi",
            "source_lang": "en",
            "target_lang": "vi",
            "vocab_size": 8000,
            "max_length": 128,
            "unescape": True,
        },
        epochs=3,
        batch_size=32,
    )


@recipe
def evbnews_lstm() -> Recipe:
    """The same for LSTMs."""
    return _lstm(evbnews())


@recipe
def dates() -> Recipe:
    """Dates and quantities in two languages: what ``train_translation.py`` trains with nothing to download."""
    return replace(
        _captions(),
        name="dates",
        data={"source_lang": "en", "target_lang": "de", "vocab_size": 1000},
        architecture=_captions().architecture | {"hidden_size": 128, "intermediate_size": 256, "hidden_dropout": 0.05},
        epochs=6,
        averaging=0.99,
    )
