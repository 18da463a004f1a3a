"""What `from_pretrained` accepts: whole, finite weights in safetensors files, and of a body every tensor.

transformers draws fresh numbers for whatever a checkpoint does not hold. Here only a head may be new, or left behind:
that is how a body is fine-tuned, and it is said in one line. Anything else is an error that names the tensors.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel, load_state_dict
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file
from transformers.utils.loading_report import LoadStateDictInfo
from transformers.utils.logging import get_logger

logger = get_logger(PreTrainedModel.__module__)  # where tools look for what loading says

HEADS = (
    "lm_head",
    "classifier",
    "head",
    "votes",
    "alignment",
    "permutation",
    "targets",
)  # of every class, beside its body
WHERE = ("cache_dir", "local_files_only", "proxies", "revision", "subfolder", "token")
NAMED = 5  # tensors in one message
# Whether the caller reads what is missing, `output_loading_info=True`, so that it need not be an error.
_reads_info: ContextVar[bool] = ContextVar("reads_info", default=False)


class CheckedModel(PreTrainedModel):
    """A model that is loaded from nothing but what its class expects."""

    @classmethod
    def from_pretrained(cls, *args, use_safetensors: bool | None = True, output_loading_info: bool = False, **kwargs):
        """As transformers' own, of files and tensors that are all checked.

        Args:
            args: as transformers' own.
            use_safetensors: False reads pickles; otherwise only ``*.safetensors`` files inside the folder are opened.
            output_loading_info: also return which tensors were missing, unexpected or of another shape. Who asks for
                that is told there, and in the log: missing and unexpected tensors are then no error.
            kwargs: as transformers' own. With ``ignore_mismatched_sizes=True`` what does not fit is made anew.

        Raises:
            OSError: a weights file is not there, cannot be read, is no safetensors file or lies outside the folder.
            RuntimeError: a tensor of the body is missing or anything is unexpected, of another shape, of a dtype that
                is not floating, or not finite.
        """
        # None lets transformers fall back to pickles; here only False may.
        use_safetensors = use_safetensors is not False
        name = args[0] if args else kwargs.get("pretrained_model_name_or_path")
        if name is not None and use_safetensors and kwargs.get("gguf_file") is None:
            _check_place(os.fspath(name), kwargs.get("variant"), {key: kwargs[key] for key in WHERE if key in kwargs})
        # transformers calls `_finalize_model_loading` far below, with no argument that says so.
        reading = _reads_info.set(output_loading_info)
        try:
            return super().from_pretrained(
                *args, use_safetensors=use_safetensors, output_loading_info=output_loading_info, **kwargs
            )
        except SafetensorError as error:
            raise OSError(f"the weights of {name} cannot be read: {error}") from error
        finally:
            _reads_info.reset(reading)

    @staticmethod
    def _load_pretrained_model(
        model: PreTrainedModel,
        state_dict: dict | None,
        checkpoint_files: list[str] | None,
        load_config: Any,
        expected_keys: list[str] | None = None,
    ) -> tuple[LoadStateDictInfo, Any]:
        """Read tensors into a model, and check the numbers of all that it took."""
        files = checkpoint_files or []
        is_pickled = load_config.use_safetensors is False and any(not file.endswith(".safetensors") for file in files)
        if state_dict is None and is_pickled:
            # Read here and once: `_tensors` below opens safetensors files only.
            state_dict = {name: tensor for file in files for name, tensor in load_state_dict(file).items()}
        elif state_dict is None:
            check_files(files, load_config.sharded_metadata)
        info, offloaded = PreTrainedModel._load_pretrained_model(
            model, state_dict, checkpoint_files, load_config, expected_keys
        )
        source = state_dict.items() if state_dict is not None else _tensors(files)
        # What is left behind is not used, so its numbers are no fault.
        taken = ((name, tensor) for name, tensor in source if name not in info.unexpected_keys)
        faults = value_faults(model, taken, load_config.dtype, load_config.is_quantized)
        if faults:
            place = load_config.pretrained_model_name_or_path or "state_dict"
            raise RuntimeError(f"{place} holds weights that cannot be used: {_listed(faults)}")
        return info, offloaded

    @staticmethod
    def _finalize_model_loading(
        model: PreTrainedModel, load_config: Any, loading_info: LoadStateDictInfo
    ) -> LoadStateDictInfo:
        """Check the names of what was read before anything is drawn for what was not."""
        # transformers does this last, after it has drawn what is missing: too late to complain.
        model._adjust_missing_and_unexpected_keys(loading_info)
        place = load_config.pretrained_model_name_or_path
        if place is not None or not _is_empty(model, loading_info):
            _speak(model, place or "state_dict", load_config.ignore_mismatched_sizes, loading_info)
        return PreTrainedModel._finalize_model_loading(model, load_config, _Spoken(**vars(loading_info)))


class _Spoken(LoadStateDictInfo):
    """What was found, when it has been said: transformers' own report of it would be a table over many lines."""

    def create_loading_report(self, model: PreTrainedModel | None = None) -> str | None:
        return super().create_loading_report() if self.conversion_errors else None


