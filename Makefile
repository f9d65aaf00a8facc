# make demo   compares five models on a synthetic corpus, in about two minutes
# make test   all tests except the slow ones, in parallel: about seven minutes on two cores
# make test-all  every test
# make test-aeon  tests of the estimator for aeon and of its tutorial; aeon needs older versions of numpy and pandas, in .venv-aeon
# make test-ray  tests of comparisons on a Ray cluster of three nodes on this machine, in .venv-ray
# make docs   the documentation site, in build/docs; `make docs-links` tries its links to other sites
# make check  lint, types, import contracts, and the CPU kernel with warnings as errors (needs a C compiler)
# make sanitize  the CPU kernel's tests under the address, undefined-behaviour and thread sanitizers (needs gcc)
# make perf-driver  a C program that calls the CPU kernel, for perf: see csrc/README.md
# make torture   many kills, damaged inputs, full disks and large corpora: half an hour on two cores (needs a C compiler)
# make dist  the source distribution and the wheels of a release, in dist
# make check-dist  checks those
# make check-dist-arm64  the kernel's tests on the wheel for 64-bit ARM, under QEMU: 11 minutes on two idle cores
# make clean  removes everything that the other targets made

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all test-aeon test-ray docs docs-links check sanitize perf-driver torture dist check-dist check-dist-arm64 \
	clean

demo: $(VENV)/.demo
	$(BIN)/convrnn compare demo --task gender --setting paralinguistic --split partitions \
		--models baseline,conv,clstm,extended-clstm,cblstm --seeds 1 --max-epochs 15 --jobs 2 --out out/demo

# One process per core, at most 8. All tests of a file run in the same process, since they share fixtures.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
test: $(VENV)/.test
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.test
	$(PYTEST)

test-aeon:
	$(PYTHON) -m venv .venv-aeon
	grep -v '^\(numpy\|pandas\)==' constraints.txt > .venv-aeon/constraints.txt
	.venv-aeon/bin/python -m pip install --quiet --disable-pip-version-check --constraint .venv-aeon/constraints.txt \
		--editable '.[aeon]' pytest hypothesis
	.venv-aeon/bin/python -m pytest src/convrnn/aeon.py tests/estimators/test_aeon.py tests/docs/test_time_series.py

test-ray:
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[ray]' pytest hypothesis
	.venv-ray/bin/python -m pytest tests/experiments/test_ray.py

# Warnings are errors, among them references and links within the site that lead nowhere.
SPHINX := $(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet
docs: $(VENV)/.docs
	$(SPHINX) --builder html docs build/docs

docs-links: $(VENV)/.docs
	$(SPHINX) --builder linkcheck --define nb_execution_mode=off docs build/docs-links

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 --package convrnn
	$(BIN)/lint-imports
	CFLAGS=-Werror $(BIN)/python hatch_build.py --output build/check/_native.so

# The kernel uses its own threads here, because the thread sanitizer cannot see into the OpenMP runtime. Python and PyTorch
# are not built for the sanitizers, so leak detection is off. A sanitizer's report ends the process, so pytest must not
# capture it at the level of file descriptors.
KERNEL_TESTS := --capture=sys $(wildcard tests/ops/test_native*.py)
NATIVE_UNDER = CONVRNN_NATIVE_LIBRARY=$(CURDIR)/build/$(1)/_native.so CONVRNN_NATIVE_THREADS=pthread
sanitize: $(VENV)/.test
	CC=gcc $(BIN)/python hatch_build.py --output build/address/_native.so --sanitize address,undefined
	$(call NATIVE_UNDER,address) LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
		$(BIN)/python -m pytest $(KERNEL_TESTS) -k "not compiled and not exported and not missing and not fork"
	CC=gcc $(BIN)/python hatch_build.py --output build/thread/_native.so --sanitize thread
	$(call NATIVE_UNDER,thread) LD_PRELOAD="$$(gcc -print-file-name=libtsan.so)" TSAN_OPTIONS=halt_on_error=1:suppressions=$(CURDIR)/csrc/thread-sanitizer.supp \
		$(BIN)/python -m pytest $(KERNEL_TESTS) -k "threads and not fork"

perf-driver:
	CFLAGS="-g -fno-omit-frame-pointer" $(PYTHON) hatch_build.py --output build/perf/_native.so
	$(CC) -std=gnu11 -O2 -g -Wall -Wextra csrc/driver/driver.c -o build/perf/driver \
		-Lbuild/perf -l:_native.so -Wl,-rpath,'$$ORIGIN' -lm

# Ends with a table, and fails if anything in it breaks a promise of docs/reliability.md.
torture: $(VENV)/.torture
	$(BIN)/python -m torture $(TORTURE)

dist: $(VENV)/.dist
	$(BIN)/python -m release.build

check-dist: $(VENV)/.dist $(VENV)/.test
	$(BIN)/python -m release.check
	CONVRNN_WHEEL=$$(ls dist/*-manylinux_*_$$(uname -m).whl) $(BIN)/python -m pytest tests/test_install.py

check-dist-arm64: $(VENV)/.dist
	release/arm64.sh $(BIN)/python dist/*-manylinux_*_aarch64.whl

# One environment; each target adds the extras it needs.
$(VENV)/.%: pyproject.toml constraints.txt hatch_build.py $(wildcard csrc/*) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .venv-aeon .venv-ray out build dist src/convrnn/ops/_native.so .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis .import_linter_cache
