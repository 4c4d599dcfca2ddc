"""Recipes against mergekit: slices, parameters at every level, tokenizers, companions; adapters against PEFT.

Arithmetic is merge_reference.py's matter; here is which tensors and numbers meet. Linear merges must agree to 1 unit in
the last place of float32 at the magnitude of the largest term. Ids of a union are mergekit's own choice (it goes through a
hash map), so rows are compared by token. Merged adapters agree with PEFT's merge_and_unload to 1e-6 relative, and with the
same product in float64.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    import torch
    import yaml
    from safetensors.torch import load_file, save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions
    import peft
except ImportError as error:
    print(f"skipped: a peer is missing: {error}")
    sys.exit(77)

ROOT = Path(os.environ.get("GROWMERGE_SOURCE_DIR", Path(__file__).resolve().parents[2]))
PROGRAM = Path(os.environ.get("GROWMERGE_BINARY", ROOT / "build/dev/bin/growmerge"))


def run(root, recipe, out, expect=0):
    """growmerge on a recipe (a dict or the text of a file); returns what it printed."""
    path = root / f"{out}.yaml"
    path.write_text(recipe if isinstance(recipe, str) else yaml.safe_dump(recipe, sort_keys=False))
    done = subprocess.run([PROGRAM, "merge", "--config", path, "--out", root / out], capture_output=True, text=True)
    if done.returncode != expect:
        sys.exit(f"{out}: rc {done.returncode}, expected {expect}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout + done.stderr


def run_peer(root, recipe, out, **options):
    settings = MergeOptions(quiet=True, write_model_card=False, **options)
    run_merge(MergeConfiguration.model_validate(recipe), str(root / out), settings)


def weights(path):
    return {k: v.float() for k, v in load_file(path / "model.safetensors").items()}


def make_model(path, seed, layers=4, vocab=100, tied=True, dtype=torch.float32, hidden=32):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tied, bos_token_id=1, eos_token_id=2)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.to(dtype).save_pretrained(path)
    return model


def compare(label, peer, ours, terms=1.0):
    assert set(peer) - set(ours) <= {"lm_head.weight"} and set(ours) <= set(peer), (label, set(peer) ^ set(ours))
    worst = 0.0
    for name, tensor in ours.items():
        assert tensor.shape == peer[name].shape, (label, name, tensor.shape, peer[name].shape)
        scale = torch.maximum(peer[name].abs(), torch.tensor(0.05 * terms))
        ulp = torch.from_numpy(np.spacing(scale.numpy())).double()
        worst = max(worst, float(((tensor.double() - peer[name].double()).abs() / ulp).max()))
    print(f"{label}: max {worst:.2f} ulp")
    assert worst <= 2.0, f"{label}: {worst} ulp"


def slice_recipes(root):
    a, b, deep = (str(root / name) for name in ("a", "b", "deep"))
    yield "slices-gradient", {"merge_method": "linear", "dtype": "float32", "parameters": {"weight": [0.2, 0.8]}, "slices": [
        {"sources": [{"model": a, "layer_range": [0, 3]}, {"model": b, "layer_range": [1, 4], "parameters": {"weight": [1, 0.5, 0.1]}}]},
        {"sources": [{"model": deep, "layer_range": [5, 6]}, {"model": a, "layer_range": [3, 4]}], "parameters": {"weight": [0.3, 0.9]},
         "residual_weight": 0.5}]}
    yield "slices-one-model-twice", {"merge_method": "linear", "dtype": "float32", "slices": [
        {"sources": [{"model": a, "layer_range": [0, 3], "parameters": {"weight": 1.0}}]},
        {"sources": [{"model": a, "layer_range": [1, 4], "parameters": {"weight": [{"filter": "layers.2.", "value": 2}, {"value": 0.5}]}}],
         "parameters": {"normalize": 0}}]}
    yield "slices-base", {"merge_method": "task_arithmetic", "base_model": a, "dtype": "float32", "slices": [
        {"sources": [{"model": a, "layer_range": [0, 2]}, {"model": b, "layer_range": [2, 4]}], "parameters": {"weight": [0.4, 0.6]}},
        {"sources": [{"model": b, "layer_range": [1, 3], "parameters": {"weight": 5}}, {"model": deep, "layer_range": [3, 5]}],
         "base_model": b, "parameters": {"weight": 0.7, "lambda": [0.5, 1.5]}}]}
    yield "module", {"merge_method": "linear", "dtype": "float32", "parameters": {"weight": 9, "normalize": "no"}, "modules": {"default": {
        "models": [{"model": a}, {"model": b, "parameters": {"weight": "1e-1"}}], "parameters": {"weight": [0.25, 0.5, 1]}}}}
    yield "base-not-listed", {"merge_method": "linear", "base_model": b, "models": [{"model": a}], "dtype": "float32",
                              "parameters": {"weight": 0.5, "int8_mask": True}}


def check_slices(root):
    make_model(root / "a", 1)
    make_model(root / "b", 2)
    make_model(root / "deep", 3, layers=7)
    for label, recipe in slice_recipes(root):
        run(root, recipe, f"{label}-ours")
        run_peer(root, recipe, f"{label}-peer", copy_tokenizer=False)
        compare(label, weights(root / f"{label}-peer"), weights(root / f"{label}-ours"), 4)
        configs = [json.loads((root / f"{label}-{who}" / "config.json").read_text()) for who in ("ours", "peer")]
        assert configs[0]["num_hidden_layers"] == configs[1]["num_hidden_layers"], label
        model = AutoModelForCausalLM.from_pretrained(root / f"{label}-ours")
        assert bool(model(torch.arange(3, 43).unsqueeze(0)).logits.isfinite().all()), label
    # What a run wrote can be run again.
    again = root / "again"
    text = (root / "module-ours" / "mergekit_config.yml").read_text()
    run(root, text, "again")
    assert (again / "model.safetensors").read_bytes() == (root / "module-ours" / "model.safetensors").read_bytes()
    run(root, {"merge_method": "linear", "slices": [{"sources": [{"model": str(root / "a"), "layer_range": [2, 5],
        "parameters": {"weight": 1}}]}]}, "too-deep", expect=2)


TEXTS = {
    "one": ["the cat sat on the mat", "a hat for the cat", "rats and cats and mats", "the fat cat"] * 5,
    "two": ["de kat zat op de mat", "een hoed voor de kat", "ratten en katten", "dikke katten zaten"] * 5,
}


def make_tokenizer(path, texts, specials, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=specials[0], eos_token=specials[1])
    fast.save_pretrained(path)
    return fast


def by_token(path, name="model.embed_tokens.weight"):
    vocab = AutoTokenizer.from_pretrained(path).get_vocab()
    rows = weights(path)[name]
    return {token: rows[index] for token, index in vocab.items()}


def tokenizer_recipes(root):
    a, b = str(root / "a"), str(root / "b")
    models = [{"model": a, "parameters": {"weight": 0.25}}, {"model": b, "parameters": {"weight": 0.75}}]
    linear = {"merge_method": "linear", "models": models, "dtype": "float32"}
    yield "union", {**linear, "tokenizer_source": "union", "base_model": a}
    yield "base", {**linear, "tokenizer_source": "base", "base_model": b}
    yield "model", {**linear, "tokenizer_source": b, "base_model": a}
    yield "no-base", {**linear, "models": [*models, {"model": str(root / "c"), "parameters": {"weight": 0.5}}],
                      "tokenizer": {"source": "union"}, "base_model": str(root / "c")}
    yield "rules", {**linear, "base_model": a, "tokenizer": {"source": "union", "pad_to_multiple_of": 64, "tokens": {
        "<two>": {"source": {"kind": "zero"}, "force": True},
        "<new>": {"source": {"kind": "model_token", "model": b, "token": "<two>"}},
        "<one>": {"source": a, "force": True},
        "cat": {"source": {"kind": "model_token", "model": a, "token_id": 7}}}}}
    yield "task", {"merge_method": "task_arithmetic", "base_model": a, "models": [{"model": b, "parameters": {"weight": 0.5}}],
                   "dtype": "float32", "tokenizer_source": "union"}


def check_tokenizers(root, tied):
    specials = {"a": ["<s>", "</s>", "<one>"], "b": ["</s>", "<s>", "<two>"], "c": ["<s>", "</s>"]}
    texts = {"a": TEXTS["one"], "b": TEXTS["two"], "c": TEXTS["one"][:2]}
    for seed, name in enumerate(specials):
        tokenizer = make_tokenizer(root / name, texts[name], specials[name], 70 if name == "a" else 90)
        padding = 0 if name == "a" else 6
        make_model(root / name, 10 + seed, layers=2, vocab=len(tokenizer) + padding, tied=tied)
    for label, recipe in tokenizer_recipes(root):
        label = f"{label}-{'tied' if tied else 'untied'}"
        text = run(root, recipe, f"{label}-ours")
        run_peer(root, recipe, f"{label}-peer")
        names = ["model.embed_tokens.weight"] + ([] if tied else ["lm_head.weight"])
        for name in names:
            peer, ours = by_token(root / f"{label}-peer", name), by_token(root / f"{label}-ours", name)
            assert peer.keys() == ours.keys(), (label, peer.keys() ^ ours.keys())
            worst = max(float((peer[token] - ours[token]).abs().max()) for token in peer)
            assert worst <= 1e-7, (label, name, worst)
        configs = [json.loads((root / f"{label}-{who}" / "config.json").read_text()) for who in ("ours", "peer")]
        assert configs[0]["vocab_size"] == configs[1]["vocab_size"], label
        ids = AutoTokenizer.from_pretrained(root / f"{label}-ours")
        leader = AutoTokenizer.from_pretrained(recipe["base_model"])
        named = AutoTokenizer.from_pretrained(recipe["base_model"]).convert_ids_to_tokens([1, 2])
        for key, token in zip(("bos_token_id", "eos_token_id"), named):
            if token in ids.get_vocab():
                assert configs[0][key] == ids.get_vocab()[token], (label, key)
        report = (root / f"{label}-ours" / "vocabulary.tsv").read_text().splitlines()
        assert len(report) == configs[0]["vocab_size"] + 1
        if recipe.get("tokenizer_source") == "union":  # a union reads its base's words as the base does
            sample = "the cat sat on the mat"
            assert ids.decode(ids(sample).input_ids) == sample
            dutch = ids.tokenize("katten zaten")
            assert len(dutch) <= len(leader.tokenize("katten zaten")), "the union reaches the tokens of the other"
        print(f"{label}: equal by token, {len(peer)} tokens")
    # Rows of different tokens are never averaged by number; and one model tied, one not.
    plain = {"merge_method": "linear", "models": [{"model": str(root / n), "parameters": {"weight": 1}} for n in "ab"]}
    make_model(root / "b", 11, layers=2, vocab=json.loads((root / "a" / "config.json").read_text())["vocab_size"], tied=tied)
    assert "tokenizer_source" in run(root, plain, "permuted", expect=3)


def check_mixed_heads(root):
    for seed, (name, tied) in enumerate((("a", True), ("b", False))):
        tokenizer = make_tokenizer(root / name, TEXTS["one"], ["<s>", "</s>"], 70)
        make_model(root / name, 20 + seed, layers=2, vocab=len(tokenizer), tied=tied)
    recipe = {"merge_method": "linear", "models": [{"model": str(root / n), "parameters": {"weight": 0.5}} for n in "ab"]}
    assert "tie_word_embeddings" in run(root, recipe, "refused", expect=3)
    run(root, {**recipe, "tokenizer_source": "base"}, "mixed")
    run(root, {**recipe, "allow_config_differences": ["tie_word_embeddings"]}, "allowed")
    a, b = weights(root / "a"), weights(root / "b")
    for out in ("mixed", "allowed"):
        ours = weights(root / out)
        assert not json.loads((root / out / "config.json").read_text())["tie_word_embeddings"]
        head = (a["model.embed_tokens.weight"] + b["lm_head.weight"]) / 2
        assert float((ours["lm_head.weight"] - head).abs().max()) <= 1e-7
    print("one model tied, one not: the head is the mean of both")


def adapters():
    linear = ["q_proj", "v_proj", "down_proj"]
    yield "plain", peft.LoraConfig(r=4, lora_alpha=12, target_modules=linear)
    yield "rslora", peft.LoraConfig(r=4, lora_alpha=12, target_modules=linear, use_rslora=True)
    yield "patterns", peft.LoraConfig(r=4, lora_alpha=12, target_modules=linear, rank_pattern={"layers.1.self_attn.q_proj": 2, "down_proj": 7},
                                      alpha_pattern={"v_proj": 3})
    yield "embedding", peft.LoraConfig(r=3, lora_alpha=5, target_modules=["embed_tokens", "o_proj"])
    yield "saved", peft.LoraConfig(r=4, lora_alpha=4, target_modules=linear, modules_to_save=["lm_head", "norm"])


def check_adapters(root):
    make_model(root / "base", 30, tied=False)
    for label, config in adapters():
        torch.manual_seed(40)
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(root / "base"), config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(root / label)
        merged = {k: v for k, v in model.merge_and_unload().state_dict().items()}
        run(root, {"merge_method": "linear", "models": [{"model": f"{root / 'base'}+{root / label}", "parameters": {"weight": 1}}]},
            f"{label}-out")
        ours = weights(root / f"{label}-out")
        worst = max(float((ours[k] - merged[k]).abs().max() / merged[k].abs().max()) for k in ours)
        print(f"adapter {label}: {worst:.1e} relative")
        assert worst <= 1e-6, (label, worst)
    dora = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(root / "base"),
                               peft.LoraConfig(r=4, target_modules=["q_proj"], use_dora=True))
    dora.save_pretrained(root / "dora")
    recipe = {"merge_method": "linear", "models": [{"model": f"{root / 'base'}+{root / 'dora'}", "parameters": {"weight": 1}}]}
    assert "DoRA" in run(root, recipe, "dora-out", expect=2)


def check_extraction(root):
    """Full rank gives the model back; a truncated one is float64's best product of that rank, and PEFT reads both."""
    make_model(root / "base", 60, tied=False)
    changed = AutoModelForCausalLM.from_pretrained(root / "base")
    torch.manual_seed(61)
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            if "norm" in name or "embed" in name or "proj" in name:
                parameter.add_(0.02 * torch.randn_like(parameter))
    changed.save_pretrained(root / "model")
    wanted = {k: v.double() for k, v in weights(root / "model").items()}
    origin = {k: v.double() for k, v in weights(root / "base").items()}
    for label, options in (("full", ["rank=64"]), ("cut", ["rank=3"]), ("energy", ["rank=64", "energy=0.6"])):
        command = [PROGRAM, "extract", root / "model", root / "base", "--out", root / label]
        done = subprocess.run(command + [w for o in options for w in ("--set", o)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        merge = [PROGRAM, "merge", f"{root / 'base'}+{root / label}", "--out", root / f"{label}-out"]
        done = subprocess.run(merge, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        ours = {k: v.double() for k, v in weights(root / f"{label}-out").items()}
        peer = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(root / "base"), root / label)
        peer = {k: v.double() for k, v in peer.merge_and_unload().state_dict().items()}
        worst = 0.0
        for name in wanted:
            expected = wanted[name]
            if "proj" in name:
                u, s, vt = torch.linalg.svd(wanted[name] - origin[name], full_matrices=False)
                rank = {"full": len(s), "cut": 3}.get(label)
                if rank is None:
                    rank = int((torch.cumsum(s**2, 0) < 0.6 * (s**2).sum()).sum()) + 1
                expected = origin[name] + (u[:, :rank] * s[:rank]) @ vt[:rank]
            for found in (ours[name], peer[name]):
                worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
        print(f"extracted {label}: {worst:.1e} relative")
        assert worst <= 1e-6, (label, worst)


def check_documents(root):
    for seed, name in enumerate("abc"):
        make_model(root / name, 50 + seed)
    first = {"merge_method": "linear", "models": [{"model": str(root / n), "parameters": {"weight": 1}} for n in "ab"], "name": "part"}
    last = {"merge_method": "linear", "models": [{"model": "part", "parameters": {"weight": 1}},
                                                 {"model": str(root / "c"), "parameters": {"weight": 3}}]}
    run(root, yaml.safe_dump(last) + "---\n" + yaml.safe_dump(first), "several")
    a, b, c = (weights(root / n) for n in "abc")
    ours = weights(root / "several")
    for name in ours:
        expected = (0.5 * (a[name] + b[name]) + 3 * c[name]) / 4
        assert float((ours[name] - expected).abs().max()) <= 1e-6, name
    assert (root / "several-parts" / "part" / "model.safetensors").exists()
    first["models"][0]["model"] = "end"
    last["name"] = "end"
    text = run(root, yaml.safe_dump(last) + "---\n" + yaml.safe_dump(first), "round", expect=2)
    assert "itself" in text, text
    print("several recipes in one file")


def main():
    if not PROGRAM.exists():
        print(f"skipped: needs {PROGRAM}")
        sys.exit(77)
    checks = [check_slices, lambda r: check_tokenizers(r, True), lambda r: check_tokenizers(r, False), check_mixed_heads,
              check_adapters, check_extraction, check_documents]
    for check in checks:
        with tempfile.TemporaryDirectory() as folder:
            check(Path(folder))
    print("recipes mean what they mean to mergekit")


if __name__ == "__main__":
    main()
