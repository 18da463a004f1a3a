"""What some builds of torch, above all 2.7, the oldest, cannot do; docs/versions.md says it to users."""

from typing import Any

import pytest
import torch

IS_2_7 = torch.__version__.startswith("2.7.")
has_no_driver = torch.version.cuda is not None and not torch.cuda.is_available()

# torch.Stream() of a CUDA build looks for a driver; transformers' offloaded caches make one.
offloads = pytest.mark.skipif(has_no_driver, reason="a CUDA build of torch needs a driver to offload a cache")
# A compiled function is tied to the very tensors that were marked as static, so to one cache.
reuses_compiled = pytest.mark.skipif(IS_2_7, reason="torch 2.7 compiles a step anew for each new cache")
# A guard of a compiled function compares what the mode, which notes calls, had noted when it was compiled.
compiles_in_modes = pytest.mark.skipif(IS_2_7, reason="torch 2.7 ties a compiled function to the state of modes")
# The scan of torch 2.7 knows no gradient of where it starts, and cannot be exported.
scans = pytest.mark.skipif(IS_2_7, reason="torch 2.7 has a scan without all gradients")
# A strict export of torch 2.7 takes no tensor that is neither an input nor part of a module.
exports_strictly = pytest.mark.skipif(IS_2_7, reason="torch 2.7 exports constants only with strict=False")
has_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9")


def marked(cases: dict[str, Any], names: set[str], mark: pytest.MarkDecorator) -> list:
    """Parameters of a test, some of which have a mark."""
    return [pytest.param(case, id=name, marks=mark if name in names else ()) for name, case in cases.items()]
