"""A search as a user runs it: real processes share it, and a hierarchy is trained with what it found."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from tests.conftest import CHECKOUT, QUICK, run_program

SPACE = {"*": None, "learning_rate": [0.002, 0.01, 0.03], "model.stem_width": 8}
MODEL = "compact_resnet:widths=8+8:blocks=1+1:strides=1+2:squeeze_from=none"


@pytest.mark.slow
def test_two_workers_search_and_a_hierarchy_uses_what_they_found(fer_folder, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    (tmp_path / "space.json").write_text(json.dumps(SPACE))
    studies, data = tmp_path / "logs" / "tuning", ["--data", str(fer_folder)]
    small = ["--image-size", "16", "--batch-size", "16", "--epochs", "1", "--model", MODEL]
    search = ["--stage", "valence", "--tuner", "grid", "--space", str(tmp_path / "space.json"), "--remeasure", "1"]
    places = ["--name", "gate", "--study-dir", str(studies), "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "tf_model.py", "--mode", "tune", *places, *search, *small, *data],
        cwd=CHECKOUT,
        env={**os.environ, "FER_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    trials = pd.read_csv(studies / "gate" / "trials.csv")
    assert list(trials["status"]) == ["completed"] * 3
    assert sorted(trials["hp:learning_rate"]) == SPACE["learning_rate"]
    best = json.loads((studies / "gate" / "best.json").read_text())
    assert best["hyperparameters"]["model"] == f"{MODEL}:stem_width=8"
    assert len(pd.read_csv(studies / "gate" / "remeasured.csv")) == 1
    places = ["--results", str(tmp_path / "results"), "--logs", str(tmp_path / "logs")]
    flags = [*QUICK, "--epochs", "1", "--model", MODEL, "--name", "tree", "--hyperparameters", "gate"]
    ((code, text),) = run_program(["--mode", "hierarchical", *data, *places, *flags])
    assert code == 0, text
    training = json.loads((tmp_path / "results" / "tree" / "metrics.json").read_text())["training"]
    assert training["valence"]["learning_rate"] == best["hyperparameters"]["learning_rate"]
    assert training["positive"]["learning_rate"] is None
