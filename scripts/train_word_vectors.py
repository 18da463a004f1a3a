"""Train word vectors on a corpus: word2vec, fastText or latent semantic analysis, as a file that --word_vectors reads.

    python scripts/train_word_vectors.py --dataset_name stanfordnlp/imdb --train_split train+unsupervised
    python scripts/train_word_vectors.py --dataset_name stanfordnlp/imdb --data_dir data --algorithm lsa --sif 1e-3
    python scripts/train_word_vectors.py --dataset_name stanfordnlp/snli --text_column premise+hypothesis
    python scripts/train_word_vectors.py --train_file notes.txt --algorithm fasttext --output_file vectors.txt
    python scripts/train_word_vectors.py --train_file notes.txt --algorithm lsa word2vec --size 90
    python scripts/train_glue.py --recipe imdb-linear --word_vectors vectors.txt       # what they are for

A file is text, or CSV, JSON lines or parquet with columns of it. Texts are cut into words as this project's word
tokenizer cuts them, lower-cased unless --keep_case is given. Only training rows are read: of a data set the splits that
--train_split names. Several data sets are one corpus; a flag that says more of them has one word for all, or one for
each. To lsa a row is a document, and --window, --negative and the number of passes have no effect. Of several
algorithms the vectors stand side by side and their principal components, --size of them, are what is written. --sif
weighs every vector by how rare its word is, so that a plain sum of words becomes a weighted one. --spelling gives every
vector so many numbers more, which say how its word is spelt. With one worker a seed gives the same file again. Writes
the file (--output_file, default word_vectors.txt), in word2vec's text format, and beside it a .json with what was done
and where.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import AMOUNT, COUNT, POSITIVE, SEED, ScriptParser
from lmu_hf.common.errors import check_folder
from lmu_hf.common.record import publish
from lmu_hf.data.corpus import Corpus, count_characters, dataset_rows, table_rows, text_rows
from lmu_hf.data.tables import is_table
from lmu_hf.data.word_vector_training import ALGORITHMS, Sentences, train_word_vectors
from lmu_hf.tokenization_lmu import train_tokenizer

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
    "output_file": (Path, Path("word_vectors.txt"), "file of vectors to write"),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--dataset_name", nargs="+", help="data sets, by name on the Hub or below --data_dir (default: none)"
    )
    source.add_argument("--train_file", type=Path, help="file of text or rows, in place of data sets (default: none)")
    parser.add_argument("--data_dir", type=Path, help="folder of data sets laid out as on the Hub (default: the Hub)")
    for flag, (default, text) in OF_EACH.items():
        parser.add_argument(f"--{flag}", nargs="+", default=[default], help=text)
    parser.add_argument(
        "--algorithm",
        nargs="+",
        choices=ALGORITHMS,
        default=["word2vec"],
        help="how vectors are trained; of several, the principal components (default: word2vec)",
    )
    text = "a of the weight a / (a + p(word)) that scales each vector, as 1e-3 (default: vectors are not scaled)"
    parser.add_argument("--sif", type=POSITIVE, help=text)
    parser.add_argument("--keep_case", action="store_true", help="tell upper and lower case apart")
    parser.add_values(VALUES)
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


def load_corpus(args: argparse.Namespace) -> Corpus:
    """The texts that the flags name."""
    from datasets import concatenate_datasets  # importing it takes a second that `--help` need not wait for

    if args.dataset_name is not None:
        said = (args.dataset_config_name, args.train_split, args.text_column)
        words = (given * args.sources if len(given) == 1 else given for given in said)
        rows = [
            dataset_rows(name, args.data_dir, {"train": split}, column, None if config == "none" else config)["train"]
            for name, config, split, columns in zip(args.dataset_name, *words, strict=True)
            for column in columns.split("+")
        ]
        return Corpus(concatenate_datasets(rows))
    if is_table(args.train_file):
        columns = args.text_column[0].split("+")
        return Corpus(concatenate_datasets([table_rows({"train": args.train_file}, name)["train"] for name in columns]))
    if not count_characters(args.train_file):
        raise ValueError(f"{args.train_file} holds no text")
    return Corpus(text_rows(args.train_file), separator="")


@script
def main(argv: list[str] | None = None) -> dict:
    """Parse flags, train, and write the vectors and what is to be known of them."""
    args = parse_args(argv)
    start = time.perf_counter()
    check_folder(args.output_file.parent, "output_file")
    corpus = load_corpus(args)
    cutter = train_tokenizer("word", ["a"], lowercase=not args.keep_case)  # how it cuts does not hang on its words
    args.output_file.parent.mkdir(parents=True, exist_ok=True)
    counts = train_word_vectors(
        Sentences(corpus, cutter),
        args.output_file,
        algorithm=args.algorithm,
        size=args.size,
        window=args.window,
        min_count=args.min_count,
        negative=args.negative,
        epochs=args.num_train_epochs,
        sif=args.sif,
        spelling=args.spelling,
        seed=args.seed,
        workers=args.workers,
    )
    measured = {"words": counts, "size": args.size + args.spelling, "seconds": round(time.perf_counter() - start, 1)}
    return publish(measured, args.output_file.with_suffix(".json"))


if __name__ == "__main__":
    main()
