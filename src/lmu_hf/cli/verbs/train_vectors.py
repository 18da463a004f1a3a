"""Train word vectors on a corpus: word2vec, fastText or latent semantic analysis, as a file that --word_vectors reads.

    lmu-hf train vectors --train_file notes.txt --algorithm fasttext --output_file vectors.txt
    lmu-hf train vectors --train_file notes.txt --algorithm lsa word2vec --size 90
    lmu-hf train vectors --dataset_name stanfordnlp/imdb --train_split train+unsupervised
    lmu-hf train vectors --dataset_name stanfordnlp/snli --text_column premise+hypothesis
    lmu-hf train text --recipe imdb-linear --word_vectors vectors.txt      # what they are for

A corpus is a file of text or of rows, or data sets. Texts are cut into words as this project's word tokenizer cuts
them, lower-cased unless --keep_case is given. Of several data sets, a flag has one word for all or one for each. To lsa
a row is a document, and --window, --negative and --num_train_epochs have no effect. Of several algorithms the vectors
stand side by side, and their principal components, --size of them, are written. With one worker a seed gives the same
file again.

Written is --output_file in word2vec's text format, and beside it a .json with what was done and where.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...data.opening import is_table
from ..flags import AMOUNT, COUNT, POSITIVE, SEED, ScriptParser, manual_of

ALGORITHMS = ("word2vec", "fasttext", "lsa")  # those of lmu_hf.data.word_vector_training, which a test compares
# Of each data set: the default, and what the flag sets.
OF_EACH = {
    "dataset_config_name": ("none", "configuration of each data set (default: %(default)s)"),
    "train_split": ("train", "split of each data set; several joined by + (default: %(default)s)"),
    "text_column": ("text", "column that holds the text; several joined by + (default: %(default)s)"),
}
VALUES: dict[str, tuple[Callable[[str], Any], Any, str]] = {
    "size": (COUNT, 300, "width of a vector in numbers"),
    "window": (COUNT, 5, "words to either side that a word is to predict"),
    "min_count": (COUNT, 5, "times that a word must be seen to get a vector"),
    "negative": (AMOUNT, 5, "negative samples: words drawn to tell each word from"),
    "num_train_epochs": (COUNT, 5, "training epochs: passes over the text"),
    "spelling": (AMOUNT, 0, "numbers of a vector beside --size that hold the word's character n-grams"),
    "seed": (SEED, 0, "random seed of the training"),
    "workers": (COUNT, 1, "threads; with more than one a result is not repeated bit by bit"),
}


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "train vectors")
    data, training = parser.group("data"), parser.group("training")
    source = data.add_mutually_exclusive_group()
    source.add_argument(
        "--dataset_name", nargs="+", help="data sets, by name on the Hub or below --data_dir (default: none)"
    )
    source.add_argument("--train_file", type=Path, help="file of text or rows, in place of data sets (default: none)")
    data.add_argument("--data_dir", type=Path, help="folder of data sets laid out as on the Hub (default: the Hub)")
    for flag, (default, text) in OF_EACH.items():
        data.add_argument(f"--{flag}", nargs="+", default=[default], help=text)
    training.add_argument(
        "--algorithm",
        nargs="+",
        choices=ALGORITHMS,
        default=["word2vec"],
        help="how vectors are trained; of several, the principal components (default: word2vec)",
    )
    text = "a of the weight a / (a + p(word)) that scales each vector, as 1e-3 (default: vectors are not scaled)"
    training.add_argument("--sif", type=POSITIVE, help=text)
    data.add_argument("--keep_case", action="store_true", help="tell upper and lower case apart")
    parser.add_values(VALUES)
    text = "file of vectors to write (default: %(default)s)"
    parser.group("output").add_argument("--output_file", type=Path, default=Path("word_vectors.txt"), help=text)
    args = parser.parse_args(argv)
    args.sources = len(args.dataset_name or ["the file"])
    _check(parser, args)
    return args


def _check(parser: ScriptParser, args: argparse.Namespace) -> None:
    """End with one line if flags contradict each other, or one would say nothing."""
    if args.dataset_name is None and args.train_file is None:
        parser.error("one of --dataset_name and --train_file says what to read")
    if args.train_file is not None:
        parser.refuse(args, "data_dir", "dataset_config_name", "train_split", because="a --train_file is read as it is")
        if not is_table(args.train_file):
            parser.refuse(args, "text_column", because=f"{args.train_file} is read as plain text")
    if set(args.algorithm) == {"lsa"}:
        of_words = ("window", "negative", "num_train_epochs", "workers")
        parser.refuse(args, *of_words, because="--algorithm lsa counts words in rows")
    for flag in OF_EACH:
        if len(given := getattr(args, flag)) not in (1, args.sources):
            parser.error(f"--{flag} takes one word or as many as there are data sets, {args.sources}; got {len(given)}")


def start(args: argparse.Namespace) -> dict:
    """Train, and write the vectors and what is to be known of them."""
    from ..vectors import train_vectors

    return train_vectors(args)
