"""`--coverage`: what rows, the screen and pictures show of guaranteed predictions, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.conformal import Guarantee, Promise
from fer_hierarchy.inference.model import Metadata
from fer_hierarchy.inference.output.console import lines
from fer_hierarchy.inference.output.records import rows_of_faces
from fer_hierarchy.inference.predict import Outputs, predict_files
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.priors import Prior
from fer_hierarchy.inference.settings import FaceConfig, PredictConfig
from fer_hierarchy.inference.sources.inputs import find_items
from tests.conftest import draw_face, run_program
from tests.hierarchy.evaluation.test_conformal import draw
from tests.inference.stand_ins import SEVEN, BarModel, facts

HAPPY = 3


def guarantee():
    table, labels = draw(1500, 0)
    return Guarantee.fit(table, labels, SEVEN, data="fer2013", apart=True)


def predictor(coverage=0.9, **options):
    model = BarModel(guarantee=guarantee())
    promise = Promise(coverage=coverage, **options)
    return Predictor(model, faces=FaceConfig(cropped=True), detector=None, promise=promise)


def face(emotion=HAPPY):
    return draw_face(emotion, np.random.default_rng(0))


def test_a_row_holds_the_node_its_level_and_the_set():
    (row,) = predictor(0.8).predict(face(), records=True)
    assert (row["answer"], row["level"], row["set"]) == ("happy", "emotion", "happy")
    assert row["coverage"] == "80 % of faces"
    (row,) = predictor(0.99, sets="aps").predict(face(), records=True)
    assert "happy" in row["set"].split()


def test_the_screen_says_a_group_where_that_is_what_can_be_said():
    own = predictor()
    table = np.array([[0.4, 0.02, 0.3, 0.02, 0.2, 0.02, 0.04]])
    ((row,),) = rows_of_faces(own.find([face()])[0], [table], [own], abstain=0.0)
    assert row["answer"] == "negative"
    (line,) = lines([{**row, "file": "a.jpg", "faces": 1, "error": None}], [own])
    assert "negative (90 % guaranteed on faces like FER-2013's)" in line


def test_a_guarantee_on_drawn_faces_says_so():
    model = BarModel(guarantee=guarantee(), synthetic=True)
    own = Predictor(model, faces=FaceConfig(cropped=True), detector=None, promise=Promise(coverage=0.9))
    (row,) = own.predict(face(), records=True)
    (line,) = lines([{**row, "file": "a.jpg", "faces": 1, "run": "bars", "error": None}], [own])
    assert "happy (90 % guaranteed on SYNTHETIC faces)" in line


def test_guarantees_travel_with_the_metadata():
    given = facts(guarantee=guarantee(), prior=(0.1, 0.1, 0.1, 0.3, 0.1, 0.1, 0.2))
    read = Metadata.from_dict(given.to_dict(), source="x")
    promise = Promise(coverage=0.9, each=True)
    assert read.guarantee.at("node", promise).tolist() == given.guarantee.at("node", promise).round(6).tolist()
    damaged = given.to_dict() | {"guarantee": {"data": "x", "faces": [1], "apart": True, "thresholds": {}}}
    with pytest.raises(UserError, match="incomplete"):
        Metadata.from_dict(damaged, source="x")


def test_one_file_holds_one_coverage(tmp_path):
    Image.fromarray(face()).save(tmp_path / "a.png")
    items, out = find_items([str(tmp_path / "a.png")], None), tmp_path / "rows.csv"
    predict_files(items, [predictor()], settings=PredictConfig(), outputs=Outputs(out=out))
    before = out.read_bytes()
    with pytest.raises(UserError, match="coverage '90 % of faces', not '90 % of each emotion'"):
        predict_files(items, [predictor(each=True)], settings=PredictConfig(), outputs=Outputs(out=out))
    assert out.read_bytes() == before


def test_what_cannot_be_guaranteed_is_refused():
    promise, common = Promise(coverage=0.9), {"faces": FaceConfig(cropped=True), "detector": None}
    with pytest.raises(UserError, match="does not hold what its calibration faces tell"):
        Predictor(BarModel(), promise=promise, **common)
    model = BarModel(guarantee=guarantee(), prior=(1 / 7,) * 7)
    with pytest.raises(UserError, match="does not go with --prior"):
        Predictor(model, promise=promise, prior=Prior.of("uniform"), **common)


def test_the_published_model_guarantees_and_bad_flags_are_one_line(tmp_path):
    Image.fromarray(face()).save(tmp_path / "a.png")
    call = ["--mode", "predict", tmp_path / "a.png", "--cropped"]
    good, high, lone = run_program(
        [*call, "--coverage", "0.9"], [*call, "--coverage", "1.5"], [*call, "--coverage-each"]
    )
    assert good[0] == 0
    assert "(90 % guaranteed on faces like FER-2013's)" in good[1]
    for (code, text), expected in ((high, "at most 0.99"), (lone, "add --coverage SHARE")):
        assert code == 2
        assert expected in text
        assert "Traceback" not in text
