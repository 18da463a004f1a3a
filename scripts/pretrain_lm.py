"""Pre-train an LMU on a corpus, for other tasks to fine-tune: `lmu-hf pretrain`, for `accelerate launch`.

    python scripts/pretrain_lm.py                                      # IMDB's reviews from the Hub, byte pairs
    python scripts/pretrain_lm.py --data_dir data                      # the same from data/stanfordnlp/imdb
    python scripts/pretrain_lm.py --dataset_name ORG/NAME --text_column body --train_split train+extra
    python scripts/pretrain_lm.py --train_file reviews.jsonl --tokenizer word --vocab_size 30000
    python scripts/pretrain_lm.py --train_file notes.txt --max_train_steps 200     # no download: any text file
    accelerate launch scripts/pretrain_lm.py                           # several processes or a GPU
    python scripts/train_glue.py --recipe imdb --model_name_or_path runs/imdb-lm-seed0/model    # and then

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("pretrain", __doc__)
