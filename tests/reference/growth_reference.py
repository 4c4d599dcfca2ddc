"""Grown directories load in stock Transformers (no remote code) and give the source's logits there.

Random Llamas (MHA, GQA, MQA; tied and untied; gains that are not one) and Qwen2s (biases, too), and the variants of every
other family (families.py), are written by Transformers, grown by 2, 3 and 4 (others by 2 and 3), and both are run by
Transformers in float64. Written float32 weights that are exact (a power of two, no noise) allow 1e-10 of the logits' rms;
rounded ones 1e-5 (the weights' relative rounding is 6e-8 each), as do Gemma's, which divide by a root and round a scale.
Transformers' eager attention rounds to float32 (Gemma 2).
"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config
    import families
except ImportError as error:
    print(f"skipped: a peer is missing: {error}")
    sys.exit(77)

TOOL = Path(os.environ["GROWMERGE_BINARY"]).parent.parent / "tests/upscaling/growmerge_upscale_tool"


def make_source(directory, family, kv_heads, tied):
    torch.manual_seed(kv_heads + 10 * tied)
    model = AutoModelForCausalLM.from_config(family(
        vocab_size=97, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=kv_heads, head_dim=8, max_position_embeddings=64, tie_word_embeddings=tied,
        initializer_range=0.2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(directory)


def load(directory, family):
    model, info = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64, output_loading_info=True)
    problems = {k: v for k, v in info.items() if v}
    if problems or type(model.config) is not family:
        raise SystemExit(f"{directory}: Transformers complains: {problems} ({type(model).__name__})")
    families.keep_float64(model)
    return model.eval()


def check_shape(root, family, kv_heads, tied, ids):
    source = root / f"{family.model_type}-kv{kv_heads}-{'tied' if tied else 'untied'}"
    make_source(source, family, kv_heads, tied)
    return check(root, source, family, (2, 3, 4), ids)


def check_variant(root, name, config, ids):
    source = root / name.replace(" ", "-").replace(",", "")
    families.make(config, seed=2, spread=0.3).save_pretrained(source)
    return check(root, source, type(config), (2, 3), ids)


def check(root, source, family, factors, ids):
    with torch.no_grad():
        expected = load(source, family)(ids).logits
    rms = expected.square().mean().sqrt().item()
    failures = 0
    for factor in factors:
        for noise in ("none", "zero_sum"):
            out = root / f"{source.name}-{factor}-{noise}"
            grown = subprocess.run([str(TOOL), str(source), str(out), str(factor), noise, "float32"],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if grown.returncode != 0:
                raise SystemExit(f"{out.name}: {grown.stdout}")
            with torch.no_grad():
                difference = (load(out, family)(ids).logits - expected).abs().max().item() / rms
            is_exact = noise == "none" and factor != 3 and "Gemma" not in family.__name__
            allowed = 1e-10 if is_exact else 1e-5
            failures += not difference <= allowed
            print(f"{out.name}: max |difference| / rms {difference:.2e}, allowed {allowed:.0e}")
    return failures


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    ids = torch.randint(0, 97, (3, 40), generator=torch.Generator().manual_seed(5))
    failures = 0
    with tempfile.TemporaryDirectory() as root:
        for family in (LlamaConfig, Qwen2Config):
            for kv_heads in (4, 2, 1):
                for tied in (True, False):
                    failures += check_shape(Path(root), family, kv_heads, tied, ids)
        for name, config in families.configs().items():
            failures += check_variant(Path(root), name, config, ids)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
