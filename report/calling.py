"""What the reports that train share: a script in a process of its own, and the rows that an output has already."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent.parent / "scripts"


def call(name: str, script: str, *words: object, **environment: str) -> None:
    """Run a script in a process of its own.

    Args:
        name: of the run, for the message.
        script: its name, without its ending.
        words: of its command line.
        environment: variables beside those of this process.

    Raises:
        RuntimeError: it fails; the message is its last line.
    """
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1]}")


def rows_of(output: Path | None) -> list[dict[str, Any]]:
    """The rows that an output has already; none where there is no such file."""
    return json.loads(output.read_text(encoding="utf-8"))["rows"] if output and output.exists() else []
