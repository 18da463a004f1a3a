"""Sentences and reviews."""

from typing import Any

from .base import Recipe, Reproduction, recipe
from .text import BYTE_PAIRS, lmu_small_en

KIND = "classification"
# A table of 2^18 buckets for each length; n-grams whose hashes meet share a vote.
VOTES: dict[str, Any] = {"votes": {"sizes": [1, 2, 3], "buckets": 262_144}}


def residual_blocks(**more: Any) -> dict[str, Any]:
    """Residual blocks that read in both directions; a sequence is what is largest in it, channel by channel."""
    return {
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "order": 4,
        "theta": [4, 16],  # tokens, one window a block, the lowest first
        "memory_channels": 64,
        "bidirectional": True,
        "pooling": "max",  # over time
        "embedding_dropout": 0.3,
        "hidden_dropout": 0.2,
        "classifier_dropout": 0.3,
    } | more


def linear_classifier(width: int, **more: Any) -> dict[str, Any]:
    """The paper's smallest classifiers: one coefficient per word dimension, eq. (25), and a linear layer."""
    return {
        "block_type": "lmu",
        "num_hidden_layers": 1,
        "order": 1,
        "encoder": "identity",
        "readout": "memory",
        "hidden_size": width,
        "embedding_size": width,
        "pooling": "last",
    } | more


@recipe
def opinions() -> Recipe:
    """Made-up opinions: the default of ``lmu-hf train text``. No record.

    Cost: half a minute of one core, no download.
    Source: made up here.
    """
    return Recipe(
        name="opinions",
        kind=KIND,
        data={"made_up": "opinions", "max_length": 64},
        # Rows are made up by rule and have little to overfit, so nothing is dropped out.
        architecture=residual_blocks(
            hidden_size=48, memory_channels=24, theta=[4, 12], embedding_dropout=0.0, hidden_dropout=0.0
        ),
        learning_rate=4e-3,
        epochs=8,
        batch_size=32,
        averaging=0.98,
        max_grad_norm=1.0,
    )


@recipe
def imdb() -> Recipe:
    """IMDB reviews, the first 400 tokens of each, from scratch: 86.0 %; its LSTM baseline 73.8. One seed each.

    Cost: 2348 s of one core, 2,749,890 parameters.
    Source: Maas et al. (2011).
    """
    return Recipe(
        name="imdb",
        kind=KIND,
        data={"dataset_name": "stanfordnlp/imdb", "vocab_size": 20_000, "max_length": 400, "token_dropout": 0.1},
        architecture=residual_blocks(
            num_hidden_layers=1, theta=8, embedding_dropout=0.5, hidden_dropout=0.3, classifier_dropout=0.5
        ),
        learning_rate=2e-3,
        weight_decay=0.05,
        epochs=6,
        batch_size=32,
        label_smoothing=0.1,
        averaging=0.999,
        max_grad_norm=1.0,
        reproduction=Reproduction(lstm=""),
    )


@recipe
def imdb_linear() -> Recipe:
    """IMDB by 301 parameters on frozen word vectors (give ``--word_vectors``): 89.2 %, three seeds.

    Cost: 281 s of one core, and the vectors of 75,000 reviews without test text.
    Source: Chilkuri and Eliasmith, arXiv 2102.11417, section 4.3.
    """
    return Recipe(
        name="imdb-linear",
        kind=KIND,
        data={
            "dataset_name": "stanfordnlp/imdb",
            "max_length": 1000,
            "single_output": True,  # its sign decides: 300 weights and a bias
            "freeze_word_vectors": True,
        },
        # The window is as long as a row may be: the last state, all that is read, still holds the first word.
        architecture=linear_classifier(300, theta=1000),
        learning_rate=0.01,
        weight_decay=0.0,
        epochs=3,
        batch_size=64,
        averaging=0.99,
        reproduction=Reproduction(
            task="imdb",
            seeds=3,
            word_vectors="--dataset_name stanfordnlp/imdb --train_split train+unsupervised --algorithm lsa --sif 1e-3",
        ),
    )


