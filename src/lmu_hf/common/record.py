"""What a run writes down, and how it is read back: ``run.json`` and ``metrics.jsonl``.

Cards, README tables and plots read these files and nothing else.
"""

import json
import os
import platform
import re
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedConfig

from ..configuration_lmu import LMUConfig
from .places import plain_command
from .staging import append_text, write_text, written_whole

OUTCOME = {"outcome": True}  # of a field: what came of a run, or where it ran; every other field decides its numbers
LIBRARIES = {
    "mkl": r"Math Kernel Library Version (\S+)",
    "onednn": r"MKL-DNN v(\S+)",
}  # in what torch says of its build
INSTRUCTIONS: tuple[str, ...] = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
)
INSTRUCTIONS += ("bf16", "i8mm")  # of Arm
RECORDED_PACKAGES = ("lmu-hf", "torch", "transformers", "accelerate", "datasets", "numpy")


@dataclass
class RunRecord:
    """One training run, as its ``run.json`` holds it.

    What identifies a run is every field that is not an outcome (:mod:`lmu_hf.training.identity`). Three of them are
    taken from the task and the model themselves: ``options``, the task's plain attributes; ``inputs``, a digest of the
    first rows as the model gets them; ``initial_model``, a digest of the config and the weights that training begins
    with. Records of earlier versions lack them.

    What a run is, it says itself, and no reader has to guess it from a name: ``head``, the model's class; ``task``, the
    Hub's word for what that does; ``problem_type``, as a config has it; and of a baseline, ``baseline``, what was
    trained in the Legendre memory's place (``"lstm"``), and ``baseline_of``, the recipe that it is compared with. Of an
    LMU both are None. ``data`` holds, where there is one, the ``dataset`` of the Hub, its ``dataset_config``, and an
    ``example``, an input to try the model on, and a ``title``, what the run is called after. ``details`` holds, of each
    split that was scored, a table of its classes and the like; ``lines`` the scores that the model must beat, by name
    and split, and ``parts`` those of its parts alone; ``reasons``, why a recipe that the rows made is what it is.
    """

    recipe: str
    task: str
    head: str
    data: dict
    seed: int
    hyperparameters: dict
    architecture: dict
    parameters: dict[str, int]
    processes: int = 1
    mixed_precision: str = "no"
    torch_compile: bool = False
    sequence_parallel: bool = False  # every process read a part of each row, in place of rows of its own
    metric: str = "accuracy"
    problem_type: str | None = None
    baseline: str | None = None
    baseline_of: str | None = None
    scorer: str = field(default="", metadata=OUTCOME)  # it holds the version of what scores
    options: dict | None = None
    inputs: str | None = None
    initial_model: str | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict, metadata=OUTCOME)
    lines: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict, metadata=OUTCOME)
    parts: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict, metadata=OUTCOME)
    reasons: dict[str, str] = field(default_factory=dict, metadata=OUTCOME)
    details: dict[str, dict] = field(default_factory=dict, metadata=OUTCOME)
    best_step: int = field(default=0, metadata=OUTCOME)
    best_epoch: float = field(default=0, metadata=OUTCOME)
    steps: int = field(default=0, metadata=OUTCOME)
    wall_seconds: float = field(default=0.0, metadata=OUTCOME)
    compile_seconds: float = field(default=0.0, metadata=OUTCOME)  # of these, spent in torch's compiler
    # The route of float32 products, which a resumed run keeps; and the speed and error of each route there was.
    matmul: str | None = field(default=None, metadata=OUTCOME)
    products: dict[str, dict[str, float]] = field(default_factory=dict, metadata=OUTCOME)
    peak_memory_bytes: int = field(default=0, metadata=OUTCOME)
    remarks: list[str] = field(default_factory=list, metadata=OUTCOME)
    # By a lambda, since the function is defined further below.
    command: str = field(default_factory=lambda: command_line(), metadata=OUTCOME)
    commit: str | None = field(default_factory=lambda: current_commit(), metadata=OUTCOME)
    versions: dict[str, str] = field(default_factory=lambda: installed_versions(), metadata=OUTCOME)
    hardware: dict = field(default_factory=lambda: describe_hardware(), metadata=OUTCOME)

    @property
    def title(self) -> str:
        """What the run is called: after its data, where that is somebody's own, or else after its recipe."""
        return self.data.get("title", self.recipe)

    @property
    def rows_together(self) -> int:
        """The rows that all processes read at a time, before gradients of further turns are added."""
        return self.hyperparameters.get("batch_size", 0) * (1 if self.sequence_parallel else self.processes)

    def write(self, folder: Path) -> Path:
        """Write ``run.json``, whole or not at all."""
        path = folder / "run.json"
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")
        return path

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """Read a run folder's record.

        Raises:
            FileNotFoundError: the folder holds no ``run.json``: the run did not finish.
            ValueError: the file is not a run record.
        """
        path = folder / "run.json"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no run.json: the run has not finished")
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))  # a name that is no field is a TypeError
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{path} is not a run record: {error}") from error


