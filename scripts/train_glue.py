"""Train an LMU to classify sentences or pairs of sentences: `lmu-hf train text`, for `accelerate launch`.

    python scripts/train_glue.py                                       # no download: made-up opinions, a minute
    python scripts/train_glue.py --train_file train.csv --validation_file dev.csv --text_column review
    python scripts/train_glue.py --task_name rte --data_dir data       # from data/nyu-mll/glue/rte, or from the Hub
    python scripts/train_glue.py --recipe imdb --baseline lstm         # an LSTM in the same blocks, to compare with
    python scripts/train_glue.py --recipe imdb-linear --word_vectors glove.txt      # the paper's 301 parameters
    accelerate launch scripts/train_glue.py --task_name qqp            # several processes or a GPU

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("train text", __doc__)
