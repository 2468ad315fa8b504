# kubetfx: `make run` and `make test` set up what is missing first.
# PYTHON names the Python to start from; any Python 3 will find a fitting one on PATH.

PYTHON ?= python3
BIN := .venv/bin
PYTEST_ARGS ?=
RUN_ARGS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## make or complete .venv; at once when nothing is missing
	@$(PYTHON) -m pipeline.install

.PHONY: run
run: setup ## run the Chicago taxi pipeline; RUN_ARGS are passed to `kubetfx run`
	@$(BIN)/kubetfx run $(RUN_ARGS)

.PHONY: test
test: setup ## run the tests with coverage; PYTEST_ARGS are passed to pytest
	@$(BIN)/python -m pytest --cov --cov-report=term --durations=10 $(PYTEST_ARGS)

.PHONY: test-browser
test-browser: setup ## open reports in Chromium (apt-get install chromium)
	@KUBETFX_NEEDS_BROWSER=1 $(BIN)/python -m pytest tests/pipeline/report $(PYTEST_ARGS)

.PHONY: test-kubeflow
test-kubeflow: setup ## the taxi pipeline on S3 and PostgreSQL, two runs at once, with faults (minutes)
	@KUBETFX_WHOLE_PIPELINE=1 $(BIN)/python -m pytest tests/kubeflow $(PYTEST_ARGS)

.PHONY: specs
specs: setup ## compile every example into kfp_specs/
	@for example in examples/*/; do $(BIN)/kubetfx compile $$example || exit; done
	@$(BIN)/kubetfx skew examples/chicago_taxi --compile

PROJECT ?= examples/chicago_taxi
IMAGE ?= kubetfx:$(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' pipeline/__init__.py)
BUILDER ?= $(shell command -v podman || command -v docker)

.PHONY: image
image: ## build IMAGE with docker or podman, the package in PROJECT inside
	$(BUILDER) build --build-context project=$(PROJECT) --tag $(IMAGE) $(IMAGE_ARGS) .

.PHONY: check
check: setup ## formatting, lint, types and import directions
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: setup ## rewrite the Python files in the house format
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: docs
docs: setup ## write docs/configuration.md anew from the types
	@$(BIN)/python -m pipeline.config.reference docs/configuration.md

.PHONY: lock
lock: ## write requirements/*.txt anew; LOCK_ARGS=--upgrade takes the newest versions
	@$(PYTHON) -m pipeline.install.relock $(LOCK_ARGS)

.PHONY: clean
clean: ## remove .venv, caches and build products; outputs/ stays
	rm -rf .venv .cache build dist kubetfx.egg-info .coverage .coverage.* coverage.xml
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
