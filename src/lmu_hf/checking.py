"""Complaints about what a model is given, inputs, labels and checkpoints, that name the place and say what to do.

transformers draws fresh numbers for whatever a checkpoint does not hold. Here only a head may be new, or left behind:
that is how a body is fine-tuned, and it is said in one line. Anything else is an error that names the tensors.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch._subclasses import FakeTensor
from transformers.modeling_utils import PreTrainedModel, load_state_dict
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file
from transformers.utils.loading_report import LoadStateDictInfo
from transformers.utils.logging import get_logger

logger = get_logger(PreTrainedModel.__module__)  # where tools look for what loading says

IGNORED = -100  # a label where there is nothing to learn, in every head; Trainer counts all the others
STEPS = ("row", "step", "channel")  # axes of a signal
IMAGES = ("image", "channel", "row", "column")
MISSING = "mask the step (attention_mask 0) or fill the gap first, as a memory would spread it over every later step"
UNKNOWN = f"give {IGNORED} where there is nothing to learn"
# The parts of every class beside its body.
HEADS = ("lm_head", "classifier", "head", "votes", "alignment", "permutation", "targets", "signals")
WHERE = ("cache_dir", "local_files_only", "proxies", "revision", "subfolder", "token")
NAMED = 5  # tensors in one message
# Whether the caller reads what is missing, `output_loading_info=True`, so that it need not be an error.
_reads_info: ContextVar[bool] = ContextVar("reads_info", default=False)
_untrained: ContextVar[Set[str]] = ContextVar("untrained", default=frozenset())  # names of weights, as they were made


def check_tensors(**given: object) -> None:
    """Complain about what is neither a tensor nor None.

    Raises:
        TypeError: there is something; the argument is named.
    """
    for name, value in given.items():
        if value is not None and not isinstance(value, Tensor):
            # A tokenizer's BatchEncoding is one: the usual slip is model(batch) for model(**batch).
            remedy = f"what it holds by name, as **{name}" if isinstance(value, Mapping) else f"torch.as_tensor({name})"
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}: give {remedy}")


def check_mask(name: str, mask: Tensor) -> None:
    """Refuse what is neither 0 nor 1, as the 0.5 of a weight and the −1e9 of an additive mask, where readable.

    Raises:
        ValueError: something is; the first is named, and where it stands.
    """
    if mask.dtype != torch.bool and is_readable(mask) and bool((wrong := (mask != 0) & (mask != 1)).any()):
        value, place = _first(mask, wrong, STEPS)
        raise ValueError(f"{name} holds {value} at {place}: give 1 where something is real and 0 where it is not")


def check_steps(**given: object) -> None:
    """Complain about what is neither a tensor (batch, time, …) of at least one sequence of at least one step nor None.

    Raises:
        TypeError: something is no tensor; the argument is named.
        ValueError: its shape is another.
    """
    check_tensors(**given)
    for name, shape in ((name, tuple(value.shape)) for name, value in given.items() if isinstance(value, Tensor)):
        if len(shape) < 2:
            raise ValueError(f"{name} must be (batch, time), got {shape}: of a single sequence, give {name}[None]")
        if 0 in shape[:2]:
            remedy = "a prompt is at least one token, such as bos_token_id"
            raise ValueError(f"{name} must hold at least one sequence of at least one step, got {shape}: {remedy}")


def is_readable(x: Tensor) -> bool:
    """Whether a check may look at the numbers of x.

    Not off the CPU, where the host would wait for the device at every call; nor while a graph is traced or a
    ``torch.func`` transform runs, where there are no numbers yet.
    """
    is_there = x.device.type == "cpu" and not torch.compiler.is_compiling()
    return is_there and not isinstance(x, FakeTensor) and not torch._C._functorch.is_functorch_wrapped_tensor(x)


def check_finite(
    name: str, values: Tensor, axes: Sequence[str] = STEPS, real: Tensor | None = None, remedy: str = MISSING
) -> None:
    """Refuse NaN and infinities, except where nothing exists; only where :func:`is_readable`.

    Args:
        name: of the argument.
        values: (b, n, …) or any other shape.
        axes: what each axis counts.
        real: true where there is something, of the shape of ``values`` or of its first axes; None for everywhere.
        remedy: what to do about it.

    Raises:
        TypeError: numbers are complex.
        ValueError: a number is not finite; the first is named, and where it stands.
    """
    if values.is_complex():
        raise TypeError(f"{name} must hold real numbers, got {values.dtype}")
    if not is_readable(values):
        return
    values = values.detach()
    if math.isfinite(values.sum()):  # the cheapest pass; a sum that is not may have overflowed, so only it is looked at
        return
    wrong = ~values.isfinite()
    if real is not None:
        # A mask (b, n) against values (b, n, …): axes of size 1 stand for those that it lacks.
        wrong &= real.bool().view(*real.shape, *[1] * (values.ndim - real.ndim))
    if bool(wrong.any()):
        value, place = _first(values, wrong, axes)
        raise ValueError(f"{name} must be finite, got {value} at {place}: {remedy}")


def check_class_ids(labels: Tensor, classes: int, limit: str, axes: Sequence[str]) -> None:
    """Refuse what is not an id of a class, nor −100; their range only where :func:`is_readable`.

    Args:
        labels: of any shape.
        classes: how many there are.
        limit: the config's word for that.
        axes: what each axis of ``labels`` counts.

    Raises:
        TypeError: labels are no tensor of int64.
        ValueError: one is out of range.
    """
    check_tensors(labels=labels)
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64 class ids, got {labels.dtype}")
    check_range(labels, classes - 1, limit, axes)


def check_range(labels: Tensor, largest: int, limit: str, axes: Sequence[str]) -> None:
    """Refuse labels other than 0 … ``largest`` and −100, where :func:`is_readable`; arguments as above.

    Raises:
        ValueError: one is out of range; the first is named, and where it stands.
    """
    if is_readable(labels) and bool((wrong := ((labels < 0) & (labels != IGNORED)) | (labels > largest)).any()):
        value, place = _first(labels, wrong, axes)
        raise ValueError(f"labels hold {value}, outside 0 … {largest} ({limit}), at {place}: {UNKNOWN}")


def _first(values: Tensor, wrong: Tensor, axes: Sequence[str]) -> tuple[str, str]:
    """The first of the wrong values, and where it stands."""
    place = wrong.nonzero()[0].tolist()
    value = values[tuple(place)].item()
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    # strict=False: values may have fewer axes than there are names, as labels (b,) do.
    return shown, ", ".join(f"{axis} {at}" for axis, at in zip(axes, place, strict=False))


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
            _check_files(files, load_config.sharded_metadata)
        _untrained.set({name for name, held in model.named_parameters() if not held.requires_grad})
        info, offloaded = PreTrainedModel._load_pretrained_model(
            model, state_dict, checkpoint_files, load_config, expected_keys
        )
        source = state_dict.items() if state_dict is not None else _tensors(files)
        # What is left behind is not used, so its numbers are no fault.
        taken = ((name, tensor) for name, tensor in source if name not in info.unexpected_keys)
        if faults := _value_faults(model, taken, load_config.dtype, load_config.is_quantized):
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
        # state_dict={} asks for a model of which all is new.
        if place or loading_info.unexpected_keys or loading_info.missing_keys != set(model.state_dict()):
            _speak(model, place or "state_dict", load_config.ignore_mismatched_sizes, loading_info)
        info = PreTrainedModel._finalize_model_loading(model, load_config, _Spoken(**vars(loading_info)))
        for name, held in model.named_parameters():  # transformers asks for a gradient of all that it makes
            held.requires_grad_(held.requires_grad and name not in _untrained.get())
        return info


class _Spoken(LoadStateDictInfo):
    """What was found, when it has been said: transformers' own report of it would be a table over many lines."""

    def create_loading_report(self, model: PreTrainedModel | None = None) -> str | None:
        return super().create_loading_report() if self.conversion_errors else None


