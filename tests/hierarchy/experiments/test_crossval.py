"""Cross-validation: how it is planned, that folds cover every face once, how it goes on, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.cli import main
from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments import grid_training
from fer_hierarchy.hierarchy.experiments.crossval import are_crossvals, plan, refuse_changes
from fer_hierarchy.hierarchy.experiments.grid import find_grid, read_grid
from fer_hierarchy.hierarchy.training import pipeline
from tests.conftest import QUICK, draw_face, run_program
from tests.hierarchy.experiments.test_grid import Centroids

FOLDERS = {"anger": 0, "happy": 3, "sadness": 4, "surprise": 5}
PEOPLE = 12
SMALL = {"image_size": "16", "resamples": "100", "epochs": "1", "mode": "flat", "name": None, "folds": "3"}


def write_ck48(root: Path, *, people: int = PEOPLE, frames: int = 2) -> Path:
    """CK+48's layout: every person shows every emotion in some frames."""
    rng = np.random.default_rng(0)
    for folder, emotion in FOLDERS.items():
        (root / folder).mkdir(parents=True)
        for person in range(people):
            for frame in range(frames):
                face = draw_face(emotion, rng)
                Image.fromarray(face).save(root / folder / f"S{person:03}_{emotion:03}_{frame:08}.png")
    return root


@pytest.fixture(scope="session")
def ck48(tmp_path_factory):
    return write_ck48(tmp_path_factory.mktemp("ck") / "ck48")


def planned(*, repeats=1, start=None, check=lambda config: config, **flags):
    settings = {name: value for name, value in {**SMALL, **flags}.items() if value != "open"}
    return plan(
        start or RunConfig(), settings, repeats=repeats, check=check, command="python tf_model.py --mode crossval"
    )


def _quick(patch):
    """Short reports of the runs, where most of the time would go."""
    patch.setattr(pipeline, "write_run_report", lambda folder, **_: (folder / "report.html").write_text("a report"))


def _train(root, data, *, name="cv", repeats=1, **flags):
    made = planned(repeats=repeats, **{"data": str(data), **flags})
    places = {"results": root / "results", "logs": root / "logs"}
    return grid_training.train_grid(made, Centroids, name=name, **places)


@pytest.fixture
def train(tmp_path, ck48, monkeypatch):
    """Trains a cross-validation of stages that cost nothing; gives its folder."""
    _quick(monkeypatch)
    return lambda data=ck48, **flags: _train(tmp_path, data, **flags)


@pytest.fixture(scope="session")
def _finished(tmp_path_factory, ck48):
    with pytest.MonkeyPatch.context() as patch:
        _quick(patch)
        return _train(tmp_path_factory.mktemp("finished"), ck48)


@pytest.fixture
def finished(_finished, tmp_path, monkeypatch):
    """A copy of a finished cross-validation of three folds; gives its folder."""
    _quick(monkeypatch)
    return shutil.copytree(_finished, tmp_path / "results" / "cv")


def resume(folder):
    return grid_training.resume_grid(folder, Centroids, logs=folder.parent.parent / "logs")


def _json(path):
    return json.loads(path.read_text())


def _edit(folder, change):
    path = folder / "folds.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table).to_csv(path, index=False)


def test_every_fold_of_every_repeat_is_a_run_with_the_next_seed():
    made = planned(repeats="2", seed="7")
    assert [cell.text for cell in made.cells][2:4] == ["seed=7 fold=3", "seed=8 fold=1"]
    assert [(cell.config.seed, cell.config.data.fold) for cell in made.cells] == [
        (s, f) for s in (7, 8) for f in (1, 2, 3)
    ]
    assert {cell.config.data.folds for cell in made.cells} == {3}
    assert made.kind == "crossval"


