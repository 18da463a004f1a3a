"""Running text."""

from dataclasses import replace
from typing import Any

from .base import Recipe, Reproduction, recipe

# Five narrow blocks; the first windows hold the last letters all but exactly.
NARROW: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 5,
    "order": 6,
    "theta": [4, 4, 8, 16, 64],  # steps; in the lowest block first
    "memory_channels": 48,
    "basis": "orthonormal",
    "hidden_dropout": 0.05,
}
# Fewer, wider blocks with two windows in each.
WIDE: dict[str, Any] = {
    "hidden_size": 240,
    "num_hidden_layers": 3,
    "order": 6,
    "theta": [[4, 16], [4, 16], [8, 64]],
    "memory_channels": 60,
    "basis": "orthonormal",
    "norm": "layer",
}
# Two LSTM layers and nothing around them, as in most published comparisons, with as many parameters as WIDE computes.
PLAIN_LSTM: dict[str, Any] = {
    "block_type": "lmu",
    "num_hidden_layers": 2,
    "hidden_size": 320,
    "norm": "rms",
    "ngrams": None,
}
# Blocks over byte pairs, small at first, for a language model that is fine-tuned later.
BYTE_PAIRS: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 5,
    "order": 4,
    "theta": [4, 8, 16, 32, 64],
    "memory_channels": 64,
    "basis": "orthonormal",
    "tie_word_embeddings": True,  # a head of its own would have as many weights as the embeddings
    "initializer_range": 0.07,
    "residual_initializer_scale": 0.05,  # docs/log.md: residual branches that start small
    "ngrams": {"sizes": [2, 3], "buckets": 65_536, "width": 32},
}


