PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(VENV)/installed ## make .venv with gmlight and its tools

run: install ## condense the handwritten digits: about two minutes on two cores
	$(BIN)/python -m gmlight.train

test: install ## the tests: about thirteen minutes on two cores
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: install ## the tests that take longer
	$(BIN)/python -m pytest -m slow

test-gpu: install ## the tests that need an NVIDIA GPU
	$(BIN)/python -m pytest -m gpu

test-slurm: install ## a sweep and a run on a real Slurm of their own, as root
	command -v slurmctld > /dev/null || apt-get install --yes slurm-wlm munge
	$(BIN)/python -m pytest -m slurm

check: install ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install ## put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove .venv and caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache dist

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

.PHONY: help install run test test-slow test-gpu test-slurm check format clean
