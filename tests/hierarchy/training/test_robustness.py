"""`--robustness`: an evaluation with corrupted faces, whose scores stand in the record and in the report."""

import json

import numpy as np
import pytest

from fer_hierarchy.hierarchy.classifiers import robustness
from fer_hierarchy.hierarchy.config import DataConfig, EvaluationConfig
from fer_hierarchy.hierarchy.data.corruptions import CORRUPTIONS
from fer_hierarchy.hierarchy.training import pipeline
from tests.composed_runs import faces, posterior, write_run
from tests.hierarchy.training.test_tuned_composition import BarStage

LABELS = np.arange(28) % 7


def evaluate(results, fer_folder, name, mode="hierarchical", *, robust=True):
    write_run(results / mode, faces(LABELS), posterior(LABELS, np.random.default_rng(0)), mode=mode)
    folder = pipeline.evaluate_run(
        mode,
        BarStage,
        data=DataConfig(data=str(fer_folder)),
        evaluation=EvaluationConfig(resamples=100),
        name=name,
        results=results,
        command="evaluate",
        robust=robust,
    )
    return json.loads((folder / "metrics.json").read_text()), folder


@pytest.fixture(scope="module")
def first(tmp_path_factory, fer_folder):
    return evaluate(tmp_path_factory.mktemp("results"), fer_folder, "first")


def test_every_corruption_has_scores_with_intervals_at_five_strengths(first):
    record, _ = first
    facts = record["robustness"]
    assert facts["n"] == record["answers"]["soft"]["n"]
    assert [(row["corruption"], row["strength"]) for row in facts["corrupted"]] == [
        (name, strength) for name in CORRUPTIONS for strength in (1, 2, 3, 4, 5)
    ]
    assert facts["clean"]["top1"] == record["answers"]["soft"]["top1"]
    for row in facts["corrupted"]:
        low, high = row["intervals"]["top1"]
        assert 0 <= low <= row["top1"] <= high <= 1
    worst = {row["corruption"]: row["top1"] for row in facts["corrupted"]}
    assert worst["turning"] < facts["clean"]["top1"]  # a stage that reads where a bar is


def test_the_report_shows_curves_and_tables(first):
    _, folder = first
    report = (folder / "report.md").read_text()
    assert "## Robustness" in report
    assert "occlusion" in report
    assert (folder / "figures" / "robustness.png").is_file()


def test_the_report_tells_what_is_left_of_a_guarantee(first):
    record, folder = first
    node = next(row for row in record["coverage"]["rules"] if (row["rule"], row["each"]) == ("node", False))
    assert record["robustness"]["clean"]["covered"] == node["covered"]
    assert all(0 <= row["covered"] <= 1 for row in record["robustness"]["corrupted"])
    report = (folder / "report.md").read_text()
    assert "These may differ: see what it is worth here." in report
    assert "promised 90" in report


def test_a_second_evaluation_gives_the_same_figures(first, tmp_path, fer_folder):
    assert evaluate(tmp_path, fer_folder, "again")[0]["robustness"] == first[0]["robustness"]


def test_a_flat_run_is_scored_and_nothing_is_without_the_flag(tmp_path, fer_folder):
    assert evaluate(tmp_path, fer_folder, "one", "flat")[0]["robustness"]["n"] > 0
    record, folder = evaluate(tmp_path / "b", fer_folder, "two", robust=False)
    assert "robustness" not in record
    assert "Robustness" not in (folder / "report.md").read_text()


def test_of_many_faces_some_are_corrupted(monkeypatch, tmp_path, fer_folder):
    monkeypatch.setattr(robustness, "MOST_FACES", 10)
    record, _ = evaluate(tmp_path, fer_folder, "some")
    assert record["robustness"]["n"] == 10
    assert record["answers"]["soft"]["n"] > 10
