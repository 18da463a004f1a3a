"""Short English sentences by rule, so that a classifier can be trained with nothing to download.

Neither set can be solved as a bag of words: opinions hang on a ``not`` and on which of two clauses a conjunction makes
the main one; two sentences of a pair say the same or not by who does what to whom.
"""

import random
from collections.abc import Iterator

THINGS = (
    *("soup", "film", "room", "story", "song", "garden", "coffee", "museum", "train", "guide", "view", "bread"),
    *("concert", "hotel", "beach", "novel", "waiter", "map", "lesson", "bridge"),
)
GOOD = (
    *("wonderful", "charming", "excellent", "lovely", "delightful", "brilliant", "pleasant", "splendid"),
    *("superb", "enjoyable", "beautiful", "impressive"),
)
BAD = (
    *("awful", "dull", "terrible", "horrible", "dreadful", "disappointing", "unpleasant", "miserable"),
    *("tedious", "poor", "ugly", "boring"),
)
VERBS = ("was", "seemed", "felt")
DEGREES = ("", "really ", "rather ", "very ", "quite ")
LIKED, DISLIKED = ("liked", "loved", "enjoyed", "admired"), ("hated", "disliked", "regretted", "avoided")
BARE = {
    **{"liked": "like", "loved": "love", "enjoyed": "enjoy", "admired": "admire"},
    **{"hated": "hate", "disliked": "dislike", "regretted": "regret", "avoided": "avoid"},
}
PEOPLE = ("i", "we", "they", "my friends", "our children")

WHO = ("cat", "dog", "horse", "teacher", "doctor", "farmer", "nurse", "singer", "sailor", "baker", "painter", "judge")
DONE = {
    **{"chased": "pursued", "helped": "assisted", "saw": "noticed", "called": "phoned", "thanked": "praised"},
    **{"followed": "trailed", "pushed": "shoved", "warned": "alerted"},
}
PARTICIPLES = {"saw": "seen"}


def opinions(rows: int, seed: int = 0) -> list[dict]:
    """Sentences with ``text`` and ``label``, 0 for a negative opinion and 1 for a positive one; no two alike."""
    return _distinct(_draw_opinions(random.Random(seed)), rows, ("text",))


def paraphrases(rows: int, seed: int = 0) -> list[dict]:
    """Pairs with ``text``, ``text_pair`` and ``label``, 1 if both say the same; no two alike."""
    return _distinct(_draw_paraphrases(random.Random(seed)), rows, ("text", "text_pair"))


def _distinct(drawn: Iterator[dict], rows: int, key: tuple[str, ...]) -> list[dict]:
    found: dict[tuple, dict] = {}
    while len(found) < rows:
        row = next(drawn)
        found[tuple(row[name] for name in key)] = row
    return list(found.values())


def _draw_opinions(draw: random.Random) -> Iterator[dict]:
    while True:
        good = draw.random() < 0.5
        main, other = _clause(draw, good), _clause(draw, not good)
        form = draw.choice(
            ("{main}", "{main}", "{other}, but {main}", "although {other}, {main}", "{main}, though {other}")
        )
        yield {"text": form.format(main=main, other=other) + ".", "label": int(good)}


def _clause(draw: random.Random, good: bool) -> str:
    """An opinion; every third one says the opposite of the opposite."""
    negated = draw.random() < 1 / 3
    positive_word = good != negated
    if draw.random() < 0.3:
        verb = draw.choice(LIKED if positive_word else DISLIKED)
        verb = f"did not {BARE[verb]}" if negated else verb
        return f"{draw.choice(PEOPLE)} {verb} the {draw.choice(THINGS)}"
    negation, degree = "not " * negated, draw.choice(DEGREES)
    quality = draw.choice(GOOD if positive_word else BAD)
    return f"the {draw.choice(THINGS)} {draw.choice(VERBS)} {negation}{degree}{quality}"


def _draw_paraphrases(draw: random.Random) -> Iterator[dict]:
    while True:
        who, whom, third = draw.sample(WHO, 3)
        verb, wrong = draw.sample(sorted(DONE), 2)
        same = draw.random() < 0.5
        told = (who, verb, whom)
        if not same:
            told = draw.choice(((whom, verb, who), (whom, verb, who), (who, wrong, whom), (who, verb, third)))
        yield {"text": _tell(draw, who, verb, whom), "text_pair": _tell(draw, *told), "label": int(same)}


def _tell(draw: random.Random, who: str, verb: str, whom: str) -> str:
    verb = draw.choice((verb, DONE[verb]))
    passive = f"{PARTICIPLES.get(verb, verb)} by"
    forms = (
        f"the {who} {verb} the {whom}.",
        f"the {whom} was {passive} the {who}.",
        f"it was the {who} that {verb} the {whom}.",
    )
    return draw.choice(forms)
