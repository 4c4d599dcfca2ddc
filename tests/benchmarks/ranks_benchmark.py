"""Data-parallel training of the 9.7M model on 2 ranks of 1 thread: against 1 rank of 2 threads, and against PyTorch DDP (gloo).

    ranks_benchmark.py [--steps N] [--rounds N] [--json FILE]

8 rows of 512 tokens a step in all, fp32. Ours is `growmerge train`; tokens/s are the median of its metrics without the first
steps. DDP runs two processes of one thread.
"""

import argparse
import json
import re
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from side_by_side import DATA, MPI, PROGRAM, keep, measure, row
from train_step_benchmark import LARGE

ROWS, TOKENS = 8, 512

DDP = """
import json, os, sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaConfig, LlamaForCausalLM
torch.set_num_threads(1)
dist.init_process_group("gloo")
config = LlamaConfig(**json.loads(open(sys.argv[1]).read()))
rows, tokens, steps = (int(x) for x in sys.argv[2:])
torch.manual_seed(1)
model = DistributedDataParallel(LlamaForCausalLM(config))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
ids = torch.randint(0, config.vocab_size, (rows // dist.get_world_size(), tokens))
times = []
for _ in range(steps):
    dist.barrier()
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    times.append(time.perf_counter() - start)
if dist.get_rank() == 0:
    print("rate", rows * tokens / sorted(times[2:])[len(times[2:]) // 2])
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", help="file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "config.json").write_text(json.dumps({**LARGE, "max_position_embeddings": TOKENS,
                                                      "tie_word_embeddings": True}))
        (root / "ddp.py").write_text(DDP)
        tokenizer = root / "tokenizer"
        tokenizer.mkdir()
        shutil.copy(DATA / "tokenizers/smollm2/tokenizer.json", tokenizer)
        (tokenizer / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
        measure([PROGRAM, "tokenize", f"en={DATA / 'corpora/en/standardebooks/dev.jsonl'}", "--set",
                 f"tokenizer={tokenizer}", "--out", root / "shards"])
        (root / "train.yaml").write_text(json.dumps({
            "init": {"tokenizer": str(tokenizer), "hidden_size": 160, "intermediate_size": 432, "num_layers": 6,
                     "num_heads": 5, "max_position_embeddings": TOKENS},
            "mixture": {"row_tokens": TOKENS, "sources": [{"path": str(root / "shards"), "language": "en", "weight": 1}]},
            "device": "cpu",
            "batch_rows": ROWS, "microbatch_rows": ROWS // 2, "budget": {"steps": options.steps}, "log_every": 1,
            "save_trainer_state": False}))
        count = 0
        resident = []

        def ours(ranks):
            nonlocal count
            count += 1
            out = root / f"out{count}"
            launcher = ["mpirun", "-n", ranks] if ranks > 1 else []
            result = measure([*launcher, PROGRAM, "train", "--config", root / "train.yaml", "--out", out],
                             {**MPI, "OMP_NUM_THREADS": str(2 // ranks)})
            if ranks == 1:
                resident.append(result[1] * 2**20 / 1e6)
            rates = [json.loads(line).get("tokens_per_s") for line in (out / "metrics.jsonl").read_text().splitlines()]
            return statistics.median([rate for rate in rates if rate is not None][3:])

        def ddp():
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2,
                       root / "ddp.py", root / "config.json", ROWS, TOKENS, options.steps]
            output = measure(command, {"OMP_NUM_THREADS": "1"})[3]
            return float(output.split("rate")[1].split()[0])

        sides = {"2 x 1": lambda: ours(2), "1 x 2": lambda: ours(1), "DDP": ddp}
        rates = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, side in sides.items():
                rates[name].append(side())
        best = {name: max(values) for name, values in rates.items()}
        plan = measure([PROGRAM, "train", "--config", root / "train.yaml", "--out", root / "plan", "--dry-run"])[3]
        said = float(re.search(r"memory +([0-9.]+) MB", plan).group(1))
    work = f"train, Llama 9.7M, {ROWS} x {TOKENS}, fp32, 2 ranks x 1 thread"
    mine = f"{best['2 x 1']:,.0f} tok/s"
    keep([row(work, mine, "growmerge, 1 rank x 2 threads", f"{best['1 x 2']:,.0f} tok/s", best["2 x 1"] / best["1 x 2"], 0.95),
          row(work, mine, "PyTorch DDP, gloo", f"{best['DDP']:,.0f} tok/s", best["2 x 1"] / best["DDP"], 2),
          row("peak memory of training, Llama 9.7M, fp32, 1 rank", f"{max(resident):,.0f} MB", "train --dry-run",
              f"{said:,.0f} MB", said / max(resident), "0.9 to 1.1")], options.json)


if __name__ == "__main__":
    main()
