"""Blocks: a memory and what stands around it in a stack, the small parts of that, n-grams, and how they start."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.modeling_layers import GradientCheckpointingLayer

from .activations import ACTIVATIONS, round_once
from .cache_lmu import LMUCacheLayer
from .configuration_lmu import LMUConfig
from .constants import exact
from .fields_lmu import Option, option
from .layers import INITIAL_SCALE, LMULayer, draw_projection, is_bare
from .layout import Layout, Packed, Reading
from .statespace import LegendreSystem

NORM_EPSILON = 1e-5
MULTIPLIER = 2_654_435_761  # a prime beyond any number of buckets, so that every token of an n-gram counts


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
        if torch.is_autocast_enabled(x.device.type):
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


@option
@dataclass(frozen=True)
class NGrams(Option):
    """``LMUConfig(ngrams={…})``: vectors of n-grams beside those of tokens.

    Args:
        sizes: lengths of n-grams, each from 2 to 64.
        buckets: vectors for n-grams of each length; those of one hash share one.
        width: numbers in each, before they are projected to an embedding.
        dropout: how often a token goes without its n-gram of a length in training. Of a text that is read more than
            once, vectors learn what does not come again: so a stack learns to do without any of them.
    """

    name = "ngrams"

    sizes: list[int]
    buckets: int = 32_768
    width: int = 64
    dropout: float = 0.0

    def __post_init__(self) -> None:
        self._check_lengths("sizes", range(2, 65))
        self._check_whole("buckets")
        self._check_whole("width")
        self._check_probability("dropout")

    @property
    def carried(self) -> int:
        """The last tokens, which the n-grams of the next ones begin with."""
        return max(self.sizes) - 1

    def check(self, config: Any) -> None:
        """Only tokens have n-grams."""
        check_tokens(self.name, config)

    def count_numbers(self, config: Any) -> dict[str, int]:
        """Tables and projection."""
        numbers = len(self.sizes) * self.width * (self.buckets + config.hidden_size)
        return {"ngrams: sizes x buckets x width": numbers}


def check_tokens(name: str, config: Any) -> None:
    """Complain, in the name of an option, about a model that reads no tokens.

    Raises:
        ValueError: it reads a signal.
    """
    if config.vocab_size is None:
        raise ValueError(f"{name} are of token ids; input_size={config.input_size} has none: leave {name} out")


class NGramRows(nn.Module):
    """Finds, for each token, the n-grams that end at it in tables, one for each length of n-grams.

    An n-gram's row is a hash of its token ids, so that rare ones share rows.

    Args:
        sizes: lengths of n-grams.
        buckets: rows of each table.
    """

    def __init__(self, sizes: Sequence[int], buckets: int) -> None:
        super().__init__()
        self.sizes, self.buckets = tuple(sizes), buckets
        self.carried = max(self.sizes) - 1  # tokens before the first one at hand that matter to it

    def find(
        self,
        ids: Tensor,
        packing: Layout | None = None,
        layer: LMUCacheLayer | None = None,
        ranks: Any = None,
    ) -> Tensor:
        """Rows (b, n', lengths) of the n-grams of n' packed tokens, in tables that stand one behind another.

        Args:
            ids: (b, n) token ids.
            packing: where rows have masked steps, or hold several sequences.
            layer: holds the tokens before these, and is to hold the last of these.
            ranks: who shares the sequences; ``ids`` are then a chunk of them, and what the layer holds is the whole's.
        """
        numbers = (ids if packing is None else packing.pack(ids)).long() + 1  # 0 is no token
        before = None if layer is None else layer.tokens
        after = None
        if ranks is not None:
            before, after = self._across(numbers, packing, before, ranks)
        numbers = self._behind(before, numbers)
        if layer is not None:
            layer.update_tokens(self._last(numbers, packing) if after is None else after)
        # In a packed row, what stands before a sequence belongs to another one.
        ages = packing.ages(ids.device) if isinstance(packing, Packed) else None
        return self._look(numbers, ages)

    def _look(self, numbers: Tensor, ages: Tensor | None) -> Tensor:
        """(b, n, lengths): the rows of the n-grams that end at each token, of carried + n numbers."""
        return self._stack([self._rows(numbers, size, ages) for size in self.sizes])

    def _stack(self, rows: list[Tensor]) -> Tensor:
        """All tables as one embedding: the rows of a length lie behind those of the lengths before it."""
        offsets = torch.arange(len(self.sizes), device=rows[0].device) * self.buckets
        return torch.stack(rows, dim=-1) + offsets

    def _rows(self, numbers: Tensor, size: int, ages: Tensor | None) -> Tensor:
        """(b, n): the row of the n-gram of one length that ends at each token, a polynomial of its ids."""
        n, parts = numbers.shape[1] - self.carried, []
        for back in reversed(range(size)):
            there = numbers[:, self.carried - back :][:, :n]  # the token so many steps back
            parts.append(there if ages is None else there.masked_fill(ages < back, 0))
        return self._hash(parts)

    def _hash(self, parts: Iterable[Tensor]) -> Tensor:
        """The rows of n-grams, given their parts' numbers (b, n), the first part first."""
        rows: Tensor | int = 0
        for part in parts:
            # Horner's rule modulo the buckets: below 2**31 times a 32-bit prime, nothing overflows int64.
            rows = (rows * MULTIPLIER + part) % self.buckets
        return cast(Tensor, rows)

    def _behind(self, before: Tensor | None, numbers: Tensor) -> Tensor:
        """(b, carried + n): the numbers, behind those carried so far."""
        return F.pad(numbers, (self.carried, 0)) if before is None else torch.cat([before, numbers], dim=1)

    def _last(self, numbers: Tensor, packing: Layout | None) -> Tensor:
        """(b, carried): the last real tokens of each row."""
        if packing is None or packing.lengths is None:
            return numbers[:, numbers.shape[1] - self.carried :]
        # Numbers begin with those carried: the last of a row of k tokens stand at k … k + carried − 1.
        place = packing.lengths[:, None] + torch.arange(self.carried, device=numbers.device)
        return numbers.gather(1, place)

    def _across(
        self, numbers: Tensor, packing: Layout | None, before: Tensor | None, ranks: Any
    ) -> tuple[Tensor, Tensor]:
        """(b, carried) each: the last real tokens before this rank's chunk, and those of the whole sequences."""
        lengths = None if packing is None else packing.lengths
        lengths = torch.full_like(numbers[:, 0], numbers.shape[1]) if lengths is None else lengths
        ends = ranks.gather(self._last(self._behind(None, numbers), packing))
        places = torch.arange(self.carried, device=numbers.device)
        entries = [torch.zeros_like(ends[0]) if before is None else before]
        for end, count in zip(ends, ranks.gather(lengths)[..., None], strict=True):
            # A part shorter than what is carried keeps the newest of the tokens before it.
            older = entries[-1].gather(1, (places + count).clamp(max=self.carried - 1))
            entries.append(torch.where(places >= self.carried - count, end, older))
        return entries[ranks.rank], entries[-1]


class NGramEmbedding(NGramRows):
    """Hashed n-gram embeddings (arXiv 2412.09871, section 3.2.1), to be added to the embeddings of the tokens.

    The rows of all lengths, side by side, are projected to the width of an embedding. Nothing is multiplied but in that
    projection: most of the parameters are looked up.

    Args:
        option: sizes, buckets, width and dropout.
        d_o: width of the result.
        scale: how large the projection is at first, in units of its usual size.
    """

    def __init__(self, option: NGrams, d_o: int, scale: float = 1.0) -> None:
        super().__init__(option.sizes, option.buckets)
        tables = len(self.sizes)
        self.dropout = option.dropout
        self.tables = nn.Embedding(tables * self.buckets, option.width)
        self.projection = nn.Linear(tables * option.width, d_o, bias=False)
        end_branch(self.projection, scale=scale)

    def forward(
        self,
        ids: Tensor,
        packing: Layout | None = None,
        layer: LMUCacheLayer | None = None,
        ranks: Any = None,
    ) -> Tensor:
        """Vectors (b, n, d_o) of n tokens, zero where they are masked; arguments as for :meth:`find`."""
        vectors = self.tables(self.find(ids, packing, layer, ranks))
        if self.training and self.dropout:
            # (b·n, lengths, width): lengths stand for channels, so a whole vector is dropped at a time.
            vectors = F.dropout1d(vectors.flatten(0, 1), self.dropout).view_as(vectors)
        vectors = self.projection(vectors.flatten(-2))
        return vectors if packing is None else packing.unpack(vectors)
