"""Three classes in a user's own words, from training to predictions and exports."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.conftest import QUICK, draw_face, run_program

CLASSES = {
    "gelangweilt": {"group": "negative", "class": "bored"},
    "verwirrt": {"group": "negative"},
    "Freude": "happy",
    "dabei": {"group": "positive", "class": "engaged"},
}
NAMES = ["happy", "bored", "engaged", "verwirrt"]


@pytest.mark.slow
def test_own_classes_go_all_the_way(tmp_path):
    rng = np.random.default_rng(0)
    for number, word in enumerate(CLASSES):
        (tmp_path / "faces" / word).mkdir(parents=True)
        for index in range(20):
            Image.fromarray(draw_face(number, rng)).save(tmp_path / "faces" / word / f"{index}.png")
    (tmp_path / "mine.json").write_text(json.dumps(CLASSES))
    places = ("--results", tmp_path / "results", "--logs", tmp_path / "logs")
    data = ("--data", tmp_path / "faces", "--classes", tmp_path / "mine.json")
    run, face = tmp_path / "results" / "school" / "hierarchical", tmp_path / "faces" / "verwirrt" / "1.png"
    train = ("--mode", "hierarchical", "--baseline", *data, *QUICK, "--epochs", "1", "--name", "school", *places)
    evaluate = ("--mode", "evaluate", run, "--data", tmp_path / "faces", "--exclude", "bored", *places)
    export = ("--mode", "export", run, "--format", "tflite", "--results", tmp_path / "results")
    card = ("--mode", "publish", run, "--out", tmp_path / "published", "--results", tmp_path / "results")
    predict = ("--mode", "predict", face, "--cropped", "--out", tmp_path / "rows.json", "--run")
    done = run_program(train, evaluate, export, card, (*predict, run / "export" / "hierarchical.tflite"), drawn=False)
    for code, text in done:
        assert code == 0, text
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["emotions"] == NAMES
    assert list(metrics["stages"]) == ["valence", "positive", "negative"]
    assert "verwirrt" in (tmp_path / "results" / "school" / "report.md").read_text()
    assert "bored" in (tmp_path / "published" / "model_card.md").read_text()
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert {name for name in row if re.match("p_", name)} == {f"p_{name}" for name in NAMES}
    assert row["emotion"] in NAMES
