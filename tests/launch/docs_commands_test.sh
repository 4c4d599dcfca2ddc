#!/usr/bin/env bash
# Runs the ```bash blocks of README.md and docs/tutorial.md that have <!-- run --> on the line above, page by page in one shell
# each, in a scratch folder that looks like the repository (runs/ is its own) with growmerge in PATH. What README takes from its
# reader, a model and text, is a tiny model and artificial text under the same names, and its token budget is cut.
set -u
source_dir=${GROWMERGE_SOURCE_DIR:?} binary=${GROWMERGE_BINARY:?}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for entry in "$source_dir"/*; do
  case ${entry##*/} in runs | build) ;; *) ln -s "$entry" "$scratch/" ;; esac
done
export PATH="$(dirname "$binary"):$PATH"
export CUDA_VISIBLE_DEVICES= # two ranks here, however many GPUs the machine has
make_readers_files() {
  growmerge artificial --out reader/text --set seed=1
  growmerge tokenizer --out reader/tokenizer --set vocab_size=512 \
    --set 'inputs=[{path: reader/text/base/train.jsonl, language: base}]'
  growmerge tokenize --out reader/shards --set tokenizer=reader/tokenizer \
    --set 'inputs=[{path: reader/text/base/train.jsonl, language: base}]'
  growmerge train --out SmolLM2-135M \
    --set 'init={tokenizer: reader/tokenizer, hidden_size: 32, num_layers: 2, num_heads: 4, max_position_embeddings: 2048}' \
    --set 'mixture={row_tokens: 64, sources: [{path: reader/shards, language: base, weight: 1}]}' --set budget.steps=2
  for pair in base:en medium:sv small:da; do
    cp "reader/text/${pair%:*}/train.jsonl" "${pair#*:}.jsonl"
    head -n 20 "reader/text/${pair%:*}/held_out.jsonl" > "${pair#*:}.held_out.jsonl"
  done
}
if ! (cd "$scratch" && set -e && make_readers_files) > "$scratch/.reader.log" 2>&1; then
  cat "$scratch/.reader.log"
  exit 1
fi
blocks=0 failed=0
for page in README.md docs/tutorial.md; do
  script=$scratch/.commands.sh
  awk '/<!-- run -->/ {marked = 1; next}
       marked && /^```bash/ {inside = 1; marked = 0; print "echo \"# block at line " NR "\""; next}
       inside && /^```/ {inside = 0; next}
       inside {sub(/budget\.tokens=100M/, "budget.tokens=40k"); print; next}
       NF {marked = 0}' "$source_dir/$page" > "$script"
  count=$(grep -c '^echo "# block at line' "$script")
  blocks=$((blocks + count))
  if [ "$count" -eq 0 ]; then
    echo "FAILED: no block of $page is marked <!-- run -->"
    failed=1
  fi
  if ! (cd "$scratch" && bash -euo pipefail "$script"); then
    echo "FAILED: a command in $page (the last block named above)"
    failed=1
  fi
done
echo "$blocks blocks run"
exit $failed
