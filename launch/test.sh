#!/usr/bin/env bash
# Sets up what is missing, builds everything with warnings as errors, and runs all tests. Further arguments go to ctest
# (launch/test.sh -L unit). GROWMERGE_PRESET=asan builds with sanitizers and runs the unit tests.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${GROWMERGE_PRESET:-ci}

launch/setup.sh --peers
mkdir -p build
cmake --preset "$preset" >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
cmake --build --preset "$preset"
status=0
ctest --preset "$preset" "$@" 2>&1 | tee build/test.log || status=$?
grep -E 'tests passed, .* tests failed' build/test.log || true
exit "$status"