def _check_place(name: str, variant: str | None, where: Mapping[str, Any]) -> None:
    """Refuse what a folder's, or a repository's, index points to, before transformers opens any of it."""
    # With these, cached_file returns None where there is no index, and does not raise.
    quiet = {f"_raise_exceptions_for_{what}": False for what in ("gated_repo", "missing_entries", "connection_errors")}
    folder = Path(name, where.get("subfolder") or "")
    middle = "." if variant is None else f".{variant}."
    # With a variant, model.safetensors becomes model.<variant>.safetensors.
    single, index = (middle.join(file.rsplit(".", 1)) for file in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))
    if Path(name).is_file():
        _check_files([name])
    elif (folder / single).is_file():
        _check_files([str(folder / single)], folder=folder)
    elif path := cached_file(name, index, **where, **quiet):
        shards = sorted(set(read_index(path).values()))
        if Path(name).is_dir():
            _check_files([str(folder / shard) for shard in shards], folder=folder)


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


def _check_files(files: Sequence[str], sharded: Mapping[str, Any] | None = None, folder: Path | None = None) -> None:
    """Check that files are there, in ``folder`` if one is given, are safetensors, and hold what their index says.

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


def _value_faults(
    model: PreTrainedModel, tensors: Iterable[tuple[str, Tensor]], dtype: torch.dtype | None, is_quantized: bool
) -> list[str]:
    """What is wrong with a checkpoint's numbers, rounded to ``dtype``; quantised weights may be integers."""
    integers = {name for name, held in model.state_dict().items() if not held.is_floating_point()}
    kept = set(model._keep_in_fp32_modules_strict or ())
    faults = []
    for name, tensor in tensors:
        if tensor.is_meta or (is_quantized and not tensor.is_floating_point()):
            continue
        if name in integers and not is_quantized:
            module: Any = model.get_submodule(name.rpartition(".")[0])  # knows what its integers may be
            if fault := module.find_integer_fault(tensor):
                faults.append(f"{name} {fault}")
        elif not tensor.is_floating_point():
            faults.append(f"{name} is {tensor.dtype}, not floating point")
        else:
            read = torch.float32 if kept & {*name.split(".")} else dtype or torch.float32
            if not tensor.to(read).isfinite().all():  # 1e5 is finite, but not in float16
                faults.append(f"{name} is not finite in {read}")
    return faults


def _speak(model: PreTrainedModel, place: str, loose: bool, info: LoadStateDictInfo) -> None:
    """Raise for what must not be, and log in one line what may."""
    faults, new = _name_faults(model, loose, info)
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


def _name_faults(model: PreTrainedModel, loose: bool, info: LoadStateDictInfo) -> tuple[list[str], list[str]]:
    """What of a checkpoint's names must not be, in words; and which parts of the head are new.

    A head is new or left behind as a whole. A checkpoint with the model's own head is one of its class, where nothing
    may be left behind.
    With ``loose``, ``ignore_mismatched_sizes=True``, parts of heads may be new or left behind, too.
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
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