def test_folds_are_five_by_default_and_those_of_a_file_otherwise():
    assert len(planned(folds="open").cells) == 5
    start = RunConfig.from_dict({"mode": "flat", "seed": 3, "data": {"folds": 4, "fold": 2}})
    assert [cell.text for cell in planned(folds="open", start=start).cells][::3] == ["seed=3 fold=1", "seed=3 fold=4"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"folds": "1"}, "--folds: expected at least 2"),
        ({"folds": "many"}, "--folds: expected a whole number"),
        ({"repeats": "0"}, "--repeats: expected a whole number from 1 to 100, got '0'"),
        ({"repeats": "1.5"}, "--repeats: expected a whole number"),
        ({"folds": "100", "repeats": "11"}, "100 folds x 11 repeats are 1,100 runs; at most 1,000"),
        ({"seed": "x"}, "--seed: expected a whole number"),
        ({"epochs": "valence=2"}, "stage 'valence' is not part of this run"),
    ],
)
def test_what_cannot_be_is_refused_before_any_data_is_read(flags, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}") as raised:
        planned(**flags)
    assert "\n" not in str(raised.value)


def test_every_face_is_a_test_face_once_in_each_repeat_and_no_person_is_divided(train, caught_logs):
    folder = train(repeats="2")
    folds = pd.read_csv(folder / "folds.csv", dtype={"row": str})
    faces = len(FOLDERS) * PEOPLE * 2
    assert folds.groupby("repeat")["row"].agg(["size", "nunique"]).to_numpy().tolist() == [[faces, faces]] * 2
    assert (folds.groupby(["repeat", "subject"])["fold"].agg(set).str.len() == 1).all()
    first, second = (folds[folds["repeat"] == number].set_index("row")["fold"] for number in (1, 2))
    assert (first != second.loc[first.index]).any(), "a repeat has folds of its own"
    for cell in read_grid(folder).cells:
        run = folder / cell.name
        repeat, fold = cell.config.seed + 1, cell.config.data.fold
        own = folds.loc[(folds["repeat"] == repeat) & (folds["fold"] == fold), "row"]
        assert set(pd.read_csv(run / "predictions.csv")["row"]) == set(own)
        splits = pd.read_csv(run / "splits.csv")
        assert set(splits.loc[splits["split"] == "test", "row"]) == set(own)
        assert (splits.groupby("subject")["split"].agg(set).str.len() == 1).all()
        assert (pd.crosstab(splits["emotion"], splits["split"]) > 0).all(axis=None)
    assert "cross-validation cv, 3 folds x 2 repeats = 6 runs" in caught_logs.text
    record = _json(folder / "crossval.json")
    assert [row["n"] for row in record["rows"]] == folds.groupby(["repeat", "fold"]).size().tolist()
    assert record["pooled"]["n"] == 2 * faces
    for name in ("report.md", "report.html", "table.csv", "grid.json"):
        assert (folder / name).stat().st_size > 0


def test_the_folders_own_name_tells_data_mode_model_and_folds(train, monkeypatch):
    monkeypatch.setattr(grid_training, "_train_cells", lambda folder, *rest, **more: folder)
    assert train(name=None, folds="2", repeats="2").name == "ck48-flat-compact_resnet-2foldx2-seed0"


def test_a_fold_is_an_ordinary_run(finished, tmp_path, ck48):
    """The same settings by themselves give the same test faces and the same predictions."""
    config = planned(data=str(ck48)).cells[1].config
    alone = pipeline.train_run(config, Centroids, results=tmp_path / "alone", logs=tmp_path / "logs", command="")
    of_fold = pd.read_csv(finished / "seed0-fold2" / "predictions.csv")
    pd.testing.assert_frame_equal(pd.read_csv(alone / "predictions.csv"), of_fold)


