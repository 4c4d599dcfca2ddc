#!/usr/bin/env bash
# From nothing to a report: sets up, builds, fetches Debian's manual pages in English, German and Swedish, and runs
# configs/experiments/quickstart.yaml. Without a network or without Debian it runs the artificial languages instead.
# A second start skips what is finished.
#
#   launch/quickstart.sh [--out DIR] [--set key=value]...      (DIR is runs in the repository by default)
set -euo pipefail
called_from=$PWD
cd "$(dirname "$0")/.."

out=runs
overrides=()
while [ $# -gt 0 ]; do
  case "$1" in
    --out | --set)
      [ $# -ge 2 ] || { echo "quickstart: $1 needs a value" >&2; exit 2; }
      if [ "$1" = --set ]; then
        overrides+=(--set "$2")
      else
        case "$2" in /*) out=$2 ;; *) out=$called_from/$2 ;; esac
      fi
      shift 2
      ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "quickstart: unknown option '$1' (known: --out DIR, --set key=value)" >&2; exit 2 ;;
  esac
done

launch/setup.sh
if [ ! -f build/release/build.ninja ]; then
  cmake --preset release >/dev/null
fi
if [ -t 1 ]; then
  cmake --build --preset release
elif echo "quickstart: building (some minutes the first time; progress in build/release/build.log)" >&2 &&
  ! cmake --build --preset release >build/release/build.log 2>&1; then
  grep -A20 -m1 '^FAILED' build/release/build.log >&2 || tail -n 20 build/release/build.log >&2
  echo "quickstart: the build failed; all of it stands in build/release/build.log" >&2
  exit 1
fi
export PATH="$PWD/build/release/bin:$PATH"

experiment=quickstart
status=0
launch/get_text.sh --out "$out/text" en de sv || status=$?
if [ "$status" = 3 ]; then
  echo "quickstart: no manual pages to be had here (see above); the artificial languages take their place" >&2
  experiment=artificial
elif [ "$status" != 0 ]; then
  exit "$status"
fi
if [ "$experiment" = quickstart ]; then
  overrides=(--set "text=$out/text" "${overrides[@]}")
fi
exec growmerge run --config "configs/experiments/$experiment.yaml" --out "$out/$experiment" "${overrides[@]}"
