"""Merges of random Llama checkpoints against mergekit, whole recipes from directory to directory.

Linear and task arithmetic must agree to 1 unit in the last place of float32, taken at the magnitude
of the largest term of the sum (both programs add in float32, where a sum that cancels keeps the
rounding of its terms). TIES likewise, except entries where some model's |delta| lies exactly at its
threshold: there "the k largest" is ambiguous and mergekit's choice arbitrary. Each such entry is
checked to be one, and they may be 3 % at most. DARE-TIES gives mergekit our draws, made here from
Philox's definition; it adds up its L1 norms in float32, hence 1e-5 of a difference.

Every other family and variant (families.py): task arithmetic of two models against its formula in float64, to 3 units in
the last place (it has five roundings), loaded by Transformers, where the merged model computes.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

try:
    import numpy as np
    import torch
    import yaml
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.merge_methods.generalized_task_arithmetic import GeneralizedTaskArithmeticMerge
    from mergekit.options import MergeOptions
    import families
except ImportError as error:
    print(f"skipped: a peer is missing: {error}")
    sys.exit(77)

ROOT = Path(os.environ.get("GROWMERGE_SOURCE_DIR", Path(__file__).resolve().parents[2]))
BUILD = Path(os.environ.get("GROWMERGE_BINARY", ROOT / "build/dev/bin/growmerge")).parent.parent
TOOL = BUILD / "tests/merging/growmerge_merge_tool"
NAMES = ["m0", "m1", "m2"]
SEED = 11

def make_models(root, family, tied, dtypes):
    """A base and three models that differ from it by small random steps."""
    for index, name in enumerate(["base", *NAMES]):
        torch.manual_seed(100 + index)
        config = family(
            vocab_size=1000, hidden_size=64, intermediate_size=96, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied)
        model = AutoModelForCausalLM.from_config(config)
        if name != "base":
            with torch.no_grad():
                for parameter, origin in zip(model.parameters(), base.parameters()):
                    parameter.copy_(origin + 0.005 * torch.randn_like(origin))
        else:
            base = model
            with torch.no_grad():
                for parameter in base.parameters():
                    parameter.add_(0.02 * torch.randn_like(parameter))
        stored = AutoModelForCausalLM.from_config(config)
        stored.load_state_dict(model.state_dict())
        stored.to(dtypes[index]).save_pretrained(root / name)


def run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def merge_both(root, recipe, label):
    path = root / f"{label}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    peer, ours = root / f"{label}-peer", root / f"{label}-ours"
    run([TOOL, path, ours])
    recipe = dict(recipe)
    with our_draws(root, recipe) if recipe.pop("random_seed", None) else nullcontext():
        options = MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False)
        run_merge(MergeConfiguration.model_validate(recipe), str(peer), options)
    model = AutoModelForCausalLM.from_pretrained(ours)  # stock Transformers loads it
    assert model.dtype == torch.float32
    return load_file(peer / "model.safetensors"), load_file(ours / "model.safetensors")


def philox(position, stream, seed):
    """Philox4x32-10 at an array of counters {position, stream}: four arrays of 32-bit words."""
    mask = np.uint64(0xFFFFFFFF)
    c = [position & mask, position >> np.uint64(32)]
    c += [np.full_like(position, stream & 0xFFFFFFFF), np.full_like(position, stream >> 32)]
    key = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)]
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ key[0], p1 & mask,
             (p0 >> np.uint64(32)) ^ c[3] ^ key[1], p0 & mask]
        key = [(key[0] + np.uint64(0x9E3779B9)) & mask, (key[1] + np.uint64(0xBB67AE85)) & mask]
    return c


def fnv1a(text):
    out = 0xCBF29CE484222325
    for byte in text.encode():
        out = ((out ^ byte) * 0x100000001B3) % 2**64
    return out


def draws_of(recipe, tensor, count):
    """docs/methods/merging.md: element i takes 16 bits of block i / 1024 * 128 + i % 128."""
    out = []
    index = np.arange(count, dtype=np.uint64)
    block = index // np.uint64(1024) * np.uint64(128) + index % np.uint64(128)
    lane = index % np.uint64(1024) // np.uint64(128)
    for number, entry in enumerate(recipe["models"]):
        density = value_at(entry["parameters"]["density"], tensor)
        if density < 1:
            words = philox(block, fnv1a(f"merging/dare/{number}/{tensor}"), SEED)
            word = np.choose((lane // np.uint64(2)).astype(int), words)
            bits = (word >> (np.uint64(16) * (lane % np.uint64(2)))) & np.uint64(0xFFFF)
            out.append(torch.from_numpy(bits < round(density * 65536)))
    return out


@contextmanager
def our_draws(root, recipe):
    """mergekit with its Bernoulli draws replaced by ours."""
    current = []
    merge_group, bernoulli = GeneralizedTaskArithmeticMerge.merge_group, torch.bernoulli

    def with_draws(self, group, /, **parameters):
        current[:] = draws_of(recipe, group.metadata.name, group.base.tensor.numel())
        return merge_group(self, group, **parameters)

    GeneralizedTaskArithmeticMerge.merge_group = with_draws
    torch.bernoulli = lambda p: current.pop(0).to(p.dtype).view_as(p)
    try:
        yield
    finally:
        GeneralizedTaskArithmeticMerge.merge_group, torch.bernoulli = merge_group, bernoulli


def inputs(root, name):
    return {k: v.float() for k, v in load_file(root / name / "model.safetensors").items()}


def value_at(value, tensor, layers=4):
    """mergekit's grammar: scalar, gradient over depth, list of {filter, value}."""
    depth = 0.0
    if tensor.startswith("model.layers."):
        depth = int(tensor.split(".")[2]) / (layers - 1)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        for entry in value:
            if entry.get("filter") in (None, "*") or entry["filter"] in tensor:
                return value_at(entry["value"], tensor, layers)
        return None
    if isinstance(value, list):
        return float(np.interp(depth * (len(value) - 1), range(len(value)), value))
    return value


