# Every task of the project: `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test test-slow test-gpu test-avx512 conformance lint format typecheck clean

help: ## list the tasks
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# Made anew whenever the dependencies change.
.venv/.made: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev,linker]'
	@touch $@

demo: .venv/.made ## build, verify and benchmark the shipped model and a ResNet-50
	$(BIN)/python examples/demo.py

test: .venv/.made ## run the tests (the slow sweeps left out)
	$(BIN)/pytest -n auto

test-slow: .venv/.made ## run the slow sweeps; CONVC_ZOO=DIR and CONVC_TRAINED=DIR add the models in folders
	$(BIN)/pytest -m slow

test-gpu: .venv/.made ## run the tests that need a GPU; CONVC_ZOO=DIR adds the models in a folder
	$(BIN)/pytest -m gpu -v

test-avx512: .venv/.made ## run the tests of kernels and networks with the schedules of AVX-512, on any machine
	$(BIN)/pytest -n auto --vectors-of cpu:skylake-avx512 tests/targets/cpu tests/models tests/conformance

conformance: .venv/.made ## run all of ONNX's backend tests that apply, and count them
	$(BIN)/pytest -m slow tests/conformance

lint: .venv/.made ## ruff: style and likely bugs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.made ## ruff: format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# mypy cannot follow the editable install's mapping of top-level folders to convc.*, so it is shown a tree that
# has the installed shape.
typecheck: .venv/.made ## mypy --strict on the installed package layout
	@rm -rf build/types && mkdir -p build/types/convc
	@ln -s $(CURDIR)/convc/* $(CURDIR)/frontends $(CURDIR)/passes $(CURDIR)/targets build/types/convc/
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p convc

clean: ## remove the environment and the caches
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
