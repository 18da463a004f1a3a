"""Time how long the demo takes from its start to its first answers: the page, which opens on one, and a moved slider.

    python benchmarks/benchmark_space.py --output records/benchmark_space.json

Each round starts `scripts/space.py` as `make space` does, on the models in the box, asks for the page until it is
served, and then moves a slider of the tab Memory through the page's API. Beside the seconds that have passed stands
processor time, in which other work on the machine does not count: of the process of the page, which is what a visitor
waits for where a second core is free, and of all processes. The last line is everything as one line of JSON.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT, ScriptParser, output_file
from lmu_hf.common.record import publish

SCRIPT = Path(__file__).parents[1] / "scripts" / "space.py"
GIVE_UP = 120.0  # seconds
PARTS = ("seconds", "processor_seconds", "processor_seconds_of_all")
WORDS = "numbers hold the last"  # of an answer about the memory


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """How often it is measured."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--repeats", type=COUNT, default=5, help="rounds; medians are shown (default: %(default)s)")
    parser.add_argument("--output", type=output_file, help="file for the line of JSON (default: it is only printed)")
    return parser.parse_args(argv)


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def ask(url: str, given: dict[str, Any] | None = None) -> str:
    """What a server answers, to JSON if some is given."""
    data = None if given is None else json.dumps(given).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=GIVE_UP) as answer:
        return answer.read().decode()


def served(url: str, process: subprocess.Popen) -> str:
    """The page, as soon as it is served.

    Raises:
        RuntimeError: the demo has ended.
        TimeoutError: it took too long.
    """
    end = time.monotonic() + GIVE_UP
    while time.monotonic() < end:
        try:
            return ask(url)
        except urllib.error.URLError:
            if process.poll() is not None:
                raise RuntimeError(f"the demo ended with {process.returncode}") from None
            time.sleep(0.02)
    raise TimeoutError(f"no page within {GIVE_UP:g} s")


def measure() -> dict[str, float]:
    """Seconds, and processor seconds of the page's process and of all, to the page and to a moved slider's answer."""
    port, start = free_port(), time.perf_counter()
    process = subprocess.Popen([sys.executable, str(SCRIPT), "--port", str(port)], stdout=subprocess.DEVNULL)
    found: dict[str, float] = {}

    def note(name: str) -> None:
        found[f"{name}_seconds"] = time.perf_counter() - start
        page = psutil.Process(process.pid)
        spent = [sum(one.cpu_times()[:2]) for one in (page, *page.children())]  # user and system
        found[f"{name}_processor_seconds"], found[f"{name}_processor_seconds_of_all"] = spent[0], sum(spent)

    try:
        url = f"http://127.0.0.1:{port}"
        if WORDS not in served(url, process):
            raise RuntimeError("the page does not open on an answer")
        note("page")
        event = json.loads(ask(f"{url}/gradio_api/call/look", {"data": ["[]", 100, 16, 300]}))["event_id"]
        if f"16 {WORDS} 100 steps" not in ask(f"{url}/gradio_api/call/look/{event}"):
            raise RuntimeError("the memory did not answer")
        note("slider")
    finally:
        process.terminate()
        process.wait(30)
    return found


@script
def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, and publish."""
    args = parse_args(argv)
    rounds = [measure() for _ in range(args.repeats)]
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    for name, words in (("page", "page with its first answer"), ("slider", "answer to a moved slider")):
        passed, spent, in_all = (medians[f"{name}_{part}"] for part in PARTS)
        print(f"{words:<28} after {passed:.1f} s; processor time of the page {spent:.1f} s, of all {in_all:.1f} s")
    return publish({"medians": medians, "rounds": rounds, "load": os.getloadavg()[0]}, args.output)


if __name__ == "__main__":
    main()
