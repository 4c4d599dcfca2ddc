"""Text to token shards, end to end: growmerge tokenize on 2 ranks against a script of tokenizers + h5py on 2 threads.

    tokenize_benchmark.py [--bytes N] [--rounds N] [--ranks N] [--json FILE]

Both start a fresh process, read the same JSONL and write uint16 or uint32 token ids to HDF5. Prints seconds (median), the
ratio and peak memory, and checks that the numbers of tokens agree.
"""

import argparse
import glob
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from side_by_side import DATA, MPI, PROGRAM, in_turns, keep, measure, row

PEER = """
import json, sys
import h5py, numpy
from tokenizers import Tokenizer
tokenizer, text, out = sys.argv[1:]
encoder = Tokenizer.from_file(tokenizer)
dtype = numpy.uint16 if encoder.get_vocab_size() <= 65536 else numpy.uint32
total = 0
with open(text) as lines, h5py.File(out, "w") as file:
    tokens = file.create_dataset("tokens", (0,), maxshape=(None,), dtype=dtype, chunks=(1 << 20,))
    ends = []
    def write(batch):
        global total
        ids = numpy.concatenate([numpy.asarray(e.ids, dtype) for e in encoder.encode_batch_fast(batch)])
        tokens.resize((total + len(ids),))
        tokens[total:] = ids
        total += len(ids)
    batch = []
    for line in lines:
        batch.append(json.loads(line)["text"])
        if len(batch) == 1024:
            write(batch)
            batch = []
    if batch:
        write(batch)
print("tokens", total)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=80_000_000, help="of text (the corpora hold 78 million)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        size = 0
        with open(root / "text.jsonl", "w") as out:
            for file in sorted(glob.glob(str(DATA / "corpora/*/*/*.jsonl"))):
                for line in open(file):
                    if size < options.bytes:
                        text = json.loads(line)["text"]
                        size += len(text.encode())
                        out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        (root / "peer.py").write_text(PEER)
        for name in ("smollm2", "gpt2"):
            tokenizer = DATA / "tokenizers" / name / "tokenizer.json"
            command = ["mpirun", "-n", options.ranks, PROGRAM, "tokenize", f"en={root / 'text.jsonl'}", "--set",
                       f"tokenizer={tokenizer}", "--set", "eos_token=<|endoftext|>", "--out", root / "ours"]
            texts = {}

            def ours():
                shutil.rmtree(root / "ours", ignore_errors=True)
                result = measure(command, {**MPI, "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1"})
                texts["ours"] = json.loads((root / "ours/manifest.json").read_text())["notes"]["tokens/en"]
                return result

            def peer():
                result = measure([sys.executable, root / "peer.py", tokenizer, root / "text.jsonl", root / "peer.h5"],
                                 {"RAYON_NUM_THREADS": str(options.ranks), "TOKENIZERS_PARALLELISM": "true"})
                texts["peer"] = result[3].split()[-1]
                return result

            m = in_turns({"tokenizers": peer, "growmerge": ours}, options.rounds)
            mine, theirs = m["growmerge"], m["tokenizers"]
            note = f"{texts['ours']} tokens, theirs {texts['peer']} (no end-of-document tokens)"
            rows.append(row(f"tokenize {size / 1e6:.0f} MB JSONL to HDF5, {name}, {options.ranks} ranks",
                            f"{mine[0]:.2f} s", f"tokenizers + h5py, {options.ranks} threads", f"{theirs[0]:.2f} s",
                            theirs[0] / mine[0], 8, f"{mine[1]:,.0f} / {theirs[1]:,.0f} MB", note))
    keep(rows, options.json)


if __name__ == "__main__":
    main()
