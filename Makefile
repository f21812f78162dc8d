.DEFAULT_GOAL := help

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet install
EDITABLE := $(INSTALL) --no-deps --no-build-isolation --editable .
COMPILE := $(BIN)/uv --quiet pip compile pyproject.toml - --universal --python-version 3.11 --generate-hashes --upgrade \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock'
# What builds the project, and what hatchling asks for to do it editably.
BUILD_REQUIRES := (sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml; echo editables)

# The lock files decide alone what is installed, and where.
unexport PIP_CONSTRAINT PIP_TARGET PIP_USER

.PHONY: help setup demo up test sim check check-tests check-types check-style lock clean

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/runtime.stamp ## make .venv with all that running needs

demo: setup ## run an example process on private servers; CRASH=1 kills the engine in the middle
	@$(BIN)/understudy demo $(if $(CRASH),--crash)

up: setup ## run a gateway and NODES=2 workers as processes of their own on private servers, as a deployment would
	@$(BIN)/understudy dev --nodes $(or $(NODES),2)

test: .venv/dev.stamp ## run all tests on private servers, or on UNDERSTUDY_TEST_POSTGRES_URL, _REDIS_URL and _RABBITMQ_URL
	@scripts/servers $(BIN)/python
	$(BIN)/pytest -n $(if $(UNDERSTUDY_TEST_REDIS_URL),0,2)

sim: .venv/dev.stamp ## run the cluster on model servers, RUNS seeds from SEED on; a seed that fails can be run alone
	@$(BIN)/python -m tests.simulation --seed $(or $(SEED),1) --runs $(or $(RUNS),100)

check: .venv/dev.stamp ## format, lint, types, layers, and the tests that need no server
	@$(MAKE) --no-print-directory -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync) check-tests check-types check-style

check-tests:
	$(BIN)/pytest -q -n 2 tests/unit tests/replay --cov=understudy.domain --cov-fail-under=100
	$(BIN)/pytest -q -n 2 tests/contract tests/simulation/test_loop.py tests/simulation/test_simulation.py tests/test_tidy.py

check-types:
	$(BIN)/mypy

check-style:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

lock: .venv/dev.stamp ## pin the newest versions that pyproject.toml allows
	$(BUILD_REQUIRES) | $(COMPILE) --extra embedded --output-file requirements.lock
	$(BUILD_REQUIRES) | $(COMPILE) --all-extras --constraint requirements.lock --output-file requirements-dev.lock

clean: ## remove .venv and what tools left; data in .understudy stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@scripts/venv .venv

.venv/runtime.stamp: requirements.lock pyproject.toml | .venv/bin/python
	@echo "Installing what running needs into .venv"
	@$(INSTALL) --require-hashes --requirement requirements.lock
	@$(EDITABLE)
	@touch $@

.venv/dev.stamp: requirements-dev.lock pyproject.toml | .venv/bin/python
	@echo "Installing what running and testing need into .venv"
	@$(INSTALL) --require-hashes --requirement requirements-dev.lock
	@$(EDITABLE)
	@touch .venv/runtime.stamp $@
