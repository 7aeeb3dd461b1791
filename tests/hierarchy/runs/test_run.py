"""A run is read in one place: everything that its folder holds, and one clear line where that is damaged."""

import json
import logging
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.config import DataConfig, EvaluationConfig
from fer_hierarchy.hierarchy.data.faces import read_faces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments.grid_training import resume_grid
from fer_hierarchy.hierarchy.experiments.report import compare_runs
from fer_hierarchy.hierarchy.runs.run import Run, check_same_faces
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.hierarchy.training.pipeline import evaluate_run, resume_run
from tests.conftest import write_fer_folder

TRAINED = ("flat", "hierarchical", "shared")  # of `stored_runs`


@pytest.fixture
def flat(stored_runs, tmp_path):
    """A copy of the flat run, to be damaged."""
    return shutil.copytree(stored_runs / "flat", tmp_path / "flat")


def test_everything_that_an_old_run_holds_is_read(stored_runs):
    run = Run("hierarchical", results=stored_runs)
    assert (run.name, run.finished, run.config.mode) == ("hierarchical", True, "hierarchical")
    assert run.stages == ("valence", "positive", "negative")
    assert run.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert run.train_counts == dict.fromkeys(run.classes, 6)
    assert run.scores["n"] == len(run.predictions) == len(run.validation_predictions) == 21
    assert run.splits["split"].value_counts().to_dict() == {"train": 42, "validation": 21, "test": 21}
    assert {name: table["epoch"].tolist() for name, table in run.history.items()} == {s: [1, 2] for s in run.stages}
    assert run.stage_records["valence"]["classes"] == ["positive", "negative"]
    assert run.environment["packages"]["keras"]
    assert run.features == {}
    assert run.subjects.empty
    assert any("not FER-2013 as published" in note for note in run.notes)
    assert list(Run(stored_runs / "shared").history) == ["trunk"]


@pytest.mark.parametrize("name", TRAINED)
def test_an_old_run_predicts_as_it_did(name, stored_runs, tmp_path):
    run = Run(name, results=stored_runs)
    folder = evaluate_run(
        str(run.folder),
        KerasStage,
        data=run.config.data,
        evaluation=run.config.evaluation,
        name=None,
        results=tmp_path,
        command="evaluate",
    )
    same_figures(Run(folder), run.predictions, run.metrics)


def test_several_splits_are_named_and_scored_each(flat, stored_runs, tmp_path, caplog):
    write_fer_folder(tmp_path / "other", per_split={"Training": 2, "PublicTest": 4, "PrivateTest": 2}, seed=9)
    caplog.set_level(logging.INFO, "fer_hierarchy")
    folder = evaluate_run(
        str(flat),
        KerasStage,
        data=DataConfig(data=str(tmp_path / "other")),
        evaluation=EvaluationConfig(resamples=100),
        splits=("test", "validation"),
        name="both",
        results=tmp_path,
        command="evaluate",
    )
    record, predictions = Run(folder).metrics, Run(folder).predictions
    assert record["split"] == "validation and test"
    assert {split: own["n"] for split, own in record["splits"].items()} == {"validation": 28, "test": 14}
    right = {split: own["top1"] * own["n"] for split, own in record["splits"].items()}
    assert sum(right.values()) == pytest.approx((predictions["true"] == predictions["predicted"]).sum())
    report = (folder / "report.md").read_text()
    assert "Evaluated on the validation and test splits." in report
    assert "n = 42 validation and test faces" in report
    assert "the choice of validation and test faces" in report
    assert not re.search(r"(?<!and )test faces", report)
    assert "## Split by split" in report
    assert re.search(r"flat model, validation +28 ", caplog.text)


