"""Evaluation against independent implementations, on stories260K.

Per item against lm-evaluation-harness itself, under the task files of the installed package (decision,
log-probability to 1e-4 or a millionth, whichever is more); bits per byte against a float64
Transformers loop; accuracies over all pairs against published figures of this model; summaries
recomputed in Python; the greedy sample word for word. With --full instead of all that: BLiMP's
67 x 1000 under both presets, about 80 processor seconds a preset.
"""

import csv
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("GROWMERGE_TEST_DATA", ROOT / "../shared/data")).resolve()
BINARY = Path(os.environ.get("GROWMERGE_BINARY", ROOT / "build/dev/bin/growmerge"))
TOOL = BINARY.parents[1] / "tests/eval/growmerge_eval_tool"
MODEL = DATA / "models/stories260K"
PER_PARADIGM = 8  # pairs of each BLiMP paradigm that lm-eval scores, too


def skip(why):
    print(f"SKIPPED: {why}")
    sys.exit(77)


def check(ok, text):
    if not ok:
        raise SystemExit(f"FAILED: {text}")


def ours(config, out, model=MODEL):
    path = out.with_suffix(".yaml")
    path.write_text(json.dumps(config))  # JSON is YAML
    subprocess.run([TOOL, model, path, out], check=True)
    results = json.loads((out / "results.json").read_text())
    items = {}
    for task in results["tasks"]:
        lines = (out / "items" / f"{task}.jsonl").read_text().splitlines()
        items[task] = [json.loads(line) for line in lines[1:]]
    return results, items


def lm_eval_items(folder, tasks):
    """{task: [((log p good, log p bad), correct), ...]}, by the installed harness.

    `tasks` is {task: (folder of the package's task file, rows)}; of the task file nothing but the data
    set is replaced. In float64, so that what differs is our rounding alone: in float32 the harness's
    own sums of a hundred tokens are off by 1e-4.
    """
    import datasets
    import lm_eval
    import torch
    import yaml
    from lm_eval.tasks import TaskManager

    package = Path(lm_eval.__file__).parent / "tasks"
    datasets.disable_progress_bars()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0))))
    for name, (source, rows) in tasks.items():
        data = folder / f"{name}_data.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        task = yaml.safe_load((package / source / "_template_yaml").read_text())
        task |= {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"train": str(data)}},
        }
        check("train" in (task.get("validation_split"), task.get("test_split")), f"{name}: split")
        (folder / f"{name}.yaml").write_text(json.dumps(task))
    results = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(MODEL), "dtype": "float64"},
        tasks=list(tasks),
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        batch_size=64,
        device="cpu",
        bootstrap_iters=2,
    )
    scores = {}
    for name, samples in results["samples"].items():
        samples = sorted(samples, key=lambda sample: sample["doc_id"])
        scores[name] = [
            (tuple(float(resp[0]) for resp in sample["filtered_resps"]), sample["acc"] == 1.0)
            for sample in samples
        ]
    return scores, results["results"]


def sample_of_blimp(folder):
    """A folder of BLiMP files of the first PER_PARADIGM pairs and every pair of identical sentences,
    and the rows in order."""
    rows = []
    identical = 0
    folder.mkdir()
    for path in sorted((DATA / "blimp/data").glob("*.jsonl")):
        kept = []
        for number, line in enumerate(path.read_text().splitlines()):
            row = json.loads(line)
            same = row["sentence_good"] == row["sentence_bad"]
            if number < PER_PARADIGM or same:
                kept.append(line)
                rows.append({k: row[k] for k in ("sentence_good", "sentence_bad")})
                identical += same
        (folder / path.name).write_text("\n".join(kept) + "\n")
    check(identical == 7, f"{identical} pairs of identical sentences in BLiMP, expected 7")
    return rows


def rows_of_multiblimp(language):
    with open(DATA / "multiblimp" / language / "data.tsv", newline="") as handle:
        return [
            {"sen": row["sen"], "wrong_sen": row["wrong_sen"]}
            for row in csv.DictReader(handle, delimiter="\t")
        ]


