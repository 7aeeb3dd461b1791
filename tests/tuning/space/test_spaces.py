"""Spaces: what a file may say, what the models take, and what drawn values mean for a training."""

import json
import re
from dataclasses import replace

import pytest

from fer_hierarchy.hierarchy.config import StageConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.tuning.space.default_spaces import default_space
from fer_hierarchy.tuning.space.dimension import Dimension
from fer_hierarchy.tuning.space.spaces import (
    check_models,
    combinations,
    declare,
    describe,
    drawn,
    read_space,
    settings_of,
)
from tests.tuning.space.space_points import accepted, points

PLAIN = StageConfig()
RGBD = StageConfig(model="rgbd_fusion")


def dimension(key, value):
    return Dimension.from_json(key, value, "space")


def space_of(**given):
    return {key.replace("__", "."): dimension(key.replace("__", "."), value) for key, value in given.items()}


def applied(tmp_path, text, config=PLAIN, *, flat=False):
    path = tmp_path / "space.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return read_space(path, default_space(config, stage_is_flat=flat), config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ("[1]", "expected an object of keys and their values, got list"),
        ('{"epochs": 1, "epochs": 2}', "key 'epochs' stands twice"),
        ({"*": 1}, "takes null only"),
        ({"learning_rat": None}, "unknown key 'learning_rat'; did you mean learning_rate?"),
        ({"depth": ["relief", "normals"]}, "depth belongs to an RGB-D model (rgbd_fusion), not compact_resnet"),
        ({"batch_size": []}, "batch_size: no choices"),
        ({"loss": ["ce", "weighted"]}, "rebalances the classes twice; search losses without weighted"),
        ({"schedule": ["cosine", "one-cycle"], "warmup": [1, 2]}, "schedule one-cycle warms up by itself"),
        ({"model": ["resnet18"], "model.dropout": 0.1}, "model and model.dropout cannot both be searched"),
        ({"model": ["resnet18", "rgbd_fusion"]}, "do not both read depth"),
        ({"model": ["resnet18:"]}, "'' is no setting"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        applied(tmp_path, text)
    assert str(raised.value).startswith(("--space ", "--model"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model.depth": ["relief", "normals"]}, "the key of model.depth is depth"),
        ({"mixup": [0.0, 0.2]}, "mixup of depth would blend faces with holes"),
        ({"mixup": {"low": 0, "high": 0.2}}, "mixup of depth would blend faces with holes"),
        ({"model": ["rgbd_fusion:modality=rgb"]}, "have keys: modality, depth"),
    ],
)
def test_depth_has_rules_of_its_own(tmp_path, given, message):
    with pytest.raises(UserError, match=re.escape(message)):
        applied(tmp_path, given, RGBD)
    assert "modality" in applied(tmp_path, {"modality": ["rgb", "depth", "rgbd"]}, RGBD)


def test_a_missing_file_and_a_spec_that_fixes_a_key_are_told(tmp_path):
    with pytest.raises(UserError, match="not readable as JSON"):
        read_space(tmp_path / "none.json", {}, PLAIN)
    with pytest.raises(UserError, match=r"model\.dropout is set by --model compact_resnet:dropout=0\.3 already"):
        applied(tmp_path, {"model.dropout": [0.1, 0.2]}, StageConfig(model="compact_resnet:dropout=0.3"))


def test_a_file_narrows_widens_and_replaces(tmp_path):
    start = default_space(PLAIN, stage_is_flat=False)
    space = applied(tmp_path, {"loss": None, "batch_size": [16, 32], "focal_gamma": {"low": 0, "high": 4}})
    assert set(space) == {*start, "focal_gamma"} - {"loss"}
    assert space["batch_size"].choices == (16, 32)
    assert space["zoom"] == start["zoom"]
    alone = applied(tmp_path, {"learning_rate": [0.01, 0.001], "*": None, "image_size": [32, 48]}, flat=True)
    assert list(alone) == ["learning_rate", "image_size"]
    rebalanced = applied(tmp_path, {"loss": ["ce", "weighted"], "balance": "none"})
    assert all(accepted(settings_of(values, PLAIN)[0]) for values in points(rebalanced))


def test_searching_the_model_or_its_weights_leaves_out_what_fits_only_some(tmp_path):
    models = applied(tmp_path, {"model": ["resnet18", "deep_cnn"]}, flat=True)
    assert "image_size" not in models
    assert not any(key.startswith("model.") for key in models)
    settings, _ = settings_of({"model": "deep_cnn:dense_width=64"}, PLAIN)
    assert settings.model == "deep_cnn:dense_width=64"
    weights = applied(tmp_path, {"weights": ["none", "imagenet"]}, StageConfig(model="resnet18"), flat=True)
    assert [key for key in weights if key.startswith("model.")] == ["model.dropout"]


@pytest.mark.parametrize(
    ("given", "model", "message"),
    [
        ({"model.droput": 0.1}, "compact_resnet", "has no keyword droput; did you mean dropout?"),
        ({"model.dropout": "much"}, "compact_resnet", "dropout is 'much'; it must be a number"),
        ({"model.dropout": {"low": 0, "high": 1}}, "compact_resnet", "takes decimals"),
        ({"model.stem_width": {"low": 8.0, "high": 32.0}}, "compact_resnet", "takes whole numbers"),
        ({"model.stem_width": [8, 16.5]}, "compact_resnet", "stem_width is 16.5; it must be a whole number"),
        ({"model.widths": ["16+x"]}, "compact_resnet", "widths is (16, 'x')"),
        ({"image_size": [16, 48]}, "hierarchical_cnn", "image_size 16 is less than the 36 pixels"),
        ({"weights": ["none", "imagenet"]}, "deep_cnn", "deep_cnn has no ImageNet weights"),
        ({"weights": ["none", "dlib-face"]}, "resnet18", "resnet18 has no dlib-face weights"),
        ({"model": ["resnet18", "resnet81"]}, "deep_cnn", "unknown model 'resnet81'; did you mean 'resnet18'?"),
        ({}, "compact_resnet:droput=0.1", "--model: compact_resnet has no keyword droput"),
    ],
)
def test_what_no_builder_takes_is_refused(given, model, message):
    space = {key: dimension(key, value) for key, value in given.items()}
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        check_models(space, StageConfig(model=model))
    assert "\n" not in str(raised.value)


def test_a_trials_values_become_settings():
    start = StageConfig(model="compact_resnet:stem_width=16", epochs=3)
    values = {
        "learning_rate": 0.00123456789,
        "batch_size": 32,
        "flip": "json:false",
        "rotation": 5,
        "model.widths": "32+64+160",
        "model.squeeze_from": "json:null",
        "model.dropout": 0.30000000000000004,
        "image_size": 32,
        "tuner/epochs": 7,
        "tuner/trial_id": "0003",
    }
    settings, size = settings_of(values, start)
    expected = replace(
        start,
        learning_rate=0.00123457,
        batch_size=32,
        flip=False,
        rotation=5.0,
        model="compact_resnet:stem_width=16:dropout=0.3:squeeze_from=none:widths=32+64+160",
    )
    assert (settings, size) == (expected, 32)
    assert settings_of({}, start) == (start, None)
    with pytest.raises(UserError, match="unknown key 'lr'"):
        settings_of({"lr": 0.1}, start)


def test_tables_show_text_and_numbers():
    space = space_of(flip=[True, False], batch_size=[32, 64], model__squeeze_from=[None, 2], zoom=[0.0, 0.1], mixup=0.2)
    values = {"flip": "json:true", "batch_size": 64, "model.squeeze_from": "json:null", "zoom": 0.1, "tuner/round": 1}
    assert drawn(values, space) == {
        "flip": "on",
        "batch_size": 64,
        "model.squeeze_from": "none",
        "zoom": 0.1,
        "mixup": None,
    }


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("loss", ["ce", "focal"], "ce, focal"),
        ("batch_size", {"low": 32, "high": 128, "step": 32}, "32 to 128, step 32"),
        ("batch_size", {"low": 16, "high": 128, "step": 2, "scale": "log"}, "16 to 128, log, factor 2"),
        ("epochs", {"low": 4, "high": 6}, "4 to 6, whole"),
        ("learning_rate", {"low": 1e-4, "high": 1e-2, "scale": "log"}, "0.0001 to 0.01, log"),
        ("rotation", {"low": 0, "high": 20}, "0 to 20"),
        ("flip", [True, "off"], "on, off"),
        ("model.squeeze_from", [None, 2, 3], "none, 2, 3"),
        ("model.width_factor", [0.5, 1], "0.5, 1"),
    ],
)
def test_values_are_told_in_a_few_words(key, value, words):
    assert describe(dimension(key, value)) == words