def test_faces_without_official_splits_are_called_so(flat, tmp_path):
    for file in write_fer_folder(tmp_path, per_split={"Training": 4}, seed=9).glob("train/*/*"):
        (tmp_path / "plain" / file.parent.name).mkdir(parents=True, exist_ok=True)
        file.rename(tmp_path / "plain" / file.parent.name / file.name.removeprefix("Training_"))
    settings = {"data": DataConfig(data=str(tmp_path / "plain")), "evaluation": EvaluationConfig(resamples=100)}
    folder = evaluate_run(str(flat), KerasStage, **settings, name="again", results=tmp_path, command="evaluate")
    report = (folder / "report.md").read_text()
    assert "Evaluated on all faces: the data has no splits." in report
    assert "n = 28 faces; 95 %" in report
    assert "| Rows | all 28 |" in report
    assert "test faces" not in report


@pytest.mark.parametrize("name", TRAINED)
def test_an_old_run_is_resumed_with_the_same_figures(name, stored_runs, tmp_path):
    run = Run(shutil.copytree(stored_runs / name, tmp_path / name))
    before, metrics = run.predictions, run.metrics
    resume_run(name, KerasStage, flags={}, results=tmp_path, logs=tmp_path / "logs", command="resume")
    same_figures(Run(run.folder), before, metrics)


def test_an_old_run_that_was_killed_is_finished_with_the_same_figures(stored_runs, tmp_path):
    shutil.copytree(stored_runs / "half", tmp_path / "half")
    folder = resume_run("half", KerasStage, flags={}, results=tmp_path, logs=tmp_path / "logs", command="resume")
    expected = stored_runs / "half-finished"
    table = pd.read_csv(expected / "predictions.csv", dtype={"row": str})
    same_figures(Run(folder), table, json.loads((expected / "metrics.json").read_text()))


def test_stored_runs_are_compared(stored_runs, tmp_path):
    folder = compare_runs(
        [str(stored_runs / name) for name in TRAINED],
        name=None,
        resamples=20,
        seed=0,
        results=tmp_path,
        command="compare",
    )
    record = json.loads((folder / "comparison.json").read_text())
    assert [row["top1"] for row in record["runs"]] == [Run(stored_runs / name).scores["top1"] for name in TRAINED]


def test_an_old_grid_is_reported_again(stored_runs, tmp_path):
    grid = shutil.copytree(stored_runs / "grid", tmp_path / "grid")
    before = pd.read_csv(grid / "table.csv")
    for cell in ("seed0", "seed1"):
        (grid / cell / "report.html").touch()
    resume_grid(grid, KerasStage, logs=tmp_path / "logs")
    pd.testing.assert_frame_equal(pd.read_csv(grid / "table.csv"), before)


def same_figures(run, predictions, metrics):
    """The figures of a run are the given ones; another processor rounds probabilities differently."""
    found, expected = run.predictions.set_index("row"), predictions.set_index("row")
    pd.testing.assert_frame_equal(found.loc[expected.index], expected, check_exact=False, rtol=0, atol=2e-5)
    assert run.metrics["headline"] == metrics["headline"]
    for part in ("answers", "stages"):
        assert {name: scores["confusion"] for name, scores in run.metrics[part].items()} == {
            name: scores["confusion"] for name, scores in metrics[part].items()
        }
    assert run.scores["intervals"] == metrics["answers"][metrics["headline"]]["intervals"]


def test_a_run_without_networks_is_refused_by_name(flat):
    shutil.rmtree(flat / "stages")
    record = json.loads((flat / "metrics.json").read_text())
    for facts, message in (
        (
            {"mode": "evaluation", "trained_on": {"run": "first"}},
            "an evaluation; name the run that it evaluated: f",
        ),
        ({"mode": "ensemble", "members": ["a", "b"]}, "an ensemble, which has no networks; name one of its runs: a, b"),
    ):
        (flat / "metrics.json").write_text(json.dumps({**record, **facts}))
        assert Run(flat).stages == ()
        with pytest.raises(UserError, match=message):
            Run(flat).load_stages(KerasStage)


