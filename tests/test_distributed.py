"""One sequence over several ranks is the sequence on one: `several_ranks.py` says how, on every rank of a launch.

Held to 1e-12 for outputs and 1e-11 for gradients in float64, relative to the largest: regrouped sums of the same terms.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lmu_hf import sequence_parallel
from lmu_hf.distributed import memory_across
from lmu_hf.layout import current_ranks
from lmu_hf.statespace import LegendreSystem

HERE = Path(__file__).parent
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "ranks, checks",
    [(2, ["all"]), (4, ["memories", "bytes_sent", "stacks", "subgroups"])],
)
def test_every_rank_computes_its_part_of_the_single_process_result(ranks, checks):
    done = subprocess.run(
        [sys.executable, *LAUNCHER, str(ranks), str(HERE / "several_ranks.py"), *checks],
        **{"env": ENVIRONMENT, "capture_output": True, "text": True, "timeout": 300, "check": False},
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
    assert done.stdout.count("agrees") == ranks


def test_a_missing_process_group_is_named():
    with pytest.raises(RuntimeError, match=r"init_process_group"), sequence_parallel():
        pass
    with pytest.raises(RuntimeError, match=r"init_process_group"):
        memory_across(torch.randn(1, 3, 1), LegendreSystem(2, 3.0))
    assert current_ranks() is None
