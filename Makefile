# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv
CURRENT := $(VENV)/.headrace-current

.DEFAULT_GOAL := help
.PHONY: help setup demo browser screenshots test lint types check lock docs clean chaos bench

help: ## list these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(CURRENT) ## make .venv with the headrace command in it (free when it is current)

$(CURRENT): pyproject.toml requirements.lock requirements-bootstrap.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "headrace needs Python 3.11 or newer: make PYTHON=python3.12 setup"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	$(UV) pip sync --quiet --require-hashes requirements.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## a broker, a kernel, agents, a trainer and a live feed, in this terminal
	$(BIN)/headrace demo

browser: # what the tests of the web console drive; without it they are skipped, and say so
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } 2>/dev/null || \
	  echo "no Chromium, and apt-get cannot install it here: tests of pages are skipped"

screenshots: setup browser ## pictures of each page of the web console, into docs/console/
	$(BIN)/python -m tests.support.screenshots docs/console

test: setup browser ## the whole test suite, over a real Kafka broker
	$(BIN)/python -m pytest -n 2 --dist loadfile

chaos: setup ## the long proof: SEED, MINUTES with one broker and with three, then every broken subject
	$(BIN)/headrace chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),30) --rate 200 --every 7
	$(BIN)/headrace chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),30) --rate 200 --every 7 --brokers 3
	CHAOS_SUBJECTS=all $(BIN)/python -m pytest tests/chaos/test_subjects.py

bench: setup ## the benchmarks (three quarters of an hour on a quiet machine), and the tables and pictures of docs/
	$(BIN)/headrace bench all --out $(or $(OUT),figures)
	$(BIN)/headrace bench report $(or $(OUT),figures)

lint: setup ## style, import direction, and that generated documents are current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m schemas.documents --check

docs: setup ## write docs/asyncapi.yaml and docs/schemas/ anew from the types
	$(BIN)/python -m schemas.documents

types: setup ## strict type check
	$(BIN)/mypy

check: lint types test ## everything that CI runs

lock: setup ## write the lock files anew from pyproject.toml
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 --group dev --custom-compile-command "make lock" pyproject.toml -o requirements.lock
	echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" | $(UV) pip compile --quiet --universal --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header - -o requirements-bootstrap.lock

clean: ## remove what setup and the demo made here
	rm -rf $(VENV) .headrace
