"""One training step on a GPU of growmerge and of Transformers under torch.compile, in one run.

    gpu_benchmark.py [--cases 180m,572m,1.7b] [--rounds 3] [--steps 10] [--json FILE]

The study's 180M and 572M (V 128,256) and SmolLM2-1.7B's shape at sequence 2048 in bf16, random weights and tokens. Ours: bf16
compute with fp32 masters, gradients and moments; theirs: everything in bf16, fused AdamW, clipping. Each side has the GPU
to itself, in the order ours, theirs, ours; the best round counts. Prints tokens/s, the ratio, MFU (3 x forward FLOPs with
causal attention against the data sheet's dense bf16 peak) and the peak of reserved memory. Where there is no GPU it says so and
measures nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import BUILD, keep, row

NO_GPU = 3
TOKENS = 2048
COMMON = dict(architectures=["LlamaForCausalLM"], model_type="llama", tie_word_embeddings=True, rms_norm_eps=1e-5,
              max_position_embeddings=TOKENS)
SMALL = dict(vocab_size=128256, num_hidden_layers=30, head_dim=64, hidden_act="gelu", rope_theta=10000.0)
# NAME: config and rows of a step (the study's microbatches).
CASES = {
    "180m": ({**SMALL, "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
              "num_key_value_heads": 3}, 8),
    "572m": ({**SMALL, "hidden_size": 1152, "intermediate_size": 3072, "num_attention_heads": 18,
              "num_key_value_heads": 6}, 4),
    "1.7b": (dict(vocab_size=49152, num_hidden_layers=24, head_dim=64, hidden_act="silu", rope_theta=130000.0,
                  hidden_size=2048, intermediate_size=8192, num_attention_heads=32, num_key_value_heads=32), 4),
}


def peer(config_path, rows):
    import time

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(**json.loads(Path(config_path).read_text()))
    config._attn_implementation = "sdpa"
    with torch.device("cuda"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    step_model = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    print(json.dumps({"device": torch.cuda.get_device_name()}), flush=True)
    for line in sys.stdin:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(int(line)):
            ids = torch.randint(0, config.vocab_size, (rows, TOKENS)).pin_memory().to("cuda", non_blocking=True)
            optimizer.zero_grad(set_to_none=True)
            loss = step_model(input_ids=ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        torch.cuda.synchronize()
        took = (time.perf_counter() - start) / int(line)
        print(json.dumps({"seconds": took, "loss": loss.item(), "peak_mb": torch.cuda.max_memory_reserved() / 1e6}),
              flush=True)


def measure(command, rounds, steps):
    """What the process says of itself, the best seconds per step and the peak MB; None where it has no GPU."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    if not first.startswith("{"):
        if process.wait() == NO_GPU:
            return None, first.strip()
        sys.exit(f"failed: {command} ended with {process.returncode}")
    best, last = float("inf"), None
    for count in [3] + [steps] * rounds:  # the first ones compile, record and choose algorithms
        process.stdin.write(f"{count}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            sys.exit(f"failed: {command} ended with {process.wait()}")
        last = json.loads(line)
        best = min(best, last["seconds"]) if count == steps else best
    process.stdin.close()
    process.wait()
    return json.loads(first), (best, last["peak_mb"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--binary", default=str(BUILD / "bin/gpu_step_benchmark"))
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        peer(args.peer[0], int(args.peer[1]))
        return
    figures = []
    for case in args.cases.split(","):
        shape, rows = CASES[case]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config.json"
            path.write_text(json.dumps({**COMMON, **shape}))
            mine = [args.binary, str(path), str(rows), str(TOKENS), "bfloat16"]
            theirs = [sys.executable, __file__, "--peer", str(path), str(rows)]
            about, first = measure(mine, args.rounds, args.steps)
            if about is None:
                print(f"gpu: there is no GPU here ({first}): nothing was measured", flush=True)
                return
            _, (their_seconds, their_mb) = measure(theirs, args.rounds, args.steps)
            _, second = measure(mine, args.rounds, args.steps)
        seconds, mb = min(first[0], second[0]), max(first[1], second[1])
        tokens = rows * TOKENS

        def text(step, about=about, tokens=tokens):
            achieved = about["flops_per_token"] * tokens / step / 1e12
            mfu = f", MFU {achieved / about['peak_tflops']:.1%}" if about["peak_tflops"] else f", {achieved:.0f} TFLOP/s"
            return f"{tokens / step:,.0f} tok/s{mfu}"

        figures.append(row(f"train step, {case.upper()}, {rows} x {TOKENS}, bf16", text(seconds), "torch.compile",
                           text(their_seconds), their_seconds / seconds, None, f"{mb:,.0f} / {their_mb:,.0f} MB",
                           f"{about['device']}; ours with fp32 masters"))
    keep(figures, args.json)


if __name__ == "__main__":
    main()
