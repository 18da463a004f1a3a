"""What a reader of a score should know before relying on it, found in the run record's own fields."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..common.record import RunRecord


@dataclass(frozen=True)
class Caveat:
    """A footnote of the tables and a sentence of the cards.

    Args:
        mark: that stands at the recipe's name or at the seed.
        of_recipe: whether it holds of every run of the recipe; otherwise of single runs.
        holds: whether it holds of a record.
        words: the sentence.
    """

    mark: str
    of_recipe: bool
    holds: Callable[[RunRecord], bool]
    words: str


def remembers_nothing(record: RunRecord) -> bool:
    """Whether the memory is its input: Euler's rule at order 1 and theta 1 gives A_bar = 1 - 1/theta = 0, B_bar = 1."""
    # It holds what differs from the defaults, and none of these three is a default.
    fields = record.architecture
    return fields.get("discretization") == "euler" and fields.get("order") == 1 and fields.get("theta") == 1


# In the order in which marks stand in a cell and footnotes below a table.
CAVEATS = (
    Caveat(
        "§",
        True,
        remembers_nothing,
        "No memory: with order 1, theta 1 and Euler's rule A_bar is 0, so that a step sees its own input alone. What "
        "is measured is decomposable attention on frozen word vectors.",
    ),
    Caveat(
        "†",
        False,
        lambda record: (record.commit or "").endswith("+"),  # a plus sign: not all was committed
        "Run from code with uncommitted changes: the commit in the record is the one that they were made on.",
    ),
    Caveat(
        "‡",
        False,
        lambda record: "constant-averaging" in record.remarks,
        "Run before the average of weights started short: its decay was the same at every step. A run today gives "
        "other weights.",
    ),
)


def recipe_marks(group: Sequence[RunRecord]) -> str:
    """The marks of what holds of a recipe."""
    return "".join(caveat.mark for caveat in CAVEATS if caveat.of_recipe and all(map(caveat.holds, group)))


def run_marks(record: RunRecord) -> str:
    """The marks of what holds of one run and not of its recipe."""
    return "".join(caveat.mark for caveat in CAVEATS if not caveat.of_recipe and caveat.holds(record))


def footnotes(records: Sequence[RunRecord]) -> str:
    """The words of every mark that stands in a table of these records."""
    # Two spaces end a line in Markdown.
    return "\n".join(
        f"{caveat.mark} {caveat.words}  " for caveat in CAVEATS if any(map(caveat.holds, records))
    ).rstrip()


def caveats_of(record: RunRecord) -> list[str]:
    """The sentences that hold of a record."""
    return [caveat.words for caveat in CAVEATS if caveat.holds(record)]
