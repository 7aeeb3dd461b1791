"""Training in mixed precision: it trains, resumes, and what it saves is float32 for every reader."""

import keras
import numpy as np
import pytest

from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.training import callbacks
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from tests.conftest import QUICK, run_program
from tests.hierarchy.training.test_callbacks import VALIDATION, checkpoint, fit

PRECISIONS = ("mixed_bfloat16", "mixed_float16")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_saved_network_is_float32_and_has_learned(tmp_path, precision):
    settings = {"epochs": 12, "learning_rate": 0.01, "augment": False}
    mixed = fit(tmp_path / "mixed", precision=precision, **settings)
    fit(tmp_path / "exact", **settings)
    assert {layer.compute_dtype for layer in mixed.network.layers} == {"float32"}
    histories = [callbacks.read_checkpoint(tmp_path / name).history for name in ("mixed", "exact")]
    accuracies = [max(row["val_accuracy"] for row in history) for history in histories]
    assert accuracies[1] > 0.9
    assert accuracies[0] > accuracies[1] - 0.1
    logits = mixed.outputs(VALIDATION.pixels, VALIDATION.rows)
    again = KerasStage.load_network(tmp_path / "mixed").predict(VALIDATION.pixels.astype(np.float32), verbose=0)
    assert logits == pytest.approx(again, abs=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_resumed_training_ends_with_the_same_weights(tmp_path, monkeypatch, precision):
    settings = {"precision": precision, "ema": 0.2, "freeze": 1, "schedule": "plateau", "clip_norm": 1.0}
    fit(tmp_path / "a", **settings)
    fit(tmp_path / "b", epochs_before_stop=2, monkeypatch=monkeypatch, **settings)
    fit(tmp_path / "b", **settings)
    for one, other in zip(checkpoint(tmp_path / "a"), checkpoint(tmp_path / "b"), strict=True):
        assert np.array_equal(one, other)


def test_gradients_that_float16_cannot_hold_gather_too(tmp_path):
    settings = {"precision": "mixed_float16", "accumulate": 3, "loss": "center", "epochs": 2}
    fit(tmp_path / "a", **settings)
    history = callbacks.read_checkpoint(tmp_path / "a").history
    assert np.isfinite([row["loss"] for row in history]).all()
    assert history[-1]["loss"] < history[0]["loss"]


@pytest.mark.slow
def test_a_hierarchy_in_mixed_precision_predicts_and_exports_in_float32(tmp_path):
    places = ["--results", tmp_path / "r", "--logs", tmp_path / "l"]
    data = ["--dataset", "synthetic", "--limit", "120", *QUICK, "--epochs", "1"]
    train = ["--mode", "hierarchical", "--trunk", "shared", *data, "--precision", "mixed_bfloat16", *places]
    run = tmp_path / "r" / "synthetic-mixed"
    trained, exported = run_program(
        [*train, "--name", "mixed"], ["--mode", "export", run, "--format", "tflite", "--out", tmp_path / "e"]
    )
    assert trained[0] == 0, trained[1]
    assert exported[0] == 0, exported[1]
    assert Run(run).config.stage.precision == "mixed_bfloat16"
    for file in run.rglob("*.keras"):
        network = keras.saving.load_model(file, compile=False)
        assert {layer.compute_dtype for layer in network.layers} == {"float32"}


def test_an_unknown_precision_is_refused_and_nothing_is_written(tmp_path):
    call = ["--mode", "flat", "--dataset", "synthetic", *QUICK, "--results", tmp_path / "r", "--precision", "int4"]
    ((code, text),) = run_program(call)
    assert code == 2
    assert "mixed_bfloat16" in text
    assert "Traceback" not in text
    assert not (tmp_path / "r").exists()
