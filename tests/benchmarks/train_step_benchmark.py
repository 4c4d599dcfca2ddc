"""One train step (forward, backward, AdamW) of growmerge and of Transformers, alternately in one run.

    train_step_benchmark.py [--cases large,small,tiny] [--dtypes float32,bfloat16] [--compile] [--rounds 9] [--threads 2] [--json FILE]

Each side is a process of its own that makes steps on request, so that both see the same machine in turns and each has
its own peak resident set. Ours: bf16 compute with fp32 master weights, gradients and moments; theirs: everything in the
dtype named. Prints tokens/s (best round), the ratio, peak memory and the share of the machine's rate of products that 6 flops
a weight and token are.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import BUILD, keep, limits, row

# What growmerge aims at, by case, dtype and peer.
TARGETS = {("large", "float32", "eager"): 2.0, ("large", "float32", "compile"): 1.7, ("large", "bfloat16", "eager"): 4.5,
           ("large", "bfloat16", "compile"): 2.2, ("small", "float32", "eager"): 2.0, ("small", "bfloat16", "eager"): 2.5,
           ("tiny", "float32", "eager"): 3.0}
NAMES = {"large": "Llama 9.7M, 4 x 512", "small": "Llama 1.9M, 4 x 512", "tiny": "Llama 260K, 8 x 256"}
PEERS = {"eager": "Transformers eager", "compile": "torch.compile"}
LARGE = dict(vocab_size=49152, hidden_size=160, intermediate_size=432, num_hidden_layers=6, num_attention_heads=5,
             num_key_value_heads=5, head_dim=32)
TINY = dict(vocab_size=512, hidden_size=64, intermediate_size=172, num_hidden_layers=5, num_attention_heads=8,
            num_key_value_heads=4, head_dim=8)
CASES = {"large": (LARGE, 4, 512), "small": ({**LARGE, "vocab_size": 512}, 4, 512), "tiny": (TINY, 8, 256)}


def peer(config_path, rows, tokens, dtype, compiled):
    import time

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(1)
    config = LlamaConfig(**json.loads(Path(config_path).read_text()))
    model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    step_model = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(0, config.vocab_size, (rows, tokens))
    for line in sys.stdin:
        start, processor = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            optimizer.zero_grad(set_to_none=True)
            loss = step_model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
        used = (time.process_time() - processor) / int(line)
        took = (time.perf_counter() - start) / int(line)
        peak = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
        print(json.dumps({"seconds": took, "processor": used, "loss": loss.item(),
                          "peak_mb": int(peak.split()[1]) / 1024}), flush=True)


def parameters_of(shape):
    """Weights that take part in products (the tied head once, norms left out)."""
    d, h = shape["hidden_size"], shape["head_dim"]
    attention = 2 * d * h * (shape["num_attention_heads"] + shape["num_key_value_heads"])
    layer = attention + 3 * d * shape["intermediate_size"]
    return shape["vocab_size"] * d + shape["num_hidden_layers"] * layer


class Side:
    def __init__(self, command, threads):
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.best, self.last = float("inf"), None

    def steps(self, count, timed=True):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the process ended with {self.process.wait()}")
        self.last = json.loads(line)
        if timed:
            self.best = min(self.best, self.last["seconds"])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="large,small,tiny")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--compile", action="store_true", help="torch.compile as the peer, as well")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--binary", default=str(BUILD / "bin/train_step_benchmark"))
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--peer", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        config, rows, tokens, dtype, compiled = args.peer
        peer(config, int(rows), int(tokens), dtype, compiled == "compile")
        return
    figures = []
    limit = limits(args.threads)
    kinds = [] if args.ours_only else ["eager"] + (["compile"] if args.compile else [])
    for case in args.cases.split(","):
        shape, rows, tokens = CASES[case]
        steps = {"large": 1, "small": 3, "tiny": 10}[case]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config.json"
            path.write_text(json.dumps({**shape, "architectures": ["LlamaForCausalLM"], "model_type": "llama",
                                        "hidden_act": "silu", "tie_word_embeddings": True, "rms_norm_eps": 1e-5,
                                        "max_position_embeddings": tokens, "rope_theta": 10000.0}))
            for dtype in args.dtypes.split(","):
                common = [str(path), str(rows), str(tokens), dtype]
                sides = {"growmerge": Side([args.binary, *common], args.threads)}
                for kind in kinds:
                    sides[kind] = Side([sys.executable, __file__, "--peer", *common, kind], args.threads)
                for side in sides.values():
                    side.steps(2, timed=False)
                for _ in range(args.rounds):
                    for side in sides.values():
                        side.steps(steps)
                ours = sides["growmerge"]
                flops = 6 * parameters_of(shape) * rows * tokens / 1e9
                share = flops / ours.best / limit[dtype]
                mine = f"{rows * tokens / ours.best:,.0f} tok/s"
                if args.ours_only:
                    figures.append(row(f"train step, {NAMES[case]}, {dtype}", mine, "", "", None,
                                       memory=f"{ours.last['peak_mb']:,.0f} MB"))
                for name in kinds:
                    side = sides[name]
                    figures.append(
                        row(f"train step, {NAMES[case]}, {dtype}", mine, PEERS[name],
                            f"{rows * tokens / side.best:,.0f} tok/s", side.best / ours.best,
                            TARGETS.get((case, dtype, name)),
                            f"{ours.last['peak_mb']:,.0f} / {side.last['peak_mb']:,.0f} MB",
                            f"{share:.0%} of this machine's {limit[dtype]:,.0f} GFLOP/s"))
                for side in sides.values():
                    side.close()
    keep(figures, args.json)


if __name__ == "__main__":
    main()
