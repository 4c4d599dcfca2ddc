"""BLiMP end to end, lm-evaluation-harness (hf) against growmerge, alternately in one run.

Both start a fresh process, load the same model, score the same pairs under the same rules on the
same cores and write items. Prints seconds, ratio and peak resident memory of each, and checks that
the accuracies agree.

    .venv/bin/python tests/benchmarks/eval_benchmark.py [--limit N] [--rounds R] [--threads T] [--json FILE]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import BUILD, DATA, keep, row

LM_EVAL = """
import json, sys
import datasets, lm_eval
from lm_eval.tasks import TaskManager
model, folder, batch = sys.argv[1:]
datasets.disable_progress_bars()
results = lm_eval.simple_evaluate(model="hf", model_args={"pretrained": model, "dtype": "float32"},
    tasks=["blimp_all"], task_manager=TaskManager(include_path=folder, include_defaults=False),
    batch_size=int(batch), device="cpu", bootstrap_iters=2)
with open(folder + "/samples.json", "w") as out:
    json.dump([[r[0] for r in s["filtered_resps"]] for s in results["samples"]["blimp_all"]], out)
print("accuracy", results["results"]["blimp_all"]["acc,none"])
"""


def timed(command, environment):
    """Seconds, processor seconds, peak resident bytes and standard output."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        raise SystemExit(f"failed: {command}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, output


def random_model(data, folder):
    """SmolLM2-135M's configuration and tokenizer with random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir()
    source = data / "tokenizers/smollm2"
    shutil.copy(source / "config.SmolLM2-135M.json", folder / "config.json")
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    shutil.copy(source / "tokenizer.json", folder)
    token = "<|endoftext|>"
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": token, "eos_token": token})
    )
    return folder


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--shape", choices=["smollm2-135m"], help="random weights of this shape as the model")
    parser.add_argument("--build", type=Path, default=BUILD)
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("--limit", type=int, default=1000, help="pairs of each paradigm")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batch", type=int, default=64, help="lm-eval's batch size")
    parser.add_argument("--batch-tokens", type=int, default=8192)
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    model = (arguments.model or data / "models/stories260K").resolve()

    work = Path(tempfile.mkdtemp(prefix="eval-benchmark-"))
    label = model.name
    if arguments.shape:
        label, model = arguments.shape, random_model(data, work / "model")
    environment = os.environ | {
        "OMP_NUM_THREADS": str(arguments.threads),
        "HF_HOME": str(work / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TQDM_DISABLE": "1",
    }
    rows = []
    for path in sorted((data / "blimp/data").glob("*.jsonl")):
        for line in path.read_text().splitlines()[: arguments.limit]:
            pair = json.loads(line)
            rows.append({key: pair[key] for key in ("sentence_good", "sentence_bad")})
    (work / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (work / "blimp_all.yaml").write_text(
        json.dumps(
            {
                "task": "blimp_all",
                "dataset_path": "json",
                "dataset_kwargs": {"data_files": {"train": str(work / "pairs.jsonl")}},
                "output_type": "multiple_choice",
                "validation_split": "train",
                "doc_to_text": "",
                "doc_to_target": 0,
                "doc_to_choice": "{{[sentence_good, sentence_bad]}}",
                "num_fewshot": 0,
                "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            }
        )
    )
    (work / "lm_eval_run.py").write_text(LM_EVAL)
    config = {
        "batch_tokens": arguments.batch_tokens,
        "tasks": [
            {
                "name": "blimp",
                "kind": "blimp",
                "path": str(data / "blimp"),
                "preset": "lm-eval",
                "limit": arguments.limit,
            }
        ],
    }
    (work / "eval.yaml").write_text(json.dumps(config))

    times = {"lm-eval": [], "growmerge": []}
    memory = {"lm-eval": 0, "growmerge": 0}
    for round_number in range(arguments.rounds):
        out = work / f"out{round_number}"
        commands = {
            "lm-eval": [sys.executable, work / "lm_eval_run.py", model, work, str(arguments.batch)],
            "growmerge": [
                arguments.build / "tests/eval/growmerge_eval_tool", model, work / "eval.yaml", out,
            ],
        }
        for name, command in commands.items():
            seconds, cpu, peak, output = timed(command, environment)
            times[name].append(seconds)
            memory[name] = max(memory[name], peak)
            print(
                f"{name}: {seconds:.1f} s ({cpu:.1f} processor seconds), peak {peak / 2**20:.0f} MiB; "
                f"{output.strip()}",
                flush=True,
            )
        theirs = json.loads((work / "samples.json").read_text())
        items = (out / "items/blimp.jsonl").read_text().splitlines()[1:]
        worst = max(
            abs(a - float(b))
            for line, other in zip(items, theirs, strict=True)
            for a, b in zip(json.loads(line)["log_prob"], other)
        )
        print(f"largest difference of a sentence's log-probability: {worst:.1e}")
        if worst > 3e-4:  # the harness sums a sentence in float32
            raise SystemExit("the two do not compute the same")
    took = {side: statistics.median(values) for side, values in times.items()}
    keep(
        [
            row(
                f"BLiMP 67 x {arguments.limit}, {label}, fp32", f"{took['growmerge']:.1f} s",
                f"lm-eval, batch {arguments.batch}", f"{took['lm-eval']:.1f} s",
                took["lm-eval"] / took["growmerge"], 2.5 if arguments.shape else 8,
                f"{memory['growmerge'] / 2**20:,.0f} / {memory['lm-eval'] / 2**20:,.0f} MB",
                f"{arguments.threads} threads",
            )
        ],
        arguments.json,
    )
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
