"""A saved folder that brings its code: transformers then loads it where this package is not installed.

Transformers calls that remote code. ``auto_map`` in ``config.json`` says which class of which file answers for an Auto
class; the files lie beside the weights, and whoever loads the folder says ``trust_remote_code=True``.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from transformers.dynamic_module_utils import custom_object_save
from transformers.modeling_utils import PreTrainedModel

# `transformers serve` looks an architecture up among transformers' own classes, but asks this Auto class before that.
SERVED_BY = {"AutoModelForCausalLM": "AutoModelForDecision"}


class CodeCarrier(PreTrainedModel):
    """A model that can be saved with its code.

    Attributes:
        loaded_by: the Auto class that loads it.
    """

    loaded_by: ClassVar[str] = "AutoModel"

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        *args: Any,
        with_code: bool = False,
        **kwargs: Any,
    ) -> None:
        """As transformers' own, with the model's code if it is asked for.

        A class that ``register_for_auto_class`` was called on brings its code at every save, as in transformers; so
        does one that was loaded as remote code.

        Args:
            save_directory: the folder.
            is_main_process: whether this process writes what all processes share.
            args, kwargs: as transformers' own.
            with_code: also write the Python files of the model, and say in ``config.json`` what is in them.
        """
        carries = with_code or self._auto_class is not None
        if carries and is_main_process:
            copy_code(self, save_directory)
        with naming(self.config, auto_map_of(self) if carries else {}):
            super().save_pretrained(save_directory, is_main_process, *args, **kwargs)


def auto_map_of(model: CodeCarrier) -> dict[str, str]:
    """Which class of which file answers for an Auto class, of a model's folder."""
    return references(type(model.config), type(model.base_model), type(model))


def references(config: type, body: type, head: type[CodeCarrier]) -> dict[str, str]:
    """``auto_map`` of a folder whose checkpoint has this head on this body."""
    classes = {"AutoConfig": config, "AutoModel": body, head.loaded_by: head}
    if head.loaded_by in SERVED_BY:
        classes[SERVED_BY[head.loaded_by]] = head
    return {name: reference(target) for name, target in classes.items()}


def reference(target: type) -> str:
    """A class by its file and name: files lie flat in a folder, lmu_hf.modeling_lmu is modeling_lmu there."""
    return f"{target.__module__.rpartition('.')[2]}.{target.__name__}"


def copy_code(thing: object, folder: str | os.PathLike) -> None:
    """Copy the file that defines a thing's class, and all that it imports by ``from .name import``, into a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    custom_object_save(thing, folder)


@contextmanager
def naming(holder: Any, auto_map: Mapping[str, str]) -> Iterator[None]:
    """Within the block, what is saved of a config or a processor names this code.

    Of what it names by itself, only code in repositories is kept (``org/name--file.Class``): files beside the weights
    that it was loaded from do not come along.
    """
    before = vars(holder).get("auto_map")
    kept = {name: place for name, place in (before or {}).items() if "--" in str(place)}
    if found := dict(auto_map) or kept:
        holder.auto_map = found
    elif before is not None:
        del holder.auto_map
    try:
        yield
    finally:
        if before is not None:
            holder.auto_map = before
        elif found:
            del holder.auto_map