def test_an_interrupted_cross_validation_goes_on_where_it_was(train, tmp_path, monkeypatch, caught_logs):
    fit, trained = Centroids.fit, []

    def stopping(self, train, validation, config, **rest):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(config)
        return fit(self, train, validation, config, **rest)

    monkeypatch.setattr(Centroids, "fit", stopping)
    with pytest.raises(KeyboardInterrupt, match=r"tf_model.py --mode crossval --logs \S+ --resume \S+cv$"):
        train()
    monkeypatch.setattr(Centroids, "fit", fit)
    folder = tmp_path / "results" / "cv"
    before = (folder / "seed0-fold1" / "stages" / "flat" / "network.npy").stat().st_mtime_ns
    assert resume(folder) == folder
    assert (folder / "seed0-fold1" / "stages" / "flat" / "network.npy").stat().st_mtime_ns == before
    assert "run 1 of 3: seed=0 fold=1, finished already" in caught_logs.text
    assert len(_json(folder / "crossval.json")["rows"]) == 3


def test_what_a_kill_left_is_finished_or_begun_again(finished):
    before = _json(finished / "crossval.json")
    (finished / "seed0-fold1" / "metrics.json").unlink()  # killed while it was evaluated
    (finished / "seed0-fold2" / "config.json").unlink()  # killed before anything could be resumed
    (finished / "seed0-fold2" / "metrics.json").unlink()
    shutil.rmtree(finished / "seed0-fold3")
    (finished / "crossval.json").unlink()
    resume(finished)
    assert _json(finished / "crossval.json")["pooled"] == before["pooled"]


def test_a_fold_that_fails_is_reported_and_tried_again(train, tmp_path, monkeypatch):
    fit, calls = Centroids.fit, []

    def failing(self, train, validation, config, **rest):
        calls.append(config)
        if len(calls) == 2:
            raise UserError("stage flat: the loss became nan in epoch 1")
        return fit(self, train, validation, config, **rest)

    monkeypatch.setattr(Centroids, "fit", failing)
    with pytest.raises(UserError, match="1 of 3 runs failed: seed0-fold2"):
        train()
    folder = tmp_path / "results" / "cv"
    assert "seed0-fold2: stage flat: the loss became nan" in (folder / "report.md").read_text()
    resume(folder)
    assert "failed" not in (folder / "report.md").read_text()


def test_a_person_moved_into_a_second_fold_is_named(finished):
    _edit(finished, lambda table: table.assign(fold=table["fold"].where(table.index > 0, "2")))
    subject = pd.read_csv(finished / "folds.csv")["subject"][0]
    with pytest.raises(UserError, match=f"subject '{subject}' stands in folds 1 and 2 of repeat 1") as raised:
        resume(finished)
    assert "\n" not in str(raised.value)


def test_folds_by_sample_divide_people_and_the_report_counts_them(train):
    folder = train(split_by="sample")
    folds = pd.read_csv(folder / "folds.csv")
    assert (folds.groupby("subject")["fold"].agg(set).str.len() > 1).any()
    resume(folder)
    record = _json(folder / "crossval.json")
    shared = 0
    for row in record["rows"]:
        splits = pd.read_csv(folder / row["run"] / "splits.csv")
        known = set(splits.loc[splits["split"] == "train", "subject"])
        shared += splits.loc[splits["split"] == "test", "subject"].isin(known).sum()
    assert sum(row["shared"] for row in record["rows"]) == shared > 0
    assert f"People stand on both sides: {shared} of {len(folds)} test faces" in (folder / "report.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.assign(fold=table["fold"].map({"1": "2", "2": "1", "3": "3"})),
            "row '.*' of repeat 1 differs",
        ),
        (lambda table: table.iloc[1:], "row '.*' of repeat 1 differs"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "row '.*' of repeat 1 differs"),
        (lambda table: table.assign(fold="one"), "folds.csv is missing or damaged"),
        (lambda table: table.drop(columns="subject"), "it needs the columns row, subject, repeat, fold"),
    ],
)
def test_edited_folds_are_refused(finished, change, message):
    _edit(finished, change)
    with pytest.raises(UserError, match=message) as raised:
        resume(finished)
    assert "\n" not in str(raised.value)


