#!/usr/bin/env bash
# Compile every GPU kernel for every target and interpret them, with two versions of Triton: the one of this project's
# environment (PYTHON, as `make check-triton` sets it) and 3.6.0 with torch 2.11.0, in an environment of its own.
# Needs no GPU. TRITON_VERSION and TORCH_VERSION override the second.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
triton_version=${TRITON_VERSION:-3.6.0}
torch_version=${TORCH_VERSION:-2.11.0}
venv=.venv-triton$(echo "$triton_version" | cut -d. -f1,2 | tr -d .)
installed="$venv/.installed-torch-$torch_version"

if [ ! -f "$installed" ]; then
  "$python" -m venv "$venv"
  # Triton 3.6's interpreter turns one-element arrays into numbers, which newer NumPy refuses.
  "$venv/bin/python" -m pip install -q "torch==$torch_version" "numpy<2.3" pytest pytest-xdist pytest-timeout hypothesis
  # A CPU build of torch brings no Triton, and any other would be the wrong one.
  "$venv/bin/python" -m pip install -q --no-deps "triton==$triton_version"
  touch "$installed"
fi

check() { # interpreter, cache of compiled kernels
  "$1" -c "import torch, triton; print('torch', torch.__version__, 'triton', triton.__version__)"
  OMP_NUM_THREADS=1 SCAN2D_AOT=all TRITON_CACHE_DIR="$2" \
    "$1" -m pytest -q -n "${WORKERS:-2}" --dist worksteal kernels/scan2d/tests/test_triton_*.py \
      kernels/scan2d/tests/test_wavefront_triton.py
}
check "$venv/bin/python" "$PWD/$venv/triton-cache"
check "$python" "${TRITON_CACHE_DIR:-$HOME/.triton/cache}"
