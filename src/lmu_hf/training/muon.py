"""Muon: momentum whose singular values are made equal, for the matrices between a model's ends."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import AdamW, Optimizer

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the odd quintic that lifts singular values fastest, Jordan et al. 2024
ITERATIONS = 5
ADAMW_RMS = 0.2  # how large, in units of the learning rate, a number's step under AdamW is


class Muon(Optimizer):
    """Muon for the parameter groups that ask for it, AdamW for the others.

    A matrix's step is its gradients' momentum U S Vᵀ with all of S made about 1 (Jordan et al. 2024), as large as
    AdamW's would be (arXiv 2502.16982), so that both kinds share learning rate and weight decay. ``torch.optim.Muon``
    takes the same steps in bfloat16, which processors without such arithmetic do thirty times as slowly as float32, and
    leaves what is no matrix to a second optimiser. This one computes in the parameters' own type, matrices of one shape
    together. A parameter that is sharded over processes is gathered for its step, on each of them.

    Args:
        groups: of parameters, as torch's optimisers have them. With ``"matrices": k`` a group takes Muon's steps: each
            of its parameters is k matrices of equal shape, one under another (as an LSTM's four gates are).
        lr: the learning rate.

    Raises:
        ValueError: a parameter is not as many matrices as its group says.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        # AdamW fills its options into the very groups that this optimiser has: a schedule changes `lr` for both.
        self._adamw = AdamW([{"matrices": 0} | group for group in groups], lr=lr, fused=True)
        super().__init__(self._adamw.param_groups, {"lr": lr})
        for group in self._groups(of_matrices=True):
            for parameter in group["params"]:
                if parameter.ndim != 2 or parameter.shape[0] % group["matrices"]:
                    shape = tuple(parameter.shape)
                    raise ValueError(f"a parameter of shape {shape} is not {group['matrices']} matrices")

    def _groups(self, of_matrices: bool) -> list[dict[str, Any]]:
        return [group for group in self.param_groups if bool(group["matrices"]) is of_matrices]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step along the gradients."""
        # Set anew each time: `load_state_dict` puts other objects in the place of state and groups.
        self._adamw.state, self._adamw.param_groups = self.state, self._groups(of_matrices=False)
        loss = self._adamw.step(closure)
        for group in self._groups(of_matrices=True):
            self._step_matrices(group)
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        alike: dict[tuple, list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                # Blocks have matrices of one shape: stacked, their products are a few large ones.
                alike[(parameter.shape, parameter.dtype, parameter.device)].append(parameter)
        for parameters in alike.values():
            # Singular values are of the whole matrix; those of shards say nothing about it.
            directions = torch.stack([_whole(self._momentum(parameter)) for parameter in parameters])
            directions = equalized(directions.unflatten(1, (group["matrices"], -1)))  # (parameters, k, rows, columns)
            # U Vᵀ of an (r, c) matrix has min(r, c) singular values of 1, so its r·c numbers have a root mean square of
            # 1 / √max(r, c); this makes it ADAMW_RMS.
            size = ADAMW_RMS * max(directions.shape[-2:]) ** 0.5
            for parameter, direction in zip(parameters, directions.flatten(1, 2), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(_sharded_like(parameter, direction * (group["lr"] * size)))

    def _momentum(self, parameter: Tensor) -> Tensor:
        """Nesterov's: the gradients' decaying sum, one step ahead."""
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        state["momentum_buffer"].mul_(MOMENTUM).add_(parameter.grad)
        return parameter.grad + MOMENTUM * state["momentum_buffer"]


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _sharded_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    if not isinstance(parameter, DTensor):
        return tensor
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)


def equalized(matrices: Tensor) -> Tensor:
    """U Vᵀ of each matrix U S Vᵀ, with singular values of 0.7 to 1.2 in place of 1, by five steps of Newton and Schulz.

    Args:
        matrices: (…, rows, columns).
    """
    a, b, c = COEFFICIENTS
    # Turned so that the Gram matrix is the smaller one; (U S Vᵀ)ᵀ has the same singular values.
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    # The Frobenius norm is no less than the largest singular value: all lie in [0, 1], where the quintic lifts them.
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x  # σ becomes a σ + b σ³ + c σ⁵; U and V stay
    return x.mT if tall else x
