# Each target does what it needs by itself on a fresh clone. PYTHON names the interpreter for the virtual environment.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOWEST := .venv-lowest
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

.PHONY: help setup browser demo test test-slow test-gpu test-lowest check bench bench-gpu rooms

help:  ## Show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(INSTALLED)  ## Make the virtual environment .venv with pinned dependencies and the package

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup  ## Align the embedded encoder and print a table of odd-one-out accuracy before and after
	rm -rf outputs/demo-aligned
	$(BIN)/hf-alignet demo

browser:  ## Install Debian's Chromium for the tests in a browser, if there is none and the user is root
	@if ! command -v chromium > /dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		(apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium) > /dev/null 2>&1 \
			|| echo "no Chromium could be installed: the tests in a browser are skipped"; \
	fi

test: setup  ## Run the default tests
	$(TESTS)

test-slow: setup  ## Run the end-to-end tests, which take minutes each
	$(TESTS) -m slow

test-gpu:  ## Run the default tests with a Python (PYTHON) that has PyTorch for CUDA and the package
	$(PYTHON) -c "import torch; assert torch.cuda.is_available(), 'there is no CUDA GPU'"
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 14 --dist loadgroup -p no:benchmark

test-lowest: pyproject.toml constraints-lowest.txt  ## Test what calls Hugging Face libraries with their lowest allowed versions
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints-lowest.txt torch
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable ".[dev]"
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 --dist loadgroup -m "not slow and not multi_process and not real_data" \
		tests/encoder tests/hub tests/images/test_opening.py tests/images/test_images.py tests/judgments/test_judgments.py \
		$(addprefix tests/student/test_,$(addsuffix .py,anchoring cards exported_weights families push resumption sentence_loss texts trainer)) \
		tests/test_storage.py tests/test_sources.py \
		--ignore tests/hub/test_fakehub.py  # its client of that version asks the public Hub, whatever the endpoint, to check a card

check: setup  ## Lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	for folder in recipes recipes/*/; do \
		if ls $$folder/*.py > /dev/null 2>&1; then $(BIN)/mypy $$folder/*.py || exit 1; fi; \
	done
	$(BIN)/mypy --allow-untyped-defs --cache-dir .mypy_cache/tests tests benchmarks hub_cards/examples

rooms: setup  ## Print the rooms of the package, and the imports that go the wrong way
	$(BIN)/python tests/rooms.py

bench: setup  ## Run the benchmarks, one JSON line a result
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/encoder.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/train_step.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/train_memory.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/judgments.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/teacher.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/triplets.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/evaluation.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/downstream.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/coverage.py
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/analysis.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/waits.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/explore.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/kills.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/faults.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/hub_faults.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/collect.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/collect.py --kills 10
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/adaptive.py

bench-gpu:  ## Run the benchmarks of a CUDA GPU, with a Python (PYTHON) that has PyTorch for CUDA and the package
	$(PYTHON) benchmarks/gpu.py
