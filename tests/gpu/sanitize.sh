#!/usr/bin/env bash
# Runs small GPU tests under compute-sanitizer: memcheck (addresses), then racecheck (hazards in shared memory).
#
#     tests/gpu/sanitize.sh build/dev/bin
#
# About a minute. Exit code: 0 nothing found; 77 nothing was checked, for want of a GPU or of the tool; else findings or
# failed tests. COMPUTE_SANITIZER names the tool when it lies neither in the PATH nor with a CUDA toolkit.
set -uo pipefail
tests="${1:?usage: $0 BIN_DIR}/gpu_tests"
[[ -x $tests ]] || { echo "$0: there is no $tests: build it with nvcc at hand" >&2; exit 1; }
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

tool=""
for candidate in "${COMPUTE_SANITIZER:-}" "$(command -v compute-sanitizer)" /usr/local/cuda/bin/compute-sanitizer \
  /usr/local/cuda/compute-sanitizer/compute-sanitizer "$root"/build/cuda-toolkit/nvidia/*/bin/compute-sanitizer; do
  [[ -n $candidate && -x $candidate ]] && tool="$candidate" && break
done
[[ -n $tool ]] || { echo "$0: no compute-sanitizer: install the CUDA toolkit's, or name it in COMPUTE_SANITIZER" >&2; exit 77; }

# Without the tool first: tests that skip or fail here would say nothing there.
plain="$(timeout 60 "$tests" --gtest_filter='CudaShort.*' 2>&1)" || { echo "$plain"; exit 1; }
if grep -q SKIPPED <<<"$plain"; then
  echo "$plain"
  exit 77
fi

status=0
check() { # tool, filter
  echo "== $1 of $2"
  timeout 120 "$tool" --tool "$1" --error-exitcode 9 --print-limit 20 "$tests" --gtest_filter="$2" --gtest_brief=1
  local code=$?
  ((code == 0)) || { echo "== $1: exit code $code"; status=1; }
}
check memcheck 'CudaShort.*:CudaProducts.TheOwnKernelIsThatOfDoublePrecision:CudaSampling.ARowThatIsNotFinite*:CudaFailure.RandomWeights*'
check racecheck 'CudaShort.*:CudaProducts.TheOwnKernelIsThatOfDoublePrecision'
exit $status
