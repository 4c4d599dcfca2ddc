"""Recall of facts against lm-evaluation-harness, item by item.

Made-up facts in mParaRel's layout go through kind `recall` and, with all candidates of a relation as
choices, through a multiple-choice task of the harness: log-probabilities of every candidate and the
decisions agree as in choice_reference.py. Accuracy and mean reciprocal rank are computed again from
the items; minimal pairs with a false object score both objects as the ranking does.
"""

import json

from choice_reference import WORDS, check, compare, harness, on_both_models, ours, write_rows


def recall_task(folder):
    """A relation whose object ends the sentence, and one where it does not; one object is true twice."""
    relations = {
        "P1": (["The home of [X] is [Y].", "[X] lives in [Y]"], ["harbor", "old castle", "Øst meadow"]),
        "P2": (["[Y] is what [X] likes", "Of all things [X] wants [Y] the most."], WORDS[:6]),
    }
    names = ["Anna", "Tim", "The big dog", "Æsa", "Lily"]
    home = folder / "facts"
    for part in ("patterns", "tuples"):
        (home / part).mkdir(parents=True)
    rows = []
    for relation, (patterns, objects) in relations.items():
        facts = [(name, objects[i % len(objects)]) for i, name in enumerate(names)]
        facts.append((names[0], objects[1]))
        write_rows(home / "patterns" / f"{relation}.jsonl", [{"pattern": text} for text in patterns])
        write_rows(
            home / "tuples" / f"{relation}.jsonl",
            [{"sub_label": subject, "obj_label": thing} for subject, thing in facts],
        )
        listed = list(dict.fromkeys(thing for _, thing in facts))
        for subject, thing in facts:
            also = {other for name, other in facts if name == subject and other != thing}
            candidates = [other for other in listed if other not in also]
            for pattern in patterns:
                front, behind = pattern.replace("[X]", subject).split("[Y]")
                rows.append(
                    {
                        "context": front,
                        "choices": [candidate + behind for candidate in candidates],
                        "gold": candidates.index(thing),
                    }
                )
    task = {
        "task": "recall",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": write_rows(folder / "recall.jsonl", rows)}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "context",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "target_delimiter": "",
        "num_fewshot": 0,
        "metric_list": [{"metric": metric} for metric in ("acc", "acc_norm")],
    }
    (folder / "recall.yaml").write_text(json.dumps(task))
    return {"name": "recall", "kind": "recall", "path": str(home), "preset": "lm-eval"}


def check_ranking(results, items):
    """Figures from the items alone: the mean over relations of accuracy and of 1 / rank."""
    by_relation = {}
    for item in items:
        scores, gold = item["log_prob"], item["gold"]
        rank = 1 + sum(s > scores[gold] or (s == scores[gold] and i < gold) for i, s in enumerate(scores))
        by_relation.setdefault(item["paradigm"], []).append((item["correct"], 1 / rank))
    for place, metric in enumerate(("acc", "mrr")):
        means = [sum(row[place] for row in rows) / len(rows) for rows in by_relation.values()]
        value = results["results"]["recall"][f"{metric},none"]
        check(abs(value - sum(means) / len(means)) < 1e-12, f"recall: {metric} {value}")


def check_false_objects(results, items, pairs):
    """A minimal pair scores its two objects as the ranking does."""
    ranked = {item["id"]: item for item in items}
    for pair in pairs:
        item = ranked[pair["id"]]
        check(abs(pair["log_prob"][0] - item["log_prob"][item["gold"]]) < 1e-4, f"{pair['id']}: true object")
        others = [s for i, s in enumerate(item["log_prob"]) if i != item["gold"]]
        check(min(abs(pair["log_prob"][1] - s) for s in others) < 1e-4, f"{pair['id']}: false object")
    check(results["results"]["recall_pairs"]["chance,none"] == 0.5, "recall_pairs: chance")


def run(model, folder):
    folder.mkdir()
    task = recall_task(folder)
    expected, _ = harness(model, folder, ["recall"])
    pairs = task | {"name": "recall_pairs", "recall": {"candidates": "pair"}}
    results, items = ours({"tasks": [task, pairs]}, folder / "ours", model)
    compare("recall", items["recall"], expected["recall"])
    check_ranking(results, items["recall"])
    check_false_objects(results, items["recall"], items["recall_pairs"])


if __name__ == "__main__":
    on_both_models(run)
