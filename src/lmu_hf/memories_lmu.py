"""Carried memories in a safetensors file: written whole or not at all, and checked wholly when they are read."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from .blocks_lmu import NGrams
from .cache_lmu import LMUCacheLayer, is_memory
from .configuration_lmu import LMUConfig

FILE_FORMAT = "lmu memories 1"  # a file of another layout is refused by this


def save_memories(memories: Cache, path: str | os.PathLike, config: LMUConfig) -> None:
    """Keep carried memories in a safetensors file, whole or not at all.

    Args:
        memories: ``cache`` (or ``past_key_values``) of a model that has read something.
        path: the file; one that is there is replaced.
        config: the model's, by which :func:`load_memories` knows whose memories these are.

    Raises:
        TypeError: the cache holds other things than LMU memories.
        ValueError: it has read nothing yet, or it could not be loaded with this config.
    """
    tensors = {}
    for number, layer in enumerate(memories.layers):
        if not is_memory(layer):
            raise TypeError(f"layer {number} of the cache is a {type(layer).__name__}, not an LMU memory")
        if layer.memory is None:
            raise ValueError("the cache holds no memory: its model has read nothing yet")
        tensors[f"layers.{number}.memory"] = layer.memory.contiguous()
        tensors[f"layers.{number}.tokens"] = cast(Tensor, layer.cumulative_length)
        if layer.tokens is not None:
            tensors[f"layers.{number}.last_tokens"] = layer.tokens.contiguous()
    # The reader's own check: what is written can be loaded.
    if fault := _fault(tensors, config):
        raise ValueError(f"{os.fspath(path)} is not written: {fault}")
    # Beside the file, not in a temporary folder: a replace is atomic only within one file system.
    staged = Path(f"{os.fspath(path)}.partial")
    try:
        save_file(tensors, staged, metadata={"format": FILE_FORMAT, "systems": _systems(config)})
        staged.replace(path)
    except (OSError, SafetensorError) as error:  # of safetensors a full disk is another class, and names no file
        raise OSError(f"{os.fspath(path)} is not written: {error}") from error
    finally:
        staged.unlink(missing_ok=True)


def load_memories(path: str | os.PathLike, config: LMUConfig) -> DynamicCache:
    """Memories that :func:`save_memories` kept, bit for bit, as ``cache`` to go on from.

    Args:
        path: the file.
        config: the config of the model that is to go on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds no memories, or those of another architecture, or anything else than
            one finite memory and one count for each layer.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping, has no __iter__
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)} cannot be read: {error}") from error
    if metadata.get("format") != FILE_FORMAT or "systems" not in metadata:
        raise ValueError(f"{os.fspath(path)} holds no memories that save_memories wrote")
    # Shapes would not tell: memories of another θ or basis have the same shape and another meaning.
    if metadata["systems"] != _systems(config):
        raise ValueError(
            f"{os.fspath(path)} holds memories of (channels, order, theta, …) {metadata['systems']}; this model's are "
            f"{_systems(config)}"
        )
    if fault := _fault(tensors, config):
        raise ValueError(f"{os.fspath(path)} cannot be gone on from: {fault}")
    memories = DynamicCache(config=config)
    for number in range(config.num_hidden_layers):
        memory, tokens = (tensors[f"layers.{number}.{part}"] for part in ("memory", "tokens"))
        memories.update_recurrent_state(memory, number, tokens=int(tokens))
        if (last := tensors.get(f"layers.{number}.last_tokens")) is not None:
            cast(LMUCacheLayer, memories.layers[number]).update_tokens(last)
    return memories


def _fault(tensors: Mapping[str, Tensor], config: LMUConfig) -> str | None:
    """What is wrong with the tensors of a file, in words; None if they are a model's memories."""
    layers = range(config.num_hidden_layers)
    # Only the first layer keeps tokens, since n-grams are added before the first block.
    last = {f"layers.{0}.last_tokens"} if NGrams.of(config) else set()
    expected = {f"layers.{number}.{part}" for number in layers for part in ("memory", "tokens")} | last
    if missing := sorted(expected - tensors.keys()):
        return f"{missing[0]} is missing"
    if unexpected := sorted(tensors.keys() - expected):
        return f"{unexpected[0]} is unexpected"
    first = tensors["layers.0.memory"]
    for number in layers:
        memory, count = (tensors[f"layers.{number}.{part}"] for part in ("memory", "tokens"))
        # (b, d_u, d): b is that of the first layer.
        shape = (len(first) if first.ndim else 0, *config.memory_shapes[number])
        if memory.shape != shape or memory.dtype != first.dtype or 0 in shape:
            return f"layers.{number}.memory is {memory.dtype} {tuple(memory.shape)}, not {first.dtype} {shape}"
        if memory.dtype not in (torch.float32, torch.float64):
            return f"layers.{number}.memory is {memory.dtype}, not float32 or float64"
        if not memory.isfinite().all():
            return f"layers.{number}.memory is not finite"
        if count.shape or count.dtype != torch.int64 or int(count) < 1:
            return f"layers.{number}.tokens must count the tokens, one int64 of at least 1, got {_shown(count)}"
        # Every layer has read every column.
        if int(count) != int(tensors["layers.0.tokens"]):
            return f"layers.{number}.tokens is {int(count)}, and layers.0.tokens {int(tensors['layers.0.tokens'])}"
    return _last_tokens_fault(tensors["layers.0.last_tokens"], len(first), config) if last else None


def _last_tokens_fault(ids: Tensor, rows: int, config: LMUConfig) -> str | None:
    """What is wrong with the last token ids + 1 that n-grams ask for."""
    option = NGrams.of(config)
    shape = (rows, 0 if option is None else option.carried)
    if ids.shape != shape or ids.dtype != torch.int64:
        return f"layers.0.last_tokens is {ids.dtype} {tuple(ids.shape)}, not torch.int64 {shape}"
    # Ids + 1, as 0 is no token: so vocab_size itself is allowed.
    if bool((ids < 0).any()) or bool((ids > (config.vocab_size or 0)).any()):
        return f"layers.0.last_tokens holds ids outside 0 … {config.vocab_size} (vocab_size)"
    return None


def _shown(count: Tensor) -> str:
    return f"{count.dtype} {count.item()}" if count.numel() == 1 else f"{count.dtype} {tuple(count.shape)}"


def _systems(config: LMUConfig) -> str:
    """What decides the meaning of every number of a memory, layer by layer, and how many tokens are beside it."""
    systems, option = config.memory_meanings, NGrams.of(config)
    return json.dumps(systems if option is None else [*systems, f"{max(option.sizes)}-grams"])
