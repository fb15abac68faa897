#!/usr/bin/env bash
# Everything about scan2d that needs a GPU, as one command: tests, 50 bitwise repetitions, compute-sanitizer where
# there is one, benchmark. Needs torch, triton, numpy and pytest; nothing of the slide stack.
#
#   bash kernels/scan2d/gpu_check.sh [results folder, default docs/benchmarks]
#   bash kernels/scan2d/gpu_check.sh --dry-run     without a GPU: whether every step would start, with nothing written
#
# Writes scan2d-<GPU>-<date>.{md,json} there, and a copy to $OUT if that is set. PYTHON names the interpreter. Exit
# status 0 only if all passed, 2 where there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2

python=${PYTHON:-python3}
export PYTHONPATH="$PWD:$PWD/kernels${PYTHONPATH:+:$PYTHONPATH}"
tests=(kernels/scan2d/tests --ignore-glob='*test_triton_aot.py' --ignore-glob='*test_triton_interpreted.py'
  --ignore-glob='*test_wavefront_triton.py')
failures=0

if [ "${1:-}" = --dry-run ]; then
  # What a bare GPU machine lacks is made impossible to import.
  collect='import sys, pytest
missing = "openslide tifffile h5py pandas scipy sklearn lightning numba hypothesis wsi2dmamba".split()
sys.modules.update(dict.fromkeys(missing))
sys.exit(pytest.main(["-q", "--collect-only", "-p", "no:cacheprovider", *sys.argv[1:]]))'
  try() { # title, command...
    local title=$1 log
    shift
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then echo "- $title: starts"; else
      echo "- $title: does not start"
      tail -n 15 "$log"
      failures=$((failures + 1))
    fi
    rm -f "$log"
  }
  try "tests" env PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 "$python" -c "$collect" "${tests[@]}"
  try "repetitions" "$python" -m scan2d.bench.repeat --help
  try "benchmark" "$python" -m scan2d.bench --help
  exit $((failures > 0))
fi

if ! gpu=$("$python" -c 'import torch, triton; print(torch.cuda.get_device_name())' 2>/dev/null); then
  echo "error: no GPU that torch and triton can use with $python; --dry-run checks the rest" >&2
  exit 2
fi
results=${1:-docs/benchmarks}
stamp=$(date -u +%Y-%m-%d-%H%M)
name=$results/scan2d-${gpu// /-}-$stamp
mkdir -p "$results"

report() { printf '%s\n' "$*" | tee -a "$name.md"; }
step() { # title, command...
  local title=$1 log
  shift
  log=$(mktemp)
  if timeout "${STEP_SECONDS:-500}" "$@" >"$log" 2>&1; then report "- $title: passed"; else
    report "- $title: **failed** (status $?)"
    failures=$((failures + 1))
  fi
  tail -n 25 "$log"
  # The last line of a test run says how many; keep it with the result.
  report "  $(grep -E 'passed|failed|ERROR SUMMARY|RACECHECK SUMMARY|repetitions' "$log" | tail -n 1)"
  rm -f "$log"
}

report "# scan2d on a GPU, $stamp UTC"
report ""
report "$gpu · $("$python" -c "import torch, triton; print('torch', torch.__version__, '· triton', triton.__version__)")"
report ""
step "tests" "$python" -m pytest -q -p no:cacheprovider "${tests[@]}"
step "50 repetitions, bitwise" "$python" -m scan2d.bench.repeat --rounds 50
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    step "compute-sanitizer $tool" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" \
      --error-exitcode 1 "$python" -m scan2d.bench.repeat --rounds 1 --small
  done
else
  report "- compute-sanitizer: not on this machine"
fi
report ""
report '```'
timeout "${STEP_SECONDS:-500}" "$python" -m scan2d.bench --backend triton --batches 1 8 64 --sizes 14 56 200 400 \
  --dtypes float32 bfloat16 --rounds 20 --json "$name.json" 2>&1 | tee -a "$name.md"
[ "${PIPESTATUS[0]}" -eq 0 ] || failures=$((failures + 1))
report '```'
if [ -n "${OUT:-}" ]; then cp "$name".* "$OUT"/; fi
exit $((failures > 0))