def compare_with_lm_eval(folder):
    blimp = sample_of_blimp(folder / "blimp_sample")
    rows = {
        "blimp_all": ("blimp", blimp),
        "multiblimp_eng": ("multiblimp", rows_of_multiblimp("eng")),
        "multiblimp_nld": ("multiblimp", rows_of_multiblimp("nld")),
    }
    theirs, their_results = lm_eval_items(folder, rows)
    sample = {"kind": "blimp", "path": str(folder / "blimp_sample")}
    tasks = [
        sample | {"name": "blimp_all", "preset": "lm-eval"},
        sample | {"name": "blimp_original", "preset": "original"},
    ]
    for language in ("eng", "nld"):
        path = str(DATA / "multiblimp" / language)
        tasks.append(
            {"name": f"multiblimp_{language}", "kind": "multiblimp", "path": path, "preset": "lm-eval"}
        )
    results, items = ours({"tasks": tasks}, folder / "subset")
    close = {name: compare_items(name, items[name], expected) for name, expected in theirs.items()}
    for name, wins in (("blimp_all", True), ("blimp_original", False)):
        for item, row in zip(items[name], blimp, strict=True):
            if row["sentence_good"] == row["sentence_bad"]:
                check(item["tie"], f"{name}: {item['id']} is no tie of identical sentences")
            if item["tie"]:
                check(item["correct"] == wins, f"{name}: the tie of {item['id']} counts wrongly")
        print(f"{name}: {sum(item['tie'] for item in items[name])} ties, {'right' if wins else 'wrong'}")
    for language in ("eng", "nld"):
        name = f"multiblimp_{language}"
        error = abs(
            results["results"][name]["acc_stderr,none"] - their_results[name]["acc_stderr,none"]
        )
        # NaN fails, too. A decision that float32 sees otherwise moves the accuracy by one item.
        bound = 1e-9 + close[name] / len(items[name]) ** 1.5
        check(error < bound, f"{name}: standard errors differ by {error}")


def compare_items(name, items, expected):
    """Log-probabilities of every item, and its decision unless float32 may see it otherwise: of so
    many, which is returned."""
    check(len(expected) == len(items), f"{name}: {len(items)} items, the harness has {len(expected)}")
    worst = 0.0
    close = 0
    for item, (log_probs, correct) in zip(items, expected):
        for a, b in zip(item["log_prob"], log_probs):
            worst = max(worst, abs(a - b))
            # Sums beyond 100 nats are held to float32's own spacing.
            bound = max(1e-4, 1e-6 * abs(b))
            check(abs(a - b) <= bound, f"{name}: {item['id']}: log p {a}, harness {b}")
        # An exact tie of theirs is one of ours; a near one may fall either way in float32.
        tie = log_probs[0] == log_probs[1]
        if not tie and abs(log_probs[0] - log_probs[1]) < 2e-4:
            close += 1
            continue
        check(item["tie"] == tie, f"{name}: {item['id']}: a tie for one of the two alone")
        check(item["correct"] == correct, f"{name}: decision of {item['id']} differs")
    print(
        f"{name}: {len(expected)} items, log p within {worst:.1e}, same decisions "
        f"({close} pairs closer than 2e-4, but no ties)"
    )
    return close


def full_accuracies(folder):
    tasks = []
    if "--full" in sys.argv:
        for preset in ("original", "lm-eval"):
            tasks.append(
                {"name": f"blimp-{preset}", "kind": "blimp", "path": str(DATA / "blimp"), "preset": preset}
            )
    else:
        for language in ("eng", "nld"):
            tasks.append(
                {"kind": "multiblimp", "language": language, "path": str(DATA / "multiblimp" / language)}
            )
    results, items = ours({"tasks": tasks}, folder / "full")
    figures = {
        "blimp-original": 0.5316,
        "blimp-lm-eval": 0.5425,
        "multiblimp_eng": 0.669,
        "multiblimp_nld": 0.511,
    }
    for name in results["tasks"]:
        expected = figures[name]
        value = results["results"][name]["acc,none"]
        digits = 4 if name.startswith("blimp") else 3
        check(round(value, digits) == expected, f"{name}: accuracy {value}, expected {expected}")
        print(f"{name}: {value:.4f}")
        recompute_pairs(name, results["results"], items[name], macro=name.startswith("blimp"))


def recompute_pairs(name, results, items, macro):
    """The figures of results.json from the items alone, in Python."""
    groups = {}
    for item in items:
        groups.setdefault(item["paradigm"] if macro else "", []).append(float(item["correct"]))
    means = [sum(group) / len(group) for group in groups.values()]
    check(abs(results[name]["acc,none"] - sum(means) / len(means)) < 1e-12, f"{name}: mean")
    errors = []
    for group, center in zip(groups.values(), means):
        variance = sum((x - center) ** 2 for x in group) / (len(group) - 1)
        errors.append(math.sqrt(variance / len(group)))
    sizes = [len(group) for group in groups.values()]
    pooled = sum((n - 1) * n * e * e for n, e in zip(sizes, errors)) / (sum(sizes) - len(sizes))
    expected = math.sqrt(pooled / sum(sizes)) if macro else errors[0]
    check(abs(results[name]["acc_stderr,none"] - expected) < 1e-12, f"{name}: standard error")


