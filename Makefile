# Pedigree.  `make help` prints what there is.

PYTHON ?= python3
BIN    := .venv/bin
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check unit format clean dev

help: ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: dev ## the gate at work on a real Kubernetes API server; KEEP=1 leaves it running
	@PYTHONPATH=tests:examples $(BIN)/python -m demo $(if $(KEEP),--keep)

test: check ## everything: linters, types, layers, unit tests, cluster tests
	@PYTHONPATH=tests $(BIN)/python -m controlplane.binaries
	$(BIN)/python -m pytest

check: dev ## linters, types and layer contracts, without tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: dev ## the unit tests alone: no cluster, seconds
	$(BIN)/python -m pytest tests/unit

format: dev ## rewrite the code in the one format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

dev: ## the virtual environment in .venv; the other targets make it themselves
	@$(PYTHON) tools/bootstrap.py

clean: ## remove the virtual environment and tool caches; built programs stay cached
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
