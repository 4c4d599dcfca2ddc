"""AdamW of core/ops/adamw against torch.optim.AdamW, ten steps, in float32 and float64.

Tolerance: float64 1e-13 of the largest parameter. In float32 torch's own error against its float64
is measured on the same inputs; ours may be 2 times that, or 2e-7 of the largest parameter.
"""
import os
import subprocess
import sys
from pathlib import Path

try:
    import numpy as np
    import torch
except ImportError as error:
    print(f"skipped: the Python peers are not installed ({error}); launch/setup.sh --peers")
    sys.exit(77)

TOOL = Path(os.environ["GROWMERGE_BINARY"]).parent.parent / "tests/core/growmerge_formula_tool"
STEPS, ROWS, COLUMNS = 10, 37, 211
HYPER = dict(lr=3e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)


def ours(dtype, params, grads, decay_all):
    blob = params.tobytes() + grads.tobytes()
    arguments = [str(TOOL), "adamw", dtype, str(ROWS), str(COLUMNS), str(STEPS)]
    arguments += [repr(HYPER[k]) for k in ("lr", "beta1", "beta2", "eps", "weight_decay")]
    arguments += ["1" if decay_all else "0"]
    out = subprocess.run(arguments, input=blob, stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(out, dtype=dtype).astype(np.float64)


def torchs(dtype, params, grads):
    p = torch.nn.Parameter(torch.from_numpy(params.copy()))
    optimizer = torch.optim.AdamW([p], lr=HYPER["lr"], betas=(HYPER["beta1"], HYPER["beta2"]),
                                  eps=HYPER["eps"], weight_decay=HYPER["weight_decay"])
    for step in range(STEPS):
        p.grad = torch.from_numpy(grads[step].copy())
        optimizer.step()
    return p.detach().numpy().astype(np.float64).ravel()


def main():
    random = np.random.default_rng(0)
    exact_params = random.standard_normal((ROWS, COLUMNS)).astype(np.float32).astype(np.float64)
    scales = 10.0 ** random.uniform(-6, 2, (1, ROWS, 1))
    exact_grads = (random.standard_normal((STEPS, ROWS, COLUMNS)) * scales)
    exact_grads = exact_grads.astype(np.float32).astype(np.float64)
    exact = torchs("float64", exact_params, exact_grads)
    scale = np.abs(exact).max()
    failures = 0
    for dtype in ("float64", "float32"):
        params, grads = exact_params.astype(dtype), exact_grads.astype(dtype)
        difference = np.abs(ours(dtype, params, grads, False) - exact).max()
        if dtype == "float64":
            allowed = 1e-13 * scale
        else:
            allowed = max(2 * np.abs(torchs(dtype, params, grads) - exact).max(), 2e-7 * scale)
        print(f"{dtype}: max |difference| {difference:.3g}, allowed {allowed:.3g}")
        failures += not difference <= allowed
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
