"""A step of a network, recorded: the torch calls that it makes, without the Python around them.

One decoded token is a hundred small calls. Modules, checks and caches take about as long to find them as the calls
themselves take, and find the same ones at every step. A :class:`Recording` notes them once and makes them again on new
inputs, so the network stays the only definition of what is computed. It needs no compiler and no copy of the weights.
A :class:`Snapshot` keeps what the network is made of, so that a recording is dropped once it is made of something else.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, compress, filterfalse, repeat
from operator import attrgetter, getitem, is_, itemgetter
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast, ModelOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from .layers import is_bare, is_plain_tensor

# What Python decides by their results may be decided otherwise at the next play.
READERS = {"item", "tolist", "numpy", "equal", "allclose", "is_nonzero"}
READERS |= {f"__{name}__" for name in ("array", "bool", "int", "float", "index", "contains")}
OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")
WRITERS = {"__setitem__"} | {f"__i{name}__" for name in OPERATORS}
PACKAGE = __name__.rpartition(".")[0]  # of this copy of the code, which has another name where it came from the Hub
KNOWN = (f"{PACKAGE}.", "torch.nn.")
OPAQUE = (Tensor, nn.Module, type, FunctionType, ModuleType)
CACHE_NAME = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
PLAIN_INPUTS = {"input_ids", CACHE_NAME, "use_cache", "logits_to_keep", "return_dict"}
logger = logging.get_logger(__name__)
kind_of = attrgetter("dtype", "device")
address_of: Callable[[Any], int] = Tensor.data_ptr


def cache_of(output: ModelOutput) -> Any:
    """The cache that a model returned, or None."""
    return getattr(output, CACHE_NAME)


class CannotRecordError(RuntimeError):
    """A function does something that making its torch calls again would not do again."""


class Recording:
    """The torch calls of a function of one tensor, as a flat list.

    Played back, they are made on the very tensors that the function reached (parameters, constants, memories), with a
    new input of the same shape in the place of the old. What Python decided on the way stays decided.

    Args:
        function: takes a tensor and returns one.
        example: what it is run on to be recorded.
        other: another input of the same shape, on which recording and reference are then compared.
        state: the tensors that it writes to; they are left as they were.
        reference: what the function is to be equal to; by default itself.

    Raises:
        CannotRecordError: the function looks at the values of a tensor, or the recording does something else.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        example: Tensor,
        other: Tensor,
        state: Sequence[Tensor] = (),
        reference: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        # The function, the reference and the recording run once each, and each writes to the state.
        before = _copies(state)
        try:
            with _Tape() as tape:
                result = function(example)
            self._take(tape, example, result)
            between = _copies(state)
            expected = [(reference or function)(other), *_copies(state)]
            # The recording starts from where the reference did.
            _write(state, between)
            same = all(map(torch.equal, [self(other), *state], expected))
        finally:
            _write(state, before)
        if not same:
            raise CannotRecordError("what the function does is not all in the torch calls that could be recorded")

    def __call__(self, given: Tensor) -> Tensor:
        """What the function would return."""
        values = self._values.copy()
        values[0] = given
        for function, arguments, slot in self._calls:
            values[slot] = function(*arguments(values))
        return values[self._result]

    def __len__(self) -> int:
        """How many calls are made."""
        return len(self._calls)

    def _take(self, tape: "_Tape", example: Tensor, result: Tensor) -> None:
        self._values: list[Any] = [None]  # constants, and room for the input and for what calls return
        self._slots = {id(example): 0}  # of what changes from play to play; good as long as the tape holds the tensors
        self._drafts: list[tuple[Callable, list[int], int]] = []  # calls, where their arguments stand and results go
        for call in tape.calls:
            self._note(*call)
        self._result = self._slots.get(id(result), len(self._values))
        self._values.append(result)
        read = {self._result}.union(*(places for _, places, _ in self._drafts))
        drafts = (draft for draft in self._drafts if draft[2] in read or not isinstance(draft[0], itemgetter))
        # Arguments are picked out of all values without any Python at play time, and no results that nothing takes. Of
        # one place, a getter would give the argument itself; a slice gives a list of one, or of none.
        self._calls: list[tuple[Callable, Callable[[list], Sequence], int]] = []
        for function, places, slot in drafts:
            one = slice(places[0], places[0] + 1) if places else slice(0)
            self._calls.append((function, itemgetter(*places) if len(places) > 1 else itemgetter(one), slot))
        self._slots.clear()
        self._drafts.clear()

    def _note(self, name: str, function: Callable, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
        """Add a call, unless it only handed a tensor through; ``name`` is that of a reader or a writer."""
        if name in READERS:
            raise CannotRecordError(f"the function looks at the values of a tensor, by {name}")
        slots, values = self._slots, self._values
        parts = result if isinstance(result, tuple | list) else [result]
        known = {id(arg) for arg in args} | slots.keys()
        # `contiguous` and `to` may return the tensor itself: then there is nothing to make again.
        if not name and all(id(part) in known for part in parts if isinstance(part, Tensor)):
            return
        # Arguments are picked by place at play time, so a tensor given by name is moved to one.
        if any(id(value) in slots for value in kwargs.values()):
            function, args = _without_names(function, list(kwargs)), (*args, *kwargs.values())
        elif kwargs:
            function = partial(function, **kwargs)
        places = []
        for arg in args:
            place = slots.get(id(arg))
            if place is None and isinstance(arg, tuple | list) and any(id(part) in slots for part in arg):
                place = self._gather(arg)
            elif place is None:  # a constant stays where it is
                place = len(values)
                values.append(arg)
            places.append(place)
        slot = self._draft(function, places)
        if isinstance(result, Tensor):
            slots.setdefault(id(result), slot)
        for k, part in enumerate(parts if parts is result else ()):
            if isinstance(part, Tensor):
                slots[id(part)] = self._draft(itemgetter(k), [slot])

    def _gather(self, value: tuple | list) -> int:
        """Where a list of tensors is put together for each call."""
        places = []
        for part in value:
            place = self._slots.get(id(part))
            if place is None and isinstance(part, tuple | list):
                place = self._gather(part)
            elif place is None:
                place = len(self._values)
                self._values.append(part)
            places.append(place)
        return self._draft(_tuple if isinstance(value, tuple) else _list, places)

    def _draft(self, function: Callable, places: list[int]) -> int:
        """Where a call's result will stand."""
        self._values.append(None)
        self._drafts.append((function, places, len(self._values) - 1))
        return len(self._values) - 1


class _Tape(TorchFunctionMode):
    """Notes every torch call that gives, reads or writes a tensor, with its arguments and result, kept alive.

    What only asks what a tensor is like (its shape, its dtype) has the same answer at every play.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Callable, tuple, dict[str, Any], Any]] = []

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name, parts = getattr(function, "__name__", ""), result if isinstance(result, tuple | list) else (result,)
        # torch names what changes an argument ``copy_`` or ``__iadd__``, or gives it as ``out=``.
        writes = name in WRITERS or (name.endswith("_") and not name.startswith("__"))
        if writes or name in READERS or (kwargs and kwargs.get("out") is not None):
            self.calls.append((name, function, args, kwargs or {}, result))
        elif any(isinstance(part, Tensor) for part in parts):
            self.calls.append(("", function, args, kwargs or {}, result))
        return result


def _copies(state: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.clone() for tensor in state]


def _write(state: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(state, values, strict=True):
        tensor.copy_(value)


def _without_names(function: Callable, names: list[str]) -> Callable:
    """The function, with its last arguments given by place."""
    return lambda *values: function(*values[: -len(names)], **dict(zip(names, values[-len(names) :], strict=True)))


def _list(*parts: Any) -> list:
    return list(parts)


def _tuple(*parts: Any) -> tuple:
    return parts


class Snapshot:
    """The modules and weights of a model, for :meth:`holds` to compare with those that it has later.

    Seen are: a hook; a ``forward`` or a compiled call that was put on a module; a submodule, a class or a parameter in
    the place of another; another dtype or device of the model or of an adapter, as ``.to`` leaves it; and training
    mode, where it matters. Of modules that are neither torch's nor ours, as adapters are, every attribute is seen, and
    what is in the lists, dictionaries and objects that it holds. Not looked at are the numbers in weights, since a
    recording reads them where they lie, and the attributes that torch's modules and ours take from the config.

    Args:
        root: the model, without hooks.
    """

    # It is compared at every token, when little of it is in the processor's cache: what counts is how few objects a
    # comparison touches. Each is one pass, in C, over lists made before.
    def __init__(self, root: nn.Module) -> None:
        self._modules = list(root.modules())
        self._hooks_made = RemovableHandle.next_id
        self._classes = list(map(type, self._modules))
        self._attributes = [vars(module) for module in self._modules]
        self._counts = list(map(len, self._attributes))
        self._dropping = [vars(module) for module in self._modules if getattr(module, "p", 0)]
        foreign = list(filterfalse(_is_known, self._modules))
        self._live = [module._modules for module in self._modules if module._modules] + list(_containers(foreign))
        self._kept = [container.copy() for container in self._live]
        weights: list[tuple[dict, str, Any]] = [
            (module._parameters, name, weight)
            for module in self._modules
            for name, weight in module._parameters.items()
        ]
        tensors = [weight for _, _, weight in weights if weight is not None]
        is_plain = list(map(is_plain_tensor, tensors))
        self._homes, self._names, self._weights = map(list, zip(*weights, strict=True)) if weights else ([], [], [])
        # Of all plain weights one: `.to` and its kin put all of a model's elsewhere. Where a part alone is of another
        # dtype or device, torch refuses to compute with it, called by the model or by a recording. But an adapter may
        # cast its input to its own weights' dtype: of what is in one, all weights are looked at.
        within = {id(weight) for module in foreign for weight in module.parameters()}
        plain = list(compress(tensors, is_plain))
        self._placed = plain[:1] + [weight for weight in plain[1:] if id(weight) in within]
        self._addresses = list(map(address_of, self._placed))
        self._others = [weight for weight, plain in zip(tensors, is_plain, strict=True) if not plain]
        self._kinds = list(map(kind_of, self._others))

    def holds(self) -> bool:
        """Whether the model is still made of the same, and nothing is hooked to it."""
        if self._hooks_made != RemovableHandle.next_id:
            if not all(map(is_bare, self._modules)):
                return False
            self._hooks_made = RemovableHandle.next_id  # that hook is another model's
        try:
            return (
                list(map(len, self._attributes)) == self._counts
                and list(map(type, self._modules)) == self._classes
                and self._live == self._kept
                and all(map(is_, map(getitem, self._homes, self._names), self._weights))
                and list(map(address_of, self._placed)) == self._addresses
                and list(map(kind_of, self._others)) == self._kinds
                and not any(map(getitem, self._dropping, repeat("training")))
            )
        except (KeyError, TypeError, RuntimeError, ValueError):
            # A parameter is gone or is none, or there is a tensor, which cannot be called equal, where there was none.
            return False


def _is_known(module: nn.Module) -> bool:
    """Whether a module is torch's or ours, and not, say, an adapter."""
    return f"{type(module).__module__}.".startswith(KNOWN)


def _containers(modules: list[nn.Module]) -> Iterator[Any]:
    """What of modules that are neither torch's nor ours can change without being replaced."""
    for module in modules:
        yield vars(module)
        yield module._buffers
        yield from _inside(vars(module).values(), {id(vars(module))})


def _inside(values: Iterable[Any], seen: set[int]) -> Iterator[Any]:
    """What is in values that can change without being replaced, and in what is in them."""
    for value in values:
        if id(value) in seen or isinstance(value, OPAQUE):
            continue
        seen.add(id(value))
        held = value if isinstance(value, dict | list | set | tuple) else getattr(value, "__dict__", ())
        if not isinstance(held, tuple):
            yield held
        yield from _inside(held.values() if isinstance(held, dict) else held, seen)


class TokenStep:
    """Stands in for a model in a loop that generates token after token.

    The first plain call for a single token is recorded; while the same memories go on, later ones are played back.
    Every other call goes to the model itself, and so do all where the model is more than the torch calls that it makes:
    where it is hooked, or offloaded, or in training. A model that has changed since it was recorded is recorded anew.

    Args:
        model: may change between two calls.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model: Any = model
        self._may_record = True
        self._in_the_way: nn.Module | None = None  # the module, if any, for which nothing was recorded the last time
        self._waiting, self._next_wait = 0, 1  # tokens, before a model that changed is recorded anew
        self._recording: Recording | None = None
        self._snapshot: Snapshot | None = None
        self._state: list[Tensor] = []

    def __call__(self, **inputs) -> CausalLMOutputWithPast:
        """What the model returns for these inputs."""
        # A recording stands for one call: these arguments and one token. The model itself answers every other call.
        if inputs.keys() != PLAIN_INPUTS or inputs["input_ids"].shape[1] != 1 or self.model.config.output_hidden_states:
            return self.model(**inputs)
        tokens, cache = inputs["input_ids"], inputs[CACHE_NAME]
        return CausalLMOutputWithPast(logits=self.logits(tokens, cache), **{CACHE_NAME: cache})

    def logits(self, tokens: Tensor, cache: Cache) -> Tensor:
        """(b, 1, vocab_size) behind the last of some tokens (b, n), whose memories are then in the cache."""
        if tokens.shape[1] > 1 or not self._may_record or _is_watched(tokens):
            return self._run(tokens, cache)
        state = carried_tensors(cache)
        if self._snapshot is not None and not self._snapshot.holds():
            self._forget()
        elif self._recording is None and state and self._is_settled(state):
            self._record(tokens, cache, state)
        if self._recording is not None and _same(state, self._state):
            return self._recording(tokens)
        return self._run(tokens, cache)

    def _run(self, tokens: Tensor, cache: Cache) -> Tensor:
        inputs = {"input_ids": tokens, "cache": cache, "use_cache": True, "logits_to_keep": 1}
        return self.model(**inputs, return_dict=True).logits

    def _is_settled(self, state: list[Tensor]) -> bool:
        """Whether nothing stands between the model's modules and the torch calls that they make."""
        if self._waiting or any(tensor.requires_grad for tensor in state):
            self._waiting = max(self._waiting - 1, 0)
            return False
        # What stood in the way the last time most likely still does: so it is asked first.
        modules = chain(filter(None, (self._in_the_way,)), self.model.modules())
        # What torch packs as int8 is left in training mode, and computes the same in both.
        trains = ((part, part.training and not type(part).__module__.startswith("torch.ao.")) for part in modules)
        self._in_the_way = next((part for part, does in trains if does or not is_bare(part)), None)
        return self._in_the_way is None

    def _record(self, tokens: Tensor, cache: Cache, state: list[Tensor]) -> None:
        # Any other ids will do: a recording that kept the first ones as a constant then gives another result.
        others = (tokens + 1) % self.model.config.vocab_size
        try:
            # The step asks nothing, and is checked against the call that does: a subclass may have another forward.
            step, whole = (lambda ids: self.model.step(ids, cache)), (lambda ids: self._run(ids, cache))
            self._recording = Recording(step, tokens, others, state, reference=whole)
            self._snapshot, self._state = Snapshot(self.model), state
        except CannotRecordError as error:
            self._may_record = False
            logger.warning_once(f"{error}, so every token takes a full call of the model, about twice as long")

    def _forget(self) -> None:
        """Drop what was recorded. A model that goes on changing is recorded ever more seldom."""
        self._recording = self._snapshot = None
        self._waiting, self._next_wait = self._next_wait, 2 * self._next_wait


def carried_tensors(cache: Cache) -> list[Tensor]:
    """All that a cache carries, memories, counters and tokens of n-grams; nothing before the first token."""
    layers: list[Any] = cache.layers
    held = [
        (layer.recurrent_states[0], layer.cumulative_length, layer.tokens)
        for layer in layers
        if layer.has_previous_state[0]
    ]
    return [tensor for tensors in held for tensor in tensors if tensor is not None]


def _same(tensors: list[Tensor], others: list[Tensor]) -> bool:
    # By identity: a recorded call reads and writes those very tensors, not others with equal numbers.
    return len(tensors) == len(others) and all(map(is_, tensors, others))


def _is_watched(tokens: Tensor) -> bool:
    """Whether calls of torch mean more here than what they do to numbers."""
    return torch.is_grad_enabled() or torch.is_autocast_enabled(tokens.device.type)
