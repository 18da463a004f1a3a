# Every verb of the project; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DATA ?=
DATA_FLAG := $(if $(DATA),--data_dir $(DATA),)
SEEDS ?= 0 1 2
JOBS ?= 2
TEST := -m pytest --numprocesses $(JOBS) --dist worksteal
NEWEST := cache generation decoding modeling seq2seq heads pipelines hub versions
MODULES := $(patsubst src/lmu_hf/%.py,lmu_hf.%,$(filter-out %/__init__.py,$(wildcard src/lmu_hf/*.py)))

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-all suites newest matrix lint bench reproduce-psmnist reproduce-psmnist-large reproduce-psmnist-plain reproduce-smnist reproduce-python-sources \
	reproduce-dates reproduce-multi30k reproduce-evbnews reproduce-mackey-glass reproduce-sentences reproduce-linear reproduce-spelling reproduce-aligned reproduce-imdb reproduce-imdb-lm reproduce-characters space table card push docs clean

help:  ## list the verbs
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-25s %s\n", $$1, $$2}'

install: $(VENV)/.installed  ## create .venv and install the package with everything needed to train and test it

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install  ## train on embedded data, save, reload, run step by step, push to a Hub on loopback and load from it
	$(RUN) scripts/demo.py

test: install  ## run the quick tests, two at a time (JOBS=0: one after another)
	$(RUN) $(TEST) -m "not slow"

test-slow: install  ## run the slow tests
	$(RUN) $(TEST) -m slow

test-all: test test-slow  ## run every test

suites: install  ## run transformers' own shared test suites on every class
	$(RUN) tests/shared_suites/run.py --jobs $(JOBS) --output records/shared_suites.json

newest: install  ## test generation, heads, caches, pipelines and the Hub with the newest transformers, torch as pinned
	$(RUN) tests/matrix.py newest --keep torch -- --numprocesses $(JOBS) --dist worksteal $(wildcard $(NEWEST:%=tests/test_%*.py))

matrix: install  ## run the tests, the README's code and the demo with the oldest, the pinned and the newest releases
	$(RUN) tests/matrix.py --output records/matrix.json

lint: install  ## check style and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: install  ## time every form of the memory, and training and generation beside other models
	$(RUN) benchmarks/benchmark_memory.py --output records/benchmark_memory.json
	$(RUN) benchmarks/benchmark_training.py --output records/benchmark_training.json
	$(RUN) benchmarks/benchmark_generation.py --output records/benchmark_generation.json

reproduce-psmnist: install  ## psMNIST, the paper's model: three seeds, and two more permutations (DATA=folder, or the Hub)
	for seed in $(SEEDS); do $(RUN) scripts/train_psmnist.py $(DATA_FLAG) --seed $$seed || exit 1; done
	for order in 1 2; do $(RUN) scripts/train_psmnist.py $(DATA_FLAG) --permutation_seed $$order || exit 1; done

reproduce-psmnist-large: install  ## psMNIST, at most 400,000 parameters, three seeds
	for seed in $(SEEDS); do $(RUN) scripts/train_psmnist.py --recipe psmnist-large $(DATA_FLAG) --seed $$seed || exit 1; done

reproduce-psmnist-plain: install  ## psMNIST, the paper's model on images as they are, three seeds
	for seed in $(SEEDS); do $(RUN) scripts/train_psmnist.py --recipe psmnist-plain $(DATA_FLAG) --seed $$seed || exit 1; done

reproduce-smnist: install  ## sMNIST: the same pixels in raster order, three seeds, and one of a larger model
	for seed in $(SEEDS); do $(RUN) scripts/train_psmnist.py --recipe smnist --permutation_seed none $(DATA_FLAG) --seed $$seed \
		|| exit 1; done
	$(RUN) scripts/train_psmnist.py --recipe smnist-wide --permutation_seed none $(DATA_FLAG)

reproduce-python-sources: install  ## a next-byte model of the standard library's sources (no download)
	$(RUN) scripts/train_char_lm.py

reproduce-dates: install  ## English to German dates and quantities (no download)
	$(RUN) scripts/train_translation.py

reproduce-multi30k: install  ## English to German captions, beside LSTMs with attention (DATA=folder, or the Hub)
	for how in " --mixed_precision bf16" "-lstm --mixed_precision bf16" -lstm-plain; do \
		$(RUN) scripts/train_translation.py --recipe multi30k$$how \
		$(if $(DATA),$(DATA_FLAG),--dataset_name bentrevett/multi30k) || exit 1; done

reproduce-evbnews: install  ## English to Vietnamese news, beside LSTMs with attention (DATA=folder: it is not on the Hub)
	for twin in "" -lstm; do $(RUN) scripts/train_translation.py --recipe evbnews$$twin $(DATA_FLAG) --mixed_precision bf16 \
		|| exit 1; done

reproduce-mackey-glass: install  ## Mackey-Glass, the paper's network and an LSTM of its size, three seeds (no download)
	for name in mackey-glass mackey-glass-lstm; do for seed in $(SEEDS); do \
		$(RUN) scripts/train_mackey_glass.py --recipe $$name --seed $$seed || exit 1; done; done

reproduce-sentences: install  ## SST-2, MRPC, RTE, QQP and SNLI, each beside its LSTM, three seeds (DATA=folder, or the Hub)
	for seed in $(SEEDS); do for name in sst2 mrpc rte qqp snli; do for twin in "" -lstm; do \
		$(RUN) scripts/train_glue.py --recipe $$name$$twin $(DATA_FLAG) --seed $$seed || exit 1; done; done; done

runs/vectors/imdb-lsa.txt: | $(VENV)/.installed
	$(RUN) scripts/train_word_vectors.py --dataset_name stanfordnlp/imdb $(DATA_FLAG) --train_split train+unsupervised \
		--algorithm lsa --sif 1e-3 --output_file $@

SMALL := --size 90 --spelling 60
PAIRS_TEXT := --dataset_name nyu-mll/glue stanfordnlp/snli Salesforce/wikitext stanfordnlp/imdb \
	--dataset_config_name qqp none wikitext-2-v1 none --train_split train train train train+unsupervised \
	--text_column question1+question2 premise+hypothesis text text

runs/vectors/pairs-lsa.txt: SIZES := --size 300
runs/vectors/qqp-spelt.txt: SIZES := --size 300 --spelling 600
runs/vectors/snli-spelt.txt: SIZES := --size 144 --spelling 300
runs/vectors/pairs-both.txt: SIZES := $(SMALL)
runs/vectors/pairs-both.txt: ALGORITHM := lsa word2vec --num_train_epochs 3
ALGORITHM := lsa
PAIRS_VECTORS := $(patsubst %,runs/vectors/%.txt,pairs-lsa pairs-both qqp-spelt snli-spelt)
$(PAIRS_VECTORS): | $(VENV)/.installed
	$(RUN) scripts/train_word_vectors.py $(DATA_FLAG) --algorithm $(ALGORITHM) --min_count 3 --sif 1e-3 $(PAIRS_TEXT) $(SIZES) --output_file $@

OWN_WORDS := runs/vectors/mrpc-lsa.txt runs/vectors/rte-lsa.txt

runs/vectors/mrpc-small.txt: SIZES := $(SMALL)
$(OWN_WORDS) runs/vectors/mrpc-small.txt: runs/vectors/%.txt: | $(VENV)/.installed
	$(RUN) scripts/train_word_vectors.py $(DATA_FLAG) --algorithm lsa --min_count 1 --sif 1e-3 $(SIZES) --output_file $@ \
		--dataset_name nyu-mll/glue --dataset_config_name $(firstword $(subst -, ,$*)) --text_column sentence1+sentence2

reproduce-linear: runs/vectors/imdb-lsa.txt runs/vectors/pairs-lsa.txt $(OWN_WORDS)  ## IMDB and pairs by linear classifiers on frozen vectors, QQP and SNLI beside LSTMs (DATA=folder, or the Hub)
	for seed in $(SEEDS); do \
		$(RUN) scripts/train_glue.py --recipe imdb-linear $(DATA_FLAG) --word_vectors $< --seed $$seed || exit 1; \
		for name in qqp-linear qqp-linear-lstm snli-linear snli-linear-lstm; do $(RUN) scripts/train_glue.py \
			--recipe $$name $(DATA_FLAG) --word_vectors $(word 2,$^) --seed $$seed || exit 1; done; \
		for name in mrpc rte; do $(RUN) scripts/train_glue.py --recipe $$name-linear $(DATA_FLAG) \
			--word_vectors runs/vectors/$$name-lsa.txt --seed $$seed || exit 1; done; done

reproduce-spelling: runs/vectors/qqp-spelt.txt runs/vectors/snli-spelt.txt  ## QQP and SNLI by under 4,000 parameters on vectors that know spelling, beside LSTMs (DATA=folder, or the Hub)
	for seed in $(SEEDS); do for name in qqp snli; do for twin in "" -lstm; do $(RUN) scripts/train_glue.py \
		--recipe $$name-spelt$$twin $(DATA_FLAG) --word_vectors runs/vectors/$$name-spelt.txt --seed $$seed || exit 1; done; done; done
	for seed in $(SEEDS); do $(RUN) scripts/train_glue.py --recipe snli-spelt-windows $(DATA_FLAG) \
		--word_vectors runs/vectors/snli-spelt.txt --seed $$seed || exit 1; done

reproduce-aligned: runs/vectors/pairs-both.txt runs/vectors/mrpc-small.txt  ## QQP, SNLI and MRPC word by word, by under 4,000 parameters and by more, beside LSTMs (DATA=folder, or the Hub)
	for seed in $(SEEDS); do for name in qqp snli; do for kind in aligned lstm-narrow aligned-wide aligned-wide-lstm; do \
		$(RUN) scripts/train_glue.py --recipe $$name-$$kind $(DATA_FLAG) --word_vectors $< --seed $$seed || exit 1; done; done; done
	for seed in $(SEEDS); do $(RUN) scripts/train_glue.py --recipe mrpc-aligned $(DATA_FLAG) \
		--word_vectors $(lastword $^) --seed $$seed || exit 1; done

runs/vectors/imdb-own-lsa.txt: | $(VENV)/.installed
	$(RUN) scripts/train_word_vectors.py --dataset_name stanfordnlp/imdb $(DATA_FLAG) --algorithm lsa --sif 1e-3 \
		--output_file $@

reproduce-imdb: runs/vectors/imdb-own-lsa.txt  ## IMDB from its 25,000 training reviews, beside an LSTM (DATA=folder, or the Hub)
	for name in imdb imdb-lstm imdb-ngram; do $(RUN) scripts/train_glue.py --recipe $$name $(DATA_FLAG) || exit 1; done
	for seed in $(SEEDS); do for name in imdb-windows imdb-votes; do $(RUN) scripts/train_glue.py --recipe $$name \
		$(DATA_FLAG) --word_vectors $< --seed $$seed || exit 1; done; done

reproduce-imdb-lm: install  ## a language model of IMDB's 75,000 reviews without test text, tuned, and its student (DATA=folder, or the Hub)
	$(RUN) scripts/pretrain_lm.py $(DATA_FLAG)
	$(RUN) scripts/train_glue.py --recipe imdb-tuned $(DATA_FLAG) --model_name_or_path runs/imdb-lm-seed0/model
	$(RUN) scripts/label.py runs/imdb-tuned-seed0/model --dataset_name stanfordnlp/imdb $(DATA_FLAG) --mixed_precision bf16 \
		--output_file runs/labels/imdb.parquet
	$(RUN) scripts/train_glue.py --recipe imdb-student $(DATA_FLAG) --model_name_or_path runs/imdb-lm-seed0/model \
		--extra_train_file runs/labels/imdb.parquet --mixed_precision bf16

reproduce-characters: install  ## PTB, text8 and WikiText by characters, each beside its LSTM (DATA=folder, or the Hub)
	for name in ptb-char ptb-char-lstm text8-lstm text8-ngrams text8-ngrams-steep-long text8-ngrams-lstm \
		ptb-char-ngrams wikitext-char wikitext-char-lstm; do \
		$(RUN) scripts/train_char_lm.py --recipe $$name $(DATA_FLAG) || exit 1; done
	for seed in $(SEEDS); do for name in text8 text8-lstm-plain; do \
		$(RUN) scripts/train_char_lm.py --recipe $$name $(DATA_FLAG) --seed $$seed || exit 1; done; done
	for name in ptb-char-windows ptb-char-lstm-plain; do \
		$(RUN) scripts/train_char_lm.py --recipe $$name $(DATA_FLAG) --mixed_precision bf16 || exit 1; done
	for seed in $(SEEDS); do for name in text8-windows text8-lstm-plain-steep; do $(RUN) scripts/train_char_lm.py \
		--recipe $$name $(DATA_FLAG) --mixed_precision bf16 --seed $$seed || exit 1; done; done

space: install  ## show the family in a browser: a tab for each head, and the memory itself
	$(RUN) scripts/space.py

table: install  ## write the tables of README.md and docs/, and the pictures of docs/results.md, from records/
	$(RUN) report/results_table.py --write
	$(RUN) report/figure_results.py

card: install  ## write a model card for every record
	$(RUN) scripts/push_to_hub.py --cards records model_cards

push: install  ## lay out a run for the Hub: RUN_DIR=runs/NAME; and push it: REPO=org/name
	$(RUN) scripts/push_to_hub.py $(RUN_DIR) $(if $(REPO),--push --repo_id $(REPO),)

docs: install  ## build the API reference from the docstrings, into build/docs; the figure of docs/ too
	$(RUN) report/figure_theta_and_order.py
	$(RUN) -m pdoc lmu_hf $(MODULES) lmu_hf.data lmu_hf.training lmu_hf.hub lmu_hf.cli --docformat google --output-directory build/docs

clean:  ## remove the environment and caches (runs stay)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache src/*.egg-info
