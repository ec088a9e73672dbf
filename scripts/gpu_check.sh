#!/usr/bin/env bash
# Everything that a machine with an NVIDIA GPU must show: the acceptance and conformance suites, the runtime's and the
# kernels' own tests, the golden files, and the speed of products. Builds the presets `cuda` and, to sanitize,
# `cuda-sanitize` unless their programs are there already (built elsewhere and carried here: build/PRESET/bin/mlxn_tests
# and build/cuda/bin/mlxn).
#
#   scripts/gpu_check.sh               tests, then timings
#   scripts/gpu_check.sh test          tests alone
#   scripts/gpu_check.sh sanitize      tests under compute-sanitizer: memcheck, racecheck, initcheck
#   scripts/gpu_check.sh bench         timings alone
set -uo pipefail
cd "$(dirname "$0")/.."
mlxn=build/cuda/bin/mlxn
filter='*cuda*:*Cuda*'

need() {  # PRESET, TARGET...
  local preset=$1 target
  shift
  for target; do
    [ -x "build/$preset/bin/$target" ] || {
      cmake --preset "$preset" --log-level=WARNING && cmake --build "build/$preset" --target "$@" || exit 1
      return
    }
  done
}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader

run_tests() {
  need cuda mlxn_tests mlxn
  "$mlxn" devices
  build/cuda/bin/mlxn_tests --gtest_filter="$filter" --gtest_brief=1
}

# Without the tests that ask a device for what it must refuse: the sanitizer takes refusals for errors.
run_sanitized() {
  local tool status=0
  need cuda-sanitize mlxn_tests
  for tool in memcheck initcheck racecheck; do
    printf '== compute-sanitizer %s\n' "$tool"
    scripts/run_tests.py --filter "$filter:-*Hostile*" compute-sanitizer --tool "$tool" --error-exitcode 1 \
      build/cuda-sanitize/bin/mlxn_tests || status=1
  done
  return $status
}

run_bench() {
  local type shape
  need cuda mlxn_tests mlxn
  "$mlxn" bench --limits  # of the host's CPU
  for type in q4_0 q8_0 q4_k q5_k q6_k; do
    for shape in "4096 4096" "14336 4096" "4096 14336"; do
      "$mlxn" bench --op matmul --backend cuda --type "$type" --n "${shape% *}" --k "${shape#* }" --m 1,2,4,8 || return 1
    done
  done
}

case ${1:-all} in
  test) run_tests ;;
  sanitize) run_sanitized ;;
  bench) run_bench ;;
  all) run_tests && run_bench ;;
  *)
    echo "usage: scripts/gpu_check.sh [test|sanitize|bench]" >&2
    exit 2
    ;;
esac
