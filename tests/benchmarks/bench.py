"""Runs the benchmarks that are named, or all; keeps their figures in build/bench and makes the tables of docs/benchmarks.md.

    launch/bench.sh [NAME...] [--docs]

--docs writes the tables again from what build/bench holds (after running what is named).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import side_by_side

HERE = Path(__file__).resolve().parent
OUT = side_by_side.ROOT / "build/bench"
PAGE = side_by_side.ROOT / "docs/benchmarks.md"
BEGIN, END = "<!-- figures: launch/bench.sh --docs -->", "<!-- end of figures -->"

# NAME: script and its arguments.
BENCHMARKS = {
    "train": ["train_step_benchmark.py", "--compile"],
    "ranks": ["ranks_benchmark.py"],
    "merge": ["merge_benchmark.py"],
    "evaluate": ["eval_benchmark.py"],
    "evaluate_135m": ["eval_benchmark.py", "--shape", "smollm2-135m", "--limit", "20"],
    "encode": ["tokenizer_benchmark.py"],
    "tokenize": ["tokenize_benchmark.py"],
    "start": ["start_benchmark.py"],
    "gpu": ["gpu_benchmark.py"],
}


def number(value):
    return "" if value is None else f"{value:.2f} ×" if value < 10 else f"{value:.1f} ×"


def table(path):
    kept = json.loads(path.read_text())
    m = kept["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items() if version != "none")
    lines = [f"### {path.stem}", ""]
    lines.append(f"{m['date']}, {m['cores']} cores of {m['processor']} ({', '.join(m['units'])}), {m['memory_gb']} GB, "
                 f"{m['system']}; growmerge {m['commit']}; {versions}.")
    lines += ["", "| work | growmerge | peer | ratio | target | memory, ours / peer | |", "|---|---:|---:|---:|---:|---:|---|"]
    for r in kept["rows"]:
        peer = f"{r['peer']}: {r['theirs']}" if r["peer"] else ""
        lines.append(f"| {r['work']} | {r['ours']} | {peer} | {number(r['ratio'])} | {r['target'] or ''} | {r['memory']} | "
                     f"{r['note']} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--docs", action="store_true", help="write the tables of docs/benchmarks.md")
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            sys.exit(f"unknown benchmark '{name}' (there are: {', '.join(BENCHMARKS)})")
    names = options.names or ([] if options.docs else list(BENCHMARKS))
    failed = []
    for name in names:
        script, *arguments = BENCHMARKS[name]
        print(f"== {name}", flush=True)
        command = [sys.executable, HERE / script, *arguments, "--json", OUT / f"{name}.json"]
        if subprocess.run(command).returncode != 0:
            failed.append(name)
    if options.docs:
        text = PAGE.read_text()
        before, rest = text.split(BEGIN)
        tables = "\n".join(table(OUT / f"{n}.json") for n in BENCHMARKS if (OUT / f"{n}.json").exists())
        PAGE.write_text(before + BEGIN + "\n\n" + tables + "\n" + END + rest.split(END)[1])
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
