"""What learns: the prepared model, the average of its weights, optimiser and schedule; and their whole state."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import PreTrainedModel

from ..common.finite import first_not_finite
from ..modeling_lmu import LMUModel
from .muon import Muon
from .recipes import Recipe
from .schedules import make_schedule
from .shards import check_shards

WHOLE = StateDictOptions(full_state_dict=True)
OWN = StateDictOptions()  # what a process holds: of a sharded model its shards


class Learner:
    """A model that accelerate has prepared, on one process, replicated or sharded, and all that changes it.

    Args:
        accelerator: decides where it lives.
        model: the model.
        recipe: optimiser, schedule, averaging and clipping.
        steps: of the whole run.
    """

    def __init__(self, accelerator: Accelerator, model: PreTrainedModel, recipe: Recipe, steps: int) -> None:
        self.accelerator, self.recipe = accelerator, recipe
        check_shards(accelerator)
        # Model and optimiser are prepared in one call: sharding replaces the weights, and accelerate then puts the new
        # ones into the optimiser.
        optimizer = make_optimizer(model, recipe)
        # Without a weight that asks for a gradient there is nothing to exchange, and torch refuses to replicate it.
        prepared = accelerator.prepare(*([model] if steps else []), optimizer)
        self.model, prepared = prepared if steps else (model.to(accelerator.device), prepared)
        self.prepared_optimizer = prepared
        # Not prepared: accelerate would step a schedule once for each process.
        self.schedule = make_schedule(recipe.schedule, prepared.optimizer, round(recipe.warmup * steps), steps)
        self.average: list[Tensor] = []  # in the order of `parameters`, sharded as they are

    @property
    def plain(self) -> PreTrainedModel:
        """The model itself."""
        return cast(PreTrainedModel, self.accelerator.unwrap_model(self.model))

    @property
    def parameters(self) -> list[Tensor]:
        """Its parameters, of a sharded model this process's shards, as tensors that can be written to."""
        return [parameter.detach() for parameter in self._named_parameters().values()]

    def _named_parameters(self) -> dict[str, nn.Parameter]:
        for module in self.plain.modules():
            # A forward pass without a backward one may leave whole weights behind, which would hide what is written.
            if isinstance(module, FSDPModule):
                module.reshard()
        return dict(self.plain.named_parameters())

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds a part of the parameters alone (FSDP2)."""
        return any(isinstance(parameter, DTensor) for parameter in self.parameters)

    def first_not_finite(self) -> str | None:
        """The name of a weight, or of the average of one, that is not finite on this process; None if all are."""
        named = self._named_parameters()
        averages = zip(named, self.average, strict=True) if self.average else ()
        return first_not_finite(named | {f"{name} (averaged)": average for name, average in averages})

    def end_autocast(self) -> None:
        """Compute in the weights' own precision from now on, as whoever loads the saved model will."""
        # Accelerate's unwrap_model would take the forward's own decorators off with autocast's.
        attributes = vars(self.plain)
        if "_original_forward" in attributes:
            attributes["forward"] = attributes.pop("_original_forward")

    def update(self) -> None:
        """Take one step along the gradients that have gathered, and forget them."""
        if self.recipe.max_grad_norm is not None:
            # Accelerate's own: of sharded gradients the norm is one over all processes.
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
        self.prepared_optimizer.step()
        self.schedule.step()
        self.prepared_optimizer.zero_grad()
        if self.average:
            steps = self.schedule.last_epoch  # how many steps there have been; checkpoints hold it
            # An average over more steps than there have been would be one of fresh weights.
            decay = min(self.recipe.averaging, (1 + steps) / (10 + steps))
            get_ema_multi_avg_fn(decay)(self.average, self.parameters, None)
        # It begins from the weights after the first step.
        elif self.recipe.averaging:
            self.average = [parameter.clone() for parameter in self.parameters]

    def end_at(self, steps: int) -> None:
        """Let the learning-rate schedule end at another step; where it stands in it follows from the steps taken."""
        taken, optimizer = self.schedule.last_epoch, self.prepared_optimizer.optimizer
        self.schedule = make_schedule(self.recipe.schedule, optimizer, round(self.recipe.warmup * steps), steps)
        for _ in range(taken):
            self.schedule.step()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The weights that count in the model's place: the average, if there is one."""
        if not self.average:
            yield
            return
        # Copied in place, since optimiser and wrappers hold these very tensors.
        trained = [parameter.clone() for parameter in self.parameters]
        _copy(self.average, self.parameters)
        try:
            yield
        finally:
            _copy(trained, self.parameters)

    def weights(self) -> dict[str, Tensor]:
        """The model's weights on the CPU, of a sharded model this process's shards; tied ones under all their names."""
        weights = get_model_state_dict(self.model, options=OWN)
        # A copy even on a CPU, where the state holds the weights themselves, which go on changing.
        return {name: cast(Tensor, tensor).detach().to("cpu", copy=True) for name, tensor in weights.items()}

    def whole_weights(self) -> dict[str, Tensor]:
        """The model's weights, whole; on the main process, and on others perhaps none."""
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return cast(dict[str, Tensor], get_model_state_dict(self.model, options=whole))

    def set_weights(self, weights: dict[str, Tensor]) -> None:
        """Take on weights, as :meth:`weights` gave them, or whole."""
        set_model_state_dict(self.model, cast(dict, weights), options=self._options(weights))

    def _options(self, tensors: dict[str, Tensor]) -> StateDictOptions:
        """How tensors are taken on: whole ones are sharded where the model is."""
        are_shards = any(isinstance(tensor, DTensor) for tensor in tensors.values())
        return WHOLE if self.is_sharded and not are_shards else OWN

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Everything that decides what it learns next: tensors in groups, and the rest as JSON has it.

        Of a sharded model, the tensors are this process's shards.
        """
        tensors = {"model": self.weights()}
        if self.average:
            with self.averaged():
                # The model's own names and shapes, so another number of processes can load it.
                tensors["average"] = self.weights()
        optimizer = get_optimizer_state_dict(self.model, self.prepared_optimizer.optimizer, options=OWN)
        moments = cast(dict[str, dict[str, Tensor]], optimizer.get("state", {}))
        tensors["optimizer"] = {
            # safetensors is flat, and no weight's name holds a slash.
            f"{name}/{part}": tensor.detach().to("cpu", copy=True)
            for name, parts in moments.items()
            for part, tensor in parts.items()
        }
        return tensors, {"optimizer": optimizer.get("param_groups", []), "schedule": self.schedule.state_dict()}

    def load_state(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Go back to where :meth:`state` was taken, by shards or by whole tensors."""
        # By way of the model, which shards what is whole; so the average goes first and the weights stay.
        if "average" in tensors:
            self.set_weights(tensors["average"])
            self.average = [parameter.clone() for parameter in self.parameters]
        self.set_weights(tensors["model"])
        moments: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors["optimizer"].items():
            parameter, part = name.rsplit("/", 1)
            moments.setdefault(parameter, {})[part] = tensor
        optimizer: dict[str, Any] = {"state": moments, "param_groups": state["optimizer"]}
        options = self._options(tensors["optimizer"])
        set_optimizer_state_dict(self.model, self.prepared_optimizer.optimizer, optimizer, options=options)
        self.schedule.load_state_dict(state["schedule"])


