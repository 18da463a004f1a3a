"""Sentences, reviews, and pairs of sentences."""

from dataclasses import replace
from typing import Any

from .base import Recipe, Reproduction, recipe
from .text import BYTE_PAIRS

KIND = "classification"
# A table of 2^18 buckets for each length; n-grams whose hashes meet share a vote.
VOTES: dict[str, Any] = {"votes": {"sizes": [1, 2, 3], "buckets": 262_144}}
# Sentences to learn word vectors from: each flag has one entry a data set, in one order.
PAIRS_TEXT = (
    "--dataset_name nyu-mll/glue stanfordnlp/snli Salesforce/wikitext stanfordnlp/imdb "
    "--dataset_config_name qqp none wikitext-2-v1 none --train_split train train train train+unsupervised "
    "--text_column question1+question2 premise+hypothesis text text --min_count 3 --sif 1e-3"
)
# 90 numbers of a word's meaning, from LSA and word2vec, and 60 of its character n-grams.
NARROW_VECTORS = f"{PAIRS_TEXT} --algorithm lsa word2vec --num_train_epochs 3 --size 90 --spelling 60"


def _stack(**more: Any) -> dict[str, Any]:
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


def _linear(width: int, **more: Any) -> dict[str, Any]:
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
def opinions() -> Recipe:
    """Made-up opinions: ``train_glue.py``'s default. No record.

    Cost: half a minute of one core, no download.
    Source: made up here.
    """
    return Recipe(
        name="opinions",
        kind=KIND,
        data={"made_up": "opinions", "max_length": 64},
        # Rows are made up by rule and have little to overfit, so nothing is dropped out.
        architecture=_stack(
            hidden_size=48, memory_channels=24, theta=[4, 12], embedding_dropout=0.0, hidden_dropout=0.0
        ),
        learning_rate=4e-3,
        epochs=8,
        batch_size=32,
        averaging=0.98,
        max_grad_norm=1.0,
    )


