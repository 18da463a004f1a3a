"""Blocks: a memory, and what stands around it in a stack."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_lmu import LMUConfig
from .constants import exact
from .layers import NORMS, Dropout, GatedMLP, Highway, LMULayer, end_branch
from .layout import Layout, Reading
from .plain import is_bare
from .statespace import LegendreSystem

NORM_EPSILON = 1e-5


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
