from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from fer_hierarchy.inference.faces import pose
from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.faces.detectors import make_detector
from fer_hierarchy.inference.faces.landmarks import COUNT, FaceMesh
from fer_hierarchy.inference.faces.pose import facing, head_pose, measures
from fer_hierarchy.inference.settings import FaceConfig

EYES_APART, METRES = 0.09, 0.7  # between the outer corners of the eyes, and from the camera to the face


def turned_to(yaw, pitch, roll):
    """The rotation of a head that looks right by `yaw`, up by `pitch`, and is turned clockwise by `roll` degrees."""
    about = [np.radians(angle) * np.eye(3)[axis] for angle, axis in ((-pitch, 0), (-yaw, 1), (roll, 2))]
    across, along, around = (cv2.Rodrigues(vector)[0] for vector in about)
    return around @ along @ across


def seen(yaw, pitch, roll, *, metres=METRES, size=200.0, middle=(400.0, 300.0)):
    """The mesh of a head as a camera sees it whose picture shows it with `size` pixels between the eyes' corners."""
    head = EYES_APART * pose._HEAD @ turned_to(yaw, pitch, roll).T
    scale = size / EYES_APART
    mesh = np.random.default_rng(0).normal(size=(COUNT, 3))
    mesh[pose._RIGID, :2] = head[:, :2] * scale * metres / (metres + head[:, 2:]) + middle
    mesh[pose._RIGID, 2] = head[:, 2] * scale
    return mesh


@pytest.mark.parametrize("roll", [-170, -30, 0, 45, 90])
@pytest.mark.parametrize("pitch", [-40, 0, 25])
@pytest.mark.parametrize("yaw", [-75, -20, 0, 1, 40])
def test_the_pose_of_a_known_head_is_found_within_a_degree(yaw, pitch, roll):
    assert head_pose(seen(yaw, pitch, roll)) == pytest.approx((yaw, pitch, roll), abs=1)
    assert head_pose(seen(yaw, pitch, roll, size=12.0, middle=(3.0, 9000.0))) == pytest.approx(
        (yaw, pitch, roll), abs=1
    )


@pytest.mark.parametrize("metres", [0.4, 2, 50])
def test_a_camera_that_is_nearer_or_further_changes_little(metres):
    for angles in ((0, 0, 0), (30, 0, 0), (-45, 15, 20), (10, -25, -40)):
        assert head_pose(seen(*angles, metres=metres)) == pytest.approx(angles, abs=4)


def test_a_face_looks_to_where_it_is_turned():
    assert facing(seen(90, 0, 0)) == pytest.approx((1, 0), abs=0.01)
    assert facing(seen(0, 30, 0)) == pytest.approx((0, -0.5), abs=0.01)
    assert facing(seen(0, 0, 77)) == pytest.approx((0, 0), abs=0.01)


def test_openings_are_shares_of_the_width_in_space():
    mesh = seen(0, 0, 0)
    mesh[[33, 133, 160, 144, 158, 153]] = [[0, 0, 0], [0, 0, 40], [0, -4, 10], [0, 4, 10], [0, -4, 30], [0, 4, 30]]
    mesh[[78, 308, 13, 14]] = [[0, 0, 0], [30, 40, 0], [15, 20, 0], [15, 20, 10]]
    mesh[[263, 362, 387, 373, 385, 380]] = [
        [200, 0, 0],
        [210, 0, 0],
        [203, 1, 0],
        [203, 1, 0],
        [206, 2, 0],
        [206, 2, 0],
    ]
    found = measures(mesh)
    assert tuple(found) == pose.MEASURES
    assert (found["right_eye"], found["left_eye"], found["mouth"]) == pytest.approx((0.2, 0, 0.2))


@pytest.fixture(scope="module")
def portrait():
    """600x512 RGB, one face that looks into the camera with open eyes and a closed mouth."""
    return np.asarray(Image.open(Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB"))


def measured(picture, **settings):
    (face,) = make_detector(FaceConfig(**settings)).find([picture])[0]
    return measures(FaceMesh().trace(picture, face))


def test_turning_a_picture_changes_roll_alone(portrait):
    straight = measured(portrait)
    assert np.abs([straight[name] for name in ("yaw", "pitch", "roll")]).max() < 8
    assert 0.15 < straight["right_eye"] < 0.4
    assert straight["mouth"] < 0.1
    for degrees in (-35, 15, 40):
        matrix = cv2.getRotationMatrix2D((256, 260), -degrees, 1.0)  # OpenCV turns counter-clockwise
        found = measured(cv2.warpAffine(portrait, matrix, (512, 600), borderMode=cv2.BORDER_REPLICATE))
        assert found["roll"] - straight["roll"] == pytest.approx(degrees, abs=3)
        assert abs(found["yaw"] - straight["yaw"]) < 5
        assert abs(found["pitch"] - straight["pitch"]) < 5


def test_a_mirrored_face_looks_to_the_other_side(portrait):
    squeezed = np.ascontiguousarray(portrait[:, 60:460])
    one, other = measured(squeezed), measured(np.ascontiguousarray(squeezed[:, ::-1]))
    assert one["yaw"] + other["yaw"] == pytest.approx(0, abs=3)
    assert one["roll"] + other["roll"] == pytest.approx(0, abs=3)
    assert one["right_eye"] == pytest.approx(other["left_eye"], abs=0.05)


@pytest.mark.parametrize("colours", ["grey", "colour"])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_face_without_eyes_is_measured_as_one_with_them(portrait, quarters, colours):
    """Haar's faces have a box alone, also where it is found in the turned picture."""
    picture = portrait if colours == "colour" else cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    picture = np.ascontiguousarray(np.rot90(picture, -quarters))
    expected = measured(picture, any_angle=True)
    found = measured(picture, detector="haar", any_angle=True)
    for name, value in found.items():
        difference = abs(value - expected[name])
        assert min(difference, 360 - difference) < (5 if name in ("yaw", "pitch", "roll") else 0.05), name


def test_a_face_found_upside_down_has_its_points_on_the_picture(portrait):
    (face,) = make_detector(FaceConfig()).find([portrait])[0]
    turned = np.ascontiguousarray(portrait[::-1, ::-1])
    (found,) = make_detector(FaceConfig(any_angle=True)).find([turned])[0]
    straight, upside_down = FaceMesh().trace(portrait, face), FaceMesh().trace(turned, found)
    assert np.abs(np.array([511, 599]) - upside_down[:, :2] - straight[:, :2]).max() < 6
    assert abs(measures(upside_down)["roll"]) > 170


def test_where_the_network_sees_no_face_there_are_no_points():
    noise = np.random.default_rng(0).integers(0, 256, (100, 120), dtype=np.uint8)
    assert FaceMesh().trace(noise, Face(box=(20, 20, 60, 60))) is None
    assert FaceMesh().trace(np.full((20, 20, 3), 90, np.uint8), Face(box=(0, 0, 20, 20))) is None
