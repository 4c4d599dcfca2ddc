#!/usr/bin/env python3
"""Campaigns of faults: whatever happens to a command, its output is whole or absent, and the same command ends with the
bytes of an undisturbed run.

  faults.py kills   [--count N]   kill -9 at random moments, on 1, 2 and 4 ranks
  faults.py disk    [--every N]   every write, fsync, rename, link and mkdir fails once (io_shim.cpp)
  faults.py power   [--every N]   power is lost at every rename: what was not synced is gone
  faults.py inputs  [--count N]   an input is rewritten or cut at a random moment
  faults.py shard   [--every N]   every byte of a shard is changed, to three values
  faults.py clock                 the time of day jumps an hour ahead and back, at every look
  faults.py audit                 the same bytes on other numbers of ranks and threads, where the docs promise it
  faults.py fuzz    [--count N]   changed files for every parser (fuzz.cpp)
  faults.py small                 a little of each: what the tests run
  faults.py all --write FILE      all of it, and the table of docs/results/faults.md

Needs GROWMERGE_BINARY, GROWMERGE_SOURCE_DIR, GROWMERGE_IO_SHIM and GROWMERGE_FUZZ (CTest sets them); nothing but
Python's own library.
The work of a tiny experiment (tests/launch/micro.yaml) is what is disturbed. Ends with 1 where anything was lost."""
import argparse
import bz2
import gzip
import hashlib
import json
import lzma
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BINARY = os.environ["GROWMERGE_BINARY"]
SOURCE = Path(os.environ["GROWMERGE_SOURCE_DIR"])
STAGES = {"text": "artificial", "tokenizer": "tokenizer", "shards": "tokenize", "base": "train", "grown": "upscale",
          "stats-small": "stats", "merge-ties": "merge", "merge-fisher": "merge", "eval": "eval", "samples": "generate",
          "report": "report"}
PARALLEL = ("shards", "base", "stats-small", "eval")  # work on several ranks
READERS = ("shards", "base", "grown", "stats-small", "merge-ties", "merge-fisher", "eval")
ALLOWED = {0, 2, 3, 4, 5, 6}  # exit codes that mean something


