import json
import os

import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference import default_model as module
from fer_hierarchy.inference.default_model import default_model


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A results folder with two runs, an evaluation that is newer, and one that is not finished."""
    monkeypatch.setattr(module, "PUBLISHED", tmp_path / "published")
    for age, (name, mode) in enumerate({"old": "flat", "new": "hierarchical", "judged": "evaluation"}.items()):
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "metrics.json").write_text(json.dumps({"mode": mode}))
        os.utime(folder / "metrics.json", (1000 + age, 1000 + age))
    (tmp_path / "results" / "half").mkdir()
    (tmp_path / "results" / "half" / "config.json").write_text("{}")
    return tmp_path / "results"


def test_the_published_weights_come_first(results, caught_logs):
    (results.parent / "published").mkdir()
    (results.parent / "published" / "config.json").write_text("{}")
    assert default_model(results) == str(results.parent / "published")
    assert not caught_logs.records


def test_what_only_answers_takes_the_export_beside_the_published_weights(results):
    export = results.parent / "published" / "export"
    export.mkdir(parents=True)
    (results.parent / "published" / "config.json").write_text("{}")
    assert default_model(results, quick=True) == str(results.parent / "published"), "there is no export yet"
    (export / "published.tflite").write_bytes(b"")
    assert default_model(results, quick=True) == str(export / "published.tflite")
    assert default_model(results) == str(results.parent / "published")


def test_the_newest_finished_run_comes_next_and_is_named(results, caught_logs):
    assert default_model(results) == str(results / "new")
    assert "the newest run, new, predicts" in caught_logs.text


def test_without_any_run_it_says_how_to_get_one(results):
    with pytest.raises(UserError, match=r"no published weights, and no finished run in .*--mode hierarchical"):
        default_model(results / "half")


def test_a_damaged_record_is_no_run(results):
    (results / "new" / "metrics.json").write_text("{")
    assert default_model(results) == str(results / "old")
