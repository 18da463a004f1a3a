"""The losses of all heads but the next-token one, whose loss is transformers' own: sums over what there is to learn.

They are divided by the number of labels: of this call, or, as ``num_items_in_batch``, of all the calls whose gradients
are added up, however unevenly labels fall to them. A label of −100 is no label in any head, since Trainer, which does
the counting, counts all others: a series whose values may be exactly −100 needs another unit.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.utils import is_torchdynamo_compiling

from .checking import IGNORED, UNKNOWN, check_class_ids, check_finite, check_range, check_tensors
from .configuration_lmu import LMUConfig

Items = Tensor | int | None  # what a loss is divided by, if not by what it counts itself
Problem = Literal["regression", "single_label_classification", "multi_label_classification"]
ROWS = ("row", "label")


def cross_entropy(logits: Tensor, labels: Tensor, items: Items = None, label_smoothing: float = 0.0) -> Tensor:
    """Of logits (…, classes) and class ids (…), in float32 or wider."""
    loss = F.cross_entropy(
        _widened(logits).flatten(0, -2),
        labels.flatten(),
        # A sum, where labels of several calls are counted together: each call's mean would weigh them unevenly.
        reduction="mean" if items is None else "sum",
        label_smoothing=label_smoothing,
    )
    return loss if items is None else _divided(loss, items)


def squared_error(predictions: Tensor, labels: Tensor, real: Tensor, items: Items = None) -> Tensor:
    """Mean over the labels that are ``real``; all tensors of one shape, in float32 or wider."""
    predictions = _widened(predictions)
    # Before squaring: what is not real may be NaN, and 0 times NaN would be a gradient of NaN.
    error = (predictions - labels.to(predictions.dtype)).masked_fill(~real, 0)
    return _divided(error.square().sum(), real.sum() if items is None else items)


def pinball(quantiles: Tensor, labels: Tensor, real: Tensor, levels: list[float], items: Items = None) -> Tensor:
    """Twice the pinball loss max(τ e, (τ − 1) e) of e = label − quantile, mean over the real labels and the levels τ.

    Koenker and Bassett, "Regression Quantiles", Econometrica 1978, eq. (1.1). At τ = 1/2 it is the absolute error.

    Args:
        quantiles: (…, levels).
        labels, real: (…).
        levels: τ of each quantile.
        items: how many labels the loss is a mean over, if not over those that are real.
    """
    quantiles = _widened(quantiles)
    error = (labels.to(quantiles.dtype)[..., None] - quantiles).masked_fill(~real[..., None], 0)
    tau = torch.tensor(levels, dtype=quantiles.dtype, device=quantiles.device)
    total = 2 * torch.maximum(tau * error, (tau - 1) * error).mean(-1).sum()
    return _divided(total, real.sum() if items is None else items)


def binary_cross_entropy(logits: Tensor, labels: Tensor, real: Tensor, items: Items = None) -> Tensor:
    """Mean over the labels, 0 to 1, that are ``real``; all tensors of one shape, in float32 or wider."""
    logits = _widened(logits)
    # Before the loss, as in squared_error: what is not real may be NaN.
    labels = labels.to(logits.dtype).masked_fill(~real, 0)
    terms = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").masked_fill(~real, 0)
    return _divided(terms.sum(), real.sum() if items is None else items)


def _widened(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _divided(total: Tensor, items: Tensor | int) -> Tensor:
    return total / (items.to(total.device) if isinstance(items, Tensor) else items)  # Trainer may count elsewhere


def problem_type(labels: Tensor, config: LMUConfig) -> Problem:
    """What ``config.problem_type`` says, or else what transformers would read off the labels."""
    if config.problem_type is not None:
        return config.problem_type
    if config.num_labels == 1:
        return "regression"
    # Class ids are integers; floats and booleans say of each label whether it holds.
    several = labels.is_floating_point() or labels.dtype == torch.bool
    return "multi_label_classification" if several else "single_label_classification"


def check_labels(labels: Tensor, rows: int, num_labels: int, config: LMUConfig) -> None:
    """Complain about labels of ``rows`` sequences, each of ``num_labels``, that the problem cannot have.

    Raises:
        ValueError: they have a wrong shape or lie outside the classes, or are not finite.
        TypeError: they are no tensor, or those of a choice of one class not int64.
    """
    if not isinstance(labels, Tensor):
        check_tensors(labels=labels)
    problem = problem_type(labels, config)
    if labels.ndim == 0 or labels.shape[0] != rows:
        raise ValueError(f"labels hold {labels.shape[0] if labels.ndim else 'no'} rows for a batch of {rows}")
    one_a_row = problem == "single_label_classification" or num_labels == 1
    allowed = [(rows,), (rows, 1)] if one_a_row else [(rows, num_labels)]
    if tuple(labels.shape) not in allowed:
        raise ValueError(f"labels must be {' or '.join(map(str, allowed))} for this problem, got {tuple(labels.shape)}")
    if problem == "single_label_classification":
        check_class_ids(labels, num_labels, "num_labels", ROWS)
        return
    check_finite("labels", labels, ROWS, remedy=UNKNOWN)
    if problem == "multi_label_classification":
        check_range(labels, 1, problem, ROWS)


def sequence_loss(
    labels: Tensor,
    pooled_logits: Tensor,
    config: LMUConfig,
    num_items_in_batch: Items = None,
    label_smoothing: float = 0.0,
    **kwargs,
) -> Tensor:
    """Of one vector of logits per sequence, as ``config.problem_type`` asks; it is set where it was not.

    Args:
        labels: as :func:`check_labels` lets them pass.
        pooled_logits: (b, num_labels).
        config: the model's.
        num_items_in_batch: how many labels the loss is a mean over, if not over those given here.
        label_smoothing: of a choice of one class; the part of every label that is shared among all classes.
        kwargs: not looked at, as of every ``loss_function``.
    """
    # Kept in the config, as transformers does: later batches and the saved model then mean the same problem.
    config.problem_type = problem_type(labels, config)
    labels = labels.to(pooled_logits.device)
    if config.problem_type == "single_label_classification":
        return cross_entropy(pooled_logits, labels, num_items_in_batch, label_smoothing)
    labels = labels.view_as(pooled_logits)
    loss = squared_error if config.problem_type == "regression" else binary_cross_entropy
    return loss(pooled_logits, labels, labels != IGNORED, num_items_in_batch)


def check_counted(unreal: Tensor) -> None:
    """Complain about labels on masked steps, which Trainer has counted. Where there is a mask, the host waits anyway.

    Args:
        unreal: (b, n) or (b, n, …), true where a label stands on a masked step.

    Raises:
        ValueError: there is one.
    """
    if not is_torchdynamo_compiling() and bool(unreal.any()):
        row, step = unreal.nonzero()[0, :2].tolist()
        raise ValueError(
            f"labels must be -100 on masked steps, or num_items_in_batch counts them; row {row}, step {step} is not"
        )


def drop_masked(labels: Tensor, mask: Tensor, items: Items = None) -> Tensor:
    """Class ids (b, n), −100 on masked steps.

    Args:
        labels: (b, n).
        mask: (b, n) bool, true where a step is real.
        items: how many labels somebody has counted, if anybody has.

    Raises:
        ValueError: labels were counted that stand on masked steps.
    """
    if items is not None:
        check_counted((labels != IGNORED) & ~mask)
    return labels.masked_fill(~mask, IGNORED)


def token_loss(
    labels: Tensor,
    logits: Tensor,
    config: LMUConfig,
    num_items_in_batch: Items = None,
    label_smoothing: float = 0.0,
    **kwargs,
) -> Tensor:
    """Of a class for every step.

    Args:
        labels: (b, n) class ids; −100 where there is nothing to learn.
        logits: (b, n, num_labels).
        config: the model's, not looked at.
        num_items_in_batch: how many labels the loss is a mean over, if not over those given here.
        label_smoothing: the part of every label that is shared among all classes.
        kwargs: not looked at, as of every ``loss_function``.
    """
    return cross_entropy(logits, labels.to(logits.device), num_items_in_batch, label_smoothing)
