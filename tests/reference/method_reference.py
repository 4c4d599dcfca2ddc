"""Every merge method that mergekit has against mergekit, whole recipes from directory to directory, in float32.

Values of nearswap, passthrough, ram, ramplus_tl and arcee_fusion agree to 1 unit in the last place of the largest term; of
other methods whose entries are sums and products of entries to 3 (both add in float32, in another order); where norms, angles,
logarithms or variances enter, to 1e-5 of the largest difference. Where "the k largest" or a threshold decides about an entry,
at most 3 in 100 may fall on the other side (bfloat16 models have many magnitudes alike, of which mergekit takes any).
dare_linear gives mergekit our draws; della's draws are its own, so that it is tested by what must hold of any
(tests/merging/methods).

Outputs in float16 and bfloat16 are our own float32 result rounded once, for every method."""

import shutil
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    import torch
    import yaml
    import merge_reference as peer
    from safetensors.torch import load_file, save_file
    from transformers import LlamaConfig, Qwen2Config
except ImportError as error:
    print(f"skipped: a peer is missing: {error}")
    sys.exit(77)

NAMES = [*peer.NAMES, "m3", "m4"]
TO_ONE_ULP = {"nearswap", "passthrough", "ram", "ramplus_tl", "arcee_fusion"}
SELECTING = {"breadcrumbs", "breadcrumbs_ties", "sce", "arcee_fusion"}


def make_more_models(root):
    """m3 and m4 beside peer.make_models(): the first one's files, every tensor stepped from the base's."""
    for index, name in enumerate(NAMES[len(peer.NAMES):]):
        torch.manual_seed(200 + index)
        shutil.copytree(root / "m0", root / name)
        stored = load_file(root / "m0" / "model.safetensors")
        base = peer.inputs(root, "base")
        save_file({k: (base[k] + 0.005 * torch.randn_like(base[k])).to(v.dtype) for k, v in stored.items()},
                  root / name / "model.safetensors", metadata={"format": "pt"})


def entry(root, name, **parameters):
    return {"model": str(root / name), **({"parameters": parameters} if parameters else {})}


def recipes(root):
    base = str(root / "base")
    one, two, three, five = ([entry(root, name) for name in NAMES[:count]] for count in (1, 2, 3, 5))
    weights = [0.7, [0.2, 0.9], [{"filter": "mlp", "value": -0.3}, {"value": 0.4}], 0.25, [0.6, 0.1]]

    def weighted(count, **more):
        return [entry(root, name, weight=w, **{k: v[i] for k, v in more.items()})
                for i, (name, w) in enumerate(zip(NAMES[:count], weights))]

    def with_base(method, models, **parameters):
        return {"merge_method": method, "base_model": base, "models": models, "parameters": parameters}

    densities = [0.3, [0.9, 0.5], 1.0]
    yield "slerp", with_base("slerp", [entry(root, "base"), *one], t=[0.0, 0.5, 1.0])
    yield "slerp-filters", with_base("slerp", [entry(root, "base"), *one], t=[{"filter": "self_attn", "value": 0.2}, {"value": 0.7}])
    for flatten, row_wise in ((True, False), (False, False), (False, True)):
        parameters = {"nuslerp_flatten": flatten, "nuslerp_row_wise": row_wise}
        yield f"nuslerp-{flatten}-{row_wise}", with_base("nuslerp", weighted(2), **parameters)
        yield f"nuslerp-free-{flatten}-{row_wise}", {"merge_method": "nuslerp", "models": weighted(2), "parameters": parameters}
    for count in (1, 2, 3, 5):
        yield f"multislerp-{count}", with_base("multislerp", weighted(count))
        yield f"multislerp-free-{count}", {"merge_method": "multislerp", "models": weighted(count),
                                           "parameters": {"normalize_weights": False}}
    yield "karcher", {"merge_method": "karcher", "models": three, "parameters": {"max_iter": 20}}
    for count, models in ((1, one), (2, two), (5, five)):
        yield f"karcher-{count}", {"merge_method": "karcher", "models": models}
    for filter_wise in (False, True):
        for models in (two, three, five):
            yield f"model_stock-{filter_wise}-{len(models)}", with_base("model_stock", models, filter_wise=filter_wise)
    for normalize in (False, True):
        yield f"dare_linear-{normalize}", {
            **with_base("dare_linear", weighted(3, density=densities), normalize=normalize, **{"lambda": 0.9}),
            "random_seed": peer.SEED}
        for method in ("breadcrumbs", "breadcrumbs_ties"):
            yield f"{method}-{normalize}", with_base(
                method, weighted(3, density=densities, gamma=[0.01, 0.05, 0.1]), normalize=normalize, **{"lambda": 0.7})
    yield "sce", with_base("sce", three)
    yield "sce-topk", with_base("sce", three, select_topk=0.2)
    for models in (one, two, three, five):
        yield f"ram-{len(models)}", with_base("ram", models, epsilon=0.004)
        yield f"ramplus_tl-{len(models)}", with_base("ramplus_tl", models, epsilon=0.004, r=0.2, alpha=5.0)
    yield "nearswap", with_base("nearswap", one, t=0.002)
    yield "arcee_fusion", with_base("arcee_fusion", one)
    yield "passthrough", {"merge_method": "passthrough", "models": [entry(root, "m0", scale=[{"filter": "o_proj", "value": 0.5}, {"value": 1.0}])]}


