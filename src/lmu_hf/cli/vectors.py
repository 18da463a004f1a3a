"""Training word vectors on the texts that flags name."""

import argparse
import time

from datasets import concatenate_datasets

from ..common.record import keep
from ..data.corpus import Corpus, count_characters, dataset_rows, table_rows, text_rows
from ..data.opening import is_table
from ..data.word_vector_training import Sentences, train_word_vectors
from ..tokenization_lmu import train_tokenizer


def load_corpus(args: argparse.Namespace) -> Corpus:
    """The texts that the flags name."""
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


def train_vectors(args: argparse.Namespace) -> dict:
    """Parse flags, train, and write the vectors and what is to be known of them."""
    start = time.perf_counter()
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
    width, seconds = measured["size"], measured["seconds"]
    print(
        f"{args.output_file}: {counts['words']:,} vectors of {width} numbers, of {counts['read']:,} words; {seconds} s"
    )
    return keep(measured, args.output_file.with_suffix(".json"))
