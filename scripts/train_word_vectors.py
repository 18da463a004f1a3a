"""Train word vectors on a corpus: word2vec, fastText or latent semantic analysis: `lmu-hf train vectors`.

    python scripts/train_word_vectors.py --dataset_name stanfordnlp/imdb --train_split train+unsupervised
    python scripts/train_word_vectors.py --dataset_name stanfordnlp/imdb --data_dir data --algorithm lsa --sif 1e-3
    python scripts/train_word_vectors.py --train_file notes.txt --algorithm fasttext --output_file vectors.txt
    python scripts/train_glue.py --recipe imdb-linear --word_vectors vectors.txt       # what they are for

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("train vectors", __doc__)
