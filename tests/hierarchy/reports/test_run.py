"""Reports hold the figures of a run in both formats, escape what users named, and claim no more than that."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.metrics import emotion_scores, stage_scores
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.run import confident_mistakes, write_run_report
from tests.invented_predictions import EMOTIONS, SHARES, TAXONOMY, invented_answers


def faces(ids) -> np.ndarray:
    return np.random.default_rng(len(ids)).integers(0, 256, (len(ids), 48, 48, 1), dtype=np.uint8)


def split_by_group(probabilities: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    to_group = np.array(TAXONOMY.group_index)
    gate = probabilities @ np.eye(len(TAXONOMY.groups))[to_group]
    given = {}
    for number, group in enumerate(TAXONOMY.group_names):
        part = probabilities[:, to_group == number]
        given[group] = part / part.sum(axis=1, keepdims=True)
    return gate, given


def routed(gate: np.ndarray, given: dict[str, np.ndarray], choice: np.ndarray) -> np.ndarray:
    """Probabilities when group `choice` (n,) is taken as certain."""
    composed = np.zeros((len(gate), len(EMOTIONS)))
    for number, group in enumerate(TAXONOMY.group_names):
        columns = [EMOTIONS.index(e) for e in TAXONOMY.members(group)]
        composed[:, columns] = given[group] * (choice == number)[:, None]
    return composed


def make_training(stages) -> dict:
    common = {"model": "compact_resnet", "epochs": 12, "epochs_run": 12, "best_epoch": 9, "batch_size": 128}
    common |= {
        "balance": "oversample",
        "temperature": 1.31,
        "prior_correction": True,
        "rows": 25820,
        "drawn_rows": 43267,
    }
    common |= {"parameters": 1_100_000, "multiply_adds": 79_400_000, "cpu_seconds": 3012.4, "wall_seconds": 1620.0}
    return {stage: common | {"ece_before": 0.081, "ece_after": 0.017} for stage in stages}


def make_metrics(mode: str, labels: np.ndarray, probabilities: np.ndarray, *, synthetic: bool = False) -> dict:
    gate, given = split_by_group(probabilities)
    true_group = np.array(TAXONOMY.group_index)[labels]
    few = {"resamples": 100}
    oracle = emotion_scores(labels, routed(gate, given, true_group), TAXONOMY, **few)
    own = emotion_scores(labels, probabilities, TAXONOMY, **few)
    hard = emotion_scores(labels, routed(gate, given, gate.argmax(axis=1)), TAXONOMY, gate=gate, **few)
    answers = {"flat": own, "oracle": oracle} if mode == "flat" else {"soft": own, "hard": hard, "oracle": oracle}
    counts = {e: int(1000 * SHARES[e]) for e in EMOTIONS}
    test = {e: int((labels == i).sum()) for i, e in enumerate(EMOTIONS)}
    return {
        "format": 1, "run": f"fer2013-{mode}-compact_resnet-seed0", "mode": mode, "synthetic": synthetic,
        "command": f"python tf_model.py --mode {mode} --data data/fer2013 --balance oversample --seed 0",
        "seed": 0, "split": "test", "notes": ["validation was cut from Training: 10 % of its rows, stratified"],
        "data": {
            "dataset": "synthetic" if synthetic else "fer2013", "path": "data/fer2013",
            "fingerprint": "0123456789abcdef",
            "rows": {"train": 25820, "validation": 2889, "test": len(labels)},
            "counts": {"train": counts, "validation": {e: v // 9 for e, v in counts.items()}, "test": test},
            "limit": None,
        },
        "test_fingerprint": "fedcba9876543210", "taxonomy": TAXONOMY.to_dict(), "excluded": ["contempt"],
        "emotions": list(EMOTIONS), "headline": "flat" if mode == "flat" else "soft", "answers": answers,
        "stages": stage_scores(labels, gate, given, TAXONOMY, **few),
        "training": make_training(TAXONOMY.stages("flat" if mode == "flat" else "hierarchical")),
        "cost": COST,
        "validation": {"top1": 0.652, "balanced_accuracy": 0.611, "macro_f1": 0.618, "n": 2889},
    }  # fmt: skip


COST = {
    "train_cpu_seconds": 9037.2,
    "train_wall_seconds": 4860.0,
    "parameters": 3_300_000,
    "multiply_adds": 238_200_000,
    "latency_ms": {"median": 9.31, "p10": 8.9, "p90": 11.2},
}


def make_run(folder: Path, *, mode: str = "hierarchical", synthetic: bool = False, n: int = 300, **changes) -> dict:
    """A run folder of invented but consistent numbers; returns its metrics."""
    rng = np.random.default_rng(7)
    labels, probabilities = invented_answers(n, rng)
    metrics = make_metrics("hierarchical" if mode == "evaluation" else mode, labels, probabilities, synthetic=synthetic)
    metrics |= {"mode": mode} | changes
    metrics = {key: value for key, value in metrics.items() if value is not ...}
    names = np.array(EMOTIONS)
    predictions = pd.DataFrame({"row": [f"{i:06d}" for i in range(n)], "true": names[labels]})
    predictions["predicted"] = names[probabilities.argmax(axis=1)]
    predictions["route"] = [TAXONOMY.group_of(e) for e in predictions["predicted"]]
    predictions[[f"p_{e}" for e in EMOTIONS]] = probabilities
    folder.mkdir(parents=True)
    predictions.to_csv(folder / "predictions.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.json").write_text(json.dumps({"format": 1, "mode": mode, "stage": {"epochs": 12, "patience": 0}}))
    versions = {
        "python": "3.11.7",
        "commit": "811d87c",
        "processor": "a processor, 2 cores",
        "versions": {"keras": "3.15"},
    }
    (folder / "environment.json").write_text(json.dumps(versions))
    for stage in metrics.get("training", {}):
        make_history(folder / "stages" / stage, rng)
    return metrics


def make_history(folder: Path, rng: np.random.Generator, epochs: int = 12) -> None:
    folder.mkdir(parents=True)
    epoch = np.arange(1, epochs + 1)
    loss, accuracy = 1.1 + 0.8 * np.exp(-epoch / 4), 0.66 - 0.4 * np.exp(-epoch / 4)
    noise = rng.normal(0, 0.012, (4, epochs))
    history = {"epoch": epoch, "loss": loss + noise[0], "accuracy": accuracy + noise[1]}
    history |= {"val_loss": loss - 0.05 + noise[2], "val_accuracy": accuracy + 0.02 + noise[3]}
    history |= {"val_macro_f1": accuracy - 0.05, "learning_rate": 0.1 / epoch, "seconds": 80.0}
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False)
    (folder / "stage.json").write_text(json.dumps({"record": {"best_epoch": 9}}))


def report(folder: Path, **changes) -> tuple[str, str]:
    make_run(folder, **changes)
    write_run_report(folder, faces=faces)
    return (folder / "report.md").read_text(), (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def whole_report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "run"
    metrics = make_run(folder)
    write_run_report(folder, faces=faces)
    return folder, metrics, (folder / "report.md").read_text(), (folder / "report.html").read_text()


def test_report_has_every_section_in_both_formats(whole_report):
    _, _, markdown, html = whole_report
    titles = [
        "Summary",
        "Predictions",
        "Emotion by emotion",
        "Confusion",
        "Stages",
        "Calibration",
        "Most confident mistakes",
    ]
    for title in [*titles, "Training", "Data", "Cost", "Configuration", "How to repeat this"]:
        assert f"\n## {title}\n" in markdown
        assert f">{title}</h2>" in html


def test_headline_numbers_stand_in_both_formats(whole_report):
    _, metrics, markdown, html = whole_report
    soft = metrics["answers"]["soft"]
    low, high = (f"{100 * bound:.1f}" for bound in soft["intervals"]["top1"])
    for text in (markdown, html):
        assert f"{100 * soft['top1']:.1f} %" in text
        assert f"95 % interval {low} to {high}" in text
        assert "seed 0" in text
        assert "300 test faces" in text
        assert "An upper bound for any gate, not a prediction" in text


def test_markdown_links_exist_and_are_relative(whole_report):
    folder, _, markdown, _ = whole_report
    links = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", markdown)
    assert len(links) > 10
    assert all((folder / link).is_file() and not link.startswith("/") for link in links)
    assert {link.removeprefix("figures/") for link in links} == {path.name for path in (folder / "figures").iterdir()}


def test_html_is_self_contained(whole_report):
    _, _, _, html = whole_report
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', html)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert not re.search(r"<script|<link|@import|url\(|https?:", html)


def test_links_inside_the_page_have_targets(whole_report):
    _, _, _, html = whole_report
    assert set(re.findall(r'href="#([^"]+)"', html)) == set(re.findall(r'<h2 id="([^"]+)"', html))


def test_command_configuration_and_environment_are_shown(whole_report):
    _, metrics, markdown, html = whole_report
    for text in (markdown, html):
        assert metrics["command"] in text
        assert "811d87c" in text
        assert "stage.epochs" in text


def test_a_run_on_real_faces_has_no_banner(whole_report):
    assert "SYNTHETIC" not in whole_report[2] + whole_report[3]


def test_a_run_that_is_no_better_than_the_most_frequent_class_says_so(tmp_path, whole_report):
    words = "No better than always predicting happy"
    assert words not in whole_report[2]
    folder = tmp_path / "run"
    metrics = make_run(folder)
    metrics["answers"]["soft"]["top1"] = 0.2
    (folder / "metrics.json").write_text(json.dumps(metrics))
    write_run_report(folder, faces=None)
    assert words in (folder / "report.md").read_text()


def test_earlier_trainings_stand_in_the_table_of_costs(tmp_path):
    cost = COST | {"earlier": {"first/flat": 3600.0, "lost/flat": None}}
    text, _ = report(tmp_path / "run", cost=cost)
    assert re.search(r"before it: first/flat \|.*3,600.*60 min", text)
    assert "before it: lost/flat" in text


def test_a_synthetic_run_is_marked_loudly(tmp_path):
    markdown, html = report(tmp_path / "run", synthetic=True)
    assert "SYNTHETIC FACES" in markdown.split("## ")[0]
    assert '<div class="banner" role="alert">SYNTHETIC FACES' in html
    assert "<h1>Synthetic: fer2013" in html


def test_flat_quick_look_calls_its_stages_implied_and_warns(tmp_path):
    data = make_run(tmp_path / "first")["data"] | {"limit": 50}
    markdown, _ = report(tmp_path / "second", mode="flat", data=data)
    assert "Implied by the flat model" in markdown
    assert "Hard routing" not in markdown
    assert "A quick check, not a result" in markdown


def test_evaluation_without_training_and_cost(tmp_path):
    origin = {"run": "first", "data": {"dataset": "synthetic"}}
    none = {"training": {}, "cost": {}, "validation": ...}
    markdown, html = report(tmp_path / "run", mode="evaluation", trained_on=origin, **none)
    assert "a saved run evaluated on other data" in html
    assert "## Training" not in markdown
    assert "## Cost" not in markdown
    assert "The model is that of run first, trained on synthetic" in markdown
    assert "SYNTHETIC faces" in markdown


def test_odd_names_are_escaped_and_undefined_figures_become_a_dash(tmp_path):
    answers = make_run(tmp_path / "first")["answers"]
    soft = answers["soft"]
    soft["per_class"][1] |= {"precision": None, "recall": None, "f1": None, "support": 0}
    soft["confusion"][1] = [0] * len(EMOTIONS)
    notes = ["left out: <img src=x> | 3 rows"]
    markdown, html = report(tmp_path / "second", run="<b>a|b</b>", notes=notes, answers=answers)
    assert "<b>a" not in html + markdown.replace("\\<b>", "")
    assert "<img src=x>" not in html
    assert "| disgust | - | - | - | 0 |" in markdown


def test_no_mistakes_no_gallery(tmp_path):
    make_run(tmp_path / "run")
    table = pd.read_csv(tmp_path / "run/predictions.csv", dtype={"row": str})
    table.assign(predicted=table["true"]).to_csv(tmp_path / "run/predictions.csv", index=False)
    write_run_report(tmp_path / "run", faces=faces)
    assert "every face was predicted correctly" in (tmp_path / "run/report.md").read_text()


def test_gallery_requests_the_surest_mistakes_by_their_exact_ids(tmp_path):
    make_run(tmp_path / "run")
    requested = []

    def colour_faces(ids) -> np.ndarray:
        requested.extend(ids)
        return np.zeros((len(ids), 30, 20, 3), np.uint8)

    write_run_report(tmp_path / "run", faces=colour_faces)
    assert len(requested) == 24
    assert all(re.fullmatch(r"\d{6}", name) for name in requested)


def test_learned_features_are_shown_where_a_stage_has_them(tmp_path, whole_report):
    assert "Learned features" not in whole_report[2] + whole_report[3]
    make_run(tmp_path / "run")
    true = pd.read_csv(tmp_path / "run/predictions.csv", dtype=str)
    own = true[true["true"].isin(TAXONOMY.members("negative"))]
    for stage, part in (("valence", true), ("negative", own.drop_duplicates("true"))):
        table = pd.DataFrame({"row": part["row"], "emotion": part["true"], "x": range(len(part)), "y": 1.5})
        table.to_csv(tmp_path / f"run/stages/{stage}/features.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        notes = []
        patch.setattr(figures, "feature_map", lambda ax, points, note: notes.append(note.splitlines()[0]))
        write_run_report(tmp_path / "run", faces=faces)
    few = f"n = {len(TAXONOMY.members('negative'))} of {len(own)} test faces, chosen in proportion to the emotions"
    assert notes == ["n = 300 test faces; seed 0.", f"{few}; seed 0."]
    markdown = (tmp_path / "run/report.md").read_text()
    assert "\n## Learned features\n" in markdown
    assert "(figures/features_valence.png)" in markdown
    assert "(figures/features_negative.png)" in markdown


def test_confident_mistakes_are_sorted_and_wrong():
    table = pd.DataFrame(
        {"row": ["a", "b", "c"], "true": ["sad", "sad", "sad"], "predicted": ["happy", "sad", "happy"]}
        | {"p_happy": [0.6, 0.1, 0.9], "p_sad": [0.4, 0.9, 0.1]}
    )
    worst = confident_mistakes(table, 5)
    assert worst["row"].tolist() == ["c", "a"]
    assert worst["confidence"].tolist() == [0.9, 0.6]


@pytest.mark.parametrize("name", ["metrics.json", "predictions.csv"])
def test_a_folder_that_is_no_run_is_one_clear_line(tmp_path, name):
    make_run(tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    with pytest.raises(UserError, match=re.escape(name)) as raised:
        write_run_report(tmp_path / "run", faces=faces)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run/report.html").exists()
