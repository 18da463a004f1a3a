"""Short English sentences by rule, so that a classifier can be trained with nothing to download.

None of them can be solved as a bag of words: opinions hang on a ``not`` and on which of two clauses a conjunction makes
the main one; two sentences of a pair say the same or not by who does what to whom; of some names only the words around
them say whether they are a person's or a place's.
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
# The form behind "did not".
BARE = {
    **{"liked": "like", "loved": "love", "enjoyed": "enjoy", "admired": "admire"},
    **{"hated": "hate", "disliked": "dislike", "regretted": "regret", "avoided": "avoid"},
}
PEOPLE = ("i", "we", "they", "my friends", "our children")

WHO = ("cat", "dog", "horse", "teacher", "doctor", "farmer", "nurse", "singer", "sailor", "baker", "painter", "judge")
# Each verb with another of the same meaning.
DONE = {
    **{"chased": "pursued", "helped": "assisted", "saw": "noticed", "called": "phoned", "thanked": "praised"},
    **{"followed": "trailed", "pushed": "shoved", "warned": "alerted"},
}
PARTICIPLES = {"saw": "seen"}  # only where it differs from the past tense

EITHER = ("florence", "sydney", "austin", "charlotte", "jordan", "chelsea", "paris", "lincoln")  # a person or a place
PERSONS = (*("anna", "ben", "clara", "david", "emma", "felix", "greta", "hugo", "irene", "jonas"), *EITHER)
SURNAMES = ("stone", "baker", "rivers", "young", "hill", "fisher")
PLACES = (*("rome", "oslo", "madrid", "vienna", "new york", "cape town", "san diego", "hong kong"), *EITHER)
REPORTS = (
    *("{person} met {person} in {place} .", "{person} flew from {place} to {place} .", "in {place} , {person} sings ."),
    *(
        "{place} is larger than {place} .",
        "{person} is taller than {person} .",
        "{person} of {place} wrote to {person} .",
    ),
    *("the road from {place} to {place} is closed .", "the mayor of {place} thanked {person} ."),
    *("{person} and {person} moved to {place} .", "it rains in {place} , says {person} ."),
)


def opinions(rows: int, seed: int = 0) -> list[dict]:
    """Sentences with ``text`` and ``label``, 0 for a negative opinion and 1 for a positive one; no two alike."""
    return _distinct(_draw_opinions(random.Random(seed)), rows, ("text",))


def paraphrases(rows: int, seed: int = 0) -> list[dict]:
    """Pairs with ``text``, ``text_pair`` and ``label``, 1 if both say the same; no two alike."""
    return _distinct(_draw_paraphrases(random.Random(seed)), rows, ("text", "text_pair"))


def names(rows: int, seed: int = 0) -> list[dict]:
    """Sentences as ``tokens`` with their ``tags``: O, B-PER, I-PER, B-LOC or I-LOC; no two alike."""
    drawn = _distinct(_draw_names(random.Random(seed)), rows, ("text",))
    return [{"tokens": row["text"].split(), "tags": row["tags"]} for row in drawn]


def _distinct(drawn: Iterator[dict], rows: int, key: tuple[str, ...]) -> list[dict]:
    found: dict[tuple, dict] = {}
    while len(found) < rows:
        row = next(drawn)
        # A text that is drawn again takes its first place: a dictionary keeps the order of insertion.
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
    # "Not dull" is a good opinion with a bad word: `not` turns the sign of the word.
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
        verb, wrong = draw.sample(sorted(DONE), 2)  # sample takes no dictionary, and the order must be fixed
        same = draw.random() < 0.5
        second = (who, verb, whom)
        if not same:
            # Half of these swap the roles and keep the words, which no bag of words can tell.
            second = draw.choice(((whom, verb, who), (whom, verb, who), (who, wrong, whom), (who, verb, third)))
        yield {"text": _tell(draw, who, verb, whom), "text_pair": _tell(draw, *second), "label": int(same)}


def _tell(draw: random.Random, who: str, verb: str, whom: str) -> str:
    verb = draw.choice((verb, DONE[verb]))
    passive = f"{PARTICIPLES.get(verb, verb)} by"
    forms = (
        f"the {who} {verb} the {whom}.",
        f"the {whom} was {passive} the {who}.",
        f"it was the {who} that {verb} the {whom}.",
    )
    return draw.choice(forms)


def _draw_names(draw: random.Random) -> Iterator[dict]:
    while True:
        words: list[str] = []
        tags: list[str] = []
        for word in draw.choice(REPORTS).split():
            name, tag = [word], "O"
            if word == "{person}":
                # Three names in ten have a surname: sample reads the comparison as 0 or 1.
                name, tag = [draw.choice(PERSONS), *draw.sample(SURNAMES, draw.random() < 0.3)], "PER"
            elif word == "{place}":
                name, tag = draw.choice(PLACES).split(), "LOC"
            words += name
            tags += ["O"] if tag == "O" else [f"{'I' if place else 'B'}-{tag}" for place in range(len(name))]
        yield {"text": " ".join(words), "tags": tags}
