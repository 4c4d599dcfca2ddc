#!/usr/bin/env bash
# Measures growmerge beside its peers on this machine: all benchmarks, or those that are named (launch/bench.sh --help).
# Figures go to build/bench; --docs makes the tables of docs/benchmarks.md from them.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" != --help ] && [ "${1:-}" != -h ]; then
  launch/setup.sh --peers
  mkdir -p build
  cmake --preset ci >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
  cmake --build --preset ci >build/build.log 2>&1 || { tail -n 30 build/build.log; exit 1; }
fi
exec .venv/bin/python tests/benchmarks/bench.py "$@"
