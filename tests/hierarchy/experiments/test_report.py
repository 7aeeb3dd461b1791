"""Reports of comparisons hold the figures, and call only a clear difference one."""

import json
import re

import numpy as np
import pytest

from fer_hierarchy.hierarchy.evaluation.metrics import scores
from fer_hierarchy.hierarchy.experiments.report import write_comparison
from fer_hierarchy.hierarchy.experiments.sections import short_names, verdict
from tests.invented_predictions import EMOTIONS, invented_answers, softmax

MEASURES = ("top1", "balanced_accuracy", "macro_f1")


def make_comparison(runs: int = 2, *, synthetic: bool = False, **changes) -> dict:
    rng = np.random.default_rng(3)
    labels, probabilities = invented_answers(400, rng)
    records, tables = [], []
    for number in range(runs):
        own = scores(
            labels, softmax(np.log(probabilities) + rng.normal(0, 0.5, probabilities.shape)), EMOTIONS, resamples=100
        )
        mode = "flat" if number % 2 == 0 else "hierarchical"
        records.append(
            {"name": f"fer2013-{mode}-compact_resnet-seed{number // 2}", "mode": mode, "seed": number // 2,
             "headline": "flat" if mode == "flat" else "soft", "taxonomy": "valence", "excluded": ["contempt"],
             "train_cpu_seconds": 3000.0 * (number + 1), "parameters": 1_100_000 * (number + 1),
             "multiply_adds": 79_000_000 * (number + 1), "latency_ms": {"median": 4.0 + number, "p10": 3, "p90": 6},
             "group_top1": 0.85 + number / 100, "epochs": {"flat": 24}, "models": {"flat": "compact_resnet"},
             "balance": {"valence": "none", "positive": "oversample"}}
            | {key: own[key] for key in ("top1", "balanced_accuracy", "macro_f1", "intervals", "ece")}
        )  # fmt: skip
        tables.append(own["per_class"])
    pairs = [make_pair(records, tables, 0, b) for b in range(1, runs)]
    return {
        "format": 1, "synthetic": synthetic, "test": {"n": 400, "fingerprint": "fedcba9876543210", "subjects": None},
        "command": "python tf_model.py --mode compare A B",
        "classes": list(EMOTIONS), "runs": records, "repeats": [], "pairs": pairs,
        "stages": [{"stage": "valence", "run": r["name"], "n": 400} | {m: r[m] for m in MEASURES} for r in records],
        "routings": [{"routing": "soft", "run": r["name"], "n": 400} | {m: r[m] for m in MEASURES} for r in records],
        "omitted": [{"what": "valence accuracy", "why": "the runs group the emotions differently"}],
    } | changes  # fmt: skip


def make_pair(records: list[dict], tables: list[list[dict]], a: int, b: int) -> dict:
    per_class = [
        {"class": x["class"], "support": x["support"], "recall_a": x["recall"], "recall_b": y["recall"],
         "recall_delta": y["recall"] - x["recall"], "f1_a": x["f1"], "f1_b": y["f1"], "f1_delta": y["f1"] - x["f1"]}
        for x, y in zip(tables[a], tables[b], strict=True)
    ]  # fmt: skip
    deltas = {m: records[b][m] - records[a][m] for m in MEASURES}
    differences = {m: {"difference": d, "low": d - 0.04, "high": d + 0.04} for m, d in deltas.items()}
    return {
        "a": records[a]["name"], "b": records[b]["name"], "n": 400, "per_class": per_class,
        "mcnemar": {"a_only": 41, "b_only": 37, "p": 0.734}, "differences": differences,
    }  # fmt: skip


def test_comparison_writes_all_four(tmp_path):
    comparison = make_comparison()
    write_comparison(tmp_path / "new", comparison)
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"comparison.json", "report.md", "report.html", "figures"}
    assert json.loads((tmp_path / "new/comparison.json").read_text()) == comparison
    markdown = (tmp_path / "new/report.md").read_text()
    assert "41 were named rightly by flat alone" in markdown
    assert "the runs group the emotions differently" in markdown
    assert "Each configuration was trained once" in markdown
    assert re.search(r"\*Table 3\. What was trained, as far as it differs\.\*\n\n\| Run \| .*Mode", markdown)
    assert re.search(r"The same in all runs: .*seed: 0", markdown)
    captions = re.findall(r"^\*(?:Table|Figure) \d+\. (.*)\*$", markdown, re.MULTILINE)
    assert not set(re.findall("^## (.*)$", markdown, re.MULTILINE)) & {text.rstrip(".") for text in captions}


def test_comparison_of_one_configuration_without_costs_shows_the_spread(tmp_path):
    comparison = make_comparison(3, synthetic=True)
    for run in comparison["runs"]:
        for key in ("train_cpu_seconds", "parameters", "multiply_adds", "latency_ms"):
            run.pop(key)
    figure = {"mean": 0.634, "std": 0.0042}
    comparison["repeats"] = [
        {"runs": ["a", "b", "c"], "configuration": "flat", "seeds": [0, 1, 2], "top1": figure, "macro_f1": figure}
    ]
    write_comparison(tmp_path, comparison)
    markdown = (tmp_path / "report.md").read_text()
    assert "63.4 ± 0.4" in markdown
    assert "## Cost" not in markdown
    assert "SYNTHETIC" in markdown


@pytest.mark.parametrize(
    ("low", "high", "p", "clear"),
    [(0.01, 0.05, 0.01, True), (-0.01, 0.05, 0.01, False), (0.01, 0.05, 0.06, False), (0.01, 0.05, None, True)],
)
def test_only_a_clear_difference_is_called_one(low, high, p, clear):
    words = verdict("Top-1", {"difference": 0.03, "low": low, "high": high}, n=400, a="flat", b="tree", p=p)
    assert ("tree is better than flat" in words) == clear
    assert ("no clear difference at this n (400)" in words) != clear


def test_a_clear_loss_names_the_right_winner():
    words = verdict("Top-1", {"difference": -0.03, "low": -0.05, "high": -0.01}, n=400, a="flat", b="tree", p=0.01)
    assert "flat is better than tree" in words


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["fer-flat-net-seed0", "fer-tree-net-seed0"], ["flat", "tree"]),
        (["mine", "yours"], ["mine", "yours"]),
        (["a-flat", "a-flat-b"], ["run A", "run B"]),
        (["x" * 40, "y" * 40], ["run A", "run B"]),
    ],
)
def test_short_names_differ_and_are_short(names, short):
    assert short_names(names) == dict(zip(names, short, strict=True))
