"""Sentences and pairs of sentences, each beside an LSTM in the same blocks, heads and loop."""

from dataclasses import replace
from typing import Any

from ..baselines import lstm_baseline
from .base import Recipe, recipe
from .text import imdb_lm

KIND = "classification"
NARROW = 150  # numbers of a word vector: 90 of its meaning and 60 of its spelling
VOTES = {"votes": {"sizes": [1, 2, 3], "buckets": 262_144}}


def _stack(**more: Any) -> dict[str, Any]:
    """Residual blocks that read in both directions; a sequence is what is largest in it, channel by channel."""
    return {
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "order": 4,
        "theta": [4, 16],
        "memory_channels": 64,
        "bidirectional": True,
        "pooling": "max",
        "embedding_dropout": 0.3,
        "hidden_dropout": 0.2,
        "classifier_dropout": 0.3,
    } | more


def _lstm(name: str, of: Recipe) -> Recipe:
    """An LSTM in the memory's place, everything else being equal."""
    return replace(of, name=name, architecture=lstm_baseline(of.architecture, **of.lstm))


def _paper(theta: int, width: int = 300) -> dict[str, Any]:
    """The paper's smallest classifiers: one coefficient per word dimension, eq. (25), and a linear layer."""
    return {
        "block_type": "lmu",
        "num_hidden_layers": 1,
        "order": 1,
        "theta": theta,
        "encoder": "identity",
        "readout": "memory",
        "hidden_size": width,
        "embedding_size": width,
        "pooling": "last",
    }


def _small_lstm(of: Recipe) -> Recipe:
    """The same with 300 units, as the paper's word vectors have numbers, however wide those of the recipe are."""
    lstm = _lstm(f"{of.name}-lstm", of)
    return replace(lstm, architecture=lstm.architecture | {"hidden_size": 300})


def _aligned(of: Recipe, size: int, dropout: float) -> Recipe:
    """Frozen vectors of 90 numbers of meaning and 60 of spelling, compared word by word: memories of one step.

    A window of one step, by Euler's rule, forgets all but the word at hand.
    """
    words = _paper(theta=1, width=NARROW) | {"discretization": "euler", "hidden_act": "relu", "pooling": "mean_max"}
    return replace(
        of,
        architecture=words | {"alignment": {"size": size}, "classifier_dropout": dropout},
        learning_rate=5e-3,
        weight_decay=0.01,
        label_smoothing=0.05,
        epochs=8,
        batch_size=64,
        max_grad_norm=1.0,
    )


def _narrow(name: str, of: Recipe) -> Recipe:
    """The same on vectors as wide as those that are compared word by word."""
    return replace(of, name=name, architecture=of.architecture | {"embedding_size": NARROW})


def _aligned_windows(of: Recipe, order: int, theta: int, epochs: int) -> Recipe:
    """What windows of those words are read as, compared in 64 numbers."""
    words = _aligned(of, size=64, dropout=0.4)
    windows = {"order": order, "theta": theta, "discretization": "zoh", "readout": "dense", "hidden_size": 300}
    return replace(words, architecture=words.architecture | windows, learning_rate=1e-3, epochs=epochs)


def _own_words(task_name: str) -> Recipe:
    """1,201 parameters on the mean of frozen vectors, which is small: hence the large steps."""
    return replace(
        qqp_linear(),
        name=f"{task_name}-linear",
        data=qqp_linear().data | {"task_name": task_name, "max_length": 256},
        architecture=_paper(theta=64) | {"pooling": "mean", "classifier_dropout": 0.5},
        learning_rate=0.02,
        weight_decay=0.1,
        epochs=15,
        batch_size=32,
    )


# --------------------------------------------------------------------------- made-up sentences


