"""Checkpoints that survive anything: staged, synced, sealed with a manifest, renamed into place, verified when read.

``checkpoints/step-00000120/`` holds safetensors and JSON files and a ``manifest.json`` with the size and the sha256 of
each. A folder of that name was complete when it got it: before that it is called ``.staging-…``. The oldest checkpoint
is deleted only when a newer one is in place. Of a sharded model, each process has written a file of its own
(:mod:`~lmu_hf.training.shards`).
"""

import json
import logging
import os
import shutil
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..common.finite import first_not_finite

FORMAT = "lmu checkpoint 2"  # a reader refuses any other
MANIFEST = "manifest.json"
STATE = "state.json"
TENSORS = ".safetensors"
STAGING = ".staging-"
SHARD = "shard-"  # begins the name of a file that one process wrote of a sharded model

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint cannot be written, or what was read is not what was written; the message names the file."""


@dataclass
class Checkpoint:
    """What a checkpoint holds.

    Args:
        tensors: groups of named tensors, a file each; of a sharded model those alone that are not in shards.
        state: everything else, as JSON has it.
    """

    tensors: dict[str, dict[str, Tensor]]
    state: dict


def group_not_finite(groups: dict[str, dict[str, Tensor]]) -> str | None:
    """The name of the first tensor that is not finite, and of its group; of a shard each process looks at its own."""
    found = ((first_not_finite(tensors), group) for group, tensors in groups.items())
    return next((f"{name} ({group}) is not finite" for name, group in found if name is not None), None)


def save(folder: Path, step: int, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Write a checkpoint, whole or not at all, read it back, and delete what is older than the newest ``keep``.

    Raises:
        FloatingPointError: a tensor holds NaN or an infinity; nothing is written.
        CheckpointError: a file could not be written; earlier checkpoints are untouched.
    """
    if found := group_not_finite(checkpoint.tensors):
        raise FloatingPointError(found)
    return seal(stage(folder, step), checkpoint, keep)


def stage(folder: Path, step: int) -> Path:
    """An empty folder to write a checkpoint in until :func:`seal` gives it its name.

    Raises:
        CheckpointError: it could not be made.
    """
    staging = folder / f"{STAGING}step-{step:08d}"  # padded with zeros, so that names sort as steps do
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{STAGING}*"):  # what an interrupted save left behind
            shutil.rmtree(left)
        staging.mkdir()
    except OSError as error:
        raise CheckpointError(f"{staging} could not be written: {error}") from error
    return staging


