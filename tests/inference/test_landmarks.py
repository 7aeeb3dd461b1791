"""Landmarks from a picture to every place where they come out, and faces that are turned too far away."""

import csv
import json
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.errors import IncompleteError, UserError
from fer_hierarchy.hierarchy.taxonomy import Taxonomy
from fer_hierarchy.inference.faces.crop import Face, crop
from fer_hierarchy.inference.faces.detectors import make_detector
from fer_hierarchy.inference.faces.landmarks import FaceMesh
from fer_hierarchy.inference.faces.pose import MEASURES, head_pose
from fer_hierarchy.inference.output.drawing import annotated
from fer_hierarchy.inference.output.film import VideoWriter
from fer_hierarchy.inference.predict import Outputs, predict_files
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import FaceConfig, PredictConfig, WebcamConfig
from fer_hierarchy.inference.sources.inputs import Item
from fer_hierarchy.inference.webcam import run_webcam
from tests.inference.faces.test_pose import seen
from tests.inference.stand_ins import BarModel, FixedDetector

PORTRAIT = Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"
HEAD = (150, 90, 230, 280)  # left, top, width, height of the face in it


@pytest.fixture(scope="module")
def portrait():
    """600x512 RGB, one face, as good as straight."""
    return np.asarray(Image.open(PORTRAIT).convert("RGB"))


def predictor(finder=None, **settings):
    faces = FaceConfig(**settings)
    return Predictor(BarModel(), faces=faces, detector=finder or make_detector(faces))


def predict(tmp_path, name, items, *predictors, **settings):
    outputs = Outputs(out=tmp_path / name)
    predict_files(items, predictors, settings=PredictConfig(**settings), outputs=outputs)
    return tmp_path / name


def item(path):
    return Item(str(path), Path(path).name)


def test_a_row_has_pose_openings_and_points(portrait):
    (row,) = predictor(landmarks=True).predict(portrait, records=True)
    assert np.abs([row["yaw"], row["pitch"], row["roll"]]).max() < 8
    assert 0.15 < row["left_eye"] < 0.4
    assert row["points"].shape == (468, 3)
    left, top, width, height = HEAD
    low, high = row["points"][:, :2].min(axis=0), row["points"][:, :2].max(axis=0)
    assert np.abs([*(low - (left, top)), *(high - (left + width, top + height))]).max() < 60
    assert row["reason"] is None
    assert not {*MEASURES, "points"} & set(predictor().predict(portrait, records=True)[0])


def test_landmarks_change_no_prediction(portrait):
    plain, measured = (predictor(landmarks=wanted).predict(portrait) for wanted in (False, True))
    pd.testing.assert_frame_equal(plain, measured[plain.columns])


@pytest.mark.parametrize("detector", ["blazeface", "haar", "mtcnn"])
def test_every_detectors_faces_are_measured(portrait, detector):
    if detector == "mtcnn":
        pytest.importorskip("mtcnn")
    (row,) = predictor(detector=detector, min_face=100, landmarks=True).predict(portrait, records=True)
    assert abs(row["roll"] + 3.5) < 3
    assert abs(row["yaw"]) < 6


def test_faces_that_are_cut_out_already_are_measured(portrait):
    left, top, width, _ = HEAD
    face = np.ascontiguousarray(portrait[top + 50 : top + 50 + width, left : left + width])
    (row,) = predictor(cropped=True, landmarks=True).predict(face, records=True)
    assert abs(row["roll"] + 3.5) < 4


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_points_are_in_files_that_can_hold_them(tmp_path, kind):
    """And a second call goes on with such a file."""
    other = tmp_path / "empty.png"
    Image.new("RGB", (64, 64)).save(other)
    path = predict(tmp_path, f"rows.{kind}", [item(PORTRAIT)], predictor(landmarks=True))
    assert predict(tmp_path, path.name, [item(PORTRAIT), item(other)], predictor(landmarks=True)) == path
    table = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[kind](path)
    assert len(table) == 2
    assert abs(table["roll"][0] + 3.5) < 3
    assert table[["yaw", "mouth"]].isna().to_numpy().tolist() == [[False] * 2, [True] * 2]
    assert ("points" in table) == (kind != "csv")
    if kind != "csv":
        points = np.array([list(place) for place in table["points"][0]])
        assert points.shape == (468, 3)
        assert table["points"][1] is None
    if kind == "json":
        places = [value for place in json.loads(path.read_text())[0]["points"] for value in place]
        assert all(len(str(value).partition(".")[2]) <= 2 for value in places)


