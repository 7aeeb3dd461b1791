"""`--resting`: the first seconds of a track, or a picture, and what is refused in one line."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.errors import IncompleteError, UserError
from fer_hierarchy.hierarchy.evaluation.label_shift import ValidationFacts
from fer_hierarchy.inference.model import Metadata
from fer_hierarchy.inference.predict import Outputs, predict_files
from fer_hierarchy.inference.predictor import EstimatingPredictor, Predictor
from fer_hierarchy.inference.priors import Prior
from fer_hierarchy.inference.resting import Resting
from fer_hierarchy.inference.settings import FaceConfig, PredictConfig, WebcamConfig
from fer_hierarchy.inference.sources.inputs import find_items
from fer_hierarchy.inference.webcam import run_webcam
from tests.conftest import draw_face, run_program
from tests.inference.stand_ins import BarModel, SquareDetector, facts
from tests.inference.walking_face import FPS, BrightDetector, film, scene

ANGRY, HAPPY, NEUTRAL = 0, 3, 6
PRIOR = (0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17)
LOGS = tuple(np.log([0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.76]).tolist())
VALIDATION = ValidationFacts(counts=(10.0,) * 7, slope=1.0, biases=(0.0,) * 7, neutral=LOGS)


def predictor(resting, *, detector=None, prior=None, kind=Predictor, **shares):
    model = BarModel(**{"prior": PRIOR, "validation": VALIDATION} | shares)
    settings = FaceConfig(cropped=detector is None)
    rested = None if resting is None else Resting.of(resting)
    return kind(model, faces=settings, detector=detector, prior=prior, resting=rested)


def face(emotion):
    return draw_face(emotion, np.random.default_rng(2))


def picture(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def rows_of(path, made, tmp_path, **settings):
    items = find_items([str(path)], io.BytesIO())
    out = tmp_path / "rows.csv"
    predict_files(items, [made], settings=PredictConfig(video_fps=0, **settings), outputs=Outputs(out=out, plots=None))
    return pd.read_csv(out)


def test_a_stern_person_is_neutral_after_the_seconds_at_rest(tmp_path):
    path = film(tmp_path / "film.mp4", [ANGRY] * 24)
    before = rows_of(path, predictor(None, detector=BrightDetector()), tmp_path)
    (tmp_path / "rows.csv").unlink()
    after = rows_of(path, predictor("1", detector=BrightDetector()), tmp_path)
    assert "resting" not in before
    assert set(before["emotion"]) == {"angry"}
    rest = after["time"] < 1
    assert rest.sum() == round(FPS)
    assert set(after["resting"][rest]) == {"at rest"}
    assert set(after["resting"][~rest]) == {"measured"}
    np.testing.assert_allclose(after["p_angry"][rest], before["p_angry"][rest])
    assert after["p_neutral"][~rest].min() > 2 * before["p_neutral"].max()
    np.testing.assert_allclose(after.filter(like="p_").sum(axis=1), 1, atol=1e-5)


def test_pictures_beside_a_film_are_not_called_measured(tmp_path):
    place = tmp_path / "both"
    place.mkdir()
    film(place / "film.mp4", [ANGRY] * 24)
    coloured = scene(0, ANGRY)
    coloured[0, 0] = 255, 0, 0
    picture(place / "scene.png", coloured)
    rows = rows_of(place, predictor("1", detector=BrightDetector()), tmp_path)
    assert rows["resting"][rows["track"].isna()].isna().all()


def test_seconds_are_for_films():
    with pytest.raises(UserError, match="expected a picture of the person at rest, got 3; seconds are for films"):
        Predictor.load(resting="3", cropped=True)


def test_what_another_emotion_shows_stays_after_the_seconds_at_rest(tmp_path):
    path = film(tmp_path / "film.mp4", [ANGRY] * 12 + [HAPPY] * 12)
    rows = rows_of(path, predictor("1", detector=BrightDetector()), tmp_path)
    assert set(rows["emotion"][rows["time"] >= 1]) == {"happy"}


def test_a_picture_at_rest_measures_every_face(tmp_path):
    rest = picture(tmp_path / "me.png", face(ANGRY))
    before, after = (predictor(given).predict([face(ANGRY), face(HAPPY)]) for given in (None, rest))
    assert after["p_neutral"][0] > 2 * before["p_neutral"][0]
    assert after["emotion"][1] == "happy"
    assert set(after["resting"]) == {"me.png"}


def test_prior_and_rest_may_be_given_together(tmp_path):
    rest = picture(tmp_path / "me.png", face(ANGRY))
    faces = [face(emotion) for emotion in [NEUTRAL] * 40 + [HAPPY] * 20]
    one = predictor(rest, prior=Prior.of("auto")).predict(faces)
    place = tmp_path / "faces"
    place.mkdir()
    for number, pixels in enumerate(faces):
        picture(place / f"{number:02d}.png", pixels)
    both = rows_of(place, predictor(rest, prior=Prior.of("auto"), kind=EstimatingPredictor), tmp_path)
    assert set(both["prior"]) == set(one["prior"]) == {"auto of 60 faces"}
    assert set(both["resting"]) == {"me.png"}
    first = predictor(None).predict(faces)
    assert both["p_neutral"][0] > first["p_neutral"][0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("0", "expected seconds above 0 and up to 3600, or a picture, got 0"),
        ("-2", "got -2"),
        ("nan", "got nan"),
        ("1e9", "got 1e9"),
        ("gone.jpg", "gone.jpg is no file; expected seconds or a picture"),
        ("", "is no file; expected seconds or a picture"),
    ],
)
def test_what_is_neither_seconds_nor_a_picture_is_one_line(given, words):
    with pytest.raises(UserError, match=r"--resting: ") as refused:
        Resting.of(given)
    assert words in str(refused.value)


def test_a_picture_without_a_face_or_of_several_is_one_line(tmp_path):
    black = np.zeros((60, 200), np.uint8)
    two = black.copy()
    two[5:53, 10:58] = two[5:53, 100:148] = 200
    detector = SquareDetector(48)
    with pytest.raises(UserError, match=r"none.png: no face found in it; name a picture of one face at rest"):
        predictor(picture(tmp_path / "none.png", black), detector=detector)
    with pytest.raises(UserError, match=r"two.png: 2 faces found in it"):
        predictor(picture(tmp_path / "two.png", two), detector=detector)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match=r"text.png: .*not an image"):
        predictor(tmp_path / "text.png")


def test_a_film_shorter_than_its_rest_is_a_row_and_the_others_are_predicted(tmp_path):
    place = tmp_path / "films"
    place.mkdir()
    film(place / "long.mp4", [HAPPY] * 36)
    film(place / "short.mp4", [HAPPY] * 12)
    with pytest.raises(IncompleteError, match="1 file could not be read"):
        rows_of(place, predictor("2", detector=BrightDetector()), tmp_path)
    rows = pd.read_csv(tmp_path / "rows.csv")
    (wrong,) = rows["error"].dropna()
    assert wrong == f"--resting 2: {place / 'short.mp4'} has 1.0 s, so that nothing is left"
    assert len(rows) == 37


def test_the_live_window_refuses_a_film_shorter_than_its_rest(tmp_path):
    path = film(tmp_path / "film.mp4", [HAPPY] * 12)
    settings = WebcamConfig(source=str(path), window=False, resting="5")
    with pytest.raises(UserError, match=r"has 1\.0 s, so that nothing is left"):
        run_webcam(predictor("5", detector=BrightDetector()), settings, csv=tmp_path / "live.csv")
    assert not (tmp_path / "live.csv").exists()


def test_the_live_window_says_in_its_rows_what_is_measured(tmp_path):
    path = film(tmp_path / "film.mp4", [ANGRY] * 24)
    settings = WebcamConfig(source=str(path), window=False, every=1, half_life=0)
    run_webcam(predictor("1", detector=BrightDetector()), settings, csv=tmp_path / "live.csv")
    assert pd.read_csv(tmp_path / "live.csv")["resting"].tolist() == ["at rest"] * 12 + ["measured"] * 12


def test_a_model_that_does_not_hold_neutral_faces_is_refused():
    for validation in (None, ValidationFacts(counts=(10.0,) * 7, slope=1.0, biases=(0.0,) * 7)):
        with pytest.raises(UserError, match="does not hold what it predicts for neutral validation faces"):
            predictor("1", validation=validation)


def test_metadata_carry_what_neutral_faces_look_like():
    made = facts(prior=PRIOR, validation=VALIDATION)
    assert Metadata.from_dict(json.loads(json.dumps(made.to_dict())), source="file") == made


@pytest.mark.slow
def test_the_program_refuses_in_one_line_and_leaves_no_file(tmp_path):
    pixels = picture(tmp_path / "face.png", scene(0))
    predict = ("--mode", "predict", pixels, "--out", tmp_path / "rows.csv", "--resting")
    outcomes = run_program((*predict, "2"), (*predict, "gone.png"), (*predict, pixels, "--explain", tmp_path / "why"))
    words = ("there is no video among the inputs", "gone.png is no file", "--resting does not go with --explain")
    for (code, text), word in zip(outcomes, words, strict=True):
        assert code == 2
        assert word in text.rstrip().splitlines()[-1]
    assert not (tmp_path / "rows.csv").exists()
