"""The list of runs shows every run, evaluation and ensemble, whatever of it is damaged."""

import json
import shutil

import numpy as np
import pytest

from fer_hierarchy.hierarchy.cli import main
from fer_hierarchy.hierarchy.experiments.listing import print_runs, run_table
from tests.composed_runs import faces, posterior, write_run


@pytest.fixture
def results(stored_runs, tmp_path):
    """Copies of two finished runs and of one that was killed."""
    for name in ("flat", "hierarchical", "half"):
        shutil.copytree(stored_runs / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "{}", '{"mode": "flat"}'])
def test_a_run_with_damaged_metrics_is_listed_with_what_can_be_read(text, results, caplog, capsys):
    (results / "flat" / "metrics.json").write_text(text)
    table = run_table(results).set_index("run")
    assert table["state"].to_dict() == {"flat": "damaged", "hierarchical": "finished", "half": "unfinished"}
    assert "flat" in table.loc["flat", "epochs"]
    assert str(results / "flat" / "metrics.json") in caplog.text
    print_runs(table.reset_index())
    assert "flat (damaged)" in capsys.readouterr().out


def test_a_damaged_history_hides_neither_the_run_nor_its_other_stages(results, caplog):
    history = results / "hierarchical" / "stages" / "positive" / "history.csv"
    history.write_text("nothing")
    row = run_table(results).set_index("run").loc["hierarchical"]
    assert "valence" in row["epochs"]
    assert "positive" not in row["epochs"]
    assert row["state"] == "finished"
    assert row["validation_n"] > 0
    assert str(history) in caplog.text


def test_a_run_with_damaged_settings_is_listed_by_name(results, caplog, capsys):
    (results / "half" / "config.json").write_text("{")
    print_runs(run_table(results))
    assert "half (damaged)" in capsys.readouterr().out
    assert str(results / "half" / "config.json") in caplog.text


def test_published_runs_evaluations_and_ensembles_are_listed(tmp_path, stored_runs):
    shutil.copytree(stored_runs / "flat", tmp_path / "published" / "small")
    made = (faces([0, 1]), posterior([0, 1], np.random.default_rng(0)))
    write_run(tmp_path / "again", *made, mode="evaluation", trained_on={"run": "small"})
    write_run(tmp_path / "both", *made, mode="ensemble", members=["small", "other"])
    table = run_table(tmp_path).set_index("run")
    assert set(table.index) == {"published/small", "again", "both"}
    assert table.loc["again", "kind"] == "evaluation of small on fer2013"
    assert table.loc["both", "kind"] == "ensemble of small, other"


def test_the_folds_of_a_cross_validation_are_not_listed(stored_runs, tmp_path):
    shutil.copytree(stored_runs / "flat", tmp_path / "cv" / "seed0-fold1")
    (tmp_path / "cv" / "grid.json").write_text(json.dumps({"kind": "crossval"}))
    assert run_table(tmp_path).empty


def test_the_list_of_runs_of_no_folder_is_one_line(tmp_path, capsys):
    assert main(["--mode", "runs", "--results", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no such folder; name the one that runs were written to" in capsys.readouterr().err
