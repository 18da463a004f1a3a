"""Train an LMU to tag every word of a text: `lmu-hf train tokens`, for `accelerate launch`.

    python scripts/train_token.py                                      # no download: made-up names, half a minute
    python scripts/train_token.py --baseline lstm                      # an LSTM in the same blocks, to compare with
    python scripts/train_token.py --train_file train.jsonl --test_file test.jsonl
    python scripts/train_token.py --dataset_name org/own --data_dir data   # from data/org/own, or from the Hub
    accelerate launch scripts/train_token.py --train_file train.jsonl  # several processes or a GPU

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("train tokens", __doc__)
