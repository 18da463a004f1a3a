"""Train a forecaster of series on a table: `lmu-hf train forecast`, for `accelerate launch`.

    python scripts/train_forecast.py                                   # no download: made-up hours, seconds
    python scripts/train_forecast.py --train_file power.csv --prediction_length 96
    python scripts/train_forecast.py --train_file power.csv --baseline lstm
    accelerate launch scripts/train_forecast.py --train_file power.csv --baseline lstm    # several processes or a GPU

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("train forecast", __doc__)
