"""Pairs of sentences in two languages."""

from dataclasses import replace
from typing import Any

from .base import Recipe, Reproduction, recipe

# A bidirectional encoder, attention, and two blocks on either side.
TRANSLATOR: dict[str, Any] = {
    "num_hidden_layers": 2,
    "num_decoder_layers": 2,
    "order": 4,
    "bidirectional": True,
    "num_attention_heads": 4,
    "embedding_dropout": 0.2,
    "attention_dropout": 0.1,
    "label_smoothing": 0.1,  # in the architecture: the loss is the model's own
    "tie_word_embeddings": True,  # one vocabulary: encoder, decoder and head share a table
    "initializer_range": 0.06,  # about 1/√256, so that tied logits begin near 1
}


@recipe
def multi30k() -> Recipe:
    """English to German captions: BLEU 38.9; its LSTM baseline 38.8. One seed each.

    Cost: 4306 s of one core in bfloat16, 5,054,080 parameters.
    Source: Elliott et al., arXiv 1605.00459; Muon by Jordan et al. (2024). Residual branches start small.
    """
    return Recipe(
        name="multi30k",
        kind="translation",
        data={
            "dataset_name": "multi30k-en-de",
            "source_lang": "en",
            "target_lang": "de",
            "vocab_size": 6000,
            "max_length": 96,
        },
        architecture=TRANSLATOR
        | {
            "hidden_size": 256,
            "intermediate_size": 512,
            "theta": [[4, 48], [4, 48]],  # two windows a block: neighbours, and most of a sentence
            "memory_channels": 160,
            "norm": "layer",
            # Large fresh branches bury the small embeddings, in which attention has to find words (docs/log.md).
            "residual_initializer_scale": 0.05,
            "hidden_dropout": 0.1,  # 0.2 costs half a BLEU point on validation
        },
        optimizer="muon",  # attention is found sooner than by AdamW
        learning_rate=2e-3,
        epochs=10,
        batch_size=64,
        averaging=0.999,
        max_grad_norm=1.0,
        # The Hub's data set has the same captions under another name than the folder's.
        allows_bf16=True,
        reproduction=Reproduction(flags="--mixed_precision bf16", lstm="", hub_name="bentrevett/multi30k"),
    )


@recipe
def multi30k_small() -> Recipe:
    """English to German captions by a quarter of ``multi30k``'s parameters: BLEU 34.3. One seed.

    Cost: 2375 s of one busy core, 1,209,088 parameters. It is the translator in the box.
    Source: as ``multi30k``.
    """
    captions = multi30k()
    narrow = {"hidden_size": 128, "intermediate_size": 256, "memory_channels": 64, "initializer_range": 0.09}
    return replace(
        captions,
        name="multi30k-small",
        data=captions.data | {"vocab_size": 3000},
        architecture=captions.architecture | narrow | {"embedding_dropout": 0.1, "hidden_dropout": 0.05},
        epochs=6,
        allows_bf16=False,
        reproduction=Reproduction(hub_name="bentrevett/multi30k"),
    )


@recipe
def evbnews() -> Recipe:
    """English to Vietnamese news, tested on the talks of tst2012: BLEU 14.5; its LSTM baseline 13.8. One seed each.

    Cost: 3774 s of one core in bfloat16, 5,566,080 parameters. The data is not on the Hub.
    Source: EVBCorpus; the test is IWSLT'15's, its Moses escapes undone.
    """
    captions = multi30k()
    return replace(
        captions,
        name="evbnews",
        # More sentences, read fewer times, than captions: less dropout.
        architecture=captions.architecture | {"embedding_dropout": 0.1},
        data={
            "dataset_name": "evbnews-en-vi",
            "test_dataset": "iwslt15-en-vi",  # its validation split, tst2012
            "source_lang": "en",
            "target_lang": "vi",
            "vocab_size": 8000,
            "max_length": 128,
            "unescape": True,
        },
        epochs=3,
        batch_size=32,
        allows_bf16=True,
        reproduction=Reproduction(flags="--mixed_precision bf16", lstm=""),
    )


@recipe
def dates() -> Recipe:
    """Dates and quantities, English to German: the default of ``lmu-hf train translation``. No record.

    Cost: three minutes of one core, no download.
    Source: made up here with Babel.
    """
    return Recipe(
        name="dates",
        kind="translation",
        data={"source_lang": "en", "target_lang": "de", "vocab_size": 1000},
        architecture=TRANSLATOR
        | {
            "hidden_size": 128,
            "intermediate_size": 256,
            "theta": [4, 12],  # made-up sentences are short
            "memory_channels": 96,
            "hidden_dropout": 0.05,
        },
        learning_rate=2e-3,
        epochs=6,
        batch_size=64,
        averaging=0.99,
        max_grad_norm=1.0,
    )
