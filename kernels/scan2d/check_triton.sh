#!/usr/bin/env bash
# Compile and interpret the GPU kernels with a second Triton (3.6.0, as torch 2.11 brings it), in an environment of
# its own. Needs no GPU. PYTHON, TRITON_VERSION and TORCH_VERSION override the defaults.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
triton_version=${TRITON_VERSION:-3.6.0}
torch_version=${TORCH_VERSION:-$(sed -n 's/^torch==//p' constraints.txt)}
venv=.venv-triton$(echo "$triton_version" | cut -d. -f1,2 | tr -d .)

if [ ! -f "$venv/.installed" ]; then
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install -q -c constraints.txt "torch==$torch_version" numpy numba pytest pytest-xdist pytest-timeout hypothesis
  # The CPU build of torch brings no Triton, and any other would be the wrong one.
  "$venv/bin/python" -m pip install -q --no-deps "triton==$triton_version"
  # Triton 3.6's interpreter turns one-element arrays into numbers, which newer NumPy refuses.
  "$venv/bin/python" -m pip install -q "numpy<2.3"
  touch "$venv/.installed"
fi

"$venv/bin/python" -c "import torch, triton; print('torch', torch.__version__, 'triton', triton.__version__)"
OMP_NUM_THREADS=1 TRITON_CACHE_DIR="$PWD/$venv/triton-cache" \
  "$venv/bin/python" -m pytest -q -n "${WORKERS:-2}" --dist worksteal \
  kernels/scan2d/tests/test_triton_aot.py kernels/scan2d/tests/test_triton_interpreted.py \
  kernels/scan2d/tests/test_triton_workspace.py
