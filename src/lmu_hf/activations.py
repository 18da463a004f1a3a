"""What products are made in, and products with their activation, tile by tile.

A product far wider than deep is bound by its outputs: the product, the activation and its gradient would each write and
read them through main memory. Here a tile of some rows goes through all three. What the backward pass needs of them is
the activated ones, which are there anyway, or the product, which is made again in the tile.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.functional import linear, pad

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}
COMPUTING = (torch.float32, torch.bfloat16, torch.float16, torch.float64)  # what products are made in
NARROW_INPUT = 8  # numbers of an input up to which its readout is joined with the bias, or with W_m's, in one product
TILE_OUTPUTS = 2**18  # numbers of J K at a time for each thread, which its core's cache holds
TILE_DEPTH = 2  # times as many rows as J is wide a tile has at least: ∂K is read and written once for each

_aten = torch.ops.aten
# Activate z into out, which may be z itself.
_INTO: dict[str, Callable[..., Tensor]] = {
    "identity": lambda z, out: out if out is z else out.copy_(z),
    "relu": lambda z, out: torch.clamp_min(z, 0, out=out),
    "gelu": lambda z, out: _aten.gelu.out(z, out=out),
    "silu": lambda z, out: _aten.silu.out(z, out=out),
    "tanh": lambda z, out: torch.tanh(z, out=out),
}
# The gradient of z from that of f(z), into out: from z, which is made again, or from o = f(z), which was kept.
_BACK_FROM_PRODUCT: dict[str, Callable[..., Tensor]] = {
    "gelu": lambda g, z, out: _aten.gelu_backward.grad_input(g, z, grad_input=out),
    "silu": lambda g, z, out: _aten.silu_backward.grad_input(g, z, grad_input=out),
}
_BACK_FROM_OUTPUT: dict[str, Callable[..., Tensor]] = {
    "relu": lambda g, o, out: _aten.threshold_backward.grad_input(g, o, 0, grad_input=out),
    "tanh": lambda g, o, out: _aten.tanh_backward.grad_input(g, o, grad_input=out),
}


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


def round_once(x: Tensor) -> Tensor:
    """An input of several products in the dtype that autocast makes them in: else each of them rounds it anew."""
    return x if x.dtype == torch.float64 else x.to(torch.get_autocast_dtype(x.device.type))


class Rest(NamedTuple):
    """What makes W_m m a layer's output, o = f2(W_m m + W_x x + b_o)."""

    x: Tensor  # (b, n, d_x), as its layout packs it
    weight: Tensor  # W_x (d_o, d_x)
    bias: Tensor  # b_o (d_o,)
    hidden_act: str  # f2, a key of ACTIVATIONS

    def complete(self, y: Tensor) -> Tensor:
        """W_m m (b, n, d_o) to o; a narrow x in one product, [x, 1] times [W_x, b_o], added as it is written."""
        if self.x.shape[-1] > NARROW_INPUT:
            return ACTIVATIONS[self.hidden_act](y + linear(self.x, self.weight, self.bias))
        joined, matrix = pad(self.x, (0, 1), value=1.0).flatten(0, -2), torch.cat([self.weight.T, self.bias[None]])
        return ACTIVATIONS[self.hidden_act](torch.addmm(y.flatten(0, -2), joined, matrix).view(y.shape))


def activated_product(left: Tensor, right: Tensor, K: Tensor, activation: str) -> Tensor:
    """f(J K), of J = [left, right] (rows, depth) and K (depth, width), for an f of :data:`ACTIVATIONS`.

    On a processor it goes tile by tile. An accelerator, a tracer and torch.func get plain operations, which they fuse
    or map themselves.
    """
    if not goes_by_tiles(left, right, K):
        return ACTIVATIONS[activation](torch.cat([left, right], dim=1) @ K)
    return _ActivatedProduct.apply(left, right, K, activation)


def goes_by_tiles(*tensors: Tensor) -> bool:
    """Whether a product of these may be made in place: on a processor, and by nobody who records or maps operations."""
    if tensors[0].device.type != "cpu" or torch.compiler.is_compiling() or forward_ad._current_level >= 0:
        return False
    return not any(map(_is_mapped, tensors))


