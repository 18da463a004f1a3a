"""Tensors that are sharded over processes: each writes its own part, and any number of them read it.

`torch.distributed.checkpoint` decides who writes and who reads what. Its usual files begin with a pickle, which may run
code when it is read; here it writes safetensors, whose headers say in JSON where in its tensor each part belongs. All
processes must see one folder.
"""

import shutil
import warnings
from pathlib import Path
from typing import cast

import torch
import torch.distributed.checkpoint as dcp
from accelerate import Accelerator, DistributedType
from accelerate.utils import parse_flag_from_env
from packaging.version import Version
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.tensor import DTensor

from ..common.errors import InputError, one_line
from .checkpoint import CheckpointError


def check_shards(accelerator: Accelerator) -> None:
    """Refuse to shard a model where that is not done (FSDP2), or where it could be saved as a pickle alone.

    Raises:
        InputError: accelerate would not shard it, or would in the older way, or torch is too old.
    """
    if not parse_flag_from_env("ACCELERATE_USE_FSDP"):
        return
    if accelerator.distributed_type != DistributedType.FSDP:
        raise InputError(
            "--use_fsdp has no effect here, for accelerate shards a model over several GPUs alone: leave it out"
        )
    if not accelerator.is_fsdp2:
        raise InputError("--use_fsdp needs --fsdp_version 2 beside it")
    if Version(torch.__version__) < Version("2.9"):
        raise InputError(f"a sharded model needs torch 2.9 or newer to be saved, and this is {torch.__version__}")


def write_shards(folder: Path, groups: dict[str, dict[str, Tensor]]) -> None:
    """Write named tensors in groups, as every process holds them, into a folder; all processes call it together.

    Raises:
        CheckpointError: a process could not; it is raised on all, and the folder is deleted.
    """
    # Names of groups and of weights hold no slash.
    flat = {f"{group}/{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}
    try:
        # It has the disk, not only its cache, hold each file.
        dcp.save(flat, storage_writer=dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except dcp.CheckpointException as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise CheckpointError(f"shards of {folder} could not be written: {_said(error)}") from error


def read_shards(folder: Path, groups: list[str], weights: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Read groups of tensors that any number of processes wrote; all processes call it together.

    Args:
        folder: a checkpoint that has been verified.
        groups: their names.
        weights: of the model by name; what has the shape of the weight of its name is sharded as that is, the rest is
            whole.

    Raises:
        CheckpointError: a group is missing, or a process could not read its part.
    """
    reader = dcp.HuggingFaceStorageReader(str(folder))
    try:
        entries = cast(dict[str, TensorStorageMetadata], reader.read_metadata().state_dict_metadata)
        found = {tuple(key.split("/")): entry for key, entry in entries.items()}
        if missing := set(groups) - {group for group, *_ in found}:
            raise CheckpointError(f"no shard of {folder} holds {', '.join(sorted(missing))}")
        flat = {
            "/".join((group, *name)): _room(entry, weights.get(name[0]))
            for (group, *name), entry in found.items()
            if group in groups
        }
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process alone is as good
            dcp.load(flat, storage_reader=reader)
    except dcp.CheckpointException as error:
        raise CheckpointError(f"shards of {folder} could not be read: {_said(error)}") from error
    read: dict[str, dict[str, Tensor]] = {group: {} for group in groups}
    for key, tensor in flat.items():
        group, name = key.split("/", 1)
        read[group][name] = tensor
    return read


def _room(entry: TensorStorageMetadata, weight: Tensor | None) -> Tensor:
    """Room for a tensor, sharded as a weight of its shape is."""
    if isinstance(weight, DTensor) and weight.shape == entry.size:
        return torch.empty_like(weight, dtype=entry.properties.dtype)
    return torch.empty(entry.size, dtype=entry.properties.dtype)


def _said(error: dcp.CheckpointException) -> str:
    """What went wrong on which process, in one line."""
    return "; ".join(f"process {rank}: {one_line(cause)}" for rank, (cause, _) in sorted(error.failures.items()))