def at_threshold(root, recipe, tensor, base):
    """Entries where some model's |delta| equals its k-th largest."""
    marked = torch.zeros_like(base, dtype=torch.bool)
    for entry in recipe["models"]:
        density = value_at(entry["parameters"].get("density", 1.0), tensor)
        delta = (inputs(root, Path(entry["model"]).name)[tensor] - base).abs()
        n = delta.numel()
        if density < 1:
            k = max(1, int(density * n))
            marked |= delta == torch.sort(delta.flatten(), descending=True).values[k - 1]
    return marked


def compare(root, recipe, label):
    peer, ours = merge_both(root, recipe, label)
    assert set(peer) - set(ours) <= {"lm_head.weight"}, set(peer) ^ set(ours)
    base = inputs(root, "base")
    models = [inputs(root, name) for name in NAMES]
    ties = recipe["merge_method"] == "ties"
    worst, equal, excepted, total = 0.0, 0, 0, 0
    for name, tensor in ours.items():
        scale = torch.stack([m[name].abs() for m in [base, *models]]).max(dim=0).values
        scale = torch.maximum(scale, peer[name].abs())
        ulp = torch.from_numpy(np.spacing(scale.numpy()))
        off = (tensor.double() - peer[name].double()).abs() / ulp.double()
        if recipe["merge_method"] == "dare_ties":  # in units of the allowed share of a difference
            largest = torch.stack([(m[name] - base[name]).abs() for m in models]).max()
            off = (tensor - peer[name]).abs().double() / (1e-5 * 3 * float(largest) + ulp.double())
        wrong = off > 1.0
        if ties and wrong.any():
            marked = at_threshold(root, recipe, name, base[name])
            assert not (wrong & ~marked).any(), (
                f"{label}: {name}: {int((wrong & ~marked).sum())} entries differ that are not at a "
                "threshold")
            excepted += int(wrong.sum())
            off[wrong] = 0.0
        worst = max(worst, float(off.max()))
        equal += int((tensor == peer[name]).sum())
        total += tensor.numel()
    print(f"{label}: max {worst:.2f} ulp, {equal / total:.4%} bit-equal, "
          f"{excepted / total:.4%} at a threshold")
    assert worst <= 1.0, f"{label}: {worst} ulp"
    assert excepted <= 0.03 * total, f"{label}: {excepted} of {total} at a threshold"


