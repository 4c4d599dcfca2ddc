"""The stored minimal pairs are what data/pairs/make_pairs.py writes, and each pair differs in exactly one word."""

import json
import os
import subprocess
import sys


def main():
    folder = os.path.join(os.environ["GROWMERGE_SOURCE_DIR"], "data", "pairs")
    subprocess.run([sys.executable, os.path.join(folder, "make_pairs.py"), "--check"], check=True)
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".jsonl"):
            continue
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            pairs = [json.loads(line) for line in file]
        good = {pair["sentence_good"] for pair in pairs}
        assert len(good) == len(pairs) <= 300, name
        for pair in pairs:
            words = [pair[key].lower().split() for key in ("sentence_good", "sentence_bad")]
            changed = sum(a != b for a, b in zip(*words))
            assert len(words[0]) == len(words[1]) and changed == 1, pair
            assert pair["sentence_bad"] not in good, pair
        print(f"{name}: {len(pairs)} pairs, {len({pair['phenomenon'] for pair in pairs})} phenomena")


if __name__ == "__main__":
    main()