@recipe
def paraphrases() -> Recipe:
    """Made-up pairs that say the same or do not. No record.

    Cost: half a minute of one core, no download.
    Source: made up here.
    """
    return replace(opinions(), name="paraphrases", data={"made_up": "paraphrases", "max_length": 64}, epochs=12)


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
        architecture=_stack(
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
        architecture=_linear(300, theta=1000),
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
def imdb_votes() -> Recipe:
    """IMDB by windows of two frozen word vectors beside votes of 1- to 3-grams: 90.9 %, three seeds.

    Cost: 478 s of one core, 1,018,114 trained parameters. The vectors are of the same 25,000 reviews.
    Source: Wang and Manning (2012) for votes. Neighbouring reviews, of one film, validate together.
    """
    return Recipe(
        name="imdb-votes",
        kind=KIND,
        data={
            "dataset_name": "stanfordnlp/imdb",
            "vocab_size": 20_000,
            "max_length": 1200,
            "token_dropout": 0.05,
            "freeze_word_vectors": True,
            "validation_block": 100,
        },
        architecture={
            "block_type": "lmu",
            "num_hidden_layers": 1,
            "order": 2,  # as many numbers a channel as the window has words
            "theta": 2,
            "encoder": "identity",
            "embedding_size": 128,
            "hidden_size": 256,
            "hidden_act": "relu",
            "pooling": "mean_max",
            "embedding_dropout": 0.2,
            "classifier_dropout": 0.1,
        }
        | VOTES,
        learning_rate=2e-3,
        weight_decay=0.02,
        epochs=2,
        batch_size=32,
        label_smoothing=0.1,
        averaging=0.999,
        max_grad_norm=1.0,
        reproduction=Reproduction(
            task="imdb", seeds=3, word_vectors="--dataset_name stanfordnlp/imdb --algorithm lsa --sif 1e-3"
        ),
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
def imdb_student() -> Recipe:
    """IMDB by the same, also from 50,000 reviews that ``imdb-fine-tuned`` labelled: 91.5 %, one seed.

    Cost: 5651 s of one core in bfloat16, 9,708,290 parameters. Give ``--extra_train_file``, what ``label.py`` wrote.
    Source: self-training as in Xie et al., arXiv 1911.04252.
    """
    return replace(
        imdb_fine_tuned(),
        name="imdb-student",
        eval_steps=755,  # three times an epoch of 2,266 steps
        allows_bf16=True,
        reproduction=Reproduction(
            task="imdb-lm", flags="--mixed_precision bf16", starts_from="imdb-lm", labels_by="imdb-fine-tuned"
        ),
    )


@recipe
def sst2() -> Recipe:
    """SST-2, phrases and sentences of film reviews: 83.1 %, three seeds; its LSTM baseline 82.5.

    Cost: 449 s of one core, 2,141,954 parameters. ``--task_name cola`` takes it, too.
    Source: Socher et al. (2013), in GLUE, arXiv 1804.07461.
    """
    return Recipe(
        name="sst2",
        kind=KIND,
        data={"task_name": "sst2", "vocab_size": 20_000, "max_length": 64, "token_dropout": 0.1},
        architecture=_stack(embedding_dropout=0.4),
        learning_rate=1.5e-3,
        weight_decay=0.05,
        epochs=6,
        batch_size=64,
        label_smoothing=0.1,
        averaging=0.999,
        max_grad_norm=1.0,
        reproduction=Reproduction(seeds=3, lstm=""),
    )


@recipe
def qqp() -> Recipe:
    """A sample of Quora's question pairs, from scratch: 66.7 %, three seeds; its LSTM baseline 62.4.

    Cost: 294 s of one core, 2,496,642 parameters. ``--task_name mnli``, ``mnli-mm`` and ``qnli`` take it, too.
    Source: GLUE, arXiv 1804.07461.
    """
    return replace(
        sst2(),
        name="qqp",
        data={"task_name": "qqp", "vocab_size": 20_000, "max_length": 128, "token_dropout": 0.1},
        architecture=_stack(head_hidden_size=128),
        epochs=8,
        reproduction=Reproduction(seeds=3, lstm=""),
    )


@recipe
def mrpc_linear() -> Recipe:
    """MRPC by 1,201 parameters on the mean of frozen vectors of its own sentences: 68.8 %, three seeds.

    Cost: 117 s of one core. The mean is small: hence the large steps.
    Source: Chilkuri and Eliasmith, arXiv 2102.11417, section 4.3.
    """
    return Recipe(
        name="mrpc-linear",
        kind=KIND,
        data={"task_name": "mrpc", "max_length": 256, "single_output": True, "freeze_word_vectors": True},
        # Of a pair u, v the head reads u, v, |u − v| and u · v: 4 · 300 weights and a bias.
        architecture=_linear(300, theta=64, pooling="mean", classifier_dropout=0.5),
        learning_rate=0.02,
        weight_decay=0.1,
        epochs=15,
        batch_size=32,
        averaging=0.99,
        reproduction=Reproduction(
            task="mrpc",
            seeds=3,
            word_vectors="--dataset_name nyu-mll/glue --dataset_config_name mrpc --text_column sentence1+sentence2 "
            "--algorithm lsa --min_count 1 --sif 1e-3",  # few sentences: words that occur once count, too
        ),
    )


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
        architecture=_linear(900, theta=64),  # --size and --spelling below: 300 + 600
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


@recipe
def snli_no_memory() -> Recipe:
    """A sample of SNLI by decomposable attention alone, A_bar = 0: 66.4 %, three seeds. It shows what memory adds.

    Cost: 22 s of one core, 3,754 trained parameters.
    Source: Parikh et al., arXiv 1606.01933; Bowman et al., arXiv 1508.05326.
    """
    return replace(
        snli_alignment(),
        name="snli-no-memory",
        architecture=_aligned(
            order=1,
            theta=1,
            discretization="euler",  # A_bar = 1 − 1/theta = 0: a step sees its own input alone
            readout="memory",
            hidden_size=150,
            alignment={"size": 6},
            classifier_dropout=0.1,
        ),
        learning_rate=5e-3,
        weight_decay=0.1,
        reproduction=Reproduction(task="snli", seeds=3, word_vectors=NARROW_VECTORS),
    )
