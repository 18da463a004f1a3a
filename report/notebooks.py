"""Run the notebooks of docs/notebooks from the first cell to the last, and keep what they print and draw.

python report/notebooks.py                   # runs all of them and writes their outputs into them: `make notebooks`
python report/notebooks.py quick_start       # one of them
python report/notebooks.py --check           # runs them and writes nothing; fails where a cell fails

A notebook is run in an empty folder, offline and on one thread, by a kernel of this Python. What would differ from
run to run or name a place of this machine is not kept: times of execution, and whatever is written to stderr.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

import lmu_hf_cli  # noqa: F401  # first: it puts off torch, which this process does not need
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
LIMIT = 900  # seconds a cell: a test may share its core with much else
OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


class ThisPython(AsyncKernelManager):
    """Kernels of the Python that runs this script, whatever kernels somebody has installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """How to start one."""
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])


def read(path: Path) -> NotebookNode:
    """A notebook as it is stored."""
    return nbformat.read(path, as_version=4)


def run(notebook: NotebookNode) -> NotebookNode:
    """Run every cell of a notebook; its outputs are then those of this run.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails; the message shows the cell and its traceback.
    """
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, kernel_manager_class=ThisPython, timeout=LIMIT, startup_timeout=LIMIT)
        client.resources = {"metadata": {"path": folder}}
        client.record_timing = False  # times of execution would differ from run to run
        client.execute(env={**os.environ, **OFFLINE})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.pop("widgets", None)  # progress bars: they print to stderr where nobody looks
    return notebook


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    names = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"notebooks to run, of {', '.join(names)} (default: all)"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a cell fails")
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.names) - set(names)):
        parser.error(f"no notebook is called {unknown[0]}: choose from {', '.join(names)}")
    args.names = args.names or names
    return args


@script
def main(argv: list[str] | None = None) -> None:
    """Run them one after the other."""
    args = parse_args(argv)
    for name in args.names:
        notebook = run(read(NOTEBOOKS / f"{name}.ipynb"))
        if not args.check:
            nbformat.write(notebook, NOTEBOOKS / f"{name}.ipynb")
        print(f"{name}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells run")


if __name__ == "__main__":
    main()
