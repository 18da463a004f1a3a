"""Servers of language models under load: many clients, streams that are cancelled, and clients that are killed."""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2
import psutil
import torch
from transformers import AutoTokenizer

from endurance import GROWTH, WARM, Tried
from lmu_hf import LMUConfig, LMUForCausalLM, train_tokenizer

LMU_HF_SERVE = [sys.executable, "-c", "import lmu_hf_cli; lmu_hf_cli.main()", "serve"]
TEXT = "user: assistant: what is up? all of it, and more"
CLIENTS = 32
PATIENCE = 1800  # seconds for a process to import all that it needs, on a machine that does other things besides
# Of a hundred requests: answered whole, streamed to the end, cancelled in mid-stream, and their client killed there.
SHARES = {"whole": 40, "stream": 40, "cancel": 15, "kill": 5}
# A client of its own, which reads the first part of a stream, says so, and waits to be killed.
CLIENT = """
import http.client, sys
host, port, body = sys.argv[1:]
connection = http.client.HTTPConnection(host, int(port))
connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
print(connection.getresponse().readline().decode(), flush=True)
sys.stdin.read()
"""


class Request(NamedTuple):
    """What a client asks of one of the servers."""

    server: int
    kind: str
    prompt: str
    tokens: int


def save_writer(folder: Path, seed: int) -> None:
    """Save a small language model of drawn numbers, with its tokenizer."""
    tokenizer = train_tokenizer("char", [TEXT], padding_side="left")
    torch.manual_seed(seed)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = LMUConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, order=4, theta=30.0, **ids)
    LMUForCausalLM(config).save_pretrained(folder, with_code=True)
    tokenizer.save_pretrained(folder)


def read_writer(folder: Path) -> Callable[[str, int], str]:
    """What a saved model writes behind a prompt, so many tokens, the likeliest ones."""
    model, tokenizer = LMUForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)

    def write(prompt: str, tokens: int) -> str:
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
        made = model.generate(ids, max_new_tokens=tokens, do_sample=False)[0, ids.shape[1] :]
        return str(tokenizer.decode(made, skip_special_tokens=True))

    return write


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def served(commands: list[list[str]], home: Path) -> Iterator[list[tuple[subprocess.Popen, str]]]:
    """Servers, a process each, while a ``with`` block lasts: the processes, and where they answer.

    Args:
        commands: of each server, with its model's folder.
        home: folder for what Hugging Face's libraries keep.

    Raises:
        RuntimeError: a server ended, or did not answer in time; with what it wrote.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        running = []
        for command, port in zip(commands, free_ports(len(commands)), strict=True):
            words = [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
            # A file, since a pipe that nobody reads fills up, and the server would wait for ever.
            errors = stack.enter_context(tempfile.TemporaryFile("w+"))
            process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
            stack.callback(_end, process)
            running.append((process, f"http://127.0.0.1:{port}", errors))
        for process, url, errors in running:
            until = time.monotonic() + PATIENCE
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > until:
                    errors.seek(0)
                    raise RuntimeError(f"the server did not come up: {errors.read()[-4000:]}")
                time.sleep(1)
        yield [(process, url) for process, url, _ in running]


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health", trust_env=False, timeout=60).status_code == 200
    except httpx2.TransportError:
        return False


def many_clients(args: argparse.Namespace) -> Tried:
    """``--requests`` by 32 clients to two servers, a model each; what is answered is what the model writes alone.

    Of a stream that is cancelled, or whose client is killed, the part that came is compared. The servers must answer
    afterwards, and hold no more memory than in the middle.
    """
    draw = random.Random(0)
    kinds = random.Random(1).choices(list(SHARES), weights=list(SHARES.values()), k=args.requests)
    prompts = [TEXT[start : start + draw.randint(1, 12)] for start in range(0, 24, 3)]
    asked = [Request(draw.randrange(2), kind, draw.choice(prompts), draw.choice([8, 24])) for kind in kinds]
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place, name) for name in ("first", "second")]
        for seed, folder in enumerate(folders):
            save_writer(folder, seed)
        writers = [read_writer(folder) for folder in folders]
        different = {(one.server, one.prompt, one.tokens) for one in asked}
        expected = {key: writers[key[0]](*key[1:]) for key in different}
        commands = [[*LMU_HF_SERVE, str(folder)] for folder in folders]
        with served(commands, Path(place, "home")) as servers:
            clients = Clients([(url, str(folder)) for (_, url), folder in zip(servers, folders, strict=True)])
            cut = max(1, int(len(asked) * WARM))

            def is_right(one: Request) -> bool:
                return clients.ask(one, expected[one.server, one.prompt, one.tokens])

            with ThreadPoolExecutor(CLIENTS) as threads:
                right = sum(threads.map(is_right, asked[:cut]))
                warm = [psutil.Process(process.pid).memory_info().rss for process, _ in servers]
                right += sum(threads.map(is_right, asked[cut:]))
            grown = [
                psutil.Process(process.pid).memory_info().rss - before
                for (process, _), before in zip(servers, warm, strict=True)
            ]
            answering = sum(_answers(url) for _, url in servers)
    failures = len(asked) - right + sum(size > GROWTH for size in grown) + len(servers) - answering
    counts = {kind: kinds.count(kind) for kind in SHARES}
    return Tried(len(asked), failures, {"clients": CLIENTS, "servers": 2, "requests": counts, "bytes grown": grown})


class Clients:
    """OpenAI's clients, of each thread its own.

    Args:
        servers: of each its address, and the name of its model.
    """

    def __init__(self, servers: list[tuple[str, str]]) -> None:
        self.servers, self.own = servers, threading.local()

    def ask(self, one: Request, expected: str) -> bool:
        """Whether the answer to a request, or what came of it, is the one expected; another one is printed."""
        import openai

        url, model = self.servers[one.server]
        asked = {"model": model, "prompt": one.prompt, "max_tokens": one.tokens, "temperature": 0}
        if not hasattr(self.own, "clients"):
            # No second try, which would hide that the first one failed.
            self.own.clients = [
                openai.OpenAI(
                    base_url=f"{address}/v1",
                    api_key="none",
                    max_retries=0,
                    http_client=httpx2.Client(trust_env=False, timeout=PATIENCE),
                )
                for address, _ in self.servers
            ]
        completions = self.own.clients[one.server].completions
        try:
            if one.kind == "kill":
                came, is_whole = _killed(url, asked), False
            elif one.kind == "whole":
                came, is_whole = completions.create(**asked).choices[0].text, True
            else:
                is_whole = one.kind == "stream"
                with completions.create(**asked, stream=True) as parts:
                    came = "".join(part.choices[0].text for part in parts) if is_whole else next(parts).choices[0].text
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            print(f"{one}: {type(error).__name__}: {error}", file=sys.stderr)
            return False
        right = came == expected if is_whole else expected.startswith(came)
        if not right:
            print(f"{one}: {came!r} in place of {expected!r}", file=sys.stderr)
        return right


def _killed(url: str, asked: dict) -> str:
    """The first part of a stream whose client, a process of its own, is killed as soon as it has read that."""
    address = urlsplit(url)
    words = [sys.executable, "-S", "-c", CLIENT, str(address.hostname), str(address.port)]
    body = json.dumps(asked | {"stream": True})
    process = subprocess.Popen([*words, body], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdin is not None
    with process.stdout, process.stdin:
        line = process.stdout.readline()
        process.kill()
        process.wait()
    return json.loads(line.removeprefix("data: "))["choices"][0]["text"]
