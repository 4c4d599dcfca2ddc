"""Files written by growmerge read by the safetensors package and Transformers, and the other way.

A merge of one model with weight 1 is the identity on weights, so the merge tool serves as reader and
writer of checkpoints in one.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
except ImportError as error:
    print(f"skipped: a peer is missing: {error}")
    sys.exit(77)

ROOT = Path(os.environ.get("GROWMERGE_SOURCE_DIR", Path(__file__).resolve().parents[2]))
BUILD = Path(os.environ.get("GROWMERGE_BINARY", ROOT / "build/dev/bin/growmerge")).parent.parent
TOOL = BUILD / "tests/merging/growmerge_merge_tool"

LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
PLAIN = {"rope_type": "default", "rope_theta": 100000.0}


def copy_through(root, source, dtype, expect=0):
    recipe = root / "copy.yaml"
    recipe.write_text(json.dumps({"merge_method": "linear", "out_dtype": dtype,
                                  "models": [{"model": str(source), "parameters": {"weight": 1}}]}))
    out = root / "copy"
    subprocess.run(["rm", "-rf", out], check=True)
    done = subprocess.run([TOOL, recipe, out], capture_output=True, text=True)
    assert done.returncode == expect, done.stderr
    return out if expect == 0 else done.stderr


def check(root, tied, act, rope, stored, shard, old_form):
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, tie_word_embeddings=tied,
        hidden_act=act, rope_parameters=rope, max_position_embeddings=128, rms_norm_eps=1e-5,
        eos_token_id=[2, 3])
    source = root / "source"
    subprocess.run(["rm", "-rf", source], check=True)
    model = LlamaForCausalLM(config).to(stored)
    model.save_pretrained(source, max_shard_size=shard)
    (source / "chat_template.jinja").write_text("{{ x }}")
    if old_form:  # as Transformers 4 wrote it
        text = json.loads((source / "config.json").read_text())
        parameters = text.pop("rope_parameters")
        text["rope_theta"] = parameters.pop("rope_theta")
        text["rope_scaling"] = None if parameters["rope_type"] == "default" else parameters
        text["torch_dtype"] = text.pop("dtype")
        (source / "config.json").write_text(json.dumps(text))
    for dtype in ("float32", "bfloat16"):
        out = copy_through(root, source, dtype)
        weights = load_file(out / "model.safetensors")
        for name, tensor in model.state_dict().items():
            if name != "lm_head.weight" or not tied:
                assert torch.equal(weights.pop(name), tensor.to(getattr(torch, dtype))), name
        assert not weights, weights.keys()
        with safe_open(out / "model.safetensors", "pt") as file:
            assert file.metadata() == {"format": "pt"}
        loaded = AutoConfig.from_pretrained(out)
        for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                    "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act",
                    "tie_word_embeddings", "rms_norm_eps", "max_position_embeddings",
                    "rope_parameters", "bos_token_id", "eos_token_id", "initializer_range"):
            assert getattr(loaded, key) == getattr(config, key), (
                key, getattr(loaded, key), getattr(config, key))
        assert loaded.dtype == getattr(torch, dtype)
        again, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
        assert not any(info.values()), info
        assert again.dtype == getattr(torch, dtype)
        tokens = torch.arange(100)[None] * 3
        expected = LlamaForCausalLM(config)
        expected.load_state_dict({k: v.to(getattr(torch, dtype)).float()
                                  for k, v in model.state_dict().items()})
        wide = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
        with torch.no_grad():
            difference = (wide(tokens).logits - expected(tokens).logits).abs().max()
        assert difference <= 1e-6, difference
        assert (out / "chat_template.jinja").read_text() == "{{ x }}"


def main():
    if not TOOL.exists():
        print(f"skipped: needs {TOOL}")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        check(root, True, "silu", PLAIN, torch.float32, "5GB", False)
        check(root, False, "gelu", LLAMA3, torch.float32, "5GB", False)
        check(root, False, "gelu_pytorch_tanh", LLAMA3, torch.float32, "20KB", True)
        check(root, True, "silu", PLAIN, torch.bfloat16, "20KB", True)
        # What Transformers calls another architecture is refused by name.
        text = json.loads((root / "source/config.json").read_text())
        text["architectures"] = ["MixtralForCausalLM"]
        (root / "source/config.json").write_text(json.dumps(text))
        assert "MixtralForCausalLM" in copy_through(root, root / "source", "float32", expect=2)
    print("checkpoints are read and written as Transformers and safetensors do")


if __name__ == "__main__":
    main()
