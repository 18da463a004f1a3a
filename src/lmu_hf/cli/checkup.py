"""What this installation is: versions, processor, products, extras; and whether the memory computes as it should."""

import platform
import re
import time
from pathlib import Path

import torch

from ..common.errors import InputError
from ..common.products import VARIABLE, describe
from ..common.record import describe_hardware, installed_versions
from ..memory import MEMORY_FORMS
from ..statespace import LegendreSystem, continuous_system, discretize_zoh
from .extras import PROJECT, extras, missing

BOUND = 1e-5  # of the largest number; what float32 gives here is 1e-6 and less
STEPS, ORDER, THETA = 500, 32, 200.0


def check_up() -> None:
    """Print it all.

    Raises:
        InputError: LMU_HF_MATMUL names no route of products, or a form of the memory is further from the loop than
            float32 allows.
    """
    versions = installed_versions()
    print("versions   " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    hardware = describe_hardware()
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"processor  {processor()}, {hardware['machine']}; torch computes with {capability}")
    print(f"threads    {hardware['threads']} of {hardware['cores']} cores (OMP_NUM_THREADS sets them)")
    print(f"devices    {', '.join(['cpu', *accelerators()])}")
    print(products_line())
    for line in extra_lines():
        print(line)
    start = time.perf_counter()
    differences = self_test()
    errors = ", ".join(f"{form} {difference:.0e}" for form, difference in differences.items())
    print(f"memory     largest difference from a float64 loop: {errors} ({time.perf_counter() - start:.1f} s)")
    worst = max(differences, key=differences.__getitem__)
    if not differences[worst] < BOUND:  # NaN is not below it either
        raise InputError(f"the form {worst!r} of the memory is off by {differences[worst]:.0e}, more than {BOUND:.0e}")
    print(f"           all below {BOUND:.0e}: the memory computes here what it should")


def processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")  # Linux, where `platform.processor` is empty
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def accelerators() -> list[str]:
    """The accelerators that torch can use."""
    found = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def products_line() -> str:
    """Which library multiplies float32 matrices in training, and how fast each one does here."""
    told, found = describe(), re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    libraries = {"torch": found[1].upper() if found else "torch's own", "onednn": "oneDNN"}
    speeds = [
        f"{libraries[m['route']]} {m['gflops']:.0f} GFLOP/s{'' if m['exact'] else ', which is less exact'}"
        for m in told["measured"]
    ]
    asked = f"{VARIABLE}={told['asked']}"
    return f"products   of float32 matrices by {libraries[told['route']]} ({asked}); measured: {'; '.join(speeds)}"


def extra_lines() -> list[str]:
    """A line for each extra: installed, or what is missing and the command that brings it."""
    if not (names := extras()):
        return [f"extras     unknown: {PROJECT} runs from a source tree that pip has not installed"]
    lines = []
    for name in names:
        if name == "dev":  # of those who work on the package itself
            continue
        lacking = missing(name)
        state = f"missing {', '.join(lacking)}: pip install '{PROJECT}[{name}]'" if lacking else "installed"
        lines.append(f"extra      {name}: {state}")
    return lines


def self_test() -> dict[str, float]:
    """Of each form of the memory that gives every state, its largest error in float32, in units of the largest number.

    The judge is equation (19) as a plain loop in float64, written out here from the discretised matrices.
    """
    system = LegendreSystem(ORDER, THETA)
    u = torch.randn(2, STEPS, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A_bar, B_bar = discretize_zoh(*continuous_system(ORDER, THETA))
    memory, states = u.new_zeros(2, 3, ORDER), []
    for step in u.unbind(1):
        memory = memory @ A_bar.T + step[..., None] * B_bar
        states.append(memory)
    judge = torch.stack(states, dim=1)
    forms = ("recurrent", "toeplitz", "fft", "chunked", "scanned", "final")
    found = {form: MEMORY_FORMS[form](u.float(), system)[0].double() for form in forms}
    return {form: float((m - judge[:, -m.shape[1] :]).abs().max() / judge.abs().max()) for form, m in found.items()}
