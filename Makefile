# Everything runs from a virtual environment in .venv, made on first use with pip alone.

PYTHON ?= python3
BIN := .venv/bin
QUICKSTART := quickstart
RELEASE := $(QUICKSTART)/paper.h5
DATA := $(QUICKSTART)/data
# Images of each release: fewer than the suite has, so that four entries take about two minutes.
LIMIT := 2
ENTRIES := zeros median_kernel tikhonov polar

.PHONY: quickstart test fast-tests test-all test-pythons lint style types numba-cache bench campaign gpu-check gpu-train train-queue clean

quickstart: .venv/base numba-cache
	@mkdir -p $(QUICKSTART)/predictions $(QUICKSTART)/results
	$(BIN)/qpibench generate paper -o $(RELEASE) --resume
	$(BIN)/qpibench verify $(RELEASE)
	$(BIN)/qpibench evaluate polar --release $(RELEASE) --track paper/ood-positions --limit 40 \
	    -o $(QUICKSTART)/polar.json --report $(QUICKSTART)/polar.html
	@set -e; for entry in $(ENTRIES); do \
	    command="$(BIN)/qpibench evaluate $$entry --suite quick --limit $(LIMIT) --release $(RELEASE) --data $(DATA)"; \
	    command="$$command -o $(QUICKSTART)/results/$$entry.json --predictions $(QUICKSTART)/predictions/$$entry.h5"; \
	    echo "$$command"; $$command; \
	done
	@set -e; command="$(BIN)/qpibench leaderboard check $(QUICKSTART)/results/tikhonov.json --release $(RELEASE)"; \
	command="$$command --data $(DATA)"; \
	for file in $(QUICKSTART)/predictions/tikhonov-*.h5; do command="$$command --predictions $$file"; done; \
	echo "$$command"; $$command
	$(BIN)/qpibench leaderboard build $(QUICKSTART)/results -o $(QUICKSTART)/site
	@echo
	@echo "The leaderboard: $(QUICKSTART)/site/index.html. A report, image by image: $(QUICKSTART)/polar.html."

# Two processes; each takes neighbouring tests, which share fixtures, and then half of what is left of the other's.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal --benchmark-disable

# The check of types keeps one core busy for half a minute, so it runs beside the tests.
test: style
	@$(MAKE) --no-print-directory --jobs=2 types fast-tests

fast-tests: .venv/dev numba-cache
	$(PYTEST) -m "not slow and not gpu"

test-all: lint numba-cache
	$(PYTEST)

# The core of the fast tests on each Python, with the oldest and with the newest packages; it needs no .venv.
PYTHONS := 3.11 3.12 3.13

test-pythons:
	$(PYTHON) benchmarks/pythons.py --pythons $(PYTHONS)

lint: style types

style: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/dev
	$(BIN)/mypy

# Numba's cache does not notice edits in modules that a compiled function uses.
numba-cache:
	$(QPIBENCH_PYTHON) benchmarks/numba_cache.py

bench: .venv/dev numba-cache
	$(BIN)/python -m benchmarks

# Hours; stopped, it goes on. One of them: .venv/bin/python -m benchmarks.campaigns kills --seed 1 --count 20
campaign: .venv/dev numba-cache
	nice $(BIN)/python -m benchmarks.campaigns

# Needs no network: where packages are installed already, a Python outside .venv does, or QPIBENCH_PYTHON names it.
QPIBENCH_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

gpu-check: numba-cache
	$(QPIBENCH_PYTHON) -m benchmarks.gpu_check

# The published methods on a GPU within a time in seconds: results in $$OUT or gpu-train/; again, it goes on.
BUDGET := 420

gpu-train:
	$(QPIBENCH_PYTHON) -m benchmarks.gpu_train --budget $(BUDGET)

# The same on the CPU at the lowest priority, for days; again, it goes on. `nohup make train-queue &` outlives the shell.
train-queue: .venv/dev numba-cache
	@mkdir -p $(dir $(RELEASE))
	$(BIN)/qpibench generate paper -o $(RELEASE) --resume
	$(BIN)/python -m benchmarks.studies --queue --release $(RELEASE)

clean:
	rm -rf .venv .pythons build dist *.egg-info $(QUICKSTART)

.venv/base: pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qpibench needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# torch comes first and pinned: any other way of installing it may bring gigabytes of CUDA along.
.venv/dev: .venv/base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@
