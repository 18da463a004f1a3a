"""A process may be forked at any moment, also while other threads read and derive constants."""

import os
import subprocess
import sys

import pytest

FORKED_WHILE_THREADS_READ = """
import itertools, os, signal, threading, time
import torch
torch.set_num_threads(1)
from lmu_hf.memory import memory_chunked
from lmu_hf.constants import constant
from lmu_hf.statespace import LegendreSystem

system, lengths, stop = LegendreSystem(4, 16.0), itertools.count(1), threading.Event()
u = torch.linspace(-1, 1, 40)[None, :, None]
expected = memory_chunked(u, system)[0]

def read():
    while not stop.is_set():
        constant("A_bar", system, 0, torch.float32, "cpu")

def derive():
    while not stop.is_set():
        constant("A_power", system, next(lengths), torch.float32, "cpu")

threads = [threading.Thread(target=work) for work in (read, read, derive)]
for thread in threads:
    thread.start()
codes = []
for number in range(10):
    child = os.fork()
    if child == 0:
        constant("A_bar", LegendreSystem(4, 20.0 + number), 0, torch.float32, "cpu")  # is new to the child
        os._exit(0 if torch.equal(memory_chunked(u, system)[0], expected) else 1)
    late = time.monotonic() + 30
    while not (done := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < late:
        time.sleep(0.01)
    if not done[0]:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    codes.append(os.waitstatus_to_exitcode(done[1]) if done[0] else "hung")
stop.set()
for thread in threads:
    thread.join()
print(codes)
"""
WORKERS_WHILE_A_MODEL_RUNS = """
import threading
import torch
torch.set_num_threads(1)
from lmu_hf import LMUConfig, LMUModel
from torch.utils.data import DataLoader

torch.manual_seed(0)
config = LMUConfig(input_size=1, hidden_size=4, num_hidden_layers=1, order=3, theta=7)
model, stop = LMUModel(config).eval().requires_grad_(False), threading.Event()
rows = [torch.randn(9, 1) for _ in range(6)]

class Read(torch.utils.data.Dataset):
    def __len__(self):
        return len(rows)
    def __getitem__(self, row):
        return model(input_values=rows[row][None]).last_hidden_state[0]

def run():
    while not stop.is_set():
        model(input_values=rows[0][None])

thread = threading.Thread(target=run)
thread.start()
here = torch.stack([Read()[row] for row in range(len(rows))])
for _ in range(2):
    there = torch.cat(list(DataLoader(Read(), 2, num_workers=2, multiprocessing_context="fork")))
    assert torch.equal(here, there)
stop.set()
thread.join()
print("the same")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is nothing to fork with")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "expected"),
    [(FORKED_WHILE_THREADS_READ, str([0] * 10)), (WORKERS_WHILE_A_MODEL_RUNS, "the same")],
    ids=["forks", "workers"],
)
def test_a_child_forked_while_threads_work_computes_the_same(script, expected):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == expected