def _is_mapped(tensor: Tensor) -> bool:
    """Whether torch.func, or a batch of gradients (``is_grads_batched``), looks on: neither knows products in place."""
    # The keys alone say so of the second kind, and Python has a name for that key only in what they print.
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor) or "Batched" in repr(torch._C._dispatch_keys(tensor))


def _tile(J: Tensor, K: Tensor) -> int:
    """How many rows go through together."""
    return max(TILE_OUTPUTS * torch.get_num_threads() // K.shape[1], TILE_DEPTH * J.shape[1], 1)


class _ActivatedProduct(torch.autograd.Function):
    """f(J K), which keeps J, K and, where f's gradient follows from it, the output."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, K: Tensor, activation: str) -> Tensor:
        J = torch.cat([left, right], dim=1)
        out, tile = J.new_empty(len(J), K.shape[1]), _tile(J, K)
        # Where the product is not kept, it stands apart from the output, which then is written once.
        scratch = torch.empty_like(out[:tile]) if activation in _BACK_FROM_PRODUCT else None
        for rows, part in zip(J.split(tile), out.split(tile), strict=True):
            product = torch.mm(rows, K, out=part if scratch is None else scratch[: len(rows)])
            _INTO[activation](product, out=part)
        ctx.activation, ctx.depth = activation, left.shape[1]
        ctx.save_for_backward(J, left, right, K, out if activation in _BACK_FROM_OUTPUT else None)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        J, left, right, K, out = ctx.saved_tensors
        gradient, activation = gradients[0], ctx.activation
        if torch.is_grad_enabled() or _is_mapped(gradient):
            # This gradient is differentiated again, or is one of several that are mapped.
            return (*_plain_gradients(left, right, K, gradient, activation), None)
        wants_left, wants_right, wants_K, _ = ctx.needs_input_grad
        used = K[slice(0 if wants_left else left.shape[1], len(K) if wants_right else left.shape[1])]
        d_J = J.new_empty(len(J), len(used))
        d_K = torch.zeros_like(K) if wants_K else None
        tile = _tile(J, K)
        scratch = torch.empty_like(gradient[:tile], memory_format=torch.contiguous_format)
        outputs = J.split(tile) if out is None else out.split(tile)
        parts = zip(J.split(tile), outputs, gradient.split(tile), d_J.split(tile), strict=True)
        for rows, output, pulled, d_rows in parts:
            if activation in _BACK_FROM_OUTPUT:
                pulled = _BACK_FROM_OUTPUT[activation](pulled, output, out=scratch[: len(rows)])
            elif activation in _BACK_FROM_PRODUCT:
                product = torch.mm(rows, K, out=scratch[: len(rows)])
                pulled = _BACK_FROM_PRODUCT[activation](pulled, product, out=product)
            if len(used):
                torch.mm(pulled, used.T, out=d_rows)
            if d_K is not None:
                d_K.addmm_(rows.T, pulled)
        d_left = d_J[:, : left.shape[1]] if wants_left else None
        return d_left, d_J[:, -right.shape[1] :] if wants_right else None, d_K, None


def _plain_gradients(left: Tensor, right: Tensor, K: Tensor, gradient: Tensor, activation: str) -> tuple[Tensor, ...]:
    """Of left, right and K, by operations that can be differentiated and mapped."""
    J = torch.cat([left, right], dim=1)
    product = J @ K
    gradient = _plain_back(gradient, product, activation)
    d_left, d_right = (gradient @ K.T).split([left.shape[1], right.shape[1]], dim=1)
    return d_left, d_right, J.T @ gradient


def _plain_back(gradient: Tensor, z: Tensor, activation: str) -> Tensor:
    """The gradient of z from that of f(z), by operations that can be differentiated and mapped."""
    if activation == "gelu":
        return _aten.gelu_backward(gradient, z)
    if activation == "relu":
        return _aten.threshold_backward(gradient, z, 0)
    if activation == "silu":  # torch has no derivative of its own silu_backward
        gate = torch.sigmoid(z)
        return gradient * gate * (1 + z * (1 - gate))
    return _aten.tanh_backward(gradient, torch.tanh(z)) if activation == "tanh" else gradient
