"""Merging five 180M models in bfloat16: mergekit and growmerge alternately, in one run.

usage: merge_benchmark.py [--small] [--rounds N] [--dir DIR] [--methods linear,ties,...] [--json FILE]

Prints wall time (median), the ratio, and peak memory: resident (mapped files included) and anonymous
(what a program really needs). Start-up is included on both sides, and on ours the hashes of inputs and
output and syncing. Inputs are random and warm in the page cache. Needs about 2.7 GB of disk (0.1 GB
with --small).
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from side_by_side import PROGRAM, in_turns, keep, measure, row

MERGEKIT = Path(sys.executable).parent / "mergekit-yaml"
TARGETS = {"linear": 8, "ties": 30, "dare_ties": 12, "dare_linear": 12, "della": 10, "breadcrumbs": 10, "model_stock": 6,
           "multislerp": 6, "sce": 6}
SPARSE = {"ties", "dare_ties", "dare_linear", "della", "breadcrumbs"}


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
    parameters = {"weight": 0.2, **({"density": 0.5} if method in SPARSE else {})}
    has_weights = method not in ("model_stock", "sce")
    models = [{"model": str(root / f"m{i}"), **({"parameters": dict(parameters)} if has_weights else {})} for i in range(5)]
    recipe = {"merge_method": method, "models": models, "dtype": "bfloat16"}
    if method != "linear":
        recipe["base_model"] = str(root / "base")
    if method == "sce":
        recipe["parameters"] = {"select_topk": 0.2}
    path = root / f"{method}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="8M-parameter models, for a quick look")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", help="where inputs and outputs go (default: a temporary folder)")
    parser.add_argument("--methods", default=",".join(TARGETS))
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    if not PROGRAM.exists() or not MERGEKIT.exists():
        sys.exit(f"needs {PROGRAM} and {MERGEKIT}")
    rows = []
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        root = Path(folder)
        parameters = make_models(root, options.small)
        models = f"merge 5 x {parameters / 1e6:.0f}M bf16"

        def clean(name):
            shutil.rmtree(root / name, ignore_errors=True)
            os.sync()

        def peer(recipe):
            clean("peer")
            return measure([MERGEKIT, recipe, root / "peer", "--no-write-model-card", "--no-copy-tokenizer",
                            "--quiet"])

        def ours(recipe):
            clean("ours")
            # A cache folder that is empty, so that input hashes are computed.
            with tempfile.TemporaryDirectory(dir=root) as cache:
                return measure([PROGRAM, "merge", "--config", recipe, "--out", root / "ours"],
                               {"XDG_CACHE_HOME": cache})

        def bytes_moved():
            clean("copy")
            inputs = " ".join(str(root / f"m{i}/model.safetensors") for i in range(5))
            return measure(["sh", "-c", f"cat {inputs} > /dev/null; cp {root}/m0/model.safetensors {root}/copy; sync"])

        for method in options.methods.split(","):
            recipe = recipe_of(root, method)
            sides = {"mergekit": lambda: peer(recipe), "growmerge": lambda: ours(recipe)}
            if method == "linear":
                sides["cat"] = bytes_moved
            m = in_turns(sides, options.rounds)
            mine, theirs = m["growmerge"], m["mergekit"]
            memory = (f"{mine[1]:,.0f} (anonymous {mine[2]:,.0f}) / {theirs[1]:,.0f} ({theirs[2]:,.0f}) MB")
            rows.append(row(f"{models}, {method}", f"{mine[0]:.2f} s", "mergekit", f"{theirs[0]:.2f} s",
                            theirs[0] / mine[0], TARGETS[method], memory))
            if method == "linear":
                rows.append(row(f"{models}, linear", f"{mine[0]:.2f} s", "cat inputs, cp output, sync",
                                f"{m['cat'][0]:.2f} s", m["cat"][0] / mine[0], 0.5))
    keep(rows, options.json)


if __name__ == "__main__":
    main()
