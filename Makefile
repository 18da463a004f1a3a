# Every verb of the project; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
JOBS ?= 2
TEST := -m pytest --numprocesses $(JOBS) --dist worksteal
CARDS := mackey-glass qqp-alignment
NEWEST := cache generation decoding modeling seq2seq heads pipelines hub versions
.PHONY: help install demo test test-slow ecosystem newest matrix wheel lint audit bench bench-gpu reproduce space table card push notebooks docs clean

help:  ## list the verbs
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(VENV)/.installed  ## create .venv and install the package with everything needed to train and test it

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install  ## train on embedded data, save, reload, run step by step, push to a Hub on loopback and load from it
	$(RUN) scripts/demo.py

test: install  ## run the quick tests, two at a time (JOBS=0: one after another)
	$(RUN) $(TEST) -m "not slow and not ecosystem"

test-slow: install  ## run the slow tests
	$(RUN) $(TEST) -m slow

ecosystem: install  ## test what other tools make of a saved folder, in an environment of their own
	$(RUN) tests/ecosystem.py --output records/ecosystem.json

newest: install  ## test generation, heads, caches, pipelines and the Hub with newer releases than the pinned ones, if any
	$(RUN) tests/matrix.py newest --keep torch --if_newer transformers tokenizers huggingface_hub accelerate -- --numprocesses $(JOBS) --dist worksteal $(wildcard $(NEWEST:%=tests/test_%*.py))

matrix: install  ## run the tests, the README's code and the demo with the oldest, the pinned and the newest releases
	$(RUN) tests/matrix.py --output records/matrix.json && $(RUN) tests/ecosystem.py --output records/ecosystem.json

wheel: install  ## build wheel and sdist, install them into an empty environment, and train, score and export there
	$(RUN) tests/installed.py

lint: install  ## check style and types
	$(RUN) -m ruff check --no-cache .
	$(RUN) -m ruff format --no-cache --check .
	$(RUN) -m mypy

audit:  ## look up the pinned packages among known vulnerabilities; it asks the network, so .ci/run leaves it out
	$(PYTHON) -m venv build/audit && build/audit/bin/python -m pip install --quiet pip-audit && build/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

bench: install  ## time every form of the memory, and training and generation beside other models
	for what in memory training generation lengths; do $(RUN) benchmarks/benchmark_$$what.py --output records/benchmark_$$what.json || exit 1; done

bench-gpu: install  ## run every benchmark and every test marked gpu on a CUDA device, in under 25 minutes
	$(RUN) benchmarks/run_gpu.py --records records/gpu

reproduce: install  ## make a task's records again: TASK=imdb (none: list the tasks); DATA=folder, or the Hub; SEEDS="0 1 2"
	$(RUN) scripts/reproduce.py $(TASK) $(if $(DATA),--data_dir $(DATA)) $(if $(SEEDS),--seeds $(SEEDS))

space: install  ## show the models in the box in a browser: a tab for each task, and the memory itself
	$(RUN) scripts/space.py

table: install  ## write the tables of README.md and docs/results/, and their pictures, from records/
	$(RUN) report/results_table.py --write
	$(RUN) report/figure_results.py

card: install  ## write the model cards that are kept; all of them: make card CARDS= CARD_DIR=build/cards
	$(RUN) scripts/push_to_hub.py --cards records $(or $(CARD_DIR),model_cards) $(if $(CARDS),--only $(CARDS))

push: install  ## lay out a run for the Hub: RUN_DIR=runs/NAME; and push it: REPO=org/name
	$(RUN) scripts/push_to_hub.py $(RUN_DIR) $(if $(REPO),--push --repo_id $(REPO))

notebooks: install  ## run the notebooks of docs/notebooks and keep what they print and draw
	$(RUN) report/notebooks.py

docs: install  ## build the documentation site into build/docs, without a network; the figure of θ and order, too
	$(RUN) report/figure_theta_and_order.py
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet

clean:  ## remove the environment and caches (runs stay)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache src/*.egg-info
