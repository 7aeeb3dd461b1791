"""`--prior`: what it accepts, what it makes of predictions, and what it refuses in one line."""

import io
import json
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.config import DataConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.label_shift import ValidationFacts, estimate_shares, reweigh
from fer_hierarchy.inference.export.backends import open_model
from fer_hierarchy.inference.export.writer import export_run
from fer_hierarchy.inference.model import Metadata
from fer_hierarchy.inference.predict import Outputs, predict_files
from fer_hierarchy.inference.predictor import EstimatingPredictor, Predictor
from fer_hierarchy.inference.priors import Prior
from fer_hierarchy.inference.settings import FaceConfig, PredictConfig
from fer_hierarchy.inference.sources.inputs import find_items
from tests.conftest import FER_EMOTIONS, draw_face, run_program
from tests.inference import walking_face
from tests.inference.stand_ins import SEVEN, BarModel, facts
from tests.inference.untrained import write_run

TRAINED = (0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17)
COUNTS = tuple(round(1000 * share) for share in TRAINED)
# The stand-in is as sure of a wrong emotion as of a right one, so calibrated biases do what they can: nothing.
VALIDATION = ValidationFacts(counts=COUNTS, slope=1.0, biases=(0.0,) * 7)
STREET = {"angry": 0.06, "disgust": 0.01, "fear": 0.05, "happy": 0.25, "sad": 0.08, "surprise": 0.05, "neutral": 0.5}
NEUTRAL, HAPPY = 6, 3


def stand_in(given, kind=Predictor, **shares):
    model = BarModel(**{"prior": TRAINED, "validation": VALIDATION} | shares)
    return kind(model, faces=FaceConfig(cropped=True), detector=None, prior=Prior.of(given) if given else None)


def faces(emotions):
    rng = np.random.default_rng(3)
    return [draw_face(emotion, rng) for emotion in emotions]


def written(tmp_path, text, name="shares.json"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shares.json", json.dumps(STREET)),
        ("shares.csv", "emotion,share\n" + "\n".join(f"{emotion}, {share}" for emotion, share in STREET.items())),
        ("shares.txt", "".join(f"{emotion},{share}\r\n" for emotion, share in STREET.items())),
    ],
)
def test_a_file_of_shares_re_weighs_every_probability(tmp_path, name, text):
    before = stand_in(None).predict(faces(range(7)))
    after = stand_in(written(tmp_path, text, name)).predict(faces(range(7)))
    columns = [f"p_{emotion}" for emotion in FER_EMOTIONS]
    right = reweigh(before[columns], TRAINED, list(STREET.values()))
    np.testing.assert_allclose(after[columns], right, atol=1e-5)
    assert set(after["prior"]) == {name}
    assert "prior" not in before
    np.testing.assert_allclose(after["gate_positive"], right[:, [3, 5, 6]].sum(axis=1), atol=1e-5)


def test_uniform_shares_lift_the_rare_emotion():
    before, after = (stand_in(given).predict(faces([HAPPY]))["p_disgust"][0] for given in (None, "uniform"))
    assert after > 3 * before


def test_shares_rounded_to_percents_are_made_to_sum_to_one():
    rounded = {**STREET, "neutral": 0.505}
    assert Prior.of(rounded).target(facts()).sum() == pytest.approx(1)


