"""Whether numbers are finite: asked of everything that a run keeps, chooses or passes on."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or an infinity; None if all are finite.

    Of a tensor that is sharded over processes, each process looks at its own shard.
    """
    return next((name for name, tensor in tensors.items() if not _all_finite(tensor)), None)


def first_score_not_finite(scores: Mapping[str, float]) -> str | None:
    """The name of the first score that is NaN or an infinity; None if all are finite."""
    return next((name for name, score in scores.items() if not math.isfinite(score)), None)


class OutputWatch:
    """Whether all that a model has given since the watch began was finite; losses, which tell of labels too, aside."""

    def __init__(self) -> None:
        self._flags: dict[str, Tensor] = {}

    def first_not_finite(self) -> str | None:
        """The name of an output that was not finite in some call; None if all were."""
        # Only here does the host wait for the device, once per output.
        return next((name for name, flag in self._flags.items() if not flag), None)

    def look(self, module: nn.Module, args: Any, output: Any) -> None:
        """Note one call, as a forward hook: nothing waits for the device here."""
        for name, value in output.items() if isinstance(output, Mapping) else ():
            if isinstance(value, Tensor) and value.is_floating_point() and name != "loss":
                finite = torch.isfinite(value).all()
                # One flag per output, a tensor on its device: the outputs themselves are let go of.
                self._flags[name] = self._flags[name] & finite if name in self._flags else finite


@contextmanager
def watched_outputs(model: nn.Module) -> Iterator[OutputWatch]:
    """A watch on what a model gives, for as long as the context is open."""
    watch = OutputWatch()
    handle = model.register_forward_hook(watch.look)
    try:
        yield watch
    finally:
        handle.remove()


def _all_finite(tensor: Tensor) -> bool:
    # No collective call: `full_tensor` would gather a sharded model to look at it.
    own = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return not (own.is_floating_point() or own.is_complex()) or bool(torch.isfinite(own).all())  # integers have no NaN