@recipe
def python_sources() -> Recipe:
    """The standard library's sources, byte by byte: 1.813 bits a character; default of ``lmu-hf train lm``.

    Cost: 470 s of one busy core, 310,272 parameters, no download.
    Source: the blocks of Chilkuri and Eliasmith, arXiv 2102.11417, with gated MLPs.
    """
    return Recipe(
        name="python-sources",
        kind="characters",
        data={"sequence_length": 256},  # bytes: the default tokenizer
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


@recipe
def ptb_char() -> Recipe:
    """Penn Treebank, character by character: 1.384 bits; its LSTM baseline 1.352. One seed each.

    Cost: 6117 s of one core, 1,641,648 parameters.
    Source: the splits of Mikolov et al. (2012); spaces and line ends are characters.
    """
    return Recipe(
        name="ptb-char",
        kind="characters",
        # Every epoch's windows begin elsewhere: a text this short is read five times.
        data={"dataset_name": "ptb-char", "sequence_length": 256, "shifted": True, "tokenizer": "char"},
        architecture=NARROW,
        lstm={"hidden_size": 152},  # about as many parameters
        learning_rate=4e-3,
        weight_decay=0.1,
        epochs=5,
        batch_size=16,
        warmup=0.05,
        averaging=0.998,
        max_grad_norm=1.0,
        reproduction=Reproduction(lstm=""),
    )


@recipe
def ptb_char_windows() -> Recipe:
    """Penn Treebank by two windows a block and n-grams that drop out: 1.355 bits; two plain LSTM layers 1.466.

    Cost: 4362 s of one core in bfloat16, 4,859,300 parameters, two thirds of them looked up.
    Source: n-grams by hash as in Pagnoni et al., arXiv 2412.09871.
    """
    # Of a text read more than once, looked-up vectors learn what does not come again: hence their dropout.
    ngrams = {"sizes": [2, 3, 4, 5, 6], "buckets": 20_480, "width": 32, "dropout": 0.25}
    return replace(
        ptb_char(),
        name="ptb-char-windows",
        architecture=WIDE | {"hidden_dropout": 0.05, "ngrams": ngrams},
        lstm=PLAIN_LSTM,
        learning_rate=8e-3,
        allows_bf16=True,
        reproduction=Reproduction(task="ptb-char", flags="--mixed_precision bf16", lstm=""),  # one task, one table
    )


@recipe
def text8() -> Recipe:
    """The first 6.4 M characters of text8, once: 1.881 bits on validation, three seeds; its LSTM baseline 1.870.

    Cost: 1226 s of one core, 1,632,816 parameters. ``--dataset_name afmck/text8`` is the whole, split 90M/5M/5M.
    Source: the blocks of Chilkuri and Eliasmith, arXiv 2102.11417, with gated MLPs.
    """
    return replace(
        ptb_char(),
        name="text8",
        data={"dataset_name": "text8-prefix", "sequence_length": 256, "shifted": True, "tokenizer": "char"},
        epochs=1,
        eval_steps=500,
        reproduction=Reproduction(seeds=3, lstm=""),
    )


@recipe
def text8_windows() -> Recipe:
    """6.4 M characters of text8 by two windows a block and n-grams: 1.772 bits, three seeds; two LSTM layers 1.890.

    Cost: 525 s of one core in bfloat16, 7,870,596 parameters, four fifths of them looked up.
    Source: n-grams by hash as in Pagnoni et al., arXiv 2412.09871. Steps stay large; averaged weights calm them.
    """
    return Recipe(
        name="text8-windows",
        kind="characters",
        data={"dataset_name": "text8-prefix", "sequence_length": 256, "shifted": True, "tokenizer": "char"},
        architecture=WIDE | {"ngrams": {"sizes": [2, 3, 4, 5, 6, 8], "buckets": 32_768, "width": 32}},
        lstm=PLAIN_LSTM,
        learning_rate=8e-3,
        weight_decay=0.1,
        epochs=1,
        batch_size=16,
        # Fewer steps than `text8`: the run takes as long as that of its LSTM baseline.
        max_steps=1410,
        eval_steps=470,
        schedule="constant_with_warmup",
        warmup=0.05,
        averaging=0.995,
        max_grad_norm=1.0,
        allows_bf16=True,
        reproduction=Reproduction(
            task="text8",
            seeds=3,
            flags="--mixed_precision bf16",
            # The LSTM baseline keeps the schedule, the averaging and the steps that served it.
            lstm="--lr_scheduler_type cosine --averaging 0.998 --num_train_epochs 1 --eval_steps 500",
        ),
    )


@recipe
def lmu_small_en() -> Recipe:
    """English, byte pair by byte pair: what ``report/english.py`` gathers, to fine-tune: 1.510 bits a character.

    Cost: 3619 s of two cores for the second of two runs, which goes on from the first's weights; 5,501,568 parameters.
    Source: ULMFiT, Howard and Ruder, arXiv 1801.06146; Muon by Jordan et al. (2024).
    """
    return Recipe(
        name="lmu-small-en",
        kind="pretraining",
        data={
            "tokenizer": "bpe",
            "vocab_size": 8000,
            "lowercase": True,
            "close_gaps": True,  # rows are fine-tuned on with or without spaces before their commas
            "sequence_length": 256,
            "shifted": True,
        },
        architecture={
            "hidden_size": 256,
            "num_hidden_layers": 6,
            "order": 6,
            "theta": [4, 8, 16, 32, 64, 256],  # steps; in the lowest block first
            "memory_channels": 64,
            "tie_word_embeddings": True,  # a head of its own would have as many weights as the embeddings
            "initializer_range": 0.07,
            "residual_initializer_scale": 0.05,
        },
        # About as many parameters outside the embeddings.
        lstm={"hidden_size": 200},
        optimizer="muon",
        learning_rate=3e-3,
        weight_decay=0.1,
        epochs=1,
        batch_size=16,
        # Nearly four tenths of the text. The first run had 2,000 steps.
        max_steps=2600,
        eval_steps=1300,
        warmup=0.05,
        averaging=0.99,
        max_grad_norm=1.0,
        reproduction=Reproduction(task="lmu-small-en"),
    )


@recipe
def imdb_lm() -> Recipe:
    """Byte pairs of IMDB's reviews without test text, read once, to fine-tune: 1.459 bits a character on validation.

    Cost: 5885 s of two cores, 7,348,224 parameters. A hundredth of the reviews validates.
    Source: ULMFiT, Howard and Ruder, arXiv 1801.06146; Muon by Jordan et al. (2024).
    """
    return Recipe(
        name="imdb-lm",
        kind="pretraining",
        data={
            "dataset_name": "stanfordnlp/imdb",
            "train_split": "train+unsupervised",
            "test_split": "",  # the test rows are for what is fine-tuned from this
            "hold_out": 0.01,
            "tokenizer": "bpe",
            "vocab_size": 8000,
            "sequence_length": 256,
            "shifted": True,
        },
        architecture=BYTE_PAIRS,
        optimizer="muon",
        learning_rate=3e-3,
        weight_decay=0.1,
        epochs=1,
        batch_size=16,
        # In 6,000 steps 99 % of the reviews are read once.
        max_steps=6000,
        eval_steps=500,
        schedule="constant_with_warmup",
        warmup=0.05,
        averaging=0.999,
        max_grad_norm=1.0,
        reproduction=Reproduction(task="imdb-lm"),
    )
