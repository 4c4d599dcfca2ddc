"""The ledger's full-attention convention against matrix products that torch counts while Transformers' Llama runs
forward and backward (torch.utils.flop_counter, eager attention), for four shapes; exactly equal forward.

Backward is 2 x forward in the ledger. The counter sees the same, but for one thing: it may skip nothing here, since
the first layer's input gradient is needed by the embedding.
"""
import os
import subprocess
import sys
from pathlib import Path

try:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import LlamaConfig, LlamaForCausalLM
except ImportError as error:
    print(f"skipped: the Python peers are not installed ({error}); launch/setup.sh --peers")
    sys.exit(77)

TOOL = Path(os.environ["GROWMERGE_BINARY"]).parent.parent / "tests/core/growmerge_formula_tool"
# V, d, F, L, H, K, head_dim, T, tied
SHAPES = [
    (101, 32, 80, 2, 4, 4, 8, 24, True),     # MHA
    (512, 64, 172, 3, 8, 4, 8, 64, False),   # GQA, untied
    (257, 48, 96, 2, 6, 1, 8, 33, True),     # MQA
    (96, 40, 112, 2, 4, 2, 16, 48, False),   # heads x head_dim larger than d
]


def counted(shape):
    V, d, F, L, H, K, h, T, tied = shape
    config = LlamaConfig(vocab_size=V, hidden_size=d, intermediate_size=F, num_hidden_layers=L, num_attention_heads=H,
                         num_key_value_heads=K, head_dim=h, max_position_embeddings=T, tie_word_embeddings=tied)
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    ids = torch.zeros((1, T), dtype=torch.long)
    # RoPE's angles are an outer product written as a matrix product: no work of the model's weights.
    with torch.no_grad(), FlopCounterMode(display=False) as rope:
        model.model.rotary_emb(torch.zeros(1, T, d), torch.arange(T)[None])
    with FlopCounterMode(display=False) as forward:
        logits = model(ids).logits
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    forward_flops = forward.get_total_flops() - rope.get_total_flops()
    return forward_flops, forward_flops + backward.get_total_flops()


def ledger(shape):
    out = subprocess.run([str(TOOL), "flops"] + [str(int(x)) for x in shape], stdout=subprocess.PIPE, check=True,
                         text=True).stdout.split()
    return [float(x) for x in out]  # forward and training FLOPs of T tokens, full attention


def main():
    failures = 0
    for shape in SHAPES:
        (forward, train), (our_forward, our_train) = counted(shape), ledger(shape)
        print(f"{shape}: forward {forward} counted, {our_forward:.0f} in the ledger; "
              f"training {train} counted, {our_train:.0f} in the ledger")
        failures += forward != our_forward or train != our_train
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
