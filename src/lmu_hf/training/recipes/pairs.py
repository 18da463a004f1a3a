"""Pairs of sentences."""

from dataclasses import replace
from typing import Any

from .base import Recipe, Reproduction, recipe
from .classification import KIND, linear_classifier, opinions

# Sentences to learn word vectors from: each flag has one entry a data set, in one order.
PAIRS_TEXT = (
    "--dataset_name nyu-mll/glue stanfordnlp/snli Salesforce/wikitext stanfordnlp/imdb "
    "--dataset_config_name qqp none wikitext-2-v1 none --train_split train train train train+unsupervised "
    "--text_column question1+question2 premise+hypothesis text text --min_count 3 --sif 1e-3"
)
# 90 numbers of a word's meaning, from LSA and word2vec, and 60 of its character n-grams.
NARROW_VECTORS = f"{PAIRS_TEXT} --algorithm lsa word2vec --num_train_epochs 3 --size 90 --spelling 60"


def _aligned(**more: Any) -> dict[str, Any]:
    """A layer on frozen vectors of 150 numbers, then decomposable attention, mean and maximum over time."""
    return {
        "block_type": "lmu",
        "num_hidden_layers": 1,
        "encoder": "identity",
        "embedding_size": 150,
        "hidden_act": "relu",
        "pooling": "mean_max",
    } | more


@recipe
def paraphrases() -> Recipe:
    """Made-up pairs that say the same or do not. No record.

    Cost: half a minute of one core, no download.
    Source: made up here.
    """
    return replace(opinions(), name="paraphrases", data={"made_up": "paraphrases", "max_length": 64}, epochs=12)


@recipe
def qqp_subword() -> Recipe:
    """QQP by 3,601 parameters on frozen vectors, two thirds subword features: 73.8 %, three seeds; its LSTM 75.5.

    Cost: 186 s of one core.
    Source: Chilkuri and Eliasmith, arXiv 2102.11417, section 4.3; Bojanowski et al., arXiv 1607.04606.
    """
    return Recipe(
        name="qqp-subword",
        kind=KIND,
        data={"task_name": "qqp", "max_length": 128, "single_output": True, "freeze_word_vectors": True},
        architecture=linear_classifier(900, theta=64),  # --size and --spelling below: 300 + 600
        lstm={"hidden_size": 300},  # of 900 units it would train 6.5 M parameters
        learning_rate=1e-3,
        weight_decay=0.0,
        epochs=4,
        batch_size=64,
        averaging=0.99,
        reproduction=Reproduction(
            task="qqp", seeds=3, lstm="", word_vectors=f"{PAIRS_TEXT} --algorithm lsa --size 300 --spelling 600"
        ),
    )


@recipe
def qqp_alignment() -> Recipe:
    """QQP by windows of four words and decomposable attention: 77.5 %, three seeds; its LSTM baseline 77.6.

    Cost: 82 s of one core, 257,678 trained parameters; the LSTM trains 619,778.
    Source: Parikh et al., arXiv 1606.01933.
    """
    return Recipe(
        name="qqp-alignment",
        kind=KIND,
        data={"task_name": "qqp", "max_length": 128, "single_output": True, "freeze_word_vectors": True},
        # Frozen embeddings of 150 numbers are 90 and 60 of `NARROW_VECTORS`; words are compared in 64.
        architecture=_aligned(order=3, theta=4, hidden_size=300, alignment={"size": 64}, classifier_dropout=0.4),
        learning_rate=1e-3,
        weight_decay=0.01,
        epochs=5,
        batch_size=64,
        label_smoothing=0.05,
        averaging=0.99,
        max_grad_norm=1.0,
        reproduction=Reproduction(task="qqp", seeds=3, lstm="", word_vectors=NARROW_VECTORS),
    )


@recipe
def snli_alignment() -> Recipe:
    """A sample of SNLI by windows of eight words and decomposable attention: 69.9 %, three seeds; its LSTM 71.3.

    Cost: 82 s of one core, 303,704 trained parameters; the LSTM trains 620,804.
    Source: Parikh et al., arXiv 1606.01933; Bowman et al., arXiv 1508.05326.
    """
    return Recipe(
        name="snli-alignment",
        kind=KIND,
        data={"dataset_name": "stanfordnlp/snli", "max_length": 128, "freeze_word_vectors": True},
        architecture=_aligned(order=4, theta=8, hidden_size=300, alignment={"size": 64}, classifier_dropout=0.4),
        learning_rate=1e-3,
        weight_decay=0.01,
        epochs=8,
        batch_size=64,
        label_smoothing=0.05,
        averaging=0.99,
        max_grad_norm=1.0,
        reproduction=Reproduction(task="snli", seeds=3, lstm="", word_vectors=NARROW_VECTORS),
    )
