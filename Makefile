# `make demo` and `make test` need python3 (3.11 or newer, with venv) and make, and do all their set-up themselves.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCK := requirements-dev.lock
# The set-up is done again when the lock or the project file has other content, not when a checkout touched them.
STAMP := $(VENV)/.ready-$(shell cat $(LOCK) pyproject.toml | cksum | cut -d ' ' -f 1)
STEP = @printf '\n== %s\n'

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types layers prompts golden pytest nightly coverage format docs lock clean

help:  ## Show these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(STAMP)  ## Make .venv with the locked packages and the project in it

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "CodeCairn needs Python 3.11 or newer, and '$(PYTHON)' is not. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(STEP) "1/3 virtual environment $(VENV)"
	@$(BIN)/python -c '' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
	  echo "'$(PYTHON) -m venv' failed. Debian and Ubuntu keep it in a package of its own: apt-get install python3-venv" >&2; exit 1; }
	$(STEP) "2/3 installing $$(grep -c '==' $(LOCK)) locked packages (one to three minutes the first time)"
	@$(PIP) install --progress-bar off --only-binary :all: --require-hashes -r $(LOCK) \
	  | sed -nE 's/^Collecting ([^ ]+).*/  \1/p; s/^Processing .*\/([^ ]+)\.whl.*/  \1/p; /^Installing/s/:.*//p'
	$(STEP) "3/3 installing CodeCairn itself"
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.ready-* && touch $@

demo: $(STAMP)  ## Index two real sources, ask four questions, open every citation
	@$(BIN)/python -m golden.demo

test: lint types layers prompts golden pytest  ## Everything that CI checks

lint: $(STAMP)  ## Style and format
	$(STEP) "ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict
	$(STEP) "mypy"
	@$(BIN)/mypy

layers: $(STAMP)  ## Who may import whom
	$(STEP) "import-linter"
	@$(BIN)/lint-imports | sed -n '/^Analyzed/,$$p'

prompts: $(STAMP)  ## Published prompts are as they were locked
	$(STEP) "prompts"
	@$(BIN)/codecairn prompts verify

golden: $(STAMP)  ## Run the golden set and its gate
	$(STEP) "golden gate"
	@$(BIN)/python -m golden.gate

pytest: $(STAMP)  ## The tests
	$(STEP) "pytest"
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadfile

nightly: $(STAMP)  ## The test programme at the sizes of a night (three hours or more)
	@$(BIN)/python -m tests.nightly

coverage: $(STAMP)  ## The tests with branch coverage and its floor
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadfile --cov --cov-report term:skip-covered

format: $(STAMP)  ## Format the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

docs: $(STAMP)  ## Write the generated tables of docs/
	@$(BIN)/python -m tests.test_docs

lock: $(STAMP)  ## Renew requirements-dev.lock from pyproject.toml (needs the network)
	@$(PIP) install --quiet pip-tools
	@printf '%s\n' '# Exact versions with hashes of everything that `make test` and `make demo` install (Python 3.11 to 3.13, Linux x86_64).' \
	  '# Made by `make lock`; do not edit.' > $(LOCK).new
	@$(BIN)/pip-compile --quiet --upgrade --generate-hashes --extra dev --allow-unsafe --strip-extras --no-header \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file - pyproject.toml >> $(LOCK).new
	@mv $(LOCK).new $(LOCK)

clean:  ## Remove what these targets made
	rm -rf $(VENV) .demo .golden build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
