"""Train an LMU to predict the next character of a text: `lmu-hf train lm`, for `accelerate launch`.

    python scripts/train_char_lm.py                                    # no download: the standard library's sources
    python scripts/train_char_lm.py --train_file notes.txt             # a tenth of it is held out
    python scripts/train_char_lm.py --recipe ptb-char --data_dir data  # from data/ptb-char
    python scripts/train_char_lm.py --dataset_name ORG/NAME --text_column text
    accelerate launch scripts/train_char_lm.py                         # several processes or a GPU

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("train lm", __doc__)
