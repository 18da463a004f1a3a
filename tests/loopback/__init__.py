"""A Hub that answers on loopback: what `huggingface_hub` and `transformers` ask of the real one, and faults on demand.

    with LoopbackHub() as hub:
        subprocess.run([...], env=hub.environment(home, token=hub.token))

The server runs in a process of its own, holds everything in memory, and needs nothing but the standard library. It
keeps repositories, branches, commits, pull requests and private repositories; small files travel inside a commit, large
ones by Git LFS. A commit is checked whole before a branch moves, so that a revision is never half written.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from .faults import Fault
from .store import CONTROL

__all__ = ["Fault", "LoopbackHub"]

TOKEN_VARIABLE = "LOOPBACK_HUB_TOKEN"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


class LoopbackHub:
    """A server in a process of its own, while a ``with`` block lasts.

    Args:
        token: the one token that may write, and read what is private.

    Attributes:
        url: where it answers.
    """

    def __init__(self, token: str = "hf_loopbackloopbackloopbackloopback") -> None:
        self.token, self.url = token, ""

    def __enter__(self) -> "LoopbackHub":
        # A process of its own from this folder: the server need not wait for torch to be imported.
        variables = {"PYTHONPATH": str(Path(__file__).parents[1]), TOKEN_VARIABLE: self.token}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loopback.server"],
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError("the loopback Hub did not start; what it wrote stands above")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """A process's environment in which this is the Hub, with a cache of its own.

        Xet is off: the client would use it for every large file without asking, and this Hub does not speak it.
        """
        there = {name: value for name, value in os.environ.items() if name not in (*PROXIES, "HF_TOKEN")}
        there |= {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        there |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return {**there, **({} if token is None else {"HF_TOKEN": token})}

    def fail(self, *faults: Fault) -> None:
        """Let these go wrong from now on, in place of those asked for before; none for a Hub without fault."""
        self._control("faults", [asdict(fault) for fault in faults])

    def unmet(self) -> int:
        """How many requests the faults asked for are still waiting to meet."""
        return self._control("state")["unmet"]

    def repository(self, name: str) -> dict[str, Any]:
        """A repository's number of commits, and every branch's id and files (their SHA-256).

        Raises:
            KeyError: there is none of that name.
        """
        return self._control("state")["repositories"][name]

    def requests(self) -> list[str]:
        """Every request so far, as ``"GET /path"``."""
        return self._control("state")["requests"]

    def _control(self, what: str, value: Any = None) -> Any:
        data = None if value is None else json.dumps(value).encode()
        with build_opener(ProxyHandler({})).open(Request(f"{self.url}{CONTROL}{what}", data)) as reply:
            return json.loads(reply.read() or b"null")
