"""Legendre Memory Units as a Hugging Face model family.

``import lmu_hf`` introduces the family to transformers' Auto classes and pipelines; from then on
``AutoModelForImageClassification.from_pretrained("org/lmu-psmnist")`` and its sisters know it.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

# The Auto classes hold classes, not names that could be looked up later, and transformers has no hook that would ask us
# for them: whoever imports this package gets them at once, and with them torch, which takes seconds. A command alone
# can put that off until its flags are read, since only our code runs in its process: it imports `lmu_hf_cli` first.
if TYPE_CHECKING or "lmu_hf_cli" not in sys.modules:
    from .auto_lmu import *  # noqa: F403  # its __all__ is this package's
    from .auto_lmu import __all__ as _names

    __all__ = [*_names, "__version__"]
else:

    def __getattr__(name: str) -> Any:
        if name.startswith("_"):  # Python asks for `__path__` and the like, which need no torch
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Not `from . import`, which would ask this function for the module.
        return getattr(import_module(".auto_lmu", __name__), name)