class Turned:
    """Finds the points of a face that looks to the left by 40 degrees."""

    def trace(self, picture, face):
        return seen(-40, 10, 0)


def turned(**settings):
    made = predictor(**settings)
    made._mesh = Turned()
    return made


def test_a_face_that_is_turned_too_far_is_uncertain(portrait):
    (row,) = turned(landmarks=True).predict(portrait, records=True)
    assert (row["yaw"], row["pitch"], row["roll"]) == pytest.approx((-40, 10, 0), abs=0.1)
    for limit in (1, 39):
        (refused,) = turned(max_yaw=limit).predict(portrait, records=True)
        assert (refused["emotion"], refused["reason"]) == ("uncertain", "turned away by 40 degrees")
        assert refused["probability"] == row["probability"]
    (kept,) = turned(max_yaw=41).predict(portrait, records=True)
    assert (kept["emotion"], kept["reason"]) == (row["emotion"], None)


def test_a_face_without_landmarks_is_not_known_to_look_here():
    noise = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
    detector = FixedDetector((30, 20, 50, 50))
    (row,) = predictor(detector, max_yaw=90).predict(noise, records=True)
    assert (row["emotion"], row["reason"], row["yaw"], row["points"]) == ("uncertain", "no landmarks found", None, None)
    (row,) = predictor(detector, landmarks=True).predict(noise, records=True)
    assert row["emotion"] != "uncertain"


def test_reasons_stand_in_files_and_on_the_screen(tmp_path, capsys):
    unsure = predict(tmp_path, "unsure.csv", [item(PORTRAIT)], predictor(), abstain=0.95)
    assert pd.read_csv(unsure)["reason"].tolist() == ["probability below 0.95"]
    capsys.readouterr()
    predict_files([item(PORTRAIT)], [predictor(max_yaw=0.5)], settings=PredictConfig(), outputs=Outputs())
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split("uncertain")[1].rstrip().endswith("degrees")
    assert "roll -" in line


@pytest.mark.parametrize("degrees", [0, -5, 90.5, "nan", "much"])
def test_a_limit_that_no_head_has_is_refused(degrees):
    with pytest.raises(UserError, match="--max-yaw: expected"):
        FaceConfig(max_yaw=degrees)


def test_landmarks_are_drawn_on_the_face_alone(portrait):
    rows = predictor(landmarks=True).predict(portrait, records=True)
    plain = annotated(portrait, [{**row, "points": None} for row in rows])
    changed = (annotated(portrait, rows) != plain).any(axis=2)
    low, high = rows[0]["points"][:, :2].min(axis=0) - 5, rows[0]["points"][:, :2].max(axis=0) + 5
    inside = np.zeros_like(changed)
    inside[round(low[1]) : round(high[1]), round(low[0]) : round(high[0])] = True
    assert changed[inside].mean() > 0.02
    assert not changed[~inside].any()


@pytest.mark.parametrize("shift", [(-1000, 0), (0, -1000), (5000, 5000), (-150, -90), (250, 300)])
def test_points_outside_of_the_picture_are_no_reason_to_stop(portrait, shift):
    (row,) = predictor(landmarks=True).predict(portrait, records=True)
    assert annotated(portrait, [{**row, "points": row["points"] + [*shift, 0]}]).shape == portrait.shape


