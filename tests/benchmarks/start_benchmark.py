"""How long people wait for the program itself: --help, inspect of a 5 GB checkpoint, and a tiny model's first train step.

    start_benchmark.py [--rounds N] [--json FILE]

Seconds from the start of the process, the median of the rounds. The checkpoint is a sparse file, so it takes no disk.
"""

import argparse
import json
import shutil
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from side_by_side import DATA, PROGRAM, keep, measure, row


def make_checkpoint(folder):
    """A Llama of 2.5 billion bfloat16 zeros."""
    folder.mkdir()
    d, f, vocab, layers = 2560, 6912, 49152, 30
    shapes = {"model.embed_tokens.weight": [vocab, d], "model.norm.weight": [d]}
    for i in range(layers):
        for part, shape in {"input_layernorm": [d], "post_attention_layernorm": [d], "self_attn.q_proj": [d, d],
                            "self_attn.k_proj": [d, d], "self_attn.v_proj": [d, d], "self_attn.o_proj": [d, d],
                            "mlp.gate_proj": [f, d], "mlp.up_proj": [f, d], "mlp.down_proj": [d, f]}.items():
            shapes[f"model.layers.{i}.{part}.weight"] = shape
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + end)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab, "hidden_size": d,
        "intermediate_size": f, "num_hidden_layers": layers, "num_attention_heads": 20, "num_key_value_heads": 20,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 2048, "rope_theta": 10000.0,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16"}))
    return end


def first_step(config, out):
    """Seconds until the first line of metrics.jsonl."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    process = subprocess.Popen([PROGRAM, "train", "--config", config, "--out", out], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    metrics = [Path(f"{out}.tmp") / "metrics.jsonl", Path(out) / "metrics.jsonl"]
    while process.poll() is None and not any(m.exists() and m.stat().st_size for m in metrics):
        time.sleep(0.002)
    seconds = time.perf_counter() - start
    if process.wait() != 0:
        raise SystemExit("train failed")
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        size = make_checkpoint(root / "large")
        model = DATA / "models/stories260K"
        measure([PROGRAM, "tokenize", f"en={DATA / 'corpora/en/tinyshakespeare/dev.jsonl'}", "--set",
                 f"tokenizer={model}", "--out", root / "shards"])
        (root / "train.yaml").write_text(json.dumps({
            "device": "cpu",
            "model": str(model), "batch_rows": 8, "budget": {"steps": 2}, "log_every": 1, "save_trainer_state": False,
            "mixture": {"row_tokens": 256, "sources": [{"path": str(root / "shards"), "language": "en", "weight": 1}]}}))
        figures = {
            "growmerge --help": (lambda: measure([PROGRAM, "--help"])[0], 0.3),
            f"inspect of a checkpoint of {size / 1e9:.1f} GB": (lambda: measure([PROGRAM, "inspect", root / "large"])[0], 0.3),
            "a 260K model's first train step": (lambda: first_step(root / "train.yaml", root / "out"), 1.5),
        }
        rows = []
        for name, (side, target) in figures.items():
            seconds = statistics.median(side() for _ in range(options.rounds))
            rows.append(row(name, f"{seconds:.2f} s", "", "", None, f"≤ {target} s"))
    keep(rows, options.json)


if __name__ == "__main__":
    main()
