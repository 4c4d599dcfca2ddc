"""What the benchmarks share: timing two programs in turns, this machine, its limits, and rows of figures.

A row is one comparison: {"work", "ours", "peer", "theirs", "ratio", "target", "memory", "note"}; figures are text with
their unit, ratio is how many times better ours is.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(os.environ.get("GROWMERGE_SOURCE_DIR", Path(__file__).resolve().parents[2]))
PROGRAM = Path(os.environ.get("GROWMERGE_BINARY", ROOT / "build/ci/bin/growmerge"))
BUILD = PROGRAM.parent.parent
DATA = Path(os.environ.get("GROWMERGE_TEST_DATA", ROOT / "../shared/data")).resolve()
THREADS = len(os.sched_getaffinity(0))
MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
}


def memory(pid):
    """Resident and anonymous KiB of a process and its children."""
    resident = anonymous = 0
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                resident = int(line.split()[1])
            if line.startswith("RssAnon"):
                anonymous = int(line.split()[1])
    except (OSError, ValueError):
        return 0, 0
    for child in children:
        r, a = memory(int(child))
        resident, anonymous = resident + r, anonymous + a
    return resident, anonymous


def measure(command, environment=None):
    """Seconds, peak resident and anonymous MB (sampled every 10 ms, children included), and output."""
    with tempfile.TemporaryFile("w+") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        peak = [0, 0]
        while process.poll() is None:
            peak = [max(a, b) for a, b in zip(peak, memory(process.pid))]
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        log.seek(0)
        output = log.read()
    if process.returncode != 0:
        sys.exit(f"failed: {command}\n{output[-3000:]}")
    return seconds, peak[0] / 1024, peak[1] / 1024, output


def in_turns(sides, rounds):
    """{side: median of its figures}, the sides called alternately; each call returns seconds first."""
    results = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            results[name].append(side())
    return {
        name: (statistics.median(r[0] for r in runs), max(r[1] for r in runs), max(r[2] for r in runs))
        for name, runs in results.items()
    }


def row(work, ours, peer, theirs, ratio, target=None, memory="", note=""):
    return {"work": work, "ours": ours, "peer": peer, "theirs": theirs, "ratio": ratio, "target": target,
            "memory": memory, "note": note}


def keep(rows, path):
    """Prints the rows and, where a file is named, writes them with the machine they were taken on."""
    for r in rows:
        against = f"; {r['peer']}: {r['theirs']}" if r["peer"] else ""
        ratio = f"; {r['ratio']:.2f} x" if r["ratio"] is not None else ""
        print(f"{r['work']}: {r['ours']}{against}{ratio} {r['memory']} {r['note']}".rstrip(), flush=True)
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


def machine():
    """Where and with what figures were taken."""
    def version(package):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "none"

    cpuinfo = Path("/proc/cpuinfo").read_text()
    field = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if ":" in line}
    flags = field.get("flags", "").split()
    units = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    total = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    return {
        "date": datetime.date.today().isoformat(),
        "processor": field.get("model name", platform.machine()),
        "units": units,
        "cores": THREADS,
        "memory_gb": round(total),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "commit": commit.stdout.strip(),
        "versions": {p: version(p) for p in ("torch", "transformers", "mergekit", "lm_eval", "tokenizers", "h5py")},
    }


def limits(threads):
    """GFLOP/s of 1024 x 1024 x 1024 products and GB/s of a copy (read and written), the best of ten."""
    import torch

    torch.set_num_threads(threads)
    out = {}
    for name in ("float32", "bfloat16"):
        a = torch.randn(1024, 1024).to(getattr(torch, name))
        out[name] = _rate(lambda a=a: torch.mm(a, a), 2 * 1024**3 / 1e9)
    source = torch.zeros(2**26)
    target = torch.empty_like(source)
    out["copy"] = _rate(lambda: target.copy_(source), 2 * source.numel() * 4 / 1e9)
    return out


def _rate(work, amount):
    work()
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return amount / min(seconds)
