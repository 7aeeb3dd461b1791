"""Faces turned by their eye line: landmarks first, then the detector; colour and depth stay together."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.data import alignment
from fer_hierarchy.hierarchy.data.alignment import EyeLine, eye_line, leveled, turned
from fer_hierarchy.hierarchy.data.decoding import BadImageError
from tests.conftest import CHECKOUT

REAL = CHECKOUT.parent / "shared" / "data" / "rgbd"
EYES = {"outer left": (20, 44), "inner left": (36, 40), "inner right": (52, 36), "outer right": (68, 32)}


def flat_file(eyes):
    names = [f"{corner.capitalize()} eye corner" for corner in eyes]
    places = [f"{column:.3f} {row:.3f}" for column, row in eyes.values()]
    count = f"{len(names) + 1} landmarks:"
    return "\n".join(
        [
            "2D Landmark File",
            "",
            count,
            "",
            "Labels:",
            "Nose tip",
            *names,
            "",
            "2D Image coordinates:",
            "44 60",
            *places,
        ]
    )


def solid_file(eyes):
    lines = [f"{corner.capitalize()} eye corner\n{column - 44} {50 - row} 30" for corner, (column, row) in eyes.items()]
    return "\n".join(["3D Landmark File", "", f"{len(lines)} landmarks:", *lines]) + "\n"


@pytest.fixture
def picture(tmp_path):
    return str(tmp_path / "bs000_N_N_0.png")


@pytest.fixture
def blank():
    return np.zeros((100, 88, 3), np.uint8)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_eyes_come_from_the_landmarks_beside_the_picture(picture, blank, newline):
    Path(picture).with_suffix(".lm2").write_bytes(flat_file(EYES).replace("\n", newline).encode())
    line = eye_line(picture, blank)
    assert line.middle == pytest.approx((44, 38))
    assert line.degrees == pytest.approx(np.degrees(np.arctan2(-8, 32)))


def test_it_does_not_matter_whose_left_is_meant(picture, blank):
    other = {name.replace("left", "x").replace("right", "left").replace("x", "right"): at for name, at in EYES.items()}
    Path(picture).with_suffix(".lm2").write_text(flat_file(other))
    assert eye_line(picture, blank).degrees == pytest.approx(np.degrees(np.arctan2(-8, 32)))


def test_landmarks_in_space_give_the_same_angle(picture, blank):
    Path(picture).with_suffix(".lm3").write_text(solid_file(EYES))
    line = eye_line(picture, blank)
    assert line.degrees == pytest.approx(np.degrees(np.arctan2(-8, 32)))
    assert line.middle == pytest.approx((43.5, 49.5))


@pytest.mark.parametrize(
    ("suffix", "text", "reason"),
    [
        (".lm2", "something else", "no lines 'labels:' and '2d image coordinates:'"),
        (".lm2", flat_file(EYES).rpartition("\n")[0], "5 names for 4 places"),
        (".lm2", flat_file(EYES).replace("44.000", "x"), "could not convert"),
        (".lm2", flat_file(EYES).replace("44.000", "nan"), "every place needs 2 finite numbers"),
        (".lm3", "something else", "no line with their number"),
        (".lm3", solid_file(EYES).replace(" 30", ""), "every place needs 3 finite numbers"),
        (".lm2", "", "empty file"),
    ],
)
def test_landmarks_that_cannot_be_read_are_reported(picture, blank, suffix, text, reason):
    Path(picture).with_suffix(suffix).write_text(text)
    with pytest.raises(BadImageError, match=reason):
        eye_line(picture, blank)


def test_landmarks_without_eyes_leave_it_to_the_detector(picture, blank):
    some = {name: at for name, at in EYES.items() if name != "inner left"}
    Path(picture).with_suffix(".lm2").write_text(flat_file(some))
    assert eye_line(picture, blank) is None


@pytest.mark.parametrize("shape", [(100, 88, 3), (48, 48), (9, 5)])
def test_a_face_without_eyes_stays_as_it_is(picture, shape):
    colour = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    distance = np.full(shape[:2], 600, np.float32)
    level, depth = leveled(picture, colour, distance)
    assert level is colour
    assert depth is distance


@pytest.mark.parametrize(
    ("boxes", "found"),
    [
        ([[80, 80, 50, 50], [190, 80, 52, 52]], True),
        ([[80, 80, 50, 50]], False),
        ([[80, 80, 50, 50], [190, 80, 52, 52], [192, 90, 50, 50]], False),  # two pairs: doubtful
        ([[80, 80, 50, 50], [190, 80, 90, 90]], False),
        ([[80, 20, 50, 50], [190, 120, 50, 50]], False),
        ([[80, 80, 50, 50], [120, 80, 50, 50]], False),
    ],
)
def test_only_a_single_plausible_pair_is_believed(picture, monkeypatch, boxes, found):
    class Detector:
        def detectMultiScale(self, *args, **keywords):  # noqa: N802
            return np.array(boxes)

    monkeypatch.setattr(alignment, "_cascade", Detector)
    line = eye_line(picture, np.zeros((320, 320), np.uint8))
    assert (line is not None) == found
    if found:
        assert line.degrees == pytest.approx(np.degrees(np.arctan2(1, 111)), abs=0.01)


def bump(row, column):
    """A bright spot in the colour where the depth stands out."""
    rows, columns = np.mgrid[0:100, 0:88]
    spot = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18)
    colour = np.repeat((255 * spot)[..., None], 3, axis=2).astype(np.uint8)
    return colour, (600 - 30 * spot).astype(np.float32)


@pytest.mark.parametrize("degrees", [-25.0, -7.0, 12.0, 29.0])
def test_colour_and_depth_move_together(degrees):
    colour, distance = bump(70, 60)
    level, depth = turned(colour, distance, EyeLine(middle=(44, 38), degrees=degrees))
    bright = np.unravel_index(level[..., 0].argmax(), depth.shape)
    near = np.unravel_index(np.nanargmin(depth), depth.shape)
    assert np.abs(np.subtract(bright, near)).max() <= 1
    turn = np.radians(degrees)
    right, down = 60 - 44, 70 - 38
    expected = (38 - np.sin(turn) * right + np.cos(turn) * down, 44 + np.cos(turn) * right + np.sin(turn) * down)
    np.testing.assert_allclose(near, expected, atol=1)


def test_holes_stay_holes_and_the_outside_is_one():
    colour, distance = bump(50, 40)
    distance[60:70, 20:30] = np.nan
    level, depth = turned(colour + 1, distance, EyeLine(middle=(44, 38), degrees=20.0))
    assert np.isnan(depth[0, 0])
    assert level[0, 0].max() == 0
    assert 80 < np.isnan(depth[50:80, 20:50]).sum() < 120
    assert np.nanmin(depth) >= 569
    assert np.nanmax(depth) <= 601


def test_afterwards_the_eyes_are_level(picture, blank):
    Path(picture).with_suffix(".lm2").write_text(flat_file(EYES))
    for column, row in EYES.values():
        cv2.circle(blank, (column, row), 2, (255, 255, 255), -1)
    level, depth = leveled(picture, blank, None)
    rows, columns = np.nonzero(level[..., 0] > 60)
    assert depth is None
    assert abs(np.polyfit(columns, rows, 1)[0]) < 0.01
    assert rows.mean() == pytest.approx(38, abs=0.5)


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="the rendered RGB-D sets are not beside the checkout")
def test_the_detector_agrees_with_the_landmarks():
    paths = sorted((REAL / "BosphorusDB").glob("bs00[0-2]/*.png"))[::4]
    pairs = []
    for path in paths:
        colour = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        pairs.append((eye_line(str(path), colour), alignment._detected(colour)))
    found = [(told.degrees, seen.degrees) for told, seen in pairs if seen is not None]
    assert len(found) >= len(paths) - 1
    assert np.abs(np.subtract(*zip(*found, strict=True))).max() < 3
