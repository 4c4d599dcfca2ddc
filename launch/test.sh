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
# ctest lists whole binaries that were skipped; single tests that were skipped inside one stand in its output.
awk '/: Skipped$/ { getline reason }
  /^\[  SKIPPED \] .* ms\)$/ { print "  " $4 ": " reason }' "build/$preset/Testing/Temporary/LastTest.log" |
  sort -u >build/skipped.log || true
if [ -s build/skipped.log ]; then
  echo "skipped inside their binaries:"
  cat build/skipped.log
fi
grep -E 'tests passed, .* tests failed' build/test.log || true
exit "$status"
