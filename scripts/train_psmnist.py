"""Train an LMU to classify images read one pixel at a time: `lmu-hf train image`, for `accelerate launch`.

    python scripts/train_psmnist.py                                    # psMNIST from the Hub, the paper's architecture
    python scripts/train_psmnist.py --data_dir data                    # the same from data/ylecun/mnist
    python scripts/train_psmnist.py --recipe smnist-wide --permutation_seed none
    python scripts/train_psmnist.py --recipe digits                    # no download: 8x8 digits, a few seconds
    accelerate launch scripts/train_psmnist.py --data_dir data         # several processes or a GPU

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("train image", __doc__)
