"""Encoding the corpora: the `tokenizers` package and growmerge alternately, in one run.

usage: tokenizer_benchmark.py [--bytes N] [--threads N...] [--rounds N] [--only NAME] [--json FILE]

Prints MB/s of text, the ratio and peak resident memory for each tokenizer. Both hold the same texts in
memory and encode one document a call (the package: encode_batch_fast over all, on as many threads);
loading the tokenizer and the texts is not timed, but counts for the memory. Best of the rounds. Pre-tokenizing alone, which
the package does not offer without a list of Python strings, is timed on one thread.
"""

import argparse
import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import BUILD, DATA, keep, row

NAMES = ["gpt2", "smollm2", "dolma2_cl100k", "phi3_mini_spm"]
# Unigram with SentencePiece's rules, out of the shared cases.
T5 = DATA.parent / "cases/tokenizers/t5_unigram_message/tokenizer.json"
TOOL = BUILD / "bin/growmerge_tokenizer_tool"
TARGETS = {"phi3_mini_spm": 4, "t5": 5}  # 8 for the others


def peer(tokenizer, texts):
    """Runs in a process of its own; prints what growmerge_tokenizer_tool prints."""
    from tokenizers import Tokenizer
    encoder = Tokenizer.from_file(tokenizer)
    with open(texts) as lines:
        documents = [json.loads(line) for line in lines]
    begin = time.perf_counter()
    tokens = sum(len(e.ids) for e in encoder.encode_batch_fast(documents, add_special_tokens=False))
    seconds = time.perf_counter() - begin
    print(sum(len(d.encode()) for d in documents), tokens, seconds)


def run(command, texts, threads):
    """(bytes, tokens, seconds, peak MB) of a process that reads the texts."""
    environment = dict(os.environ, RAYON_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="true")
    with open(texts, "rb") as source, tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdin=source, stdout=out, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"failed: {command}")
        out.seek(0)
        size, tokens, seconds = out.read().split()
    return int(size), int(tokens), float(seconds), usage.ru_maxrss / 1024


def write_texts(path, limit):
    lines = []
    for file in sorted(glob.glob(str(DATA / "corpora/*/*/*.jsonl"))):
        with open(file) as documents:
            lines += [json.dumps(json.loads(line)["text"]) for line in documents]
    random.Random(0).shuffle(lines)
    size = 0
    with open(path, "w") as out:
        for line in lines:
            if size >= limit:
                break
            size += len(json.loads(line).encode())
            out.write(line + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bytes", type=int, default=10_000_000, help="of text, 0 for all corpora")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    rows = []
    if options.peer:
        peer(*options.peer)
        return
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.jsonl"
        write_texts(texts, options.bytes or float("inf"))
        files = [(name, DATA / "tokenizers" / name / "tokenizer.json") for name in NAMES] + [("t5", T5)] * T5.is_file()
        for name, tokenizer in ((name, file) for name, file in files if options.only in name):
            for threads in options.threads:
                theirs, ours = [], []
                for _ in range(options.rounds):
                    theirs.append(run([sys.executable, __file__, "--peer", tokenizer, texts], texts, threads))
                    ours.append(run([TOOL, "time", tokenizer, str(threads)], texts, threads))
                assert {r[:2] for r in theirs} == {r[:2] for r in ours}, "counts of tokens differ"
                speed = [max(r[0] / r[2] / 1e6 for r in rounds) for rounds in (theirs, ours)]
                memory = [max(r[3] for r in rounds) for rounds in (theirs, ours)]
                rows.append(row(f"encode {theirs[0][0] / 1e6:.0f} MB, {name}, {threads} thread{'s' * (threads > 1)}",
                                f"{speed[1]:.1f} MB/s", "tokenizers", f"{speed[0]:.2f} MB/s", speed[1] / speed[0],
                                TARGETS.get(name, 8), f"{memory[1]:.0f} / {memory[0]:.0f} MB"))
            if name not in ("phi3_mini_spm", "t5"):  # their words are not cut by a scanner
                size, _, seconds, _ = min((run([TOOL, "words", tokenizer, "1"], texts, 1) for _ in range(options.rounds)),
                                          key=lambda r: r[2])
                rows.append(row(f"pre-tokenize {size / 1e6:.0f} MB, {name}, 1 thread", f"{size / seconds / 1e6:.0f} MB/s", "", "",
                                None, "≥ 100 MB/s"))
    keep(rows, options.json)


if __name__ == "__main__":
    main()