def compare(root, recipe, label):
    method = recipe["merge_method"]
    theirs, ours = peer.merge_both(root, {**recipe, "dtype": "float32"}, label)
    sources = [peer.inputs(root, name) for name in ["base", *NAMES]]
    worst, beside, total = 0.0, 0, 0
    for name, tensor in ours.items():
        off = (tensor.double() - theirs[name].double()).abs()
        terms = torch.stack([s[name].abs() for s in sources])
        largest = torch.maximum(terms.max(dim=0).values, theirs[name].abs())
        difference = max(float((s[name] - sources[0][name]).abs().max()) for s in sources[1:])
        ulp = torch.from_numpy(np.spacing(largest.numpy())).double()
        allowed = 3.0 * ulp + 1e-5 * max(difference, float(largest.max()) * (0 if "base_model" in recipe else 1))
        if method in TO_ONE_ULP:
            allowed = ulp
        wrong = off > allowed
        if method in SELECTING:
            beside += int(wrong.sum())
            off = torch.where(wrong, torch.zeros_like(off), off)
        worst = max(worst, float((off / allowed).max()))
        total += tensor.numel()
    print(f"{label}: at most {worst:.3f} of what is allowed, {beside} of {total} on the other side of a threshold")
    assert worst <= 1.0, f"{label}: {worst}"
    assert beside <= 0.03 * total, f"{label}: {beside} of {total}"
    return ours


def compare_narrow(root, recipe, label, ours):
    """The result of the same recipe in narrower dtypes against the float32 one."""
    for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        path, out = root / f"{label}-{name}.yaml", root / f"{label}-{name}"
        path.write_text(yaml.safe_dump({**recipe, "dtype": "float32", "out_dtype": name}))
        peer.run([peer.TOOL, path, out])
        narrow = load_file(out / "model.safetensors")
        assert narrow.keys() == ours.keys(), f"{label}: {name}: other tensors"
        for tensor, value in narrow.items():
            assert value.dtype == dtype and torch.equal(value, ours[tensor].to(dtype)), f"{label}: {name}: {tensor}"


def main():
    if not peer.TOOL.exists():
        print(f"skipped: needs {peer.TOOL}")
        sys.exit(77)
    bf16, f16, f32 = torch.bfloat16, torch.float16, torch.float32
    for family, tied, dtypes in ((LlamaConfig, False, [f32] * 4), (LlamaConfig, True, [f32, bf16, f16, f32]),
                                 (Qwen2Config, True, [bf16] * 4)):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            peer.make_models(root, family, tied, dtypes)
            make_more_models(root)
            for label, recipe in recipes(root):
                label = f"{family.model_type}-{label}-{'tied' if tied else 'untied'}"
                ours = compare(root, recipe, label)
                if family is Qwen2Config:  # once: nothing in it depends on the inputs
                    compare_narrow(root, recipe, label, ours)
    print("all methods equal mergekit's")


if __name__ == "__main__":
    main()
