"""Reading text against Python's own readers: `growmerge tokenize` must count the documents, bytes,
characters and words that gzip, lzma, bz2, json and str.split() find in the same files, and `growmerge
eval` the pairs that the csv module finds, and the same words and empty documents as `tokenize`.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("GROWMERGE_TEST_DATA", ROOT / "../shared/data")).resolve()
BINARY = Path(os.environ.get("GROWMERGE_BINARY", ROOT / "build/dev/bin/growmerge"))
MODEL = DATA / "models/stories260K"

PIECES = ["word", " ", "  ", "\u00a0", "\u3000", "\u2028", "\n", "\t", "\r", "\x00", "\x1c", "é", "日本", "🙂", "\u200b", '"', "\\", "'"]


def check(ok, text):
    if not ok:
        raise SystemExit(f"FAILED: {text}")


def growmerge(*arguments, **settings):
    """Runs a command; every keyword becomes --set KEY=VALUE."""
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    done = subprocess.run([BINARY, *arguments, *sets], capture_output=True, text=True)
    check(done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stderr}")
    return done.stderr


def documents(rng, count):
    texts = ["".join(rng.choice(PIECES) for _ in range(rng.randrange(40))) for _ in range(count)]
    return texts + ["", "last"]


def json_lines(texts, newline, mark, ascii_only):
    lines = [json.dumps({"text": text}, ensure_ascii=ascii_only) for text in texts]
    lines[1:1] = ["", " \t"]  # blank lines are no documents
    return (mark + newline.join(lines)).encode()


def zstd(data, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


def packings(data):
    """name -> (bytes, how Python reads them)."""
    middle = data.index(b"\n", len(data) // 2) + 1
    a, b = data[:middle], data[middle:]
    empty = gzip.compress(b"")
    out = {
        "plain.jsonl": (data, bytes),
        "one.jsonl.gz": (gzip.compress(data), gzip.decompress),
        "members.jsonl.gz": (gzip.compress(a) + empty + gzip.compress(b), gzip.decompress),
        "padded.jsonl.gz": (gzip.compress(a) + gzip.compress(b) + bytes(1000), gzip.decompress),
        "one.jsonl.xz": (lzma.compress(data), lzma.decompress),
        "streams.jsonl.xz": (lzma.compress(a) + bytes(8) + lzma.compress(b), None),  # Python stops at padding
        "one.jsonl.bz2": (bz2.compress(data), bz2.decompress),
        "streams.jsonl.bz2": (bz2.compress(a) + bz2.compress(b), bz2.decompress),
    }
    if shutil.which("zstd"):
        out["long.jsonl.zst"] = (zstd(data, "--long=31"), None)
        out["frames.jsonl.zst"] = (zstd(a, "-19") + zstd(b), None)
    return out


def expected_counts(texts):
    kept = [text for text in texts if text]
    return {
        "documents": len(kept),
        "bytes": sum(len(text.encode()) for text in kept),
        "characters": sum(len(text) for text in kept),
        "words": sum(len(text.split()) for text in kept),
        "empty_documents": len(texts) - len(kept),
        "skipped_documents": 0,
    }


def counts_of(folder, path):
    out = folder / "shards"
    shutil.rmtree(out, ignore_errors=True)
    growmerge("tokenize", "--out", out, tokenizer=str(MODEL), inputs=[{"path": str(path), "language": "xx"}])
    return json.loads((out / "summary.json").read_text())["languages"]["xx"]


def check_text(folder, rng):
    files = 0
    for newline, mark, ascii_only in (("\n", "", True), ("\r\n", "\ufeff", False), ("\n", "\ufeff", True)):
        texts = documents(rng, 400)
        data = json_lines(texts, newline, mark, ascii_only)
        for name, (packed, unpack) in packings(data).items():
            if unpack is not None:
                check(unpack(packed) == data, f"{name}: Python reads another text")
            path = folder / name
            path.write_bytes(packed)
            ours = counts_of(folder, path)
            for key, value in expected_counts(texts).items():
                check(ours[key] == value, f"{name}: {key} is {ours[key]}, Python counts {value}")
            files += 1
    print(f"{files} files: documents, bytes, characters and words are Python's")
    return texts


def check_scores(folder, texts):
    path = folder / "plain.jsonl"
    task = {"name": "t", "kind": "bpb", "path": [str(path)]}
    growmerge("eval", "--out", folder / "scores", models=[{"name": "m", "path": str(MODEL)}], tasks=[task])
    figures = json.loads((folder / "scores/m/results.json").read_text())["results"]["t"]
    shards = counts_of(folder, path)
    for key in ("bytes", "characters", "words", "empty_documents"):
        scored = figures.get(f"{key},none", 0)  # empty_documents only where there are any
        check(scored == shards[key], f"{key}: {scored} scored, {shards[key]} in shards")
    print("tokenize and eval count bytes, characters, words and empty documents alike")


def check_tables(folder, rng):
    words = ['"', '""', "one", 'two "three"', '"four', "five'", " ", "sex", '"sju"']
    for quoted in (False, True):
        rows = [[" ".join(rng.choice(words) for _ in range(1 + rng.randrange(4))) for _ in range(2)] for _ in range(60)]
        if quoted:
            rows[7][0] = "a\ttab\nand a line"
        text = io.StringIO(newline="")
        style = {"delimiter": "\t", "lineterminator": rng.choice(["\n", "\r\n"])}
        if quoted:
            writer = csv.writer(text, quoting=csv.QUOTE_MINIMAL, **style)
        else:
            writer = csv.writer(text, quoting=csv.QUOTE_NONE, quotechar=None, **style)
        writer.writerows([["good", "bad"], *rows])
        path = folder / "pairs.tsv"
        path.write_bytes(text.getvalue().encode())
        read = {"quoting": csv.QUOTE_MINIMAL} if quoted else {"quoting": csv.QUOTE_NONE}
        expected = list(csv.reader(io.StringIO(text.getvalue(), newline=""), delimiter="\t", **read))[1:]
        check(expected == rows, "the csv module reads what it wrote")
        task = {"name": "p", "kind": "pairs", "path": [str(path)], "columns": {"good": "good", "bad": "bad"},
                "quoted": quoted, "rules": {"tie": "wrong"}}
        out = folder / f"pairs_{quoted}"
        log = growmerge("eval", "--out", out, models=[{"name": "m", "path": str(MODEL)}], tasks=[task])
        check("60 rows" in log, f"rows are not printed:\n{log}")
        items = [json.loads(line) for line in (out / "m/items/p.jsonl").read_text().splitlines()[1:]]
        check([item["characters"] for item in items] == [[len(field) for field in row] for row in rows],
              f"quoted {quoted}: characters of the fields")
    print("TSV with and without quotes: the fields that the csv module reads")


def main():
    if not MODEL.exists() or not BINARY.exists():
        print(f"SKIPPED: no {MODEL if not MODEL.exists() else BINARY}")
        sys.exit(77)
    rng = random.Random(5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HOME"] = name
        texts = check_text(folder, rng)
        check_scores(folder, texts)
        check_tables(folder, rng)


if __name__ == "__main__":
    main()