# --------------------------------------------------------------------------- files


def _check_place(name: str, variant: str | None, where: Mapping[str, Any]) -> None:
    """Refuse what a folder's, or a repository's, index points to, before transformers opens any of it."""
    # With these, cached_file returns None where there is no index, and does not raise.
    quiet = {f"_raise_exceptions_for_{what}": False for what in ("gated_repo", "missing_entries", "connection_errors")}
    folder = Path(name, where.get("subfolder") or "")
    middle = "." if variant is None else f".{variant}."
    # With a variant, model.safetensors becomes model.<variant>.safetensors.
    single, index = (middle.join(file.rsplit(".", 1)) for file in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))
    if Path(name).is_file():
        check_files([name])
    elif (folder / single).is_file():
        check_files([str(folder / single)], folder=folder)
    elif path := cached_file(name, index, **where, **quiet):
        shards = sorted(set(read_index(path).values()))
        if Path(name).is_dir():
            check_files([str(folder / shard) for shard in shards], folder=folder)


def read_index(path: str | os.PathLike) -> dict[str, str]:
    """The file of every tensor of a sharded checkpoint, by the tensor's name.

    Raises:
        OSError: it is no index, or names anything but a safetensors file below its own folder.
    """
    try:
        index = json.loads(Path(path).read_text(encoding="utf-8"))
        shards, _ = dict(index["weight_map"]), dict(index["metadata"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise OSError(f"{path} is no index of safetensors files: {type(error).__name__}: {error}") from error
    for shard in shards.values():
        # On Windows a backslash or a drive letter leads out of the folder, too.
        plain = isinstance(shard, str) and "\\" not in shard and ":" not in shard
        if not plain or not shard.endswith(".safetensors") or {"..", "/"} & set(PurePosixPath(shard).parts):
            raise OSError(f"{path} names {shard!r}: only *.safetensors files inside its folder are read")
    return shards


def check_files(files: Sequence[str], sharded: Mapping[str, Any] | None = None, folder: Path | None = None) -> None:
    """Check that weights files are there, are whole safetensors files, and hold what their index says.

    Args:
        files: their paths.
        sharded: what transformers read from their index, if there is one.
        folder: where they must lie; None for anywhere.

    Raises:
        OSError: a file is none of this; the message names it.
    """
    found: set[str] = set()
    for file in files:
        if not file.endswith(".safetensors"):
            raise OSError(f"{file} is no safetensors file: it is read only with use_safetensors=False")
        if not Path(file).is_file():
            raise OSError(f"{file} is not there")
        if folder is not None and not any(Path(file).resolve().is_relative_to(root) for root in _roots(folder)):
            raise OSError(f"{file} is a link to {Path(file).resolve()}, outside its folder: put the file itself there")
        try:
            with safe_open(file, framework="pt") as opened:
                found.update(opened.keys())
        except (SafetensorError, OSError) as error:
            raise OSError(f"{file} cannot be read as a safetensors file: {error}") from error
    if sharded is not None and (odd := set(sharded.get("weight_map", found)) ^ found):
        raise OSError(f"the index beside {files[0]} and the files that it names differ in {_listed(sorted(odd))}")


def _roots(folder: Path) -> list[Path]:
    """Where a folder's files may really lie: in it, or, as links of the Hub's cache do, in that cache."""
    folder = folder.resolve()
    # In the Hub's cache, models--owner--name/snapshots/<commit>/<file> is a link into models--owner--name/blobs.
    repositories = [up.parent for up in folder.parents if up.name == "snapshots"]
    caches = [repository.parent for repository in repositories if repository.name.startswith("models--")]
    return [folder, Path(HF_HUB_CACHE).resolve(), *caches]


def _tensors(files: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  no mapping, has no __iter__
                yield name, opened.get_tensor(name)


# --------------------------------------------------------------------------- tensors


def value_faults(
    model: PreTrainedModel, tensors: Iterable[tuple[str, Tensor]], dtype: torch.dtype | None, is_quantized: bool
) -> list[str]:
    """What is wrong with the numbers of a checkpoint, a few words for each tensor.

    Args:
        model: what takes them.
        tensors: by name.
        dtype: what floating-point numbers are rounded to.
        is_quantized: whether weights may be integers.
    """
    # The family's only integers are permutations, such as the order of pixels.
    indices = {name for name, held in model.state_dict().items() if not held.is_floating_point()}
    kept = set(model._keep_in_fp32_modules_strict or ())
    faults = []
    for name, tensor in tensors:
        if tensor.is_meta or (is_quantized and not tensor.is_floating_point()):
            continue
        if name in indices and not is_quantized:
            if sorted(tensor.flatten().tolist()) != list(range(tensor.numel())) or tensor.is_floating_point():
                faults.append(f"{name} must hold each of 0 … {tensor.numel() - 1} once, as integers")
        elif not tensor.is_floating_point():
            faults.append(f"{name} is {tensor.dtype}, not floating point")
        elif (
            not tensor.to(read := torch.float32 if kept & {*name.split(".")} else dtype or torch.float32)
            .isfinite()
            .all()
        ):
            faults.append(f"{name} is not finite in {read}")  # 1e5 is finite, but not in float16
    return faults


def _is_empty(model: PreTrainedModel, info: LoadStateDictInfo) -> bool:
    """Whether there was nothing at all to read, as where ``state_dict={}`` asks for a fresh model."""
    return not info.unexpected_keys and not info.mismatched_keys and info.missing_keys == set(model.state_dict())


def _speak(model: PreTrainedModel, place: str, loose: bool, info: LoadStateDictInfo) -> None:
    """Raise for what must not be, and log in one line what may."""
    faults, new = name_faults(model, loose, info)
    shapes = [f"{name} {tuple(there)} for {tuple(here)}" for name, there, here in sorted(info.mismatched_keys)]
    if shapes and not loose:
        faults.append(f"of another shape: {_listed(shapes)} (ignore_mismatched_sizes=True makes such weights anew)")
    if faults and (not _reads_info.get() or (shapes and not loose)):
        raise RuntimeError(f"{place} does not hold the weights of {type(model).__name__}: {'; '.join(faults)}")
    left = sorted({name.partition(".")[0] for name in info.unexpected_keys} & set(HEADS))
    said = [f"new: {', '.join(new)}"] if new else []
    said += [f"left behind: {', '.join(left)}"] if left else []
    said += [f"Reinit due to size mismatch: {_listed(shapes)}"] if shapes else []
    if said + faults:
        logger.warning("%s from %s: %s", type(model).__name__, place, "; ".join(said + faults))


def name_faults(model: PreTrainedModel, loose: bool, info: LoadStateDictInfo) -> tuple[list[str], list[str]]:
    """What of a checkpoint's names must not be, in words; and which parts of the head are new.

    A head is new or left behind as a whole. A checkpoint with the model's own head is one of its class, where nothing
    may be left behind.

    Args:
        model: what was loaded.
        loose: ``ignore_mismatched_sizes=True``: parts of heads may be new or left behind too.
        info: what transformers found.
    """
    body = f"{model.base_model_prefix}." if hasattr(model, model.base_model_prefix) else ""
    parts: dict[str, set[str]] = {}
    for name in model.state_dict():
        if not name.startswith(body):
            parts.setdefault(name.partition(".")[0], set()).add(name)
    missing = _untied(model, info.missing_keys)
    new = [part for part, names in parts.items() if names <= missing]
    present = any(names - info.missing_keys for names in parts.values())
    gone = {name for name in missing if name.startswith(body)}
    if not loose:
        gone |= {name for part, names in parts.items() if part not in new for name in names & missing}
    may_leave = HEADS if loose or not present else ()
    odd = {name for name in info.unexpected_keys if name.partition(".")[0] not in may_leave}
    faults = [f"{word}: {_listed(sorted(names))}" for word, names in (("missing", gone), ("unexpected", odd)) if names]
    return faults, new


def _untied(model: PreTrainedModel, missing: set[str]) -> set[str]:
    """Missing tensors without those that are the same as one that is there."""
    tied = dict(getattr(model, "all_tied_weights_keys", {}))
    groups: dict[str, set[str]] = {}
    for target, source in tied.items():
        groups.setdefault(source, {source}).add(target)
    # A checkpoint holds one tensor of a tied group: the group is missing only if all of it is.
    return {name for name in missing if (group := groups.get(tied.get(name, name))) is None or group <= missing}


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
