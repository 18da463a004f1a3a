"""Train an LMU encoder-decoder to translate: `lmu-hf train translation`, for `accelerate launch`.

    python scripts/train_translation.py                                # no download: dates and quantities, minutes
    python scripts/train_translation.py --target_lang vi
    python scripts/train_translation.py --train_file pairs.csv --source_lang en --target_lang fr
    python scripts/train_translation.py --recipe multi30k --data_dir data      # from data/multi30k-en-de
    python scripts/train_translation.py --recipe multi30k --dataset_name ORG/NAME --source_lang en --target_lang fr
    accelerate launch scripts/train_translation.py --recipe multi30k   # several processes or a GPU

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("train translation", __doc__)
