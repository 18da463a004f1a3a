"""Score a saved model on a split of its run's own rows, or of others: `lmu-hf evaluate`, for `accelerate launch`.

    python scripts/evaluate.py runs/opinions-seed0/model               # the data of its own run folder, its test split
    python scripts/evaluate.py runs/sst2-seed0/model --data_dir data --split validation
    python scripts/evaluate.py ORG/lmu-imdb --recipe imdb              # a model on the Hub, the data of a recipe
    python scripts/evaluate.py runs/opinions-seed0/model --test_file more.csv     # its classes, in another file
    accelerate launch scripts/evaluate.py runs/rte-seed0/model         # several processes or a GPU

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("evaluate", __doc__)