def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)


def make_optimizer(model: PreTrainedModel, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, or Muon for the matrices of the body and AdamW for the rest: embeddings, heads and vectors.

    Matrices are decayed; embeddings, biases, norms and other vectors are not.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    embeddings, gates = (
        {id(p) for module in model.modules() if isinstance(module, kind) for p in module.parameters()}
        for kind in (nn.Embedding, nn.LSTM)  # a tied head counts as an embedding, by identity
    )
    matrices = [p for p in parameters if p.ndim >= 2 and id(p) not in embeddings]
    vectors = {"params": [p for p in parameters if p.ndim < 2 or id(p) in embeddings], "weight_decay": 0.0}
    decayed = {"params": matrices, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(_slower_below([decayed, vectors], model, recipe), lr=recipe.learning_rate, fused=True)
    body = {id(p) for p in model.base_model.parameters()}
    kinds = {
        0: [p for p in matrices if id(p) not in body],  # heads: AdamW
        1: [p for p in matrices if id(p) in body - gates],
        4: [p for p in matrices if id(p) in body & gates],  # torch stacks an LSTM's four gates
    }
    # Zero matrices means AdamW; `vectors` says nothing and gets the same.
    groups = [decayed | {"params": some, "matrices": kind} for kind, some in kinds.items() if some]
    return Muon(_slower_below([vectors, *groups], model, recipe), lr=recipe.learning_rate)


def _slower_below(groups: list[dict[str, Any]], model: PreTrainedModel, recipe: Recipe) -> list[dict[str, Any]]:
    """Groups of parameters, parted by depth, each with the learning rate that ``layer_decay`` leaves it there."""
    if recipe.layer_decay == 1:
        return groups
    depths, parted = _depths(model), []
    for group in groups:
        at: dict[int, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            # Depth 0 is the head, and what stands between it and the top block.
            at.setdefault(depths.get(id(parameter), 0), []).append(parameter)
        for depth, some in sorted(at.items()):
            # A schedule multiplies each group's own rate, so the ratios stay.
            parted.append(group | {"params": some, "lr": recipe.learning_rate * recipe.layer_decay**depth})
    return parted


def _depths(model: PreTrainedModel) -> dict[int, int]:
    """How far below the head each parameter of a block lies, by its id: 1 in the top block, most in what enters."""
    depths: dict[int, int] = {}
    for stack in model.modules():
        if isinstance(stack, LMUModel):
            # Embeddings, n-grams and projection learn at one rate, one level below the lowest block.
            entry = [part for part in (stack.embed_tokens, stack.ngrams, stack.input_projection) if part is not None]
            for depth, part in enumerate([*reversed(stack.layers), nn.ModuleList(entry)], start=1):
                depths |= {id(parameter): depth for parameter in part.parameters()}
    return depths
