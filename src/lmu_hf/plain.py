"""Whether a module is no more than its weights, so that these may be read past it: the one place that decides.

A product may be computed in another order than module after module only where a module is a plain ``nn.Linear`` and
its weight a plain tensor that lies here. Everything else (hooked, adapted, pruned, parametrised, quantised, offloaded)
computes more than its ``weight`` says, or something else, and has to be called.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_all_modules

COMPUTING = (torch.float32, torch.bfloat16, torch.float16, torch.float64)  # what products are made in
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
GLOBAL_HOOKS = tuple(getattr(of_all_modules, f"_global{name}") for name in HOOKS)  # dictionaries that torch fills


def is_bare(module: nn.Module) -> bool:
    """Whether to call a module is to run its class's ``forward``: it has no hook, no other forward, no parametrisation.

    A hook on all modules (``torch.nn.modules.module.register_module_forward_hook`` and its siblings) is one, too.
    """
    if any(getattr(module, name) for name in HOOKS) or any(GLOBAL_HOOKS):
        return False
    forward = module.__dict__.get("forward")  # accelerate leaves the class's own behind where it takes its hooks off
    replaced = forward is not None and getattr(forward, "__func__", None) is not type(module).forward
    return not replaced and module._compiled_call_impl is None and not hasattr(module, "parametrizations")


def is_plain(linear: nn.Module) -> bool:
    """Whether a module is a bare ``nn.Linear``, of that very class, whose weight and bias are plain tensors."""
    if type(linear) is not nn.Linear or not is_bare(linear):
        return False
    weight, bias = (getattr(linear, name, None) for name in ("weight", "bias"))
    return weight is not None and is_plain_tensor(weight) and (bias is None or is_plain_tensor(bias))


def is_plain_tensor(tensor: Tensor) -> bool:
    """Whether a tensor is dense numbers to compute with, in memory: no subclass, not ``meta``, not quantised."""
    dense = type(tensor) in (nn.Parameter, Tensor) and tensor.layout == torch.strided
    return dense and tensor.dtype in COMPUTING and tensor.device.type != "meta"


def computing_dtype(module: nn.Module, otherwise: torch.dtype) -> torch.dtype:
    """The dtype that a module computes in, whatever it keeps its weights in.

    Quantisers leave biases, norms and embeddings in it, or give a weight that they keep in integers its name.

    Args:
        module: the module.
        otherwise: for a module without anything to learn.
    """
    for parameter in module.parameters():
        if parameter.dtype in COMPUTING:
            return parameter.dtype
    # What torch quantises dynamically holds no parameters, and takes nothing but float32.
    return torch.float32 if module.state_dict() else otherwise
