"""A memory inside its learned projections, and the small parts that a block is made of."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from .layout import Layout, Reading
from .plain import is_bare, is_plain
from .statespace import LegendreSystem
from .windows import SEQUENCE_FORMS, Windows

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}
LAYER_WORDS: dict[str, tuple[str, ...]] = {
    "encoder": ("linear", "identity"),
    "readout": ("dense", "memory"),
    "encoder_activation": tuple(ACTIVATIONS),
    "hidden_act": tuple(ACTIVATIONS),
    "memory_form": SEQUENCE_FORMS,
}


class SignalEncoder(nn.Linear):
    """U_x x + b_u of eq. (18); a class of its own because it starts differently: one number starts as itself."""

    def draw_weights(self) -> None:
        """As any projection, but one number is written as it is."""
        if self.in_features > 1:
            draw_projection(self)
        else:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)


class LMULayer(nn.Module):
    """One Legendre Memory Unit, equations (18) to (20), trained in parallel and run step by step.

    ``u = f1(U_x x + b_u)``, ``m_t = Ā m_{t−1} + B̄ u_t``, ``o = f2(W_m m + W_x x + b_o)``. Ā and B̄ are frozen and
    derived from ``system``; the memory runs in float32 (float64 if x is float64) whatever the weights' dtype.

    Args:
        d_x: input width.
        d_o: output width.
        d_u: channels written to the memory.
        system: the Legendre system of all channels; or a list of several of one order, each for one of as many equal
            groups of neighbouring channels, so that the layer looks through several windows at once.
        encoder: ``"linear"`` (eq. 18) or ``"identity"`` (u = x, needs d_u = d_x).
        readout: ``"dense"`` (eq. 20) or ``"memory"`` (o = m, flattened; needs d_o = memory width).
        encoder_activation: f1, a key of ``ACTIVATIONS``.
        hidden_act: f2, likewise.
        bidirectional: also read the sequence backwards, with a second memory beside the first.
        memory_form: one of ``SEQUENCE_FORMS``, for sequences of more than one step; ``"auto"`` is ``"final"`` for the
            last state alone, :func:`~lmu_hf.readout.read_states` for a dense readout, and else ``"chunked"``.

    Raises:
        ValueError: a word is not one of those that its argument allows, or ``system`` does not fit.
    """

    def __init__(
        self,
        d_x: int,
        d_o: int,
        d_u: int,
        system: LegendreSystem | Sequence[LegendreSystem],
        encoder: str = "linear",
        readout: str = "dense",
        encoder_activation: str = "identity",
        hidden_act: str = "identity",
        bidirectional: bool = False,
        memory_form: str = "auto",
    ) -> None:
        super().__init__()
        words = {"encoder": encoder, "readout": readout, "memory_form": memory_form}
        words |= {"encoder_activation": encoder_activation, "hidden_act": hidden_act}
        for name, word in words.items():
            if word not in LAYER_WORDS[name]:
                raise ValueError(f"{name} must be one of {LAYER_WORDS[name]}, got {word!r}")
        self.d_u = d_u
        self.windows = Windows([system] if isinstance(system, LegendreSystem) else system, d_u)
        self.bidirectional = bidirectional
        self.memory_form = memory_form
        self.encoder_activation = encoder_activation
        self.hidden_act = hidden_act
        # A bidirectional layer has two memories, and W_m columns for both, those of the forward one first.
        coefficients = self.windows.order * (2 if bidirectional else 1)
        self.encoder = SignalEncoder(d_x, d_u) if encoder == "linear" else None
        self.memory_readout = nn.Linear(d_u * coefficients, d_o, bias=False) if readout == "dense" else None
        self.input_readout = nn.Linear(d_x, d_o) if readout == "dense" else None  # its bias is b_o

    @property
    def state_size(self) -> int:
        """How many numbers one row carries from step to step: d_u·d."""
        return self.d_u * self.windows.order

    @property
    def last_projections(self) -> tuple[nn.Linear, ...]:
        """What all that comes out has passed last."""
        return tuple(linear for linear in (self.memory_readout, self.input_readout) if linear is not None)

    @property
    def is_linear_in_memory(self) -> bool:
        """Whether the mean of the outputs is the readout of the mean memory, so that no state need be known."""
        # The mean is computed in chunks: any other form, asked for by name, would be passed over.
        if self.memory_form not in ("auto", "chunked") or not is_bare(self):
            return False
        linears = [linear for linear in (self.memory_readout, self.input_readout) if linear is not None]
        # A module that is more than its weight (hooked, adapted) need not be linear.
        return not linears or (self.hidden_act == "identity" and all(map(is_plain, linears)))

    def extra_repr(self) -> str:
        """What a print of the layer adds: its systems and the switches."""
        systems = ", ".join(map(str, self.windows.systems))
        return f"d_u={self.d_u}, {systems}, bidirectional={self.bidirectional}, memory_form={self.memory_form!r}"

    def forward(
        self,
        x: Tensor,
        initial: Tensor | None = None,
        reading: Reading | None = None,
        return_final: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Run the layer over a sequence, or over one step.

        Args:
            x: (b, n, d_x), as ``reading.layout`` packs it. What lies behind a row's end must be finite and counts for
                nothing.
            initial: (b, d_u, d), the memory to go on from; None for a fresh start.
            reading: the layout of x, and what is wanted: the output at every step, at each sequence's last one by
                eq. (25), or their mean by :func:`~lmu_hf.memory.memory_mean`, only where :attr:`is_linear_in_memory`.
                None for every step of dense rows.
            return_final: also return the memory after each sequence's last real step.

        Returns:
            o (b, n, d_o), or (sequences, 1, d_o) where one step is wanted; and the final memory (sequences, d_u, d) or
            None. Of a sequence over several ranks, that is the whole sequence's.

        Raises:
            ValueError: only the last step is asked of a bidirectional layer, whose last state has not read backwards;
                only the mean is asked of a layer that is not linear in its memory, or of packed sequences; or those
                are to go on from a memory.
        """
        reading = Reading(Layout(x.shape[1])) if reading is None else reading
        if reading.wanted != "all" or reading.layout.sequences is not None:
            self._check(reading, initial)
        layout, windows, form = reading.layout, self.windows, self.memory_form
        u = x if self.encoder is None else ACTIVATIONS[self.encoder_activation](self.encoder(x))
        # In half precision Ā^t drifts: a spectral radius of 1 − 1/θ rounds to 1.
        u = u if u.dtype == torch.float64 else u.float()
        initial = None if initial is None else initial.to(u)  # of a model that was moved since
        # One step is read out by the module itself: there are no states to leave out.
        weights = self._readout_weights(x) if reading.wanted == "all" and x.shape[1] > 1 else None
        # W_m reads [forwards; backwards]: each direction is read out by its half, and the outputs are summed.
        ahead, behind = (None, None) if weights is None else (weights[0], weights[-1])
        # To leave autocast's context out where it is off costs a decoded token less than to enter it.
        device = u.device.type
        with torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext():
            m, final = windows.read(form, u, reading, initial, ahead, return_final)
            if self.bidirectional:
                back, _ = windows.read(form, layout.reverse(u), reading, None, behind, backwards=True)
                back = layout.reverse(back) if reading.wanted == "all" else back  # a mean has no order
                m = torch.cat([m, back], dim=2) if weights is None else m + back
        # o = f2(W_m m + W_x x + b) needs of x what it needs of m: W_x x is linear, so its mean is W_x times x's mean.
        if reading.wanted != "all":
            x = layout.last(x) if reading.wanted == "last" else layout.mean(x)
        return self._read(m, x, weights is not None), final if return_final else None

    def _check(self, reading: Reading, initial: Tensor | None) -> None:
        """Complain about what this layer cannot give."""
        if reading.layout.sequences is not None and initial is not None:
            raise ValueError("packed sequences begin with empty memories: leave initial out")
        if self.bidirectional and reading.wanted == "last":
            raise ValueError("the last step alone asks for a causal layer; this one is bidirectional")
        if reading.wanted == "mean" and reading.layout.sequences is not None:
            raise ValueError("the mean alone asks for rows of one sequence each, got packed sequences")
        if reading.wanted == "mean" and not self.is_linear_in_memory:
            raise ValueError(
                "the mean alone asks for a layer whose outputs are linear in its memory: readout 'memory', or 'dense' "
                f"with hidden_act='identity', and memory_form 'auto' or 'chunked'; this one is {self}"
            )

    def _readout_weights(self, x: Tensor) -> tuple[Tensor, ...] | None:
        """W_m for each direction, where it may be multiplied into the memory's own products; None where m is needed."""
        linear = self.memory_readout
        if linear is None or self.memory_form != "auto" or not is_plain(linear):
            return None
        if torch.compiler.is_exporting():  # sizes may be symbols there, and no cost is known of them
            return None
        # Past a module's call only where the product would be made in the dtype that the module makes it in.
        weight, device = linear.weight, x.device.type
        if torch.is_autocast_enabled(device) and weight.dtype != torch.float64:
            weight = weight.to(torch.get_autocast_dtype(device))
        elif weight.dtype != x.dtype:
            return None
        return weight.chunk(2, dim=1) if self.bidirectional else (weight,)

    def _read(self, m: Tensor, x: Tensor, is_read: bool) -> Tensor:
        # Where is_read, m is W_m m already, made together with the memory.
        if is_read and self.input_readout is not None:
            return ACTIVATIONS[self.hidden_act](m + self.input_readout(x))
        # The memory ran in float32 or wider; from here on, the dtype of x holds.
        m = m.flatten(2).to(x.dtype)
        if self.memory_readout is None or self.input_readout is None:
            return m
        return ACTIVATIONS[self.hidden_act](self.memory_readout(m) + self.input_readout(x))


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


# --------------------------------------------------------------------------- fresh weights

# A module of the family that starts in a way of its own has a method `draw_weights()`, which draws its own parameters
# and not those of modules inside it. It calls `torch.nn.init`, which transformers makes leave alone what was loaded.

INITIAL_SCALE = "initial_scale"


def end_branch(*linears: nn.Linear, scale: float) -> None:
    """Have the last projections of a residual branch start at so much of their usual size."""
    for linear in linears:
        setattr(linear, INITIAL_SCALE, scale)


def draw_projection(linear: nn.Linear) -> None:
    """Variance 1/fan-in, so that what comes out is about as large as what went in; no bias."""
    nn.init.normal_(linear.weight, std=getattr(linear, INITIAL_SCALE, 1.0) * linear.in_features**-0.5)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


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
