"""What a model is made of, kept: so that what was derived from it can be dropped once it is made of something else."""

from collections.abc import Callable, Iterable, Iterator
from itertools import compress, filterfalse, repeat
from operator import attrgetter, getitem, is_
from types import FunctionType, ModuleType
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .plain import is_bare, is_plain_tensor

PACKAGE = __name__.rpartition(".")[0]  # of this copy of the code, which has another name where it came from the Hub
KNOWN = (f"{PACKAGE}.", "torch.nn.")
OPAQUE = (Tensor, nn.Module, type, FunctionType, ModuleType)
kind_of = attrgetter("dtype", "device")
address_of: Callable[[Any], int] = Tensor.data_ptr


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
        self._live = list(_containers(self._modules))
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
        within = {id(weight) for module in filterfalse(_is_known, self._modules) for weight in module.parameters()}
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
    """The dictionaries, lists and sets whose contents a snapshot compares."""
    for module in modules:
        if module._modules:
            yield module._modules
        if not _is_known(module):
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
