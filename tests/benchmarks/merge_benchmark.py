"""Merging five 180M models in bfloat16: mergekit and growmerge alternately, in one run.

usage: merge_benchmark.py [--small] [--rounds N] [--dir DIR] [--methods linear,ties,dare_ties]

Prints wall time, the ratio, and peak memory: resident (mapped files included) and anonymous (what a
program really needs), sampled every 20 ms from /proc. Start-up is included on both sides. Inputs are
random and warm in the page cache. Needs about 2.7 GB of disk (0.1 GB with --small).
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

ROOT = Path(os.environ.get("GROWMERGE_SOURCE_DIR", Path(__file__).resolve().parents[2]))
BUILD = Path(os.environ.get("GROWMERGE_BINARY", ROOT / "build/ci/bin/growmerge")).parent.parent
MERGEKIT = Path(sys.executable).parent / "mergekit-yaml"
TOOL = BUILD / "tests/merging/growmerge_merge_tool"


def make_models(root, small):
    config = LlamaConfig(
        vocab_size=8192 if small else 128256, hidden_size=576, num_hidden_layers=4 if small else 30,
        num_attention_heads=9, num_key_value_heads=3, intermediate_size=1536,
        tie_word_embeddings=True)
    for index, name in enumerate(["base", "m0", "m1", "m2", "m3", "m4"]):
        torch.manual_seed(index)
        with torch.no_grad():
            if index == 0:
                base = LlamaForCausalLM(config).to(torch.bfloat16)
                model = base
            else:
                model = LlamaForCausalLM(config).to(torch.bfloat16)
                for parameter, origin in zip(model.parameters(), base.parameters()):
                    parameter.copy_(origin + 0.002 * torch.randn_like(origin))
        model.save_pretrained(root / name)
    return sum(p.numel() for p in base.parameters())


def recipe_of(root, method):
    models = [{"model": str(root / f"m{i}"), "parameters": {"weight": 0.2}} for i in range(5)]
    recipe = {"merge_method": method, "models": models, "dtype": "bfloat16"}
    if method != "linear":
        recipe["base_model"] = str(root / "base")
    if method != "linear":
        for model in models:
            model["parameters"]["density"] = 0.5
    path = root / f"{method}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def memory(pid):
    """Resident and anonymous KiB of a process and its children."""
    resident = anonymous = 0
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                resident = int(line.split()[1])
            if line.startswith("RssAnon"):
                anonymous = int(line.split()[1])
    except (OSError, ValueError):
        return 0, 0
    for child in children:
        r, a = memory(int(child))
        resident, anonymous = resident + r, anonymous + a
    return resident, anonymous


def measure(command, out):
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    peak = [0, 0]
    while process.poll() is None:
        peak = [max(a, b) for a, b in zip(peak, memory(process.pid))]
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        sys.exit(process.stderr.read().decode()[-3000:])
    return seconds, peak[0] / 1024, peak[1] / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="8M-parameter models, for a quick look")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", help="where inputs and outputs go (default: a temporary folder)")
    parser.add_argument("--methods", default="linear,ties,dare_ties")
    options = parser.parse_args()
    if not TOOL.exists() or not MERGEKIT.exists():
        sys.exit(f"needs {TOOL} and {MERGEKIT}")
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        root = Path(folder)
        parameters = make_models(root, options.small)
        print(f"5 x {parameters / 1e6:.0f}M bfloat16, {os.cpu_count()} cores; best of "
              f"{options.rounds} (memory: worst)")
        print(f"{'method':<16}{'mergekit':>10}{'growmerge':>11}{'ratio':>8}"
              f"{'peak MB, resident (anonymous)':>44}")
        for method in options.methods.split(","):
            recipe = recipe_of(root, method)
            peer, ours = [], []
            for _ in range(options.rounds):
                peer.append(measure([MERGEKIT, recipe, root / "peer", "--no-write-model-card",
                                     "--no-copy-tokenizer", "--quiet"], root / "peer"))
                ours.append(measure([TOOL, recipe, root / "ours"], root / "ours"))
            t_peer, t_ours = min(m[0] for m in peer), min(m[0] for m in ours)
            sizes = [max(m[i] for m in runs) for runs in (peer, ours) for i in (1, 2)]
            print(f"{method:<16}{t_peer:>9.2f}s{t_ours:>10.2f}s{t_peer / t_ours:>7.1f}x"
                  f"{sizes[0]:>16.0f} ({sizes[1]:.0f}) vs {sizes[2]:.0f} ({sizes[3]:.0f})",
                  flush=True)


if __name__ == "__main__":
    main()
