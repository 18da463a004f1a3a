"""Blocks: a memory and what stands around it in a stack, the small parts of that, and how they start."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.modeling_layers import GradientCheckpointingLayer

from .activations import round_once
from .configuration_lmu import LMUConfig
from .constants import exact
from .layers import ACTIVATIONS, INITIAL_SCALE, LMULayer, draw_projection, is_bare
from .layout import Layout, Reading
from .statespace import LegendreSystem

NORM_EPSILON = 1e-5


# A module of the family that starts in a way of its own has a method `draw_weights()`, which draws its own parameters
# and not those of modules inside it. It calls `torch.nn.init`, which transformers makes leave alone what was loaded.


def end_branch(*linears: nn.Linear, scale: float) -> None:
    """Have the last projections of a residual branch start at so much of their usual size."""
    for linear in linears:
        setattr(linear, INITIAL_SCALE, scale)


def draw_weights(module: nn.Module, embedding_scale: float) -> None:
    """Draw a module's own parameters: as it does it itself, or else as torch's own modules start in this family.

    Args:
        module: any; the modules inside it are left alone.
        embedding_scale: standard deviation of embeddings.
    """
    if (draw := getattr(module, "draw_weights", None)) is not None:
        draw()
    elif isinstance(module, nn.Linear):
        draw_projection(module)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=embedding_scale)
    elif isinstance(module, nn.RMSNorm | nn.LayerNorm):
        nn.init.ones_(module.weight)


class RMSNorm(nn.RMSNorm):
    """torch's, whose weight follows its input's dtype: of two dtypes, as under autocast, torch has no fused kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return torch.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class LayerNorm(nn.LayerNorm):
    """torch's, less a wrapper in Python that a decoded token would pass twice a block."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return torch.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


NORMS: dict[str, Callable[..., nn.Module]] = {
    "rms": RMSNorm,
    "layer": partial(LayerNorm, bias=False),  # one kernel on every device, where the CPU runs the other as nine
}


class Dropout(nn.Dropout):
    """Dropout that costs nothing where nothing is dropped."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return super().forward(x) if self.training and self.p else x


class Gate(nn.Linear):
    """The logits of a gate; a class of its own because its bias starts below zero, mostly closed."""

    def draw_weights(self) -> None:
        """As any projection, but mostly closed."""
        draw_projection(self)
        nn.init.constant_(self.bias, -1.0)


class Highway(nn.Module):
    """t·h + (1 − t)·x with h = f(W_h x + b_h) and t = σ(W_t x + b_t)."""

    def __init__(self, width: int, hidden_act: str) -> None:
        super().__init__()
        self.hidden_act = hidden_act
        self.transform = nn.Linear(width, width)
        self.gate = Gate(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(…, width) to (…, width)."""
        t = torch.sigmoid(self.gate(x))
        # The same as t·h + (1 − t)·x, with one product less.
        return x + t * (ACTIVATIONS[self.hidden_act](self.transform(x)) - x)


class GatedMLP(nn.Module):
    """W_down(f(W_gate x) ⊙ W_up x)."""

    def __init__(self, width: int, intermediate: int, hidden_act: str) -> None:
        super().__init__()
        self.hidden_act = hidden_act
        self.gate_proj = nn.Linear(width, intermediate)
        self.up_proj = nn.Linear(width, intermediate)
        self.down_proj = nn.Linear(intermediate, width)

    def forward(self, x: Tensor) -> Tensor:
        """(…, width) to (…, width)."""
        x = round_once(x)
        return self.down_proj(ACTIVATIONS[self.hidden_act](self.gate_proj(x)) * self.up_proj(x))


class DeepRepresentation(nn.Module):
    """A learned mixture of the stack's input and every block's output: γ Σ_i softmax(s)_i h_i (as in ELMo)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(inputs))
        self.scale = nn.Parameter(torch.ones(()))

    def draw_weights(self) -> None:
        """The mean of all."""
        nn.init.zeros_(self.scores)
        nn.init.ones_(self.scale)

    def forward(self, states: list[Tensor]) -> Tensor:
        """A list of (b, n, width) to one (b, n, width)."""
        weights = self.scale * self.scores.softmax(0)
        return torch.stack(states, dim=-1) @ weights


@dataclass(frozen=True)
class Source:
    """What a decoder attends to.

    Args:
        states: (b, n_s, hidden_size), an encoder's outputs.
        mask: (b, n_s), true at real steps; None if all are.
        cache: where keys and values, once made, are kept for the steps to come; or None.
        weights: a list that each layer's attention weights (b, heads, n, n_s) are added to; or None.
        layout: how to lay those in rows as they were given, if masked steps were taken out of them.
    """

    states: Tensor
    mask: Tensor | None = None
    cache: EncoderDecoderCache | None = None
    weights: list[Tensor] | None = None
    layout: Layout | None = None

    def keep(self, weights: Tensor) -> Tensor:
        """Add a layer's weights to those that are returned, if any are; from those, then, the layer goes on.

        So they are part of the graph, and have gradients.
        """
        if self.weights is None:
            return weights
        if self.layout is None:
            self.weights.append(weights)
            return weights
        # A layout packs along axis 1: for (b, heads, n, n_s), time changes places with heads and back.
        self.weights.append(self.layout.unpack(weights.transpose(1, 2)).transpose(1, 2))
        return self.layout.pack(self.weights[-1].transpose(1, 2)).transpose(1, 2)


MEMORIES: dict[str, Callable[[Any, int], Any]] = {}  # by model_type, so that a baseline shares blocks and heads
Maker = TypeVar("Maker", bound=Callable)


