"""Scoring a model whose votes a linear model has found: votes and stack apart, and the balance between them."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .baselines import Lines
from .judging import mean_loss
from .linear_votes import choose_balance

NO_MEMORY = "the memory counts for nothing on these rows: the result is the n-grams' alone"
NO_VOTES = "the n-grams count for nothing on these rows: the result is the memory's alone"
Judge = Callable[[Tensor, Tensor], dict[str, float]]  # logits and labels to scores


class Voting:
    """What a task does beside its usual scoring while it trains such a model.

    Args:
        judge: scores of logits, for the parts alone.

    Attributes:
        parts: scores of the votes alone and of the stack alone, by name and split.
        findings: what the balance says of the model where it leaves one of the two out, by ``balance``.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.parts: Lines = {}
        self.findings: dict[str, str] = {}
        self._kept = (1.0, 1.0)  # the balance that a split finds

    def begin(self, model: Any, split: str) -> None:
        """Before a split is read: both count in full where the balance is chosen anew, or would hide the stack."""
        self._kept = model.votes.read_balance()
        if split == "validation" or not self._kept[0]:
            model.votes.set_balance(1.0, 1.0)

    def vote(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """The logits of the votes alone, on the scale that the head learns on."""
        return model.voted(**{name: value for name, value in batch.items() if name != "labels"}).float()

    def weigh(self, model: Any, split: str, logits: Tensor, voted: Tensor, labels: Tensor) -> Tensor:
        """The logits of a split as the balance has them, which validation chooses; both parts are scored alone.

        Args:
            model: that gave them.
            split: whose rows they are.
            logits: of the whole model, in the unit of the labels.
            voted: of the votes.
            labels: of the rows.
        """
        targets = getattr(model, "targets", None)  # of numbers to predict: their unit
        if targets is not None:
            logits = targets.standardise(logits)
        of_stack, of_votes = self._kept
        if split == "validation":
            truth = labels if targets is None else targets.standardise(labels)
            stack = logits - voted  # see `begin`
            numbers = targets is not None
            logits = choose_balance(model.votes, stack, voted, lambda some: mean_loss(some, truth), numbers)
            self._note(*model.votes.read_balance())
        elif of_stack:
            stack = (logits - of_votes * voted) / of_stack
        else:
            stack, logits = logits - voted, of_votes * voted
            model.votes.set_balance(of_stack, of_votes)
        for name, alone in {"n-grams alone": voted, "memory alone": stack}.items():
            self.parts.setdefault(name, {})[split] = self.judge(model.in_units(alone), labels)
        return model.in_units(logits)

    def _note(self, of_stack: float, of_votes: float) -> None:
        left_out = None if of_stack and of_votes else NO_VOTES if of_stack else NO_MEMORY
        self.findings = {} if left_out is None else {"balance": left_out}
