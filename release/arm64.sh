#!/usr/bin/env bash
# Runs the kernel's tests on a wheel for 64-bit ARM, on another machine, with QEMU and Debian's Python for it.
# Usage: release/arm64.sh PYTHON WHEEL, with a Python that has pip. Needs qemu-user and debootstrap, and about 1 GB.
set -euo pipefail
python=$(realpath --no-symlinks "$1")
wheel=$(realpath "$2")
cd "$(dirname "$0")/.."
place=$PWD/build/arm64
mkdir -p "$place"
if [ ! -e "$place/root/usr/bin/python3.11" ]; then
  # Only unpacked: nothing of it is run but Python.
  debootstrap --arch=arm64 --foreign --variant=minbase --include=python3,libgomp1,libstdc++6 bookworm "$place/root"
  find "$place/root" -name '*.deb' -exec dpkg -x {} "$place/root" \;
fi
if [ ! -e "$place/packages/torch" ]; then
  # The last release of PyTorch whose wheel for ARM does without CUDA; the kernel does not depend on it.
  needed='numpy|typing_extensions|sympy|mpmath|networkx|jinja2|markupsafe|fsspec|filelock|pytest|iniconfig|pluggy|packaging'
  needed+='|pygments|pydantic|pydantic_core|annotated-types|typing-inspection|safetensors|hypothesis|sortedcontainers|attrs'
  { echo torch==2.9.1; grep -iE "^($needed)==" constraints.txt; } > "$place/requirements.txt"
  "$python" -m pip install --quiet --target "$place/packages" --no-deps --only-binary :all: --python-version 3.11 \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
    --platform manylinux2014_aarch64 --requirement "$place/requirements.txt"
fi
rm -rf "$place/wheel"
"$python" -m zipfile --extract "$wheel" "$place/wheel"
# Left out: tests that start another Python or a compiler, neither of which is there.
exec qemu-aarch64 -L "$place/root" -E PYTHONPATH="$place/wheel:$place/packages" -E PYTHONDONTWRITEBYTECODE=1 \
  "$place/root/usr/bin/python3.11" -m pytest -p no:cacheprovider \
  -k "not compiled and not fork and not fewer_threads and not memory_does_not_grow" \
  tests/ops/test_native.py tests/ops/test_native_long_windows.py tests/ops/test_native_tensors.py \
  tests/ops/test_native_threads.py tests/ops/test_native_dtypes.py