def makes_memory(model_type: str) -> Callable[[Maker], Maker]:
    """Register ``make(config, layer_idx)`` as what makes a block's memory in models of that type."""

    def register(make: Maker) -> Maker:
        MEMORIES[model_type] = make
        return make

    return register


@makes_memory(LMUConfig.model_type)
def make_memory(config: LMUConfig, layer_idx: int) -> LMULayer:
    """A block's Legendre memory."""
    # Only the first block may read another width: the others read what a block puts out.
    d_x = config.stack_input_size if layer_idx == 0 else config.hidden_size
    return LMULayer(
        d_x=d_x,
        d_o=config.hidden_size,
        d_u=config.layer_channels(layer_idx),
        system=layer_systems(config, layer_idx),
        encoder=config.encoder,
        readout=config.readout,
        hidden_act=config.hidden_act,
        bidirectional=config.bidirectional,
        memory_form=config.memory_form,
    )


def layer_systems(config: LMUConfig, layer_idx: int) -> list[LegendreSystem]:
    """The Legendre systems of a layer's groups of channels.

    Raises:
        ValueError: one of them does not forget, as Euler's steps do where the window is short beside the order.
    """
    theta = config.layer_thetas[layer_idx]
    windows = theta if isinstance(theta, list) else [theta]
    systems = [LegendreSystem(config.order, window, config.discretization, config.basis) for window in windows]
    for system in systems if config.discretization == "euler" else ():
        exact("A_bar", system)  # raises where the system is unstable; a zero-order hold never is
    return systems


def norm(config: LMUConfig) -> nn.Module:
    """The norm that a config asks for, over its hidden size."""
    return NORMS[config.norm](config.hidden_size, eps=NORM_EPSILON)


def mlp(config: LMUConfig) -> GatedMLP:
    """The gated MLP that a config asks for, as a residual branch."""
    made = GatedMLP(config.hidden_size, config.intermediate_size or 2 * config.hidden_size, config.hidden_act)
    # Only the last projection: what stands before it keeps its usual scale.
    end_branch(made.down_proj, scale=config.residual_initializer_scale)
    return made


class LMUBlock(GradientCheckpointingLayer):
    """``block_type="lmu"``: equations (18) to (20), and dropout."""

    def __init__(self, config: LMUConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.memory = MEMORIES[config.model_type](config, layer_idx)
        self.dropout = Dropout(config.hidden_dropout)

    @property
    def is_linear_in_memory(self) -> bool:
        """Whether the mean over steps of what comes out follows from the mean memory alone."""
        # A dropout mask is drawn for each step, so that it does not commute with the mean over steps.
        drops = self.training and self.dropout.p > 0
        # A subclass has more behind its memory (highways, an MLP), which is not linear.
        bare = type(self) is LMUBlock and is_bare(self) and is_bare(self.dropout)
        return bare and self.memory.is_linear_in_memory and not drops

    def remember(self, x: Tensor, reading: Reading, cache: Cache | None) -> Tensor:
        """Run the memory over x (b, n, d_x), going on from the carried one and leaving the new one there."""
        output, final = self.memory(
            x,
            initial=None if cache is None else cache.get_recurrent_state(self.layer_idx),
            reading=reading,
            return_final=cache is not None,  # without a cache nobody reads it
        )
        if cache is not None:
            # Columns, not real steps: a cache counts padding too, as transformers' own do.
            cache.update_recurrent_state(final, self.layer_idx, tokens=reading.layout.columns)
        return output

    def forward(self, hidden_states: Tensor, reading: Reading, cache: Cache | None = None) -> Tensor:
        """(b, n, d_x) to (b, n, hidden_size), or to (b, 1, hidden_size) if only the last step is wanted."""
        return self.dropout(self.remember(hidden_states, reading, cache))


class LMUHighwayBlock(LMUBlock):
    """``block_type="highway"``: memory → dense → highway × k, the deep block of the paper's supplement."""

    def __init__(self, config: LMUConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.highways = nn.Sequential(
            *(Highway(config.hidden_size, config.hidden_act) for _ in range(config.num_highway_layers))
        )

    def forward(self, hidden_states: Tensor, reading: Reading, cache: Cache | None = None) -> Tensor:
        """(b, n, d_x) to (b, n, hidden_size)."""
        return self.dropout(self.highways(self.remember(hidden_states, reading, cache)))


class LMUResidualBlock(LMUBlock):
    """``block_type="residual"``: x + memory(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, config: LMUConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.memory_norm = norm(config)
        self.mlp_norm = norm(config)
        self.mlp = mlp(config)
        # W_m and W_x both end the branch, as o is their sum; an LSTM has neither.
        end_branch(*self.memory.last_projections, scale=config.residual_initializer_scale)

    def forward(self, hidden_states: Tensor, reading: Reading, cache: Cache | None = None) -> Tensor:
        """(b, n, hidden_size) to the same."""
        remembered = self.remember(self.memory_norm(hidden_states), reading, cache)
        # The branch gave the last step alone, so the stream is cut to it. A mean never gets here: an MLP is not linear.
        if reading.wanted == "last":
            hidden_states = reading.layout.last(hidden_states)
        hidden_states = hidden_states + self.dropout(remembered)
        return hidden_states + self.dropout(self.mlp(self.mlp_norm(hidden_states)))


BLOCKS = {"lmu": LMUBlock, "highway": LMUHighwayBlock, "residual": LMUResidualBlock}