def bits_per_byte(folder):
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float64)
    context = 128

    def nll(text):
        tokens = [tokenizer.bos_token_id] + tokenizer.encode(text, add_special_tokens=False)
        total, scored, begin = 0.0, 1, 0
        while scored < len(tokens):
            end = min(begin + context, len(tokens) - 1)
            with torch.no_grad():
                logits = model(torch.tensor([tokens[begin:end]])).logits[0]
            log_probs = torch.log_softmax(logits, -1)
            for i in range(scored, end + 1):
                total -= log_probs[i - 1 - begin, tokens[i]].item()
            scored, begin = end + 1, begin + context // 2
        return total, len(tokens) - 1

    def disjoint_nll(text):
        """The harness's own windows."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        tokens = tokenizer.encode(text, add_special_tokens=False)
        total = 0.0
        windows = get_rolling_token_windows(tokens, tokenizer.bos_token_id, context, 1)
        for before, targets in map(make_disjoint_window, windows):
            inputs = (before + targets)[:-1]
            with torch.no_grad():
                log_probs = torch.log_softmax(model(torch.tensor([inputs])).logits[0], -1)
            for place, token in zip(range(len(inputs) - len(targets), len(inputs)), targets, strict=True):
                total -= log_probs[place, token].item()
        return total, len(tokens)

    sources = {
        "en": DATA / "corpora/en/standardebooks/dev.jsonl",
        "nl": DATA / "corpora/nl/ud_lassysmall/dev.jsonl",
    }
    tasks = []
    for language, path in sources.items():
        short = {"kind": "bpb", "language": language, "path": str(path)}
        # Published by another evaluator for the first 400 lines cut at 400 characters, with no word on
        # empty lines or on what a line is: a rough check beside the exact one below.
        lines = [
            line
            for document in path.open()
            for line in json.loads(document)["text"].split("\n")
            if line.strip()
        ][:400]
        cut = folder / f"{language}_lines.jsonl"
        cut.write_text(
            "".join(json.dumps({"id": str(i), "text": line}) + "\n" for i, line in enumerate(lines))
        )
        tasks.append(short | {"path": str(cut), "max_characters": 400})
        tasks.append(
            short | {"name": f"windows_{language}", "limit": 6, "max_characters": 900, "context": context}
        )
        tasks.append(tasks[-1] | {"name": f"disjoint_{language}", "stride": "disjoint"})
    results, items = ours({"tasks": tasks}, folder / "bpb")
    for language, expected in (("en", 2.71), ("nl", 6.35)):
        value = results["results"][f"bpb_{language}"]["bits_per_byte,none"]
        check(abs(value - expected) < 0.02, f"bits per byte {language}: {value}, not {expected}")
        print(f"bits per byte, {language}: {value:.4f}")
        texts = [json.loads(line)["text"][:900] for line in sources[language].open()][:6]
        for cut, reference in (("windows", nll), ("disjoint", disjoint_nll)):
            name = f"{cut}_{language}"
            worst = 0.0
            total_nll, total_bytes = 0.0, 0
            for item, text in zip(items[name], texts, strict=True):
                expected_nll, tokens = reference(text)
                check(item["tokens"] == [tokens], f"{name}: {item['tokens']} tokens, not {tokens}")
                check(item["bytes"] == [len(text.encode())], f"{name}: bytes")
                check(item["characters"] == [len(text)], f"{name}: characters")
                check(item["words"] == len(text.split()), f"{name}: words")
                worst = max(worst, abs(-item["log_prob"][0] - expected_nll) / expected_nll)
                total_nll += expected_nll
                total_bytes += item["bytes"][0]
            check(worst < 1e-5, f"{name}: document sums differ by {worst} (relative)")
            figure = results["results"][name]["bits_per_byte,none"]
            check(
                abs(figure - total_nll / math.log(2) / total_bytes) < 1e-4, f"{name}: {figure} bits per byte"
            )
            print(f"{name}: document sums equal float64 Transformers to {worst:.1e} (relative)")


def greedy_sample(folder):
    config = folder / "sampling.yaml"
    config.write_text("{temperature: 0, max_tokens: 256}")
    out = folder / "sample.jsonl"
    subprocess.run([TOOL, "--sample", MODEL, config, "1", out], check=True)
    text = json.loads(out.read_text())["text"]
    expected = json.loads((MODEL / "reference.json").read_text())["greedy_from_BOS_256"]
    check(text.strip() == expected.strip(), f"greedy sample differs:\n{text}")
    print("greedy sample: word for word")


def main():
    if not MODEL.exists():
        skip(f"no shared data in {DATA}")
    if not TOOL.exists():
        skip(f"{TOOL} is not built")
    try:
        import lm_eval  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        skip(f"Python peers are missing ({error})")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HF_HOME"] = str(folder / "hf")
        parts = [full_accuracies]
        if "--full" not in sys.argv:
            parts += [greedy_sample, bits_per_byte, compare_with_lm_eval]
        for part in parts:
            part(folder)
    print("all equal")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    main()