def test_other_data_is_not_mixed_in(train, tmp_path):
    data = write_ck48(tmp_path / "data")
    folder = train(data=data)
    next((data / "happy").iterdir()).unlink()
    with pytest.raises(UserError, match="the data has changed since cross-validation cv was started"):
        resume(folder)


def test_predictions_of_other_faces_are_not_pooled(finished):
    path = finished / "seed0-fold1" / "predictions.csv"
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)
    with pytest.raises(UserError, match="evaluated on other faces than those of its fold"):
        resume(finished)


def test_folds_that_cannot_be_made_end_it_before_it_starts(train, tmp_path):
    with pytest.raises(UserError, match=f"has {PEOPLE} subjects, too few for 20 folds; use --folds {PEOPLE}"):
        train(folds="20")
    assert list((tmp_path / "results").glob("*")) == []


def test_a_quick_look_tests_each_face_at_most_once(train):
    folder = train(limit="10")
    folds = pd.read_csv(folder / "folds.csv")
    assert folds["row"].is_unique
    assert folds.groupby("fold").size().tolist() == [10, 10, 10]
    assert "--limit kept at most 10 rows" in (folder / "report.md").read_text()


def test_resuming_keeps_the_settings(finished):
    refuse_changes(finished, {"folds": "3", "seed": "0", "mode": "flat"}, "1")
    for flags, repeats, message in (
        ({"folds": "4"}, None, "data.folds: 3 -> 4"),
        ({"seed": "5"}, None, "seed: 0 -> 5"),
        ({}, "2", "repeats: 1 -> 2"),
        ({"epochs": "9"}, None, "stage.epochs: 1 -> 9"),
    ):
        with pytest.raises(UserError, match=f"--resume cv keeps its own settings; leave out what differs: {message}"):
            refuse_changes(finished, flags, repeats)


def test_a_grid_is_no_cross_validation(finished):
    with pytest.raises(UserError, match="was made by --mode crossval; use that to go on"):
        find_grid(str(finished), finished.parent)
    assert are_crossvals(["cv", str(finished)], finished.parent)
    with pytest.raises(UserError, match="cv is a cross-validation and other is none"):
        are_crossvals(["cv", "other"], finished.parent)


def test_the_command_line_refuses_what_makes_no_cross_validation(tmp_path, capsys):
    def refused(*words):
        assert main(["--mode", "crossval", "--results", str(tmp_path), *words]) == 2
        return capsys.readouterr().err

    assert "--fold does not belong to --mode crossval" in refused("--fold", "1")
    assert "--test-fraction does not belong to --mode crossval" in refused("--test-fraction", "0.2")
    assert "no model 'foo'" in refused("--model", "foo")
    assert "--train: expected one of hierarchical, flat" in refused("--train", "grid")
    assert "no crossval 'nothing' here" in refused("--resume", "nothing")
    assert "--config does not go with --resume" in refused("--resume", "nothing", "--config", "x")
    assert "--data: /no/such does not exist" in refused("--data", "/no/such")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_program_cross_validates_and_goes_on(tmp_path, ck48):
    results = tmp_path / "results"
    at = ("--results", results, "--logs", tmp_path / "logs")
    small = (*QUICK, "--epochs", "1")
    mode = ("--mode", "crossval")
    made, again, other = run_program(
        (*mode, "--folds", "2", "--train", "hierarchical", "--data", ck48, *small, "--name", "two", *at),
        (*mode, "--resume", "two", *at),
        (*mode, "--resume", "two", "--folds", "3", *at),
    )
    assert made[0] == 0, made[1]
    assert made[1].rstrip().endswith(f"report: {results / 'two' / 'report.html'}")
    record = _json(results / "two" / "crossval.json")
    gates = [
        _json(results / "two" / row["run"] / "metrics.json")["stages"]["valence"]["top1"] for row in record["rows"]
    ]
    assert [row["gate_top1"] for row in record["rows"]] == gates
    assert again[0] == 0, again[1]
    assert again[1].count("finished already") == 2
    assert other[0] == 2
    assert "data.folds: 2 -> 3" in other[1]
