"""`--trunk shared`: one network for all stages, from the training to everything that a run is used for afterwards."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.classifiers.stage import Stage, predict_stages
from fer_hierarchy.hierarchy.classifiers.trunk import head_stages, level_prior, trunk_stage
from fer_hierarchy.hierarchy.config import RunConfig, StageConfig, apply_flags
from fer_hierarchy.hierarchy.data.faces import StageFaces, read_faces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES, Taxonomy
from fer_hierarchy.hierarchy.training import callbacks
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.hierarchy.training.pipeline import settle_before_data
from fer_hierarchy.hierarchy.training.stages import train_stages
from fer_hierarchy.models.heads import with_composed_logits
from tests.conftest import QUICK, draw_face, kill_when, run_program, write_fer_folder

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SEVEN = TAXONOMIES["valence"].exclude(["contempt"])
APART = TAXONOMIES["valence-neutral-apart"].exclude(["contempt"])
MODEL = "compact_resnet:stem_width=4:widths=8:blocks=1:strides=2:squeeze_from=none"
STAGES = ("valence", "positive", "negative")


def _json(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, fer_folder: Path) -> Path:
    """A results folder with a shared and a flat run, and what is done with the shared one; outcomes.json tells."""
    results = tmp_path_factory.mktemp("results")
    other = write_fer_folder(results / "other-data", per_split={"Training": 3, "PrivateTest": 3}, seed=9)
    at = ("--results", results, "--logs", results / "logs")
    data = ("--data", fer_folder, *QUICK, *at)
    shared = ("--mode", "hierarchical", "--trunk", "shared")
    commands = {
        "shared": (*shared, *data, "--epochs", "3", "--name", "shared", "--balance", "oversample"),
        "flat": ("--mode", "flat", *data, "--epochs", "1", "--name", "flat"),
        "named": (*shared, *data, "--epochs", "1", "--weights", "flat/flat", "--freeze", "1"),
        "pair": ("--mode", "compare", "shared", "flat", "--name", "pair", "--results", results),
        "elsewhere": ("--mode", "evaluate", "shared", "--data", other, "--name", "elsewhere", "--results", results),
        "looks": ("--mode", "explain", "shared", "--limit", "14", "--name", "looks", "--results", results),
        "again": ("--mode", "hierarchical", "--resume", "shared", *at),
        "no-hierarchy": ("--mode", "flat", "--trunk", "shared", *data),
        "one-stage": (*shared, *data, "--learning-rate", "valence=0.1"),
        "both": ("--mode", "hierarchical", "--trunk", "both", *data),
        "search": ("--mode", "tune", "--config", results / "shared" / "config.json", "--stage", "flat", *at[:2]),
        "folds": ("--mode", "crossval", "--folds", "2", "--trunk", "shared", *data),
    }
    outcomes = dict(zip(commands, run_program(*commands.values()), strict=True))
    (results / "outcomes.json").write_text(json.dumps(outcomes))
    return results


@pytest.fixture(scope="module")
def outcomes(place: Path) -> dict[str, tuple[int, str]]:
    return _json(place / "outcomes.json")


@pytest.mark.parametrize("step", ["shared", "flat", "named", "pair", "elsewhere", "looks", "again"])
def test_every_step_ends_well_and_names_its_report(step: str, outcomes: dict) -> None:
    code, text = outcomes[step]
    assert code == 0, text
    assert text.rstrip().splitlines()[-1].endswith("report.html"), text


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("no-hierarchy", "a flat run is one network; leave it at separate"),
        ("folds", "a flat run is one network; leave it at separate"),
        ("one-stage", "give --learning-rate for all stages instead of stage valence alone"),
        ("both", "--trunk: expected one of separate, shared, got 'both'"),
        ("search", "its stages share a trunk"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(step: str, words: str, outcomes: dict) -> None:
    code, text = outcomes[step]
    assert code == 2
    assert words in text
    assert len(text.strip().splitlines()) == 1


def test_there_is_one_network_and_a_record_for_each_stage(place: Path) -> None:
    stages = place / "shared" / "stages"
    assert sorted(path.name for path in stages.iterdir()) == ["negative", "positive", "trunk", "valence"]
    assert [path.parent.name for path in (place / "shared").rglob("*.keras")] == ["trunk"]
    assert {path.name for path in (stages / "trunk").iterdir()} == {"model.keras", "history.csv", "stage.json"}
    for name in STAGES:
        assert [path.name for path in (stages / name).iterdir()] == ["stage.json"]
    assert len(pd.read_csv(stages / "trunk" / "history.csv")) == 3
    (named,) = place.glob("fer2013-hierarchical-shared-compact_resnet-*-seed0")  # the name of a run tells it
    assert named.is_dir()


def test_predictions_sum_to_one_and_compose_softly(place: Path) -> None:
    table = pd.read_csv(place / "shared" / "predictions.csv")
    answer = table[[f"p_{e}" for e in EMOTIONS]].to_numpy()
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-4)
    for column, emotion in enumerate(EMOTIONS):
        product = table[f"gate_{SEVEN.group_of(emotion)}"] * table[f"given_{emotion}"]
        np.testing.assert_allclose(answer[:, column], product, atol=1e-5)
    assert (table["true"] == table["predicted"]).mean() > 0.5, "it learns"


def test_the_cost_is_that_of_one_network(place: Path) -> None:
    shared, flat = (_json(place / run / "metrics.json") for run in ("shared", "flat"))
    one = next(iter(shared["training"].values()))
    assert set(shared["training"]) == set(STAGES)
    for name in ("parameters", "multiply_adds"):
        assert shared["cost"][name] == one[name]
        assert 1 < shared["cost"][name] / flat["cost"][name] < 1.01, "two more outputs than a flat network"
    assert shared["cost"]["train_cpu_seconds"] == one["cpu_seconds"]


def test_all_faces_are_balanced_by_emotion_and_the_prior_is_undone(place: Path) -> None:
    """All emotions are alike in number here, so for a specialist there is nothing to undo."""
    training = _json(place / "shared" / "metrics.json")["training"]
    assert {stage["rows"] for stage in training.values()} == {112}
    assert {stage["balance"] for stage in training.values()} == {"oversample"}
    gate = _json(place / "shared" / "stages" / "valence" / "stage.json")
    assert gate["log_prior_shift"] is None, "a group has as large a share as it has emotions, and it has that already"


def test_the_history_tells_the_composed_answer_and_the_gate(place: Path) -> None:
    history = pd.read_csv(place / "shared" / "stages" / "trunk" / "history.csv")
    assert (history["val_gate_accuracy"] >= history["val_accuracy"]).all()
    best = _json(place / "shared" / "stages" / "trunk" / "stage.json")["record"]["best_epoch"]
    assert best == 1 + history["val_macro_f1"].argmax()


def test_the_report_says_that_the_stages_share_a_network(place: Path) -> None:
    text = (place / "shared" / "report.md").read_text()
    assert "heads of one network" in text
    assert len(re.findall(r"^\| (?:one network of all stages|\*\*whole run\*\*|whole run) ", text, re.MULTILINE)) == 2
    assert "heads of one network" not in (place / "flat" / "report.md").read_text()
    assert "shared trunk" in (place / "pair" / "report.md").read_text()


def test_maps_are_of_the_stage_that_answers(place: Path) -> None:
    maps = pd.read_csv(place / "looks" / "maps.csv")
    said = pd.read_csv(place / "shared" / "predictions.csv").set_index("row")
    assert set(maps["stage"]) <= set(STAGES)
    gate = maps[maps["stage"] == "valence"]
    assert (gate["says"] == said.loc[gate["row"], "route"].to_numpy()).all()
    for _, one in maps[maps["stage"] != "valence"].iterrows():
        assert one["says"] == one["answer"]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(place: Path, fer_folder: Path) -> None:
    at = ("--results", str(place), "--logs", str(place / "logs"))
    start = ("--mode", "hierarchical", "--trunk", "shared", "--data", str(fer_folder), *QUICK, "--epochs", "3")
    trunk = place / "killed" / "stages" / "trunk"
    kill_when((*start, "--balance", "oversample", "--name", "killed", *at), trunk / "checkpoint.npz")
    assert not (trunk / "stage.json").exists(), "killed too late to prove anything"
    ((code, text),) = run_program(("--mode", "hierarchical", "--resume", "killed", *at))
    assert code == 0, text
    folders = (place / run / "stages" / "trunk" for run in ("shared", "killed"))
    left, right = (KerasStage.load(folder).network.get_weights() for folder in folders)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def test_loaded_stages_have_one_network_that_is_asked_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = KerasStage.load_all(place / "shared" / "stages", STAGES)
    assert len({id(stage.network) for stage in stages.values()}) == 1
    asked, outputs = [], KerasStage.outputs
    monkeypatch.setattr(KerasStage, "outputs", lambda self, *faces: asked.append(1) or outputs(self, *faces))
    pixels = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 1)).astype(np.uint8)
    said = predict_stages(stages, pixels, np.array([4, 1, 2]))
    assert len(asked) == 1
    for name, stage in stages.items():
        assert said[name].shape == (3, len(SEVEN.stage_classes(name)))
        np.testing.assert_allclose(said[name], stage.predict_proba(pixels, np.array([4, 1, 2])), rtol=1e-5)
        alone = KerasStage.load(place / "shared" / "stages" / name)
        np.testing.assert_allclose(said[name], alone.predict_proba(pixels, np.array([4, 1, 2])), rtol=1e-5)


class Counted(Stage):
    """Learns nothing, but notes that it was asked to."""

    framework, checkpoint, can_share_trunk = "keras", "checkpoint.npz", True
    trained: ClassVar[list] = []

    @classmethod
    def prepare(cls, config):
        pass

    @classmethod
    def native_size(cls, config):
        return 16

    @classmethod
    def check(cls, config, shape):
        pass

    @classmethod
    def planned_work(cls, config, shape, num_classes, labels):
        return 1.0

    @classmethod
    def blank_prediction(cls, stages, shape):
        return lambda: None

    def fit(self, train, validation, config, *, folder, **how):
        Counted.trained.append(self.name)
        (folder / "network.txt").write_text(str(len(self.classes)))
        (folder / self.checkpoint).write_text("")
        self.network, self.record = self.load_network(folder), {"levels_prior": False}
        return self

    def outputs(self, pixels, rows):
        return np.zeros((len(rows), len(self.network)))

    def features(self, pixels, rows):
        return np.zeros((len(rows), 1))

    with_mirror_image = core = None

    @classmethod
    def load_network(cls, folder):
        return ["output"] * int((folder / "network.txt").read_text())


def test_only_what_is_gone_is_made_again(fer_folder: Path, tmp_path: Path) -> None:
    """What hangs on a trunk goes with it; what one stage adds to it does not."""
    data = {"data": str(fer_folder), "image_size": "16", "epochs": "1"}
    config = apply_flags(RunConfig(), {"trunk": "shared", **data})
    seen, home = read_faces(config), tmp_path / "stages"

    def trained() -> list[str]:
        Counted.trained.clear()
        stages = train_stages(tmp_path, config, Counted, seen, tmp_path / "logs")
        assert list(stages) == list(STAGES)
        assert len({id(stage.network) for stage in stages.values()}) == 1
        assert not (home / "trunk" / "checkpoint.npz").exists()
        return Counted.trained

    assert trained() == ["trunk"]
    assert trained() == []
    shutil.rmtree(home / "positive")
    assert trained() == []
    assert _json(home / "positive" / "stage.json")["columns"] == [2, 5]
    before = (home / "negative" / "stage.json").stat().st_mtime_ns
    shutil.rmtree(home / "trunk")
    assert trained() == ["trunk"]
    assert (home / "negative" / "stage.json").stat().st_mtime_ns > before


def test_a_trunk_that_is_missing_is_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "shared" / "stages", tmp_path / "stages")
    (tmp_path / "stages" / "trunk" / "model.keras").unlink()
    with pytest.raises(UserError, match=r"trunk/model\.keras is missing; delete the folder .*trunk, then --resume"):
        KerasStage.load_all(tmp_path / "stages", STAGES)


def faces(count: int, seed: int) -> StageFaces:
    """`count` faces of each of seven emotions, 16 px."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(7), count)
    pixels = np.stack([draw_face(label, rng)[::3, ::3, None] for label in labels])
    targets = np.eye(7, dtype=np.float32)[labels]
    real = np.zeros(len(labels), bool)
    return StageFaces(pixels=pixels, rows=np.arange(len(labels)), labels=labels, targets=targets, generated=real)


