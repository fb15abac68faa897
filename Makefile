# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv themselves and need no GPU.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_OUT ?= demo-run
WORKERS ?= auto
# One thread per test worker: the workers are the parallelism.
TEST_ENV := OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=2 TOKENIZERS_PARALLELISM=false

.PHONY: setup demo test lint bench check-triton clean

setup: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/wsi2dmamba demo --out $(DEMO_OUT)

test: $(VENV)/.installed-dev
	$(TEST_ENV) $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

check-triton: $(VENV)/.installed-dev
	PYTHON=$(BIN)/python bash kernels/scan2d/check_triton.sh

clean:
	rm -rf $(VENV) .venv-triton* build dist *.egg-info $(DEMO_OUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