def models_with(root, parameters):
    return [{"model": str(root / name), "parameters": p} for name, p in zip(NAMES, parameters)]


def recipes(root):
    gradient = [0.2, 0.9, 0.4]
    filtered = [{"filter": "self_attn", "value": 0.3}, {"filter": "mlp", "value": [0.1, 0.8]},
                {"value": 0.6}]
    weights = [{"weight": 0.5}, {"weight": gradient}, {"weight": filtered}]
    base = str(root / "base")
    for normalize in (True, False):
        yield f"linear-{normalize}", {
            "merge_method": "linear", "models": models_with(root, weights),
            "parameters": {"normalize": normalize}, "dtype": "float32"}
        yield f"task_arithmetic-{normalize}", {
            "merge_method": "task_arithmetic", "base_model": base,
            "models": models_with(root, weights),
            "parameters": {"normalize": normalize, "lambda": 0.7}, "dtype": "float32"}
        densities = [0.2, [0.9, 0.3], [{"filter": "mlp", "value": 0.45}, {"value": 1.0}]]
        yield f"ties-{normalize}", {
            "merge_method": "ties", "base_model": base,
            "models": models_with(root, [{**w, "density": d} for w, d in zip(weights, densities)]),
            "parameters": {"normalize": normalize, "lambda": 1.0 if normalize else 0.6},
            "dtype": "float32"}
        yield f"dare_ties-{normalize}", {
            "merge_method": "dare_ties", "base_model": base, "random_seed": SEED,
            "models": models_with(root, [{**w, "density": d} for w, d in zip(weights, densities)]),
            "parameters": {"normalize": normalize, "rescale": normalize, "lambda": 0.9},
            "dtype": "float32"}


def merge_variant(root, name, config):
    sources = {}
    for index, part in enumerate(("base", "one", "two")):
        model = families.make(config, seed=20 + index)
        model.save_pretrained(root / part)
        sources[part] = load_file(root / part / "model.safetensors")
    recipe = {"merge_method": "task_arithmetic", "base_model": str(root / "base"), "dtype": "float32", "models": [
        {"model": str(root / part), "parameters": {"weight": weight}} for part, weight in (("one", 0.3), ("two", 0.5))]}
    path = root / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    run([TOOL, path, root / "merged"])
    merged = load_file(root / "merged" / "model.safetensors")
    assert merged.keys() == sources["base"].keys(), f"{name}: other tensors"
    worst = 0.0
    for tensor, value in merged.items():
        base, one, two = (sources[part][tensor].double() for part in ("base", "one", "two"))
        expected = base + 0.3 * (one - base) + 0.5 * (two - base)
        largest = torch.stack([base.abs(), one.abs(), two.abs()]).max(dim=0).values.float()
        ulp = torch.from_numpy(np.spacing(largest.numpy())).double()
        worst = max(worst, float(((value.double() - expected).abs() / ulp).max()))
    model = AutoModelForCausalLM.from_pretrained(root / "merged")
    assert type(model.config) is type(config), f"{name}: {type(model.config)}"
    assert bool(model(torch.arange(3, 43).unsqueeze(0)).logits.isfinite().all()), f"{name}: not finite"
    print(f"{name}: max {worst:.2f} ulp")
    assert worst <= 3.0, f"{name}: {worst} ulp"


def main():
    if not TOOL.exists():
        print(f"skipped: needs {TOOL}")
        sys.exit(77)
    bf16, f16, f32 = torch.bfloat16, torch.float16, torch.float32
    for family, tied, dtypes in ((LlamaConfig, True, [bf16] * 4), (LlamaConfig, False, [f32, bf16, f16, f32]),
                                 (Qwen2Config, True, [bf16] * 4)):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make_models(root, family, tied, dtypes)
            for label, recipe in recipes(root):
                compare(root, recipe, f"{family.model_type}-{label}-{'tied' if tied else 'untied'}")
    for name, config in families.configs().items():
        with tempfile.TemporaryDirectory() as folder:
            merge_variant(Path(folder), name, config)
    print("merges equal mergekit's")


if __name__ == "__main__":
    main()