TRAIN, VALIDATION = faces(6, 1), faces(3, 2)


def fit(folder: Path, taxonomy: Taxonomy = SEVEN, **settings) -> KerasStage:
    config = StageConfig(**{"model": MODEL, "batch_size": 14, "epochs": 2, "warmup": 0.0, **settings})
    folder.mkdir(exist_ok=True)
    stage = trunk_stage(KerasStage, taxonomy)
    places = {"folder": folder, "logs": folder / "logs"}
    return stage.fit(TRAIN, VALIDATION, config, **places, seed=3, progress=Progress(1))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"loss": "island", "freeze": 1}, marks=pytest.mark.slow),
        {"ema": 0.2, "cutmix": 0.5, "mixup": 0.3},
    ],
)
def test_an_interrupted_training_ends_like_an_uninterrupted_one(settings, tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    fit(tmp_path / "whole", **settings)
    keras.utils.set_random_seed(9)
    record = callbacks.EpochEnd.on_epoch_end

    def stopping(self, epoch, logs=None):
        record(self, epoch, logs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.EpochEnd, "on_epoch_end", stopping)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "parts", **settings)
    fit(tmp_path / "parts", **settings)
    left, right = (callbacks.read_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    for a, b in zip([*left.model, *left.optimizer], [*right.model, *right.optimizer], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("taxonomy", [SEVEN, APART], ids=lambda taxonomy: taxonomy.name)
def test_the_answer_that_is_composed_of_the_stages_is_the_one_that_was_trained(taxonomy, tmp_path):
    trunk = fit(tmp_path / "s", taxonomy, epochs=1)
    stages = head_stages(trunk, taxonomy)
    said = predict_stages(stages, VALIDATION.pixels, VALIDATION.rows)
    gate = said.pop(taxonomy.gate)
    answer = HierarchicalClassifier(taxonomy).compose(gate, said)
    trained = with_composed_logits(trunk.network, trunk.groups).predict(VALIDATION.pixels.astype(float), verbose=0)
    np.testing.assert_allclose(answer, np.exp(trained), rtol=1e-4)
    assert list(stages) == list(taxonomy.stages("hierarchical"))
    certain = np.eye(gate.shape[1])[gate.argmax(axis=1)]
    soft, hard = (HierarchicalClassifier(taxonomy).compose(certain, said, way) for way in ("soft", "hard"))
    np.testing.assert_array_equal(soft, hard)


@pytest.mark.parametrize("loss", ["weighted", "focal", "balanced-softmax", "center"])
def test_every_loss_trains_a_trunk(loss, tmp_path):
    trunk = fit(tmp_path / "s", loss=loss, epochs=1)
    assert trunk.network.output_shape == (None, 9)
    stages = head_stages(trunk, SEVEN)
    assert stages["negative"].features(VALIDATION.pixels, VALIDATION.rows).shape == (21, 8)
    assert stages["negative"].logits(VALIDATION.pixels, VALIDATION.rows).shape == (21, 4)


def test_a_rebalanced_trunk_is_corrected_stage_by_stage():
    """Where emotions are all alike in training, the gate expects a group by the number of its emotions."""
    np.testing.assert_allclose(level_prior("valence", SEVEN), [3 / 7, 4 / 7])
    np.testing.assert_allclose(level_prior("negative", SEVEN), [1 / 4] * 4)
    stage = KerasStage(name="valence", classes=("positive", "negative"), record={"levels_prior": True})
    stage.outputs = lambda _, rows: np.zeros((len(rows), 2))
    labels = np.repeat([0, 1], [3, 1])
    view = replace(TRAIN, rows=np.arange(4), labels=labels, generated=np.zeros(4, bool))
    level = level_prior("valence", SEVEN)
    stage.calibrate(view, view, temperature=False, prior_correction=True, level=level)
    np.testing.assert_allclose(stage.calibrated(np.log(level)[None]), [[0.75, 0.25]])


def test_a_group_may_not_take_the_trunks_name():
    groups = {"trunk": ["happy", "neutral"], "other": ["sad", "angry"]}
    config = {"trunk": "shared", "data": {"taxonomy": {"groups": groups}}}
    with pytest.raises(UserError, match="calls its network 'trunk'"):
        RunConfig.from_dict(config)


def test_stages_that_cannot_share_a_trunk_say_so():
    class Alone(KerasStage):
        framework, can_share_trunk = "pytorch", False

    config = apply_flags(RunConfig(), {"trunk": "shared", "dataset": "synthetic"})
    with pytest.raises(UserError, match="pytorch trains a network for each stage; leave it at separate"):
        settle_before_data(config, Alone)
