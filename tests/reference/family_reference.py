"""Evaluation of families other than Llama: pairs scored by growmerge and by Transformers.

A random model of each family and variant (families.py) that takes stories260K's tokenizer scores the first
pairs of every tenth BLiMP paradigm; log-probabilities of both sentences against Transformers in float64, to 1e-4.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer
    import families
except ImportError as error:
    print(f"skipped: a peer is missing: {error}")
    sys.exit(77)

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("GROWMERGE_TEST_DATA", ROOT / "../shared/data")).resolve()
BINARY = Path(os.environ.get("GROWMERGE_BINARY", ROOT / "build/dev/bin/growmerge"))
TOOL = BINARY.parents[1] / "tests/eval/growmerge_eval_tool"
SOURCE = DATA / "models/stories260K"


def make_model(folder, config):
    config.vocab_size = 512
    families.make(config, seed=7, spread=0.2).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SOURCE / name, folder)


def log_probability(model, tokenizer, text):
    ids = torch.tensor([[1] + tokenizer(text, add_special_tokens=False).input_ids])
    with torch.no_grad():
        scores = model(ids[:, :-1]).logits[0].log_softmax(-1)  # the last token is never fed
    return scores.gather(1, ids[0, 1:, None]).sum().item()


def compare(folder, name, config):
    source = folder / name
    make_model(source, config)
    pairs = folder / "pairs"
    pairs.mkdir(exist_ok=True)
    rows = {}
    for path in sorted((DATA / "blimp/data").glob("*.jsonl"))[::10]:
        lines = path.read_text().splitlines()[:4]
        (pairs / path.name).write_text("\n".join(lines) + "\n")
        rows[path.stem] = [json.loads(line) for line in lines]
    config_file, out = folder / f"{name}.yaml", folder / f"{name}-results"
    config_file.write_text(json.dumps({"tasks": [{"name": "blimp", "kind": "blimp", "path": str(pairs)}]}))
    subprocess.run([TOOL, source, config_file, out], check=True, stdout=subprocess.DEVNULL)
    items = [json.loads(line) for line in (out / "items/blimp.jsonl").read_text().splitlines()[1:]]
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float64)
    tokenizer = AutoTokenizer.from_pretrained(SOURCE)  # beside a Qwen2 it would become a Qwen2 tokenizer
    expected = [[log_probability(model, tokenizer, row[key]) for key in ("sentence_good", "sentence_bad")]
                for paradigm in sorted(rows) for row in rows[paradigm]]
    if len(items) != len(expected):
        raise SystemExit(f"{name}: {len(items)} items, expected {len(expected)}")
    worst = max(abs(a - b) / max(1.0, abs(b) / 100) for item, pair in zip(items, expected)
                for a, b in zip(item["log_prob"], pair))
    print(f"{name}: {len(items)} pairs, log p within {worst:.1e}")
    if not worst <= 1e-4:
        raise SystemExit(f"{name}: log-probabilities differ by {worst}")


def main():
    if not SOURCE.exists():
        print(f"skipped: no shared data in {DATA}")
        return 77
    if not TOOL.exists():
        print(f"skipped: {TOOL} is not built")
        return 77
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        for name, config in families.configs().items():
            compare(Path(folder), name.replace(" ", "-").replace(",", ""), config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
