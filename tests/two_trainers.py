"""What `test_accumulation.py` has two gloo processes do; run by a launcher, never collected.

python -m torch.distributed.run --nproc_per_node 2 tests/two_trainers.py FOLDER HEAD…
"""

import sys
from pathlib import Path

from accelerate import PartialState
from safetensors.torch import save_file

from test_accumulation import HEADS, ROWS, make_trainer


def main(folder: Path, heads: list[str]) -> None:
    """Save the gradients that both processes reach in a step over all rows."""
    for head in heads:
        trainer, gradients = make_trainer(HEADS[head], folder, batch=1, accumulation=ROWS // 2)
        assert trainer.accelerator.num_processes == 2
        trainer.train()
        if PartialState().is_main_process:
            save_file(gradients.noted, folder / f"{head}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
