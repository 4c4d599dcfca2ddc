"""TensorBoard event files, read by the tensorboard package, against metrics.jsonl."""

import glob
import json
import os
import subprocess
import sys
import tempfile

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError as error:
    print(f"skipped: needs the tensorboard package ({error})")
    sys.exit(77)


def worker():
    binary = os.environ.get("GROWMERGE_BINARY", "")
    build = os.path.dirname(os.path.dirname(binary))
    return os.path.join(build, "tests", "distributed", "growmerge_train_worker")


def train(directory, *words):
    return subprocess.run([worker(), directory, "budget.steps=9", "batch_rows=4", "checkpoint_every=4", *words],
                          capture_output=True, text=True, timeout=120)


def main():
    with tempfile.TemporaryDirectory() as directory:
        stopped = train(directory, "die=0:6")
        assert stopped.returncode != 0, "the first part must end at step 6"
        resumed = train(directory)
        assert resumed.returncode == 0, resumed.stderr
        lines = [json.loads(line) for line in open(os.path.join(directory, "metrics.jsonl"))]
        expected = {}
        for line in lines:
            for name, value in line.items():
                if name != "step":
                    expected.setdefault(name, []).append((line["step"], value))
        files = sorted(glob.glob(os.path.join(directory, "tensorboard", "events.out.tfevents.*")))
        assert len(files) == 2, files
        events = EventAccumulator(os.path.join(directory, "tensorboard"), size_guidance={"scalars": 0})
        events.Reload()
        names = events.Tags()["scalars"]
        assert sorted(names) == sorted(expected), (names, sorted(expected))
        for name in names:
            got = [(event.step, event.value) for event in events.Scalars(name)]
            assert [step for step, _ in got] == [step for step, _ in expected[name]], (name, got)
            for (_, value), (_, wanted) in zip(got, expected[name]):
                assert abs(value - wanted) <= 1e-6 * abs(wanted), (name, value, wanted)
        print(f"{len(names)} scalars of {len(lines)} lines, over one resumption, read back by tensorboard")


main()