def test_an_emotion_of_share_zero_is_ruled_out():
    rows = stand_in({**STREET, "disgust": 0, "neutral": 0.51}).predict(faces([1]))
    assert rows["p_disgust"][0] == 0
    assert rows["emotion"][0] != "disgust"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps({**STREET, "happy": 0.35}), "the shares sum to 1.1; expected 1"),
        (json.dumps({**STREET, "happy": -0.2}), "share of 'happy': expected a number from 0 to 1, got -0.2"),
        (json.dumps({**STREET, "happy": float("nan")}), "share of 'happy': expected a number from 0 to 1, got nan"),
        (json.dumps({**STREET, "happy": "many"}), "share of 'happy': expected a number from 0 to 1, got 'many'"),
        (json.dumps({**STREET, "bored": 0.0}), "unknown emotion 'bored'; the emotions of bars are angry, "),
        (json.dumps({k: v for k, v in STREET.items() if k != "disgust"}), "no share of 'disgust' (0 rules it out)"),
        ('{"happy": 0.5, "happy": 0.5}', "key 'happy' stands twice"),
        ("[0.5, 0.5]", "expected emotions with their shares"),
        ("{}", "expected emotions with their shares"),
        ("happy 0.5", "not readable as JSON"),
    ],
)
def test_what_are_no_shares_is_one_line(tmp_path, text, words):
    with pytest.raises(UserError) as refused:
        stand_in(written(tmp_path, text))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("happy 0.5\n", "line 'happy 0.5'; expected an emotion, a comma and its share"),
        ("happy,0.5\nhappy,0.5\n", "'happy' stands there twice"),
        ("happy,x\n", "share of 'happy': expected a number from 0 to 1, got 'x'"),
    ],
)
def test_a_csv_that_is_none_is_one_line(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        Prior.of(written(tmp_path, text, "shares.csv"))


def test_a_file_that_is_absent_a_folder_or_a_pipe_is_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("gone.csv", "gone.json", "pipe.csv", ""):
        with pytest.raises(UserError, match=r"--prior .*not readable"):
            Prior.of(tmp_path / name)


def test_an_export_of_an_older_version_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"bars does not hold the shares of its training; export or train it again"):
        stand_in("uniform", prior=None)
    with pytest.raises(UserError, match="does not hold what its validation faces tell"):
        stand_in("auto", validation=None).predict(faces([HAPPY] * 60))
    old = {name: value for name, value in facts().to_dict().items() if name not in ("prior", "validation")}
    assert Metadata.from_dict(old, source="old").prior is None


def test_metadata_carry_prior_and_validation_faces():
    made = facts(prior=TRAINED, validation=VALIDATION)
    assert Metadata.from_dict(json.loads(json.dumps(made.to_dict())), source="file") == made


@pytest.mark.parametrize(
    "wrong", [{"prior": [1, 0, 0, 0, 0, 0, 0]}, {"prior": [0.5, 0.5]}, {"validation": {"counts": [1] * 7}}]
)
def test_damaged_shares_of_an_export_are_refused(wrong):
    with pytest.raises(UserError, match="the metadata inside are incomplete"):
        Metadata.from_dict(facts().to_dict() | wrong, source="file")


def test_auto_estimates_the_shares_of_the_call():
    street = [NEUTRAL] * 60 + [HAPPY] * 30 + [0] * 10
    rows = stand_in("auto").predict(faces(street))
    estimate = estimate_shares(stand_in(None).predict(faces(street)).filter(like="p_").to_numpy(), VALIDATION)
    assert estimate.shifted
    assert estimate.shares[NEUTRAL] > 0.45
    assert set(rows["prior"]) == {"auto of 100 faces"}
    assert rows["p_neutral"][0] > stand_in(None).predict(faces([NEUTRAL]))["p_neutral"][0]


def test_auto_keeps_the_shares_of_training_where_the_faces_do_not_contradict_them():
    ordinary = np.repeat(range(7), [14, 2, 14, 25, 17, 11, 17])
    rows = stand_in("auto").predict(faces(ordinary)).drop(columns="prior")
    pd.testing.assert_frame_equal(rows, stand_in(None).predict(faces(ordinary)))


def test_auto_refuses_fewer_than_fifty_faces():
    with pytest.raises(UserError, match="shares of 49 faces cannot be estimated; needed 50 at least"):
        stand_in("auto").predict(faces([NEUTRAL] * 49))


def folder(tmp_path, emotions):
    place = tmp_path / "faces"
    place.mkdir()
    for number, face in enumerate(faces(emotions)):
        Image.fromarray(face).save(place / f"{number:03d}.png")
    return place


def predicted(place, predictor, tmp_path, name="rows.csv"):
    items = find_items([str(place)], io.BytesIO())
    predict_files(items, [predictor], settings=PredictConfig(), outputs=Outputs(out=tmp_path / name))
    return pd.read_csv(tmp_path / name)