def test_every_value_can_be_drawn_and_nothing_else():
    space = space_of(
        model__squeeze_from=[None, 2, 3],
        flip=[True, False],
        zoom={"low": 0, "high": 0.3, "step": 0.1},
        batch_size={"low": 8, "high": 12, "scale": "log"},
        epochs={"low": 2, "high": 6, "step": 2},
        augment=True,
    )
    for hp in declare(space).space:
        shown = {drawn({hp.name: hp.prob_to_value(n / 100)}, space)[hp.name] for n in range(101)}
        assert shown == {drawn({hp.name: value}, space)[hp.name] for value in space[hp.name].values}


def test_values_mean_the_same_to_a_worker_on_another_machine():
    import keras_tuner

    space = default_space(RGBD, stage_is_flat=True) | space_of(model__modules=[None, 2], mixup=0.0, flip=[True, False])
    hyperparameters = declare(space)
    for hyperparameters.values in points(space, count=4):
        sent = keras_tuner.HyperParameters.from_proto(hyperparameters.to_proto())
        assert settings_of(sent.values, RGBD) == settings_of(hyperparameters.values, RGBD)


def test_a_space_knows_how_many_points_it_has():
    counted = space_of(batch_size=[32, 64], epochs={"low": 2, "high": 4}, zoom=0.1)
    assert combinations(counted) == 6
    assert combinations(counted | space_of(learning_rate={"low": 0.1, "high": 0.2})) is None
    assert combinations({}) == 1


def test_a_grid_tries_every_point_once(tmp_path):
    import keras_tuner

    space = space_of(flip=[True, False], zoom={"low": 0, "high": 0.3, "step": 0.1}, epochs={"low": 1, "high": 2})
    objective = keras_tuner.Objective("score", "max")
    oracle = keras_tuner.oracles.GridSearchOracle(objective=objective, hyperparameters=declare(space))
    oracle._set_project_dir(str(tmp_path), "oracle")
    tried = set()
    while (trial := oracle.create_trial("tuner0")).status == "RUNNING":
        tried.add(settings_of(trial.hyperparameters.values, PLAIN)[0])
        oracle.update_trial(trial.trial_id, {"score": 0.5})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert len(tried) == combinations(space) == 16
