"""Checkpoints that survive anything: staged, synced, sealed with a manifest, renamed into place, verified when read.

``checkpoints/step-00000120/`` holds safetensors and JSON files and a ``manifest.json`` with the size and the sha256 of
each. A folder of that name was complete when it got it: before that it is called ``.staging-…``. The oldest checkpoint
is deleted only when a newer one is in place.
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

FORMAT = "lmu checkpoint 1"
MANIFEST = "manifest.json"
STATE = "state.json"
STAGING = ".staging-"

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint cannot be written, or what was read is not what was written; the message names the file."""


@dataclass
class Checkpoint:
    """What a checkpoint holds.

    Args:
        tensors: groups of named tensors, a file each.
        state: everything else, as JSON has it.
    """

    tensors: dict[str, dict[str, Tensor]]
    state: dict


def save(folder: Path, step: int, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Write a checkpoint, whole or not at all, and delete what is older than the newest ``keep``.

    Raises:
        CheckpointError: a file could not be written; earlier checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{STAGING}*"):  # what an interrupted save left behind
        shutil.rmtree(left)
    final = folder / f"step-{step:08d}"
    staging = folder / f"{STAGING}{final.name}"
    staging.mkdir()
    path = staging
    try:
        for name, tensors in checkpoint.tensors.items():
            path = staging / f"{name}.safetensors"
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
        path = staging / STATE
        path.write_text(json.dumps(checkpoint.state), encoding="utf-8")
        for path in sorted(staging.iterdir()):
            _sync(path)
        path = staging / MANIFEST
        path.write_text(json.dumps(_manifest(staging), indent=2), encoding="utf-8")
        _sync(path)
        _sync(staging)
        if final.exists():  # from before a resume that began earlier
            shutil.rmtree(final)
        staging.rename(final)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise CheckpointError(f"{path.name} of {final} could not be written: {error}") from error
    for old in _steps(folder)[keep:]:
        shutil.rmtree(old)
    return final


def verify(path: Path) -> None:
    """Compare every file of a checkpoint with its manifest.

    Raises:
        CheckpointError: a file is missing, cut short or changed.
    """
    for name, expected in _read_manifest(path).items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing")
        if file.stat().st_size != expected["bytes"]:
            raise CheckpointError(f"{file} has {file.stat().st_size:,} bytes in place of {expected['bytes']:,}")
        with file.open("rb") as stream:
            if file_digest(stream, "sha256").hexdigest() != expected["sha256"]:
                raise CheckpointError(f"{file} is not what was written: its sha256 differs from the manifest's")


def load(path: Path) -> Checkpoint:
    """Read a checkpoint after verifying every byte of it.

    Raises:
        CheckpointError: it is damaged, or not a checkpoint.
    """
    verify(path)
    tensors = {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
    return Checkpoint(tensors, json.loads((path / STATE).read_text(encoding="utf-8")))


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that is as it was written; damaged ones are named in a warning and passed over."""
    for path in _steps(folder):
        try:
            verify(path)
        except CheckpointError as error:
            logger.warning("checkpoint %s is damaged and passed over: %s", path.name, error)
        else:
            return path
    return None


def _steps(folder: Path) -> list[Path]:
    """Checkpoints, newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def _manifest(folder: Path) -> dict:
    files = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as stream:
            files[file.name] = {"bytes": file.stat().st_size, "sha256": file_digest(stream, "sha256").hexdigest()}
    return {"format": FORMAT, "files": files, "seal": _seal(files)}


def _read_manifest(path: Path) -> dict[str, dict]:
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing: {path} is not a checkpoint, or not a whole one") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{file} is not the manifest of a {FORMAT!r}")
    files = manifest.get("files")
    if not isinstance(files, dict) or manifest.get("seal") != _seal(files):
        raise CheckpointError(f"{file} is not what was written: its seal does not fit its list of files")
    return files


def _seal(files: object) -> str:
    """The manifest's own checksum, so that damage to it is not blamed on the files that it lists."""
    return sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    """Have the disk, not only its cache, hold a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
