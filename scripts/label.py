"""Let a trained model label texts that have none: `lmu-hf label`, for `accelerate launch`.

    python scripts/label.py runs/imdb-small-en-seed0 --dataset_name stanfordnlp/imdb --split unsupervised
    python scripts/label.py runs/opinions-seed0/model --train_file reviews.csv --output_file labels.parquet
    accelerate launch scripts/label.py runs/opinions-seed0/model --train_file reviews.csv      # several processes
    python scripts/train_glue.py --train_file reviews.csv --extra_train_file labels.parquet    # what they are for

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("label", __doc__)
