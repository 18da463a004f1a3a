"""Train an LMU to classify sounds, read frame by frame: `lmu-hf train audio`, for `accelerate launch`.

    python scripts/train_audio.py                                      # no download: tones and chirps, a minute
    python scripts/train_audio.py --train_file words                   # words/yes/1.wav: the folder is the label
    python scripts/train_audio.py --train_file train --test_file test  # train/7_theo_3.wav: the label is 7
    accelerate launch scripts/train_audio.py --train_file words        # several processes or a GPU

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("train audio", __doc__)
