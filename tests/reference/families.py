"""Small models of every family that growmerge computes, as Transformers' configurations.

Each family has the variants that its published models have: windows shorter and longer than the texts, layers without
RoPE, norms before, behind and around blocks, caps, multipliers, fused tensors, and the kinds of RoPE.
"""
import types

import torch
from transformers import (AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GraniteConfig, LlamaConfig, MinistralConfig,
                          MistralConfig, Olmo2Config, Olmo3Config, Phi3Config, Qwen2Config, Qwen3Config, SmolLM3Config)

SHAPE = {"vocab_size": 97, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "initializer_range": 0.2, "max_position_embeddings": 256, "bos_token_id": 1,
         "eos_token_id": 2, "pad_token_id": 0}
WINDOW = 16  # shorter than the longest document of the comparisons, longer than the shortest


def rope(kind, **more):
    return {"rope_type": kind, "rope_theta": 10000.0, **more}


ROPES = {
    "linear": rope("linear", factor=4.0),
    "dynamic": rope("dynamic", factor=2.0),
    "yarn": rope("yarn", factor=4.0, original_max_position_embeddings=64),
    "yarn, mscale": rope("yarn", factor=8.0, original_max_position_embeddings=32, mscale=1.0, mscale_all_dim=0.5,
                         beta_fast=4.0, beta_slow=0.5),
    "llama3": rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32),
    "longrope": rope("longrope", short_factor=[1.0, 1.1, 1.5, 2.0, 2.5], long_factor=[1.0, 2.0, 4.0, 6.0, 8.0],
                     original_max_position_embeddings=32),
}


def configs():
    """{name: configuration}"""
    biased = {"attention_bias": True, "mlp_bias": True}
    out = {"Llama, biases": LlamaConfig(**SHAPE, **biased, head_dim=10)}
    for name, parameters in ROPES.items():
        out[f"Llama, {name}"] = LlamaConfig(**SHAPE, head_dim=10, rope_parameters=dict(parameters))
    out |= {
        "Mistral, window": MistralConfig(**SHAPE, head_dim=10, sliding_window=WINDOW),
        "Mistral, no window": MistralConfig(**SHAPE, sliding_window=None, tie_word_embeddings=True),
        "Mistral, long window": MistralConfig(**SHAPE, sliding_window=1000),
        "Ministral": MinistralConfig(**SHAPE, head_dim=8, sliding_window=WINDOW,
                                     layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
        "Qwen2": Qwen2Config(**SHAPE),
        "Qwen2, windows": Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1),
        "Qwen3": Qwen3Config(**SHAPE, head_dim=10),
        "Qwen3, windows": Qwen3Config(**SHAPE, head_dim=6, tie_word_embeddings=True, attention_bias=True,
                                      use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2),
        "OLMo2": Olmo2Config(**SHAPE),
        "OLMo2, biases": Olmo2Config(**SHAPE, attention_bias=True, tie_word_embeddings=True),
        "OLMo3": Olmo3Config(**{**SHAPE, "num_hidden_layers": 4}, sliding_window=WINDOW),
        "OLMo3, yarn": Olmo3Config(**SHAPE, sliding_window=8, rope_parameters={
            "full_attention": dict(ROPES["yarn"]), "sliding_attention": rope("default")},
            layer_types=["full_attention", "sliding_attention", "full_attention"]),
        "SmolLM3": SmolLM3Config(**SHAPE, no_rope_layer_interval=2),
        "SmolLM3, windows": SmolLM3Config(**SHAPE, **biased, tie_word_embeddings=False, use_sliding_window=True,
                                          sliding_window=WINDOW, no_rope_layers=[1, 0, 0]),
        "Gemma2": Gemma2Config(**SHAPE, head_dim=10, sliding_window=WINDOW, query_pre_attn_scalar=24,
                               attn_logit_softcapping=2.0, final_logit_softcapping=3.0),
        "Gemma2, no caps": Gemma2Config(**SHAPE, head_dim=8, sliding_window=8, attn_logit_softcapping=None,
                                        final_logit_softcapping=None, query_pre_attn_scalar=8, attention_bias=True),
        "Gemma3": Gemma3TextConfig(**SHAPE, head_dim=10, sliding_window=WINDOW, query_pre_attn_scalar=10,
                                   layer_types=["sliding_attention", "sliding_attention", "full_attention"]),
        "Gemma3, linear": Gemma3TextConfig(**SHAPE, head_dim=8, sliding_window=8, query_pre_attn_scalar=8,
                                           final_logit_softcapping=4.0, rope_parameters={
                                               "full_attention": rope("linear", factor=8.0),
                                               "sliding_attention": rope("default")},
                                           layer_types=["full_attention", "sliding_attention", "full_attention"]),
        "Granite": GraniteConfig(**SHAPE, embedding_multiplier=6.0, residual_multiplier=0.3, attention_multiplier=0.2,
                                 logits_scaling=3.0),
        "Granite, biases": GraniteConfig(**SHAPE, **biased, tie_word_embeddings=True, embedding_multiplier=2.0,
                                         attention_multiplier=0.4),
        "Phi3": Phi3Config(**SHAPE),
        "Phi3, longrope": Phi3Config(**{**SHAPE, "hidden_size": 40}, original_max_position_embeddings=32,
                                     sliding_window=WINDOW, rope_parameters={**ROPES["longrope"],
                                                                             "partial_rotary_factor": 1.0}),
        "Phi3, partial": Phi3Config(**{**SHAPE, "hidden_size": 32}, tie_word_embeddings=True,
                                    rope_parameters=rope("default", partial_rotary_factor=0.5)),
    }
    return out


def make(config, seed=1, spread=0.1):
    """A random model in float32 whose gains and biases are not their initial values."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).to(torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * spread)
    return model


def norm_in_its_dtype(self, x):
    eps = self.variance_epsilon if hasattr(self, "variance_epsilon") else self.eps
    gain = 1.0 + self.weight if "Gemma" in type(self).__name__ else self.weight
    return gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def keep_float64(model):
    """Transformers rounds norms to float32 inside float64 models; these stay as they are."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(norm_in_its_dtype, module)
