"""Multiple choice against lm-evaluation-harness, item by item.

Made-up rows in the layouts of Belebele, XCOPA and HellaSwag go through the harness's own task files (of
the installed package; nothing but the data set and the examples' sampler is replaced) and through
kind `choice`, with 0 and 3 examples. Log-probabilities of every choice agree to 1e-4 (or a millionth,
whichever is more), and so do the decisions by sum and per character. Twice: on stories260K, whose
tokenizer puts BOS in front and whose context most of Belebele's examples exceed, and on random weights
with SmolLM2's tokenizer, which puts nothing in front.
"""

import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from eval_reference import DATA, MODEL, TOOL, check, ours, skip

for offline in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "TQDM_DISABLE"):
    os.environ.setdefault(offline, "1")

WORDS = (
    "river stone lantern garden winter copper window basket thunder meadow pilot ribbon anchor violin "
    "castle pepper blanket orchard mirror candle harbor feather saddle whistle bucket pocket"
).split()
ITEMS = 14
CLOSE = 2e-4  # decisions nearer than this may fall either way in float32


def sentence(draw, words):
    text = " ".join(draw.choice(WORDS) for _ in range(words))
    return text[0].upper() + text[1:] + "."


def belebele_rows(draw):
    rows = []
    for i in range(ITEMS):
        length = 260 if i == 5 else 12  # one exceeds the context
        row = {
            "flores_passage": sentence(draw, length),
            "question": " " + sentence(draw, 5).replace(".", "?") + " ",
            "correct_answer_num": str(1 + draw.randrange(4)),
        }
        row |= {f"mc_answer{k}": sentence(draw, 2) for k in range(1, 5)}
        rows.append(row)
    return rows


def xcopa_rows(draw):
    return [
        {
            "premise": sentence(draw, 6) + (" " if i % 3 == 0 else ""),
            "choice1": ("Ä" if i % 4 == 0 else "") + sentence(draw, 4),
            "choice2": ("Õ" if i % 4 == 1 else "") + sentence(draw, 5),
            "question": draw.choice(["cause", "effect"]),
            "label": draw.randrange(2),
        }
        for i in range(ITEMS)
    ]


def hellaswag_rows(draw):
    rows = []
    for i in range(ITEMS):
        marks = ["", " [title] ", " [step] ", "  "][i % 4]
        rows.append(
            {
                "activity_label": draw.choice(WORDS).capitalize(),
                "ctx_a": " " + sentence(draw, 6) + marks + sentence(draw, 3),
                "ctx_b": "" if i % 5 == 0 else draw.choice(WORDS) + " McGarden ÖL",
                "endings": [sentence(draw, 3 + k) + (" [substeps] x" if k == 1 else "") for k in range(4)],
                "label": str(draw.randrange(4)),
            }
        )
    return rows


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def package_task(folder, source, name, shots, files):
    """A copy of the installed package's task file with local data."""
    import lm_eval
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    class Function(str):
        pass

    Loader.add_constructor("!function", lambda loader, node: Function(node.value))
    yaml.SafeDumper.add_representer(
        Function, lambda dumper, value: dumper.represent_scalar("!function", str(value))
    )
    package = Path(lm_eval.__file__).parent / "tasks" / source
    task = yaml.load(package.read_text(), Loader)
    place = folder / name
    place.mkdir()
    if (package.parent / "utils.py").exists():
        shutil.copy(package.parent / "utils.py", place)
    for key in ("tag", "dataset_name", "training_split", "validation_split", "should_decontaminate"):
        task.pop(key, None)
    own = files["test"] == files["shots"]
    task |= {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "fewshot_split": "test" if own else "shots",
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": shots,
        "metric_list": [{"metric": metric} for metric in ("acc", "acc_norm")],
    }
    (place / f"{name}.yaml").write_text(yaml.safe_dump(task))