class Campaign:
    """Runs stages of the experiment, each into a directory of its own, and judges what they leave."""

    def __init__(self, work: Path, seed: int, stages):
        self.work = work
        self.seed = seed
        self.stages = stages
        self.random = random.Random(seed)
        self.faults = []
        self.env = dict(os.environ, OMP_NUM_THREADS="1", XDG_CACHE_HOME=str(work / "cache"), GROWMERGE_TIMEOUT_S="60",
                        OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                        OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_mpi_yield_when_idle="1")
        self.made = work / "made"
        self.references = {}

    def prepare(self):
        command = [BINARY, "run", "--config", str(SOURCE / "tests/launch/micro.yaml"), "--out", str(self.made),
                   "--set", "run.ranks=1", "--set", "defaults.train.save_trainer_state=true"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"the undisturbed experiment failed:\n{done.stdout}{done.stderr}")

    def command(self, stage, out, ranks=1, config=None):
        start = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
        extra = ["--set", "checkpoint_every=3"] if STAGES[stage] == "train" else []
        return [*start, BINARY, STAGES[stage], "--config", str(config or self.made / f"{stage}.yaml"), "--out", str(out), *extra]

    def run(self, stage, out, ranks=1, **env):
        return subprocess.run(self.command(stage, out, ranks), env={**self.env, **env}, capture_output=True, text=True,
                              timeout=300)

    def reference(self, stage, ranks=1):
        """What two undisturbed runs leave alike: hashes by file."""
        if (stage, ranks) not in self.references:
            contents = []
            for attempt in range(2):
                out = self.work / f"reference-{stage}-{ranks}-{attempt}"
                begin = time.time()
                done = self.run(stage, out, ranks)
                seconds = time.time() - begin
                if done.returncode != 0:
                    sys.exit(f"undisturbed {stage} on {ranks} ranks failed:\n{done.stderr}")
                contents.append(hashes(out))
                shutil.rmtree(out)
            same = {f: h for f, h in contents[0].items() if contents[1].get(f) == h}
            self.references[stage, ranks] = (same, set(contents[0]), seconds)
        return self.references[stage, ranks]

    def fault(self, what, stage, detail):
        self.faults.append((what, stage, detail))
        print(f"FAULT {what}: {stage}: {detail}", file=sys.stderr)

    def judge(self, what, stage, out, ranks, must_finish):
        """A name means a whole output; nothing else lies about once the command has ended well."""
        same, files, _ = self.reference(stage, ranks)
        if not out.exists():
            if must_finish:
                self.fault(what, stage, "there is no output")
            return
        found = hashes(out)
        differing = set(found) ^ files
        if not must_finish:
            differing.discard(".lock")  # of a process that died while it took it away
        if differing:
            self.fault(what, stage, f"files differ: {sorted(differing)}")
        for file, value in same.items():
            if found.get(file) != value:
                self.fault(what, stage, f"{file} is not what an undisturbed run writes")
        if must_finish and Path(f"{out}.tmp").exists():
            self.fault(what, stage, "its .tmp is left over")

    def finish(self, what, stage, out, ranks=1):
        """The same command again, undisturbed."""
        self.judge(what, stage, out, ranks, must_finish=False)
        done = self.run(stage, out, ranks)
        if done.returncode != 0:
            self.fault(what, stage, f"the same command afterwards: exit {done.returncode}: {done.stderr[-400:]}")
        else:
            self.judge(what, stage, out, ranks, must_finish=True)
        remove(out)

    def kills(self, count):
        for i in range(count):
            stage = list(STAGES)[i % len(STAGES)]
            ranks = self.random.choice((1, 2, 4)) if stage in PARALLEL else 1
            seconds = self.reference(stage, ranks)[2]
            out = self.work / f"kill-{i}"
            child = subprocess.Popen(self.command(stage, out, ranks), env=self.env, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, start_new_session=True)
            try:
                child.wait(self.random.uniform(0.0, 1.1 * seconds))
            except subprocess.TimeoutExpired:
                pass
            kill_session(child)
            self.finish(f"kill on {ranks} ranks", stage, out, ranks)
        return count

    def operations(self, stage):
        log = self.work / "operations"
        log.unlink(missing_ok=True)
        out = self.work / "counted"
        done = self.run(stage, out, **shim(out, IO_SHIM_LOG=str(log)))
        if done.returncode != 0:
            sys.exit(f"{stage} under the shim failed:\n{done.stderr}")
        remove(out)
        return log.read_text().splitlines()

    def disk(self, every):
        tried = 0
        for stage in self.stages:
            operations = self.operations(stage)
            for n in range(1 + self.random.randrange(every), len(operations) + 1, every):
                out = self.work / "counted"  # the same path: the same operations
                done = self.run(stage, out, **shim(out, IO_SHIM_FAIL=str(n)))
                what = f"operation {n} fails ({operations[n - 1].replace(str(self.work), '')})"
                if done.returncode not in (0, 6):
                    self.fault(what, stage, f"exit {done.returncode}, expected 6: {done.stderr[-400:]}")
                if done.returncode == 0:
                    self.judge(what, stage, out, 1, must_finish=True)
                self.finish(what, stage, out)
                tried += 1
        return tried

    def power(self, every):
        tried = 0
        for stage in self.stages:
            renames = sum(line.startswith("rename ") for line in self.operations(stage))
            for k in range(1 + self.random.randrange(every), renames + 1, every):
                out = self.work / "counted"
                self.run(stage, out, **shim(out, IO_SHIM_CRASH=str(k)))
                self.finish(f"power lost at rename {k}", stage, out)
                tried += 1
        return tried

    def inputs(self, count):
        for i in range(count):
            stage = READERS[i % len(READERS)]
            seconds = self.reference(stage)[2]
            victim = self.random.choice([f for f in files_read(self.made, stage) if f.stat().st_size > 64])
            cut = self.random.random() < 0.5
            whole = victim.read_bytes()
            out = self.work / "read"
            child = subprocess.Popen(self.command(stage, out), env=self.env, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.PIPE, text=True)
            time.sleep(self.random.uniform(0.0, seconds))
            spoil(victim, cut, self.random)
            _, said = child.communicate(timeout=300)
            what = f"input {victim.relative_to(self.made)} {'cut' if cut else 'rewritten'}"
            if child.returncode == 0:
                self.judge_either(what, stage, out)
            elif child.returncode not in (3, 6):
                self.fault(what, stage, f"exit {child.returncode}: {said[-400:]}")
            elif victim.name not in said and victim.parent.name not in said:
                self.fault(what, stage, f"its name is not in the message: {said[-400:]}")
            if child.returncode != 0 and out.exists():
                self.fault(what, stage, "it failed and published")
            remove(out)
            victim.write_bytes(whole)
        return count

    def judge_either(self, what, stage, out):
        """The input may have changed before the first look at it, or after the last: then the output is that of one of
        its two contents."""
        same = self.reference(stage)[0]
        found = hashes(out)
        if all(found.get(file) == value for file, value in same.items()):
            return
        shutil.move(out, f"{out}-first")
        again = self.run(stage, out)
        fresh = hashes(out) if again.returncode == 0 else {}
        for file in same:
            if found.get(file) != fresh.get(file):
                self.fault(what, stage, f"{file} is of neither content")
        remove(Path(f"{out}-first"))

    def clock(self, seconds):
        for stage in self.stages:
            out = self.work / "counted"
            done = self.run(stage, out, **shim(out, IO_SHIM_CLOCK=str(seconds)))
            if done.returncode != 0:
                self.fault("jumping clock", stage, f"exit {done.returncode}: {done.stderr[-400:]}")
            self.judge("jumping clock", stage, out, 1, must_finish=True)
            remove(out)
        return len(self.stages)

    def audit(self, threads):
        """Ranks for tokenizing, threads for what is one process; training and scores promise rounding alone."""
        tried = 0
        variants = [("shards", ranks, 1) for ranks in (2, 4)]
        variants += [(stage, 1, threads) for stage in
                     ("text", "tokenizer", "shards", "grown", "merge-ties", "merge-fisher", "samples", "report")]
        for stage, ranks, number in variants:
            same, _, _ = self.reference(stage)
            out = self.work / "audited"
            done = self.run(stage, out, ranks, OMP_NUM_THREADS=str(number))
            found = hashes(out) if done.returncode == 0 else {}
            for file, value in same.items():
                if file not in ("manifest.json", "config.yaml") and found.get(file) != value:  # which say how many ranks
                    self.fault(f"{ranks} ranks, {number} threads", stage, f"{file} differs: {done.stderr[-200:]}")
            remove(out)
            tried += 1
        return tried

    def fuzz(self, count):
        """Seeds are the files of the tiny experiment."""
        made, seeds = self.made, self.work / "seeds"
        documents = (made / "text/small/train.jsonl").read_bytes()[:4000]
        first_lines = lambda file: b"".join((made / file).read_bytes().splitlines(keepends=True)[:5])
        table = "sentence_good\tsentence_bad\tid\nA b.\tB a.\t1\n\"q\"\tx\t2\n".encode()
        small_tokenizer = """{"model": {"type": "BPE", "vocab": {"a": 0, "c": 1, "ac": 2}, "merges": [["a", "c"]]},
            "added_tokens": [{"id": 3, "content": "<t>", "special": true}]}"""
        adapter = """{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": false, "init_lora_weights": true,
            "rank_pattern": {"q_proj": 4, "layers.0.*": 2}, "alpha_pattern": {"up_proj": 8}}"""
        contents = {
            "yaml": [f.read_bytes() for f in sorted(made.glob("*.yaml"))],
            "recipe": [(made / f"merge-{m}.yaml").read_bytes() for m in ("ties", "fisher")],
            "experiment": [(SOURCE / "tests/launch/micro.yaml").read_bytes()],
            "model_config": [(made / m / "config.json").read_bytes() for m in ("base", "grown")],
            "tokenizer": [(made / "tokenizer/tokenizer.json").read_bytes()],
            "union": [(made / "tokenizer/tokenizer.json").read_bytes(), small_tokenizer.encode()],
            "adapter": [adapter.encode()],
            "safetensors": [(made / "base/model.safetensors").read_bytes()],
            "jsonl": [documents], "gzip": [gzip.compress(documents)], "bzip2": [bz2.compress(documents)],
            "xz": [lzma.compress(documents)], "rows_jsonl": [first_lines("text/small/pairs.jsonl")], "rows_tsv": [table],
            "shard": [(made / "held-out/small.h5").read_bytes()],
            "items": [first_lines(f.relative_to(made)) for f in sorted((made / "eval/base/items").glob("*.jsonl"))],
            "results": [(made / "eval/base/results.json").read_bytes()],
            "manifest": [(made / m / "manifest.json").read_bytes() for m in ("base", "eval")],
            "state": [(made / "base/trainer/state.json").read_bytes()],
        }
        if shutil.which("zstd"):
            contents["zstd"] = [subprocess.run(["zstd", "-qc"], input=documents, capture_output=True).stdout]
        for target, files in contents.items():
            (seeds / target).mkdir(parents=True)
            for i, data in enumerate(files):
                (seeds / target / str(i)).write_bytes(data)
            done = subprocess.run([os.environ["GROWMERGE_FUZZ"], target, str(seeds / target), str(count), str(self.seed)],
                                  capture_output=True, text=True, env=self.env)
            print(next((l for l in done.stdout.splitlines() if l.startswith(target)), f"{target}: ended by {done.returncode}"))
            if done.returncode != 0:
                self.fault("fuzz", target, f"exit {done.returncode}: {done.stdout[-400:]}{done.stderr[-400:]}")
        return count * len(contents)

    def shard(self, every):
        shard = self.made / "held-out" / "small.h5"
        whole = shard.read_bytes()
        copy = self.work / "x.h5"
        tried = 0
        # Blocks of tokens are covered by checksums of their own: what HDF5 reads is the rest.
        for at in range(self.random.randrange(every), len(whole), every):
            for value in (whole[at] ^ 1, whole[at] ^ 128, 255):
                copy.write_bytes(whole[:at] + bytes([value]) + whole[at + 1:])
                done = subprocess.run([BINARY, "inspect", "--verify", str(copy)], env=self.env, capture_output=True, text=True)
                if done.returncode not in (0, 2, 3):
                    self.fault(f"byte {at} is {value}", "inspect", f"exit {done.returncode}: {done.stderr[-200:]}")
                tried += 1
        return tried


