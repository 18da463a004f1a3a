"""Activations, and a product with its activation made tile by tile, so that what is activated still lies in the cache.

A product far wider than deep is bound by its outputs. As three operations, the product, the activation and its gradient
each write and read them again through main memory. Here a tile of some rows goes through all of them. What the backward
pass needs of the outputs is the activated ones, which are there anyway, or the product, which is made again in the tile.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}
TILE_OUTPUTS = 2**18  # numbers of J K at a time, which a core's cache holds
TILE_DEPTH = 2  # times as many rows as J is wide a tile has at least: ∂K is read and written once for each

_aten = torch.ops.aten
# Activate z into out, which may be z itself.
_INTO: dict[str, Callable[..., object]] = {
    "relu": lambda z, out: torch.clamp_min(z, 0, out=out),
    "gelu": lambda z, out: _aten.gelu.out(z, out=out),
    "silu": lambda z, out: _aten.silu.out(z, out=out),
    "tanh": lambda z, out: torch.tanh(z, out=out),
}
# The gradient of z from that of f(z), into out: from z, which is made again, or from o = f(z), which was kept.
_BACK_FROM_PRODUCT: dict[str, Callable[..., object]] = {
    "gelu": lambda g, z, out: _aten.gelu_backward.grad_input(g, z, grad_input=out),
    "silu": lambda g, z, out: _aten.silu_backward.grad_input(g, z, grad_input=out),
}
_BACK_FROM_OUTPUT: dict[str, Callable[..., object]] = {
    "relu": lambda g, o, out: _aten.threshold_backward.grad_input(g, o, 0, grad_input=out),
    "tanh": lambda g, o, out: _aten.tanh_backward.grad_input(g, o, grad_input=out),
}


def activated_product(J: Tensor, K: Tensor, activation: str) -> Tensor:
    """f(J K), of J (rows, depth) and K (depth, width), for an ``activation`` f of :data:`ACTIVATIONS`.

    On a processor it goes tile by tile. An accelerator, a tracer and torch.func get plain operations, which they fuse
    or map themselves.
    """
    wrapped = any(map(torch._C._functorch.is_functorch_wrapped_tensor, (J, K)))
    if J.device.type != "cpu" or torch.compiler.is_compiling() or wrapped:
        return ACTIVATIONS[activation](J @ K)
    return _ActivatedProduct.apply(J, K, activation)


def _tiles(rows: int, depth: int, width: int) -> Iterator[slice]:
    size = max(TILE_OUTPUTS // width, TILE_DEPTH * depth)
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


class _ActivatedProduct(torch.autograd.Function):
    """f(J K) with J, K and, where f's gradient follows from it, the output kept."""

    @staticmethod
    def forward(ctx: Any, J: Tensor, K: Tensor, activation: str) -> Tensor:
        out = J.new_empty(len(J), K.shape[1])
        scratch = out.new_empty(0)
        for tile in _tiles(*J.shape, K.shape[1]):
            part = out[tile]
            if activation in _BACK_FROM_PRODUCT:  # these read and write faster apart
                scratch = scratch if len(scratch) >= len(part) else torch.empty_like(part)
                _INTO[activation](torch.mm(J[tile], K, out=scratch[: len(part)]), out=part)
                continue
            torch.mm(J[tile], K, out=part)
            if activation in _INTO:
                _INTO[activation](part, out=part)
        ctx.activation = activation
        ctx.save_for_backward(J, K, out if activation in _BACK_FROM_OUTPUT else None)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        J, K, out = ctx.saved_tensors
        gradient = gradients[0]
        wrapped = torch._C._functorch.is_functorch_wrapped_tensor(gradient)
        if torch.is_grad_enabled() or wrapped:  # this gradient is differentiated again, or is one of several mapped
            return (*_plain_gradients(J, K, gradient, ctx.activation), None)
        d_J = torch.empty_like(J) if ctx.needs_input_grad[0] else None
        d_K = torch.zeros_like(K) if ctx.needs_input_grad[1] else None
        scratch = gradient.new_empty(0)
        for tile in _tiles(*J.shape, K.shape[1]):
            pulled = gradient[tile]
            if ctx.activation != "identity":
                scratch = scratch if len(scratch) >= len(pulled) else torch.empty_like(pulled)
                pulled = _pull(pulled, J[tile], K, None if out is None else out[tile], ctx.activation, scratch)
            if d_J is not None:
                torch.mm(pulled, K.T, out=d_J[tile])
            if d_K is not None:
                d_K.addmm_(J[tile].T, pulled)
        return d_J, d_K, None


def _pull(gradient: Tensor, J: Tensor, K: Tensor, out: Tensor | None, activation: str, scratch: Tensor) -> Tensor:
    """The gradient of J K from that of f(J K), written to some scratch."""
    pulled = scratch[: len(J)]
    if out is not None:
        _BACK_FROM_OUTPUT[activation](gradient, out, out=pulled)
    else:
        product = torch.mm(J, K, out=pulled)
        _BACK_FROM_PRODUCT[activation](gradient, product, out=pulled)
    return pulled


def _plain_gradients(J: Tensor, K: Tensor, gradient: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """Of J and K, by operations that can be differentiated and mapped."""
    product = J @ K
    if activation in _BACK_FROM_PRODUCT:
        back = _aten.gelu_backward if activation == "gelu" else _aten.silu_backward
        pulled = back(gradient, product)
    elif activation == "relu":
        pulled = _aten.threshold_backward(gradient, product, 0)
    elif activation == "tanh":
        pulled = _aten.tanh_backward(gradient, torch.tanh(product))
    else:
        pulled = gradient
    return pulled @ K.T, J.T @ pulled
