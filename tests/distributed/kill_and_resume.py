"""Kills, stalls and signals a training job from outside and checks what it leaves (standard library only).

Usage: kill_and_resume.py MPIEXEC TRAIN_WORKER
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

MPIEXEC, WORKER = sys.argv[1:3]
STEPS = 16
COMMON = [f"budget.steps={STEPS}", "batch_rows=6", "microbatch_rows=2", "checkpoint_every=4", "schedule.lr=3e-3"]


def command(ranks, directory, *words, options=()):
    return [MPIEXEC, *options, "-n", str(ranks), WORKER, str(directory), *COMMON, *words]


def run(ranks, directory, *words):
    """A job that must succeed: what it printed."""
    done = subprocess.run(command(ranks, directory, *words), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_failing(ranks, directory, *words, limit=60):
    """A job that must fail within `limit` seconds: its exit code and standard error."""
    begin = time.time()
    done = subprocess.run(command(ranks, directory, *words), capture_output=True, text=True, timeout=limit)
    assert done.returncode != 0, "the job ended well"
    return done.returncode, done.stderr, time.time() - begin


def close(a, b, tolerance):
    assert len(a) == len(b), (len(a), len(b))
    for x, y in zip(a, b):
        assert abs(x - y) <= tolerance * abs(y), (x, y)


def wait_for_step(directory, step):
    """Until the job has logged this step."""
    path = directory / "metrics.jsonl"
    deadline = time.time() + 60
    while time.time() < deadline:
        if path.exists() and f'"step":{step},' in path.read_text():
            return
        time.sleep(0.01)
    raise AssertionError(f"step {step} never came")


def check_rank_dies(root, whole):
    """kill -9 of one rank: the job ends, names it, and resumes on 1, 2 and 4 ranks."""
    dead = root / "dead"
    code, text, seconds = run_failing(2, dead, "die=1:10")
    assert "rank 1" in text and "signal 9" in text, text
    assert (dead / "step-8").is_dir() and not (dead / "model.safetensors").exists()
    for ranks in (1, 2, 4):
        again = root / f"dead-{ranks}"
        shutil.copytree(dead, again)
        result = run(ranks, again)
        assert result["resumed_from"] == 8, result
        assert result["first_rows"][0] == 48, "the token stream goes on where it stood"
        close(result["losses"], whole["losses"][8:], 1e-5)
        if ranks == 2:
            assert result["losses"] == whole["losses"][8:], "same world size, same bits"
            assert result["model"] == whole["model"], "same world size, same bits"
    print(f"kill -9 of rank 1: named, ended in {seconds:.1f} s, code {code}; resumed on 1, 2 and 4 ranks")


def check_job_dies(root, whole):
    """kill -9 of the whole job at some moment, more than once: the end is the same."""
    directory = root / "killed"
    resumed = []
    for kill_after in (2, 6, 11):
        job = subprocess.Popen(command(2, directory, "slow_ms=20"), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for_step(directory, kill_after)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        time.sleep(1.0)  # the ranks notice that mpirun is gone
    result = run(2, directory)
    resumed.append(result["resumed_from"])
    assert result["resumed_from"] >= 8, result
    assert result["model"] == whole["model"], "same world size, same bits"
    steps = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in steps if "loss" in line]
    assert losses == whole["losses"], "metrics.jsonl holds every step once"
    print(f"kill -9 of the job, three times: resumed from step {resumed[-1]} to the same bits")


def check_signal(root, whole, number, slow_ms, options=()):
    """A signal to mpirun leaves a whole checkpoint that resumes. SIGUSR1 is handed on at once. On SIGTERM mpirun waits
    odls_base_sigkill_timeout seconds (1), hands it on, waits as long again, and kills."""
    name = signal.Signals(number).name
    directory = root / name
    job = subprocess.Popen(command(2, directory, "checkpoint_every=0", f"slow_ms={slow_ms}", options=options),
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for_step(directory, 3)
    job.send_signal(number)
    text = job.communicate(timeout=60)[1]
    found = [int(p.name[5:]) for p in directory.glob("step-*") if re.fullmatch(r"step-\d+", p.name)]
    assert len(found) == 1 and 3 <= found[0] < STEPS, (found, text)
    assert f"{name}: stopped after step {found[0]} of {STEPS}" in text, text
    if number == signal.SIGUSR1:
        assert job.returncode == 4, (job.returncode, text)
    result = run(2, directory, "checkpoint_every=0")
    assert result["resumed_from"] == found[0]
    assert result["model"] == whole["model"], "same world size, same bits"
    print(f"{name} to mpirun{' ' + ' '.join(options) if options else ''}: exit code {job.returncode}, "
          f"step-{found[0]} is whole and resumes to the same bits")


def check_stall(root):
    """A rank that stalls ends the job in bounded time and is named."""
    code, text, seconds = run_failing(2, root / "stall", "stall=1:3", "timeout_s=2", limit=40)
    assert "no sign of rank 1" in text, text
    assert seconds < 30, seconds
    print(f"a stalled rank: named, ended in {seconds:.1f} s with timeout_s=2, code {code}")


def main():
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        whole = run(2, root / "whole")
        assert len(whole["losses"]) == STEPS
        check_rank_dies(root, whole)
        check_job_dies(root, whole)
        check_signal(root, whole, signal.SIGUSR1, 150)
        check_signal(root, whole, signal.SIGTERM, 600, ("--mca", "odls_base_sigkill_timeout", "3"))
        check_stall(root)


if __name__ == "__main__":
    main()
