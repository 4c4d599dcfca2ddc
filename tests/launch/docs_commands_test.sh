#!/usr/bin/env bash
# Runs the ```bash blocks of README.md and docs/tutorial.md that have <!-- run --> on the line above, page by page in one shell
# each, in a scratch folder that looks like the repository (runs/ is its own) with growmerge in PATH.
set -u
source_dir=${GROWMERGE_SOURCE_DIR:?} binary=${GROWMERGE_BINARY:?}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for entry in "$source_dir"/*; do
  case ${entry##*/} in runs | build) ;; *) ln -s "$entry" "$scratch/" ;; esac
done
export PATH="$(dirname "$binary"):$PATH"
blocks=0 failed=0
for page in README.md docs/tutorial.md; do
  [ -f "$source_dir/$page" ] || continue
  script=$scratch/.commands.sh
  awk '/<!-- run -->/ {marked = 1; next}
       marked && /^```bash/ {inside = 1; marked = 0; print "echo \"# block at line " NR "\""; next}
       inside && /^```/ {inside = 0; next}
       inside {print; next}
       NF {marked = 0}' "$source_dir/$page" > "$script"
  count=$(grep -c '^echo "# block at line' "$script")
  blocks=$((blocks + count))
  [ "$count" -gt 0 ] || continue
  if ! (cd "$scratch" && bash -euo pipefail "$script"); then
    echo "FAILED: a command in $page (the last block named above)"
    failed=1
  fi
done
echo "$blocks blocks run"
if [ "$blocks" -eq 0 ]; then
  echo "no block is marked <!-- run -->: nothing was tested"
  exit 77
fi
exit $failed