def harness(model, folder, names):
    """{task: [(log p of each choice, acc, acc_norm), ...]}, in float64."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    results = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), "dtype": "float64"},
        tasks=names,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        batch_size=8,
        device="cpu",
        bootstrap_iters=2,
    )
    out = {}
    for name, samples in results["samples"].items():
        samples = sorted(samples, key=lambda sample: sample["doc_id"])
        out[name] = [
            ([float(resp[0]) for resp in sample["filtered_resps"]], sample["acc"], sample["acc_norm"])
            for sample in samples
        ]
    return out, results["results"]


def decision(scores, gold):
    """Whether the first maximum is the right one, and whether rounding may decide it."""
    best = max(range(len(scores)), key=lambda i: scores[i])
    close = any(i != best and 0 < scores[best] - scores[i] < CLOSE for i in range(len(scores)))
    return best == gold, close


def compare(name, items, expected):
    """Log-probabilities of every choice, and the decisions unless float32 may see them otherwise."""
    check(len(items) == len(expected), f"{name}: {len(items)} items, the harness has {len(expected)}")
    worst, close = 0.0, 0
    for item, (log_probs, acc, acc_norm) in zip(items, expected):
        check(len(item["log_prob"]) == len(log_probs), f"{name}: choices of {item['id']}")
        for a, b in zip(item["log_prob"], log_probs):
            worst = max(worst, abs(a - b))
            check(abs(a - b) <= max(1e-4, 1e-6 * abs(b)), f"{name}: {item['id']}: log p {a}, harness {b}")
        right, near = decision(item["log_prob"], item["gold"])
        check(near or right == item["correct"] == (acc == 1.0), f"{name}: decision of {item['id']}")
        per_character = [a / n for a, n in zip(item["log_prob"], item["characters"])]
        right, near_norm = decision(per_character, item["gold"])
        check(near_norm or right == (acc_norm == 1.0), f"{name}: {item['id']} per character")
        close += near or near_norm
    print(f"{name}: {len(items)} items, log p within {worst:.1e}, same decisions ({close} too close to tell)")


def compare_means(name, items, theirs, results):
    """The figures of results.json; a decision that is too close may move one by one item."""
    slack = 1e-9
    for item in items:
        scores = item["log_prob"]
        per_character = [a / n for a, n in zip(scores, item["characters"])]
        slack += any(decision(s, item["gold"])[1] for s in (scores, per_character)) / len(items)
    for metric in ("acc", "acc_norm"):
        a, b = results[f"{metric},none"], theirs[f"{metric},none"]
        check(abs(a - b) < slack, f"{name}: {metric} {a}, harness {b}")


def choice_tasks(folder):
    """Our tasks, with the harness's task files written beside."""
    draw = random.Random(7)
    sources = {
        "belebele": ("belebele/_default_template_yaml", belebele_rows, "eng"),
        "xcopa": ("xcopa/default_et.yaml", xcopa_rows, "et"),
        "hellaswag": ("hellaswag/hellaswag.yaml", hellaswag_rows, "en"),
    }
    tasks = []
    for layout, (source, rows_of, language) in sources.items():
        test = write_rows(folder / f"{layout}_test.jsonl", rows_of(draw))
        other = write_rows(folder / f"{layout}_shots.jsonl", rows_of(draw)[:5])
        # Belebele has one split: its examples are rows of the same file, but never the row itself.
        shots_from = test if layout == "belebele" else other
        for shots in (0, 3):
            name = f"{layout}_{shots}"
            package_task(folder, source, name, shots, {"test": test, "shots": shots_from})
            choice = {"layout": layout, "shots": shots}
            if shots_from != test:
                choice["shots_from"] = shots_from
            tasks.append(
                {"name": name, "kind": "choice", "language": language, "path": test, "preset": "lm-eval"}
                | {"choice": choice}
            )
    return tasks


def run(model, folder):
    folder.mkdir()
    tasks = choice_tasks(folder)
    expected, theirs = harness(model, folder, [task["name"] for task in tasks])
    results, items = ours({"tasks": tasks}, folder / "ours", model)
    for task in tasks:
        name = task["name"]
        check(results["n-shot"][name] == (3 if name.endswith("3") else 0), f"{name}: n-shot")
        compare(name, items[name], expected[name])
        compare_means(name, items[name], theirs[name], results["results"][name])


def random_model(folder):
    """A tiny Llama of random weights with SmolLM2's tokenizer, which adds no BOS."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    folder.mkdir()
    shutil.copy(DATA / "tokenizers/smollm2/tokenizer.json", folder)
    token = "<|endoftext|>"
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": token, "eos_token": token})
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def on_both_models(run):
    """run(model directory, an empty folder's path), where data and peers are there."""
    if not MODEL.exists():
        skip(f"no shared data in {DATA}")
    if not TOOL.exists():
        skip(f"{TOOL} is not built")
    try:
        import datasets
        import lm_eval  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        skip(f"Python peers are missing ({error})")
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HF_HOME"] = str(folder / "hf")
        run(MODEL, folder / "stories")
        run(random_model(folder / "model"), folder / "random")
    print("all equal")


def main():
    on_both_models(run)


if __name__ == "__main__":
    main()