def film(path, portrait, frames=8):
    """A head that is tilted more and more, clockwise."""
    with VideoWriter(path, fps=8) as writer:
        for number in range(frames):
            matrix = cv2.getRotationMatrix2D((265, 230), -3 * number, 0.6)
            writer.write(cv2.warpAffine(portrait, matrix, (512, 480), borderMode=cv2.BORDER_REPLICATE))
    return path


def test_a_film_has_the_pose_of_every_frame_that_is_predicted(tmp_path, portrait):
    path = film(tmp_path / "film.mp4", portrait)
    settings = PredictConfig(video_fps=0)
    outputs = Outputs(out=tmp_path / "rows.json", annotate=tmp_path / "marked")
    predict_files([item(path)], [predictor(landmarks=True)], settings=settings, outputs=outputs)
    rows = json.loads((tmp_path / "rows.json").read_text())
    np.testing.assert_allclose(np.diff([row["roll"] for row in rows]), 3, atol=2)
    assert {len(row["points"]) for row in rows} == {468}
    assert (tmp_path / "marked" / "film.mp4").is_file()


def test_a_followed_face_is_measured_in_every_frame(tmp_path, portrait):
    path = film(tmp_path / "film.mp4", portrait)
    config = WebcamConfig(source=str(path), window=False, every=8, half_life=0)
    run_webcam(predictor(landmarks=True), config, csv=tmp_path / "rows.csv", record=tmp_path / "copy.avi")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose(np.diff([float(row["roll"]) for row in rows]), 3, atol=2)
    assert "points" not in rows[0]


def test_a_gate_is_not_called_like_a_column_of_the_landmarks():
    with pytest.raises(UserError, match="'yaw' means something else in tables"):
        Taxonomy(name="own", gate="yaw", groups=(("a", ("happy",)), ("b", ("sad",))))


def test_odd_pictures_leave_the_others_as_they_are(tmp_path, portrait):
    odd = {
        "small.png": portrait[150:170, 200:220],
        "long.png": np.random.default_rng(0).integers(0, 256, (10, 20000, 3), dtype=np.uint8),
        "plain.png": np.full((300, 300, 3), 200, np.uint8),
        "pixel.png": np.zeros((1, 1), np.uint8),
        "cut.png": portrait[190:, :330],
        "whole.png": portrait,
    }
    for name, picture in odd.items():
        Image.fromarray(picture).save(tmp_path / name)
    (tmp_path / "damaged.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    items = [item(tmp_path / name) for name in (*odd, "damaged.png", "gone.png")]
    outputs = Outputs(out=tmp_path / "rows.parquet", annotate=tmp_path / "marked")
    with pytest.raises(
        IncompleteError, match=r"^2 files could not be read; the reasons are in .*; all others are done$"
    ):
        predict_files(items, [predictor(max_yaw=60)], settings=PredictConfig(), outputs=outputs)
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert rows["faces"].tolist() == [0, 0, 0, 0, 1, 1, 0, 0]
    assert rows["error"].notna().tolist() == [False] * 6 + [True] * 2
    assert rows["roll"].notna().tolist() == [False] * 4 + [True] * 2 + [False] * 2
    assert len(list((tmp_path / "marked").iterdir())) == len(odd)


def test_faces_without_points_are_cut_by_their_box(portrait):
    """As those of a profile are, whose eyes lie over another, and those of Haar."""
    box = (167, 142, 198, 198)
    profile = np.array([[260.0, 200.0], [262.0, 203.0], [200.0, 230.0], [230.0, 290.0]])
    for face in (Face(box=box), Face(box=box, points=profile[:2]), Face(box=box, points=profile)):
        mesh = FaceMesh().trace(portrait, face)
        assert abs(head_pose(mesh)[2] + 3.5) < 6
        assert crop(portrait, face).shape[0] > 90
