"""What every test stands on: the same random numbers in every run, and no threads for matrices this small."""

import os

import pytest
import torch
from hypothesis import settings
from transformers.utils import logging

# Tests run side by side: the threads of each would wait for a core that another one holds.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # the processes that tests start, too
os.environ["LMU_HF_MATMUL"] = "torch"  # a probe on a busy machine may find either route the faster: digits would differ

# derandomize: a red run is the same run on every machine. No deadline: time is judged by benchmarks.
# LMU_HF_EXAMPLES: how many examples of each property are drawn, where the test does not say so itself.
EXAMPLES = int(os.environ.get("LMU_HF_EXAMPLES", "40"))
settings.register_profile("lmu", deadline=None, derandomize=True, max_examples=EXAMPLES)
settings.load_profile("lmu")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def loud() -> None:
    """A verb that has run in this process, in a fixture perhaps, has silenced transformers; others read its remarks."""
    logging.set_verbosity_warning()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> None:
    """What `datasets` keeps, it keeps in the test's own folder; and no bar is drawn."""
    import datasets  # half a second that most tests need not wait for

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
