"""Scoring a model whose votes a linear model has found: votes and stack apart, and the balance between them."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from .baselines import Lines
from .linear_votes import choose_balance

Judge = Callable[[Tensor, Tensor], dict[str, float]]  # logits and labels to scores


class Voting:
    """What a task does beside its usual scoring while it trains such a model.

    Args:
        judge: scores of logits, for the parts alone.

    Attributes:
        parts: scores of the votes alone and of the stack alone, by name and split.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.parts: Lines = {}

    def begin(self, model: Any, split: str) -> None:
        """Before a split is read: on validation both count in full, so that the balance can be chosen anew."""
        if split == "validation":
            model.votes.set_balance(1.0, 1.0)

    def vote(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """The logits of the votes alone, on the scale that the head learns on."""
        layout = model.find_layout(batch["input_ids"], batch["attention_mask"])
        return model.voted(batch["input_ids"], layout).float()

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
        if split == "validation":
            truth = labels if targets is None else targets.standardise(labels)
            stack = logits - voted  # see `begin`
            logits = choose_balance(model.votes, stack, voted, lambda some: mean_loss(some, truth))
        of_stack, of_votes = model.votes.read_balance()
        parts = {"n-grams alone": voted}
        if of_stack:  # else the votes are all that there is
            parts["memory alone"] = (logits - of_votes * voted) / of_stack
        for name, alone in parts.items():
            self.parts.setdefault(name, {})[split] = self.judge(model.in_units(alone), labels)
        return model.in_units(logits)


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """What a balance is chosen by: the mean loss of rows, as training has it but for smoothing."""
    if not labels.is_floating_point():
        return F.cross_entropy(logits, labels)
    if labels.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits, labels)
    return F.mse_loss(logits[:, 0], labels)
