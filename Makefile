# Two commands do everything: `make demo` and `make test`.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
RUN ?= demo

.PHONY: help install system demo test test-slow test-all fuzz lint format types test-notebooks docs screenshots clean

help:
	@echo "make demo   install, run the whole WoVR loop on LIBERO, write a report (about 12 minutes on 2 cores)"
	@echo "make test   install, lint, type-check, run the tests"
	@echo "make test-all   the slow tests and the whole notebooks too"
	@echo "make docs   build the documentation: docs/_build/index.html"
	@echo "make install   only install, into .venv"
	@echo "make lint, types, format   check style and imports; check types; rewrite what style can mend by itself"
	@echo "make fuzz, screenshots   5,000 mutants of every file format; the README's pictures from the demo's run"
	@echo "make clean   remove .venv, caches and what make docs wrote"

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): four to six minutes on two cores and 5 GB, most of both for PyTorch. pip is quiet unless something fails."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[app,notebook,postgres,ray,tracking,data,large,robot,docs,dev]"
	@touch $@

system:
	@bash tools/system_packages.sh $(SYSTEM_PACKAGES)

install: system $(VENV)/.installed

demo: install
	$(BIN)/wovr demo --run $(RUN)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The browser tests drive Debian's Chromium.
test test-slow screenshots: SYSTEM_PACKAGES := chromium
test: lint types
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist load -m slow

test-all: test test-slow test-notebooks

# Each notebook in full, where `make test` takes the fast path through the same cells.
test-notebooks: install
	OMP_NUM_THREADS=2 $(BIN)/python tools/notebooks.py --run

# The site, from docs/ and from what the code says of itself; needs no network.
docs: install
	@echo "Building the site: a minute or two, in silence unless something is wrong."
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build
	@echo "docs/_build/index.html"

# Mutants of every file format, 25 times as many as in `make test`: about 5 minutes.
fuzz: install
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/fuzz --mutants 5000

# Needs a finished run (make demo) and Chromium; SHOT_RUN names another run.
screenshots: install
	$(BIN)/python tools/screenshots.py $(if $(SHOT_RUN),--run $(SHOT_RUN))

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info docs/_build docs/generated
