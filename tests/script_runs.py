"""Runs of scripts, each in a process of its own, that need not wait for imports of several seconds.

A server process imports once what every script imports, and forks a child for each run. In the child the script is
run as ``python script.py words`` would run it: its own ``sys.argv``, working directory, streams and exit status.
"""

import atexit
import multiprocessing
import os
import re
import runpy
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from typing import Any

SCRIPTS = Path(__file__).parents[1] / "scripts"
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
# What a program begins with that is to run as if this package were not installed.
WITHOUT_PACKAGE = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "lmu_hf":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nowhere())
"""
IMPORTED = ["lmu_hf", "lmu_hf.cli.loading", "lmu_hf.cli.train", "lmu_hf.hub.push", "datasets", "evaluate"]


def call_verb(script: str, *words: str) -> Any:
    """What a script without its ending does, in this process and under its name."""
    from lmu_hf_cli import run as run_verb  # here: imported before `lmu_hf`, it puts the family's own imports off

    (verb,) = re.findall(r'run\("([^"]+)"', (SCRIPTS / f"{script}.py").read_text(encoding="utf-8"))
    before, sys.argv = sys.argv, [f"{script}.py", *words]
    try:
        return run_verb(verb, argv=list(words))
    finally:
        sys.argv = before


def run_command(words: list[str], folder: Path) -> str:
    """Run the installed command in a folder, and in a process of its own; what it printed."""
    program, *rest = words
    assert program == "lmu-hf"
    command = [str(Path(sys.executable).with_name(program)), *rest]
    environment = os.environ | ENVIRONMENT | {"HF_HOME": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr[-2000:]}"
    return done.stdout


def run_script(script: Path, *words: object, cwd: Path, **variables: str) -> CompletedProcess[str]:
    """Run a script to its end.

    Args:
        script: its file.
        words: of its command line.
        cwd: the folder that it runs in.
        variables: of its environment, read when the script runs, not when modules are imported.
    """
    argv = [str(script), *map(str, words)]
    with TemporaryDirectory() as folder:
        streams = Path(folder, "stdout"), Path(folder, "stderr")
        process = _server().Process(target=_child, args=(argv, cwd, variables, streams))
        process.start()
        process.join()
        out, err = (path.read_text() for path in streams)
    return CompletedProcess(argv, process.exitcode or 0, out, err)


@cache
def _server() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    before = dict(os.environ)
    os.environ |= ENVIRONMENT
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _child(argv: list[str], cwd: Path, variables: dict[str, str], streams: tuple[Path, Path]) -> None:
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ |= variables
    sys.argv = argv
    sys.path.insert(0, str(Path(argv[0]).parent))
    runpy.run_path(argv[0], run_name="__main__")
    atexit._run_exitfuncs()  # multiprocessing ends a child by os._exit, python a script with these