@pytest.mark.parametrize("name", ["metrics.json", "predictions.csv", "predictions_validation.csv"])
def test_a_missing_file_is_one_line_with_the_command_that_writes_it(name, flat):
    (flat / name).unlink()
    with pytest.raises(UserError, match=rf"{name}.*; go on with: .* --resume {flat}$"):
        read_all(Run(flat))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.json", "{", "missing or damaged"),
        ("metrics.json", "[]", "expected a JSON object"),
        ("metrics.json", '{"format": 1}', "it has no 'mode'"),
        ("predictions.csv", "", "missing or damaged"),
        ("predictions.csv", "row,true\na,happy\n", "column 'predicted' is missing"),
        ("splits.csv", "row,emotion\na,happy\n", "needs the columns row, emotion, split, source"),
        ("stages/flat/history.csv", "loss\n1\n", "not readable as a table of numbers"),
        ("stages/flat/history.csv", "epoch,loss\n1,high\n", "then --resume trains this stage again"),
        ("stages/flat/features.csv", "row,x\na,1\n", "not readable as a table of row, emotion, x, y"),
    ],
)
def test_damaged_files_are_one_clear_line(name, text, message, flat):
    (flat / name).write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_all(Run(flat))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["seed", "answers", "stages"])
def test_metrics_of_another_kind_are_one_clear_line(key, flat):
    path = flat / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: None}))
    with pytest.raises(UserError, match=f"its '{key}' is None"):
        read_all(Run(flat))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("row", "test/happy/PrivateTest_3001.png", "row '.*' stands there twice"),
        ("predicted", "bored", "predicted 'bored' is none of angry"),
        ("route", "sideways", "route 'sideways' is none of positive, negative"),
        ("p_happy", "high", "column 'p_happy' holds something other than numbers"),
        ("gate_positive", "high", "column 'gate_positive' holds something other than numbers"),
    ],
)
def test_damaged_predictions_are_one_clear_line(column, value, message, flat):
    table = pd.read_csv(flat / "predictions.csv", dtype=str)
    table.loc[0, column] = table.loc[1, "row"] if column == "row" else value
    table.to_csv(flat / "predictions.csv", index=False)
    with pytest.raises(UserError, match=message):
        read_all(Run(flat))


def read_all(run):
    return run.metrics, run.predictions, run.validation_predictions, run.splits, run.history, run.features


def test_pictures_come_in_the_order_of_their_ids(flat):
    run = Run(flat)
    faces = read_faces(run.config)
    ids = faces.split("test")["id"].tolist()[::-3]
    np.testing.assert_array_equal(run.pictures(ids), faces.pixels_of(ids))
    assert run.pictures(["nobody"]) is None


def test_changed_or_missing_faces_give_no_pictures_and_no_error(flat, stored_runs, tmp_path):
    faces = shutil.copytree(stored_runs.parent / "faces", tmp_path / "faces")
    config = flat / "config.json"
    config.write_text(config.read_text().replace(str(stored_runs.parent / "faces"), str(faces)))
    run = Run(flat)
    row = read_faces(run.config).split("test").iloc[0]
    assert run.pictures([row["id"]]) is not None
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(row["path"])
    assert run.pictures([row["id"]]) is None
    with pytest.raises(UserError, match="the data has changed since flat was started"):
        check_same_faces(run.folder, read_faces(run.config))
    shutil.rmtree(faces)
    assert run.pictures([row["id"]]) is None


def test_faces_that_a_network_made_are_no_real_train_faces(flat):
    before = Run(flat).real_train_counts
    assert before == Run(flat).train_counts
    config = json.loads((flat / "config.json").read_text())
    config["data"]["generated"] = "generated"
    (flat / "config.json").write_text(json.dumps(config))
    splits = pd.read_csv(flat / "splits.csv", dtype=str, keep_default_na=False)
    first = splits.index[splits["split"] == "train"][0]
    splits.loc[first, "source"] = "generated"
    splits.to_csv(flat / "splits.csv", index=False)
    emotion = splits["emotion"][first]
    assert Run(flat).real_train_counts == before | {emotion: before[emotion] - 1}