@recipe
def opinions() -> Recipe:
    """Made-up opinions, half a minute on one core: what ``train_glue.py`` trains with nothing to download."""
    return Recipe(
        name="opinions",
        kind=KIND,
        data={"made_up": "opinions", "max_length": 64},
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
def opinions_lstm() -> Recipe:
    """The LSTM beside ``opinions``."""
    return _lstm("opinions-lstm", opinions())


@recipe
def paraphrases() -> Recipe:
    """Made-up pairs that say the same or do not, half a minute on one core."""
    return replace(opinions(), name="paraphrases", data={"made_up": "paraphrases", "max_length": 64}, epochs=12)


@recipe
def paraphrases_lstm() -> Recipe:
    """The LSTM beside ``paraphrases``."""
    return _lstm("paraphrases-lstm", paraphrases())


# --------------------------------------------------------------------------- single sentences and reviews


@recipe
def imdb() -> Recipe:
    """IMDB reviews, the first 400 tokens of each, from scratch."""
    return Recipe(
        name="imdb",
        kind=KIND,
        data={
            "dataset_name": "stanfordnlp/imdb",
            "vocab_size": 20_000,
            "max_length": 400,
            "token_dropout": 0.1,
        },
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
    )


@recipe
def imdb_lstm() -> Recipe:
    """The LSTM beside ``imdb``."""
    return _lstm("imdb-lstm", imdb())


@recipe
def imdb_ngram() -> Recipe:
    """IMDB reviews, from scratch: windows of three words read by a wide layer, and the largest output over time."""
    return replace(
        imdb(),
        name="imdb-ngram",
        architecture={
            "block_type": "lmu",
            "num_hidden_layers": 1,
            "order": 3,
            "theta": 3,
            "encoder": "identity",
            "embedding_size": 128,
            "hidden_size": 384,
            "hidden_act": "relu",
            "pooling": "max",
            "embedding_dropout": 0.5,
            "hidden_dropout": 0.3,
            "classifier_dropout": 0.5,
        },
    )


@recipe
def imdb_windows() -> Recipe:
    """IMDB reviews, from windows of two words: the mean and the largest of what they are read as.

    The words are frozen vectors learnt from the same 25,000 reviews: give ``--word_vectors``.
    """
    return replace(
        imdb(),
        name="imdb-windows",
        data={
            "dataset_name": "stanfordnlp/imdb",
            "vocab_size": 30_000,
            "max_length": 1200,
            "token_dropout": 0.05,
            "freeze_word_vectors": True,
        },
        architecture=imdb_ngram().architecture
        | {
            "order": 2,
            "theta": 2,
            "hidden_size": 256,
            "pooling": "mean_max",
            "embedding_dropout": 0.2,
            "hidden_dropout": 0.0,
            "classifier_dropout": 0.1,
        },
        weight_decay=0.02,
        epochs=4,
    )


@recipe
def imdb_votes() -> Recipe:
    """IMDB reviews, as ``imdb-windows`` of fewer words, and beside it votes of one, two and three words together.

    Neighbouring reviews are of one film and validate together, as films of the test are not among those trained on.
    """
    windows = imdb_windows()
    return replace(
        windows,
        name="imdb-votes",
        data=windows.data | {"vocab_size": 20_000, "validation_block": 100},
        architecture=windows.architecture | VOTES,
        epochs=2,
    )


@recipe
def imdb_tuned() -> Recipe:
    """IMDB reviews, from the language model of 75,000 of them, beside votes as in ``imdb-votes``.

    Deeper blocks learn more slowly, so that what was read is not undone. Give ``--model_name_or_path``, ``imdb-lm``'s
    model.
    """
    return replace(
        imdb(),
        name="imdb-tuned",
        data={
            "dataset_name": "stanfordnlp/imdb",
            "max_length": 1024,
            "token_dropout": 0.1,
            "pretrained": True,
            "validation_block": 100,
        },
        architecture=imdb_lm().architecture
        | {"pooling": "mean_max", "embedding_dropout": 0.1, "hidden_dropout": 0.1, "classifier_dropout": 0.3}
        | VOTES,
        layer_decay=0.7,
        epochs=1,
        eval_steps=352,
        averaging=0.998,
    )


@recipe
def imdb_student() -> Recipe:
    """The same, learning also from 50,000 reviews without labels as ``imdb-tuned`` labels them.

    Give ``--model_name_or_path``, ``imdb-lm``'s model, and ``--extra_train_file``, the file that ``label.py`` wrote.
    """
    return replace(imdb_tuned(), name="imdb-student", eval_steps=755)


@recipe
def imdb_linear() -> Recipe:
    """The paper's classifier of IMDB, 301 parameters beside frozen word vectors: give ``--word_vectors``."""
    return Recipe(
        name="imdb-linear",
        kind=KIND,
        data={
            "dataset_name": "stanfordnlp/imdb",
            "max_length": 1000,
            "single_output": True,
            "freeze_word_vectors": True,
        },
        architecture=_paper(theta=1000),
        learning_rate=0.01,
        weight_decay=0.0,
        epochs=3,
        batch_size=64,
        averaging=0.99,
    )


@recipe
def sst2() -> Recipe:
    """SST-2, phrases and sentences of film reviews."""
    return replace(
        imdb(),
        name="sst2",
        data={"task_name": "sst2", "vocab_size": 20_000, "max_length": 64, "token_dropout": 0.1},
        architecture=_stack(embedding_dropout=0.4),
        learning_rate=1.5e-3,
        epochs=6,
        batch_size=64,
    )


@recipe
def sst2_lstm() -> Recipe:
    """The LSTM beside ``sst2``."""
    return _lstm("sst2-lstm", sst2())


@recipe
def cola() -> Recipe:
    """CoLA, acceptable sentences or not."""
    return replace(sst2(), name="cola", data=sst2().data | {"task_name": "cola"}, epochs=20)


# --------------------------------------------------------------------------- pairs


@recipe
def qqp() -> Recipe:
    """Quora's question pairs: duplicates or not."""
    return replace(
        sst2(),
        name="qqp",
        data={"task_name": "qqp", "vocab_size": 20_000, "max_length": 128, "token_dropout": 0.1},
        architecture=_stack(head_hidden_size=128),
        epochs=8,
    )


@recipe
def qqp_lstm() -> Recipe:
    """The LSTM beside ``qqp``."""
    return _lstm("qqp-lstm", qqp())


@recipe
def qqp_linear() -> Recipe:
    """The paper's classifier of question pairs, 1,201 parameters beside frozen word vectors."""
    return replace(
        imdb_linear(),
        name="qqp-linear",
        data={"task_name": "qqp", "max_length": 128, "single_output": True, "freeze_word_vectors": True},
        architecture=_paper(theta=64),
        learning_rate=1e-3,
        epochs=8,
    )


@recipe
def qqp_linear_lstm() -> Recipe:
    """The LSTM beside ``qqp-linear``, 723,601 parameters beside the same frozen word vectors."""
    return _lstm("qqp-linear-lstm", qqp_linear())


@recipe
def qqp_spelt() -> Recipe:
    """The paper's kind of classifier of question pairs, 3,601 parameters: two thirds of a word's numbers spell it."""
    return replace(qqp_linear(), name="qqp-spelt", architecture=_paper(theta=64, width=900), epochs=4)


@recipe
def qqp_spelt_lstm() -> Recipe:
    """An LSTM of 300 units beside ``qqp-spelt``, on the same frozen word vectors."""
    return _small_lstm(qqp_spelt())


@recipe
def qqp_aligned() -> Recipe:
    """A classifier of question pairs of 3,656 parameters, which compares every word with its counterpart.

    Half of a word's numbers, most of its meaning, are its own; the others, most of its spelling, are those of the last
    few words, as a window of four steps and one coefficient remembers them.
    """
    words = _aligned(qqp_linear(), size=6, dropout=0.1)
    return replace(words, name="qqp-aligned", weight_decay=0.1, architecture=words.architecture | {"theta": [[1, 4]]})


@recipe
def qqp_lstm_narrow() -> Recipe:
    """An LSTM of 300 units beside ``qqp-aligned``, on the same frozen vectors, that reads each question by itself."""
    return _narrow("qqp-lstm-narrow", qqp_spelt_lstm())


@recipe
def qqp_aligned_wide() -> Recipe:
    """The same for what windows of four words are read as, with 257,678 parameters."""
    return replace(_aligned_windows(qqp_linear(), order=3, theta=4, epochs=5), name="qqp-aligned-wide")


@recipe
def qqp_aligned_wide_lstm() -> Recipe:
    """An LSTM of 300 units beside ``qqp-aligned-wide``, on the same frozen word vectors."""
    return _small_lstm(qqp_aligned_wide())


@recipe
def mrpc() -> Recipe:
    """MRPC, news sentences that say the same or do not."""
    return replace(qqp(), name="mrpc", data=qqp().data | {"task_name": "mrpc"}, epochs=15, batch_size=32)


@recipe
def mrpc_lstm() -> Recipe:
    """The LSTM beside ``mrpc``."""
    return _lstm("mrpc-lstm", mrpc())


@recipe
def mrpc_linear() -> Recipe:
    """The paper's kind of classifier on MRPC, beside vectors learnt from its own training sentences."""
    return _own_words("mrpc")


@recipe
def mrpc_no_memory() -> Recipe:
    """MRPC by decomposable attention on vectors of its own sentences: its memory is its input."""
    return replace(_aligned(mrpc_linear(), size=6, dropout=0.1), name="mrpc-no-memory", epochs=10, batch_size=32)


@recipe
def rte() -> Recipe:
    """RTE, a text that entails a sentence or does not."""
    return replace(mrpc(), name="rte", data=mrpc().data | {"task_name": "rte", "max_length": 256})


@recipe
def rte_lstm() -> Recipe:
    """The LSTM beside ``rte``."""
    return _lstm("rte-lstm", rte())


@recipe
def rte_linear() -> Recipe:
    """The paper's kind of classifier on RTE, beside vectors learnt from its own training sentences."""
    return _own_words("rte")


@recipe
def snli() -> Recipe:
    """SNLI: entailment, contradiction or neither."""
    return replace(
        qqp(),
        name="snli",
        data={"dataset_name": "stanfordnlp/snli", "vocab_size": 20_000, "max_length": 128, "token_dropout": 0.05},
    )


@recipe
def snli_lstm() -> Recipe:
    """The LSTM beside ``snli``."""
    return _lstm("snli-lstm", snli())


@recipe
def snli_linear() -> Recipe:
    """The paper's classifier of SNLI, 3,603 parameters beside frozen word vectors."""
    return replace(
        qqp_linear(),
        name="snli-linear",
        data={"dataset_name": "stanfordnlp/snli", "max_length": 128, "freeze_word_vectors": True},
    )


@recipe
def snli_linear_lstm() -> Recipe:
    """The LSTM beside ``snli-linear``, 726,003 parameters beside the same frozen word vectors."""
    return _lstm("snli-linear-lstm", snli_linear())


@recipe
def snli_spelt() -> Recipe:
    """The paper's kind of classifier of SNLI, 3,999 parameters: 300 of a word's 444 numbers say its spelling.

    The premise alone decides nothing there, so it is left out in favour of wider vectors.
    """
    return replace(
        snli_linear(),
        name="snli-spelt",
        architecture=_paper(theta=64, width=444) | {"pair_features": ["second", "difference", "product"]},
        learning_rate=3e-3,
    )


@recipe
def snli_spelt_lstm() -> Recipe:
    """An LSTM of 300 units beside ``snli-spelt``, on the same frozen word vectors, in its earlier, smaller steps."""
    return replace(_small_lstm(snli_spelt()), learning_rate=1e-3)


@recipe
def snli_spelt_windows() -> Recipe:
    """Windows of two of the same frozen word vectors: the mean and the largest of what is read there."""
    return replace(
        snli_spelt(),
        name="snli-spelt-windows",
        architecture=imdb_windows().architecture | {"embedding_size": snli_spelt().architecture["embedding_size"]},
        learning_rate=1e-3,
        max_grad_norm=1.0,
    )


@recipe
def snli_no_memory() -> Recipe:
    """SNLI by decomposable attention on frozen vectors, 3,754 parameters: its memory is its input."""
    return replace(_aligned(snli_linear(), size=6, dropout=0.1), name="snli-no-memory", weight_decay=0.1)


@recipe
def snli_lstm_narrow() -> Recipe:
    """An LSTM of 300 units beside ``snli-no-memory``, on the same vectors, that reads each sentence by itself."""
    return _narrow("snli-lstm-narrow", snli_spelt_lstm())


@recipe
def snli_aligned_wide() -> Recipe:
    """The same for what windows of eight words are read as, with 303,704 parameters."""
    return replace(_aligned_windows(snli_linear(), order=4, theta=8, epochs=8), name="snli-aligned-wide")


@recipe
def snli_aligned_wide_lstm() -> Recipe:
    """An LSTM of 300 units beside ``snli-aligned-wide``, on the same frozen word vectors."""
    return _small_lstm(snli_aligned_wide())


@recipe
def mnli() -> Recipe:
    """MNLI: SNLI's question over many kinds of text; ``--task_name mnli-mm`` reports the mismatched split."""
    return replace(qqp(), name="mnli", data=qqp().data | {"task_name": "mnli"}, epochs=4)


@recipe
def qnli() -> Recipe:
    """QNLI, a sentence that answers a question or does not."""
    return replace(qqp(), name="qnli", data=qqp().data | {"task_name": "qnli"})


@recipe
def stsb() -> Recipe:
    """STS-B, how alike two sentences are, from 0 to 5."""
    return replace(mrpc(), name="stsb", data=mrpc().data | {"task_name": "stsb"}, label_smoothing=0.0)


@recipe
def wnli() -> Recipe:
    """WNLI, 635 pairs that are known to teach nothing; here because GLUE has it."""
    return replace(mrpc(), name="wnli", data=mrpc().data | {"task_name": "wnli"})