class MetricsLog:
    """``metrics.jsonl``: one line per evaluation, flushed as it is written. A new log ends what stood in its folder.

    Args:
        folder: the run folder.
        rows: of the same run before it was interrupted.
    """

    def __init__(self, folder: Path, rows: list[dict] | None = None) -> None:
        self.path = folder / "metrics.jsonl"
        with written_whole(self.path) as staged:
            # After a resume only the rows up to its checkpoint are left: later ones are computed again.
            staged.write_text("".join(json.dumps(row) + "\n" for row in rows or []), encoding="utf-8")
            (folder / "run.json").unlink(missing_ok=True)  # a record says that its folder is complete

    def add(self, row: dict) -> None:
        """Append one row."""
        append_text(self.path, json.dumps(row) + "\n")  # opened for each row: a killed run loses none of them

    @staticmethod
    def read(folder: Path) -> list[dict]:
        """All rows of a run folder's log."""
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def describe_architecture(config: PreTrainedConfig) -> dict:
    """The family's own fields of a config, where they differ from its defaults; of a baseline, its ``model_type``."""
    defaults = LMUConfig().to_dict()
    # `to_dict` also holds what transformers adds to every config: its version, a dtype and more.
    own = {*LMUConfig.__annotations__, "model_type", "is_encoder_decoder"}
    return {name: value for name, value in config.to_dict().items() if name in own and value != defaults[name]}


def say_parameters(counts: dict[str, int]) -> str:
    """How many there are, as the console and pictures say it."""
    return f"{counts['total']:,} parameters ({counts['trainable']:,} trainable)"


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Total, trainable and embedding parameters."""
    # By identity: a tied head is the embedding, which `parameters()` gives once.
    embeddings = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    parameters = list(model.parameters())
    return {
        "total": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "embeddings": sum(p.numel() for p in parameters if id(p) in embeddings),
    }


def command_line() -> str:
    """The command that is running, as one would type it from the project's folder: without places and tokens."""
    # The installed command starts itself; a script is started by Python.
    return plain_command(["lmu-hf", *sys.argv[1:]] if Path(sys.argv[0]).stem == "lmu-hf" else ["python", *sys.argv])


def current_commit() -> str | None:
    """The commit of the source tree that this package runs from, with ``+`` if the tree has changed; None elsewhere."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        # Untracked files are left out: run folders may lie in the source tree.
        changed = git("status", "--porcelain", "--untracked-files=no")
    except FileNotFoundError:  # no git on this machine
        return None
    return f"{commit}{'+' if changed else ''}" if commit else None


def installed_versions() -> dict[str, str]:
    """Python's version and those of the packages, and of torch's libraries for products, that matter to a result."""
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions | {name: found[1] for name, text in LIBRARIES.items() if (found := re.search(text, _build()))}


def _build() -> str:
    return torch.__config__.show()


def describe_processor() -> str:
    """The processor's name, with its family and model where Linux says them: makers give many the same name."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in told.splitlines())}
    more = ", ".join(f"{name.removeprefix('cpu ')} {said[name]}" for name in ("cpu family", "model") if name in said)
    name = said.get("model name") or platform.machine()
    return f"{name} ({more})" if more else name


def instruction_sets() -> list[str]:
    """Those of the processor that decide how fast its products are, as Linux names them; and the one torch uses."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        told = ""
    flags = set(told.split())
    return [name for name in INSTRUCTIONS if name in flags] + [f"torch: {torch.backends.cpu.get_cpu_capability()}"]


def describe_hardware() -> dict:
    """Processor and its instruction sets, cores and threads, and the accelerator if there is one."""
    # The cores that this process may use; `cpu_count` gives the machine's, in a container too.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "machine": platform.machine(),
        "processor": describe_processor(),
        "instructions": instruction_sets(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "accelerator": accelerator,
    }


def keep(measured: dict, output: Path | None = None) -> dict:
    """What was measured, how and where; written as JSON if a file is given."""
    result = {
        **measured,
        "command": command_line(),
        "commit": current_commit(),
        "hardware": describe_hardware(),
        "versions": installed_versions(),
    }
    if output is not None:
        write_text(output, json.dumps(result, indent=2) + "\n")
    return result


def publish(measured: dict, output: Path | None = None) -> dict:
    """End a benchmark with a printed line of JSON: what was measured, how and where; and :func:`keep` it."""
    result = keep(measured, output)
    print(json.dumps(result))
    return result


def peak_memory_bytes() -> int:
    """The most memory that this process has held: the accelerator's if one is used, else resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()  # bytes in tensors, not what torch's allocator reserves
    # `ru_maxrss` is in bytes on macOS and in KiB on Linux.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
