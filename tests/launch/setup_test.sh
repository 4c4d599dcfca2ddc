#!/usr/bin/env bash
# launch/setup.sh where it can do nothing: it must say what is lacking and change nothing. The machine is faked by
# programs in front of PATH: a user who is not root, no package installed, apt-get that leaves a trace.
set -u
unset GROWMERGE_NO_APT TORCH_DIR
setup=${GROWMERGE_SOURCE_DIR:?}/launch/setup.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bin"
fake() { printf '#!/bin/sh\n%s\n' "$2" >"$scratch/bin/$1" && chmod +x "$scratch/bin/$1"; }
fake id 'echo 1000'
fake sudo 'exit 1'
fake dpkg-query 'exit 0'
fake apt-get "touch '$scratch/apt-was-called'; exit 100"

failed=0
expect() { # expect CODE TEXT COMMAND...: how it ends and what it says
  local code=$1 text=$2 got=0
  shift 2
  "$@" >"$scratch/said" 2>&1 </dev/null || got=$?
  if [ "$got" != "$code" ] || ! grep -qF -- "$text" "$scratch/said"; then
    echo "FAILED: $*: exit code $got, expected $code and '$text'; it said:"
    cat "$scratch/said"
    failed=1
  fi
}
without_rights=(env "PATH=$scratch/bin:$PATH")
expect 1 'neither root nor may use sudo' "${without_rights[@]}" "$setup"
expect 1 'needed: ' "${without_rights[@]}" "$setup"
grep -q 'libyaml-cpp-dev' "$scratch/said" || { echo "FAILED: no package is named"; failed=1; }
expect 1 'for: apt-get install' "${without_rights[@]}" "$setup" --peers
expect 2 "TORCH_DIR='/nowhere' is no LibTorch" env TORCH_DIR=/nowhere "$setup"
expect 2 "unknown option '--peer'" "$setup" --peer
[ ! -e "$scratch/apt-was-called" ] || { echo "FAILED: apt-get was called without the right to"; failed=1; }
exit $failed