@recipe
def imdb_small_en() -> Recipe:
    """IMDB by the three lowest blocks of ``lmu-small-en`` (give ``--model_name_or_path``) and votes: 90.7 %, one seed.

    Cost: 2945 s of one core, 4,562,377 parameters. It is the classifier of reviews in the box.
    Source: ULMFiT, Howard and Ruder, arXiv 1801.06146, section 3.2; Wang and Manning (2012) for votes.
    """
    return Recipe(
        name="imdb-small-en",
        kind=KIND,
        data={
            "dataset_name": "stanfordnlp/imdb",
            "max_length": 512,  # tokens; a seventh of the reviews are longer
            "token_dropout": 0.1,
            "pretrained": True,
            "lowest_blocks": 3,  # half of its weights, so that the box holds the model
            "validation_block": 100,  # neighbouring reviews, of one film, validate together
        },
        # The body, field by field; dropouts and the head are free.
        architecture=lmu_small_en().architecture
        | {
            "num_hidden_layers": 3,
            "theta": [4, 8, 16],
            "pooling": "mean_max",
            "embedding_dropout": 0.1,
            "hidden_dropout": 0.1,
            "classifier_dropout": 0.3,
            "votes": {"sizes": [1, 2], "buckets": 131_072, "trained": False, "normed": True, "words": True},
        },
        learning_rate=3e-3,
        weight_decay=0.05,
        layer_decay=0.7,
        epochs=1,
        batch_size=16,
        label_smoothing=0.1,
        averaging=0.998,
        max_grad_norm=1.0,
        reproduction=Reproduction(flags="--model_name_or_path lmu-small-en"),
    )


@recipe
def imdb_fine_tuned() -> Recipe:
    """IMDB by the language model ``imdb-lm``, fine-tuned (give ``--model_name_or_path``): 91.3 %, one seed.

    Cost: 1923 s of one core, 9,708,290 parameters.
    Source: ULMFiT, Howard and Ruder, arXiv 1801.06146, section 3.2: deeper blocks learn more slowly.
    """
    return Recipe(
        name="imdb-fine-tuned",
        kind=KIND,
        data={
            "dataset_name": "stanfordnlp/imdb",
            "max_length": 1024,  # tokens; 3 % of the reviews are longer
            "token_dropout": 0.1,
            "pretrained": True,
            "validation_block": 100,
        },
        # The body of `imdb-lm`, field by field, or its weights could not be taken over; dropouts and the head are free.
        architecture=BYTE_PAIRS
        | {"pooling": "mean_max", "embedding_dropout": 0.1, "hidden_dropout": 0.1, "classifier_dropout": 0.3}
        | VOTES,
        learning_rate=2e-3,
        weight_decay=0.05,
        # At one rate for all, large steps undo what the language model has learnt.
        layer_decay=0.7,
        epochs=1,
        batch_size=32,
        eval_steps=352,  # twice an epoch of 704 steps
        label_smoothing=0.1,
        averaging=0.998,
        max_grad_norm=1.0,
        reproduction=Reproduction(task="imdb-lm", starts_from="imdb-lm"),
    )


@recipe
def sst2() -> Recipe:
    """SST-2, phrases and sentences of film reviews: 83.1 %, three seeds; its LSTM baseline 82.5.

    Cost: 449 s of one core, 2,141,954 parameters.
    Source: Socher et al. (2013), in GLUE, arXiv 1804.07461.
    """
    return Recipe(
        name="sst2",
        kind=KIND,
        data={"task_name": "sst2", "vocab_size": 20_000, "max_length": 64, "token_dropout": 0.1},
        architecture=residual_blocks(embedding_dropout=0.4),
        learning_rate=1.5e-3,
        weight_decay=0.05,
        epochs=6,
        batch_size=64,
        label_smoothing=0.1,
        averaging=0.999,
        max_grad_norm=1.0,
        reproduction=Reproduction(seeds=3, lstm=""),
    )
