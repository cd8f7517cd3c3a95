# `make testnet` and `make test` each do all of their own set-up; a second call skips it.

# The first interpreter that is new enough; another one: make PYTHON=/path/to/python3
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))) python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Options for `kaisar testnet`: make testnet ARGS="--epochs 5 --cheating-providers 1"
ARGS ?=
BENCHES := gas proof verify gossip popw attacks rental zeronode_ledger zeronode

.PHONY: help setup testnet test check pytest bench clean
.DELETE_ON_ERROR:

help:
	@echo 'make testnet   a whole network on this machine: chain, checkers, providers (ARGS="…")'
	@echo 'make test      every check and every test'
	@echo 'make check     formatting, lint, types, import rules, compiled contracts'
	@echo 'make bench     every benchmark, results in build/bench'
	@echo 'make setup     only the environment in $(VENV), for development'
	@echo 'make clean     remove the environment, caches and the data of test networks'

# Two stamps: running a network needs fewer packages than working on the code does.
setup: $(VENV)/.development

$(VENV)/.made:
	@$(PYTHON) scripts/check_prerequisites.py
	@echo 'making $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/.made
	@echo 'installing what a node needs (about a minute)'
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.development: pyproject.toml constraints.txt | $(VENV)/.made
	@echo 'installing what nodes and tests need (a minute or two)'
	@$(INSTALL) -e '.[dev]'
	@touch $(VENV)/.runtime $@

testnet: $(VENV)/.runtime
	@$(BIN)/kaisar testnet $(ARGS)

test: check pytest

# Coverage is asked of protocols/ by its own tests; tracing the EVM as well would double its time.
# Whole networks come last and alone: they take both cores, and measure.
pytest: $(VENV)/.development
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/protocols --cov $(ARGS)
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/protocols --ignore=tests/integration $(ARGS)
	$(BIN)/python -m pytest tests/integration $(ARGS)

check: $(VENV)/.development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m chain.compile --check

bench: $(VENV)/.development
	@mkdir -p build/bench
	@for name in $(BENCHES); do \
		echo "bench.$$name" && $(BIN)/python -m bench.$$name --json build/bench/$$name.json || exit 1; \
	done

clean:
	rm -rf $(VENV) build dist *.egg-info .testnet .pytest_cache .mypy_cache .ruff_cache
	rm -rf .hypothesis .import_linter_cache .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