def test_rows_are_written_after_the_estimate_and_computed_once(tmp_path, capsys):
    place = folder(tmp_path, [NEUTRAL] * 200 + [HAPPY] * 100)
    predictor = stand_in("auto", EstimatingPredictor)
    rows = predicted(place, predictor, tmp_path)
    whole = stand_in("auto").predict(faces([NEUTRAL] * 200 + [HAPPY] * 100))
    np.testing.assert_allclose(rows.filter(like="p_"), whole.filter(like="p_"), atol=2e-6)
    assert set(rows["prior"]) == {"auto of 300 faces"}
    assert sum(predictor._model.batches) == 300
    shown = capsys.readouterr().out
    assert "shares estimated from 300 faces by bars" in shown
    assert shown.index("estimated") < shown.index("300 files")


def test_a_film_counts_the_faces_of_all_frames(tmp_path):
    film = walking_face.film(tmp_path / "film.mp4", [HAPPY] * 50)
    model = BarModel(prior=TRAINED, validation=VALIDATION)
    predictor = EstimatingPredictor(
        model, faces=FaceConfig(), detector=walking_face.BrightDetector(), prior=Prior.of("auto")
    )
    settings = PredictConfig(video_fps=0)
    items = find_items([str(film)], io.BytesIO())
    predict_files(items, [predictor], settings=settings, outputs=Outputs(out=tmp_path / "rows.csv"))
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert len(rows) == 50
    assert set(rows["prior"]) == {"auto of 50 faces"}
    assert rows["p_happy"].min() > 0.9


def test_rows_of_another_prior_are_not_mixed(tmp_path):
    place = folder(tmp_path, [HAPPY] * 3)
    predicted(place, stand_in("uniform"), tmp_path)
    with pytest.raises(UserError, match=r"the prior 'uniform', not 'given'; name another file"):
        predicted(place, stand_in(STREET), tmp_path)
    with pytest.raises(UserError, match="no table of this call's columns"):
        predicted(place, stand_in(None), tmp_path)


@pytest.mark.slow
def test_the_program_refuses_in_one_line_and_leaves_no_file(tmp_path):
    picture = tmp_path / "face.png"
    Image.fromarray(faces([HAPPY])[0]).save(picture)
    predict = ("--mode", "predict", picture, "--cropped", "--out", tmp_path / "rows.csv", "--prior")
    outcomes = run_program(
        (*predict, tmp_path / "gone.csv"),
        (*predict, "auto"),
        (*predict, "uniform", "--explain", tmp_path / "why"),
        ("--mode", "webcam", "--prior", "auto"),
    )
    words = ("gone.csv: not readable", "shares of 1 faces cannot", "does not go with --explain", "needs all faces")
    for (code, text), word in zip(outcomes, words, strict=True):
        assert code == 2
        assert word in text.rstrip().splitlines()[-1]
    assert not (tmp_path / "rows.csv").exists()


def test_the_taxonomy_of_the_stand_in_is_the_order_of_these_shares():
    assert tuple(STREET) == SEVEN.emotions


@pytest.mark.slow
def test_a_run_and_its_export_hold_the_same_shares(tmp_path):
    run = write_run(tmp_path / "tree", SEVEN)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["data"]["counts"]["train"] = dict(zip(SEVEN.emotions, COUNTS, strict=True))
    (run / "metrics.json").write_text(json.dumps(metrics))
    drawn = np.repeat(SEVEN.emotions, COUNTS)
    table = pd.DataFrame({"row": range(len(drawn)), "true": drawn, "predicted": drawn, "route": "positive"})
    sure = 0.01 + 0.93 * (drawn[:, None] == np.array(SEVEN.emotions))
    table[[f"p_{emotion}" for emotion in SEVEN.emotions]] = sure
    table.to_csv(run / "predictions_validation.csv", index=False)
    held = open_model(str(run), tmp_path).facts
    np.testing.assert_allclose(held.prior, TRAINED, atol=1e-9)
    assert held.validation.counts == COUNTS
    assert np.argmax(held.validation.neutral) == NEUTRAL
    (file,) = export_run(str(run), ["tflite"], data=DataConfig(), out=tmp_path, results=tmp_path).values()
    assert open_model(str(file), tmp_path).facts == held


def test_a_run_with_a_damaged_table_of_validation_faces_still_predicts(tmp_path):
    run = write_run(tmp_path / "tree", SEVEN)
    (run / "predictions_validation.csv").write_text("nothing\n")
    held = open_model(str(run), tmp_path).facts
    assert held.prior is not None
    assert held.validation is None
