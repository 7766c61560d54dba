# Two commands for everyone: `make demo` and `make test`. Each makes .venv and installs first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format test-slow test-gpu bench clean

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 12) else f"error: Python 3.10-3.12 is needed, {sys.executable} is {v[0]}.{v[1]}; run: make PYTHON=python3.11 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (torch is a large download; a minute or two) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

install: $(STAMP) ## .venv with everything

demo: $(STAMP) ## train, index, search and transcribe something real; ends in runs/demo/report.html
	@$(BIN)/python tools/demo

test: $(STAMP) lint ## lint, types, import contract, tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(STAMP) ## ruff, mypy, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## let ruff mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-slow: $(STAMP) ## the long tests: many kills, soaks, two processes
	$(BIN)/python -m pytest -m slow

test-gpu: $(STAMP) ## tests that need a GPU; fails where there is none
	REQUIRE_GPU=1 $(BIN)/python -m pytest -m gpu

bench: $(STAMP) ## every benchmark; dated results under tools/bench/results/
	@for script in tools/bench/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean: ## remove what the targets made, but not runs/
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
