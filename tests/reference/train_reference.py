"""Losses of growmerge's training loop against Transformers' Llama and torch.optim.AdamW, in float64.

Covers what one step is: documents apart, loss per token over the whole batch, clipping by the global norm, warm-up,
decoupled decay of matrices alone, WSD decay. Tolerance 1e-7: Transformers computes RMSNorm and RoPE's angles in float32
whatever the model's dtype.
"""

import json
import os
import subprocess
import sys
import tempfile

try:
    import torch
    from transformers import AutoModelForCausalLM
except ImportError as error:
    print(f"skipped: needs torch and transformers ({error})")
    sys.exit(77)

STEPS, ROWS, LR, WARMUP, CLIP, DECAY = 30, 6, 5e-3, 4, 1.4, 0.1
WORDS = [f"budget.steps={STEPS}", f"batch_rows={ROWS}", "dtype=float64", "save_dtype=float64",
         f"schedule.lr={LR}", f"schedule.warmup_steps={WARMUP}", f"clip_norm={CLIP}",
         f"optimizer.weight_decay={DECAY}", "microbatch_rows=4"]


def worker():
    build = os.path.dirname(os.path.dirname(os.environ.get("GROWMERGE_BINARY", "")))
    return os.path.join(build, "tests", "distributed", "growmerge_train_worker")


def learning_rate(step):
    decay_steps = round(0.2 * STEPS)
    if step < WARMUP:
        return LR * (step + 1) / WARMUP
    if step >= STEPS - decay_steps:
        return LR * (STEPS - step) / decay_steps
    return LR


def run_worker(*words):
    done = subprocess.run([worker(), *words, *WORDS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        start, rows_file = os.path.join(directory, "start"), os.path.join(directory, "rows.json")
        run_worker(start, f"rows={rows_file}")
        ours = json.loads(run_worker(os.path.join(directory, "run")).splitlines()[-1])["losses"]
        norms = [json.loads(line).get("grad_norm") for line in open(os.path.join(directory, "run", "metrics.jsonl"))]
        norms = [norm for norm in norms if norm is not None]
        rates = [json.loads(line).get("lr") for line in open(os.path.join(directory, "run", "metrics.jsonl"))]
        rates = [rate for rate in rates if rate is not None]
        rows = json.load(open(rows_file))
        model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float64, attn_implementation="eager")
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=LR, betas=(0.9, 0.95), eps=1e-8)
    worst = 0.0
    clipped = 0
    for step in range(STEPS):
        total, targets = 0.0, 0
        for row in rows[step * ROWS:(step + 1) * ROWS]:
            starts = row["segment_starts"]
            for begin, end in zip(starts, starts[1:]):
                ids = torch.tensor([row["tokens"][begin:end]])
                logits = model(ids).logits[0, :-1]
                total = total + torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
                targets += end - begin - 1
        loss = total / targets
        optimizer.zero_grad()
        loss.backward()
        norm = torch.sqrt(sum((p.grad ** 2).sum() for p in model.parameters()))
        assert abs(norm.item() - norms[step]) <= 1e-6 * norms[step], (step, norm.item(), norms[step])
        if norm > CLIP:
            clipped += 1
            for p in model.parameters():
                p.grad *= CLIP / norm
        rate = learning_rate(step)
        assert abs(rate - rates[step]) <= 1e-12, (step, rate, rates[step])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        worst = max(worst, abs(loss.item() - ours[step]) / abs(ours[step]))
    assert 0 < clipped < STEPS, f"the test must clip some steps, not all or none: {clipped}"
    assert worst < 1e-7, worst
    print(f"{STEPS} steps ({clipped} clipped): worst relative difference of the loss {worst:.1e}")


main()
