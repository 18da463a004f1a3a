"""A memory inside its learned projections, for one window or several."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_all_modules

from .activations import ACTIVATIONS, COMPUTING, Rest, round_once
from .chunks import LONGEST_IMPULSE
from .layout import Layout, Reading
from .memory import SEQUENCE_FORMS, final_of_numbers, memory_mean, next_memory, run_to_end
from .readout import run_form
from .statespace import LegendreSystem

LAYER_WORDS: dict[str, tuple[str, ...]] = {
    "encoder": ("linear", "identity"),
    "readout": ("dense", "memory"),
    "encoder_activation": tuple(ACTIVATIONS),
    "hidden_act": tuple(ACTIVATIONS),
    "memory_form": SEQUENCE_FORMS,
}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
GLOBAL_HOOKS = tuple(getattr(of_all_modules, f"_global{name}") for name in HOOKS)  # dictionaries that torch fills
INITIAL_SCALE = "initial_scale"  # an attribute of the last projections of residual branches


def is_bare(module: nn.Module) -> bool:
    """Whether to call a module is to run its class's ``forward``: it has no hook, no other forward, no parametrisation.

    A hook on all modules (``torch.nn.modules.module.register_module_forward_hook`` and its siblings) is one, too.
    """
    if any(getattr(module, name) for name in HOOKS) or any(GLOBAL_HOOKS):
        return False
    forward = module.__dict__.get("forward")  # accelerate leaves the class's own behind where it takes its hooks off
    replaced = forward is not None and getattr(forward, "__func__", None) is not type(module).forward
    return not replaced and module._compiled_call_impl is None and not hasattr(module, "parametrizations")


def is_plain(linear: nn.Module, kind: type = nn.Linear) -> bool:
    """Whether a module is a bare ``nn.Linear``, of that very class, whose weight and bias are plain tensors.

    Args:
        linear: the module.
        kind: a class that is called in its place, and differs from it in how it starts alone.
    """
    if type(linear) is not kind or not is_bare(linear):
        return False
    weight, bias = (getattr(linear, name, None) for name in ("weight", "bias"))
    return weight is not None and is_plain_tensor(weight) and (bias is None or is_plain_tensor(bias))


def is_plain_tensor(tensor: Tensor) -> bool:
    """Whether a tensor is dense numbers to compute with, in memory: no subclass, not ``meta``, not quantised."""
    dense = type(tensor) in (nn.Parameter, Tensor) and tensor.layout == torch.strided
    return dense and tensor.dtype in COMPUTING and tensor.device.type != "meta"


def draw_projection(linear: nn.Linear) -> None:
    """Variance 1/fan-in, so that what comes out is about as large as what went in; no bias."""
    nn.init.normal_(linear.weight, std=getattr(linear, INITIAL_SCALE, 1.0) * linear.in_features**-0.5)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


class SignalEncoder(nn.Linear):
    """U_x x + b_u of eq. (18); a class of its own because it starts differently: one number starts as itself."""

    def draw_weights(self) -> None:
        """As any projection, but one number is written as it is."""
        if self.in_features > 1:
            draw_projection(self)
        else:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)


class Windows:
    """The Legendre systems of a layer's d_u channels: equal groups of neighbours, each with a window of its own.

    What goes in and comes out is of all channels: u (b, n, d_u), memories (b, d_u, d), m (b, n, d_u, d). A ``form`` is
    one of ``SEQUENCE_FORMS``; ``"auto"`` is the fastest for what is asked.

    Args:
        systems: one for each group, all of one order d.
        channels: d_u.

    Raises:
        ValueError: the systems differ in their orders, or the channels do not fall into so many equal groups.
    """

    def __init__(self, systems: Sequence[LegendreSystem], channels: int) -> None:
        self.systems = tuple(systems)
        orders = [system.order for system in systems]
        if len(set(orders)) != 1:
            raise ValueError(f"the systems of one layer must be of one order, got orders {orders}")
        if channels % len(orders):
            raise ValueError(f"{channels} channels do not fall into {len(orders)} equal groups, one for each window")

    @property
    def order(self) -> int:
        """How many coefficients each channel has, d."""
        return self.systems[0].order

    def read(
        self,
        form: str,
        u: Tensor,
        reading: Reading,
        initial: Tensor | None = None,
        weight: Tensor | None = None,
        wants_final: bool = False,
        backwards: bool = False,
        rest: Rest | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The states that are wanted, and the last memory.

        Args:
            form: one of ``SEQUENCE_FORMS``.
            u: (b, n, d_u), as its layout packs it.
            reading: the layout, and whether every state, the last or the mean is wanted.
            initial: (b, d_u, d), or None for zero.
            weight: W_m (d_o, d_u·d), if every state is to be read out by it.
            wants_final: whether the last memory is looked at where every state is wanted.
            backwards: u is the reversed signal.
            rest: of a layer of one window that reads forwards, what makes its outputs of W_m m.

        Returns:
            m (b, n or 1, d_u, d), or W_m m or o (b, n, d_o); and the last memory (sequences, d_u, d), over all ranks.
        """
        # Over ranks: what this part alone leaves decides what enters the next, and so what enters this one.
        layout, whole = reading.layout, None
        if layout.ranks is not None:
            initial, whole = self.enter(layout, self.final(form, u, layout), initial, backwards)
        if reading.wanted == "last":
            final = self.final(form, u, layout, initial)
            m = final.unsqueeze(1)
        elif reading.wanted == "mean":
            m, final = self.mean(u, layout, initial)
        else:
            if len(self.systems) == 1:
                m, final = run_form(form, u, self.systems[0], initial, weight, layout.sequences, rest)
            else:
                m, final = self.states(form, u, layout, initial, weight)
            if wants_final and layout.lengths is not None:  # what lies behind a row's end was read, too
                final = self.final(form, u, layout, initial)
        # Over ranks, final is where this part ends; the sequence ends where its last part does.
        return m, final if whole is None else whole

    def states(
        self, form: str, u: Tensor, layout: Layout, initial: Tensor | None = None, weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Every state and the last; or, given W_m (d_o, d_u·d), W_m times every state (b, n, d_o), and the last."""
        # W_m m is a sum over channels: each group is read by its own columns of W_m, which are channel-major.
        groups = zip(self._groups(u, 2, initial), self._cut(weight, 1), strict=True)
        runs = (run_form(form, *group, part, layout.sequences) for group, part in groups)
        states, finals = zip(*runs, strict=True)
        return torch.cat(states, 2) if weight is None else reduce(torch.add, states), torch.cat(finals, 1)

    def final(self, form: str, u: Tensor, layout: Layout, initial: Tensor | None = None) -> Tensor:
        """The last state alone of each sequence."""
        if len(self.systems) == 1:
            return run_to_end(form, u, self.systems[0], initial, layout)
        return torch.cat([run_to_end(form, *group, layout) for group in self._groups(u, 2, initial)], 1)

    def mean(self, u: Tensor, layout: Layout, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The mean of all states, (b, 1, d_u, d), and the last one."""
        if len(self.systems) == 1:
            return memory_mean(u, self.systems[0], initial, layout.lengths)
        groups = self._groups(u, 2, initial)
        means, finals = zip(*(memory_mean(*group, layout.lengths) for group in groups), strict=True)
        return torch.cat(means, 2), torch.cat(finals, 1)

    def enter(
        self, layout: Layout, end: Tensor, initial: Tensor | None = None, backwards: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`Layout.enter`."""
        if len(self.systems) == 1:
            return layout.enter(end, self.systems[0], initial, backwards)
        groups = self._groups(end, 1, initial)
        entries, wholes = zip(*(layout.enter(*group, backwards) for group in groups), strict=True)
        return torch.cat(entries, 1), torch.cat(wholes, 1)

    def _groups(self, signal: Tensor, dim: int, initial: Tensor | None) -> Iterator[tuple[Any, Any, Any]]:
        """Each group's part of a tensor with channels along one dimension, its system, and its carried memory."""
        return zip(self._cut(signal, dim), self.systems, self._cut(initial, 1), strict=True)

    def _cut(self, tensor: Tensor | None, dim: int) -> Sequence:
        """Each group's part, along the dimension that channels lie along."""
        return [None] * len(self.systems) if tensor is None else tensor.chunk(len(self.systems), dim)


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
        encoder_activation, hidden_act: f1 and f2, keys of ``ACTIVATIONS``.
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
        # A module that is more than its weight (hooked, adapted) need not be linear.
        return all(self.hidden_act == "identity" and is_plain(linear) for linear in self.last_projections)

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
        reads_twice = reading.wanted == "all" and None not in (self.encoder, self.memory_readout)
        if reads_twice and torch.is_autocast_enabled(x.device.type):
            x = round_once(x)
        if reading.wanted == "last" and self.encoder is not None and self._writes_numbers(x, layout):
            final = final_of_numbers(x, self.encoder.weight, self.encoder.bias, windows.systems[0], initial)
            return self._read(final.unsqueeze(1), layout.last(x), False), final if return_final else None
        u = x if self.encoder is None else ACTIVATIONS[self.encoder_activation](self.encoder(x))
        # In half precision Ā^t drifts: a spectral radius of 1 − 1/θ rounds to 1.
        u = u if u.dtype == torch.float64 else u.float()
        initial = None if initial is None else initial.to(u)  # of a model that was moved since
        # One step is read out by the module itself: there are no states to leave out.
        weights = self._readout_weights(x) if reading.wanted == "all" and x.shape[1] > 1 else None
        # W_m reads [forwards; backwards]: each direction is read out by its half, and the outputs are summed.
        ahead, behind = (None, None) if weights is None else (weights[0], weights[-1])
        alone = weights is not None and not self.bidirectional and len(windows.systems) == 1  # else W_m m is a sum
        rest = self._rest(x) if alone else None
        # To leave autocast's context out where it is off costs a decoded token less than to enter it.
        device = u.device.type
        with torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext():
            if layout.is_one_step and initial is not None and len(windows.systems) == 1:
                # A decoded token, with nothing to choose and nothing to check.
                final = next_memory(initial, u, windows.systems[0])
                m = final.unsqueeze(1)
            else:
                m, final = windows.read(form, u, reading, initial, ahead, return_final, rest=rest)
            if self.bidirectional:
                back, _ = windows.read(form, layout.reverse(u), reading, None, behind, backwards=True)
                back = layout.reverse(back) if reading.wanted == "all" else back  # a mean has no order
                m = torch.cat([m, back], dim=2) if weights is None else m + back
        # o = f2(W_m m + W_x x + b) needs of x what it needs of m: W_x x is linear, so its mean is W_x times x's mean.
        if reading.wanted != "all":
            x = layout.last(x) if reading.wanted == "last" else layout.mean(x)
        o = m if rest is not None else self._read(m, x, weights is not None)
        return o, final if return_final else None

    def _writes_numbers(self, x: Tensor, layout: Layout) -> bool:
        """Whether this layer writes w x + c for numbers x, in float32 or wider, to the end that all rows share."""
        encoder = self.encoder
        if encoder is None or not is_plain(encoder, SignalEncoder) or encoder.bias is None:
            return False
        if encoder.in_features * encoder.out_features > 1 or self.encoder_activation != "identity":
            return False
        if torch.compiler.is_exporting() or torch.is_autocast_enabled(x.device.type) or self.memory_form != "auto":
            return False
        shared = layout.lengths is None and layout.sequences is None and layout.ranks is None
        computed = x.dtype in (torch.float32, torch.float64) and x.dtype == encoder.weight.dtype
        return shared and computed and 1 < x.shape[1] <= LONGEST_IMPULSE

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

    def _rest(self, x: Tensor) -> Rest | None:
        """What makes this layer's outputs of W_m m, where that may be computed past its modules."""
        linear = self.input_readout
        if linear is None or not is_plain(linear) or linear.bias is None:
            return None
        if torch.is_autocast_enabled(x.device.type) or x.dtype != linear.weight.dtype:
            return None
        return Rest(x, linear.weight, linear.bias, self.hidden_act)

    def _read(self, m: Tensor, x: Tensor, is_read: bool) -> Tensor:
        # Where is_read, m is W_m m already, made together with the memory.
        if is_read and self.input_readout is not None:
            return ACTIVATIONS[self.hidden_act](m + self.input_readout(x))
        # The memory ran in float32 or wider; from here on, the dtype of x holds.
        m = m.flatten(2).to(x.dtype)
        if self.memory_readout is None or self.input_readout is None:
            return m
        return ACTIVATIONS[self.hidden_act](self.memory_readout(m) + self.input_readout(x))
