"""Train an LMU to predict the chaotic series of Mackey and Glass: `lmu-hf train forecast`, for `accelerate launch`.

    python scripts/train_mackey_glass.py                               # the paper's network, minutes on two cores
    python scripts/train_mackey_glass.py --baseline lstm               # an LSTM of the same size under the same budget
    python scripts/train_mackey_glass.py --horizon 30
    accelerate launch scripts/train_mackey_glass.py                    # several processes or a GPU

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("train forecast", __doc__)
