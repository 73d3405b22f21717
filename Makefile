# Everything happens in .venv; nothing is needed beside Python 3.11 to 3.13, make and a package index.
PYTHON ?= python3
BIN := .venv/bin

# What one bench is called, and flags for it: make bench NAME=hop ARGS=--json
NAME ?=
ARGS ?=
# make lock LOCKFLAGS=--upgrade takes newer versions; without it only what pyproject.toml asks for changes.
LOCKFLAGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help install demo test lint bench lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/.project ## Make .venv with everything (PYTHON=python3.12 chooses the interpreter)

demo: install ## Ask the demo support desk a question that needs three experts; offline
	$(BIN)/swarm demo

test: install ## Run the tests, three at once; ARGS are pytest's
	$(BIN)/python -m pytest $(strip -q -n 3 $(ARGS))

lint: install ## ruff, mypy --strict and the import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: install ## Run one benchmark: NAME=hop, ARGS=--json
	$(BIN)/python -m tests.bench $(strip $(NAME) $(ARGS))

# The stamps come last, so a step that was interrupted runs again.
.venv/.locked: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else \
		"Python 3.11 to 3.13 is needed and $(PYTHON) is %d.%d: make install PYTHON=python3.12" % v[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "$(PYTHON) comes without venv: apt install python3-venv" >&2; exit 1; }
	@echo 'Installing into .venv: about a minute the first time.'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install -q --require-hashes -r requirements.lock
	@touch $@

.venv/.project: .venv/.locked pyproject.toml
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

UV_COMPILE = .venv-uv/bin/uv pip compile -q pyproject.toml --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links $(LOCKFLAGS)

lock: ## Write both lock files anew from pyproject.toml (LOCKFLAGS=--upgrade for newer versions)
	@test -x .venv-uv/bin/uv || { $(PYTHON) -m venv .venv-uv && .venv-uv/bin/python -m pip install -q 'uv>=0.8,<1'; }
	$(UV_COMPILE) --extra all --extra dev -o requirements.lock
	$(UV_COMPILE) --extra cli --extra documents --extra encoder --extra worker -c requirements.lock -o requirements-runtime.lock

clean: ## Remove .venv and every cache
	rm -rf .venv .venv-uv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
