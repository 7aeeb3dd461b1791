"""What the user's environment and keras.json tell Keras does not change the program."""

import json
import os
import subprocess
import sys

import pytest

from fer_hierarchy.hierarchy.cli import main
from tests.conftest import CHECKOUT

SCRIPT = """
import numpy as np
from fer_hierarchy.hierarchy.training.keras_stage import build_model
model = build_model("shallow_cnn", (16, 16, 1), 3)
logits = model(np.zeros((2, 16, 16, 1), np.float32))
import keras
print(keras.backend.backend(), logits.shape, logits.dtype.name, keras.config.max_epochs())
"""


@pytest.mark.slow
def test_settings_of_keras_do_not_change_the_models(tmp_path):
    settings = {"backend": "torch", "floatx": "float64", "epsilon": 0.5, "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    own = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "torch", "KERAS_MAX_EPOCHS": "1"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert done.stdout.strip() == "tensorflow (2, 3) float32 None", done.stderr


def test_another_backend_that_is_loaded_already_is_one_line(monkeypatch):
    import importlib

    import keras

    from fer_hierarchy.models import keras_defaults

    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ImportError, match="import fer_hierarchy before keras"):
        importlib.reload(keras_defaults)


@pytest.mark.parametrize("settings", [{"floatx": "float8"}, {"epsilon": "x"}, {"image_data_format": "x"}, []])
def test_a_keras_json_that_keras_refuses_is_one_line(tmp_path, monkeypatch, capsys, settings):
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert main(["--mode", "flat", "--dataset", "synthetic", "--results", str(tmp_path / "results")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/keras.json: " in line
    assert line.endswith("mend or remove it")
    assert not (tmp_path / "results").exists()
