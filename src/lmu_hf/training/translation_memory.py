"""What a translator must beat, in seconds: the translation of the most similar training sentence, and no change."""

from collections.abc import Callable, Sequence

import numpy as np

from .baselines import Lines

MEMORY, COPY = "translation memory", "source unchanged"
MOST_REMEMBERED = 100_000  # training pairs, evenly spaced: more take minutes
AT_ONCE = 100  # sentences that are compared with all remembered ones together
Pairs = Sequence[tuple[str, str]]


def similar_translations(pairs: Pairs, sources: Sequence[str]) -> list[str]:
    """For each source the target of the pair whose source is most alike: by the cosine of tf-idf vectors.

    The vectors hold words and n-grams of three and four characters within them.

    Args:
        pairs: that are remembered.
        sources: to be translated. One that is like none gets the first pair's target.
    """
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizers = (
        TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", dtype=np.float32),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), dtype=np.float32),
    )
    seen = hstack([vectors.fit_transform([source for source, _ in pairs]) for vectors in vectorizers]).T.tocsr()
    asked = hstack([vectors.transform(sources) for vectors in vectorizers]).tocsr()
    nearest = [
        np.asarray((asked[begin : begin + AT_ONCE] @ seen).argmax(axis=1)).ravel()
        for begin in range(0, len(sources), AT_ONCE)
    ]
    return [pairs[place][1] for place in np.concatenate(nearest)]


def translation_lines(
    pairs: dict[str, Pairs], score: Callable[[Sequence[str], Sequence[str]], dict[str, float]]
) -> Lines:
    """The lines that a translator must beat: a translation memory, and each source as it is.

    Args:
        pairs: for ``train``, and for each split that is scored.
        score: translations and references to scores.

    Returns:
        Scores by the name of the line and the split.
    """
    train = pairs["train"]
    if len(train) > MOST_REMEMBERED:  # whatever order they stand in
        train = [train[place] for place in np.linspace(0, len(train) - 1, MOST_REMEMBERED).astype(int)]
    lines: Lines = {MEMORY: {}, COPY: {}}
    for split, part in pairs.items():
        if split == "train":
            continue
        sources, references = ([pair[side] for pair in part] for side in (0, 1))
        lines[MEMORY][split] = score(similar_translations(train, sources), references)
        lines[COPY][split] = score(sources, references)
    return lines