def shim(out, **settings):
    return {"LD_PRELOAD": os.environ["GROWMERGE_IO_SHIM"], "IO_SHIM_DIR": str(out), **settings}


def hashes(directory):
    return {str(f.relative_to(directory)): hashlib.sha256(f.read_bytes()).hexdigest()
            for f in sorted(directory.rglob("*")) if f.is_file() and not f.name.startswith("events.")}


def files_read(made, stage):
    manifest = json.loads((made / stage / "manifest.json").read_text())
    out = []
    for given in manifest["inputs"]:
        inside = Path(given["path"])  # a stage's directory, or a file in one
        while not (made / inside.name).exists():
            inside = inside.parent
        path = made / inside.name
        out += [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]
    weights = [f for f in out if f.suffix in (".safetensors", ".h5", ".jsonl")]
    return weights or out


def spoil(path, cut, chance):
    size = path.stat().st_size
    with open(path, "r+b") as file:
        if cut:
            file.truncate(chance.randrange(size))
        else:
            file.seek(chance.randrange(size // 2, size))
            file.write(bytes(chance.randrange(256) for _ in range(16)))


def kill_session(child):
    """mpirun and its ranks: all processes of the session."""
    for attempt in range(2):
        listing = subprocess.run(["ps", "-eo", "pid=,sess="], capture_output=True, text=True).stdout
        for line in listing.splitlines():
            pid, session = line.split()
            if int(session) == child.pid:
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
    child.wait()


def remove(out):
    for path in (out, Path(f"{out}.tmp")):
        shutil.rmtree(path, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", choices=["kills", "disk", "power", "inputs", "shard", "fuzz", "clock", "audit", "small", "all"])
    parser.add_argument("--count", type=int)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stages", help="of disk and power: eval,report,...", default=",".join(STAGES))
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    plans = {"kills": [("kills", options.count or 300)], "disk": [("disk", options.every)],
             "power": [("power", options.every)], "inputs": [("inputs", options.count or 100)],
             "shard": [("shard", options.every)], "fuzz": [("fuzz", options.count or 1_000_000)],
             "clock": [("clock", 3600)], "audit": [("audit", 2)],
             "small": [("kills", 6), ("disk", 150), ("power", 15), ("inputs", 7), ("shard", 499), ("clock", 3600), ("audit", 2), ("fuzz", 1000)],
             "all": [("kills", 300), ("disk", 1), ("power", 1), ("inputs", 100), ("shard", 1), ("clock", 3600), ("audit", 2), ("fuzz", 1_000_000)]}
    rows = []
    with tempfile.TemporaryDirectory(prefix="growmerge-faults-") as work:
        campaign = Campaign(Path(work), options.seed, options.stages.split(","))
        campaign.prepare()
        for name, amount in plans[options.campaign]:
            before, begin = len(campaign.faults), time.time()
            tried = getattr(campaign, name)(amount)
            rows.append((name, tried, len(campaign.faults) - before, time.time() - begin))
            print(f"{name}: {tried} tried, {rows[-1][2]} faults, {rows[-1][3]:.0f} s", flush=True)
    if options.write:
        write_table(options.write, rows)
    sys.exit(1 if campaign.faults else 0)


def write_table(path, rows):
    text = path.read_text()
    begin, end = text.index("<!-- table -->"), text.index("<!-- end -->")
    table = "| campaign | tried | faults | seconds |\n|---|---:|---:|---:|\n"
    table += "".join(f"| {name} | {tried:,} | {faults} | {seconds:.0f} |\n" for name, tried, faults, seconds in rows)
    path.write_text(text[:begin] + "<!-- table -->\n" + table + text[end:])


if __name__ == "__main__":
    main()
