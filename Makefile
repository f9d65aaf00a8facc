# make demo   the main job on a synthetic corpus: a table of models in about two minutes
# make test   all tests
# make check  lint, types and import contracts
# make clean  remove what the others made

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check clean

demo: $(VENV)/.demo
	$(BIN)/convrnn compare demo --task gender --setting paralinguistic --split partitions \
		--models baseline,conv,clstm,extended-clstm,cblstm --seeds 1 --max-epochs 15 --jobs 2 --out out/demo

test: $(VENV)/.test
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One environment; each target adds the extras it needs.
$(VENV)/.%: pyproject.toml constraints.txt hatch_build.py $(wildcard csrc/*) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
