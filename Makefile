# make bench: from a bare machine to a first report.   make test: all checks, what CI runs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: bench test quick equality lint types contracts browser gpu-check clean help

help:
	@sed -n 's/^# *//p' Makefile | head -1

bench: $(VENV)/.installed
	$(BIN)/hwbench bench

test: lint types contracts browser
	$(BIN)/python -m pytest

quick: lint types contracts
	$(BIN)/python -m pytest -m "not heavy"

lint: $(VENV)/.test-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# Every workload under every layout on 2 and 4 ranks against one process; writes docs/equality.md.
equality: $(VENV)/.test-installed
	$(BIN)/python -m tests.layouts.equality

types: $(VENV)/.test-installed
	$(BIN)/mypy

contracts: $(VENV)/.test-installed
	$(BIN)/lint-imports

# The page is looked at in a real browser; where none can be installed those tests skip and say so.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || sh tests/install_browser.sh

# What a CPU can't verify, on one accelerator, offline, in ten minutes; exits 3 without one.
gpu-check: $(VENV)/.installed
	@$(BIN)/python tests/gpu/gpu_check.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "hwbench needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "no virtual environment could be made; Debian and Ubuntu: apt-get install python3-venv"; exit 2; }

# torch first and pinned: an unpinned torch is a multi-gigabyte CUDA build.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

$(VENV)/.test-installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[test,numba]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