def seal(staging: Path, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Write a checkpoint beside what its staging folder holds already, and give it its name; on one process.

    Args:
        staging: from :func:`stage`.
        checkpoint: of finite tensors.
        keep: how many checkpoints are left.

    Raises:
        CheckpointError: a file could not be written; earlier checkpoints are untouched.
    """
    folder, final, path = staging.parent, staging.parent / staging.name.removeprefix(STAGING), staging
    try:
        for name, tensors in checkpoint.tensors.items():
            path = staging / f"{name}{TENSORS}"
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)  # it refuses strides
        path = staging / STATE
        path.write_text(json.dumps(checkpoint.state), encoding="utf-8")
        # The manifest comes last: what it lists is on the disk by then. `path` is what an error below names.
        for path in sorted(staging.iterdir()):
            _sync(path)
        path = staging / MANIFEST
        path.write_text(json.dumps(_manifest(staging), indent=2), encoding="utf-8")
        _sync(path)
        _sync(staging)  # the names in the folder, after the contents
        if final.exists():  # from before a resume that began earlier
            shutil.rmtree(final)
        # Atomic: the name appears with all of its files or not at all. It is on the disk once the parent is synced.
        staging.rename(final)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise CheckpointError(f"{path.name} of {final} could not be written: {error}") from error
    # Read back before an older one goes: a full or failing disk may not have kept what it took.
    verify(final)
    _delete_old(folder, final, keep)
    return final


def verify(path: Path) -> dict[str, dict]:
    """Compare every file of a checkpoint with its manifest, which is given back.

    Raises:
        CheckpointError: a file is missing, cannot be read, is cut short or changed.
    """
    files = _read_manifest(path)
    for name, expected in files.items():
        file = path / name
        try:
            # The size first: a file cut short need not be hashed.
            size = file.stat().st_size
            if size != expected["bytes"]:
                raise CheckpointError(f"{file} has {size:,} bytes in place of {expected['bytes']:,}")
            with file.open("rb") as stream:
                if file_digest(stream, "sha256").hexdigest() != expected["sha256"]:
                    raise CheckpointError(f"{file} is not what was written: its sha256 differs from the manifest's")
        except FileNotFoundError as error:
            raise CheckpointError(f"{file} is missing") from error
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error}") from error
    return files


def load(path: Path) -> Checkpoint:
    """Read the files that a checkpoint's manifest lists, and no others, after verifying every byte of them.

    Shards are verified and left to :func:`~lmu_hf.training.shards.read_shards`, which looks for them by their names.

    Raises:
        CheckpointError: the folder is no checkpoint, damaged, or has shards beside those that it was written with.
    """
    files = verify(path)
    for shard in path.glob(f"{SHARD}*{TENSORS}"):
        if shard.name not in files:
            raise CheckpointError(f"{shard} is not of the checkpoint that it lies in: delete it")
    tensors, state = {}, None
    for name in files:
        if name.startswith(SHARD):
            continue
        try:
            if name == STATE:
                state = json.loads((path / name).read_text(encoding="utf-8"))
            else:
                tensors[name.removesuffix(TENSORS)] = load_file(path / name)  # no pickle: a checkpoint cannot run code
        except (OSError, ValueError, RecursionError, SafetensorError) as error:
            raise CheckpointError(f"{path / name} cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} lacks a {STATE} that says how far its run had come")
    return Checkpoint(tensors, state)


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that is as it was written; damaged ones are named in a warning and passed over."""
    for path in steps(folder):
        try:
            verify(path)
        except CheckpointError as error:
            pass_over(path, error)
        else:
            return path
    return None


def steps(folder: Path) -> list[Path]:
    """What lies there under a checkpoint's name, good or damaged, the newest first."""
    return sorted(folder.glob("step-" + 8 * "[0-9]"), reverse=True)


def pass_over(path: Path, error: CheckpointError) -> None:
    """Warn of a damaged checkpoint, which is left where it is."""
    logger.warning("checkpoint %s is damaged and passed over: %s", path.name, error)


def _delete_old(folder: Path, final: Path, keep: int) -> None:
    """Delete what is older than the newest ``keep`` good checkpoints, of which the one just written is one.

    A damaged checkpoint counts for nothing: it is deleted once enough good ones are newer, and no good one makes way
    for it.
    """
    kept = [final]
    for path in steps(folder):
        if path == final:
            continue
        try:
            # Newest first, so by here enough good ones are newer.
            if len(kept) >= keep:
                shutil.rmtree(path)
            elif _is_good(path):
                kept.append(path)
        except OSError as error:
            logger.warning("checkpoint %s is no longer needed and could not be deleted: %s", path, error)


def _is_good(path: Path) -> bool:
    try:
        verify(path)
    except CheckpointError:
        return False
    return True


def _manifest(folder: Path) -> dict:
    files = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as stream:
            files[file.name] = {"bytes": file.stat().st_size, "sha256": file_digest(stream, "sha256").hexdigest()}
    return {"format": FORMAT, "files": files, "seal": _seal(files)}


def _read_manifest(path: Path) -> dict[str, dict]:
    """The files that a checkpoint is made of: of each its size and its sha256.

    Raises:
        CheckpointError: there is no such list, or it is not one that :func:`save` wrote.
    """
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing: {path} is not a checkpoint, or not a whole one") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{file} is not the manifest of a {FORMAT!r}")
    files = manifest.get("files")
    if not isinstance(files, dict) or manifest.get("seal") != _seal(files):
        raise CheckpointError(f"{file} is not what was written: its seal does not fit its list of files")
    if STATE not in files or not all(_is_entry(name, expected) for name, expected in files.items()):
        raise CheckpointError(f"{file} does not list a checkpoint's files with their size and sha256")
    return files


def _is_entry(name: str, expected: object) -> bool:
    """Whether a manifest's line names a file beside it, of a kind that :func:`save` writes, and says what it holds."""
    # A name with a folder in it could point anywhere on the disk.
    plain = Path(name).name == name and (name == STATE or name.endswith(TENSORS))
    # By `type`, since JSON's true is an int to `isinstance`.
    kinds = {key: type(value) for key, value in expected.items()} if isinstance(expected, dict) else {}
    return plain and kinds == {"bytes": int, "sha256": str}


def _seal(files: object) -> str:
    """The manifest's own checksum, so that damage to it is not blamed on the files that it lists."""
    return sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()  # the order in the file must not matter


def _sync(path: Path) -> None:
    """Have the disk, not only its cache, hold a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # of a folder: its list of names
    finally:
        os.close(descriptor)
