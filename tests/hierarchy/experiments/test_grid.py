"""Grids: which axes make sense, what cells are called, and how a grid trains, fails, goes on and refuses."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.classifiers.stage import Stage, training_record
from fer_hierarchy.hierarchy.cli import main
from fer_hierarchy.hierarchy.config import RunConfig, StageConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments import grid_training
from fer_hierarchy.hierarchy.experiments.grid import MOST_CELLS, label, parse_axes, plan, read_grid, settings
from fer_hierarchy.hierarchy.experiments.listing import run_table
from fer_hierarchy.hierarchy.experiments.report import compare_runs
from fer_hierarchy.hierarchy.training import pipeline
from fer_hierarchy.hierarchy.training.workers import WorkerConfig, open_workers
from tests.conftest import QUICK, TINY, run_program, write_fer_folder

SMALL = {"image_size": "16", "resamples": "100", "epochs": "1", "mode": "flat", "name": None}


def planned(*axes, flags=SMALL, check=lambda config: config):
    return plan(RunConfig(), flags, parse_axes(axes), check=check, command="python tf_model.py --mode grid")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "at least one --axis"),
        (["model"], "expected NAME=VALUE,VALUE"),
        (["model="], "expected NAME=VALUE,VALUE"),
        (["model=a,,b"], "expected NAME=VALUE,VALUE"),
        (["modl=a,b"], "no setting 'modl'; did you mean model?"),
        (["zzz=a"], "no setting 'zzz'; known: mode,"),
        (["seed=1", "seed=2"], "--axis seed is given twice"),
        (["seed=1,2,1"], "value '1' is given twice"),
        (["name=a,b"], "name cannot be an axis: each cell gets a name of its own"),
        (["data=a,b"], "a grid is about one data set"),
        (["dataset=a,b"], "a grid is about one data set"),
        (["deterministic=on,off"], "within one process"),
        (["framework=keras,pytorch"], "--mode compare"),
        (["resamples=100,200"], "not what is trained"),
    ],
)
def test_axes_that_make_no_sense_are_refused_with_a_reason(texts, message):
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        parse_axes(texts)
    assert "\n" not in str(raised.value)


def test_every_other_setting_can_be_an_axis():
    refused = {"name", "data", "dataset", "deterministic", "framework", "resamples"}
    assert {*parse_axes([f"{name}=x" for name in settings() if name not in refused])} == set(settings()) - refused


def test_the_product_comes_in_order_and_every_cell_is_configured():
    grid = planned("model=shallow_cnn,deep_cnn", "augment=on,off", "learning-rate=0.1,0.01")
    assert [cell.text for cell in grid.cells][:3] == [
        "model=shallow_cnn augment=on learning_rate=0.1",
        "model=shallow_cnn augment=on learning_rate=0.01",
        "model=shallow_cnn augment=off learning_rate=0.1",
    ]
    assert grid.product == "8 cells: model (2) x augment (2) x learning_rate (2)"
    last = grid.cells[-1].config
    assert (last.stage.model, last.stage.augment, last.stage.learning_rate) == ("deep_cnn", False, 0.01)
    assert (last.mode, last.data.image_size, last.stage.epochs) == ("flat", 16, 1)


def test_models_with_settings_of_their_own_and_lists_are_values():
    grid = planned("model=vgg13:batch_norm=on,resnet18", "exclude=none,disgust+contempt", "limit=none,70")
    configs = [cell.config for cell in grid.cells]
    assert [config.stage.model for config in configs[::4]] == ["vgg13:batch_norm=on", "resnet18"]
    assert [config.data.exclude for config in configs[:4:2]] == [(), ("disgust", "contempt")]
    assert [config.data.limit for config in configs[:2]] == [None, 70]
    assert grid.cells[3].name == "vgg13-batch_norm-on-exclude-disgust+contempt-limit70"


def test_names_are_short_different_and_tell_what_a_cell_is():
    grid = planned("model=shallow_cnn,deep_cnn", "augment=on,off", "schedule=constant,plateau", "seed=0,1")
    names = [cell.name for cell in grid.cells]
    assert names[0] == "shallow_cnn-augment-constant-seed0"
    assert names[-1] == "deep_cnn-no-augment-plateau-seed1"
    assert len(set(names)) == 16
    odd = [cell.name for cell in planned("weights=none,imagenet,/a/b/run/flat,/c/d/run/flat").cells]
    assert odd == ["weights-none", "imagenet", "run-flat", "run-flat-2"]
    assert all(re.fullmatch(r"\w[\w.+-]*", name) for name in [*names, *odd])


def test_labels_need_no_explanation():
    labels = [label(*pair) for pair in (("model", "vgg13"), ("augment", "off"), ("seed", "2"), ("balance", "none"))]
    assert labels == ["vgg13", "augment off", "seed 2", "balance none"]
    assert label("learning_rate", "1e-3") == "learning rate 1e-3"


@pytest.mark.parametrize(
    ("axes", "flags", "message"),
    [
        (["augment=on,off"], {"augment": "on"}, "augment is an axis of this grid and a flag as well"),
        (["augment=on,yes"], {}, "cells augment=on and augment=yes have the same settings"),
        (["seed=1,x"], {}, "cell seed=x: --seed: expected a whole number"),
        (["epochs=valence=2"], {}, "its stages are flat"),
        (
            ["loss=ce,weighted", "balance=none,oversample"],
            {},
            "cell loss=weighted, balance=oversample: --loss weighted",
        ),
        ([f"seed={','.join(map(str, range(MOST_CELLS + 1)))}"], {}, "at most 1,000"),
    ],
)
def test_every_cell_is_checked_before_any_is_trained(axes, flags, message):
    with pytest.raises(UserError, match=re.escape(message)):
        planned(*axes, flags={"mode": "flat", **flags})


class Centroids(Stage):
    """A stage that is trained in no time: it predicts by the nearest mean face."""

    framework = "keras"
    checkpoint = "checkpoint.npz"
    interrupt = ""  # model whose training is interrupted

    @classmethod
    def prepare(cls, config: RunConfig) -> None:
        """Nothing to set up."""

    @classmethod
    def native_size(cls, config: StageConfig) -> int:
        return 16

    @classmethod
    def check(cls, config: StageConfig, shape: tuple[int, int, int]) -> None:
        if config.model == "too_large":
            raise UserError(f"model too_large needs more than {shape[0]} pixels")

    @classmethod
    def planned_work(cls, config, shape, num_classes, labels) -> float:
        return 1.0

    @classmethod
    def blank_prediction(cls, stages, shape):
        return lambda: None

    def fit(self, train, validation, config, *, folder, logs, seed, progress):
        if config.model == "hopeless":
            raise UserError("stage flat: the loss became nan in epoch 1; try a lower --learning-rate")
        if config.model == Centroids.interrupt:
            raise KeyboardInterrupt
        faces = train.pixels[train.rows].reshape(len(train.rows), -1)
        self.network = np.stack([faces[train.labels == k].mean(axis=0) for k in range(len(self.classes))])
        np.save(folder / "network.npy", self.network)
        row = {"epoch": 1, "loss": 1.0, "accuracy": 0.5, "val_accuracy": 0.5, "seconds": 0.1, "cpu_seconds": 0.1}
        pd.DataFrame([row]).to_csv(folder / "history.csv", index=False)
        batches = type("Drawn", (), {"rows": train.rows})
        self.record = training_record([row], config, train, batches, best_epoch=1, parameters=9, multiply_adds=9)
        return self

    def outputs(self, pixels, rows):
        faces = pixels[rows].reshape(len(rows), 1, -1).astype(np.float32)
        return -np.abs(faces - self.network).mean(axis=2).astype(np.float32)

    def features(self, pixels, rows):
        return self.outputs(pixels, rows)

    with_mirror_image = core = None

    @classmethod
    def load_network(cls, folder: Path):
        return np.load(folder / "network.npy")


@pytest.fixture
def train(tmp_path, fer_folder, monkeypatch):
    """Trains a grid of stages that cost nothing; gives its folder."""
    monkeypatch.setattr(pipeline, "write_run_report", _short_report)

    def call(*axes, name="grid", workers=None, **flags):
        grid = planned(*axes, flags={**SMALL, "data": str(fer_folder), **flags})
        places = {"results": tmp_path / "results", "logs": tmp_path / "logs"}
        return grid_training.train_grid(grid, Centroids, name=name, workers=workers, **places)

    return call


def _short_report(folder, *, faces):
    (folder / "report.html").write_text("a report")


def resume(folder):
    return grid_training.resume_grid(folder, Centroids, logs=folder.parent.parent / "logs")


def _json(path):
    return json.loads(path.read_text())


def test_a_grid_leaves_ordinary_runs_a_table_and_a_report(drawn, train, caught_logs, tmp_path):
    folder = train("model=plain,other", "seed=0,1")
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        *("plain-seed0", "plain-seed1", "other-seed0", "other-seed1", "figures")
    }
    record = _json(folder / "grid.json")
    assert record["axes"] == {"model": ["plain", "other"], "seed": ["0", "1"]}
    assert record["command"] == "python tf_model.py --mode grid"
    table = pd.read_csv(folder / "table.csv")
    assert table["cell"].tolist() == [cell["name"] for cell in record["cells"]]
    assert table["n"].tolist() == [42] * 4
    for cell in record["cells"]:
        metrics = _json(folder / cell["name"] / "metrics.json")
        assert metrics["run"] == cell["name"]
        assert f"--config {folder / cell['name'] / 'config.json'}" in metrics["command"]
        assert (tmp_path / "logs" / "grid" / cell["name"] / "run.log").is_file()
    out = caught_logs.text
    assert "4 cells: model (2) x seed (2)" in out
    assert "cell 3 of 4: model=other seed=0" in out
    assert "left]" in out
    for name in ("report.html", "report.md", "side_by_side.csv", "comparison.json"):
        assert (folder / name).stat().st_size > 0
    assert "not at hand" not in (folder / "report.md").read_text(), "the faces are shown"
    cells = [str(folder / name) for name in ("plain-seed0", "other-seed0")]
    command = "python tf_model.py --mode compare"
    place = compare_runs(cells, name=None, resamples=100, seed=0, results=folder.parent, command=command)
    assert _json(place / "comparison.json")["test"]["n"] == 42, "cells are named like any run"


def test_the_grids_own_name_tells_data_and_axes(train, monkeypatch):
    monkeypatch.setattr(grid_training, "_train_cells", lambda folder, *rest, **more: folder)
    assert train("model=plain", name=None).name == "fer2013-grid-model"
    assert train("model=plain", name=None).name == "fer2013-grid-model-2"


def test_synthetic_faces_are_named_in_every_name(tmp_path, monkeypatch):
    faces = grid_training.CellFaces("synthetic", "f", frozenset())
    monkeypatch.setattr(grid_training, "_check_cells", lambda grid, _: [faces] * len(grid.cells))
    monkeypatch.setattr(grid_training, "_train_cells", lambda folder, *rest, **more: folder)
    folder = grid_training.train_grid(
        planned("seed=0,1"), Centroids, name="grid", results=tmp_path / "results", logs=tmp_path / "logs"
    )
    assert folder.name == "synthetic-grid"
    assert [cell.name for cell in read_grid(folder).cells] == ["synthetic-seed0", "synthetic-seed1"]


def test_a_cell_that_fails_does_not_end_the_grid(train, tmp_path, caught_logs):
    with pytest.raises(UserError) as raised:
        train("model=hopeless,plain")
    folder = tmp_path / "results" / "grid"
    assert str(raised.value).startswith("1 of 2 cells failed: hopeless; ")
    assert "cell hopeless failed: stage flat: the loss became nan" in caught_logs.text
    cells = _json(folder / "grid.json")["cells"]
    assert ["error" in cell for cell in cells] == [True, False]
    table = pd.read_csv(folder / "table.csv")
    assert "loss became nan" in table["error"][0]
    assert table["top1"].notna().tolist() == [False, True]
    assert "| hopeless | failed |" in (folder / "report.md").read_text()


def test_an_interrupted_grid_goes_on_where_it_was(train, tmp_path, monkeypatch, caught_logs):
    monkeypatch.setattr(Centroids, "interrupt", "other")
    with pytest.raises(KeyboardInterrupt, match=r"tf_model.py --mode grid --logs \S+ --resume \S+grid$"):
        train("model=plain,other,third")
    folder = tmp_path / "results" / "grid"
    assert not (folder / "third").exists()
    before = (folder / "plain" / "stages" / "flat" / "network.npy").stat().st_mtime_ns
    monkeypatch.setattr(Centroids, "interrupt", "")
    assert resume(folder) == folder
    assert (folder / "plain" / "stages" / "flat" / "network.npy").stat().st_mtime_ns == before
    assert "cell 1 of 3: model=plain, finished already" in caught_logs.text
    assert pd.read_csv(folder / "table.csv")["top1"].notna().all()


def test_what_a_kill_left_is_finished_or_begun_again(train, caught_logs):
    folder = train("model=plain,other,third")
    scores = pd.read_csv(folder / "table.csv")["top1"].tolist()
    (folder / "plain" / "metrics.json").unlink()  # killed while it was evaluated
    (folder / "other" / "config.json").unlink()  # killed before anything could be resumed
    (folder / "other" / "metrics.json").unlink()
    shutil.rmtree(folder / "third")
    caught_logs.clear()
    resume(folder)
    assert pd.read_csv(folder / "table.csv")["top1"].tolist() == scores
    assert "finished already" not in caught_logs.text


def test_failed_cells_are_tried_again(train, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="1 of 2 cells failed"):
        train("model=hopeless,plain")
    folder = tmp_path / "results" / "grid"
    fit = Centroids.fit

    def mended(self, train, validation, config, **rest):
        return fit(self, train, validation, replace(config, model="plain"), **rest)

    monkeypatch.setattr(Centroids, "fit", mended)
    resume(folder)
    assert not any("error" in cell for cell in _json(folder / "grid.json")["cells"])
    assert "failed" not in (folder / "report.md").read_text()


def test_bad_models_and_bad_data_end_a_grid_before_it_starts(train, tmp_path):
    with pytest.raises(UserError, match="model too_large needs more than 16 pixels"):
        train("model=plain,too_large")
    with pytest.raises(UserError, match="group 'positive'"):
        train("exclude=none,happy+surprise+neutral", mode="hierarchical")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError):
        train("model=plain", data=str(tmp_path / "empty"))
    assert list((tmp_path / "results").glob("*")) == []


def test_other_data_is_not_mixed_into_a_grid(train, tmp_path):
    data = write_fer_folder(tmp_path / "data", per_split={"Training": 4, "PublicTest": 2, "PrivateTest": 2})
    folder = train("model=plain,other", data=str(data))
    shutil.rmtree(folder / "other")
    next((data / "test" / "happy").iterdir()).unlink()
    with pytest.raises(UserError, match="the data has changed since grid grid was started"):
        resume(folder)


def test_other_test_rows_are_shown_apart(train):
    folder = train("limit=none,35")
    text = (folder / "report.md").read_text()
    assert "a property of the protocol, not of the model" in text
    assert "## Cells, test faces B (limit 35)" in text


@pytest.mark.slow
def test_two_workers_train_the_cells_of_one_process(train, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    axes = ("model=plain,hopeless", "seed=0,1")
    with pytest.raises(UserError, match="2 of 4 cells failed"):
        train(*axes, name="alone")
    with open_workers(WorkerConfig(workers=2)) as pool, pytest.raises(UserError, match="2 of 4 cells failed"):
        train(*axes, name="shared", workers=pool)
    alone, shared = (pd.read_csv(tmp_path / "results" / name / "table.csv") for name in ("alone", "shared"))
    same = [name for name in alone if not re.search("seconds|ms|report|folder", name)]
    pd.testing.assert_frame_equal(alone[same], shared[same])


class Elsewhere:
    """A worker on another machine, where the faces may be others."""

    def __init__(self, change):
        self.change = change

    def results(self, next_task, progress):
        while task := next_task():
            self.change()
            train, cell, _ = task.arguments
            try:
                yield task, task.function(train, cell, "home")
            except UserError as error:
                yield task, error


def test_a_machine_with_other_faces_or_folders_is_refused(train, fer_folder, tmp_path):
    data = tmp_path / "faces"
    shutil.copytree(fer_folder, data)
    face = next((data / "train" / "happy").iterdir())
    with pytest.raises(UserError, match="has other faces than home in "):
        train("seed=0,1", workers=Elsewhere(lambda: face.unlink(missing_ok=True)), data=str(data))
    grid = tmp_path / "results" / "other" / "grid.json"
    with pytest.raises(UserError, match=r"does not see .*other; all machines must see the folder of the results"):
        train("seed=0,1", name="other", workers=Elsewhere(lambda: grid.unlink(missing_ok=True)), data=str(data))


def test_a_damaged_record_is_one_clear_line(train):
    folder = train("model=plain")
    (folder / "grid.json").write_text('{"format": 1, "axes": {}}')
    with pytest.raises(UserError, match=r"grid.json is damaged: KeyError\('cells'\)"):
        read_grid(folder)


class Counted(Centroids):
    """A stage whose training is as much work as the faces that pass it."""

    can_share_trunk = True

    @classmethod
    def planned_work(cls, config, shape, num_classes, labels) -> float:
        return len(labels) * config.epochs


def with_baseline(fer_folder, *, epochs=5, stages=None, **settings):
    """The grid of a hierarchy and its flat baseline."""
    data = replace(RunConfig().data, data=str(fer_folder), taxonomy=settings.pop("taxonomy", "valence"))
    config = RunConfig(data=data, stage=StageConfig(epochs=epochs), stages=stages or {}, **settings)
    return grid_training.plan_baseline(config, Counted, check=lambda own: own, command="tf_model.py --baseline")


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        ({}, 10),  # every face passes the gate and one specialist
        ({"epochs": 7, "stages": {"valence": {"epochs": 3}, "positive": {"epochs": 14}}}, 3 + 10),
        ({"epochs": None}, 2 * pipeline.EPOCHS),
        ({"trunk": "shared"}, 5),
        ({"epochs": 7, "taxonomy": "valence-neutral-apart"}, 13),  # but for neutral ones, which have no specialist
    ],
)
def test_a_baseline_has_the_budget_of_the_hierarchy(fer_folder, settings, epochs):
    own, tree = (cell.config for cell in with_baseline(fer_folder, **settings).cells)
    assert (own.mode, own.trunk, own.stages, own.stage.epochs) == ("flat", "separate", {}, epochs)
    assert tree.stages == settings.get("stages", {})
    assert tree.stage.epochs == settings.get("epochs", 5) or pipeline.EPOCHS
    same = {"mode": tree.mode, "trunk": tree.trunk, "stage": tree.stage, "stages": tree.stages}
    assert replace(own, **same) == tree, "the same faces, seed and settings"


def test_a_baseline_is_for_a_hierarchy(fer_folder):
    with pytest.raises(UserError, match="--baseline trains a flat network beside a hierarchy"):
        with_baseline(fer_folder, mode="flat")


@pytest.fixture
def beside_baseline(fer_folder, tmp_path, monkeypatch):
    """Trains a hierarchy and its baseline at no cost; gives the folder."""
    monkeypatch.setattr(pipeline, "write_run_report", _short_report)
    places = {"results": tmp_path / "results", "logs": tmp_path / "logs"}

    def call(**settings):
        grid = with_baseline(fer_folder, **settings)
        return grid_training.train_grid(grid, Counted, name=None, job=grid_training.BASELINE, **places)

    return call


def test_a_hierarchy_and_its_baseline_have_the_report_of_a_comparison(beside_baseline, caught_logs):
    folder = beside_baseline()
    assert folder.name == "fer2013-hierarchical-against-flat"
    text = (folder / "report.md").read_text()
    assert text.index("hierarchical minus flat is") < text.index("Cost of flat: ") < text.index("## Runs")
    assert any(re.match(r"hierarchical minus flat: .* points of top-1, p", line) for line in caught_logs.messages)
    (folder / "report.html").unlink()
    assert (resume(folder) / "report.html").is_file()


@pytest.mark.parametrize("half", ["flat", "hierarchical"])
def test_an_interrupted_baseline_goes_on(beside_baseline, monkeypatch, capsys, half):
    train = pipeline.train_run

    def interrupted(config, *given, **places):
        if config.mode == half:
            raise KeyboardInterrupt
        return train(config, *given, **places)

    monkeypatch.setattr(pipeline, "train_run", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"--mode hierarchical --baseline .*--resume") as raised:
        beside_baseline()
    monkeypatch.setattr(pipeline, "train_run", train)
    monkeypatch.setattr("fer_hierarchy.hierarchy.training.keras_stage.KerasStage", Counted)
    words = str(raised.value).partition("--mode")[2].split()
    assert main(["--mode", *words, "--trunk", "shared"]) == 2
    assert "leave out what differs: trunk: 'separate' -> 'shared'" in capsys.readouterr().err
    assert main([*words[1:], "--epochs", "5"]) == 0, "its own settings, and the mode that is the default"
    assert "hierarchical minus flat: " in capsys.readouterr().out


def test_a_grid_without_baseline_is_no_comparison_to_go_on_with(train, capsys):
    folder = train("model=plain")
    assert main(["--baseline", "--resume", str(folder)]) == 2
    assert "it has no baseline; go on with --mode grid --resume" in capsys.readouterr().err


@pytest.mark.slow
def test_the_program_trains_a_grid_goes_on_with_it_and_refuses_another(tmp_path, fer_folder):
    results = tmp_path / "results"
    at = ("--results", results, "--logs", tmp_path / "logs")
    axes = ("--axis", f"model={TINY},{TINY.replace('16', '12')}")
    place = QUICK.index("--model")
    quick = QUICK[:place] + QUICK[place + 2 :]
    mode = ("--mode", "grid")
    made, again, other, named = run_program(
        (*mode, *axes, "--data", fer_folder, *quick, "--epochs", "1", "--name", "two", *at),
        (*mode, "--resume", "two", *axes, "--epochs", "1", "--train", "flat", *at),
        (*mode, "--resume", "two", "--epochs", "2", *at),
        (*mode, "--resume", "two", "--axis", "augment=on", *at),
    )
    assert made[0] == 0, made[1]
    assert made[1].rstrip().endswith(f"report: {results / 'two' / 'report.html'}")
    table = pd.read_csv(results / "two" / "table.csv")
    names = [re.sub("[:=]", "-", TINY).replace("16", width) for width in ("16", "12")]
    assert table["cell"].tolist() == names
    assert table["parameters"].nunique() == 2
    assert again[0] == 0, again[1]
    assert again[1].count("finished already") == 2
    assert other[0] == named[0] == 2
    assert "stage.epochs: 1 -> 2" in other[1]
    assert "it was started with --axis model=" in named[1]
    listed = run_table(results)
    assert sorted(listed["run"]) == sorted(f"two/{name}" for name in names), "--mode runs knows the cells"
    assert listed["flags"].str.contains("--image-size 16").all()


def test_the_command_line_refuses_what_makes_no_grid(tmp_path, capsys):
    def refused(*words):
        assert main(["--mode", "grid", "--results", str(tmp_path), *words]) == 2
        return capsys.readouterr().err

    assert "at least one --axis" in refused()
    assert "no model 'foo'" in refused("--axis", "model=foo,compact_resnet")
    assert "mode is an axis" in refused("--axis", "mode=flat,hierarchical", "--train", "flat")
    assert "--train: expected one of hierarchical, flat" in refused("--axis", "seed=0,1", "--train", "grid")
    assert "no grid 'nothing'" in refused("--resume", "nothing")
    assert "--config does not go with --resume" in refused("--resume", "nothing", "--config", "x")
    assert "--data: /no/such does not exist" in refused("--axis", "seed=0,1", "--data", "/no/such")
    assert list(tmp_path.iterdir()) == []
