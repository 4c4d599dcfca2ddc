"""The transformer against Transformers: logits, log-probabilities, gradients and greedy text.

stories260K in float32: logits to 1e-5 of the largest, log-probabilities of reference.json to 1e-4 (it holds five
digits), the greedy sample word for word. SmolLM2-135M's shape with random weights, silu and gelu, tied and untied:
logits and gradients in float32; smaller shapes in float64. Every other family and its variants (families.py) in float64,
their logits in bfloat16 and their greedy continuation token by token. Packed segments against documents run one by one.

Transformers rounds to float32 inside float64 models (norms, eager softmax, cos and sin). Norm and softmax are kept in
float64 here; cos and sin are float32 on both sides, from different libraries: hence 1e-6, not 1e-12.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import torch
    from safetensors.torch import load_file, save_file
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen2Config
    import families
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

SOURCE = Path(os.environ.get("GROWMERGE_SOURCE_DIR", Path(__file__).parents[2]))
DATA = Path(os.environ.get("GROWMERGE_TEST_DATA", SOURCE / "../shared/data"))
BINARY = Path(os.environ.get("GROWMERGE_BINARY", SOURCE / "build/dev/bin/growmerge"))
DUMP = BINARY.parent / "growmerge_model_dump"
failures = []
transformers.utils.logging.disable_progress_bar()


def check(name, value, bound):
    ok = value <= bound
    print(f"{'ok  ' if ok else 'FAIL'} {name}: {value:.3g} (bound {bound:.3g})")
    if not ok:
        failures.append(name)


def dump(checkpoint, dtype, tensors):
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "in.safetensors", Path(folder) / "out.safetensors"
        save_file(tensors, given)
        subprocess.run([DUMP, checkpoint, dtype, given, made], check=True)
        return load_file(made)


def packed(ids, lengths):
    """Tokens and targets of documents packed one behind another."""
    assert sum(lengths) == len(ids)
    starts = [0]
    targets = torch.full((len(ids),), -100)
    for length in lengths:
        a, b = starts[-1], starts[-1] + length
        targets[a:b - 1] = ids[a + 1:b]
        starts.append(b)
    return {"tokens": ids, "targets": targets, "segment_starts": torch.tensor(starts)}


def peer(model, batch):
    """Logits, and the loss summed over documents that are run one by one."""
    logits, loss = [], 0.0
    starts = batch["segment_starts"].tolist()
    for a, b in zip(starts, starts[1:]):
        out = model(batch["tokens"][a:b].unsqueeze(0)).logits[0]
        logits.append(out)
        if b - a > 1:
            loss = loss + torch.nn.functional.cross_entropy(out[:-1], batch["tokens"][a + 1:b], reduction="sum")
    return torch.cat(logits), loss


def attention_of(config, dtype):
    """What keeps float64; Gemma 2 has eager attention alone."""
    return "eager" if config.model_type == "gemma2" or dtype != "float64" else "sdpa"


def compare(name, config, ids, lengths, dtype, logit_bound, gradient_bound):
    config._attn_implementation = attention_of(config, dtype)
    model = families.make(config)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        batch = packed(ids, lengths)
        ours = dump(folder, dtype, batch)
    model = model.to(getattr(torch, dtype))
    if dtype == "float64":
        families.keep_float64(model)
    logits, loss = peer(model, batch)
    scale = logits.abs().max().item()
    check(f"{name}: logits", (logits - ours["logits"]).abs().max().item() / scale, logit_bound)
    check(f"{name}: loss", abs(loss.item() - ours["loss"].item()) / loss.item(), logit_bound)
    loss.backward()
    worst, where = 0.0, ""
    # Some gradients are zero but for rounding: the bias of keys that do not turn shifts all scores of a query alike.
    nothing = 1e-8 * max(parameter.grad.norm().item() for parameter in model.parameters())
    for key, parameter in model.named_parameters():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        difference = (parameter.grad - ours["grad." + key]).norm().item() / (parameter.grad.norm().item() + nothing)
        if not math.isfinite(difference):
            difference = math.inf  # NaN is never larger than anything
        if difference >= worst:
            worst, where = difference, key
    check(f"{name}: gradients (worst {where})", worst, gradient_bound)


def greedy(name, config):
    """Both continue the same prompt of a random model, whose choices are far apart."""
    model = families.make(config, seed=3, spread=0.3)
    prompt = torch.randint(3, config.vocab_size, (7,))
    theirs = model.generate(prompt.unsqueeze(0), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        ours = dump(folder, "float32", {"tokens": prompt, "num_new": torch.tensor([24])})["continued"]
    check(f"{name}: greedy tokens that differ", (theirs[0, 7:] != ours).sum().item(), 0)


def bfloat16(name, config, ids):
    """Logits in bfloat16 lie as near to float64's as Transformers' own in bfloat16, or nearer than twice that."""
    config._attn_implementation = attention_of(config, "bfloat16")
    model = families.make(config).to(torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        ours = dump(folder, "bfloat16", packed(ids, [len(ids)]))["logits"].double()
    with torch.no_grad():
        theirs = model(ids.unsqueeze(0)).logits[0].double()
        exact = model.to(torch.float64)
        families.keep_float64(exact)
        right = exact(ids.unsqueeze(0)).logits[0]
    error = (theirs - right).square().mean().sqrt().item()
    check(f"{name}: bfloat16, rms error by that of Transformers", (ours - right).square().mean().sqrt().item() / error, 1.5)


def other_families():
    ids = torch.randint(3, 97, (120,))
    shape = {**families.SHAPE, "num_hidden_layers": 2}
    cases = families.configs()
    for kv in (4, 1):
        for tied in (True, False):
            cases[f"Qwen2 4/{kv} {'tied' if tied else 'untied'}"] = Qwen2Config(
                **{**shape, "num_key_value_heads": kv, "tie_word_embeddings": tied})
    for name, config in cases.items():
        # Eager attention's softmax is float32.
        bound = 1e-6 if attention_of(config, "float64") == "sdpa" else 1e-5
        compare(name, config, ids, [70, 1, 30, 19], "float64", bound, bound)
        greedy(name, config)
        bfloat16(name, config, ids[:40])


def stories(folder):
    reference = json.loads((folder / "reference.json").read_text())
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for case in reference["cases"]:
        ids = torch.tensor(case["ids"])
        ours = dump(folder, "float32", packed(ids, [len(ids)]))
        with torch.no_grad():
            logits = model(ids.unsqueeze(0)).logits[0]
        difference = (logits - ours["logits"]).abs().max().item()
        name = f"stories260K {case['text'][:24]!r}"
        check(f"{name}: logits", difference / logits.abs().max().item(), 1e-5)
        given = torch.tensor(case["logprob_next"])
        check(f"{name}: log-probabilities", (ours["log_probs"][:-1] - given).abs().max().item(), 1e-4)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = reference["greedy_from_BOS_256"]
    continued = dump(folder, "float32", {"tokens": torch.tensor([1]), "num_new": torch.tensor([256])})["continued"]
    said = tokenizer.decode([i for i in continued.tolist() if i > 2]).strip()
    same = said.split()[:len(text.split())] == text.split()
    check("stories260K: greedy words that differ", 0 if same else 1, 0)


def main():
    if not DUMP.exists():
        print(f"skipped: {DUMP} is not built")
        return 77
    folder = DATA / "models/stories260K"
    if not folder.exists():
        print(f"skipped: no {folder}")
        return 77
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    stories(folder)

    torch.manual_seed(0)
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    for act in ("silu", "gelu", "gelu_pytorch_tanh"):
        for tied in (True, False):
            for heads, kv in ((4, 4), (4, 2), (4, 1)):
                config = LlamaConfig(vocab_size=97, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
                                     num_attention_heads=heads, num_key_value_heads=kv, head_dim=10, hidden_act=act,
                                     tie_word_embeddings=tied, initializer_range=0.2,
                                     rope_parameters=rope if kv == 2 else {"rope_type": "default", "rope_theta": 1e4})
                ids = torch.randint(0, 97, (120,))
                compare(f"{act} {'tied' if tied else 'untied'} {heads}/{kv}", config, ids, [70, 1, 30, 19], "float64",
                        1e-6, 1e-6)

    other_families()
    qwen = Qwen2Config(vocab_size=8000, hidden_size=448, intermediate_size=1216, num_hidden_layers=8,
                       num_attention_heads=7, num_key_value_heads=1, tie_word_embeddings=True,
                       rope_parameters={"rope_type": "default", "rope_theta": 1e6})
    compare("Qwen2 of half Qwen2.5-0.5B's width", qwen, torch.randint(0, 8000, (60,)), [40, 20], "float32", 1e-5, 1e-4)
    smol = json.loads((DATA / "tokenizers/smollm2/config.SmolLM2-135M.json").read_text())
    for act in ("silu", "gelu"):
        for tied in (True, False):
            config = LlamaConfig(**{**smol, "hidden_act": act, "tie_word_embeddings": tied})
            ids = torch.randint(0, config.vocab_size, (24,))
            compare(f"SmolLM2-135M {act} {'tied' if tied else 'untied'}", config, ids, [16, 8], "float32", 1e-5, 1e-4)
    if failures:
        print(f"{len(failures)} comparisons failed: {failures}")
        return 1
    print("all comparisons hold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
