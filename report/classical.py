"""Score the classical models that people would use instead, on the rows that recipes train on.

python report/classical.py --data_dir data --output records/classical.json

tf-idf of words and pairs of words, and logistic regression. Of a pair both texts are read, as sums and as products of
their vectors, with the number of words that they share. C is chosen on the validation split; the test split is read
once. The fingerprint of the rows stands beside each score: it is that of the runs that it is compared with.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser
from lmu_hf.common.record import publish
from lmu_hf.data.labelled import glue, labelled_dataset
from lmu_hf.data.labels import LabelledText
from lmu_hf.training.baselines import shared_words

CHOICES = (1.0, 3.0, 10.0)  # of C, the inverse of the weight of the penalty


@script
def main(argv: list[str] | None = None) -> None:
    """Score each data set and write the figures."""
    args = parse_args(argv)
    sets = {
        "qqp": glue("qqp", args.data_dir),
        "mrpc": glue("mrpc", args.data_dir),
        "snli": labelled_dataset("stanfordnlp/snli", args.data_dir),
    }
    publish({"rows": [score(name, rows) for name, rows in sets.items()]}, args.output)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--data_dir", type=Path, help="a folder of data sets laid out as on the Hub (default: the Hub)")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures (default: none is written)")
    return parser.parse_args(argv)


def score(name: str, rows: LabelledText) -> dict[str, Any]:
    """Accuracy of the best model by validation, and of the majority class."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    texts = rows.splits["train"]["text"]
    vectorizer.fit([*texts, *rows.splits["train"]["text_pair"]] if rows.pairs else texts)
    features = {split: features_of(part, vectorizer, rows.pairs) for split, part in rows.splits.items()}
    labels = {split: np.asarray(part["label"]) for split, part in rows.splits.items()}
    models = [LogisticRegression(C=C, max_iter=300, tol=1e-3).fit(features["train"], labels["train"]) for C in CHOICES]
    validation = [model.score(features["validation"], labels["validation"]) for model in models]
    best = models[int(np.argmax(validation))]
    majority = np.bincount(labels["train"]).argmax()
    return {
        "name": name,
        "fingerprint": rows.fingerprint(),
        "model": "tf-idf of 1- and 2-grams, logistic regression",
        "C": best.C,
        "validation": max(validation),
        "test": best.score(features["test"], labels["test"]),
        "majority": float((labels["test"] == majority).mean()),
    }


def features_of(part: Any, vectorizer: TfidfVectorizer, pairs: bool) -> csr_matrix:
    """A row of numbers for each text or pair."""
    first = vectorizer.transform(part["text"])
    if not pairs:
        return first
    second = vectorizer.transform(part["text_pair"])
    overlap = np.array([shared_words(*texts) for texts in zip(part["text"], part["text_pair"], strict=True)])
    return hstack([first, second, abs(first - second), first.multiply(second), csr_matrix(overlap)]).tocsr()


if __name__ == "__main__":
    main()
