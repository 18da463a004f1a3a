"""Train an LMU to classify series of real values: `lmu-hf train series`, for `accelerate launch`.

    python scripts/train_series.py                                     # no download: made-up waves, seconds
    python scripts/train_series.py --train_file GunPoint_TRAIN.ts --test_file GunPoint_TEST.ts
    python scripts/train_series.py --dataset_name GunPoint --data_dir UCR --baseline lstm
    accelerate launch scripts/train_series.py --train_file steps.csv --id_column walk    # several processes or a GPU

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("train series", __doc__)
